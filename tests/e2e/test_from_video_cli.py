"""``soundsight datasets from-video`` as a user calls it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from extraction import read_wav, rows, tree
from soundsight import audio
from soundsight.cli import main
from videos import RATE_HZ, noise, number_of, place_of, steady, write_video

pytest.importorskip("av")

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "pairs.md"
COMMAND = [sys.executable, "-m", "soundsight", "datasets", "from-video"]


def run(*args: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, args)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos of 4 s in two folders, and what is none."""
    folder = tmp_path_factory.mktemp("videos")
    for i in range(6):
        path = folder / ("deep/down" if i % 2 else ".") / f"{i} – ü.mkv"
        write_video(path, steady(4), sound=noise(4, seed=i), size=(320, 240), options={"g": "25"})
    (folder / "readme.txt").write_text("no video")
    (folder / ".hidden.mkv").write_text("no video")
    return folder


def test_a_folder_of_videos_becomes_a_folder_of_pairs(videos: Path, tmp_path: Path) -> None:
    done = run(videos, "-o", tmp_path / "pairs")
    assert done.returncode == 0, done.stderr
    out = done.stdout.splitlines()
    assert out[:2] == ["18 pairs of 6 videos", "left out: 6 pictures too near the beginning or the end of the sound"]
    assert re.fullmatch(r"24 s of video in [\d.,]+ s, [\d,]+ times real time", out[2])
    assert out[3:] == [str(tmp_path / "pairs" / "pairs.csv")]
    assert [line.rpartition(": ")[2] for line in done.stderr.splitlines()] == ["3 pairs"] * 6
    table = rows(tmp_path / "pairs")
    assert [row["clip"] for row in table] == sorted(3 * [f"{i} – ü" for i in range(6)])
    for row in table:
        seed, time_s = int(row["clip"][0]), float(row["time_s"])
        with Image.open(tmp_path / "pairs" / row["image"]) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (256, 256))
            assert number_of(np.asarray(image)) == round(25 * time_s)
        window_T, rate_hz = read_wav(tmp_path / "pairs" / row["sound"])
        assert len(window_T) == rate_hz == RATE_HZ
        assert place_of(window_T, noise(4, seed=seed)) == pytest.approx((time_s - 0.5) * RATE_HZ, abs=2)


def test_a_real_film(data_root: Path, tmp_path: Path) -> None:
    """Sight and sound of it by ways of their own: the frame that PyAV seeks, the sound that ``decode`` gives."""
    import av

    (video,) = (data_root / "video").glob("*.mp4")
    done = run(video, "-o", tmp_path, "--format", "png", "--every", "2.5", "--window", "0.96")
    assert done.returncode == 0, done.stderr
    table = rows(tmp_path)
    assert [float(row["time_s"]) for row in table] == [2.5 * i for i in range(1, 12)]
    whole_T = audio.decode(video, sample_rate_hz=RATE_HZ).samples
    for row in table[::3]:
        time_s = float(row["time_s"])
        window_T, _ = read_wav(tmp_path / row["sound"])
        first = round((time_s - 0.48) * RATE_HZ)
        np.testing.assert_allclose(window_T, whole_T[first : first + len(window_T)].clip(-1, 1), atol=0.6 / 32768)
        with av.open(str(video)) as container:
            container.seek(round(time_s * 1e6))
            frame = next(f for f in container.decode(video=0) if f.time is not None and f.time >= time_s - 1e-6)
        cropped = frame.to_image().crop((187, 0, 667, 480)).resize((256, 256), Image.Resampling.BICUBIC)
        with Image.open(tmp_path / row["image"]) as image:
            assert np.abs(np.asarray(image, float) - np.asarray(cropped, float)).mean() < 1


def test_videos_that_cannot_be_used_do_not_stop_the_rest(tmp_path: Path) -> None:
    good = write_video(tmp_path / "in" / "good.mkv", steady(3), sound=noise(3))
    write_video(tmp_path / "in" / "mute.mp4", steady(3))
    (tmp_path / "in" / "text.mp4").write_text("no film " * 100)
    (tmp_path / "in" / "cut.mkv").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    done = run(tmp_path / "in", tmp_path / "absent.mp4", "-o", tmp_path / "pairs")
    assert done.returncode == 1, done
    assert done.stdout.startswith("2 pairs of 1 video\n")
    errors = done.stderr.splitlines()[1:]
    assert len(errors) == 5
    assert all(line.startswith(f"soundsight: error: {tmp_path}") for line in errors[:4])
    for name, reason in (
        ("cut.mkv", "cut short"),
        ("mute.mp4", "no sound track"),
        ("text.mp4", "not a video"),
        ("absent.mp4", "No such file"),
    ):
        assert sum(name in line and reason in line for line in errors) == 1, errors
    assert errors[4] == "soundsight: 4 of 5 videos could not be used"
    assert {row["clip"] for row in rows(tmp_path / "pairs")} == {"good"}
    only_bad = run(tmp_path / "in" / "mute.mp4", "-o", tmp_path / "other")
    assert only_bad.returncode == 2
    assert only_bad.stdout == ""


def test_libraries_in_c_say_nothing_of_their_own(tmp_path: Path) -> None:
    video = write_video(tmp_path / "film.mp4", steady(6), sound=noise(6), audio="aac", size=(320, 240))
    data = bytearray(video.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = np.random.default_rng(0).bytes(2000)
    video.write_bytes(data)
    done = run(video, "-o", tmp_path / "pairs")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"soundsight: error: {video}: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "pairs"], "Missing argument 'VIDEO...'"),
        (["film.mkv"], "Missing option '--out' / '-o'"),
        (["-", "-o", "pairs"], "videos are read from files, not from standard input"),
        (["film.mkv", "-o", ""], "--out is empty"),
        (["film.mkv", "-o", "film.mkv"], "film.mkv: a file; expected a folder"),
        (["film.mkv", "-o", "."], "holds other files"),
        (["film.mkv", "-o", "pairs", "--every", "0"], "every is 0; expected 0.04 to"),
        (["film.mkv", "-o", "pairs", "--window", "100"], "window is 100; expected 0.02 to 60"),
        (["film.mkv", "-o", "pairs", "--size", "2000"], "size is 2000; expected 16 to 1024"),
        (["film.mkv", "-o", "pairs", "--format", "gif"], "gif"),
        (["empty", "-o", "pairs"], "empty: a folder without video in it"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "film.mkv", steady(2), sound=noise(2))
    (tmp_path / "empty").mkdir()
    assert main(["datasets", "from-video", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("soundsight: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert {path.name for path in tmp_path.iterdir()} == {"film.mkv", "empty"}, "nothing was begun"


def test_other_options_are_refused(videos: Path, tmp_path: Path) -> None:
    video = videos / "0 – ü.mkv"
    assert run(video, "-o", tmp_path).returncode == 0
    before = tree(tmp_path)
    done = run(video, "-o", tmp_path, "--size", "128")
    assert done.returncode == 2
    assert "holds pairs made with size 256, not 128" in done.stderr
    assert tree(tmp_path) == before
    again = run(video, "-o", tmp_path)
    assert again.returncode == 0
    assert "finished before: 1 video" in again.stdout
    assert tree(tmp_path) == before


@contextmanager
def begun(folder: Path, *args: object) -> Iterator[subprocess.Popen[str]]:
    """The command, when it has finished its first clip."""
    with subprocess.Popen(
        [*COMMAND, *map(str, args), "-o", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not list(folder.glob("*/clip.json")):
            time.sleep(0.002)
        yield process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_killed_goes_on_and_ends_the_same(number: signal.Signals, videos: Path, tmp_path: Path) -> None:
    options = ("--every", "0.04", "--window", "0.5", "--workers", "1")
    with begun(tmp_path / "pairs", videos, *options) as process:
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert "Traceback" not in err
    if number == signal.SIGINT:
        assert "interrupted; the same command goes on" in err
        assert not (tmp_path / "pairs" / ".unfinished").exists() or not list(
            (tmp_path / "pairs" / ".unfinished").iterdir()
        )
    assert not (tmp_path / "pairs" / "pairs.csv").exists()
    kept = {name: data for name, data in tree(tmp_path / "pairs").items() if not name.startswith(".unfinished")}
    assert 1 <= len(list((tmp_path / "pairs").glob("*/clip.json"))) < 6
    done = run(videos, "-o", tmp_path / "pairs", *options)
    assert done.returncode == 0, done.stderr
    assert "finished before: " in done.stdout
    assert run(videos, "-o", tmp_path / "whole", *options).returncode == 0
    whole = tree(tmp_path / "whole")
    assert tree(tmp_path / "pairs") == whole
    assert {name: whole[name] for name in kept} == kept, "what was there after the kill was whole"


def test_help() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "soundsight datasets from-video concert.mp4 -o pairs" in done.stdout
    for option in ("--every", "--window", "--size", "--rate", "--format", "--keyframes", "--workers"):
        assert option in done.stdout


def test_the_commands_of_the_document_run(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").symlink_to(videos)
    blocks = re.findall(r"^```sh\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    shown = [shlex.split(line) for block in blocks for line in block.splitlines()]
    of_videos = [words for words in shown if words[:3] == ["soundsight", "datasets", "from-video"]]
    assert len(of_videos) == 3
    for words in of_videos:
        done = run(*words[3:], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        folder = tmp_path / words[words.index("-o") + 1]
        assert {path.name for path in folder.iterdir()} >= {"pairs.csv", "from-video.json", "0 – ü"}
        assert len(rows(folder)) >= 6


def test_pairs_of_ones_own_are_checked_trained_on_and_measured(videos: Path, tmp_path: Path) -> None:
    """What docs/scenes.md shows, on a small scale: videos to pairs, pairs to a model, a model beside its baselines."""
    assert run(str(videos), "-o", "pairs", "--every", "0.5", "--size", "32", cwd=tmp_path).returncode == 0
    settings = ("train.epochs=1", "model.image_size=32", "model.channels=[8, 8, 8, 8]", "model.widths=[16]")
    for command in (
        ("datasets", "check", "pairs"),
        (
            "train",
            "mfcc-generator",
            *(x for s in ("data.pairs=pairs", *settings) for x in ("--set", s)),
            "--out",
            "model",
        ),
        ("evaluate", "model", "--out", "report"),
        ("evaluate", "pairs", "--split", "block", "--out", "baselines"),
    ):
        done = subprocess.run([*COMMAND[:-2], *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "frame of the nearest training sound" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    table = json.loads((tmp_path / "baselines" / "report.json").read_text(encoding="utf-8"))
    assert table["scores"]["ssim"]["value"] is None


def test_names_that_are_no_text(tmp_path: Path) -> None:
    video = write_video(tmp_path / "plain.mkv", steady(2), sound=noise(2)).rename(
        tmp_path / os.fsdecode(b"caf\xe9.mkv")
    )
    done = subprocess.run(
        [*COMMAND, os.fsencode(video), "-o", str(tmp_path / "pairs")], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [row["clip"] for row in rows(tmp_path / "pairs")] == ["caf_"]
