"""``soundsight train``."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundsight.cli import complete_recipes, examples, say
from soundsight.errors import RecipeError, require

if TYPE_CHECKING:
    from soundsight.config import Recipe
    from soundsight.training.loop import Progress

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_LINE_EVERY_S = 60.0
"""Without a terminal, so often at least."""


@app.command(
    epilog=examples(
        "soundsight train aivae-fsdd",
        "soundsight train aivae-fsdd --set train.epochs=30 --set data.split=speaker:theo --out runs/theo",
        "soundsight train runs/theo/recipe.json --dry-run",
        "soundsight train aivae-fsdd --out runs/aivae-fsdd --resume",
        "soundsight train v2d-clap --set targets.model=models/sentence-encoder",
        "soundsight train aivae-fsdd --json",
    )
)
def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="Name of a recipe, a .toml file, or the recipe.json of an earlier training.",
            autocompletion=complete_recipes,
        ),
    ],
    set_: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; may be repeated.")
    ] = [],  # noqa: B006
    out: Annotated[str, typer.Option(metavar="DIR", help="Model folder; by default runs/RECIPE.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last saved state.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved recipe, sizes and estimated time; train nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON at the end: where the model is, steps, time, losses.")
    ] = False,
) -> None:
    """Train a system from a recipe.

    The folder fills with config.json and model.safetensors (the model), metrics.jsonl, samples/ (one sheet per epoch),
    tensorboard curves and state/ (to resume from). Ctrl-C keeps the state.
    """
    from soundsight.config import load_table, parse_recipe

    table = load_table(recipe, set_)
    if "adapter" in table:
        _train_adapter(table, out, resume=resume, dry_run=dry_run, as_json=as_json)
        return
    if "backbone" in table:
        _train_backbone(table, recipe, out, resume=resume, dry_run=dry_run, as_json=as_json)
        return
    resolved = parse_recipe(table)
    require("torch", "train", "training")
    require("accelerate", "train", "training")
    _warn_of_leak(resolved)
    if dry_run:
        from soundsight.training.plan import plan

        expected = plan(resolved)
        typer.echo(json.dumps(expected.to_json()) if as_json else expected.text)
        return
    from soundsight.training.trainer import train as run

    folder = Path(out or f"runs/{resolved.name}")
    with _bar(resolved.name) as bar:
        try:
            run(resolved, folder, resume=resume, watch=bar)
        except KeyboardInterrupt:
            say(f"interrupted; go on with: soundsight train {recipe} --out {folder} --resume (and the same --set)")
            raise
    if os.environ.get("RANK", "0") == "0":
        following = f"{folder}: next, soundsight evaluate {folder} or soundsight export {folder}"
        typer.echo(_as_json(folder, bar) if as_json else following)
    if os.environ.get("WORLD_SIZE", "1") != "1":
        # All is written. About once in twenty times PyTorch 2.13 aborts a process of a group on its way out ("terminate
        # called without an active exception"), and the launcher takes that for a failed training.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _warn_of_leak(recipe: Recipe) -> None:
    """Say how much of the test frames is known from the training ones, where pairs are divided at random."""
    if recipe.data.pairs is None or recipe.data.split != "random" or os.environ.get("RANK", "0") != "0":
        return
    from soundsight.datasets.info import data_root
    from soundsight.datasets.pair_splits import leak, split_pairs
    from soundsight.datasets.selection import pairs_of

    pairs = pairs_of(recipe.data, data_root())
    found = leak(pairs, split_pairs(pairs, "random", seed=recipe.train.seed))
    if found is not None and found.is_there:
        _warn(f"split 'random': {found.text}; 'block' and 'clip' test on what is new")


def _warn(line: str) -> None:
    say(f"soundsight: warning: {line}")


def _train_adapter(table: dict[str, Any], out: str, *, resume: bool, dry_run: bool, as_json: bool) -> None:
    """Train what is between a sound and a text-to-image model."""
    require("torch", "train", "training")
    require("accelerate", "train", "training")
    from soundsight.training.adapter import plan_adapter, train_adapter
    from soundsight.training.adapter_recipe import parse_adapter_recipe

    recipe = parse_adapter_recipe(table)
    if resume:
        raise RecipeError(
            "an adapter trains in seconds and is not resumed: leave --resume out, or choose another --out"
        )
    if dry_run:
        _refuse_json("an adapter", wanted=as_json)
        typer.echo(plan_adapter(recipe, warn=_warn))
        return
    folder = Path(out or f"runs/{recipe.name}")
    with _bar(recipe.name) as bar:
        train_adapter(recipe, folder, watch=bar, warn=_warn)
    typer.echo(_as_json(folder, bar) if as_json else f"{folder}: next, soundsight evaluate {folder}")


def _train_backbone(table: dict[str, Any], name: str, out: str, *, resume: bool, dry_run: bool, as_json: bool) -> None:
    """Train a small text-to-image model."""
    for module, extra in (("torch", "train"), ("accelerate", "train"), ("diffusers", "sd3")):
        require(module, extra, "training a backbone")
    from soundsight.training.backbone import train_backbone
    from soundsight.training.backbone_plan import plan_backbone
    from soundsight.training.backbone_recipe import parse_backbone_recipe

    recipe = parse_backbone_recipe(table)
    if dry_run:
        _refuse_json("a backbone", wanted=as_json)
        typer.echo(plan_backbone(recipe, warn=_warn))
        return
    folder = Path(out or f"runs/{recipe.name}")
    with _bar(recipe.name) as bar:
        try:
            made = train_backbone(recipe, folder, resume=resume, watch=bar, warn=_warn)
        except KeyboardInterrupt:
            say(f"interrupted; go on with: soundsight train {name} --out {folder} --resume (and the same --set)")
            raise
    following = f"{made}: next, soundsight generate SOUND --backbone {made} --model ADAPTER --encoder WEIGHTS"
    typer.echo(_as_json(made, bar) if as_json else following)


def _refuse_json(what: str, *, wanted: bool) -> None:
    if wanted:
        raise RecipeError(f"--dry-run of {what} prints its recipe as JSON, and lines; leave --json out")


def _as_json(folder: Path, bar: _bar) -> str:
    """What a training has left, in one line; ``losses`` is empty where nothing was left to train."""
    from soundsight.folder import read_folder

    card = folder / "card.json"
    if card.is_file():  # a backbone, in the layout of diffusers
        facts = {"name": bar.name, "kind": "backbone"}, json.loads(card.read_text(encoding="utf-8"))
    else:
        model = read_folder(folder, verify=False)
        facts = {"name": model.name, "kind": model.kind, "system": model.system}, model.training
    numbers = {key: facts[1].get(key) for key in ("parameters", "steps", "seconds")}
    return json.dumps({**facts[0], "folder": str(folder), **numbers, "losses": bar.losses})


class _bar:  # noqa: N801 - used as a function
    """A progress bar with losses, speed and ETA on stderr; one line per epoch where stderr is no terminal."""

    name: str
    losses: dict[str, float]
    """The last that were told, by name."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self.name, self.losses = name, {}
        self._console = Console(stderr=True)
        self._bar = Bar(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(name, total=None, losses="reading data")
        self._epoch, self._said_s = -1, 0.0

    def __enter__(self) -> _bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        self.losses = progress.losses
        losses = "  ".join(f"{name} {value:.4g}" for name, value in progress.losses.items())
        self._bar.update(self._task, completed=progress.step, total=progress.num_steps, losses=losses)
        if self._console.is_terminal:
            return
        # A log has a line of every epoch, and one a minute where epochs are long.
        now_s = time.monotonic()
        if progress.epoch != self._epoch or now_s - self._said_s >= _LINE_EVERY_S:
            self._epoch, self._said_s = progress.epoch, now_s
            say(f"epoch {progress.epoch}  step {progress.step}/{progress.num_steps}  {losses}")
