"""Between sounds: shares, arcs, and pictures that are what they should be at the ends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onnx_models import describe, write_generator
from soundsight import AudioToImage
from soundsight.blending import shares_of, turn
from soundsight.cli import main
from soundsight.errors import SoundsightError
from soundsight.export.convert import to_onnx
from soundsight.film import encode_gif, encode_mp4
from soundsight.folder import write_folder
from words import files


def test_shares_sum_to_one():
    np.testing.assert_allclose(shares_of([2, 1, 1], 3), [0.5, 0.25, 0.25])
    np.testing.assert_allclose(shares_of([0, 3], 2), [0, 1])
    np.testing.assert_allclose(shares_of([1e308, 1e308], 2), [0.5, 0.5])


@pytest.mark.parametrize(
    ("weights", "num"),
    [
        ([1, -0.1], 2),
        ([0, 0], 2),
        ([1, float("nan")], 2),
        ([1, float("inf")], 2),
        ([1], 1),
        ([], 0),
        ([1, 2, 3], 2),
        (["a", 1], 2),
        ([[1, 2]], 2),
        (None, 2),
        ([10**400, 1], 2),
    ],
)
def test_what_are_no_weights_is_refused(weights, num):
    with pytest.raises(SoundsightError, match="weight"):
        shares_of(weights, num)


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_a_turn_keeps_length_and_plane(seed, place):
    """Independent of the formula: angles and lengths change evenly, in the plane of both ends."""
    first, second = np.random.default_rng(seed).normal(size=(2, 50)).astype(np.float32)
    turned = turn(first, second, place)
    lengths = np.linalg.norm(first), np.linalg.norm(second)
    assert np.linalg.norm(turned) == pytest.approx((1 - place) * lengths[0] + place * lengths[1], rel=1e-4)

    def angle(a, b):
        return np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))

    assert angle(first, turned) == pytest.approx(place * angle(first, second), abs=2e-3)
    basis = np.linalg.qr(np.stack([first, second], axis=1))[0]
    np.testing.assert_allclose(basis @ (basis.T @ turned), turned, atol=1e-4)


def test_a_turn_without_an_arc_is_a_straight_line():
    one = np.ones(4, np.float32)
    np.testing.assert_allclose(turn(one, one, 0.3), one)
    np.testing.assert_allclose(turn(one, 0 * one, 0.25), 0.75 * one)
    np.testing.assert_allclose(turn(one, -one, 0.25), 0.5 * one, atol=1e-6)
    assert turn(one, one, 0.3).dtype == np.float32


@pytest.fixture(scope="module")
def recordings(data_root: Path) -> list[Path]:
    return [sorted((data_root / "fsdd").rglob(f"{label}_theo_1.wav"))[0] for label in (3, 8)]


@pytest.fixture(scope="module")
def flow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flow of random weights that hears decidedly."""
    import torch

    from soundsight.models import flow

    torch.manual_seed(0)
    config = flow.Config(widths=(8, 16), steering_size=16, listener_widths=(4, 4, 4, 4), steps=2, sharpness=50.0)
    examples = {"features": np.zeros((2, 48, 48), np.float32), "noise": np.zeros((2, 784), np.float32)}
    folder = describe(tmp_path_factory.mktemp("flow") / "flow", name="flow", latent_size=784)
    return write_folder(folder, {"model.onnx": to_onnx(flow.System(config).eval(), examples)}).path


@pytest.fixture(params=["flow", "toy"])
def pipe(request: pytest.FixtureRequest, flow_folder: Path, tmp_path: Path) -> AudioToImage:
    """One that paints a distribution over labels, one that can only be given other features."""
    return AudioToImage.from_pretrained(flow_folder if request.param == "flow" else write_generator(tmp_path / "toy"))


def test_a_morph_begins_and_ends_with_the_pictures_of_its_sounds(pipe, recordings):
    frames = pipe.morph(*recordings, num_frames=5, seed=4)
    assert frames.array.shape == (5, 28, 28, 1)
    np.testing.assert_allclose(frames.array[0], pipe(recordings[0], 1, 4).array[0], atol=1)
    np.testing.assert_allclose(frames.array[-1], pipe(recordings[1], 2, 4).array[1], atol=1)
    assert frames.sound == "3_theo_1.wav to 8_theo_1.wav"
    assert len({frame.tobytes() for frame in frames.array}) == 5


def test_a_morph_of_a_sound_with_itself_changes_the_handwriting_alone(pipe, recordings):
    frames = pipe.morph(recordings[0], recordings[0], num_frames=3, seed=4)
    np.testing.assert_allclose(frames.array[[0, -1]], pipe(recordings[0], 2, 4).array, atol=1)


def test_sounds_of_other_rates_morph(pipe, recordings):
    rng = np.random.default_rng(0)
    frames = pipe.morph((rng.normal(0, 0.1, 44100), 44100), recordings[0], num_frames=2)
    assert len(frames) == 2


def test_a_mixture_of_one_is_that_one(pipe, recordings):
    mixed = pipe.mix(recordings, [0, 2], 2, 7)
    np.testing.assert_allclose(mixed.array, pipe(recordings[1], 2, 7).array, atol=1)
    assert mixed.sound == "0 3_theo_1.wav + 1 8_theo_1.wav"
    even = pipe.mix(recordings, [1, 1], 2, 7)
    np.testing.assert_array_equal(even.array, pipe.mix(recordings[::-1], [3, 3], 2, 7).array)
    assert not np.array_equal(even.array, mixed.array)


def test_a_flow_paints_the_mixture_of_what_is_painted(flow_folder, recordings):
    pipe = AudioToImage.from_pretrained(flow_folder)
    painted = [pipe.generator.listen(pipe.extract(pipe.hear(path)), "painted")[0] for path in recordings]
    _, blend = pipe._blend(
        np.concatenate([pipe.extract(pipe.hear(path)) for path in recordings]), np.array([0.25, 0.75])
    )
    np.testing.assert_allclose(blend["given"][0], 0.25 * painted[0] + 0.75 * painted[1], atol=1e-6)
    assert float(blend["share"]) == 1


def test_numbers_out_of_range_are_refused(pipe, recordings):
    for frames in (1, 1001, 2.5):
        with pytest.raises(SoundsightError, match="num_frames"):
            pipe.morph(*recordings, num_frames=frames)
    with pytest.raises(SoundsightError, match="seed"):
        pipe.mix(recordings, [1, 1], seed=-1)


def _frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (6, 29, 31, 1), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gif_holds_every_frame_at_its_time(tmp_path, channels):
    path = tmp_path / "film.gif"
    frames = _frames()
    if channels == 3:  # 200 colours, so that a palette can hold them
        frames = np.random.default_rng(1).integers(0, 255, (200, 3), np.uint8)[frames[..., 0] % 200]
    path.write_bytes(encode_gif(frames, 16, {"seed": 3}))
    with Image.open(path) as film:
        assert (film.n_frames, film.size, film.info["loop"]) == (6, (31, 29), 0)
        assert json.loads(film.info["comment"]) == {"seed": 3}
        for i in range(6):
            film.seek(i)
            found = np.asarray(film.convert("RGB"), float)
            np.testing.assert_allclose(found, np.broadcast_to(frames[i], found.shape), atol=6)


@pytest.mark.parametrize(("asked", "played"), [(16, 16), (22, 22), (45, 45), (60, 50), (1, 1)])
def test_a_gif_keeps_its_pace(tmp_path, asked, played):
    """In hundredths of a second: 22 pictures a second are 4 and 5 of them by turns."""
    frames = np.arange(60, dtype=np.uint8)[:, None, None, None] * np.full((60, 4, 4, 1), 4, np.uint8)
    path = tmp_path / "film.gif"
    path.write_bytes(encode_gif(frames, asked, {}))
    with Image.open(path) as film:
        durations = []
        for i in range(film.n_frames):
            film.seek(i)
            durations.append(film.info["duration"])
    assert len(durations) == 60
    assert sum(durations) == pytest.approx(60 * 1000 / played, abs=10)
    assert min(durations) >= 20


def test_an_mp4_plays(tmp_path):
    import av

    path = tmp_path / "film.mp4"
    smooth = np.linspace(0, 255, 6 * 29 * 31).reshape(6, 29, 31, 1).astype(np.uint8)
    path.write_bytes(encode_mp4(smooth, 12.5, {"seed": 3}))
    with av.open(str(path)) as film:
        assert float(film.streams.video[0].average_rate) == pytest.approx(12.5)
        assert json.loads(film.metadata["comment"]) == {"seed": 3}
        read = [frame.to_ndarray(format="gray") for frame in film.decode(video=0)]
    assert len(read) == 6
    assert read[0].shape == (30, 32)
    np.testing.assert_allclose(np.stack(read)[:, :29, :31], smooth[..., 0], atol=12)


@pytest.mark.parametrize("suffix", ["gif", "mp4", "png"])
def test_morph_writes_what_its_name_says(suffix, recordings, tmp_path, capsys):
    model = write_generator(tmp_path / "toy")
    out = tmp_path / "new" / f"film.{suffix}"
    options = ["--frames", "4", "--size", "32", "--model", str(model)]
    assert main(["morph", *map(str, recordings), "-o", str(out), *options]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    start = out.read_bytes()[:12]
    assert {"gif": b"GIF89a", "mp4": b"ftyp", "png": b"\x89PNG"}[suffix] in start
    if suffix == "gif":  # there and back: 4 frames, and the 2 between them
        with Image.open(out) as film:
            assert film.n_frames == 6


def test_a_strip_tells_its_own_size_and_what_was_turned(recordings, tmp_path, capsys):
    model, out = write_generator(tmp_path / "toy"), tmp_path / "strip.png"
    options = ["--frames", "4", "--size", "32", "--variation", "0.5", "--model", str(model), "--json"]
    assert main(["morph", *map(str, recordings), "-o", str(out), *options]) == 0
    told = json.loads(capsys.readouterr().out)
    with Image.open(out) as strip:
        assert (told["width"], told["height"]) == strip.size
        assert strip.width > 4 * 32
        assert strip.info["variation"] == "0.5"
    assert told["variation"] == 0.5


def test_standard_input_is_no_sound_of_a_morph(recordings, tmp_path, capsys):
    model = write_generator(tmp_path / "toy")
    assert main(["morph", str(recordings[0]), "-", "-o", str(tmp_path / "a.gif"), "--model", str(model)]) == 2
    assert "both are of files" in capsys.readouterr().err


def test_a_morph_tells_programs_what_it_made(recordings, tmp_path, capsys):
    model, out = write_generator(tmp_path / "toy"), tmp_path / "film.gif"
    options = ["--frames", "4", "--size", "32", "--seed", "3", "--model", str(model), "--json"]
    assert main(["morph", *map(str, recordings), "-o", str(out), *options]) == 0
    told = json.loads(capsys.readouterr().out)
    with Image.open(out) as film:
        assert (told["width"], told["height"]) == film.size
    assert (told["path"], told["frames"], told["seed"], told["model"]) == (str(out), 4, 3, "toy")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "film.avi"], "name it .gif, .mp4 or .png"),
        (["-o", "film.gif", "--fps", "0"], "from 1 to 60|1 to 60, not 0"),
        (["-o", "film.gif", "--fps", "nan"], "1 to 60, not nan"),
        (["-o", "film.gif", "--frames", "1"], "frames"),
        (["-o", "/proc/film.gif"], "cannot be written"),
        (["-o", "film.png", "--fps", "30"], "--fps is for films"),
        (["-o", "film.png", "--back"], "--back is for films"),
        (["-o", "film.gif", "--steps", "2"], "has no steps"),
        (["-o", "film.gif", "--variation", "3"], "from 0 to 2"),
        (["-o", "film.gif", "--strict"], "leave out --strict"),
    ],
)
def test_a_morph_that_cannot_be_says_why(options, message, recordings, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = write_generator(tmp_path / "toy")
    assert main(["morph", *map(str, recordings), *options, "--model", str(model)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    import re

    assert re.search(message, line)
    assert not list(tmp_path.glob("film*"))


def test_mix_on_the_command_line(recordings, tmp_path, capsys):
    model = write_generator(tmp_path / "toy")
    weighed = [f"{recordings[0]}:0.7", f"{recordings[1]}:0.3"]

    def call(*arguments: str) -> int:
        return main(["generate", "--mix", *arguments, "--model", str(model), "--size", "28"])

    assert call(*weighed, "-o", str(tmp_path / "mix.png")) == 0
    expected = AudioToImage.from_pretrained(model).mix(recordings, [0.7, 0.3], size=28).array[0, ..., 0]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "mix.png")), expected)
    assert call(*map(str, recordings), "-o", str(tmp_path / "out"), "--num-images", "2", "--json") == 0
    assert files(tmp_path / "out") == ["3_theo_1+8_theo_1_0.png", "3_theo_1+8_theo_1_1.png"]
    lines = capsys.readouterr().out.splitlines()
    told = json.loads(lines[-1])
    assert told["sounds"] == [str(path) for path in recordings]
    assert (told["weights"], told["index"]) == ([0.5, 0.5], 1), "as they count"
    assert call(*weighed, "-o", str(tmp_path / "sheet.png"), "--grid", "--num-images", "3") == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.info["sound"] == "0.7 3_theo_1.wav + 0.3 8_theo_1.wav"
    assert call("-", weighed[0], "-o", str(tmp_path / "no.png")) == 2
    assert "both are of files" in capsys.readouterr().err
    for wrong in (["a.wav:-1", "b.wav:1"], [f"{recordings[0]}:0", f"{recordings[1]}:0"], [weighed[0]]):
        assert call(*wrong, "-o", str(tmp_path / "no.png")) == 2
    assert "weight" in capsys.readouterr().err
    assert not (tmp_path / "no.png").exists()
