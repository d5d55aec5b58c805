"""A VGG that a user gives: its layers are those of networks built by hand, and what is no such file is refused."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sample_data import write_scenes
from soundsight.config import PerceptualConfig, Recipe, parse_recipe
from soundsight.errors import ModelError, RecipeError
from soundsight.losses.perceptual import perceptual
from soundsight.training.perceptual import Perceptual
from soundsight.training.trainer import train
from soundsight.training.vgg import load_vgg

JOHNSON = ["relu1_2", "relu2_2", "relu3_3", "relu4_3"]
# Configurations A, D and E of Simonyan & Zisserman, table 1: how many convolutions each block has.
BLOCKS = {"vgg11": (1, 1, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
# Where torchvision's networks have their ReLUs, as style transfer has long indexed their ``features``; block by block.
VGG16_RELUS = {
    f"relu{block}_{number}": place
    for block, places in enumerate([(1, 3), (6, 8), (11, 13, 15), (18, 20, 22), (25, 27, 29)], start=1)
    for number, place in enumerate(places, start=1)
}
VGG11_NAMES = ("relu1_1", "relu2_1", "relu3_1", "relu3_2", "relu4_1", "relu4_2", "relu5_1", "relu5_2")
VGG11_RELUS = dict(zip(VGG11_NAMES, (1, 4, 7, 9, 12, 14, 17, 19), strict=True))
VGG11_BN_RELUS = dict(zip(VGG11_NAMES, (2, 6, 10, 13, 17, 20, 24, 27), strict=True))
RELUS = {"vgg16": VGG16_RELUS, "vgg11": VGG11_RELUS, "vgg11_bn": VGG11_BN_RELUS}


def by_hand(name: str) -> nn.Sequential:
    """The features of a VGG with few channels, random weights and random statistics."""
    generator = torch.Generator().manual_seed(len(name))
    blocks, norm = BLOCKS[name.removesuffix("_bn")], name.endswith("_bn")
    layers: list[nn.Module] = []
    before = 3
    for block, num in enumerate(blocks):
        after = 4 + 2 * block
        for _ in range(num):
            layers += [nn.Conv2d(before, after, 3, padding=1), *([nn.BatchNorm2d(after)] if norm else []), nn.ReLU()]
            before = after
        layers.append(nn.MaxPool2d(2, 2))
    features = nn.Sequential(*layers).eval()
    with torch.no_grad():
        for key, tensor in features.state_dict().items():
            if key.endswith(("running_var", "running_mean")):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            elif tensor.is_floating_point():
                tensor.copy_(0.5 * torch.randn(tensor.shape, generator=generator))
    return features


def tensors_of(features: nn.Sequential) -> dict[str, Tensor]:
    """As torchvision names them, with the end of a classifier, which nobody needs."""
    return {f"features.{key}": tensor.clone() for key, tensor in features.state_dict().items()} | {
        "classifier.6.weight": torch.full((2, 3), torch.nan)
    }


def write(folder: Path, name: str, change: Callable[[dict[str, Tensor]], Any] = lambda tensors: None) -> Path:
    tensors = tensors_of(by_hand(name))
    change(tensors)
    save_file(tensors, folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


def pictures(channels: int = 3, side: int = 32, seed: int = 0) -> Tensor:
    return torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(seed))


def shown(image: Tensor) -> Tensor:
    """By hand what ImageNet's networks are shown of a picture in colour."""
    stages = zip(image.unbind(dim=1), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
    return torch.stack([(channel - mean) / deviation for channel, mean, deviation in stages], dim=1)


def teacher_of(path: Path, shape: tuple[int, int, int] = (3, 32, 32), **options: Any) -> Perceptual:
    return Perceptual(PerceptualConfig(model=str(path), **options), shape, torch.device("cpu"))


@pytest.mark.parametrize("name", RELUS)
def test_every_layer_is_that_of_the_network_built_by_hand(name, tmp_path):
    features, image = by_hand(name), pictures()
    vgg, _ = load_vgg(write(tmp_path, name), list(RELUS[name]))
    found = vgg.layers_of(image)
    assert len(found) == len(RELUS[name])
    for place, layer in zip(RELUS[name].values(), found, strict=True):
        wanted = features[: place + 1](shown(image))
        assert isinstance(features[place], nn.ReLU)
        assert wanted.std() > 0.01
        torch.testing.assert_close(layer, wanted)


@pytest.mark.parametrize("layer", VGG16_RELUS)
def test_a_layer_of_vgg_16_has_its_usual_name(layer, tmp_path):
    image = pictures()
    vgg, _ = load_vgg(write(tmp_path, "vgg16"), [layer])
    (found,) = vgg.layers_of(image)
    torch.testing.assert_close(found, by_hand("vgg16")[: VGG16_RELUS[layer] + 1](shown(image)))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("vgg16", JOHNSON),
        ("vgg19", ["relu1_2", "relu2_2", "relu3_4", "relu4_4"]),
        ("vgg11_bn", ["relu1_1", "relu2_1", "relu3_2", "relu4_2"]),
    ],
)
def test_without_names_it_is_the_last_of_each_of_four_blocks(name, wanted, tmp_path):
    path, image = write(tmp_path, name), pictures()
    default, named = load_vgg(path)[0], load_vgg(path, wanted)[0]
    for layer, other in zip(default.layers_of(image), named.layers_of(image), strict=True):
        assert torch.equal(layer, other)


def test_layers_come_from_fine_to_coarse_in_whatever_order_they_are_named(tmp_path):
    vgg, _ = load_vgg(write(tmp_path, "vgg16"), JOHNSON[::-1])
    assert [tuple(layer.shape[1:]) for layer in vgg.layers_of(pictures())] == [
        *((4, 32, 32), (6, 16, 16), (8, 8, 8), (10, 4, 4))
    ]


def test_grey_is_colour_with_three_equal_channels(tmp_path):
    vgg, _ = load_vgg(write(tmp_path, "vgg11"))
    grey = pictures(1, 28)
    for layer, other in zip(vgg.layers_of(grey), vgg.layers_of(grey.repeat(1, 3, 1, 1)), strict=True):
        assert torch.equal(layer, other)


def test_half_precision_is_read_as_single(tmp_path):
    def halve(tensors):
        tensors |= {key: value.half() for key, value in tensors.items() if value.is_floating_point()}

    vgg, _ = load_vgg(write(tmp_path, "vgg11", halve), ["relu5_2"])
    (found,) = vgg.layers_of(pictures())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, by_hand("vgg11").half().float()[:20](shown(pictures())))


def test_what_classifies_is_not_read(tmp_path):
    """Under timm's names too: its files are safetensors already."""

    def rename(tensors):
        del tensors["classifier.6.weight"]
        tensors |= {"pre_logits.fc1.weight": torch.full((2, 3, 7, 7), torch.nan), "head.fc.bias": torch.zeros(9)}

    vgg, _ = load_vgg(write(tmp_path, "vgg16", rename))
    torch.testing.assert_close(vgg.layers_of(pictures())[0], by_hand("vgg16")[:4](shown(pictures())))


def test_counted_batches_may_be_absent(tmp_path):
    def forget(tensors):
        for key in [key for key in tensors if key.endswith("num_batches_tracked")]:
            del tensors[key]

    (tmp_path / "old").mkdir()
    old, new = load_vgg(write(tmp_path / "old", "vgg11_bn", forget))[0], load_vgg(write(tmp_path, "vgg11_bn"))[0]
    assert torch.equal(old.layers_of(pictures())[-1], new.layers_of(pictures())[-1])


def test_the_loss_is_the_distance_in_its_layers_and_moves_the_picture_alone(tmp_path):
    path = write(tmp_path, "vgg16")
    before = path.read_bytes()
    teacher, features = teacher_of(path, weight=2.5), by_hand("vgg16")
    image, made = pictures(), pictures(seed=1).requires_grad_()
    loss = teacher({"image": image, "made": made})
    layers = [[features[: VGG16_RELUS[name] + 1](shown(x)) for name in JOHNSON] for x in (made, image)]
    wanted = 2.5 * perceptual(*layers)
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(value, made)[0] for value in (loss, wanted)))
    assert float(torch.autograd.grad(teacher({"image": image, "made": made}), made)[0].abs().sum()) > 0
    vgg = teacher._module
    assert not any(parameter.requires_grad for parameter in vgg.parameters())
    assert not any(module.training for module in vgg.modules())
    assert teacher.weights == {"vgg16.safetensors": hashlib.sha256(before).hexdigest()}


def test_a_training_step_changes_no_statistics(tmp_path):
    teacher = teacher_of(write(tmp_path, "vgg11_bn"))
    before = {key: tensor.clone() for key, tensor in teacher._module.state_dict().items()}
    teacher({"image": pictures(), "made": pictures(seed=1).requires_grad_()}).backward()
    after = teacher._module.state_dict()
    assert any("running_var" in key for key in before)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_what_the_network_sees_stays_when_the_file_changes(tmp_path):
    path = write(tmp_path, "vgg11")
    vgg, _ = load_vgg(path)
    before = vgg.layers_of(pictures())[-1]
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 4)
        file.write(bytes(path.stat().st_size // 2))
    assert torch.equal(vgg.layers_of(pictures())[-1], before)


def replace(key: str, value: Tensor) -> Callable[[dict[str, Tensor]], Any]:
    return lambda tensors: tensors.__setitem__(key, value)


def drop(*keys: str) -> Callable[[dict[str, Tensor]], Any]:
    return lambda tensors: [tensors.pop(key) for key in keys]


def spoil(key: str, value: float) -> Callable[[dict[str, Tensor]], Any]:
    return lambda tensors: tensors[key].view(-1)[1:2].fill_(value)


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        ("vgg16", drop("features.2.bias"), "lacks the tensor 'features.2.bias'"),
        ("vgg16", drop("features.2.weight"), "'features.5.weight' stands where .* number 2 or 3"),
        ("vgg16", drop("features.0.weight"), "'features.2.weight' stands where .* number 0"),
        ("vgg11_bn", drop("features.1.running_mean"), "lacks the tensor 'features.1.running_mean'"),
        ("vgg11_bn", drop("features.5.weight"), "lacks the tensor 'features.5.weight'"),
        ("vgg16", replace("features.7.weight", torch.zeros(6, 6, 5, 5)), r"'features.7.weight' is \(6, 6, 5, 5\)"),
        ("vgg16", replace("features.7.weight", torch.zeros(6, 5, 3, 3)), r"a VGG has \(1 to 4096, 6, 3, 3\) there"),
        ("vgg16", replace("features.0.weight", torch.zeros(4, 1, 3, 3)), r"a VGG has \(1 to 4096, 3, 3, 3\) there"),
        ("vgg16", replace("features.0.weight", torch.zeros(0, 3, 3, 3)), r"'features.0.weight' is \(0, 3, 3, 3\)"),
        ("vgg16", replace("features.0.weight", torch.zeros(4097, 3, 3, 3)), r"'features.0.weight' is \(4097, 3"),
        ("vgg16", replace("features.0.weight", torch.zeros(4)), r"'features.0.weight' is \(4,\)"),
        ("vgg16", replace("features.0.weight", torch.zeros(())), r"'features.0.weight' is \(\)"),
        ("vgg16", replace("features.0.bias", torch.zeros(5)), r"'features.0.bias' is \(5,\); a VGG has \(4,\)"),
        ("vgg16", replace("features.0.bias", torch.zeros(4, dtype=torch.int64)), "'features.0.bias' holds torch.int64"),
        ("vgg16", replace("features.0.bias", torch.zeros(4).to(torch.float8_e5m2)), "holds torch.float8_e5m2"),
        ("vgg16", replace("features.1.bias", torch.zeros(4)), "surplus tensor 'features.1.bias'"),
        ("vgg16", replace("features.1.weight", torch.zeros(4, 4, 3, 3)), "'features.1.weight' stands where"),
        ("vgg16", replace("features.0.slope", torch.zeros(4)), "'features.0.slope' is of no VGG"),
        ("vgg16", replace("features.00.bias", torch.zeros(4)), "'features.00.bias' is of no VGG"),
        ("vgg16", replace("conv1.weight", torch.zeros(4)), "'conv1.weight' is of no VGG"),
        ("vgg16", replace("x\x1b[2J" + 500 * "y", torch.zeros(4)), r"'x\\x1b\[2Jy{1,80} is of no VGG"),
        ("vgg16", spoil("features.28.weight", float("nan")), "'features.28.weight' holds NaN"),
        ("vgg16", spoil("features.28.bias", float("-inf")), "'features.28.bias' holds NaN or infinity"),
        ("vgg11_bn", spoil("features.1.running_var", -0.1), "'features.1.running_var' holds a negative number"),
        ("vgg16", lambda tensors: [tensors.pop(key) for key in list(tensors) if "features" in key], "no 'features.0"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(name, change, fault, tmp_path):
    path = write(tmp_path, name)
    load_vgg(path)
    write(tmp_path, name, change)
    with pytest.raises(ModelError, match=fault) as caught:
        load_vgg(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "cannot be read"),
        (b"These are no weights, this is a text.\n", "no safetensors, for all its name"),
        (header(b"{}", 1 << 62), "no safetensors, for all its name"),
        (header(b"{" + b" " * (2 << 20) + b"}"), "no safetensors, for all its name"),
        (header(b"{}", 1000), "cannot be read"),
        (header(b"[" * 1000), "cannot be read"),
        (
            header(b'{"features.0.weight":{"dtype":"F32","shape":[9,3,3,3],"data_offsets":[0,8]}}') + bytes(8),
            "cannot be read",
        ),
        (header(b'{"features.0.weight":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}') + bytes(1), r"is \(1,\)"),
    ],
)
def test_a_file_that_is_no_safetensors_is_refused(content, fault, tmp_path):
    path = tmp_path / "vgg16.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=fault) as caught:
        teacher_of(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_was_cut_short_is_refused(tmp_path):
    path = write(tmp_path, "vgg16")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match="cannot be read"):
        load_vgg(path)


@pytest.mark.parametrize("name", ["vgg16.pth", "vgg16.PT", "vgg16.bin", "vgg16"])
def test_a_pickle_is_refused_by_a_line_that_converts_it(name, tmp_path, monkeypatch):
    torch.save(tensors_of(by_hand("vgg16")), tmp_path / name)
    with pytest.raises(ModelError, match="convert PyTorch's own once") as caught:
        teacher_of(tmp_path / name)
    told = re.search(r"by (safetensors\.torch\.save_file\(.*\))$", str(caught.value))
    monkeypatch.chdir(tmp_path)
    eval(told[1], {"safetensors": __import__("safetensors.torch"), "torch": torch})
    found = teacher_of(tmp_path / "vgg16.safetensors")._module.layers_of(pictures())
    torch.testing.assert_close(found[0], by_hand("vgg16")[:4](shown(pictures())))


def test_a_pickle_with_another_name_is_refused(tmp_path):
    torch.save(tensors_of(by_hand("vgg16")), tmp_path / "vgg16.pth")
    (tmp_path / "vgg16.pth").rename(tmp_path / "vgg16.safetensors")
    with pytest.raises(ModelError, match="must be converted, not renamed"):
        teacher_of(tmp_path / "vgg16.safetensors")


@pytest.mark.parametrize("name", ["nowhere.safetensors", "nowhere.pth", "x" * 300 + ".safetensors"])
def test_a_file_that_is_not_there_is_refused(name, tmp_path):
    with pytest.raises(ModelError, match=r"there is no such file|no model|cannot be read"):
        teacher_of(tmp_path / name)


@pytest.mark.parametrize(
    ("shape", "options", "fault"),
    [
        ((3, 32, 32), {"layers": ["relu3_4"]}, r"no 'relu3_4' in layers .*; known: relu1_1, .*, relu5_3"),
        ((3, 32, 32), {"layers": ["conv1_1"]}, r"no 'conv1_1' in layers"),
        ((3, 32, 32), {"layers": ["relu1_1", "relu1_1"]}, "names a layer twice"),
        ((3, 7, 32), {}, r"the deepest needs pictures of 8 pixels or more, this makes \(3, 7, 32\)"),
        ((1, 15, 15), {"layers": ["relu5_1"]}, "of 16 pixels or more"),
    ],
)
def test_layers_that_do_not_fit_are_refused(shape, options, fault, tmp_path):
    with pytest.raises(RecipeError, match=fault):
        teacher_of(write(tmp_path, "vgg16"), shape, **options)


@pytest.mark.parametrize(("side", "layers"), [(8, JOHNSON), (16, ["relu5_3"]), (1, ["relu1_2"])])
def test_the_smallest_pictures_that_are_taken_can_be_compared(side, layers, tmp_path):
    teacher = teacher_of(write(tmp_path, "vgg16"), (3, side, side), layers=layers)
    image, made = pictures(side=side), pictures(side=side, seed=1)
    assert torch.isfinite(teacher({"image": image, "made": made.requires_grad_()}).detach())


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Eight frames of the scene data set's layout; six are for training."""
    root = tmp_path_factory.mktemp("root")
    (root / "scenes" / "beach").mkdir(parents=True)
    rows = [(f"beach/beach{i}.png", "BEACH") for i in range(8)]
    write_scenes(root / "scenes", rows)
    for i, (image, _) in enumerate(rows):
        Image.new("RGB", (16, 16), (30 * i, 0, 0)).save(root / "scenes" / image)
    return root


def recipe_of(path: Path | None, **options: Any) -> Recipe:
    taught = {"perceptual": {"model": str(path), "weight": 0.5, **options}} if path else {}
    model = {"system": "mfcc_generator", "image_size": 16, "channels": [16, 8, 8], "widths": [32]}
    return parse_recipe(
        {
            "features": {"name": "mfcc"},
            "data": {"pairs": "scenes", "split": "block"},
            "model": model | {"normalise": True, "losses": {"l1": 1.0}},
            "train": {"batch_size": 3, "epochs": 1, "precision": "fp32"},
            **taught,
        }
    )


def test_it_teaches_a_training_that_goes_on_with_the_same_file_alone(root, tmp_path):
    path = write(tmp_path, "vgg16")
    recipe = recipe_of(path, layers=["relu1_2", "relu2_2"])
    whole, plain = (train(r, tmp_path / name, root=root) for r, name in ((recipe, "whole"), (recipe_of(None), "plain")))
    losses = json.loads((whole / "metrics.jsonl").read_text().splitlines()[0])
    assert losses["step"] == 2
    assert 0 < losses["perceptual"] < 1
    weights = [load_file(out / "model.safetensors") for out in (whole, plain)]
    assert weights[0].keys() == weights[1].keys(), "the teacher is no part of the model"
    assert any(not torch.equal(weights[0][key], weights[1][key]) for key in weights[0])

    for out in ("parts", "other"):
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / out, root=root, stop_after=1)
    parts = train(recipe, tmp_path / "parts", root=root, resume=True)
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    write(tmp_path, "vgg16", spoil("features.0.weight", 0.25))
    with pytest.raises(RecipeError, match=r"another model in 'perceptual\.model'"):
        train(recipe, tmp_path / "other", root=root, resume=True)


def test_the_loss_in_bf16_is_nearly_that_in_single_precision(tmp_path):
    teacher = teacher_of(write(tmp_path, "vgg16"))
    batch = {"image": pictures(), "made": pictures(seed=1).requires_grad_()}
    wanted = float(teacher(batch).detach())
    with torch.autocast("cpu", torch.bfloat16):
        assert float(teacher(batch).detach()) == pytest.approx(wanted, rel=0.02)
