"""The shared space of sounds and pictures: the towers, the network in use, and the order that `rank` prints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from onnx_models import describe, generator_bytes, judge_bytes, write_generator, write_judge
from soundsight import Alignment
from soundsight.cli import main
from soundsight.datasets import fsdd
from soundsight.errors import ImageError, ModelError
from soundsight.export.convert import to_onnx
from soundsight.folder import ImageShape, write_folder
from soundsight.losses.contrastive import info_nce
from soundsight.models import alignment


def system(**options: object) -> alignment.System:
    torch.manual_seed(0)
    return alignment.System(alignment.Config(listener_widths=(4, 4, 4, 4), embedding_size=8, **options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def network() -> alignment.System:
    return system().eval()


@pytest.fixture(scope="module")
def folder(network: alignment.System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    examples = {"features": np.zeros((2, 48, 48), np.float32), "image": np.zeros((2, 1, 28, 28), np.float32)}
    place = tmp_path_factory.mktemp("alignment") / "space"
    described = describe(place, name="space", system="alignment", latent_size=0, kind="alignment")
    return write_folder(described, {"model.onnx": to_onnx(network, examples)}).path


@pytest.fixture(scope="module")
def sound(data_root: Path) -> Path:
    return fsdd.load(data_root / "fsdd").paths[0]


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for path in paths:
        Image.fromarray(rng.integers(0, 120, (28, 28), np.uint8)).save(path)
    return paths


def test_embeddings_have_length_one_and_batches_of_their_own(network):
    with torch.no_grad():
        sound_BD, image_ND = network(torch.rand(3, 48, 48), torch.rand(5, 1, 28, 28))
    assert (sound_BD.shape, image_ND.shape) == ((3, 8), (5, 8))
    for embedding in (sound_BD, image_ND):
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(len(embedding)))


SCENES = {"image_channels": 3, "image_size": 64, "bins": 13, "frames": 8}


@pytest.mark.parametrize("size", [16, 28, 32, 64, 128, 256])
def test_it_sees_pictures_of_many_sizes_and_hears_other_features(size):
    made = system(**(SCENES | {"image_size": size})).eval()
    assert (made.features_shape, made.image_shape) == ((13, 8), (3, size, size))
    batch = {"features": 100 * torch.randn(4, 13, 8), "image": torch.rand(4, *made.image_shape)}
    sound, image = made(batch["features"], batch["image"])
    torch.testing.assert_close(sound.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(image.norm(dim=1), torch.ones(4))
    # Where all are of one label, each pair is alone: otherwise everything would belong together.
    alone = alignment.System(made.config, num_labels=1).eval()
    alone.load_state_dict(made.state_dict())
    loss = alone.losses("alignment", batch | {"label": torch.zeros(4, dtype=torch.int64)}, 0)
    torch.testing.assert_close(loss["consistency"], info_nce(sound, image, 0.1))


def test_pictures_of_scenes_are_cut_to_their_middle_and_digits_are_not(folder, tmp_path):
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    examples = {"features": np.zeros((2, 13, 8), np.float32), "image": np.zeros((2, 3, 64, 64), np.float32)}
    shape = ImageShape(3, 64, 64)
    described = describe(
        tmp_path / "scenes", system="alignment", latent_size=0, kind="alignment", labels=None, image=shape,
        features={"name": "mfcc"},
    )  # fmt: skip
    contents = to_onnx(system(**SCENES).eval(), examples)
    space = Alignment.from_pretrained(write_folder(described, {"model.onnx": contents}).path)
    assert (space.see(tmp_path / "wide.png") == 1).all()
    assert space.see(tmp_path / "wide.png").shape == (3, 64, 64)
    assert Alignment.from_pretrained(folder).see(tmp_path / "wide.png").min() == 0


@pytest.mark.parametrize("by_label", [True, False])
def test_its_loss_is_infonce_of_its_embeddings(by_label):
    made = system(by_label=by_label, dropout=0.0).eval()
    batch = {"features": torch.rand(6, 48, 48), "image": torch.rand(6, 1, 28, 28), "label": torch.arange(6) % 3}
    sound, image = made(batch["features"], batch["image"])
    wanted = info_nce(sound, image, 0.1, batch["label"] if by_label else None)
    torch.testing.assert_close(made.losses("alignment", batch, 0)["consistency"], wanted)


def test_as_a_loss_it_teaches_pictures_and_not_itself(network):
    image = torch.rand(4, 1, 28, 28, requires_grad=True)
    features = torch.rand(4, 48, 48, requires_grad=True)
    network.requires_grad_(False)
    network.consistency(features, image, torch.arange(4)).backward()
    network.requires_grad_(True)
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert features.grad is None
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_network_in_use_says_what_pytorch_says(folder, network):
    space = Alignment.from_pretrained(folder)
    rng = np.random.default_rng(0)
    features, images = rng.random((3, 48, 48), np.float32), rng.random((301, 1, 28, 28), np.float32)
    with torch.no_grad():
        sound_BD, image_ND = network(torch.from_numpy(features), torch.from_numpy(images))
    np.testing.assert_allclose(space.embed_sounds(features), sound_BD.numpy(), atol=1e-5)
    np.testing.assert_allclose(space.embed_images(images), image_ND.numpy(), atol=1e-5)


def test_a_score_is_the_cosine_of_sound_and_picture(folder, sound, pictures):
    space = Alignment.from_pretrained(folder)
    scores = space(sound, pictures)
    assert scores.shape == (5,)
    pixels = np.stack([np.asarray(Image.open(path), np.float32)[None] / 255 for path in pictures])
    image_ND, sound_D = space.embed_images(pixels), space.embed_sounds(space.extract(space.hear(sound)))[0]
    np.testing.assert_allclose(scores, image_ND @ sound_D, atol=1e-6)
    np.testing.assert_allclose(space(sound, pictures[::-1]), scores[::-1], atol=1e-6)  # other places in the batch
    with pytest.raises(ImageError):
        space(sound, [*pictures, sound])


def test_no_pictures_have_no_scores_and_a_name_is_no_list(folder, sound, pictures):
    space = Alignment.from_pretrained(folder)
    assert space(sound, []).shape == (0,)
    for one in (pictures[0], str(pictures[0])):
        with pytest.raises(ImageError, match="in a list"):
            space(sound, one)


def test_a_network_that_is_no_alignment_is_refused(tmp_path):
    described = describe(tmp_path / "wrong", system="alignment", latent_size=0, kind="alignment")
    for blob in (generator_bytes(latent_size=0), judge_bytes()):
        path = write_folder(described, {"model.onnx": blob}).path
        with pytest.raises(ModelError, match="expected features, and image"):
            Alignment.from_pretrained(path)


def test_what_is_no_alignment_is_refused(tmp_path):
    for other in (write_generator(tmp_path / "generator"), write_judge(tmp_path / "judge")):
        with pytest.raises(ModelError, match="choose an alignment"):
            Alignment.from_pretrained(other)


def test_generate_says_what_an_alignment_does(folder, sound, capsys):
    assert main(["generate", str(sound), "--model", str(folder)]) == 2
    assert "tells how well pictures fit sounds; choose a generator" in capsys.readouterr().err


def test_rank_prints_the_best_first(folder, sound, pictures, capsys):
    assert main(["rank", str(sound), *map(str, pictures), "--model", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    scores = Alignment.from_pretrained(folder)(sound, pictures)
    assert [line.split("  ")[1] for line in lines] == [str(pictures[i]) for i in np.argsort(-scores)]
    assert main(["rank", str(sound), *map(str, pictures), "--model", str(folder), "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [item["score"] for item in told] == pytest.approx(sorted(scores, reverse=True), abs=1e-4)


def test_rank_goes_on_after_a_picture_that_cannot_be_read(folder, sound, pictures, capsys):
    assert main(["rank", str(sound), str(sound), str(pictures[0]), "--model", str(folder)]) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1
    assert f"error: {sound}: no picture" in captured.err
    assert main(["rank", str(sound), str(sound), "--model", str(folder)]) == 2
    capsys.readouterr()
    assert main(["rank", str(pictures[0]), str(pictures[0]), "--model", str(folder)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
