r"""The command ``soundsight``: thin modules that parse, call the library and show.

Each command lives in the module of its name and is imported only when it is used; ``soundsight --help`` reads the
table ``COMMANDS`` below. A command module holds ``app``, a Typer with one command (several for a group as ``models``)::

    from typing import Annotated
    import typer
    from soundsight.cli import complete_models, examples

    app = typer.Typer(rich_markup_mode=None, add_completion=False)

    @app.command(epilog=examples("soundsight export runs/aivae -o aivae.onnx"))
    def export(model: Annotated[str, typer.Argument(metavar="MODEL", autocompletion=complete_models)]) -> None:
        \"\"\"Same first line as in COMMANDS.

        More, in full sentences.
        \"\"\"
        from soundsight.export import to_onnx  # heavy imports inside the function: --help and completion stay fast

For a group add ``no_args_is_help=True, help="Same line as in COMMANDS."``. Help is plain text, without boxes: a screen
reader reads it line by line, and in a narrow terminal nothing is cut off.

Rules: the result goes to stdout (``show``), one fact a line, everything said on the way to stderr (``say``).
Mistakes are raised as ``SoundsightError``; ``main`` prints them as one line and returns 2. A command that
did a part of its work raises ``typer.Exit(1)``. At module level, only typer, ``soundsight.cli`` and
``soundsight.errors`` are imported. Parameters of the types ``str``, ``int``, ``float``, ``bool``, ``Literal`` and lists
of these cost the least.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

__all__ = [
    "COMMANDS",
    "complete_alignments",
    "complete_generators",
    "complete_models",
    "complete_recipes",
    "examples",
    "fail",
    "main",
    "say",
    "show",
]

# Name of the module, and its one line in `soundsight --help` (kept here, so that help imports no command).
COMMANDS = {
    "generate": "Turn sounds into pictures.",
    "morph": "Make a film from one sound to another.",
    "rank": "Order pictures by how well they fit a sound.",
    "serve": "Open a page where one speaks and sees, and a REST API beside it.",
    "train": "Train a system from a recipe.",
    "evaluate": "Measure a model and write a report.",
    "reproduce": "Run what a paper's tables and figures need, and write them with the published numbers beside ours.",
    "export": "Convert a trained model to ONNX and check it.",
    "datasets": "List, prepare and check data sets, or make one of videos.",
    "models": "List the models and show their cards.",
    "info": "Show versions, extras, devices and folders.",
}


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Args:
        args: Arguments without the program's name; those of the process when None.

    Returns:
        0: done; 1: a part of a batch failed; 2: a mistake in what was given; 130: interrupted.
    """
    _open_streams()
    try:
        from soundsight.errors import SoundsightError
    except (ImportError, KeyboardInterrupt) as error:  # interrupted while a library was being loaded
        return _interrupted(error)
    try:
        code = _run(list(sys.argv[1:] if args is None else args))
        sys.stdout.flush()
    except SoundsightError as error:
        return fail(str(error))
    except KeyboardInterrupt:
        return 130
    except ImportError as error:
        return _interrupted(error)
    except BrokenPipeError:
        _silence_stdout()
        return 1
    except OSError as error:
        _silence_stdout()  # it may be what failed, and would fail once more on the way out
        where = f"{error.filename}: " if error.filename else ""
        return fail(f"{where}{error.strerror or error}")
    return code


def _open_streams() -> None:
    """A standard stream that the caller has closed is None: nothing can be read from it, and what is said is lost."""
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - for as long as the process runs
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115


def _interrupted(error: BaseException) -> int:
    """Exit code of Ctrl-C, which libraries that are being loaded turn into errors of their own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            return 130
        cause = cause.__cause__ or cause.__context__
    raise error


def _run(args: list[str]) -> int:
    """Parse and invoke; usage mistakes become one line."""
    import typer

    from soundsight.cli.group import command

    # Typer brings its own copy of click in newer releases, so the base class is asked for and not imported.
    usage_error: type[Exception] = cast("Any", typer.BadParameter.__mro__[1])
    try:
        code = command().main(args or ["--help"], prog_name="soundsight", standalone_mode=False)
    except usage_error as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the help was the message
            return 2
        return fail(_usage(error))
    except typer.Abort:
        return 130
    return code if isinstance(code, int) else 0


def _usage(error: BaseException) -> str:
    """Click's message in one line, with where to look."""
    message = " ".join(error.format_message().split())  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "soundsight"
    return f"{message.rstrip('.')} (see '{path} --help')"


def fail(message: str) -> int:
    """Print one line of error on stderr; returns 2, the exit code for mistakes."""
    say(f"soundsight: error: {' '.join(message.split())}")
    return 2


def say(message: str) -> None:
    """One line on stderr; nobody listening is no reason to fail."""
    try:
        sys.stderr.write(_printable(message, sys.stderr.encoding))
        sys.stderr.flush()
    except (OSError, ValueError):
        return


def show(message: str, *, marked: bool = False) -> None:
    """One line on stdout; a marked one in colour, where a terminal shows colours and nobody has asked for none."""
    line = _printable(message, sys.stdout.encoding)
    if marked and sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        line = f"\x1b[33m{line[:-1]}\x1b[0m\n"
    sys.stdout.write(line)


def _printable(message: str, encoding: str | None) -> str:
    """Names of files may hold anything: what a terminal would act on, or cannot show, is escaped."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)
    return line.encode(encoding or "utf-8", "backslashreplace").decode(encoding or "utf-8") + "\n"


def _silence_stdout() -> None:
    """Point a stdout that fails at nothing, so that the interpreter's last flush does not complain about it."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def examples(*lines: str) -> str:
    """An epilog for ``--help`` with one example per line."""
    return "\n\n".join(["Examples:", *(f"  {line}" for line in lines)])


def complete_models(incomplete: str) -> list[str]:
    """Names of models that begin so, for shell completion; folders are left to the shell."""
    from soundsight.folder import pretrained_names

    return [name for name in pretrained_names() if name.startswith(incomplete)]


def complete_generators(incomplete: str) -> list[str]:
    """As ``complete_models``, of those that make pictures of sounds."""
    return _of_kind("generator", incomplete)


def complete_alignments(incomplete: str) -> list[str]:
    """As ``complete_models``, of spaces that sounds and pictures share."""
    return _of_kind("alignment", incomplete)


def _of_kind(kind: str, incomplete: str) -> list[str]:
    from soundsight.folder import read_folder, resolve

    return [name for name in complete_models(incomplete) if read_folder(resolve(name), verify=False).kind == kind]


def complete_recipes(incomplete: str) -> list[str]:
    """Names of recipes that begin so, for shell completion; files are left to the shell."""
    folder = Path(__file__).parent.parent / "recipes"
    return sorted(path.stem for path in folder.glob("*.toml") if path.stem.startswith(incomplete))
