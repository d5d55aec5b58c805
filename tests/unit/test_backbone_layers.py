"""Several sounds in one picture: mixed, one after the other, by loudness, each in its place."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from soundsight.backbones.backbone import Backbone
from soundsight.backbones.joining import Told
from soundsight.backbones.layers import Turn, guidance_of_level, mix
from soundsight.backbones.regions import PLACES, Region, box_of, check_places, mask_of, painted_by_regions
from soundsight.conditioning import Conditioning
from soundsight.errors import ModelError, SoundsightError
from soundsight.texts.diffusion.families import FAMILIES
from tiny_backbones import CLIP_G, CLIP_L, POOLED, T5, build

QUICK: dict[str, Any] = {"steps": 4, "size": 16, "seed": 3, "guidance": 4.0}


@pytest.fixture(scope="module", params=["sd3", "sdxl", "sd15"])
def painter(request: pytest.FixtureRequest) -> Backbone:
    pipeline = build(request.param, texts=False)
    return Backbone(pipeline, FAMILIES[type(pipeline).__name__], request.param)


def said(seed: int, num: int = 1, length: int = 20) -> Conditioning:
    draw = torch.Generator().manual_seed(seed)
    widths = {"clip_l": CLIP_L, "clip_g": CLIP_G, "t5": T5}
    tokens = {name: 3 * torch.randn(num, length, width, generator=draw) for name, width in widths.items()}
    return Conditioning(pooled=3 * torch.randn(num, POOLED, generator=draw), **tokens)


A, B, C = said(0), said(1), said(2)


def same(first: Conditioning, second: Conditioning, tolerance: float = 0.0) -> None:
    assert first.parts.keys() == second.parts.keys()
    for name, part in first.parts.items():
        torch.testing.assert_close(part, second.parts[name], atol=tolerance, rtol=0)


@pytest.mark.parametrize("weight", [1.0, 0.001, 1e308])
def test_one_sound_alone_is_itself(weight: float) -> None:
    same(mix([A], [weight]), A)


def test_a_mixture_is_the_weighted_mean() -> None:
    found = mix([A, B, C], [1, 2, 5])
    for name, part in found.parts.items():
        wanted = (A.parts[name].double() + 2 * B.parts[name].double() + 5 * C.parts[name].double()) / 8
        torch.testing.assert_close(part.double(), wanted, atol=1e-6, rtol=0)


def test_order_and_scale_of_a_mixture_are_of_no_account() -> None:
    found = mix([A, B, C], [1, 2, 5])
    same(mix([C, A, B], [5, 1, 2]), found, 1e-6)
    same(mix([A, B, C], [0.1, 0.2, 0.5]), found, 1e-6)
    same(mix([A, B, C], [2e307, 4e307, 1e308]), found, 1e-6)
    same(mix([A, A], [1, 3]), A, 1e-6)


def test_shorter_tokens_are_filled_up_with_zeros() -> None:
    found = mix([said(0, length=20), said(1, length=5)], [1, 1]).parts["clip_l"]
    torch.testing.assert_close(found[:, 5:], said(0).parts["clip_l"][:, 5:] / 2)


@pytest.mark.parametrize(
    ("sounds", "weights", "fault"),
    [
        ([A, B], [1, 0], "weights are above 0; got 1, 0"),
        ([A, B], [1, -1], "weights are above 0; got 1, -1"),
        ([A, B], [1, float("nan")], "weights are above 0; got 1, nan"),
        ([A, B], [1, float("inf")], "weights are above 0; got 1, inf"),
        ([A, B], [1], "a weight for each sound; got 2 and 1"),
        ([], [], "a weight for each sound; got 0 and 0"),
        ([A, Conditioning(pooled=A.pooled)], [1, 1], "sounds that say different things cannot be mixed: pooled"),
        ([Conditioning(pooled=torch.ones(1, 2)), Conditioning(pooled=torch.ones(1, 3))], [1, 1], r"\(1, 2\); pooled"),
    ],
)
def test_what_cannot_be_mixed_is_refused(sounds: list[Conditioning], weights: list[float], fault: str) -> None:
    with pytest.raises(SoundsightError, match=fault) as caught:
        mix(sounds, weights)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("guidance", [4.0, 1.0])
def test_taking_over_from_itself_changes_nothing(guidance: float, painter: Backbone) -> None:
    plain = painter.paint(A, **(QUICK | {"guidance": guidance})).images_NCHW
    for after in (0.0, 0.25, 0.6, 1.0):
        found = painter.paint(A, turn=Turn(A, after), **(QUICK | {"guidance": guidance})).images_NCHW
        np.testing.assert_array_equal(found, plain)


def test_who_takes_over_at_once_is_alone(painter: Backbone) -> None:
    first, second = (painter.paint(each, num_images=2, **QUICK).images_NCHW for each in (A, B))
    for after, wanted in ((0.0, second), (1.0, first)):
        found = painter.paint(A, num_images=2, turn=Turn(B, after), **QUICK).images_NCHW
        np.testing.assert_array_equal(found, wanted)
    between = painter.paint(A, num_images=2, turn=Turn(B, 0.5), **QUICK).images_NCHW
    assert min(np.abs(between - each).max() for each in (first, second)) > 1e-4


@pytest.mark.parametrize("guidance", [4.0, 1.0])
def test_each_step_is_of_the_sound_whose_turn_it_is(guidance: float, painter: Backbone) -> None:
    heard: list[torch.Tensor] = []
    network = painter._network
    hook = network.register_forward_pre_hook(
        lambda _module, _arguments, named: heard.append(named["encoder_hidden_states"][-1]), with_kwargs=True
    )
    painter.paint(A, turn=Turn(B, 0.25), **(QUICK | {"guidance": guidance}))
    hook.remove()
    own = [painter._tell(each, "", 0.0, 1).tokens_BLD[0] for each in (A, B)]
    assert [torch.equal(each, own[0]) for each in heard] == [True, False, False, False]
    assert [torch.equal(each, own[1]) for each in heard] == [False, True, True, True]


@pytest.mark.parametrize("after", [-0.1, 1.1, float("nan")])
def test_a_turn_outside_the_steps_is_refused(after: float) -> None:
    with pytest.raises(SoundsightError, match="share of the first sound is"):
        Turn(A, after)


def test_loudness_by_hand() -> None:
    # Between 0 and -20 dB, 10 dB more double what lies above the quarter at the bottom.
    found = [guidance_of_level(db, weakest=1, strongest=7, quiet_db=-20, loud_db=0) for db in (-20, -10, 0)]
    assert found == pytest.approx([1, 1 + 6 * (0.5 - 0.25) / 0.75, 7])


@given(st.lists(st.floats(-200, 50), min_size=2, max_size=8))
def test_louder_is_never_weaker(levels_db: list[float]) -> None:
    found = [guidance_of_level(level_db) for level_db in sorted(levels_db)]
    assert all(low <= high for low, high in pairwise(found))
    assert found[0] >= 2
    assert found[-1] <= 10


def test_silence_and_full_scale_are_the_bounds() -> None:
    assert guidance_of_level(-np.inf, weakest=1.5) == 1.5
    assert guidance_of_level(np.inf, strongest=12) == 12
    assert guidance_of_level(-30) < guidance_of_level(-29)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"level_db": float("nan")}, "level of the sound is NaN"),
        ({"level_db": -20, "weakest": 5, "strongest": 4}, "expected rising bounds"),
        ({"level_db": -20, "weakest": float("nan")}, "expected rising bounds"),
        ({"level_db": -20, "quiet_db": -10, "loud_db": -10}, "expected rising bounds"),
    ],
)
def test_loudness_that_is_none_is_refused(settings: dict[str, float], fault: str) -> None:
    with pytest.raises(SoundsightError, match=fault):
        guidance_of_level(**settings)


def prediction(painter: Backbone, words: Told, *, num: int, guided: bool) -> torch.Tensor:
    """What the network predicts at one step, asked as the pipelines ask it."""
    draw = torch.Generator().manual_seed(9)
    latents = torch.randn(num, 4, 8, 8, generator=draw)
    if guided:
        latents = torch.cat([latents] * 2)
        words = Told(torch.zeros_like(words.tokens_BLD), words.pooled_BP).followed_by(words)
    said = {"encoder_hidden_states": words.tokens_BLD, "return_dict": False}
    network = painter._network
    if painter.family.network == "transformer":
        time = torch.full((len(latents),), 500.0)
        return network(hidden_states=latents, timestep=time, pooled_projections=words.pooled_BP, **said)[0]
    sizes = {"text_embeds": words.pooled_BP, "time_ids": torch.arange(6.0).repeat(len(latents), 1)}
    return network(
        latents, torch.tensor(500), added_cond_kwargs=sizes if words.pooled_BP is not None else None, **said
    )[0]


@pytest.mark.parametrize("num", [1, 2])
@pytest.mark.parametrize("guided", [True, False])
def test_a_region_counts_inside_its_mask_alone(num: int, guided: bool, painter: Backbone) -> None:
    back, first, second = (painter._tell(each, "", 0.0, num) for each in (A, B, C))
    masks = [mask_of(box_of(place), 8, 8) for place in ("left", "0.5,0.25,1,0.75")]
    plain = prediction(painter, back, num=num, guided=guided)
    with painted_by_regions(painter._network, list(zip(masks, (first, second), strict=True)), num):
        joined = prediction(painter, back, num=num, guided=guided)
    rows = slice(-num, None)
    outside = ~(masks[0] | masks[1])
    assert outside.any()
    assert torch.equal(joined[rows][..., outside], plain[rows][..., outside]), "the background's, to the bit"
    assert torch.equal(joined[:-num], plain[:-num]), "what guidance leads away from is nobody's place"
    for mask, words in zip(masks, (first, second), strict=True):
        alone = prediction(painter, words, num=num, guided=guided)[rows][..., mask]
        torch.testing.assert_close(joined[rows][..., mask], alone, atol=1e-5, rtol=0)
        assert (alone - plain[rows][..., mask]).abs().max() > 1e-3, "the sound says something else"


def test_the_network_is_as_it_was_whatever_happens(painter: Backbone) -> None:
    network = painter._network
    before = network.forward
    painter.paint(A, regions=[Region(B, "left")], **QUICK)
    assert "forward" not in vars(network)

    def fail(done: int, num: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        painter.paint(A, regions=[Region(B, "left")], callback=fail, **QUICK)
    assert network.forward == before
    assert "forward" not in vars(network)


def test_a_forward_that_others_have_put_there_stays(painter: Backbone) -> None:
    network, asked = painter._network, []

    def offloaded(*arguments: Any, **named: Any) -> Any:
        asked.append(1)
        return type(network).forward(network, *arguments, **named)

    network.forward = offloaded
    try:
        painter.paint(A, regions=[Region(B, "left")], **QUICK)
        assert network.forward is offloaded
        assert len(asked) == 8, "background and region, at each of 4 steps"
    finally:
        del network.forward


def test_the_whole_picture_as_a_region_is_a_plain_run(painter: Backbone) -> None:
    plain = painter.paint(B, num_images=2, **QUICK).images_NCHW
    found = painter.paint(A, num_images=2, regions=[Region(B, (0, 0, 1, 1))], **QUICK).images_NCHW
    np.testing.assert_allclose(found, plain, atol=1e-4)


def test_a_region_of_the_same_sound_changes_nothing(painter: Backbone) -> None:
    plain = painter.paint(A, **QUICK).images_NCHW
    np.testing.assert_allclose(painter.paint(A, regions=[Region(A, "top")], **QUICK).images_NCHW, plain, atol=1e-4)


def test_two_halves_are_painted_by_their_sounds(painter: Backbone) -> None:
    found = painter.paint(A, regions=[Region(B, "left"), Region(C, "right")], **QUICK).images_NCHW
    other = painter.paint(said(7), regions=[Region(B, "left"), Region(C, "right")], **QUICK).images_NCHW
    np.testing.assert_allclose(found, other, atol=1e-4)
    assert np.abs(found - painter.paint(B, regions=[Region(C, "left")], **QUICK).images_NCHW).max() > 1e-3


@pytest.mark.parametrize("place", PLACES)
def test_named_places_cover_what_they_say(place: str) -> None:
    mask = mask_of(PLACES[place], 8, 16)
    rows, columns = np.nonzero(mask.numpy())
    wanted = {
        "left": (0, 7, 0, 7), "right": (0, 7, 8, 15), "top": (0, 3, 0, 15), "bottom": (4, 7, 0, 15),
        "centre": (2, 5, 4, 11),
    }[place]  # fmt: skip
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == wanted
    assert mask.sum() == (wanted[1] - wanted[0] + 1) * (wanted[3] - wanted[2] + 1)


@given(st.integers(1, 99), st.integers(2, 40), st.integers(2, 40))
def test_neighbours_share_no_place_and_leave_none_out(edge: int, height: int, width: int) -> None:
    boxes = check_places([(0, 0, edge / 100, 1), (edge / 100, 0, 1, 1)])
    masks = []
    for box in boxes:
        try:
            masks.append(mask_of(box, height, width))
        except SoundsightError:
            masks.append(torch.zeros(height, width, dtype=torch.bool))
    assert not (masks[0] & masks[1]).any()
    assert (masks[0] | masks[1]).all()


@pytest.mark.parametrize(
    ("places", "fault"),
    [
        (["left", "top"], "the places left and top overlap; give each sound a place of its own"),
        (["right", "left", "centre"], "the places right and centre overlap"),
        (["left", "left"], "overlap"),
        (["0,0,1.1,1"], "the place 0,0,1.1,1 is not inside the picture"),
        (["-0.1,0,1,1"], "is not inside the picture"),
        (["0.5,0,0.5,1"], "is not inside the picture"),
        (["nan,0,1,1"], "is not inside the picture"),
        (["middle"], "no place 'middle'; expected left, right, top, bottom, centre, or four edges"),
        (["0,0,1"], "no place '0,0,1'"),
        ([(0, 0, 1)], r"no place \(0, 0, 1\)"),
        ([None], "no place None"),
        (["0.01,0,0.02,1"], "too small for a picture of 8 x 8 latent places"),
    ],
)
def test_places_that_are_none_are_refused(places: list[Any], fault: str, painter: Backbone) -> None:
    with pytest.raises(SoundsightError, match=fault) as caught:
        painter.paint(A, regions=[Region(B, place) for place in places], **QUICK)
    assert "\n" not in str(caught.value)


def test_what_a_layer_says_must_fit_too(painter: Backbone) -> None:
    odd = Conditioning(clip_l=torch.zeros(1, 2, 7))
    for layers in ({"regions": [Region(odd, "left")]}, {"turn": Turn(odd, 0.5)}):
        with pytest.raises(ModelError, match="clip_l are 7 wide"):
            painter.paint(A, **layers, **QUICK)
    for num in (1, 2):
        with pytest.raises(SoundsightError, match=f"a layer of 3 sounds over {num}; expected one, or as many"):
            painter.paint(said(0, num=num), turn=Turn(said(1, num=3), 0.5), **QUICK)


def test_one_region_serves_several_sounds(painter: Backbone) -> None:
    two = said(0, num=2)
    together = painter.paint(two, regions=[Region(B, "left")], **QUICK).images_NCHW
    second = Conditioning(**{name: part[1:] for name, part in two.parts.items()})
    alone = painter.paint(second, regions=[Region(B, "left")], **QUICK).images_NCHW
    np.testing.assert_allclose(together[1], alone[0], atol=1e-4)
