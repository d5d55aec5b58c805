"""Model folders: what was saved is read again, and nothing else is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onnx_models import describe, write_generator
from soundsight.errors import ModelError, OutputError, UnknownNameError
from soundsight.folder import pretrained_names, read_folder, resolve, verify_weights, write_folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_generator(tmp_path / "toy")


def _edit(model: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((model / "config.json").read_text())
    change(config)
    (model / "config.json").write_text(json.dumps(config))


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    folder = describe(tmp_path / "m", training={"epochs": 4}, model={"width": 8}, labels=None)
    saved = write_folder(folder, {"model.onnx": b"abc", "model.safetensors": b""})
    assert read_folder(tmp_path / "m") == saved
    # SHA-256 of "abc" and of nothing, from FIPS 180-4's examples.
    assert saved.weights["model.onnx"].startswith("ba7816bf8f01cfea414140de5dae2223")
    assert saved.weights["model.safetensors"].startswith("e3b0c44298fc1c149afbf4c8996fb924")
    assert (saved.training, saved.model, saved.labels, saved.num_bytes) == ({"epochs": 4}, {"width": 8}, None, 3)


def test_saving_again_replaces_the_weights_and_keeps_the_rest(tmp_path: Path) -> None:
    model = tmp_path / "m"
    write_folder(describe(model), {"model.onnx": b"1", "model.safetensors": b"2"})
    (model / "metrics.jsonl").write_text("{}")
    (model / "state").mkdir()
    (model / "state" / "optimizer.safetensors").write_bytes(b"x")
    write_folder(describe(model), {"model.safetensors": model / "model.safetensors"})
    assert sorted(p.name for p in model.iterdir()) == ["config.json", "metrics.jsonl", "model.safetensors", "state"]
    assert read_folder(model).weights.keys() == {"model.safetensors"}


@pytest.mark.parametrize("names", [["results.npz"], ["photo.bin", "other.pt", "measurements.data"]])
def test_files_of_others_are_left_alone(tmp_path: Path, names: list[str]) -> None:
    """Whatever looks like weights and is not of the former model: it is neither deleted nor taken into the model."""
    model = tmp_path / "m"
    for first in (True, False):
        if not first:
            write_folder(describe(model), {"model.onnx": b"1"})
        model.mkdir(exist_ok=True)
        for name in names:
            (model / name).write_text("mine")
        before = {path.name: path.read_bytes() for path in model.iterdir()}
        with pytest.raises(OutputError, match=f"holds {', '.join(sorted(names))}, which is not of the model"):
            write_folder(describe(model), {"model.onnx": b"2"})
        assert {path.name: path.read_bytes() for path in model.iterdir()} == before
        for name in names:
            (model / name).unlink()


def test_a_config_that_names_files_elsewhere_deletes_none(tmp_path: Path) -> None:
    model, outside = tmp_path / "m", tmp_path / "outside.onnx"
    write_folder(describe(model), {"model.onnx": b"1"})
    outside.write_text("mine")
    _edit(model, lambda config: config["weights"].update({"../outside.onnx": "0" * 64, str(outside): "0" * 64}))
    write_folder(describe(model), {"model.safetensors": b"2"})
    assert outside.read_text() == "mine"
    assert not (model / "model.onnx").exists()


def test_a_description_that_would_not_be_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="weights"):
        write_folder(describe(tmp_path / "m"), {"../model.onnx": b"1"})
    with pytest.raises(ModelError, match="latent_size"):
        write_folder(describe(tmp_path / "m", latent_size=-1), {"model.onnx": b"1"})
    assert not (tmp_path / "m").exists()


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be saved"):
        write_generator(tmp_path / "file" / "m")


def test_one_flipped_bit_is_noticed(model: Path) -> None:
    weights = model / "model.onnx"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelError, match=r"model.onnx is not the file that config.json describes"):
        read_folder(model)
    folder = read_folder(model, verify=False)
    with pytest.raises(ModelError, match="SHA-256"):
        verify_weights(folder, ["model.onnx"])


def test_missing_weights(model: Path) -> None:
    (model / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"model.onnx is missing"):
        read_folder(model)


@pytest.mark.parametrize("name", ["other.onnx", "pytorch_model.bin", "a.PT", "b.pkl", "c.safetensors", "d.ckpt"])
def test_surplus_weights(model: Path, name: str) -> None:
    (model / name).write_bytes(b"")
    with pytest.raises(ModelError, match=f"{name} is not listed"):
        read_folder(model)


def test_other_files_do_not_matter(model: Path) -> None:
    (model / "README.md").write_text("hello")
    (model / "metrics.jsonl").write_text("")
    read_folder(model)


def test_made_by_a_newer_version(model: Path) -> None:
    _edit(model, lambda config: config.update(format_version=2, unheard_of=1))
    with pytest.raises(ModelError, match=r"newer soundsight.*format 2.*upgrade"):
        read_folder(model)


CHANGES: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("unknown key", lambda c: c.update(modell={}), "unknown key 'modell'"),
    ("missing key", lambda c: c.pop("latent_size"), "missing key 'latent_size'"),
    ("unknown key inside", lambda c: c["image"].update(depth=1), "unknown key 'image.depth'"),
    ("no version", lambda c: c.pop("format_version"), "format_version.*None"),
    ("version 0", lambda c: c.update(format_version=0), "format_version.*expected 1"),
    ("version true", lambda c: c.update(format_version=True), "format_version.*expected 1"),
    ("name no text", lambda c: c.update(name=3), "name in config.json is 3"),
    ("latent negative", lambda c: c.update(latent_size=-1), "latent_size.*0 to"),
    ("latent huge", lambda c: c.update(latent_size=10**9), "latent_size"),
    ("latent float", lambda c: c.update(latent_size=1.5), "latent_size.*a whole number"),
    ("latent true", lambda c: c.update(latent_size=True), "latent_size.*a whole number"),
    ("two channels", lambda c: c["image"].update(channels=2), "image.channels.*1 or 3"),
    ("no height", lambda c: c["image"].update(height=0), "image.height"),
    ("huge width", lambda c: c["image"].update(width=10**6), "image.width"),
    ("image a list", lambda c: c.update(image=[1, 28, 28]), "image.*an object"),
    ("features a text", lambda c: c.update(features="logmel"), "features.*an object"),
    ("features nameless", lambda c: c.update(features={}), "features.name"),
    ("labels numbers", lambda c: c.update(labels=[1, 2]), "labels.*a list of names"),
    ("card a list", lambda c: c.update(card=[]), "card.*an object"),
    ("short hash", lambda c: c["weights"].update({"model.onnx": "abc"}), "a SHA-256"),
    ("hash no text", lambda c: c["weights"].update({"model.onnx": 5}), "a SHA-256"),
    *(
        (f"path {name!r}", lambda c, name=name: c["weights"].update({name: "0" * 64}), "plain names")
        for name in ("../m.onnx", "/etc/m.onnx", "a/b.onnx", "..", "c:m.onnx", "a\\b.onnx", "", "a\0.onnx", "x.py")
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_a_config_that_does_not_fit(model: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    _edit(model, change)
    with pytest.raises(ModelError, match=message) as caught:
        read_folder(model)
    assert str(model) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "expected an object"),
        (b"\xff\xfe\xff", "not valid JSON"),
        (b'{"latent_size": NaN}', "NaN is not a number"),
        (b'{"name": 1, "name": 2}', "a key appears twice"),
        (b"[" * 500_000, "not valid JSON"),
        (b" " * (1 << 21), "larger than 1 MiB"),
    ],
    ids=["empty", "cut", "list", "binary", "nan", "twice", "deep", "huge"],
)
def test_a_config_that_is_none(model: Path, content: bytes, message: str) -> None:
    (model / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_folder(model)


def test_no_model_in_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model, there is no config.json"):
        read_folder(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_config_that_may_not_be_read(model: Path) -> None:
    (model / "config.json").chmod(0)
    with pytest.raises(ModelError, match="cannot be read"):
        read_folder(model)


def test_names_and_folders(model: Path, tmp_path: Path) -> None:
    assert resolve(model) == model
    assert resolve(str(model)) == model
    for name in pretrained_names():
        assert read_folder(resolve(name)).name == name
    with pytest.raises(ModelError, match="this is a file"):
        resolve(model / "config.json")
    for recipe in ("v2d-clap", "aivaegan-fsdd"):
        with pytest.raises(UnknownNameError, match=f"'{recipe}' is a recipe, .*'soundsight train {recipe}' makes"):
            resolve(recipe)
    for unknown in ("digitz", "no/such/folder", "x" * 5000, "a\0b", ""):
        if unknown:
            with pytest.raises(UnknownNameError, match="or name a model folder"):
                resolve(unknown)
