"""The text encoders of a text-to-image model alone: what its pipeline would say, and a learned word among others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

import tiny_backbones
from soundsight import texts
from soundsight.conditioning import Conditioning
from soundsight.errors import MissingExtraError, ModelError, SoundsightError
from soundsight.texts import diffusion
from soundsight.texts.diffusion.encoders import DiffusionTexts
from soundsight.texts.diffusion.families import FAMILIES
from tiny_backbones import CLIP_G, CLIP_L, T5, change, quiet

PROMPTS = ["an image of dog", "rain", "", "church bells of a train, image of dog"]
TEMPLATE = "an image of {label}, rain"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_backbones.write(tmp_path_factory.mktemp("texts") / "sd3", "sd3")


@pytest.fixture(scope="module")
def encoders(folder: Path) -> DiffusionTexts:
    return diffusion.load(folder)


def pair(folder: Path) -> tuple[Any, DiffusionTexts]:
    """The pipeline itself, and ours around its text encoders."""
    with quiet():
        pipeline = DiffusionPipeline.from_pretrained(folder)
    family = FAMILIES[type(pipeline).__name__]
    names = family.encoders
    own = {name: getattr(pipeline, name) for name in names}
    return pipeline, DiffusionTexts(
        family, own, {name: getattr(pipeline, family.tokenizers[name][0]) for name in names}
    )


def near(found: Any, wanted: Any) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


@torch.no_grad()
def test_stable_diffusion_3_says_what_its_pipeline_says(folder: Path, encoders: DiffusionTexts) -> None:
    pipeline, own = pair(folder)
    tokens_BLD, _, pooled_BP, _ = pipeline.encode_prompt(PROMPTS, None, None)
    for said in (own.encode(PROMPTS), encoders.encode(PROMPTS)):
        near(said.pooled, pooled_BP)
        near(said.clip_l, tokens_BLD[:, :77, :CLIP_L])
        near(said.clip_g, tokens_BLD[:, :77, CLIP_L : CLIP_L + CLIP_G])
        near(said.t5, tokens_BLD[:, 77:])
    assert not tokens_BLD[:, :77, CLIP_L + CLIP_G :].any()
    assert (pooled_BP[0] - pooled_BP[1]).abs().max() > 0.1, "it reads"


@torch.no_grad()
def test_stable_diffusion_xl_says_what_its_pipeline_says(tmp_path: Path) -> None:
    pipeline, own = pair(tiny_backbones.write(tmp_path, "sdxl"))
    tokens_BLD, _, pooled_BP, _ = pipeline.encode_prompt(PROMPTS)
    said = own.encode(PROMPTS)
    assert said.t5 is None
    near(said.pooled, pooled_BP)
    near(torch.cat([said.parts["clip_l"], said.parts["clip_g"]], -1), tokens_BLD)


@torch.no_grad()
def test_stable_diffusion_15_says_what_its_pipeline_says(tmp_path: Path) -> None:
    pipeline, own = pair(tiny_backbones.write(tmp_path, "sd15"))
    tokens_BLD, _ = pipeline.encode_prompt(PROMPTS, torch.device("cpu"), 1, do_classifier_free_guidance=False)
    assert set(own.encode(PROMPTS).parts) == {"clip_l"}
    near(own.encode(PROMPTS).clip_l, tokens_BLD)


def test_neighbours_change_nothing_and_long_texts_are_cut(encoders: DiffusionTexts) -> None:
    many = [f"dog {'rain ' * i}".strip() for i in (0, 1, 2, 3, 4, 5, 6, 7, 8, 400)]
    together = encoders.encode(many)
    for name, part in encoders.encode([many[8]]).parts.items():
        torch.testing.assert_close(together.parts[name][8:9], part, atol=1e-5, rtol=0)
    assert all(len(part) == len(many) for part in together.parts.values())
    assert not together.parts["pooled"].requires_grad


def test_the_end_that_is_not_read_is_told(encoders: DiffusionTexts) -> None:
    words = [("dog", "rain", "image")[i % 3] for i in range(300)]
    assert encoders.unread(" ".join(words[:75])) == [], "with the marks of start and end these are 77 tokens"
    long = " ".join(words[:100])
    ends = encoders.unread(long)
    assert [(end.part, end.num_tokens) for end in ends] == [("clip_l", 77), ("clip_g", 77)], "a T5 reads 256"
    assert {end.rest for end in ends} == {" ".join(words[75:100])}
    longer = encoders.unread(" ".join(words))
    assert [(end.part, end.rest) for end in longer[2:]] == [("t5", " ".join(words[255:]))]
    # What is left says the same.
    whole, read = encoders.encode([long]), encoders.encode([long.removesuffix(ends[0].rest)])
    for part in ("pooled", "clip_l", "clip_g"):
        torch.testing.assert_close(whole.parts[part], read.parts[part], atol=0, rtol=0)
    assert not torch.equal(whole.parts["t5"], read.parts["t5"])


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("dog " * 74 + "thunder, dog", "thunder, dog"),  # a word of several tokens, of which one has a place
        ("dog " * 74 + "  rain \n train ", "train"),
        ("é" * 200, None),
        ("dog " * 10 + "雨" * 80, None),
    ],
)
def test_words_are_lost_as_a_whole_where_there_are_words(text: str, rest: str | None, encoders: DiffusionTexts) -> None:
    found = encoders.unread(text)[0].rest
    if rest is not None:
        assert found == rest
    assert found
    assert text.strip().endswith(found)
    assert len(found) < len(text.strip())


def test_a_line_tells_what_is_lost(encoders: DiffusionTexts) -> None:
    assert texts.unread_line(encoders, ["dog", "rain"]) == ""
    assert texts.unread_line(encoders, ["dog " * 75 + "rain train"], "prompt") == (
        f"the prompt '{'dog ' * 15}…' is too long, and is read by clip_l and clip_g (77 tokens) without 'rain train'"
    )
    line = texts.unread_line(encoders, ["dog", "dog " * 300 + "the end"], "prompt")
    assert line.startswith("1 of 2 prompts are too long; 'dog dog ")
    assert line.endswith("the end'")
    assert ", by t5 (256 tokens) without 'dog dog " in line
    assert len(line) < 500
    assert texts.unread_line(object(), ["dog " * 900]) == "", "one that cannot tell tells nothing"


def test_a_text_encoder_may_be_absent(folder: Path, tmp_path: Path, encoders: DiffusionTexts) -> None:
    whole = encoders.encode(["dog"])
    without = diffusion.load(folder, without=["text_encoder_3"])
    assert set(without.encode(["dog"]).parts) == {"pooled", "clip_l", "clip_g"}
    assert without.identity != encoders.identity
    shutil.copytree(folder, tmp_path / "a")
    for gone in ("text_encoder", "transformer", "vae", "scheduler"):
        shutil.rmtree(tmp_path / "a" / gone)
    with pytest.raises(ModelError, match=r"'text_encoder' is missing; .* targets.without=\['text_encoder'\]"):
        diffusion.load(tmp_path / "a")
    said = diffusion.load(tmp_path / "a", without=["text_encoder"]).encode(["dog"])
    assert set(said.parts) == {"clip_g", "t5"}, "half of a pooled vector is none"
    torch.testing.assert_close(said.clip_g, whole.clip_g)


def test_a_part_that_there_is_not_cannot_be_left_out(folder: Path) -> None:
    with pytest.raises(
        SoundsightError, match=r"cannot leave out 't5'; expected one of text_encoder, text_encoder_2, tex"
    ):
        diffusion.load(folder, without=["t5"])


def test_the_identity_tells_weights_and_vocabularies_apart_and_no_call_changes_it(folder: Path, tmp_path: Path) -> None:
    first = diffusion.load(folder)
    second = diffusion.load(folder)
    second.encode(["dog"])
    assert first.identity == second.identity
    assert len(first.identity) == 64
    shutil.copytree(folder, tmp_path / "a")
    path = tmp_path / "a" / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    save_file({name: tensor + 0.01 for name, tensor in tensors.items()}, path, metadata={"format": "pt"})
    shutil.copytree(folder, tmp_path / "b")
    path = tmp_path / "b" / "tokenizer_2" / "tokenizer.json"
    cutting = json.loads(path.read_text())
    known = cutting["model"]["vocab"]
    known["dog</w>"], known["rain</w>"] = known["rain</w>"], known["dog</w>"]
    path.write_text(json.dumps(cutting))
    identities = {first.identity, *(diffusion.load(tmp_path / name).identity for name in "ab")}
    assert len(identities) == 3


def words(encoders: DiffusionTexts, text: str) -> torch.Tensor:
    """Input embeddings of the words of a text, CLIP-L's and CLIP-G's side by side: (1, K, W)."""
    rows = []
    for part in ("clip_l", "clip_g"):
        ids = encoders._tokenizers[part](text, add_special_tokens=False).input_ids
        rows.append(encoders._encoders[part].get_input_embeddings().weight[ids])
    return torch.cat(rows, dim=-1)[None]


@pytest.mark.parametrize("label", ["dog", "church bells", "xylophone"])
def test_words_that_there_are_say_what_the_text_says(label: str, encoders: DiffusionTexts) -> None:
    wanted = encoders.encode([TEMPLATE.format(label=label)])
    said = encoders.encode_with_tokens(TEMPLATE, words(encoders, label))
    assert set(said.parts) == {"pooled", "clip_l", "clip_g"}
    for name, part in said.parts.items():
        torch.testing.assert_close(part, wanted.parts[name], atol=1e-6, rtol=0)
    after = encoders.encode([TEMPLATE.format(label=label)])
    torch.testing.assert_close(after.pooled, wanted.pooled, atol=0, rtol=0)


def test_words_before_the_place_stay_and_those_behind_hear_of_it(encoders: DiffusionTexts) -> None:
    dog = words(encoders, "dog")
    first, second = encoders.encode_with_tokens(TEMPLATE, torch.cat([dog, dog.flip(-1)])).clip_l  # type: ignore[misc]
    torch.testing.assert_close(first[:4], second[:4], atol=0, rtol=0)  # start, «an image of»
    assert ((first[4:] - second[4:]).abs().amax(dim=1) > 1e-4).all()


def test_clip_l_alone_can_be_told(encoders: DiffusionTexts) -> None:
    said = encoders.encode_with_tokens(TEMPLATE, words(encoders, "dog")[..., :CLIP_L])
    assert set(said.parts) == {"clip_l"}
    torch.testing.assert_close(said.clip_l, encoders.encode([TEMPLATE.format(label="dog")]).clip_l, atol=1e-6, rtol=0)


def test_gradients_reach_the_words(folder: Path) -> None:
    encoders = diffusion.load(folder)
    for encoder in encoders._encoders.values():
        encoder.double()
    weigh = torch.Generator().manual_seed(1)
    place = torch.randn(2, 2, CLIP_L + CLIP_G, generator=weigh, dtype=torch.float64)

    def score(tokens_BKW: torch.Tensor) -> torch.Tensor:
        said: Conditioning = encoders.encode_with_tokens(TEMPLATE, tokens_BKW)
        return torch.stack([(part * part.cos()).sum() for part in said.parts.values()]).sum()

    tokens = place.clone().requires_grad_()
    score(tokens).backward()
    assert tokens.grad is not None
    for index in [(0, 0, 3), (1, 1, 30), (0, 1, 63)]:
        step = torch.zeros_like(place)
        step[index] = 1e-5
        slope = (score(place + step) - score(place - step)) / 2e-5
        assert tokens.grad[index].item() == pytest.approx(slope.item(), rel=1e-4, abs=1e-6)
    assert all(parameter.grad is None for e in encoders._encoders.values() for parameter in e.parameters())


@pytest.mark.parametrize(
    ("template", "shape", "fault"),
    [
        ("an image of dog", (1, 1, 64), "needs one {label}"),
        ("{label} of {label}", (1, 1, 64), "needs one {label}"),
        ("rain " * 75 + "{label}", (1, 1, 64), "takes 78 tokens; clip_l reads 77"),
        ("{label}", (1, 76, 64), "takes 78 tokens"),
        ("{label}", (1, 1, 65), r"shape \(1, 1, 65\); these text encoders read \(B, K, 64\): clip_l 24, clip_g 40"),
        ("{label}", (1, 64), r"shape \(1, 64\); these"),
    ],
)
def test_what_has_no_place_is_refused(
    template: str, shape: tuple[int, ...], fault: str, encoders: DiffusionTexts
) -> None:
    with pytest.raises(SoundsightError, match=fault) as caught:
        encoders.encode_with_tokens(template, torch.zeros(shape))
    assert "\n" not in str(caught.value)


def test_t5_alone_has_no_learned_words(folder: Path) -> None:
    encoders = diffusion.load(folder, without=["text_encoder", "text_encoder_2"])
    assert encoders.widths == {"t5": T5}
    with pytest.raises(ModelError, match="no CLIP"):
        encoders.encode_with_tokens(TEMPLATE, torch.zeros(1, 1, 0))


def drop_tensor(folder: Path) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    del tensors["text_projection.weight"]
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda f: (f / "model_index.json").unlink(), "there is no model_index.json in it"),
        (lambda f: shutil.rmtree(f / "tokenizer"), "the folder 'tokenizer' is missing; the download is partial"),
        (lambda f: (f / "text_encoder" / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "text_encoder" / "config.json").write_text("["), "not valid JSON"),
        (lambda f: change(f / "text_encoder" / "config.json", hidden_size="x"), "cannot be loaded as CLIPTextModel"),
        (lambda f: change(f / "text_encoder" / "config.json", hidden_size=16), "cannot be loaded as CLIPTextModel"),
        (lambda f: (f / "tokenizer" / "tokenizer.json").write_text("{}"), "cannot be loaded as CLIPTokenizer"),
        (drop_tensor, "the weights lack the tensor 'text_projection.weight'"),
        (
            lambda f: change(f / "model_index.json", text_encoder=["transformers", "AutoModel"]),
            "expected CLIPTextModelWithProjection of transformers, as no other code is run",
        ),
        (
            lambda f: change(f / "model_index.json", **dict.fromkeys(f"text_encoder{i}" for i in ("", "_2", "_3"))),
            "no text",
        ),
    ],
)
def test_a_folder_without_them_is_refused(spoil: Any, fault: str, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "a")
    spoil(tmp_path / "a")
    with pytest.raises(ModelError, match=fault) as caught:
        diffusion.load(tmp_path / "a")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_the_room_knows_it(folder: Path) -> None:
    encoder = texts.load("diffusion", folder, without=["text_encoder_3"])
    assert encoder.name == "diffusion"
    assert encoder.identity == diffusion.load(folder, without=["text_encoder_3"]).identity


def test_without_the_libraries_one_line_says_what_installs_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'soundsight\[sd3\]'"):
        diffusion.load(folder)
