"""Guidance, steps and variation, from the keyword to the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from onnx_models import describe, generator_bytes, write_generator
from soundsight import AudioToImage, noise
from soundsight.errors import ModelError, SoundsightError
from soundsight.export.convert import to_onnx
from soundsight.folder import write_folder
from soundsight.generator import Generator
from soundsight.models import flow


@pytest.fixture(scope="module")
def system() -> flow.System:
    torch.manual_seed(0)
    config = flow.Config(widths=(8, 16), steering_size=16, listener_widths=(4, 4, 4, 4))
    return flow.System(config).eval()


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


def test_what_is_no_control_is_refused(pipe, features):
    with pytest.raises(TypeError, match="no control 'colour'; known: guidance, steps, variation"):
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
