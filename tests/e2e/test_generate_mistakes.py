"""``soundsight generate`` with everything that can be wrong: one line, exit code 2, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from onnx_models import generator_bytes, write_generator, write_judge
from words import COMMAND, RATE_HZ, Generate, files, phrase, pixels, write


def check_error(code: int, out: list[str], err: list[str], message: str) -> None:
    """Exit code 2, and one line that says it."""
    assert (code, out, len(err)) == (2, [], 1), (code, out, err)
    assert err[0].startswith("soundsight: error: ")
    assert message in err[0], err[0]


def _sounds(folder: Path) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    good = write(folder / "good.wav").read_bytes()
    flac = write(folder / "good.flac").read_bytes()
    bad = {"empty.wav": b"", "text.wav": b"not a sound\n" * 50, "cut.flac": flac[:100], "header.wav": good[:30]}
    for name, data in bad.items():
        (folder / name).write_bytes(data)
    write(folder / "silent.wav", np.zeros(RATE_HZ, np.float32))
    write(folder / "one.wav", np.ones(1, np.float32))
    soundfile.write(folder / "nan.wav", np.full(RATE_HZ, np.nan, np.float32), RATE_HZ, subtype="FLOAT")
    (folder / "nothing").mkdir(exist_ok=True)
    names = [*bad, "silent.wav", "one.wav", "nan.wav", "nothing", "missing.wav"]
    return {name: folder / name for name in names}


@pytest.mark.parametrize(
    "name",
    ["empty.wav", "text.wav", "cut.flac", "header.wav", "silent.wav", "one.wav", "nan.wav", "nothing", "missing.wav"],
)
def test_a_bad_sound(generate: Generate, name: str, tmp_path: Path) -> None:
    bad = _sounds(tmp_path / "in")[name]
    check_error(*generate(bad, "-o", tmp_path / "out"), name)
    assert not (tmp_path / "out").exists()
    code, out, err = generate(bad, tmp_path / "in" / "good.wav", "-o", tmp_path / "out", "--json")
    assert (code, files(tmp_path / "out")) == (1, ["good.png"])
    assert [("error" in json.loads(line)) for line in out] == [True, False]
    assert name in err[0]
    assert err[-1] == "soundsight: 1 of 2 sounds could not be used"


def test_a_format_that_is_not_written(generate: Generate, tmp_path: Path) -> None:
    good = write(tmp_path / "good.wav")
    check_error(*generate(good, "-o", tmp_path / "seven.gif"), ".gif is not written here")
    check_error(*generate(good, "-o", tmp_path / "seven.pgn"), "end the name of a folder in /")
    assert files(tmp_path) == ["good.wav"]
    assert generate(good, "-o", f"{tmp_path}/seven.pgn/")[0] == 0
    (tmp_path / "old.gif").mkdir()  # a folder that is there is taken at its word
    assert generate(good, "-o", tmp_path / "old.gif")[0] == 0


def test_names_that_are_no_file(generate: Generate, tmp_path: Path) -> None:
    for name in ("x" * 5000, "a\x1b[31m\n.wav", "b\udcff.wav"):
        code, out, err = generate(name, "-o", tmp_path / "out")
        assert (code, out, len(err)) == (2, [], 1)
        assert err[0].isprintable()


def test_a_sound_whose_name_is_no_text(generate: Generate, tmp_path: Path) -> None:
    sound = write(tmp_path / "plain.wav").rename(tmp_path / "b\udcff.wav")
    code, out, _ = generate(sound, "-o", tmp_path / "out", "--json")
    assert code == 0
    assert json.loads(out[0])["path"] == str(tmp_path / "out" / "b\udcff.png")
    assert generate(sound, "-o", tmp_path / "out")[0] == 0


def test_a_name_too_long_for_its_picture_does_not_stop_the_rest(generate: Generate, tmp_path: Path) -> None:
    long = write(tmp_path / ("x" * 251 + ".wav"))
    code, _, err = generate(long, write(tmp_path / "a.wav"), "-o", tmp_path / "out", "--num-images", 2)
    assert (code, files(tmp_path / "out")) == (1, ["a_0.png", "a_1.png"])
    assert "its picture cannot be written" in err[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "SOUND"),
        (["{a}", "--nope"], "--nope"),
        (["{a}", "--num-images", "0"], "--num-images"),
        (["{a}", "--num-images", "1001"], "--num-images"),
        (["{a}", "--num-images", "x"], "--num-images"),
        (["{a}", "--size", "7"], "--size"),
        (["{a}", "--size", "4097"], "--size"),
        (["{a}", "--seed", "-1"], "seed"),
        (["{a}", "--seed", str(2**64)], "seed"),
        (["{a}", "--seed", "1.5"], "--seed"),
        (["{a}", "--steps", "0"], "steps is 0"),
        (["{a}", "--steps", "3"], "'toy' has no steps"),
        (["{a}", "--guidance", "nan"], "guidance is nan; expected a number from 0 to 20"),
        (["{a}", "--guidance", "2"], "'toy' has no guidance"),
        (["{a}", "--variation", "-1"], "variation is -1.0; expected a number from 0 to 2"),
        (["{a}", "--format", "gif"], "--format"),
        (["{a}", "-o", "{t}/x.png", "--format", "jpg"], "ends in .png and --format is jpg"),
        (["{a}", "-o", "{t}/x.png", "--num-images", "2"], "one file for 2 pictures"),
        (["{a}", "{b}", "-o", "{t}/x.png"], "one file for 2 sounds"),
        (["{b}", "-o", "{t}/x.png"], "several utterances"),
        (["{a}", "--grid", "--format", "npy"], "a grid is a picture"),
        (["{a}", "--grid", "-o", "{t}/x.npy"], "a grid is a picture"),
        (["-", "-"], "twice"),
        (["{a}", "--model", "digitz"], "no 'digitz' in models"),
        (["{a}", "--model", "{t}"], "there is no config.json"),
        (["{a}", "-o", "{a}"], ".wav is not written here"),
        (["{a}", "-o", "{t}/taken"], "a file; expected a folder"),
        (["{a}", "-o", "{a}/out"], "cannot be written"),
        (["{a}", "-o", "{a}/out.png"], "cannot be written"),
        (["{a}", "-o", "{a}/out", "--grid"], "cannot be written"),
        (["{a}", "--num-images", "1000", "--size", "4096"], "too much memory"),
        (["{a}", "--num-images", "1000", "--size", "400", "--grid"], "choose a smaller --size"),
    ],
)
def test_wrong_usage(
    generate: Generate, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    names = {"a": write(tmp_path / "a.wav"), "b": write(tmp_path / "b.wav", phrase(2)), "t": tmp_path}
    (tmp_path / "taken").touch()
    filled = [argument.format(**names) for argument in arguments]
    options = {} if "--model" not in filled else {"model": filled.pop(filled.index("--model") + 1)}
    filled = [argument for argument in filled if argument != "--model"]
    before = files(tmp_path)
    check_error(*generate(*filled, **options), message)
    assert files(tmp_path) == before


def test_a_terminal_is_no_sound(generate: Generate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    check_error(*generate("-"), "nothing is piped in")


def _flip(model: Path) -> None:
    data = bytearray((model / "model.onnx").read_bytes())
    data[5000] ^= 1
    (model / "model.onnx").write_bytes(data)


MODELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "wrong hash": (_flip, "SHA-256"),
    "missing weights": (lambda m: (m / "model.onnx").unlink(), "model.onnx is missing"),
    "surplus weights": (lambda m: (m / "extra.bin").write_bytes(b""), "extra.bin is not listed"),
    "no config": (lambda m: (m / "config.json").unlink(), "there is no config.json"),
    "cut config": (lambda m: (m / "config.json").write_text("{"), "not valid JSON"),
    "a judge": (write_judge, "judges pictures"),
    "no network": (lambda m: write_generator(m, b"junk"), "no network that runs here"),
    "not finite": (lambda m: write_generator(m, generator_bytes(poison=float("nan"))), "not finite"),
}


@pytest.mark.parametrize(("damage", "message"), MODELS.values(), ids=MODELS.keys())
def test_a_damaged_model(generate: Generate, damage: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    damaged = write_generator(tmp_path / "m")
    damage(damaged)
    sounds = [write(tmp_path / f"{i}.wav") for i in range(3)]
    check_error(*generate(*sounds, "-o", tmp_path / "out", model=damaged), message)
    assert not (tmp_path / "out").exists()


def _limited(num_bytes: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))


@pytest.mark.parametrize("grid", [False, True])
def test_a_file_that_finds_no_room(toy_model: Path, tmp_path: Path, grid: bool) -> None:
    sounds = [write(tmp_path / f"{i}.wav") for i in range(4)]
    done = subprocess.run(
        [COMMAND, "generate", *sounds, "-o", tmp_path / "out", "--model", toy_model, *(["--grid"] if grid else [])],
        capture_output=True, text=True, timeout=60, check=False, preexec_fn=lambda: _limited(3000),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "cannot be written (File too large)" in done.stderr
    assert files(tmp_path / "out") == []


def test_a_full_disk_keeps_what_was_written(
    generate: Generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sounds = [write(tmp_path / f"{i}.wav") for i in range(6)]
    real = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.name not in ("0.png", "1.png"):
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", full)
    code, _, err = generate(*sounds, "-o", tmp_path / "out")
    assert (code, len(err)) == (2, 1)
    assert "No space left on device" in err[0]
    assert files(tmp_path / "out") == ["0.png", "1.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_an_output_that_may_not_be_written(generate: Generate, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    check_error(*generate(write(tmp_path / "a.wav"), "-o", tmp_path / "locked" / "out"), "Permission denied")


def test_interrupted(toy_model: Path, tmp_path: Path) -> None:
    """Ctrl-C: 130, whole files only, nothing said."""
    sound = write(tmp_path / "a.wav")
    for i in range(3000):
        (tmp_path / "in" / f"{i // 100}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / f"{i // 100}" / f"{i:04}.wav").symlink_to(sound)
    process = subprocess.Popen(
        [COMMAND, "generate", tmp_path / "in", "-o", tmp_path / "out", "--model", toy_model, "--size", "1000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "0" / "0010.png").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "")
    found = files(tmp_path / "out")
    assert 0 < len(found) < 3000
    assert all(name.endswith(".png") for name in found)
    for name in found:
        assert pixels(tmp_path / "out" / name).shape == (1000, 1000)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_nowhere_to_report_to(toy_model: Path, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [COMMAND, "generate", write(tmp_path / "a.wav"), "-o", tmp_path, "--model", toy_model, "--json"],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "soundsight: error: No space left on device\n")


def test_a_closed_pipe_is_quiet(toy_model: Path, tmp_path: Path) -> None:
    sounds = [write(tmp_path / f"{i}.wav") for i in range(3)]
    process = subprocess.Popen(
        [COMMAND, "generate", *sounds, "-o", tmp_path, "--model", toy_model, "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=60), err) == (1, "")
