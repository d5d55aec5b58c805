"""A frozen text-to-image model told by a conditioning: what the bare pipeline would paint, noise, texts, settings."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, PNDMScheduler

import tiny_backbones
from soundsight import noise
from soundsight.backbones import memory
from soundsight.backbones.backbone import Backbone
from soundsight.backbones.joining import blend
from soundsight.backbones.layers import Turn
from soundsight.backbones.regions import Region
from soundsight.conditioning import Conditioning
from soundsight.errors import ModelError, SoundsightError
from soundsight.texts.diffusion.families import FAMILIES
from tiny_backbones import CLIP_G, CLIP_L, POOLED, T5, build, quiet

QUICK: dict[str, Any] = {"steps": 3, "size": 16}
KINDS = ["sd3", "sdxl", "sd15"]


def backbone(kind: str, **options: Any) -> Backbone:
    pipeline = build(kind, **options)
    return Backbone(pipeline, FAMILIES[type(pipeline).__name__], f"tiny {kind}")


@pytest.fixture(scope="module", params=KINDS)
def painter(request: pytest.FixtureRequest) -> Backbone:
    return backbone(request.param)


@pytest.fixture(scope="module", params=KINDS)
def mute(request: pytest.FixtureRequest) -> Backbone:
    """One without text encoders."""
    return backbone(request.param, texts=False)


def said(num: int = 1, *, seed: int = 0, length: int = 20) -> Conditioning:
    """What an adapter for Stable Diffusion 3 says of sounds: all parts, 20 tokens each."""
    draw = torch.Generator().manual_seed(seed)
    widths = {"clip_l": CLIP_L, "clip_g": CLIP_G, "t5": T5}
    tokens = {name: torch.randn(num, length, width, generator=draw) for name, width in widths.items()}
    return Conditioning(pooled=torch.randn(num, POOLED, generator=draw), **tokens)


def by_hand(painter: Backbone, words: Conditioning, *, num: int, seed: int, **settings: Any) -> Any:
    """The bare pipeline, with embeddings joined by the rules of its paper, and zeros to lead away from."""
    sound = {name: part.repeat_interleave(num, 0) for name, part in words.parts.items()}
    clip_BLD = torch.zeros(num * len(words.parts["pooled"]), 77, CLIP_L + CLIP_G)
    clip_BLD[:, :20, :CLIP_L], clip_BLD[:, :20, CLIP_L:] = sound["clip_l"], sound["clip_g"]
    kind = painter.family.name
    if kind == "Stable Diffusion 3":
        tokens_BLD = torch.zeros(len(clip_BLD), 77 + 256, T5)
        tokens_BLD[:, :77, : CLIP_L + CLIP_G] = clip_BLD
        tokens_BLD[:, 77:97] = sound["t5"]
        pooled = {"pooled_prompt_embeds": sound["pooled"]}
    elif kind == "Stable Diffusion XL":
        tokens_BLD, pooled = clip_BLD, {"pooled_prompt_embeds": sound["pooled"][:, -CLIP_G:]}
    else:
        tokens_BLD, pooled = clip_BLD[..., :CLIP_L], {}
    embeddings = {"prompt_embeds": tokens_BLD} | pooled
    negatives = {f"negative_{name}": torch.zeros_like(tensor) for name, tensor in embeddings.items()}
    latents = (
        torch.from_numpy(noise.draw(seed, num, 4 * 8 * 8)).view(num, 4, 8, 8).repeat(len(tokens_BLD) // num, 1, 1, 1)
    )
    return bare(painter, **embeddings, **negatives, latents=latents, **settings)


def bare(painter: Backbone, **settings: Any) -> Any:
    """(N, C, H, W) of the pipeline itself."""
    with quiet():
        images = painter.pipeline(**settings, height=16, width=16, output_type="np").images
    return images.transpose(0, 3, 1, 2)


def test_it_paints_what_the_bare_pipeline_paints(mute: Backbone) -> None:
    words = said(2)
    found = mute.paint(words, num_images=2, seed=7, guidance=4.0, **QUICK)
    wanted = by_hand(mute, words, num=2, seed=7, num_inference_steps=3, guidance_scale=4.0)
    assert found.withheld == ()
    np.testing.assert_array_equal(found.images_NCHW, wanted)
    assert found.images_NCHW.shape == (4, 3, 16, 16)
    assert found.images_NCHW.std() > 0.01


def test_the_sound_decides(mute: Backbone) -> None:
    one, other = (mute.paint(said(seed=seed), **QUICK).images_NCHW for seed in (0, 1))
    assert np.abs(one - other).max() > 1e-3


def test_seed_and_row_decide_and_not_the_batch(painter: Backbone) -> None:
    words = said(2)
    many = painter.paint(words, num_images=3, seed=5, **QUICK).images_NCHW
    alone = Conditioning(**{name: part[1:] for name, part in words.parts.items()})
    np.testing.assert_allclose(painter.paint(alone, seed=5, **QUICK).images_NCHW[0], many[3], atol=1e-4)
    assert np.abs(many[0] - many[1]).max() > 1e-2, "pictures of a sound differ"
    other = painter.paint(alone, seed=6, **QUICK).images_NCHW[0]
    assert np.abs(other - many[3]).max() > 1e-2


def test_many_pictures_are_painted_in_turns(painter: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five pictures in groups of two, with every layer there is: as at once, but for rounding."""
    rows = [3, 0, 2, 2, 5]
    layers: dict[str, Any] = {"turn": Turn(said(5, seed=1), 0.4), "regions": [Region(said(seed=2), "left")]}
    layers |= {"prompt": "dog", "share": 0.3, "negative": "rain", "guidance": 3.0, **QUICK}
    seen: list[tuple[int, int]] = []
    at_once = painter.paint(said(5), rows=rows, **layers).images_NCHW
    monkeypatch.setattr(memory, "PIXELS", 2 * 16 * 16 + 100)
    in_turns = painter.paint(said(5), rows=rows, callback=lambda *step: seen.append(step), **layers).images_NCHW
    np.testing.assert_allclose(in_turns, at_once, atol=1e-4)
    total = seen[0][1]
    assert seen == [(step, total) for step in range(1, total + 1)], "one count through all groups"
    three = painter.paint(said(2), num_images=3, seed=5, **QUICK).images_NCHW
    monkeypatch.setattr(memory, "PIXELS", 1)
    np.testing.assert_allclose(painter.paint(said(2), num_images=3, seed=5, **QUICK).images_NCHW, three, atol=1e-4)


def test_black_pictures_keep_their_numbers_through_the_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    painter = backbone("sd15")
    flags = iter([[False, True], [False, False], [True]])
    pipeline = painter.pipeline

    class Flagged:
        def __getattr__(self, name: str) -> Any:
            return getattr(pipeline, name)

        def __call__(self, **settings: Any) -> Any:
            found = pipeline(**settings)
            return SimpleNamespace(images=found.images, nsfw_content_detected=next(flags))

    painter.pipeline = Flagged()
    monkeypatch.setattr(memory, "PIXELS", 2 * 16 * 16)
    assert painter.paint(said(), num_images=5, **QUICK).withheld == (1, 4)


def test_a_picture_that_cannot_be_decoded_is_refused_before_it_is_painted(
    painter: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda *, on_gpu: 1000)
    monkeypatch.setattr(painter, "_run", lambda *_a, **_n: pytest.fail("it was painted"))
    vae = painter.pipeline.vae
    monkeypatch.setattr(vae, "tile_sample_min_size", 8)
    with pytest.raises(ModelError, match=r"1 picture of 16 x 16 at once: .* paint a smaller one, or load .*tiling$"):
        painter.paint(said(), **QUICK)
    with pytest.raises(ModelError, match=r"3 pictures of 16 x 16 at once: .* paint fewer, or load .*slicing and .*til"):
        painter.paint(said(), num_images=3, **QUICK)
    monkeypatch.setattr(vae, "tile_sample_min_size", 16)
    monkeypatch.setattr(vae, "use_slicing", True)
    with pytest.raises(ModelError, match=r"1 picture of .* paint a smaller one$"):
        painter.paint(said(), num_images=3, **QUICK)


def test_each_sound_may_have_noise_of_its_own(painter: Backbone) -> None:
    words = said(3)
    own = painter.paint(words, seed=5, rows=[4, 0, 4], **QUICK).images_NCHW
    for i, row in enumerate((4, 0, 4)):
        one = Conditioning(**{name: part[i : i + 1] for name, part in words.parts.items()})
        alone = painter.paint(one, num_images=row + 1, seed=5, **QUICK).images_NCHW[row]
        np.testing.assert_allclose(own[i], alone, atol=1e-4)


def test_noise_that_a_scheduler_adds_is_a_pictures_own() -> None:
    painter = backbone("sd15")
    with quiet():
        painter.pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(painter.pipeline.scheduler.config)
    many = painter.paint(said(), num_images=3, seed=5, **QUICK).images_NCHW
    torch.manual_seed(123)
    again = painter.paint(said(), num_images=1, seed=5, **QUICK).images_NCHW
    np.testing.assert_allclose(again[0], many[0], atol=1e-4)


def test_learned_words_are_read_by_its_own_text_encoders() -> None:
    painter = backbone("sd3")
    ids = painter.pipeline.tokenizer("dog", add_special_tokens=False).input_ids
    word = painter.pipeline.text_encoder.get_input_embeddings().weight[ids][None]
    found = painter.read_with_words("an image of {label}", word)
    wanted = painter.texts.encode(["an image of dog"]).clip_l
    torch.testing.assert_close(found.clip_l, wanted, atol=1e-6, rtol=0)
    with pytest.raises(
        SoundsightError, match=r"has no text encoder to read 'an image of {label}'; choose a whole model"
    ):
        backbone("sd3", texts=False).read_with_words("an image of {label}", word)


def test_what_was_said_without_gradients_in_mind_is_painted(painter: Backbone) -> None:
    with torch.inference_mode():
        words, other = said(), said(seed=1)
    layers: dict[str, Any] = {"turn": Turn(other, 0.4), "regions": [Region(other, "left")], "prompt": "dog"}
    found = painter.paint(words, **layers, share=0.5, **QUICK).images_NCHW
    layers |= {"turn": Turn(said(seed=1), 0.4), "regions": [Region(said(seed=1), "left")]}
    np.testing.assert_array_equal(found, painter.paint(said(), **layers, share=0.5, **QUICK).images_NCHW)


def test_a_prompt_alone_is_the_pipelines_own(painter: Backbone) -> None:
    found = painter.paint(Conditioning(), prompt="dog", negative="rain", seed=3, guidance=4.0, **QUICK).images_NCHW
    latents = torch.from_numpy(noise.draw(3, 1, 256)).view(1, 4, 8, 8)
    wanted = bare(
        painter, prompt="dog", negative_prompt="rain", latents=latents, num_inference_steps=3, guidance_scale=4.0
    )
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_no_negative_is_the_pipelines_own(painter: Backbone) -> None:
    found = painter.paint(Conditioning(), prompt="dog", seed=3, guidance=4.0, **QUICK).images_NCHW
    latents = torch.from_numpy(noise.draw(3, 1, 256)).view(1, 4, 8, 8)
    wanted = bare(painter, prompt="dog", latents=latents, num_inference_steps=3, guidance_scale=4.0)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_what_is_not_said_is_the_texts() -> None:
    painter = backbone("sd3")
    pooled = said().pooled
    told = painter._tell(Conditioning(pooled=pooled), "", 0.0, 1)
    tokens_BLD, _, text_BP, _ = painter.pipeline.encode_prompt("", None, None)
    torch.testing.assert_close(told.tokens_BLD, tokens_BLD, atol=1e-4, rtol=0)
    torch.testing.assert_close(told.pooled_BP, pooled, atol=0, rtol=0)
    told = painter._tell(Conditioning(clip_l=said().clip_l), "dog", 0.0, 1)
    tokens_BLD, _, text_BP, _ = painter.pipeline.encode_prompt("dog", None, None)
    torch.testing.assert_close(told.pooled_BP, text_BP, atol=1e-4, rtol=0)
    torch.testing.assert_close(told.tokens_BLD[..., CLIP_L:], tokens_BLD[..., CLIP_L:], atol=1e-4, rtol=0)
    torch.testing.assert_close(told.tokens_BLD[:, :20, :CLIP_L], said().clip_l, atol=0, rtol=0)
    assert not told.tokens_BLD[:, 20:77, :CLIP_L].any()


def test_a_share_of_the_text() -> None:
    painter = backbone("sd3")
    parts = {share: painter._tell(said(), "dog", share, 1).tokens_BLD for share in (0.0, 0.25, 1.0)}
    text = painter._tell(Conditioning(), "dog", 0.0, 1).tokens_BLD
    torch.testing.assert_close(parts[1.0], text, atol=1e-6, rtol=0)
    torch.testing.assert_close(parts[0.25], 0.75 * parts[0.0] + 0.25 * text, atol=1e-5, rtol=0)
    torch.testing.assert_close(parts[0.0], painter._tell(said(), "", 0.0, 1).tokens_BLD, atol=0, rtol=0)


def test_blending_takes_the_part_that_only_one_says() -> None:
    sound, text = Conditioning(pooled=torch.ones(3, 4)), Conditioning(pooled=torch.zeros(1, 4), t5=torch.ones(1, 2, 5))
    found = blend(sound, text, 0.3)
    torch.testing.assert_close(found.pooled, torch.full((3, 4), 0.7))
    assert found.t5 is not None
    assert found.t5.shape == (3, 2, 5)


def test_without_t5_its_tokens_are_zeros() -> None:
    painter = backbone("sd3", t5=False)
    told = painter._tell(Conditioning(), "dog", 0.0, 1)
    assert not told.tokens_BLD[:, 77:].any()
    assert told.tokens_BLD[:, :77].any()
    assert np.isfinite(painter.paint(said(), prompt="dog", **QUICK).images_NCHW).all()


def test_guidance_leads_away_from_the_negative(painter: Backbone) -> None:
    def paint(guidance: float, negative: str) -> Any:
        return painter.paint(said(), guidance=guidance, negative=negative, **QUICK).images_NCHW

    assert np.abs(paint(5.0, "dog") - paint(5.0, "rain")).max() > 1e-4
    np.testing.assert_array_equal(paint(1.0, "dog"), paint(0.5, "rain"))


def test_it_tells_how_far_it_is(painter: Backbone) -> None:
    told: list[tuple[int, int]] = []
    painter.paint(said(), callback=lambda done, num: told.append((done, num)), **QUICK)
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_steps_are_counted_as_the_scheduler_does() -> None:
    painter = backbone("sd15")
    painter.pipeline.scheduler = PNDMScheduler.from_config(painter.pipeline.scheduler.config, skip_prk_steps=True)
    told: list[tuple[int, int]] = []
    painter.paint(said(), callback=lambda done, num: told.append((done, num)), **QUICK)
    assert told[-1] == (4, 4)


def test_sizes_other_than_squares(painter: Backbone) -> None:
    step = painter.size_step
    assert painter.paint(said(), size=(4 * step, 2 * step), steps=1).images_NCHW.shape == (1, 3, 4 * step, 2 * step)
    assert painter.paint(said(), steps=1).images_NCHW.shape == (1, 3, 16, 16), "what it was made for"


def test_the_size_that_a_config_may_leave_open(monkeypatch: pytest.MonkeyPatch) -> None:
    painter = backbone("sdxl")
    scale = painter.pipeline.vae_scale_factor
    for side, expected in ((8, 8), ([8, 8], 8), (None, 128)):
        monkeypatch.setattr(
            painter,
            "pipeline",
            SimpleNamespace(vae_scale_factor=scale, unet=SimpleNamespace(config=SimpleNamespace(sample_size=side))),
        )
        assert painter.default_size == expected * scale


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "the memory ran out"),
        (MemoryError(), "the memory ran out"),
        (
            TypeError("unsupported operand type(s) for /: 'NoneType' and 'float'"),
            "it cannot paint .*unsupported operand",
        ),
    ],
)
def test_a_painting_that_fails_is_one_line(error: Exception, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    painter = backbone("sd15")

    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(type(painter.pipeline), "__call__", fails)
    with pytest.raises(ModelError, match=fault) as caught:
        painter.paint(said(), **QUICK)
    assert "\n" not in str(caught.value)


def test_a_blackened_picture_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    painter = backbone("sd15", checker=True)
    checker = painter.pipeline.safety_checker
    free = painter.paint(said(), num_images=2, **QUICK)
    monkeypatch.setattr(checker, "forward", lambda clip_input, images: blacken(images))
    found = painter.paint(said(), num_images=2, **QUICK)
    assert found.withheld == (1,)
    assert not found.images_NCHW[1].any()
    np.testing.assert_array_equal(found.images_NCHW[0], free.images_NCHW[0])


def blacken(images: torch.Tensor) -> tuple[torch.Tensor, list[bool]]:
    """The second as the checker does, which is asked for pictures in [-1, 1]."""
    images = images.clone()
    images[1] = 0
    return images, [False, True]


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_paints_nearly_the_same(kind: str) -> None:
    exact, half = backbone(kind, texts=False), backbone(kind, texts=False)
    half.pipeline.to(torch.bfloat16)
    images = [painter.paint(said(), **QUICK, guidance=2.0).images_NCHW for painter in (exact, half)]
    assert images[1].dtype == np.float32
    assert 0 < np.abs(images[0] - images[1]).max() < 0.2


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"steps": 0}, "steps is 0; expected a whole number from 1 to 1000"),
        ({"steps": 2.5}, "steps is 2.5; expected a whole"),
        ({"num_images": 0}, "num_images is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"guidance": float("nan")}, "guidance is nan; expected a number from 0 to 100"),
        ({"guidance": -1.0}, "guidance is -1.0"),
        ({"share": 1.5, "prompt": "dog"}, "share is 1.5; expected a number from 0 to 1"),
        ({"share": float("nan"), "prompt": "dog"}, "share is nan"),
        ({"share": 0.5}, "a share of 0.5 for the text needs a text; name a prompt"),
        ({"size": 17}, "size is 17; tiny .* paints sides that are multiples of ., up to "),
        ({"size": (16, 0)}, r"size is \(16, 0\)"),
        ({"size": 1 << 20}, "size is 1048576"),
        ({"size": (16, 16, 16)}, "size is"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], fault: str, painter: Backbone) -> None:
    with pytest.raises(SoundsightError, match=fault) as caught:
        painter.paint(said(), **(QUICK | settings))
    assert "\n" not in str(caught.value)


def test_a_text_for_a_model_that_cannot_read_is_refused(mute: Backbone) -> None:
    for texts in ({"prompt": "dog"}, {"negative": "dog"}):
        with pytest.raises(SoundsightError, match=r"tiny .* has no text encoder to read 'dog'; leave the text out"):
            mute.paint(said(), **texts, **QUICK)


@pytest.mark.parametrize(
    ("kind", "words", "fault"),
    [
        ("sd3", Conditioning(pooled=torch.zeros(1, 384)), "pooled embedding has 384 numbers and .* 3 here takes 64;"),
        ("sdxl", Conditioning(pooled=torch.zeros(1, 384)), "pooled embedding has 384 numbers and .* XL here takes 64;"),
        ("sd3", Conditioning(clip_l=torch.zeros(1, 2, 768)), "clip_l are 768 wide and .* 3 here takes 24"),
        ("sd3", Conditioning(clip_g=torch.zeros(1, 2, 768)), "clip_g are 768 wide and .* 3 here takes 40"),
        ("sd3", Conditioning(t5=torch.zeros(1, 2, 768)), "t5 are 768 wide and Stable Diffusion 3 here takes 72"),
        ("sd15", Conditioning(clip_l=torch.zeros(1, 2, 768)), "clip_l are 768 wide and .* 1.5 here takes 24"),
        ("sd3", Conditioning(clip_l=torch.zeros(1, 78, 24)), "says 78 tokens of clip_l; .* hears 1 to 77"),
        ("sd3", Conditioning(t5=torch.zeros(1, 257, 72)), "says 257 tokens of t5; .* hears 1 to 256"),
        ("sd3", Conditioning(t5=torch.zeros(1, 0, 72)), "says 0 tokens of t5"),
        ("sd15", Conditioning(pooled=torch.zeros(1, 64)), "says pooled, and .* 1.5 hears clip_l; choose an adapter"),
        ("sdxl", Conditioning(t5=torch.zeros(1, 2, 72)), "says t5, and .* XL hears clip_l, clip_g, pooled"),
        ("sd3", Conditioning(pooled=torch.full((1, 64), torch.nan)), "pooled holds NaN or infinity"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("texts", [True, False], ids=["reads", "mute"])
def test_what_does_not_fit_is_refused(kind: str, words: Conditioning, fault: str, texts: bool) -> None:
    painter = backbone(kind, texts=texts)
    with pytest.raises(ModelError, match=fault) as caught:
        painter.check(words)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=fault):
        painter.paint(words, **QUICK)


def test_xl_takes_the_pooled_vector_of_either() -> None:
    painter = backbone("sdxl", texts=False)
    whole = said()
    assert whole.pooled is not None
    own = replace(whole, pooled=whole.pooled[:, CLIP_L:])
    np.testing.assert_array_equal(painter.paint(whole, **QUICK).images_NCHW, painter.paint(own, **QUICK).images_NCHW)


def test_parts_that_do_not_fit_each_other_are_refused() -> None:
    pipeline = build("sd3")
    pipeline.text_encoder_3 = tiny_backbones.t5_encoder(pipeline.tokenizer_3, width=16)
    with pytest.raises(ModelError, match=r"'t5': 16\}, and its transformer hears tokens 72 wide"):
        Backbone(pipeline, FAMILIES["StableDiffusion3Pipeline"], "odd")


def test_weights_that_make_no_numbers_are_told() -> None:
    painter = backbone("sd3", texts=False)
    painter.pipeline.transformer.proj_out.weight[0, 0] = torch.nan
    with pytest.raises(ModelError, match="no finite numbers; precision bf16 or fp32 may"):
        painter.paint(said(), **QUICK)


def test_memory_that_runs_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    painter = backbone("sd3", texts=False)

    def full(*_arguments: Any, **_named: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried")

    monkeypatch.setattr(painter.pipeline.vae, "decode", full)
    with pytest.raises(ModelError, match="the GPU's memory ran out; paint fewer") as caught:
        painter.paint(said(), **QUICK)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_that_are_moved_about_paint_the_same(kind: str) -> None:
    plain, moved = backbone(kind), backbone(kind)
    with quiet():
        moved.pipeline.enable_model_cpu_offload(device="cpu")  # from the CPU to the CPU, by the same hooks
    assert "forward" in vars(moved._network)
    regions = [Region(said(seed=1), "left")]
    images = [each.paint(said(), prompt="dog", regions=regions, **QUICK).images_NCHW for each in (plain, moved)]
    np.testing.assert_allclose(images[0], images[1], atol=1e-5)


def test_a_call_that_is_given_up_leaves_the_gpu(painter: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole call of diffusers takes its offloaded parts away at its end; one that is broken off has none."""

    def given_up(done: int, num_steps: int) -> None:
        raise SoundsightError("nobody waits")

    freed: list[bool] = []
    monkeypatch.setattr(painter.pipeline, "maybe_free_model_hooks", lambda: freed.append(True))
    with pytest.raises(SoundsightError, match="nobody waits"):
        painter.paint(said(), callback=given_up, **QUICK)
    assert freed == [True]
