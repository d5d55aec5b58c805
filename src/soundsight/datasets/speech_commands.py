"""Speech Commands v1: one-second recordings of single words, ``{word}/{speaker}_nohash_{n}.wav`` (Warden, 2017).

The 2021 paper's MNIST-SCD takes its ten digit words, 23,666 recordings. ``speech_commands_v2`` has the same layout.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from soundsight.datasets.check import Report, check_sounds
from soundsight.datasets.info import DatasetInfo, RemoteFile, absent
from soundsight.datasets.types import SoundSet
from soundsight.errors import DatasetError

__all__ = ["DIGITS", "INFO", "check", "check_words", "load", "load_words"]

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

INFO = DatasetInfo(
    name="speech_commands",
    kind="sound",
    title="Speech Commands v0.01 (digits)",
    licence="CC BY 4.0",
    attribution="Pete Warden, Google",
    homepage="https://arxiv.org/abs/1804.03209",
    files=(
        RemoteFile(
            path="speech_commands_v0.01.tar.gz",
            urls=(
                "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.01.tar.gz",
                "http://download.tensorflow.org/data/speech_commands_v0.01.tar.gz",
            ),
            # As stated by torchaudio's loader; the publisher states none.
            md5="3cd23799cb2bbdec517f1cc028f8d43c",
            unpack=True,
        ),
    ),
    classes=DIGITS,
)

_NAME = re.compile(r"([0-9a-z]+)_nohash_(\d{1,6})\.wav")
_TEST_LIST = "testing_list.txt"
_MAX_LIST_BYTES = 16 * 2**20


def load(folder: Path, words: Sequence[str] = DIGITS) -> SoundSet:
    """List the recordings of some words, sorted by word, speaker and index.

    Args:
        folder: The unpacked archive: a folder per word, ``testing_list.txt`` beside them.
        words: Which words, in the order of their labels. ``_background_noise_`` is no word.

    Returns:
        The recordings; the official test set is that of ``testing_list.txt``, None where that is absent.

    Raises:
        DatasetError: A word is missing, or a WAV is not named ``{speaker}_nohash_{n}.wav``.
    """
    return load_words(INFO.name, Path(folder), words)


def check(folder: Path) -> Report:
    """Decode every recording of the ten digits."""
    return check_words(INFO, Path(folder))


def load_words(name: str, folder: Path, words: Sequence[str]) -> SoundSet:
    """``load`` for either version; ``name`` is the data set's."""
    rows: list[tuple[int, str, int, Path]] = []
    for label, word in enumerate(words):
        # A word comes from a recipe: it must stay a name within the folder.
        if not re.fullmatch(r"[a-z]+", word) or not (folder / word).is_dir():
            raise absent(name, folder, f"no recordings of '{word}'")
        found = sorted(path for path in (folder / word).glob("*.wav") if not path.name.startswith("."))
        for path in found:
            match = _NAME.fullmatch(path.name)
            if match is None:
                raise DatasetError(f"{path}: not named {{speaker}}_nohash_{{n}}.wav; move it out of {name}")
            rows.append((label, match[1], int(match[2]), path))
        if not found:
            raise absent(name, folder, f"no recordings of '{word}'")
    rows.sort()
    labels, speakers, indices, paths = zip(*rows, strict=True)
    test = _official_test(folder)
    test_R = None if test is None else np.array([f"{path.parent.name}/{path.name}" in test for path in paths])
    return SoundSet(paths, np.array(labels, np.int64), speakers, np.array(indices, np.int64), test_R)


def check_words(info: DatasetInfo, folder: Path) -> Report:
    """``check`` for either version."""
    sounds = load_words(info.name, folder, DIGITS)
    test = _official_test(folder)
    have = {f"{path.parent.name}/{path.name}" for path in sounds.paths}
    # The list is the only inventory that the archive brings.
    missing = sorted(line for line in test or () if line.split("/")[0] in DIGITS and line not in have)
    notes = [] if test is not None else [f"no {_TEST_LIST}: no official split"]
    return check_sounds(info, folder, sounds, missing=missing, notes=notes)


def _official_test(folder: Path) -> set[str] | None:
    """Lines ``word/file.wav`` of the publisher's list of test recordings."""
    path = folder / _TEST_LIST
    if not path.is_file():
        return None
    if path.stat().st_size > _MAX_LIST_BYTES:
        raise DatasetError(f"{path}: larger than {_MAX_LIST_BYTES} bytes; not the publisher's list")
    try:
        return set(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
