"""Damaged files through the command line: reported or used, and never a word but ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from soundsight.cli import main
from words import COMMAND, files, pixels, write


def _damage(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    kind = rng.integers(4)
    if kind == 0:
        del changed[rng.integers(len(changed)) :]
    elif kind == 1:
        for at in rng.integers(0, len(changed), 20):
            changed[at] = rng.integers(256)
    elif kind == 2:
        for at in rng.integers(0, 60, 6):
            changed[at] = rng.integers(256)
    else:
        at = int(rng.integers(0, 60))
        changed[at : at + 4] = b"\xff\xff\xff\x7f"
    return bytes(changed)


def test_sixty_damaged_files_in_one_call(toy_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    good = [write(tmp_path / "good" / f"x.{suffix}").read_bytes() for suffix in ("wav", "flac", "ogg", "mp3", "opus")]
    suffixes = ("wav", "flac", "ogg", "mp3", "opus")
    for i in range(60):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{i:02}.{suffixes[i % 5]}").write_bytes(_damage(good[i % 5], rng))
    write(tmp_path / "in" / "fine.wav")
    code = main(["generate", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--json", "--model", str(toy_model)])
    out, err = capfd.readouterr()  # also what a C library says behind Python's back
    lines = [json.loads(line) for line in out.splitlines()]
    failed = [line for line in lines if "error" in line]
    written = [line for line in lines if "path" in line]
    assert code == 1
    assert {Path(line["sound"]).name for line in lines} == {p.name for p in (tmp_path / "in").iterdir()}
    assert not {line["sound"] for line in failed} & {line["sound"] for line in written}
    assert len(failed) >= 10
    assert str(tmp_path / "in" / "fine.wav") in {line["sound"] for line in written}
    assert sorted(line["path"] for line in written) == [
        str(tmp_path / "out" / name) for name in files(tmp_path / "out")
    ]
    for line in written:
        assert pixels(Path(line["path"])).shape == (280, 280)
    for line in err.splitlines():
        assert line.startswith("soundsight: "), line


def test_a_decoder_does_not_talk_beside_us(toy_model: Path, tmp_path: Path) -> None:
    """The MP3 decoder writes to the terminal itself; the file below makes it do so."""
    data = bytearray(write(tmp_path / "x.mp3").read_bytes())
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(data), len(data) // 20):
        data[at] = rng.integers(256)
    (tmp_path / "x.mp3").write_bytes(data)
    code = f"import soundfile; soundfile.read({str(tmp_path / 'x.mp3')!r})"
    alone = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "Illegal Audio-MPEG-Header" in alone.stderr, "the test's file does not do what it is for"
    done = subprocess.run(
        [COMMAND, "generate", tmp_path / "x.mp3", tmp_path / "no.wav", "-o", tmp_path, "--model", toy_model],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    lines = done.stderr.splitlines()
    assert lines
    assert all(line.startswith("soundsight: ") for line in lines), lines
