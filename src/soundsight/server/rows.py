"""One picture to be painted: by a network of ours, or by a frozen text-to-image model."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from soundsight.generator import Generator
from soundsight.pipeline.prompted import Prompted

if TYPE_CHECKING:
    from soundsight.conditioning import Conditioning

__all__ = ["Called", "NetworkRow", "PromptedRow", "Row", "Watch"]

Float32 = NDArray[np.float32]
Watch = Callable[[int, int], None]
"""Told the steps that are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Called:
    """What came of a call.

    Attributes:
        images: (C, H, W) for each row; None where a backbone's safety checker withheld it.
        heard: What each row's sound was taken for, where the network says.
    """

    images: Sequence[Float32 | None]
    heard: Sequence[Float32 | None]


class Row(Protocol):
    """One picture to be painted."""

    @property
    def part(self) -> int:
        """Which part of the sound."""

    @property
    def index(self) -> int:
        """Which picture of the part."""

    @property
    def kind(self) -> object:
        """Rows whose kinds are equal can be painted in one call."""

    @property
    def most(self) -> int:
        """So many in one call, at most."""

    def paint(self, rows: Sequence[Self], watch: Watch) -> Called:
        """Paint rows of this one's kind in one call; ``watch`` is told how far it is, if it takes a while."""


@dataclass(frozen=True, slots=True, eq=False)
class NetworkRow:
    """A picture of a network of ours.

    Attributes:
        generator: The network.
        features_FN: (F, N) what is heard.
        noise_D: (D,) its noise.
        inputs: Further inputs of the network, the same for all rows of a ``key``.
        key: Rows of one generator and key can be painted in one call.
        part: Which part of the sound.
        index: Which picture of the part.
    """

    generator: Generator
    features_FN: Float32
    noise_D: Float32
    inputs: Mapping[str, Float32]
    key: Hashable
    part: int = 0
    index: int = 0
    most: ClassVar[int] = 1 << 30

    @property
    def kind(self) -> object:
        """The network, and what its inputs are the same for."""
        return self.generator, self.key

    def paint(self, rows: Sequence[NetworkRow], watch: Watch) -> Called:
        """A call of the network."""
        images_BCHW, heard_BX = self.generator.together(
            np.stack([row.features_FN for row in rows]), np.stack([row.noise_D for row in rows]), self.inputs
        )
        return Called(list(images_BCHW), [None] * len(rows) if heard_BX is None else list(heard_BX))


@dataclass(frozen=True, slots=True, eq=False)
class PromptedRow:
    """A picture of an adapter with its text-to-image model.

    Attributes:
        pipe: Both.
        said: What the adapter says of the sound, (1, …).
        seed: Of the noise.
        size: Long side in pixels, or the backbone's own.
        controls: Guidance, steps, and texts.
        index: Which picture of the sound, which is never cut.
    """

    pipe: Prompted
    said: Conditioning
    seed: int
    size: int | None
    controls: Mapping[str, Any]
    index: int = 0
    part: ClassVar[int] = 0

    @property
    def kind(self) -> object:
        """All but the sound and the picture's number."""
        return id(self.pipe), self.seed, self.size, sorted(self.controls.items())

    @property
    def most(self) -> int:
        """As many as the backbone paints at once, so that somebody who waits sees one after the other."""
        return self.pipe.num_together(self.size)

    def paint(self, rows: Sequence[PromptedRow], watch: Watch) -> Called:
        """A call of the backbone."""
        numbers = [row.index for row in rows]
        images = self.pipe.paint(
            [row.said for row in rows], numbers, self.seed, self.size, on_step=watch, **self.controls
        )
        return Called(images, [None] * len(rows))
