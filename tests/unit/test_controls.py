"""Guidance, steps and variation, from the keyword to the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from onnx_models import describe, generator_bytes, write_generator
from soundsight import AudioToImage, noise, photo
from soundsight.errors import ImageError, ModelError, SoundsightError
from soundsight.export.convert import to_onnx
from soundsight.folder import write_folder
from soundsight.generator import Generator
from soundsight.models import flow, latent_flow


@pytest.fixture(scope="module")
def system() -> flow.System:
    torch.manual_seed(0)
    config = flow.Config(widths=(8, 16), steering_size=16, listener_widths=(4, 4, 4, 4))
    made = flow.System(config).eval()
    made.listener.temperature.fill_(0.4)  # as calibration leaves it
    return made


@pytest.fixture(scope="module")
def pipe(system: flow.System, tmp_path_factory: pytest.TempPathFactory) -> AudioToImage:
    examples = {"features": np.zeros((2, 48, 48), np.float32), "noise": np.zeros((2, 784), np.float32)}
    folder = describe(tmp_path_factory.mktemp("flow") / "flow", name="flow", latent_size=784)
    return AudioToImage.from_pretrained(write_folder(folder, {"model.onnx": to_onnx(system, examples)}).path)


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    return np.random.default_rng(0).random((1, 48, 48), np.float32)


def expected(system: flow.System, features: np.ndarray, scale: float = 1.0, **controls: torch.Tensor) -> np.ndarray:
    drawn = torch.from_numpy(scale * noise.draw(3, 2, 784))
    with torch.no_grad():
        images = system.generate(torch.from_numpy(features).expand(2, -1, -1), drawn, **controls)
    return np.round(images.permute(0, 2, 3, 1).numpy() * 255)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ({}, {}),
        ({"steps": 7}, {"times": torch.linspace(1, 0, 8)}),
        ({"guidance": 3}, {"weights": torch.tensor([3.0, -2.0])}),
        ({"guidance": 1.0}, {"weights": torch.tensor([1.0])}),
        ({"guidance": 0}, {"weights": torch.tensor([0.0, 1.0])}),
        ({"variation": 0.5}, {"scale": 0.5}),
        ({"variation": 0, "steps": 2}, {"scale": 0.0, "times": torch.linspace(1, 0, 3)}),
    ],
)
def test_a_control_does_what_it_says(pipe, system, features, asked, meant):
    found = pipe.from_features(features, 2, seed=3, **asked)[0].array
    np.testing.assert_allclose(found, expected(system, features, **meant), atol=1)


def test_a_picture_does_not_change_with_the_number_of_pictures(pipe, features):
    one, two = (pipe.from_features(features, num, seed=3, steps=3, guidance=2)[0].array for num in (1, 2))
    np.testing.assert_array_equal(one[0], two[0])


def test_controls_go_all_the_way_through(pipe):
    sound = (np.sin(np.arange(8000) * 0.3).astype(np.float32), 8000)
    usual, turned = pipe(sound, seed=1), pipe(sound, seed=1, variation=0.3, steps=2)
    assert not np.array_equal(usual.array, turned.array)
    parts = pipe([sound], seed=1, split=True, variation=0.3, steps=2)
    np.testing.assert_array_equal(parts[0][0].array, turned.array)


def test_what_was_heard_is_told_without_a_picture(pipe, system, features):
    assert pipe.generator.listens
    with torch.no_grad():
        wanted = system.listen(torch.from_numpy(features))
    np.testing.assert_allclose(pipe.generator.listen(features), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"steps": 0}, "steps is 0; expected a whole number from 1 to 200"),
        ({"steps": 201}, "from 1 to 200"),
        ({"steps": 2.5}, "whole number"),
        ({"steps": True}, "whole number"),
        ({"guidance": float("nan")}, "guidance is nan; expected a number from 0 to 20"),
        ({"guidance": -1}, "from 0 to 20"),
        ({"guidance": "2"}, "expected a number"),
        ({"variation": float("inf")}, "from 0 to 2"),
        ({"variation": -0.1}, "from 0 to 2"),
    ],
)
def test_numbers_out_of_range_are_refused(pipe, features, asked, message):
    with pytest.raises(SoundsightError, match=message):
        pipe.from_features(features, **asked)


@pytest.fixture(scope="module")
def digit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("style") / "digit.png"
    pixels = np.zeros((28, 28), np.uint8)
    pixels[5:20, 10:14] = 200
    Image.fromarray(pixels).save(path)
    return path


def test_a_style_is_the_noise_that_its_picture_comes_from(pipe, system, digit, features):
    image = torch.from_numpy(photo.read(digit, (1, 28, 28)))
    with torch.no_grad():
        start = (2 * image - 1).reshape(1, 784)
        label, back = torch.zeros(1, 10), torch.linspace(0, 1, 51)
        _, wanted = system.draw(torch.zeros(1, 48, 48), start, back, given=label, share=torch.ones(()))
        expected_image = system.generate(torch.from_numpy(features), wanted)
    np.testing.assert_allclose(pipe.generator.invert(image[None].numpy()), wanted, atol=1e-3)
    found = pipe.from_features(features, 1, seed=5, style=digit)[0].array
    np.testing.assert_allclose(found[..., 0], np.round(255 * expected_image[:, 0].numpy()), atol=1.01)


def test_a_style_is_read_by_a_model_that_reads(digit, features, tmp_path):
    """A flow of codes takes the code of the picture, not its pixels, to find the noise."""
    torch.manual_seed(0)
    config = latent_flow.Config(
        widths=(8, 8, 8), latent_size=6, painter_width=16, painter_blocks=2, listener_widths=(4, 4, 4, 4), variation=0.8
    )
    system = latent_flow.System(config).eval()
    torch.nn.init.normal_(system.painter.network.leave.weight)
    examples = {"features": np.zeros((2, 48, 48), np.float32), "noise": np.zeros((2, 6), np.float32)}
    folder = describe(tmp_path / "codes", name="codes", latent_size=6)
    pipe = AudioToImage.from_pretrained(write_folder(folder, {"model.onnx": to_onnx(system, examples)}).path)
    image = torch.from_numpy(photo.read(digit, (1, 28, 28)))[None]
    with torch.no_grad():
        back = {"given": torch.zeros(1, 10), "share": torch.ones(()), "page": image, "read": torch.ones(())}
        _, wanted = system.draw(torch.zeros(1, 48, 48), torch.zeros(1, 6), torch.linspace(0, 1, 51), **back)
        expected_image = system.generate(torch.from_numpy(features), wanted)
    np.testing.assert_allclose(pipe.generator.invert(image.numpy()), wanted, atol=1e-3)
    found = pipe.from_features(features, 1, seed=5, style=digit)[0].array
    np.testing.assert_allclose(found[..., 0], np.round(255 * expected_image[:, 0].numpy()), atol=1.01)


def test_the_first_picture_has_the_style_and_the_others_nearly(pipe, digit, features):
    one, other = (pipe.from_features(features, 3, seed=seed, style=str(digit))[0].array for seed in (1, 2))
    np.testing.assert_array_equal(one[0], other[0])
    assert not np.array_equal(one[1], other[1])
    assert len({image.tobytes() for image in one}) == 3
    noise_MD = pipe._styles.draw(1, 3, {"style": digit})
    cosines = [row @ noise_MD[0] / np.linalg.norm(row) / np.linalg.norm(noise_MD[0]) for row in noise_MD[1:]]
    assert min(cosines) > 0.8


def test_another_style_is_not_the_last_one(pipe, digit, features, tmp_path):
    other = tmp_path / "other.png"
    Image.fromarray(np.asarray(Image.open(digit)).T).save(other)
    first = pipe.from_features(features, style=digit)[0].array
    assert not np.array_equal(pipe.from_features(features, style=other)[0].array, first)
    np.testing.assert_array_equal(pipe.from_features(features, style=digit)[0].array, first)


def test_a_style_that_is_none_is_refused(pipe, features, tmp_path):
    (tmp_path / "text.png").write_text("seven")
    for wrong in (tmp_path / "absent.png", tmp_path / "text.png", tmp_path):
        with pytest.raises(ImageError):
            pipe.from_features(features, style=wrong)
    for wrong in (3, "", np.zeros((28, 28))):
        with pytest.raises(SoundsightError, match="expected the file of a picture") as error:
            pipe.from_features(features, style=wrong)
        assert len(str(error.value)) < 150, "an array is not printed whole"
    for i, empty in enumerate((Image.new("L", (28, 28), 255), Image.new("RGB", (1, 1)), Image.new("RGBA", (50, 9)))):
        empty.save(tmp_path / f"{i}.png")
        with pytest.raises(ImageError, match="one colour all over"):
            pipe.from_features(features, style=tmp_path / f"{i}.png")
    plain = AudioToImage.from_pretrained(write_generator(tmp_path / "plain"))
    with pytest.raises(SoundsightError, match="has no style"):
        plain.from_features(features, style=tmp_path)


def test_pictures_know_what_was_turned(pipe, digit, features):
    asked = {"guidance": 2, "steps": np.int64(3), "variation": 0.5, "style": digit}
    pictures = pipe.from_features(features, 2, **asked)[0]
    told = {"guidance": 2, "steps": 3, "variation": 0.5, "style": digit.name}
    assert told.items() <= pictures.metadata(1).items()
    assert told.items() <= pictures[0].info.items()
    assert not told.keys() & pipe.from_features(features)[0].metadata(0).keys()


@pytest.mark.parametrize("wrong", [10**400, -(10**400), float("nan"), float("inf"), "2", True])
def test_numbers_out_of_all_range_are_refused(pipe, features, wrong):
    for name in ("guidance", "variation"):
        with pytest.raises(SoundsightError, match="expected a number from 0"):
            pipe.from_features(features, **{name: wrong})


def test_what_is_no_control_is_refused(pipe, features):
    with pytest.raises(TypeError, match="no control 'colour'; known: guidance, steps, variation, style"):
        pipe.from_features(features, colour=3)


def test_a_model_without_a_control_says_so(tmp_path: Path, features):
    plain = AudioToImage.from_pretrained(write_generator(tmp_path / "plain"))
    for asked in ({"steps": 3}, {"guidance": 2}):
        with pytest.raises(SoundsightError, match=f"has no {next(iter(asked))}: it draws a picture at once"):
            plain.from_features(features, **asked)
    assert plain.from_features(features, variation=0.5)[0].array.shape == (1, 28, 28, 1)
    still = AudioToImage.from_pretrained(
        write_generator(tmp_path / "still", generator_bytes(latent_size=0), latent_size=0)
    )
    with pytest.raises(SoundsightError, match="no variation: one sound, one picture"):
        still.from_features(features, variation=0.5)


def test_an_unknown_optional_input_is_refused(pipe, tmp_path: Path):
    import onnx

    model = onnx.load(pipe.folder.path / "model.onnx")
    for names in (model.graph.input, model.graph.initializer):
        for item in names:
            item.name = "tricks" if item.name == "share" else item.name
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = "tricks" if name == "share" else name
    folder = describe(tmp_path / "flow", name="flow", latent_size=784)
    path = write_folder(folder, {"model.onnx": model.SerializeToString()}).path
    with pytest.raises(ModelError, match=r"optional inputs .*tricks"):
        Generator(AudioToImage.from_pretrained(path).folder)
