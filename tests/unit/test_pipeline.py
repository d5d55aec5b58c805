"""The pipeline: one picture for a sound and a seed, whatever is around it, and one line for every mistake."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import soundfile
from PIL import Image

from onnx_models import generator_bytes, judge_bytes, write_generator, write_judge
from soundsight import AudioToImage, Clip, Pictures, SoundsightError
from soundsight.audio import condition, decode
from soundsight.errors import AudioError, ModelError, OutputError, UnknownNameError
from soundsight.features import logmel
from soundsight.folder import ImageShape, write_folder
from soundsight.manifest import ModelFolder
from soundsight.noise import draw


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("model") / "toy")


@pytest.fixture(scope="module")
def pipe(model: Path) -> AudioToImage:
    return AudioToImage.from_pretrained(model)


@pytest.fixture(scope="module")
def recordings(data_root: Path) -> list[Path]:
    return sorted((data_root / "fsdd").rglob("*_0.wav"))[:12]


def _voice(seed: int = 0, seconds: float = 0.5, rate: int = 8000) -> np.ndarray:
    """A harmonic tone with an envelope, different for each seed."""
    t = np.arange(int(seconds * rate)) / rate
    pitch = 100 + 40 * seed
    tone = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 9))
    return (0.2 * tone * np.hanning(len(t))).astype(np.float32)


def test_pictures_are_the_networks(pipe: AudioToImage, model: Path, recordings: list[Path]) -> None:
    """The whole way by hand: decode, condition, front end, noise, ONNX Runtime, rounding."""
    session = onnxruntime.InferenceSession(model / "model.onnx", providers=["CPUExecutionProvider"])
    clip = condition(decode(recordings[3], sample_rate_hz=8000))
    features = logmel.extract([clip], logmel.Config())
    noise = draw(5, 3, 16)
    expected = session.run(None, {"features": features.repeat(3, axis=0), "noise": noise})[0]
    found = pipe(recordings[3], num_images=3, seed=5).array
    assert found.shape == (3, 28, 28, 1)
    assert np.abs(found[..., 0] - expected[:, 0] * 255).max() <= 0.51


def test_nothing_around_a_sound_changes_its_pictures(pipe: AudioToImage, recordings: list[Path]) -> None:
    together = pipe(list(recordings), num_images=5, seed=3, size=56)
    for path, pictures in zip(recordings, together, strict=True):
        alone = pipe(path, num_images=2, seed=3, size=56)
        np.testing.assert_array_equal(alone.array, pictures.array[:2])
    with ThreadPoolExecutor(4) as pool:
        for pictures, again in zip(together, pool.map(lambda p: pipe(p, 5, 3, 56), recordings), strict=True):
            np.testing.assert_array_equal(pictures.array, again.array)


def test_seeds_sounds_and_images_differ(pipe: AudioToImage) -> None:
    results = [pipe((_voice(v), 8000), num_images=3, seed=s).array for v in range(3) for s in range(3)]
    assert len(np.unique(np.concatenate(results), axis=0)) == 27


def test_every_way_to_give_a_sound_gives_the_same(pipe: AudioToImage, tmp_path: Path) -> None:
    samples = _voice()
    path = tmp_path / "seven.wav"
    soundfile.write(path, samples, 8000, subtype="FLOAT")
    blob = path.read_bytes()
    with path.open("rb") as file:
        ways: list[Any] = [path, str(path), blob, io.BytesIO(blob), file, (samples, 8000), Clip(samples, 8000)]
        results = pipe(ways, num_images=2)
    for pictures in results[1:]:
        np.testing.assert_array_equal(pictures.array, results[0].array)
    names = ["seven.wav", "seven.wav", "bytes", "samples", "seven.wav", "samples", "samples"]
    assert [pictures.sound for pictures in results] == names


def test_features_computed_before(pipe: AudioToImage, recordings: list[Path]) -> None:
    clips = [pipe.hear(path)[0] for path in recordings[:3]]
    features = logmel.extract(clips, logmel.Config())
    for path, pictures in zip(recordings, pipe.from_features(features, num_images=2, seed=9), strict=False):
        np.testing.assert_array_equal(pictures.array, pipe(path, num_images=2, seed=9).array)


def test_threads_change_neither_pictures_nor_what_is_heard(recordings: list[Path]) -> None:
    """More sounds than are held at once, too: each stays with its own pictures."""
    one = AudioToImage.from_pretrained("digits")
    two = AudioToImage.from_pretrained("digits", threads=2)
    features = one.extract([one.hear(path)[0] for path in recordings])
    assert len(recordings) * 30 > 256
    found = two.from_features(features, num_images=30, seed=4)
    assert len({pictures.heard for pictures in found}) == len(recordings)
    for path, heard_FN, pictures in zip(recordings, features, found, strict=True):
        np.testing.assert_array_equal(pictures.array, one(path, num_images=30, seed=4).array)
        assert pictures.heard == one.recognise(heard_FN)


def test_splitting_is_cutting_by_hand(pipe: AudioToImage) -> None:
    words = [_voice(seed) for seed in (0, 3)]
    gap = np.zeros(8000, np.float32)
    parts = pipe((np.concatenate([gap, words[0], gap, words[1], gap]), 8000), split=True)
    assert [part.part for part in parts] == [1, 2]
    assert parts[0].metadata(0)["part"] == 1
    whole = pipe((np.concatenate([gap, words[0], gap]), 8000), split=True)
    assert [part.part for part in whole] == [0]
    assert "part" not in whole[0].metadata(0)
    # A cut leaves other margins than a trim, so the pictures agree closely, not bit by bit.
    difference = np.abs(parts[0].array.astype(int) - whole[0].array)
    other = np.abs(parts[1].array.astype(int) - whole[0].array)
    assert difference.mean() < other.mean() / 2


def test_pictures_are_a_sequence_with_origin(pipe: AudioToImage, tmp_path: Path) -> None:
    pictures = pipe((_voice(), 8000), num_images=3, seed=2**64 - 1, size=56)
    assert len(pictures) == 3
    assert [image.size for image in pictures] == [(56, 56)] * 3
    assert pictures[-1].info["index"] == 2
    assert [image.info["index"] for image in pictures[1:]] == [1, 2]
    np.testing.assert_array_equal(np.asarray(pictures.images[1]), pictures.array[1, ..., 0])
    with pytest.raises(IndexError):
        pictures[3]
    assert pictures[0].info | {"soundsight": ""} == {
        "sound": "samples", "model": "toy", "seed": 2**64 - 1, "index": 0, "soundsight": "",
    }  # fmt: skip
    paths = pictures.save(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["samples_0.png", "samples_1.png", "samples_2.png"]
    with Image.open(paths[2]) as image:
        np.testing.assert_array_equal(np.asarray(image), pictures.array[2, ..., 0])
        assert image.info["seed"] == str(2**64 - 1)
    (array,) = pictures.save(tmp_path, "npy")
    np.testing.assert_array_equal(np.load(array), pictures.array)


def test_a_model_without_noise_and_in_colour(tmp_path: Path) -> None:
    blob = generator_bytes(latent_size=0, shape=(3, 20, 30))
    pipe = AudioToImage.from_pretrained(
        write_generator(tmp_path / "m", blob, latent_size=0, image=ImageShape(3, 20, 30))
    )
    pictures = pipe((_voice(), 8000), num_images=2, size=60)
    assert pictures.array.shape == (2, 40, 60, 3)
    np.testing.assert_array_equal(pictures.array[0], pictures.array[1])
    assert pictures[0].mode == "RGB"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_images": 0}, "num_images is 0; expected a whole number from 1 to 1000"),
        ({"num_images": 1001}, "from 1 to 1000"),
        ({"num_images": 2.0}, "num_images is 2.0"),
        ({"num_images": True}, "num_images is True"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is"),
        ({"size": 7}, "size is 7; expected a whole number from 8 to 4096"),
        ({"size": 4097}, "size is 4097"),
        ({"num_images": 1000, "size": 4096}, "too much memory"),
    ],
)
def test_numbers_out_of_range(pipe: AudioToImage, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SoundsightError, match=message):
        pipe((_voice(), 8000), **options)


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (3, "a sound is a path"),
        (None, "a sound is a path"),
        ((1, 2, 3), "not \\(int, int, int\\)"),
        ((np.zeros(8000), 16000.5), "whole number of Hz"),
        ((np.zeros(8000), 8000), "silent"),
        (b"", "."),
        (b"RIFF", "."),
        ("no/such.wav", "no/such.wav"),
    ],
)
def test_what_is_no_sound(pipe: AudioToImage, sound: Any, message: str) -> None:
    with pytest.raises(AudioError, match=message) as caught:
        pipe(sound)
    assert "\n" not in str(caught.value)


def test_numpy_numbers_are_numbers(pipe: AudioToImage) -> None:
    voice = _voice()
    pictures = pipe((voice, np.int64(8000)), num_images=np.int64(2), seed=np.uint64(1))  # type: ignore[arg-type,call-overload]
    np.testing.assert_array_equal(pictures.array, pipe((voice, 8000), 2, 1).array)
    assert type(pictures.seed) is int


Change = Callable[[Path], object]


def _broken(blob: bytes, **changes: Any) -> Change:
    return lambda path: write_generator(path, blob, **changes)


BROKEN: dict[str, tuple[Change, str]] = {
    "a judge": (write_judge, "judges pictures; choose a generator"),
    "only PyTorch": (
        lambda path: write_folder(_toy(path), {"model.safetensors": b""}),
        "make one: soundsight export",
    ),
    "no weights": (lambda path: write_folder(_toy(path), {}), "there is no model.onnx"),
    "not ONNX": (_broken(b"hello"), "is no network that runs here"),
    "empty": (_broken(b""), "is no network that runs here"),
    "cut": (_broken(generator_bytes()[:1000]), "is no network that runs here"),
    "a judge's network": (_broken(judge_bytes()), "expected features"),
    "other names": (_broken(generator_bytes(names=("x", "y", "z"))), r"has the inputs x .*expected features"),
    "other latent": (_broken(generator_bytes(latent_size=8)), r"noise tensor\(float\)\[B, 8\]; expected .*16"),
    "no noise": (_broken(generator_bytes(latent_size=0)), "expected features.*noise"),
    "other shape": (_broken(generator_bytes(shape=(3, 28, 28))), r"image tensor\(float\)\[B, 3, 28, 28\]; expected"),
    "unknown option": (
        _broken(generator_bytes(), features={"name": "logmel", "mels": 3}),
        "features in config.json do not fit.*mels",
    ),
    "bad option": (
        _broken(generator_bytes(), features={"name": "logmel", "bins": 0}),
        "features in config.json do not fit.*bins",
    ),
}


def _toy(path: Path) -> ModelFolder:
    from onnx_models import describe

    return describe(path)


@pytest.mark.parametrize(("make", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_model_that_does_not_fit(
    tmp_path: Path, make: Change, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "m")
    with pytest.raises(ModelError, match=message) as caught:
        AudioToImage.from_pretrained(tmp_path / "m")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == "", "ONNX Runtime must not talk beside the error"


@pytest.mark.parametrize(
    ("blob", "changes", "message"),
    [
        (generator_bytes(poison=float("nan")), {}, "not finite"),
        (generator_bytes(), {"features": {"name": "logmel", "bins": 40}}, "cannot be run"),
    ],
    ids=["NaN", "front end of another size"],
)
def test_a_network_that_fails_when_it_runs(
    tmp_path: Path, blob: bytes, changes: dict[str, Any], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    pipe = AudioToImage.from_pretrained(write_generator(tmp_path / "m", blob, **changes))
    with pytest.raises(ModelError, match=message) as caught:
        pipe((_voice(), 8000))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_changed_weights_are_not_loaded(tmp_path: Path) -> None:
    model = write_generator(tmp_path / "m")
    (model / "model.onnx").write_bytes(generator_bytes(poison=1.0))
    with pytest.raises(ModelError, match="SHA-256"):
        AudioToImage.from_pretrained(model)


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="no 'digitz' in models"):
        AudioToImage.from_pretrained("digitz")
    write_generator(tmp_path / "m", features={"name": "os"})
    with pytest.raises(UnknownNameError, match="no 'os' in features"):
        AudioToImage.from_pretrained(tmp_path / "m")


def test_the_package_is_lazy() -> None:
    """``import soundsight`` and using a picture need no PyTorch, no pydantic, and only what they must."""
    code = (
        "import sys, soundsight\n"
        "assert not {'numpy', 'onnxruntime', 'PIL', 'torch', 'pydantic', 'typer'} & set(sys.modules), sys.modules\n"
        "assert 'AudioToImage' in dir(soundsight)\n"
        "soundsight.AudioToImage, soundsight.Clip, soundsight.SoundsightError, soundsight.Pictures\n"
        "assert not {'torch', 'pydantic', 'typer', 'rich'} & set(sys.modules)\n"
        "try: soundsight.nothing\n"
        "except AttributeError as error: assert 'nothing' in str(error)\n"
        "else: raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert Pictures.__module__ == "soundsight.result"


def test_numbers_of_numpy_are_numbers(pipe: AudioToImage) -> None:
    sound = (np.sin(np.arange(8000) / 3), 8000)
    assert len(pipe(sound, num_images=np.int8(2), size=np.int16(200), seed=np.uint64(3))) == 2  # type: ignore[call-overload]
    with pytest.raises(SoundsightError, match="too much memory"):
        pipe(sound, num_images=np.int32(256), size=np.int32(4096))  # type: ignore[call-overload]


def test_pictures_of_several_sounds_have_names_of_files(pipe: AudioToImage, tmp_path: Path) -> None:
    sounds = [str(tmp_path / f"{name}.wav") for name in ("seven", "one")]
    for sound in sounds:
        soundfile.write(sound, np.sin(np.arange(8000) / 3), 8000)
    mixed = pipe.mix(sounds, [1, 2])
    assert [path.name for path in mixed.save(tmp_path / "a")] == ["seven+one.png"]
    assert mixed.sound == "0.33 seven.wav + 0.67 one.wav"
    assert [path.name for path in pipe.morph(*sounds, num_frames=2).save(tmp_path / "b")] == [
        "seven-to-one_0.png",
        "seven-to-one_1.png",
    ]
    (path,) = pipe.mix(sounds * 40, [1] * 80).save(tmp_path / "c")
    assert len(path.name) < 255


@pytest.mark.parametrize("suffix", ["gif", ".png", ""])
def test_what_is_no_format_is_refused_before_anything_is_made(pipe: AudioToImage, tmp_path: Path, suffix: str) -> None:
    pictures = pipe((np.sin(np.arange(8000) / 3), 8000))
    with pytest.raises(OutputError, match="choose one of png, webp, jpg, npy"):
        pictures.save(tmp_path / "new", suffix)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()
