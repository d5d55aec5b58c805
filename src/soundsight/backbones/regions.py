"""Sounds with a place in the picture: what each says counts inside its part of the picture alone.

Bar-Tal, Yariv, Lipman and Dekel, *MultiDiffusion: Fusing Diffusion Paths for Controlled Image Generation*, ICML 2023,
equation 5: at each step every place takes the mean of the steps that its regions' prompts would make. Regions here do
not overlap, and what no region covers is the background's, so that the mean is a choice; and as a step is linear in the
prediction of the noise, with the same factors all over the picture, choosing between predictions is choosing between
steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from soundsight.backbones.joining import Told
from soundsight.conditioning import Conditioning
from soundsight.errors import SoundsightError

__all__ = ["PLACES", "Box", "Region", "box_of", "check_places", "mask_of", "painted_by_regions"]

# Left, top, right and bottom edge, as shares of the picture's width and height.
Box = tuple[float, float, float, float]

PLACES: dict[str, Box] = {
    "left": (0.0, 0.0, 0.5, 1.0),
    "right": (0.5, 0.0, 1.0, 1.0),
    "top": (0.0, 0.0, 1.0, 0.5),
    "bottom": (0.0, 0.5, 1.0, 1.0),
    "centre": (0.25, 0.25, 0.75, 0.75),
}
# Of what ``diffusers`` passes to a U-Net by place; a transformer gets all by name.
_POSITIONAL = ("sample", "timestep")


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A sound and its place.

    Attributes:
        conditioning: What it says.
        place: A name of ``PLACES``, or a box as four numbers or as text, ``0,0.5,1,1``: left, top, right and bottom.
    """

    conditioning: Conditioning
    place: str | Box


def box_of(place: str | Sequence[float]) -> Box:
    """The box that a place stands for.

    Raises:
        SoundsightError: It is none, or not inside the picture.
    """
    if isinstance(place, str) and place in PLACES:
        return PLACES[place]
    try:
        left, top, right, bottom = (float(edge) for edge in (place.split(",") if isinstance(place, str) else place))
    except (TypeError, ValueError) as error:
        raise SoundsightError(
            f"no place {place!r:.60}; expected {', '.join(PLACES)}, or four edges from 0 to 1: left,top,right,bottom"
        ) from error
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise SoundsightError(
            f"the place {left:g},{top:g},{right:g},{bottom:g} is not inside the picture; expected "
            "left,top,right,bottom with 0 <= left < right <= 1 and 0 <= top < bottom <= 1"
        )
    return left, top, right, bottom


def check_places(places: Sequence[str | Box]) -> list[Box]:
    """The boxes of places.

    Raises:
        SoundsightError: One is none, or two overlap.
    """
    boxes = [box_of(place) for place in places]
    for (one, first), (other, second) in combinations(zip(places, boxes, strict=True), 2):
        width = min(first[2], second[2]) - max(first[0], second[0])
        height = min(first[3], second[3]) - max(first[1], second[1])
        if width > 0 and height > 0:
            raise SoundsightError(f"the places {one} and {other} overlap; give each sound a place of its own")
    return boxes


def mask_of(box: Box, height: int, width: int) -> Tensor:
    """Which places of a latent picture belong to a box: (H, W) bool, those whose centre lies in it.

    Raises:
        SoundsightError: None does.
    """
    left, top, right, bottom = box
    x_W, y_H = ((torch.arange(size, dtype=torch.float64) + 0.5) / size for size in (width, height))
    mask_HW = ((y_H >= top) & (y_H < bottom))[:, None] & ((x_W >= left) & (x_W < right))[None]
    if not mask_HW.any():
        raise SoundsightError(
            f"the place {','.join(f'{edge:g}' for edge in box)} is too small for a picture of {height} x {width} "
            "latent places; give it more room, or paint a larger picture"
        )
    return mask_HW


@contextmanager
def painted_by_regions(network: torch.nn.Module, regions: Sequence[tuple[Tensor, Told]], num: int) -> Iterator[None]:
    """While this lasts, a network that predicts noise asks each region's sound for the region's part.

    Whatever the pipeline asks is answered for the background; the last ``num`` rows, in which guidance has the
    conditioned half, are asked again with each region's own words, and taken where its mask is set. The network's
    ``forward`` is put back afterwards, whatever happens.

    Args:
        network: The transformer or U-Net of a pipeline.
        regions: Masks (H, W) that do not overlap, and what is said there, of ``num`` rows.
        num: Pictures at once.
    """
    own = network.forward
    replaced = vars(network).get("forward")  # where the parts of a model are moved about, it has one already

    def forward(*arguments: Any, **named: Any) -> tuple[Tensor]:
        values = dict(zip(_POSITIONAL, arguments, strict=False)) | named
        joined_BCHW: Tensor = own(**values)[0].clone()
        for mask_HW, told in regions:
            part_BCHW = own(**_asked(values, told, num))[0]
            chosen = torch.where(mask_HW.to(part_BCHW.device), part_BCHW, joined_BCHW[-num:])
            joined_BCHW[-num:] = chosen
        return (joined_BCHW,)

    put: Callable[[str, Any], None] = network.__setattr__
    put("forward", forward)
    try:
        yield
    finally:
        del network.forward
        if replaced is not None:
            put("forward", replaced)


def _asked(values: Mapping[str, Any], told: Told, num: int) -> dict[str, Any]:
    """The same question, of the conditioned rows alone, with other words."""
    asked = {
        name: value[-num:] if isinstance(value, Tensor) and value.ndim > 0 else value for name, value in values.items()
    }
    asked["encoder_hidden_states"] = told.tokens_BLD
    if "pooled_projections" in asked:
        asked["pooled_projections"] = told.pooled_BP
    if asked.get("added_cond_kwargs"):
        asked["added_cond_kwargs"] = {
            "time_ids": values["added_cond_kwargs"]["time_ids"][-num:],
            "text_embeds": told.pooled_BP,
        }
    return asked
