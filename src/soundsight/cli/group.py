"""The top command: it knows its sub-commands by name, and imports one when it is called."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from soundsight.cli import COMMANDS, examples

__all__ = ["app", "command", "load"]


class LazyGroup(TyperGroup):
    """Lists its commands from a table and imports the one that runs."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Stand-ins with name and help: all that `--help`, completion and «did you mean» read.
        self.commands.update({name: TyperCommand(name=name, help=line) for name, line in COMMANDS.items()})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that ``args`` begins with (also where completion descends into it)."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, found if name is None else load(name), rest


def load(name: str) -> Any:
    """The real command behind a name of ``COMMANDS``."""
    loaded = get_command(import_module(f"soundsight.cli.{name}").app)
    loaded.name = name
    return _lean(loaded)


def command() -> Any:
    """The whole command line as one click command, completion options included."""
    return _lean(get_command(app))


def _lean(command: Any) -> Any:
    """Let plain values past the conversion of newer Typers.

    Typer 0.29 converts every value through pydantic, even a string to a string, and importing that costs a third of a
    cold start. Whatever is not plainly right goes the long way and gets Typer's message.
    """
    # `--help` is no parameter until a context asks for it; it is kept then.
    for parameter in (*command.params, command.get_help_option(typer.Context(command))):
        if hasattr(parameter, "type_descriptor"):
            parameter.process_value = partial(_process, parameter, parameter.process_value)
    for part in getattr(command, "commands", {}).values():
        _lean(part)
    return command


def _process(parameter: Any, process: Any, context: Any, value: Any) -> Any:
    """``Parameter.process_value``, with a short way for plain values."""
    many = parameter.multiple or parameter.nargs == -1
    annotation = parameter.type_descriptor.annotation
    if parameter.required and (value is None or (many and not value)):
        return process(context, value)
    plain: Any
    try:
        if value is None:
            plain = () if many else None
        elif many and get_origin(annotation) is list:
            plain = [_plain(item, get_args(annotation)[0], parameter) for item in value]
        else:
            plain = _plain(value, annotation, parameter)
    except ValueError:
        return process(context, value)
    return plain if parameter.callback is None else parameter.callback(context, parameter, plain)


def _plain(value: Any, annotation: Any, parameter: Any) -> Any:
    """The value as its type, or ValueError where that is not obvious."""
    if annotation in (str, bool) and isinstance(value, annotation):
        return value
    if get_origin(annotation) is Literal and value in get_args(annotation):
        return value
    if annotation in (int, float) and isinstance(value, str | int | float):
        number, info = annotation(value), parameter.type_descriptor.parameter_info
        if (info.min is None or number >= info.min) and (info.max is None or number <= info.max):
            return number
    raise ValueError(value)


def _show_version(wanted: bool) -> None:
    if wanted:
        from soundsight._version import __version__

        typer.echo(f"soundsight {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=LazyGroup,
    rich_markup_mode=None,
    epilog=examples(
        "soundsight generate seven.wav -o pictures",
        "soundsight models show digits",
        "soundsight generate --help",
    ),
)


@app.callback()
def soundsight(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Sound in, picture out: generate, train, evaluate and export audio-to-image systems."""
