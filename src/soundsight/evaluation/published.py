"""Published numbers, for the column beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PUBLISHED", "Published", "published"]

_AIVAE = "Żelaszczyk & Mańdziuk, Audio-to-Image Cross-Modal Generation, 2021"


@dataclass(frozen=True, slots=True)
class Published:
    """A number from a paper.

    Attributes:
        system: Module in ``models``.
        sounds: Data set of recordings; None where the system reads images.
        split: The split it was measured with.
        metric: Name of the score.
        value: As a share, 0 to 1.
        source: Paper and table.
        options: Options of the system that it belongs to.
    """

    system: str
    sounds: str | None
    split: str
    metric: str
    value: float
    source: str
    options: tuple[tuple[str, float], ...] = ()


PUBLISHED = (
    Published("aivae", "fsdd", "random", "accuracy", 0.942, f"{_AIVAE}, Table 4"),
    Published("aivae", "speech_commands", "random", "accuracy", 0.866, f"{_AIVAE}, Table 4"),
    *(
        Published(
            "aivaegan", sounds, "random", "accuracy", value, f"{_AIVAE}, Table 5, α = {alpha:g}", (("alpha", alpha),)
        )
        for sounds, values in (
            ("fsdd", {0.2: 0.810, 0.5: 0.805, 1.0: 0.930, 2.0: 0.943}),
            ("speech_commands", {0.2: 0.669, 0.5: 0.762, 1.0: 0.817, 2.0: 0.815}),
        )
        for alpha, value in values.items()
    ),
    Published("lenet5", None, "official", "accuracy", 0.987, f"{_AIVAE}, section 4"),
)


def published(system: str, options: Mapping[str, Any], sounds: str | None, split: str, metric: str) -> Published | None:
    """The published number that a score can be held against, or None: same system and options, data and split."""
    for entry in PUBLISHED:
        same = (entry.system, entry.sounds, entry.split, entry.metric) == (system, sounds, split, metric)
        if same and all(options.get(key) == value for key, value in entry.options):
            return entry
    return None
