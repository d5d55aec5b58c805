"""``soundsight models``: the models that come with the package, and the card of any model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundsight.cli import complete_models, examples, show

if TYPE_CHECKING:
    from soundsight.folder import ModelFolder

app = typer.Typer(
    rich_markup_mode=None, add_completion=False, no_args_is_help=True, help="List the models and show their cards."
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list", epilog=examples("soundsight models list", "soundsight models list --json"))
def list_(as_json: Json = False) -> None:
    """List the models that come with the package."""
    from soundsight.folder import pretrained_names, read_folder, resolve

    folders = {name: read_folder(resolve(name), verify=False) for name in pretrained_names()}
    if as_json:
        typer.echo(json.dumps([_facts(folder) for folder in folders.values()], indent=2))
        return
    for name, folder in folders.items():
        show(f"{name:12} {folder.num_bytes / 1e6:5.1f} MB  {folder.card.get('summary', '')}")
    if not folders:
        show("no models come with this package; name a model folder instead")


@app.command(
    "show",
    epilog=examples("soundsight models show digits", "soundsight models show runs/aivae --json"),
)
def show_(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME|FOLDER", autocompletion=complete_models, help="Model, by name or as a folder."),
    ],
    as_json: Json = False,
) -> None:
    """Show the card of a model: data, licences, scores and limits.

    The hashes of its weights are compared, so this also tells whether a copy is whole.
    """
    from soundsight.folder import read_folder, resolve

    folder = read_folder(resolve(name))
    if as_json:
        typer.echo(json.dumps(_facts(folder), indent=2))
        return
    for line in _card(folder):
        show(line)


def _facts(folder: ModelFolder) -> dict[str, Any]:
    return {**folder.config(), "path": str(folder.path), "num_bytes": folder.num_bytes}


def _card(folder: ModelFolder) -> Iterator[str]:
    card, image = folder.card, folder.image
    yield f"{folder.name}: {card.get('summary', 'no summary')}"
    yield ""
    front_end = folder.features["name"] if folder.features else "none"
    yield f"system      {folder.system}, front end {front_end}, latent size {folder.latent_size}"
    if folder.target is not None:
        template = folder.target.get("template")
        prompts = "captions" if template is None else f"«{template}»"
        yield f"words       of the text encoder {folder.target.get('name')}, for {prompts}"
    else:
        colour = "grey" if image.channels == 1 else "colour"
        yield f"pictures    {image.width} x {image.height} pixels, {colour}"
    if folder.labels:
        yield f"labels      {', '.join(folder.labels)}"
    yield f"licence     {card.get('licence', 'not stated')}"
    yield f"folder      {folder.path}"
    for name in folder.weights:
        yield f"weights     {name}, {(folder.path / name).stat().st_size / 1e6:.2f} MB, hash right"
    yield from _section("data", [_source(item) for item in _list(card.get("data"))])
    yield from _section("scores", [f"{key}: {value}" for key, value in _flat(card.get("scores"))])
    yield from _section("limits", [str(item) for item in _list(card.get("limits"))])
    yield from _section("training", [f"{key}: {value}" for key, value in _flat(folder.training)])


def _section(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield title
        yield from (f"  {line}" for line in lines)


def _source(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    return ", ".join(str(item[key]) for key in ("name", "licence", "attribution") if key in item)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested objects as dotted names."""
    for key, item in value.items() if isinstance(value, dict) else ():
        if isinstance(item, dict):
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", ", ".join(map(str, item)) if isinstance(item, list) else item
