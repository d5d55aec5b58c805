"""A backbone of one's own: it learns, goes on where it was stopped, and is loaded as the big ones are."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from safetensors.torch import load_file

import tiny_backbones
from sample_data import cifar10_bytes
from soundsight import backbones, noise, texts
from soundsight.conditioning import Conditioning
from soundsight.config import Optimizer, load_recipe, load_table, recipe_names
from soundsight.datasets import cifar10
from soundsight.errors import ModelError, RecipeError
from soundsight.training.autoencoder import build, encode_all, train_autoencoder
from soundsight.training.backbone import Run, load_pictures, train_backbone
from soundsight.training.backbone_plan import plan_backbone
from soundsight.training.backbone_recipe import AutoencoderConfig, BackboneRecipe, parse_backbone_recipe

SMALL = (
    *("data.max_images=48", "autoencoder.widths=[8, 8]", "autoencoder.epochs=1", "train.epochs=2"),
    *("train.batch_size=16", "backbone.layers=1", "backbone.heads=1", "backbone.head_size=16", "train.sample_every=2"),
)


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_backbones.write(tmp_path_factory.mktemp("texts") / "sd3", "sd3", t5=False)


def small(speaker: Path, *changes: str) -> BackboneRecipe:
    return parse_backbone_recipe(load_table("sd3-cifar10", [*SMALL, f"targets.model={speaker}", *changes]))


@pytest.fixture(scope="module")
def root(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of CIFAR-10's test images, in the place of all its training images."""
    folder = tmp_path_factory.mktemp("data")
    whole = cifar10.load(data_root / "cifar10", train=False)
    batches = folder / "cifar10" / "cifar-10-batches-bin"
    batches.mkdir(parents=True)
    rows = np.arange(0, len(whole.labels), 80)
    for number, part in enumerate(np.array_split(np.random.default_rng(0).permutation(rows), 5), start=1):
        (batches / f"data_batch_{number}.bin").write_bytes(cifar10_bytes(whole.labels[part], whole.images_NCHW[part]))
    (batches / "test_batch.bin").write_bytes(cifar10_bytes(whole.labels[:1], whole.images_NCHW[:1]))
    return folder


@pytest.fixture(scope="module")
def trained(speaker: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with tiny_backbones.quiet():
        return train_backbone(small(speaker), tmp_path_factory.mktemp("run") / "whole", root=root)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "backbone" / "transformer" / "diffusion_pytorch_model.safetensors")


def test_what_is_trained_is_loaded_and_painted_as_any_backbone_is(trained: Path, speaker: Path) -> None:
    backbone = backbones.load(trained)
    assert backbone.default_size == 32
    told = texts.load("diffusion", speaker).encode(["an image of dog", "an image of ship"])
    painted = backbone.paint(Conditioning(pooled=told.pooled), steps=2, guidance=2.0).images_NCHW
    assert painted.shape == (2, 3, 32, 32)
    assert np.abs(painted[0] - painted[1]).max() > 1e-4, "it hears what it is told"
    again = backbone.paint(Conditioning(pooled=told.pooled), steps=2, guidance=2.0).images_NCHW
    np.testing.assert_array_equal(painted, again)


def test_it_is_told_as_it_was_taught(trained: Path, speaker: Path) -> None:
    """Beside one token of zeros: those of a whole text would be most of what its attention sees."""
    backbone = backbones.load(trained)
    pooled = texts.load("diffusion", speaker).encode(["an image of dog", "an image of ship"]).pooled
    assert pooled is not None
    painted = backbone.paint(Conditioning(pooled=pooled), steps=2, guidance=2.0, seed=3)
    absent = [f"{part}{number}" for part in ("text_encoder", "tokenizer") for number in ("", "_2", "_3")]
    with tiny_backbones.quiet():
        bare = StableDiffusion3Pipeline.from_pretrained(trained, local_files_only=True, **dict.fromkeys(absent))
    bare.set_progress_bar_config(disable=True)
    nothing = torch.zeros(2, 1, bare.transformer.config.joint_attention_dim)
    expected = bare(
        prompt_embeds=nothing,
        pooled_prompt_embeds=pooled,
        negative_prompt_embeds=nothing,
        negative_pooled_prompt_embeds=torch.zeros_like(pooled),
        latents=torch.from_numpy(noise.draw(3, 1, 4 * 16 * 16)).view(1, 4, 16, 16).repeat(2, 1, 1, 1),
        num_inference_steps=2,
        guidance_scale=2.0,
        output_type="np",
    ).images
    np.testing.assert_allclose(painted.images_NCHW.transpose(0, 2, 3, 1), expected, atol=1e-5)


def test_tokens_alone_are_refused(trained: Path) -> None:
    backbone = backbones.load(trained)
    assert not backbone.layout.widths
    with pytest.raises(ModelError, match=r"says clip_l, and Stable Diffusion 3 hears pooled; choose an adapter"):
        backbone.paint(Conditioning(clip_l=torch.zeros(1, 20, 24)), steps=1)


def test_prompts_are_apart_before_anything_is_learned(speaker: Path, root: Path, tmp_path: Path) -> None:
    """Embeddings of length 1, with a cosine of 0.6 between each two of them."""
    recipe = small(speaker)
    with tiny_backbones.quiet():
        _, images_NCHW, labels_N, _ = load_pictures(recipe, root)
        autoencoder = build(recipe.autoencoder, 32)
        told_CP = torch.cat([torch.full((10, 1), 0.6**0.5), 0.4**0.5 * torch.eye(10), torch.zeros(10, 90)], dim=1)
        run = Run(recipe, tmp_path, autoencoder, images_NCHW, labels_N, told_CP)
    with torch.inference_mode():
        heard_CW = run.module.time_text_embed.text_embedder.linear_1(told_CP)
    assert 0.3 < float(heard_CW.std(dim=0).mean()) < 1
    assert float(heard_CW.mean(dim=0).abs().mean()) < 0.1, "what they share is not heard"


def test_noise_is_as_long_as_it_is_told(speaker: Path, root: Path, tmp_path: Path) -> None:
    """A share of the distance between two prompts; what is left out stays left out."""
    told = {}
    for noise_share in ("0", "0.5"):
        recipe = small(speaker, f"backbone.noise={noise_share}", "backbone.unlabelled=0.3", "train.batch_size=48")
        with tiny_backbones.quiet():
            _, images_NCHW, labels_N, targets = load_pictures(recipe, root)
            pooled_CP = targets.parts["pooled"]
            run = Run(recipe, tmp_path, build(recipe.autoencoder, 32), images_NCHW, labels_N, pooled_CP)
        told[noise_share] = run._batch()[1]
    is_told_B = told["0"].any(dim=1)
    assert 0 < is_told_B.sum() < 48
    assert torch.equal(told["0"].any(dim=1), told["0.5"].any(dim=1))
    noise_BP = (told["0.5"] - told["0"])[is_told_B]
    distances = torch.pdist(pooled_CP)
    expected = 0.5 * float((distances.square().sum() / distances.numel() * (1 - 1 / len(pooled_CP))).sqrt())
    assert float(noise_BP.square().sum(dim=1).mean().sqrt()) == pytest.approx(expected, rel=0.1)


def test_a_compiled_transformer_is_the_one_that_is_saved(
    trained: Path, speaker: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a compiler makes of it is PyTorch's; that takes most of a minute."""
    sizes = []

    def compiled(module: torch.nn.Module, *, dynamic: bool) -> Any:
        def predict(**words: Any) -> Any:
            sizes.append((len(words["hidden_states"]), dynamic))
            return module(**words)

        return predict

    monkeypatch.setattr(torch, "compile", compiled)
    with tiny_backbones.quiet():
        train_backbone(small(speaker, "train.compile=true"), tmp_path / "run", root=root)
    assert sizes == [(16, False)] * 6
    ours, theirs = weights(tmp_path / "run"), weights(trained.parent)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_compiling_without_a_compiler_is_refused(
    speaker: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with tiny_backbones.quiet(), pytest.raises(RecipeError, match=r"'train.compile': there is no C\+\+ compiler"):
        train_backbone(small(speaker, "train.compile=true"), tmp_path / "run", root=root)


def test_the_folder_says_what_it_is_made_of(trained: Path) -> None:
    card = json.loads((trained / "card.json").read_text())
    assert card["data"][0]["name"] == "CIFAR-10"
    assert card["text_encoder"]["name"] == "diffusion"
    assert card["template"] == "an image of {label}"
    assert card["steps"] == 6
    assert all(tensor.dtype == torch.float16 for tensor in weights(trained.parent).values())
    assert [path.name for path in (trained.parent / "samples").iterdir()] == ["epoch-0002.png"]


def test_damaged_weights_are_not_painted_with(trained: Path, tmp_path: Path) -> None:
    name = "transformer/diffusion_pytorch_model.safetensors"
    folder = Path(shutil.copytree(trained, tmp_path / "backbone"))
    data = bytearray((folder / name).read_bytes())
    data[-200] ^= 0xFF
    (folder / name).write_bytes(data)
    with pytest.raises(ModelError, match=f"'{name}' is missing, or not the file that card.json describes"):
        backbones.load(folder)


@pytest.mark.parametrize("stop", [1, 4])
def test_a_training_that_was_interrupted_ends_with_the_same_weights(
    stop: int, trained: Path, speaker: Path, root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with tiny_backbones.quiet():
        with pytest.raises(KeyboardInterrupt):
            train_backbone(small(speaker), out, root=root, stop_after=stop)
        assert not (out / "backbone").exists()
        train_backbone(small(speaker), out, root=root, resume=True)
    ours, theirs = weights(out), weights(trained.parent)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_an_autoencoder_learns_pictures_to_unit_scale(root: Path) -> None:
    images_NCHW = torch.from_numpy(cifar10.load(root / "cifar10", train=True).images_NCHW[:64])
    losses: list[float] = []

    def watch(step: int, num_steps: int, told: dict[str, float]) -> bool:
        losses.append(told["l1"])
        return True

    config = AutoencoderConfig(widths=(8, 8), epochs=60, optimizer=Optimizer(lr=4e-3, schedule="cosine"))
    autoencoder: Any = train_autoencoder(images_NCHW, config, seed=0, bf16=False, watch=watch)
    assert losses[-1] < 0.6 * losses[0]
    latents = encode_all(autoencoder, images_NCHW).float()
    unit = (latents - autoencoder.config.shift_factor) * autoencoder.config.scaling_factor
    assert latents.shape == (64, 4, 16, 16)
    assert abs(float(unit.mean())) < 0.05
    assert float(unit.std()) == pytest.approx(1, abs=0.05)
    with torch.inference_mode():
        seen = autoencoder.decode(latents).sample
    wanted = images_NCHW.float() / 127.5 - 1
    grey = (wanted - wanted.mean(dim=(1, 2, 3), keepdim=True)).abs().mean()
    assert float((seen - wanted).abs().mean()) < 0.9 * float(grey), "better than the even grey of each picture"


def test_a_quick_look_is_at_all_classes(speaker: Path, data_root: Path) -> None:
    """CIFAR-10 as JPEG comes class by class: its first pictures are airplanes alone."""
    with tiny_backbones.quiet():
        _, images_NCHW, labels_N, _ = load_pictures(small(speaker, "data.max_images=200"), data_root)
        every = cifar10.load(data_root / "cifar10", train=True)
    assert torch.bincount(labels_N).tolist() == [20] * 10
    np.testing.assert_array_equal(images_NCHW[1], every.images_NCHW[250])


def test_a_flow_learns_what_is_told(speaker: Path, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fast = ("train.epochs=60", "train.optimizer.warmup_steps=5", "train.optimizer.lr=5e-3", "train.sample_every=0")
    with tiny_backbones.quiet():
        train_backbone(small(speaker, *fast), out, root=root)
    losses = [json.loads(line)["flow"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.85 * losses[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.images=mnist"], "in colour"),
        (["backbone.patch_size=3"], "no multiple"),
        (["targets.model="], "whose words"),
    ],
)
def test_what_does_not_fit_is_refused(
    changes: list[str], message: str, speaker: Path, root: Path, data_root: Path, tmp_path: Path
) -> None:
    with tiny_backbones.quiet(), pytest.raises(RecipeError, match=message):
        train_backbone(small(speaker, *changes), tmp_path / "run", root=data_root if "mnist" in changes[0] else root)


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"unknown key 'backbone.depth'.*layers"):
        parse_backbone_recipe({"backbone": {"depth": 3}})


def test_a_dry_run_counts_and_measures_both_trainings(speaker: Path, root: Path) -> None:
    """Fewer pictures than a batch, too."""
    recipe = small(speaker, "autoencoder.epochs=2", "train.epochs=3")
    with tiny_backbones.quiet():
        text = plan_backbone(recipe, root)
    resolved, _, rest = text.partition("\n\n")
    assert parse_backbone_recipe(json.loads(resolved)) == recipe
    assert "48 pictures of CIFAR-10" in rest
    assert "2 steps of 128 for the autoencoder in 2 epochs, then 9 of 16 in 3" in rest
    found = re.search(r"about (\S+) h and (\S+) h on this machine \((\S+) and (\S+) s a step, measured\)", rest)
    assert found is not None
    assert all(float(share) >= 0 for share in found.groups())
    assert sorted(root.iterdir()) == [root / "cifar10"], "nothing is written"


def test_a_folder_belongs_to_one_training(trained: Path, speaker: Path, root: Path) -> None:
    with pytest.raises(RecipeError, match="add --resume"):
        train_backbone(small(speaker), trained.parent, root=root)
    with pytest.raises(RecipeError, match="another recipe"):
        train_backbone(small(speaker, "train.seed=1"), trained.parent, root=root, resume=True)


def test_a_training_without_its_recipe_does_not_go_on(speaker: Path, root: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with pytest.raises(RecipeError, match=r"recipe\.json is missing, and without it a training cannot go on"):
        train_backbone(small(speaker), tmp_path, root=root, resume=True)


def test_its_recipe_is_no_systems() -> None:
    assert recipe_names("backbone") == ["sd3-cifar10"]
    assert "sd3-cifar10" not in recipe_names()
    with pytest.raises(RecipeError, match=r"recipe of a system is wanted, and this one, with \[backbone\]"):
        load_recipe("sd3-cifar10")
    recipe = parse_backbone_recipe(load_table("sd3-cifar10"))
    assert recipe.source
    assert recipe.card.summary
    assert recipe.card.limits
