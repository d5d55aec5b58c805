"""The loop of every long training: steps, lines of its journal, states to resume from, sheets of samples."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["LOG_EVERY", "Progress", "Stepwise", "go_on"]

LOG_EVERY = 50
"""Steps between lines of ``metrics.jsonl``; the losses in a line are means over them."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands, for whoever shows it."""

    step: int
    num_steps: int
    epoch: int
    losses: dict[str, float]


class Stepwise(Protocol):
    """Everything that changes while something is trained."""

    step: int
    num_steps: int

    @property
    def epoch(self) -> int:
        """The epoch that the last step belonged to, from 1."""

    @property
    def at_epoch_end(self) -> bool:
        """Whether the last step was the last of its epoch."""

    def advance(self) -> None:
        """One step."""

    def log(self) -> Progress:
        """Write the mean losses since the last line."""

    def save(self) -> None:
        """Save the state to resume from."""

    def draw_samples(self) -> None:
        """Save a sheet of pictures."""


def go_on(
    run: Stepwise,
    interrupted: threading.Event,
    watch: Callable[[Progress], None],
    *,
    save_every: int,
    sample_every: int,
    stop_after: int | None,
) -> None:
    """Train to the end, from wherever ``run`` stands.

    Args:
        run: What is trained.
        interrupted: Ends it after the step in hand.
        watch: Called after every ``LOG_EVERY`` steps, and after every epoch.
        save_every: Steps between states; there is one after every epoch, too.
        sample_every: Epochs between sheets; 0 for none.
        stop_after: End after this many steps as if interrupted.

    Raises:
        KeyboardInterrupt: Interrupted; the state is saved.
    """
    while run.step < run.num_steps:
        if interrupted.is_set() or run.step == stop_after:
            run.save()
            raise KeyboardInterrupt
        run.advance()
        if run.step % LOG_EVERY == 0 or run.at_epoch_end:
            watch(run.log())
        if run.step % save_every == 0 or run.at_epoch_end:
            run.save()
        if run.at_epoch_end and sample_every and run.epoch % sample_every == 0:
            run.draw_samples()
