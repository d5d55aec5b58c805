"""``soundsight reproduce``: a paper's tables and figures, ours beside the published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from soundsight.cli import examples, say
from soundsight.errors import require

if TYPE_CHECKING:
    from soundsight.reproduction.reproduce import Watch

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    epilog=examples(
        "soundsight reproduce aivae-2021 --quick",
        "soundsight reproduce aivae-2021",
        "soundsight reproduce aivae-2021 --only table5 --alpha 0.2",
        "soundsight reproduce aivae-2021 --finished-only",
        "soundsight reproduce aivae-2021 --earlier docs/results/aivae-2021/report.json",
    )
)
def reproduce(
    paper: Annotated[Literal["aivae-2021"], typer.Argument(metavar="PAPER", help="aivae-2021.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="By default runs/aivae-2021, with --quick runs/aivae-2021-quick."
        ),
    ] = None,
    only: Annotated[
        list[str],
        typer.Option(metavar="ITEM", help="table4, table5, figure3 to figure8, or plane; may be repeated."),
    ] = [],  # noqa: B006
    alpha: Annotated[
        list[float], typer.Option(metavar="ALPHA", help="Of AIVAEGAN; by default 0.2, 0.5, 1 and 2; may be repeated.")
    ] = [],  # noqa: B006
    pairing: Annotated[
        list[str],
        typer.Option(
            metavar="PAIRING",
            help="many-to-one, one-to-one (FSDD) or one-to-one-scd (Speech Commands); by default what has data.",
        ),
    ] = [],  # noqa: B006
    seeds: Annotated[
        int | None, typer.Option(metavar="N", help="Runs with the random split; by default 3, with --quick 1.")
    ] = None,
    speakers: Annotated[
        bool, typer.Option("--speakers/--no-speakers", help="Train without each speaker, too, and test on that one.")
    ] = True,
    quick: Annotated[bool, typer.Option("--quick", help="A small but real version, in minutes; no result.")] = False,
    finished_only: Annotated[
        bool, typer.Option("--finished-only", help="Train nothing; report what is finished.")
    ] = False,
    earlier: Annotated[
        Path | None,
        typer.Option(
            metavar="REPORT", help="A report.json made before; its runs are taken as they are, and not trained again."
        ),
    ] = None,
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a key of every recipe.")] = [],  # noqa: B006
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Folder of the data sets; by default SOUNDSIGHT_DATA.")
    ] = None,
) -> None:
    """Run what a paper's tables and figures need, and write them with the published numbers beside ours.

    Trainings that are finished are read, others begun or resumed: stop and repeat the command at will. Writes
    report.html, report.json and figures/ into the folder. The whole takes many hours on a CPU.
    """
    require("torch", "train", "a reproduction")
    require("accelerate", "train", "a reproduction")
    from soundsight.reproduction.reproduce import reproduce as run

    folder = out or Path("runs", f"{paper}-quick" if quick else paper)
    with _bar() as watch:
        try:
            written = run(
                folder,
                only=only,
                alphas=alpha,
                pairings=pairing,
                num_seeds=seeds,
                speakers=speakers,
                quick=quick,
                train=not finished_only,
                settings=set_,
                report=earlier,
                root=data,
                watch=watch,
            )
        except KeyboardInterrupt:
            say("interrupted; the same command goes on")
            raise
    typer.echo(f"report: {written[0]}")


class _bar:  # noqa: N801 - used as a function
    """A progress bar over the whole with its ETA on stderr; a line for each part where stderr is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._console = Console(stderr=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            speed_estimate_period=1800,
        )
        self._task = self._bar.add_task("reading data", total=None)
        self._last = ""

    def __enter__(self) -> Watch:
        self._bar.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _show(self, what: str, done: float, total: float) -> None:
        self._bar.update(self._task, description=what, completed=done, total=total)
        if not self._console.is_terminal and what != self._last:
            self._last = what
            say(f"{what} ({100 * done / total:.0f} % of the whole)")
