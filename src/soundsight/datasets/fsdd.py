"""Free Spoken Digit Dataset: digits spoken in English, 8 kHz mono, named ``{digit}_{speaker}_{index}.wav``.

The 2021 paper used it with four speakers, 2,000 recordings (tag v1.0.8); later tags add speakers and are read too.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from soundsight.datasets.check import Report, check_sounds
from soundsight.datasets.info import DatasetInfo, RemoteFile, absent
from soundsight.datasets.types import SoundSet
from soundsight.errors import DatasetError

__all__ = ["INFO", "check", "load"]

INFO = DatasetInfo(
    name="fsdd",
    kind="sound",
    title="Free Spoken Digit Dataset, v1.0.8",
    licence="CC BY-SA 4.0",
    attribution="Zohar Jackson, César Souza, Jason Flaks, Yuxin Pan, Hereman Nicolas and Adhish Thite",
    homepage="https://github.com/Jakobovski/free-spoken-digit-dataset",
    files=(
        RemoteFile(
            path="free-spoken-digit-dataset-1.0.8.tar.gz",
            urls=("https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.8.tar.gz",),
            # GitHub packs such archives on demand and promises no checksum: `check` looks at every recording instead.
            max_bytes=256 * 2**20,
            unpack=True,
            strip=1,
            max_unpacked_bytes=2**30,
            max_unpacked_files=20_000,
        ),
    ),
    classes=tuple(str(digit) for digit in range(10)),
)

# The README's: "recordings numbered 0-4 (inclusive) are in the test set".
_OFFICIAL_TEST_INDICES = 5
# Every speaker says every digit so often.
_REPETITIONS = 50
_FORMAT = "WAV PCM_16, 8000 Hz, 1 channel"
_NAME = re.compile(r"(\d)_([^_]+)_(\d{1,6})\.wav")


def load(folder: Path) -> SoundSet:
    """List the recordings, sorted by digit, speaker and index.

    Args:
        folder: The official repository (with ``recordings/``) or the folder of recordings itself.

    Returns:
        The recordings; labels are the digits, the official test set is index 0 to 4.

    Raises:
        DatasetError: No recordings, or a WAV whose name is not ``{digit}_{speaker}_{index}.wav``.
    """
    folder = Path(folder)
    recordings = folder / "recordings" if (folder / "recordings").is_dir() else folder
    rows: list[tuple[int, str, int, Path]] = []
    # Hidden files are what archivers and desktops leave behind ("._0_theo_0.wav").
    for path in (path for path in recordings.glob("*.wav") if not path.name.startswith(".")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise DatasetError(f"{path}: not named {{digit}}_{{speaker}}_{{index}}.wav; move it out of {INFO.name}")
        rows.append((int(match[1]), match[2], int(match[3]), path))
    if not rows:
        raise absent(INFO.name, folder, "no recordings")
    rows.sort()
    labels, speakers, indices, paths = zip(*rows, strict=True)
    index_R = np.array(indices, np.int64)
    return SoundSet(paths, np.array(labels, np.int64), speakers, index_R, index_R < _OFFICIAL_TEST_INDICES)


def check(folder: Path) -> Report:
    """Decode every recording and look for gaps: it stands in for the checksum that the archive does not have."""
    sounds = load(folder)
    assert sounds.speakers is not None, "every name has one"
    have = set(zip(sounds.labels.tolist(), sounds.speakers, sounds.indices.tolist(), strict=True))
    missing = [
        f"{digit}_{speaker}_{index}.wav"
        for digit in range(10)
        for speaker in sorted(set(sounds.speakers))
        for index in range(_REPETITIONS)
        if (digit, speaker, index) not in have
    ]
    return check_sounds(INFO, Path(folder), sounds, missing=missing, expected_format=_FORMAT)
