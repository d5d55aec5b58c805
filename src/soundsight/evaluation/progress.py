"""How far an evaluation is, on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from soundsight.evaluation.trial import Watch

__all__ = ["bar"]


@contextmanager
def bar() -> Iterator[Watch]:
    """A progress bar while pictures are drawn; nothing where stderr is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("reading data", total=None)

        def watch(done: int, total: int) -> None:
            progress.update(task, description="pictures", completed=done, total=total)

        yield watch
