"""Published numbers, for the column beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PUBLISHED", "SCENES_2025", "Published", "published"]

_SCENES = "Vuruma, Generating Images from Audio, 2025"
_AIVAE = "Żelaszczyk & Mańdziuk, Audio-to-Image Cross-Modal Generation, 2021"

SCENES_2025: Mapping[str, Any] = {
    "image_size": 256,
    "image_channels": 3,
    "code_size": 100,
    "latent_size": 0,
    "variational": False,
    "decoder": "transposed",
    "normalise": False,
    "balance": False,
    "losses": {"l2": 64.0},
}
"""Options of the ``mfcc_generator`` of Vuruma (2025) that change its pictures; of its objectives those above 0."""


@dataclass(frozen=True, slots=True)
class Published:
    """A number from a paper.

    Attributes:
        system: Module in ``models``.
        sounds: Data set of recordings or of pairs, with the classes that were used, if not all; None where the system
            reads images.
        pairing: How recordings and images were paired; None where there are no recordings.
        split: The split it was measured with.
        metric: Name of the score.
        value: As a share, 0 to 1.
        source: Paper and table.
        options: Options of the system that it belongs to.
    """

    system: str
    sounds: str | None
    pairing: str | None
    split: str
    metric: str
    value: float
    source: str
    options: tuple[tuple[str, Any], ...] = ()


PUBLISHED = (
    Published("aivae", "fsdd", "many-to-one", "random", "accuracy", 0.942, f"{_AIVAE}, Table 4"),
    Published("aivae", "speech_commands", "one-to-one", "random", "accuracy", 0.866, f"{_AIVAE}, Table 4"),
    *(
        Published(
            *("aivaegan", sounds, pairing, "random", "accuracy", value),
            source=f"{_AIVAE}, Table 5, α = {alpha:g}",
            options=(("alpha", alpha),),
        )
        for sounds, pairing, values in (
            ("fsdd", "many-to-one", {0.2: 0.810, 0.5: 0.805, 1.0: 0.930, 2.0: 0.943}),
            ("speech_commands", "one-to-one", {0.2: 0.669, 0.5: 0.762, 1.0: 0.817, 2.0: 0.815}),
        )
        for alpha, value in values.items()
    ),
    *(
        Published(
            *("mfcc_generator", pairs, None, "random", metric, value),
            source=f"{_SCENES}, class BEACH, 360 and 120 pairs",
            options=tuple(SCENES_2025.items()),
        )
        for pairs in ("scenes:BEACH", "beach_frames")
        for metric, value in {"published_ssim": 0.463, "published_loss": 4.691, "hss": 0.999}.items()
    ),
    Published("lenet5", None, None, "official", "accuracy", 0.987, f"{_AIVAE}, section 4"),
)


def published(
    system: str, options: Mapping[str, Any], sounds: str | None, pairing: str | None, split: str, metric: str
) -> Published | None:
    """The published number of the same system and options, data, pairing and split; None where there is none."""
    for entry in PUBLISHED:
        theirs = (entry.system, entry.sounds, entry.pairing, entry.split, entry.metric)
        same = theirs == (system, sounds, pairing, split, metric)
        if same and all(_above_0(options.get(key)) == value for key, value in entry.options):
            return entry
    return None


def _above_0(value: Any) -> Any:
    """An option; of several weights those that count."""
    return {name: weight for name, weight in value.items() if weight} if isinstance(value, Mapping) else value
