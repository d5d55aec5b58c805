"""Speech Commands v2: the larger, better labelled edition, in the layout of ``speech_commands`` (Warden, 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from soundsight.datasets import speech_commands
from soundsight.datasets.check import Report
from soundsight.datasets.info import RemoteFile
from soundsight.datasets.speech_commands import DIGITS
from soundsight.datasets.types import SoundSet

__all__ = ["INFO", "check", "load"]

INFO = replace(
    speech_commands.INFO,
    name="speech_commands_v2",
    title="Speech Commands v0.02 (digits)",
    files=(
        RemoteFile(
            path="speech_commands_v0.02.tar.gz",
            urls=(
                "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
                "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
            ),
            # As stated by torchaudio's loader; the publisher states none.
            md5="6b74f3901214cb2c2934e98196829835",
            unpack=True,
        ),
    ),
)


def load(folder: Path, words: Sequence[str] = DIGITS) -> SoundSet:
    """As ``speech_commands.load``."""
    return speech_commands.load_words(INFO.name, Path(folder), words)


def check(folder: Path) -> Report:
    """Decode every recording of the ten digits."""
    return speech_commands.check_words(INFO, Path(folder))
