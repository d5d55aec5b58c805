"""``soundsight generate``: from sounds to files, through the command line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from soundsight import AudioToImage
from soundsight.cli import main
from words import COMMAND, Generate, files, phrase, pixels, word, write


@pytest.fixture(scope="module")
def recordings(data_root: Path) -> list[Path]:
    return sorted((data_root / "fsdd").rglob("*_1.wav"))[:6]


def test_the_installed_command_makes_the_pipelines_picture(
    toy_model: Path, recordings: list[Path], tmp_path: Path
) -> None:
    done = subprocess.run(
        [COMMAND, "generate", recordings[0], "-o", tmp_path / "out", "--model", toy_model, "--seed", "7"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    path = tmp_path / "out" / f"{recordings[0].stem}.png"
    assert (done.stdout.strip(), done.stderr) == (str(path), "")
    expected = AudioToImage.from_pretrained(toy_model)(recordings[0], seed=7, size=280)
    np.testing.assert_array_equal(pixels(path), expected.array[0, ..., 0])
    with Image.open(path) as image:
        assert (image.info["seed"], image.info["model"], image.info["sound"]) == ("7", "toy", recordings[0].name)
        assert image.info["soundsight"]


def test_a_file_is_the_same_alone_and_among_others(generate: Generate, recordings: list[Path], tmp_path: Path) -> None:
    options = ("--num-images", 3, "--seed", 11)
    assert generate(*recordings, write(tmp_path / "z.flac"), "-o", tmp_path / "all", *options)[0] == 0
    for path in recordings:
        assert generate(path, "-o", tmp_path / "one", *options)[0] == 0
        # A smaller number of pictures are the first of a larger one.
        assert generate(path, "-o", tmp_path / "two", "--num-images", 2, "--seed", 11)[0] == 0
    assert len(files(tmp_path / "one")) == 3 * len(recordings)
    for alone in ("one", "two"):
        for name in files(tmp_path / alone):
            assert (tmp_path / alone / name).read_bytes() == (tmp_path / "all" / name).read_bytes()


def test_less_variation_is_nearer_to_one_picture(
    generate: Generate, toy_model: Path, recordings: list[Path], tmp_path: Path
) -> None:
    spreads = []
    for variation in (0, 0.5, 1):
        out = tmp_path / str(variation)
        options = ("--num-images", 8, "--size", 28, "--variation", variation)
        assert generate(recordings[0], "-o", out, *options)[0] == 0
        spreads.append(np.stack([pixels(out / name) for name in files(out)]).std(0).mean())
    assert spreads[0] == 0 < spreads[1] < spreads[2]


def test_every_format_of_sound(generate: Generate, tmp_path: Path) -> None:
    samples = (word() * 32767).astype(np.int16)
    for suffix in ("wav", "flac", "ogg", "mp3", "opus", "aiff"):
        write(tmp_path / "in" / f"{suffix}.{suffix}", samples)
    write(tmp_path / "in" / "another.wav", word(4))
    code, _, err = generate(tmp_path / "in", "-o", tmp_path / "out")
    assert (code, err) == (0, [])
    pictures = {name: pixels(tmp_path / "out" / name).astype(int) for name in files(tmp_path / "out")}
    assert sorted(pictures) == [f"{n}.png" for n in ("aiff", "another", "flac", "mp3", "ogg", "opus", "wav")]
    differences = {name: np.abs(pictures[name] - pictures["wav.png"]).mean() for name in pictures}
    assert differences["flac.png"] == differences["aiff.png"] == 0, "the same 16-bit samples in another container"
    assert max(differences[f"{name}.png"] for name in ("mp3", "ogg", "opus")) < differences["another.png"] / 2


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_every_format_of_picture(generate: Generate, suffix: str, tmp_path: Path) -> None:
    sound = write(tmp_path / "a.wav")
    assert generate(sound, "-o", tmp_path, "--format", suffix, "--num-images", 2, "--size", 100)[0] == 0
    assert generate(sound, "-o", tmp_path, "--format", "npy", "--num-images", 2, "--size", 100)[0] == 0
    expected = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert (expected.shape, expected.dtype) == ((2, 100, 100, 1), np.uint8)
    for i in range(2):
        difference = np.abs(pixels(tmp_path / f"a_{i}.{suffix}").astype(int) - expected[i, ..., 0])
        assert difference.mean() < 3 if suffix == "jpg" else difference.max() == 0


def test_npy_unscaled_and_in_parts(generate: Generate, toy_model: Path, tmp_path: Path) -> None:
    sound = write(tmp_path / "a.wav", phrase(2))
    options = ("-o", tmp_path / "out", "--format", "npy", "--size", 28, "--num-images", 3)
    assert generate(sound, *options)[0] == 0
    assert generate(sound, *options, "--no-split")[0] == 0
    assert files(tmp_path / "out") == ["a-1.npy", "a-2.npy", "a.npy"]
    parts = AudioToImage.from_pretrained(toy_model)(sound, num_images=3, split=True)
    for i, part in enumerate(parts):
        np.testing.assert_array_equal(np.load(tmp_path / "out" / f"a-{i + 1}.npy"), part.array)


def test_recordings_of_several_digits_are_cut(generate: Generate, tmp_path: Path) -> None:
    sound = write(tmp_path / "number.wav", phrase(3))
    assert generate(sound, "-o", tmp_path / "cut", "--num-images", 2)[0] == 0
    assert files(tmp_path / "cut") == [f"number-{part}_{i}.png" for part in (1, 2, 3) for i in (0, 1)]
    assert generate(sound, "-o", tmp_path / "whole", "--no-split")[0] == 0
    assert files(tmp_path / "whole") == ["number.png"]
    with Image.open(tmp_path / "cut" / "number-2_0.png") as image:
        assert image.info["part"] == "2"


def test_folders_are_mirrored_and_names_never_clash(generate: Generate, tmp_path: Path) -> None:
    for i, name in enumerate(("a.wav", "a.flac", "sub/a.wav", "sub/deep/b.wav", "notes.txt", ".hidden.wav")):
        write(tmp_path / "in" / name, word(i)) if name != "notes.txt" else (tmp_path / "in" / name).write_text("x")
    other = write(tmp_path / "other" / "a.wav", word(9))
    assert generate(tmp_path / "in", other, "-o", tmp_path / "out")[0] == 0
    assert files(tmp_path / "out") == ["a.flac.png", "a.wav.2.png", "a.wav.png", "sub/a.png", "sub/deep/b.png"]
    assert len({(tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")}) == 5
    with Image.open(tmp_path / "out" / "a.wav.2.png") as image:
        assert generate(other, "-o", tmp_path / "x.png")[0] == 0
        np.testing.assert_array_equal(np.asarray(image), pixels(tmp_path / "x.png"))


def test_one_file(generate: Generate, tmp_path: Path) -> None:
    sound = write(tmp_path / "a.wav")
    code, out, _ = generate(sound, "-o", tmp_path / "new" / "x.jpeg")
    assert (code, out) == (0, [str(tmp_path / "new" / "x.jpeg")])
    with Image.open(tmp_path / "new" / "x.jpeg") as image:
        assert image.format == "JPEG"
    (tmp_path / "new" / "x.jpeg").write_bytes(b"old")
    assert generate(sound, "-o", tmp_path / "new" / "x.jpeg")[0] == 0
    assert files(tmp_path / "new") == ["x.jpeg"]
    assert pixels(tmp_path / "new" / "x.jpeg").shape == (280, 280)


def test_a_grid_has_a_row_for_each_sound(generate: Generate, tmp_path: Path) -> None:
    sounds = [write(tmp_path / f"{i}.wav", word(i)) for i in range(3)]
    (tmp_path / "bad.wav").write_bytes(b"x")
    options = ("--num-images", 2, "--size", 64)
    code, out, err = generate(*sounds, tmp_path / "bad.wav", "-o", tmp_path / "out", "--grid", *options)
    assert (code, out) == (1, [str(tmp_path / "out" / "grid.png")])
    assert "bad.wav" in err[0]
    assert generate(*sounds, "-o", tmp_path / "single", *options)[0] == 0
    sheet = pixels(tmp_path / "out" / "grid.png")
    assert sheet.shape == (3 * 64 + 4 * 4, 2 * 64 + 3 * 4)
    for row in range(3):
        for column in range(2):
            top, left = 4 + row * 68, 4 + column * 68
            cell = sheet[top : top + 64, left : left + 64]
            np.testing.assert_array_equal(cell, pixels(tmp_path / "single" / f"{row}_{column}.png"))


def test_a_line_of_json_for_each_file(generate: Generate, tmp_path: Path) -> None:
    sounds = [write(tmp_path / "a.wav"), write(tmp_path / "b.wav", phrase(2))]
    code, out, err = generate(
        *sounds, tmp_path / "no.wav", "-o", tmp_path / "out", "--json", "--num-images", 2, "--seed", 2**64 - 1
    )
    lines = [json.loads(line) for line in out]
    assert code == 1
    assert "no.wav" in err[0]
    written = [line for line in lines if "path" in line]
    assert sorted(line["path"] for line in written) == [str(tmp_path / "out" / n) for n in files(tmp_path / "out")]
    assert [(line["sound"], line.get("part"), line["index"]) for line in written] == [
        (str(sounds[0]), None, 0), (str(sounds[0]), None, 1),
        *((str(sounds[1]), part, index) for part in (1, 2) for index in (0, 1)),
    ]  # fmt: skip
    assert {(line["seed"], line["model"]) for line in written} == {(2**64 - 1, "toy")}
    assert all(0 < line["milliseconds"] < 60_000 for line in written)
    assert lines[-1]["sound"] == str(tmp_path / "no.wav")
    assert "no.wav" in lines[-1]["error"]


def test_json_of_a_grid_and_of_arrays(generate: Generate, tmp_path: Path) -> None:
    sound = write(tmp_path / "a.wav")
    line = json.loads(generate(sound, "-o", tmp_path / "g.png", "--grid", "--json")[1][0])
    assert (line["path"], line["sounds"], line["index"]) == (str(tmp_path / "g.png"), [str(sound)], None)
    line = json.loads(generate(sound, "-o", tmp_path, "--format", "npy", "--json")[1][0])
    assert (line["path"], line["sound"], line["index"]) == (str(tmp_path / "a.npy"), str(sound), None)


def test_standard_input(toy_model: Path, tmp_path: Path) -> None:
    sound = write(tmp_path / "a.flac")
    command = [COMMAND, "generate", "-", "-o", tmp_path / "out", "--model", toy_model]
    done = subprocess.run(command, input=sound.read_bytes(), capture_output=True, timeout=60, check=True)
    assert (done.stderr, files(tmp_path / "out")) == (b"", ["stdin.png"])
    assert main(["generate", str(sound), "-o", str(tmp_path / "file.png"), "--model", str(toy_model)]) == 0
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "stdin.png"), pixels(tmp_path / "file.png"))
    for bad in (b"", b"no sound at all"):
        done = subprocess.run(command, input=bad, capture_output=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
        assert done.stderr.startswith(b"soundsight: error: stdin: ")


def test_options_reach_the_pipeline(generate: Generate, toy_model: Path, tmp_path: Path) -> None:
    sound = write(tmp_path / "a.wav")
    options: dict[str, Any] = {"num_images": 2, "seed": 5, "size": 90}
    code, _, _ = generate(sound, "-o", tmp_path / "out", "--num-images", 2, "--seed", 5, "--size", 90)
    expected = AudioToImage.from_pretrained(toy_model)(sound, **options)
    assert code == 0
    for i in range(2):
        np.testing.assert_array_equal(pixels(tmp_path / "out" / f"a_{i}.png"), expected.array[i, ..., 0])
