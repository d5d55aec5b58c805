"""Export: the ONNX file computes what PyTorch computes, says nothing about its maker, and bad weights are refused."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import save
from torch import Tensor, nn

from soundsight import noise, registry
from soundsight.errors import DatasetError, ModelError, OutputError
from soundsight.evaluation.networks import draw_pictures, load_judge, load_pipeline
from soundsight.export import exporter, load_system, to_onnx
from soundsight.export.compare import difference, onnx_runner, torch_runner
from soundsight.folder import ImageShape, ModelFolder, read_folder, write_folder
from soundsight.models import lenet5

EXAMPLES = Path(__file__).parents[2] / "examples"
SOUNDS = sorted(EXAMPLES.glob("*.wav"))


class TinyConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    latent_size: int = 4


class Tiny(nn.Module):
    """A generator with every layer that export has to treat: convolutions, batch normalisation, exp of noise."""

    phases = ("all",)
    features_shape = (48, 48)
    image_shape = (1, 28, 28)

    def __init__(self, config: TinyConfig, num_labels: int = 10) -> None:
        super().__init__()
        self.latent_size = config.latent_size
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 4, 4, 4, bias=False), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(576, 4)
        )
        self.dense = nn.Sequential(nn.Linear(config.latent_size, 4 * 49), nn.BatchNorm1d(4 * 49), nn.ReLU())
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(4, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.ConvTranspose2d(4, 1, 4, 2, 1)
        )

    def generate(self, features_BFN: Tensor, noise_BD: Tensor) -> Tensor:
        latent_BD = self.encoder(features_BFN[:, None])
        latent_BD = latent_BD + torch.exp(0.5 * latent_BD) * noise_BD
        return torch.sigmoid(self.decoder(self.dense(latent_BD).unflatten(1, (4, 7, 7))))


def tiny() -> Tiny:
    """With statistics in its batch normalisation that are not the initial ones."""
    torch.manual_seed(0)
    module = Tiny(TinyConfig())
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.2, 3)
            layer.weight.data.normal_(1)
            layer.bias.data.normal_()
    return module.eval()


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a model folder of the system ``tiny``, which exists while the test runs."""
    found = registry.find

    def find(room: str, name: str) -> Any:
        return SimpleNamespace(Config=TinyConfig, System=Tiny) if name == "tiny" else found(room, name)

    monkeypatch.setattr(registry, "find", find)

    def build(tensors: dict[str, Tensor] | None = None, **changes: Any) -> Path:
        described: dict[str, Any] = {
            "name": "tiny",
            "system": "tiny",
            "features": {"name": "logmel"},
            "latent_size": 4,
            "image": ImageShape(1, 28, 28),
            "labels": tuple("0123456789"),
        }
        model = ModelFolder(path=tmp_path / "tiny", **{**described, **changes})
        weights = save(tiny().state_dict() if tensors is None else tensors)
        return write_folder(model, {"model.safetensors": weights}).path

    return build


def inputs_of(num: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.Generator(np.random.Philox(0))
    return {"features": rng.random((num, 48, 48)).astype(np.float32), "noise": noise.draw(seed, num, 4)}


def test_generator_interface_is_the_documented_one() -> None:
    session = onnxruntime.InferenceSession(to_onnx(tiny(), inputs_of(2)))
    assert [(i.name, i.shape, i.type) for i in session.get_inputs()] == [
        ("features", ["batch", 48, 48], "tensor(float)"),
        ("noise", ["batch", 4], "tensor(float)"),
    ]
    assert [(o.name, o.shape) for o in session.get_outputs()] == [("image", ["batch", 1, 28, 28])]


def test_a_generator_without_noise_has_one_input() -> None:
    class Deterministic(Tiny):
        def generate(self, features_BFN: Tensor, noise_BD: Tensor) -> Tensor:
            assert noise_BD.shape[1] == 0
            return super().generate(features_BFN, noise_BD.new_zeros(len(features_BFN), 4))

    torch.manual_seed(0)
    inputs = {"features": inputs_of(64)["features"]}
    module = Deterministic(TinyConfig()).eval()
    contents = to_onnx(module, inputs)
    assert [i.name for i in onnxruntime.InferenceSession(contents).get_inputs()] == ["features"]
    assert difference(onnx_runner(contents), torch_runner(module), inputs) < 1e-5


def test_judge_interface_is_the_documented_one() -> None:
    judge = lenet5.System(lenet5.Config(dropout=0.5)).eval()
    contents = to_onnx(judge, {"image": np.zeros((2, 1, 28, 28), np.float32)})
    session = onnxruntime.InferenceSession(contents)
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("image", ["batch", 1, 28, 28])]
    assert [(o.name, o.shape) for o in session.get_outputs()] == [
        ("logits", ["batch", 10]),
        ("features", ["batch", 84]),
    ]
    image = np.random.Generator(np.random.Philox(1)).random((7, 1, 28, 28)).astype(np.float32)
    with torch.inference_mode():
        expected = judge(torch.from_numpy(image))
    for found, wanted in zip(session.run(None, {"image": image}), expected, strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


def test_onnx_equals_pytorch_for_every_batch_size() -> None:
    module = tiny()
    inputs = inputs_of(64)
    contents = to_onnx(module, inputs_of(2))
    gap = difference(onnx_runner(contents), torch_runner(module), inputs)
    assert gap < 1e-5
    # The noise and the sound matter, or agreement would mean nothing.
    [image] = torch_runner(module)(inputs)
    assert np.abs(torch_runner(module)({**inputs, "noise": -inputs["noise"]})[0] - image).max() > 1e-2
    assert np.abs(torch_runner(module)({**inputs, "features": inputs["features"][::-1].copy()})[0] - image).max() > 1e-2


def test_the_difference_notices_a_changed_weight() -> None:
    module, inputs = tiny(), inputs_of(64)
    contents = to_onnx(module, inputs_of(2))
    module.decoder[-1].bias.data += 0.01
    assert difference(onnx_runner(contents), torch_runner(module), inputs) > exporter.TOLERANCE


def test_weights_of_16_bits_are_half_the_size_and_all_but_the_same_pictures() -> None:
    module, inputs = tiny(), inputs_of(64)
    whole, halved = (to_onnx(module, inputs, half=half) for half in (False, True))
    assert len(halved) < 0.65 * len(whole)  # a third of a network this small is its graph
    gap = difference(onnx_runner(halved), torch_runner(module), inputs)
    assert 1e-6 < gap < exporter.HALF_TOLERANCE
    # What is computed stays as it was.
    onnx.checker.check_model(onnx.load_from_string(halved), full_check=True)
    session = onnxruntime.InferenceSession(halved)
    assert {node.type for node in (*session.get_inputs(), *session.get_outputs())} == {"tensor(float)"}


def test_a_weight_that_16_bits_cannot_hold_is_refused(make: Callable[..., Path]) -> None:
    tensors = tiny().state_dict()
    tensors["encoder.4.weight"].view(-1)[0] = 1e5
    folder = make(tensors)
    with pytest.raises(ModelError, match="too large for 16 bits"):
        exporter.export(folder, sounds=SOUNDS, half=True)
    assert not (folder / "model.onnx").exists()


def test_what_half_may_differ_by_is_said(make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make()
    whole = exporter.export(folder, sounds=SOUNDS)
    halved = exporter.export(folder, sounds=SOUNDS, half=True)
    assert (whole.allowed, halved.allowed) == (exporter.TOLERANCE, exporter.HALF_TOLERANCE)
    assert halved.num_bytes < 0.65 * whole.num_bytes
    assert halved.num_parameters == whole.num_parameters
    monkeypatch.setattr(exporter, "HALF_TOLERANCE", 1e-7)
    with pytest.raises(ModelError, match="differ"):
        exporter.export(folder, sounds=SOUNDS, half=True)


def test_batch_normalisation_is_folded() -> None:
    graph = onnx.load_from_string(to_onnx(tiny(), inputs_of(2))).graph
    assert "BatchNormalization" not in {node.op_type for node in graph.node}


def test_nothing_of_the_maker_stays_in_the_file() -> None:
    contents = to_onnx(tiny(), inputs_of(2))
    for trace in (b".py", b"site-packages", b"Tiny", b"forward", str(Path.home()).encode(), str(Path.cwd()).encode()):
        assert trace not in contents, trace
    model = onnx.load_from_string(contents)
    assert not model.doc_string
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)


def test_the_same_model_gives_the_same_bytes() -> None:
    examples = inputs_of(2)
    assert to_onnx(tiny(), examples) == to_onnx(tiny(), examples)


def test_export_warns_of_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        to_onnx(tiny(), inputs_of(2))
    assert [str(warning.message) for warning in caught] == []
    assert capfd.readouterr() == ("", "")


def test_export_adds_the_file_and_its_hash(make: Callable[..., Path]) -> None:
    folder = make()
    report = exporter.export(folder, sounds=SOUNDS)
    model = read_folder(folder)  # compares the hashes
    assert set(model.weights) == {"model.onnx", "model.safetensors"}
    assert report.path == folder / "model.onnx"
    assert report.num_bytes == report.path.stat().st_size
    assert report.max_difference <= 1e-4
    assert report.num_inputs == 64
    json.dumps(report.to_json())


def test_export_twice_changes_nothing(make: Callable[..., Path]) -> None:
    folder = make()
    exporter.export(folder, sounds=SOUNDS)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    exporter.export(folder, sounds=SOUNDS)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_same_seed_gives_the_same_picture_from_both(make: Callable[..., Path]) -> None:
    folder = make()
    exporter.export(folder, sounds=SOUNDS[:1])
    _, module = load_system(folder)
    inputs = inputs_of(5, seed=11)
    [from_torch] = torch_runner(module)(inputs)
    [from_onnx] = onnx_runner((folder / "model.onnx").read_bytes())(inputs)
    np.testing.assert_array_equal((from_torch * 255).round(), (from_onnx * 255).round())


def test_evaluation_draws_the_same_pictures_from_both(make: Callable[..., Path]) -> None:
    folder = make()
    noise_PD, features = noise.draw(2, 300, 4), inputs_of(7)["features"]
    rows = np.arange(300) % 7

    def pictures() -> np.ndarray:
        pipe = load_pipeline(read_folder(folder))
        return np.concatenate(list(draw_pictures(pipe, features, rows, noise_PD)))

    from_torch = pictures()
    exporter.export(folder, sounds=SOUNDS[:1])
    from_onnx = pictures()
    assert from_onnx.shape == (300, 1, 28, 28)
    # A level may fall to either side where the value lies between two.
    assert np.abs(from_onnx.astype(int) - from_torch).max() <= 1
    assert (from_onnx != from_torch).mean() < 1e-3


def test_a_judge_decides_the_same_from_both(tmp_path: Path, make: Callable[..., Path]) -> None:
    torch.manual_seed(0)
    judge = lenet5.System(lenet5.Config()).eval()
    described = {"system": "lenet5", "features": None, "latent_size": 0, "kind": "judge"}
    folder = make(judge.state_dict(), **described)
    images = np.random.Generator(np.random.Philox(1)).integers(0, 256, (300, 1, 28, 28), dtype=np.uint8)
    from_torch = load_judge(folder, 10, (1, 28, 28))[1](images)
    contents = to_onnx(judge, {"image": np.zeros((2, 1, 28, 28), np.float32)})
    write_folder(replace(read_folder(folder), path=tmp_path / "onnx"), {"model.onnx": contents})
    from_onnx = load_judge(tmp_path / "onnx", 10, (1, 28, 28))[1](images)
    with torch.inference_mode():
        expected = judge(torch.from_numpy(images) / 255)
    for answers in (from_torch, from_onnx):  # logits, and the features that they are made of
        for found, wanted in zip(answers, expected, strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


def test_export_to_a_new_folder_or_file_leaves_the_model_as_it_is(make: Callable[..., Path], tmp_path: Path) -> None:
    folder = make()
    exporter.export(folder, out=tmp_path / "slim", sounds=SOUNDS[:1])
    exporter.export(folder, out=tmp_path / "deep" / "tiny.onnx", sounds=SOUNDS[:1])
    assert set(read_folder(tmp_path / "slim").weights) == {"model.onnx"}
    assert (tmp_path / "deep" / "tiny.onnx").read_bytes() == (tmp_path / "slim" / "model.onnx").read_bytes()
    assert set(read_folder(folder).weights) == {"model.safetensors"}


def test_export_does_not_overwrite_another_model(make: Callable[..., Path], tmp_path: Path) -> None:
    folder = make()
    with pytest.raises(OutputError, match="choose a new folder"):
        exporter.export(folder, out=folder, sounds=SOUNDS[:1])
    assert set(read_folder(folder).weights) == {"model.safetensors"}
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        exporter.export(folder, out=tmp_path / "file" / "model.onnx", sounds=SOUNDS[:1])


def test_a_difference_stops_the_export(make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make()

    def other(module: nn.Module, examples: Any, **options: Any) -> bytes:
        module.decoder[-1].bias.data += 0.01
        contents = to_onnx(module, examples, **options)
        module.decoder[-1].bias.data -= 0.01
        return contents

    monkeypatch.setattr(exporter, "to_onnx", other)
    with pytest.raises(ModelError, match=r"differ by 0\.00"):
        exporter.export(folder, sounds=SOUNDS[:1])
    assert set(read_folder(folder).weights) == {"model.safetensors"}


def without(name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in tiny().state_dict().items() if key != name}


BIAS = "decoder.3.bias"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (without(BIAS), f"lacks the tensor '{BIAS}'"),
        ({**tiny().state_dict(), "extra": torch.zeros(1)}, "surplus tensor 'extra'"),
        ({**tiny().state_dict(), BIAS: torch.zeros(2)}, rf"'{BIAS}' is \(2,\).*has \(1,\)"),
        ({**tiny().state_dict(), BIAS: torch.full((1,), torch.nan)}, "NaN"),
    ],
)
def test_weights_must_be_exactly_the_systems(
    make: Callable[..., Path], tensors: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        load_system(make(tensors))


def test_options_must_be_the_systems(make: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match=r"model\.depth.*config\.json.*latent_size"):
        load_system(make(model={"depth": 3}))
    with pytest.raises(ModelError, match=r"model\.system"):
        load_system(make(model={"system": "aivae"}))
    with pytest.raises(ModelError, match=r"features\.depth"):
        exporter.export(make(features={"name": "logmel", "depth": 3}), sounds=SOUNDS[:1])


def test_a_damaged_file_of_weights_is_refused(make: Callable[..., Path]) -> None:
    model = read_folder(make())
    whole = (model.path / "model.safetensors").read_bytes()
    write_folder(model, {"model.safetensors": whole[: len(whole) // 2]})
    with pytest.raises(ModelError, match="cannot be read"):
        load_system(model.path)


def test_without_pytorch_weights_there_is_nothing_to_export(make: Callable[..., Path], tmp_path: Path) -> None:
    exporter.export(make(), out=tmp_path / "slim", sounds=SOUNDS[:1])
    with pytest.raises(ModelError, match=r"no model\.safetensors in it, only model\.onnx"):
        exporter.export(tmp_path / "slim", sounds=SOUNDS[:1])


def test_export_asks_for_real_sounds(make: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="--sounds"):
        exporter.export(make(), data=tmp_path)
    recipe = {"recipe": {"data": {"sounds": "fsdd"}}}
    with pytest.raises(DatasetError, match=r"fsdd.*--sounds"):
        exporter.export(make(training=recipe), data=tmp_path)


@pytest.mark.slow
def test_aivae_untrained_on_real_recordings(data_root: Path, make: Callable[..., Path]) -> None:
    from soundsight.models import aivae

    torch.manual_seed(0)
    folder = make(
        aivae.System(aivae.Config()).state_dict(),
        system="aivae",
        latent_size=64,
        training={"recipe": {"data": {"sounds": "fsdd"}}},
    )
    report = exporter.export(folder, data=data_root)
    assert report.inputs == "recordings of fsdd"
    # Table 1, layer by layer: weights and biases.
    encoder = (64 * 16 + 64) + (64 * 128 * 16 + 128) + (128 * 12**2 * 1024 + 1024) + (1024 * 512 + 512)
    decoder = (64 * 512 + 512) + (512 * 1024 + 1024) + (1024 * 6272 + 6272) + (128 * 64 * 16 + 64) + (64 * 16 + 1)
    assert report.num_parameters == encoder + 2 * (512 * 64 + 64) + decoder
