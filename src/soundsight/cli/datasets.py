"""``soundsight datasets``: list, prepare and check data sets, or make one of videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundsight.cli import embed as embedding
from soundsight.cli import examples, from_video, say, show
from soundsight.errors import DatasetError

if TYPE_CHECKING:
    from soundsight.datasets.check import Report
    from soundsight.datasets.info import DatasetInfo

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="List, prepare and check data sets, or make one of videos.",
)
app.command("from-video", epilog=from_video.EXAMPLES)(from_video.from_video)
app.command("embed", epilog=embedding.EXAMPLES)(embedding.embed)

_HERE = {"yes": "here", "no": "not here", "unfinished": "begun"}
# Lines shown of a long list; --json has all of them.
_SHOWN = 10


def _complete(incomplete: str) -> list[str]:
    from soundsight import registry
    from soundsight.datasets.bundles import BUNDLES

    return [name for name in (*registry.names("datasets"), *BUNDLES) if name.startswith(incomplete)]


Name = Annotated[str, typer.Argument(metavar="NAME", autocompletion=_complete, help="As shown by 'datasets list'.")]
Folder = Annotated[
    Path | None,
    typer.Option("--folder", metavar="DIR", help="Where it is, or goes; else NAME in the folder SOUNDSIGHT_DATA."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list", epilog=examples("soundsight datasets list", "soundsight datasets list --json"))
def list_(as_json: Json = False) -> None:
    """Show the known data sets, their licences and whether they are here."""
    import json

    from soundsight import registry
    from soundsight.datasets.bundles import BUNDLES
    from soundsight.datasets.info import data_root, folder_of

    rows: list[dict[str, Any]] = []
    for name in registry.names("datasets"):
        module = registry.find("datasets", name)
        info: DatasetInfo = module.INFO
        folder = folder_of(name)
        rows.append(
            {
                "name": name,
                "kind": info.kind,
                "title": info.title,
                "licence": info.licence,
                "attribution": info.attribution,
                "homepage": info.homepage,
                "here": _state(module, folder),
                "folder": str(folder),
            }
        )
    bundles = [{"name": name, "kind": "bundle", "stands_for": list(members)} for name, members in BUNDLES.items()]
    if as_json:
        typer.echo(json.dumps(rows + bundles, indent=2, ensure_ascii=False))
        return
    for row in rows:
        show(f"{row['name']}: {row['kind']}s, {_HERE[row['here']]}; {row['title']}, {row['licence']}")
    for bundle in bundles:
        show(f"{bundle['name']}: stands for {' and '.join(bundle['stands_for'])}")
    show(f"in {data_root()}")


@app.command(
    epilog=examples(
        "soundsight datasets prepare mnist",
        "soundsight datasets prepare fsdd --folder data/fsdd",
        "soundsight datasets prepare esc50-cifar10 --json",
    )
)
def prepare(
    name: Name,
    folder: Folder = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON at the end: folder, licence, and whether it was downloaded.")
    ] = False,
) -> None:
    """Download a data set, check it, and say where it is.

    An interrupted download goes on where it stopped. Nothing is downloaded where the data set is there already.
    """
    import json

    told = []
    for member in _members(name, folder):
        told.append(_prepare(member, folder))
        if not as_json:
            typer.echo(told[-1]["folder"])
    if as_json:
        typer.echo(json.dumps(told if len(told) > 1 else told[0], indent=2, ensure_ascii=False))


def _prepare(name: str, folder: Path | None) -> dict[str, Any]:
    """See that a data set is there; what is worth telling of it."""
    from soundsight import registry
    from soundsight.datasets import download
    from soundsight.datasets.info import folder_of

    module = registry.find("datasets", name)
    info: DatasetInfo = module.INFO
    target = folder or folder_of(name)
    if not info.files:
        raise DatasetError(f"{name} cannot be downloaded from here; see {info.homepage}, and put it in {target}")
    told = {"name": name, "folder": str(target), "licence": info.licence, "attribution": info.attribution}
    if _state(module, target) == "yes":
        say(f"{name} is there already; 'soundsight datasets check {name}' looks at every item")
        return {**told, "downloaded": False}
    target.mkdir(parents=True, exist_ok=True)
    say(f"{info.title}, {info.licence}, {info.attribution} ({info.homepage})")
    with _Bar() as bar:
        download.fetch(info, target, bar)
    _refuse(module.check(target))
    return {**told, "downloaded": True}


@app.command(
    epilog=examples(
        "soundsight datasets check fsdd", "soundsight datasets check mnist --json", "soundsight datasets check my-pairs"
    )
)
def check(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", autocompletion=_complete, help="As shown by 'datasets list', or a folder of pairs."
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Option("--folder", metavar="DIR", help="Where the data set is; by default NAME in SOUNDSIGHT_DATA."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all that was found as JSON, with no list cut short.")
    ] = False,
) -> None:
    """Look at every item of a data set, and say what is there and what is wrong with it.

    Every file is decoded, or compared with the published checksum; nothing
    is changed. Printed, one fact a line: how many items of which classes,
    speakers and formats (of pictures height by width); the shortest, middle
    and longest sound; what should be there and is missing; what is corrupt,
    and why; other problems; and duplicates, items of the same content.

    A folder of pairs can be named in place of a data set: pairs.csv, files
    of one stem, or a dataset.csv as the scene data set has it. Of pairs the
    notes say how many clips there are, which sounds are silent, how many
    test pairs have a picture or sound that trains, too, and how much nearer
    the nearest training frame is than the mean one: below 1 test frames
    leak into training.

    Exit code: 0, or 2 if something is missing, corrupt or a problem;
    duplicates and notes are none.
    """
    import json

    from soundsight import registry
    from soundsight.datasets.info import folder_of
    from soundsight.datasets.selection import reader_of

    # What has a slash in it is no name of a data set; a folder that is not there is told by who reads it.
    if folder is None and name not in registry.names("datasets") and (Path(name).is_dir() or Path(name).name != name):
        reports = [reader_of(Path(name)).check(Path(name))]
    else:
        members = _members(name, folder)
        reports = [registry.find("datasets", member).check(folder or folder_of(member)) for member in members]
    if as_json:
        plain = [report.as_dict() for report in reports]
        typer.echo(json.dumps(plain if len(plain) > 1 else plain[0], indent=2, ensure_ascii=False))
    else:
        for report in reports:
            _show(report)
    for report in reports:
        _refuse(report)


def _members(name: str, folder: Path | None) -> tuple[str, ...]:
    """The data sets that a name stands for."""
    from soundsight.datasets.bundles import BUNDLES

    members = BUNDLES.get(name, (name,))
    if folder is not None and len(members) > 1:
        raise DatasetError(
            f"{name} stands for {' and '.join(members)}, and --folder is for one data set; name one of them, "
            "or set SOUNDSIGHT_DATA to the folder for both"
        )
    return members


def _state(module: Any, folder: Path) -> str:
    """Whether a data set seems to be there: by its files' names only, which is quick."""
    from soundsight.datasets.download import unfinished

    if unfinished(module.INFO, folder):
        return "unfinished"
    if hasattr(module, "is_here"):
        return "yes" if module.is_here(folder) else "no"
    if module.INFO.kind == "image":
        paths = [folder / file.path for file in module.INFO.files]
        return "yes" if all(path.is_file() or path.with_suffix("").is_file() for path in paths) else "no"
    try:
        module.load(folder)
    except DatasetError:
        return "no"
    return "yes"


def _refuse(report: Report) -> None:
    if not report.ok:
        counts = {"missing": report.missing, "damaged": report.corrupt, "other problems": report.problems}
        found = ", ".join(f"{len(lines)} {what}" for what, lines in counts.items() if lines)
        first = (*report.problems, *report.corrupt, *report.missing)[0]
        raise DatasetError(f"{report.name} in {report.folder} is not complete and sound: {found} (first: {first})")


def _show(report: Report) -> None:
    """The report on stdout, one fact a line."""
    show(f"{report.name}: {report.folder}")
    show(f"items: {report.num_items}")
    for what in ("classes", "speakers", "formats"):
        counts = getattr(report, what)
        shown = [f"{key} {count}" for key, count in list(counts.items())[: 2 * _SHOWN]]
        if counts:
            more = [f"… {len(counts)} in all"] if len(counts) > len(shown) else []
            show(f"{what}: {', '.join(shown + more)}")
    if report.durations_s:
        show(f"seconds: {', '.join(f'{key} {value:.3f}' for key, value in report.durations_s.items())}")
    for what in ("missing", "corrupt", "problems", "notes"):
        _list(what, getattr(report, what))
    _list("duplicates", tuple(" = ".join(group) for group in report.duplicates))


def _list(what: str, lines: tuple[str, ...]) -> None:
    show(f"{what}: {len(lines) or 'none'}")
    for line in lines[:_SHOWN]:
        show(f"  {line}")
    if len(lines) > _SHOWN:
        show(f"  and {len(lines) - _SHOWN} more")


class _Bar:
    """A progress bar with the time left on stderr, made when the first byte comes."""

    def __init__(self) -> None:
        self._progress: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, name: str, num_bytes: int, total: int | None) -> None:
        if self._progress is None:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

            text = TextColumn("{task.description}", markup=False)
            columns = (text, BarColumn(), DownloadColumn(), TimeRemainingColumn())
            self._progress = Progress(*columns, console=Console(stderr=True))
            self._progress.start()
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total)
        self._progress.update(self._tasks[name], completed=num_bytes, total=total)
