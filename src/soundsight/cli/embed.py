"""``soundsight datasets embed``: what an encoder makes of recordings, with their prompts, in shards."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundsight.cli import examples, say, show
from soundsight.cli.quiet import quiet_libraries
from soundsight.errors import SoundsightError

if TYPE_CHECKING:
    from soundsight.encoders.embedder import Outcome
    from soundsight.encoders.plan import Plan
    from soundsight.encoders.workers import Workers

__all__ = ["EXAMPLES", "embed"]

EXAMPLES = examples(
    "soundsight datasets embed esc50 -o shards --weights clap",
    "soundsight datasets embed my.csv -o out --encoder vggish --weights w.safetensors",
    "soundsight datasets embed esc50 -o out --encoder vggish --weights w.safetensors --set output=quantised",
    "soundsight datasets embed val.csv --audio clips -o val --weights clap --dry-run",
)
# Processes that a trial starts at most.
_TRIAL = 8
# Lines of errors shown, as by 'generate'.
_MANY = 20


def embed(
    source: Annotated[
        str,
        typer.Argument(metavar="LIST", help="AudioSet's or AudioCaps' list, a CSV of one's own, or a data set's name."),
    ],
    out: Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="Folder for the shards.")],
    weights: Annotated[str, typer.Option(metavar="FILE|FOLDER", help="The encoder's weights; CLAP's also by name.")],
    encoder: Annotated[str, typer.Option(metavar="NAME", help="vggish or clap.")] = "clap",
    set_: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="An option of the encoder: of vggish output (raw, pca, quantised), pca (a file), relu, rounding "
            "(nearest, down) and precision (fp32, bf16); of clap revision. May be repeated.",
        ),
    ] = [],  # noqa: B006
    audio: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where the recordings are; by default beside the list.")
    ] = None,
    template: Annotated[
        str, typer.Option(metavar="TEXT", help="Prompt of a recording that has labels and no caption.")
    ] = "an image of {label}",
    min_quality: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Leave out labels that raters found right less often; 0 for all.",
            show_default="0.6 for AudioSet",
        ),
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, max=100_000, metavar="N", help="Recordings in a shard.")] = 1000,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=256, metavar="N", help="Processes, each with the encoder.", show_default="one for each processor"
        ),
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Remember what was heard here, so that other lists and prompts of the same sounds take no time.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what there is, sizes and the estimated time; write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write what an encoder makes of recordings, with their prompts, into shards for adapters.

    A list of one's own has a column 'filename' and one of 'caption', 'label' or 'category'; further columns are
    'split', 'fold', and 'start' and 'end' of a section in seconds. Recordings are found by their names. For the lists
    of AudioSet and AudioCaps these are ID_START.wav, ID.wav or YID.wav, or another ending; class_labels_indices.csv
    (or ontology.json) and qa_true_counts.csv lie beside AudioSet's list. Nothing is downloaded.

    DIR gets tar archives with KEY.npy, tokens (L, D) float32, and KEY.json, and embeddings.json, the list of them. Stop
    and repeat the command at will: shards that are whole are left alone.

    Exit code: 0, or 1 if some recordings could not be heard, 2 if none could or something else is wrong.
    """
    from soundsight import encoders
    from soundsight.cli import settings
    from soundsight.datasets import manifests
    from soundsight.encoders.cache import load_cached
    from soundsight.encoders.embedder import num_cores
    from soundsight.encoders.plan import Plan
    from soundsight.encoders.workers import Load, Workers
    from soundsight.files import check_writable

    if not out:
        raise SoundsightError("--out is empty; name a folder for the shards")
    if not dry_run:
        check_writable(Path(out))
    options = settings.parse("--set", set_)
    said = encoders.lasting(encoder, options) if options else {}
    manifest = manifests.keep_quality(manifests.read(source, Path(audio) if audio else None), min_quality)
    plan = Plan(manifest, template, shard_size, said)
    num_workers = workers or num_cores()
    load: Load = partial(encoders.load, encoder, weights, **options)
    if cache is not None and not dry_run:  # a trial writes nothing, and measures hearing
        if not cache:
            raise SoundsightError("--cache is empty; name a folder")
        check_writable(Path(cache))
        load = partial(load_cached, load, Path(cache))
    with quiet_libraries(), Workers(load, min(num_workers, _TRIAL) if dry_run else num_workers) as pool:
        if dry_run:
            _estimate(plan, Path(out), pool, num_workers, as_json)
        else:
            _run(plan, Path(out), pool, as_json)


def _estimate(plan: Plan, out: Path, pool: Workers, num_workers: int, as_json: bool) -> None:
    from soundsight.encoders.embedder import estimate

    expected = estimate(plan, out, pool, num_workers)
    if as_json:
        facts = {"shards": expected.num_shards, "shards_before": expected.num_whole, "bytes": expected.num_bytes}
        timing = {"seconds": round(expected.seconds, 1), "workers": num_workers, "timed": expected.num_timed}
        typer.echo(json.dumps(_listed(plan, pool, out) | facts | timing | {"errors": list(expected.faults)}, indent=2))
    else:
        _show_listed(plan)
        before = f", {expected.num_whole:,} of them there already" if expected.num_whole else ""
        show(f"shards: {expected.num_shards:,} of {_size(expected.num_bytes)}{before}")
        show(f"time: about {_time(expected.seconds)} with {_count(num_workers, 'process')}")
        show(f"timed: {_count(expected.num_timed, 'recording')}; nothing was written")
    for line in expected.faults:
        say(f"soundsight: error: {line}")


def _run(plan: Plan, out: Path, pool: Workers, as_json: bool) -> None:
    from soundsight.encoders.embedder import embed as run

    begun_s = time.monotonic()
    outcomes: list[Outcome] = []
    with _bar(sum(map(len, plan.shards.values()))) as watch:
        try:
            with closing(run(plan, out, pool, watch)) as made:
                for outcome in made:
                    outcomes.append(outcome)
                    _tell(outcome)
        except KeyboardInterrupt:
            say("interrupted; the same command goes on")
            raise
    faults = [fault for outcome in outcomes for fault in outcome.entry.failed.values()]
    num_done = sum(outcome.entry.num_recordings for outcome in outcomes)
    _summarise(plan, out, pool, outcomes, time.monotonic() - begun_s, as_json)
    for line in faults[:_MANY]:
        say(f"soundsight: error: {line}")
    if len(faults) > _MANY:
        say(f"soundsight: error: and {len(faults) - _MANY} more")
    if faults:
        say(f"soundsight: {len(faults)} of {len(faults) + num_done} recordings could not be heard")
        raise typer.Exit(1 if num_done else 2)


def _tell(outcome: Outcome) -> None:
    """A line for each shard where there is no bar, and for what was wrong with one that was there."""
    if outcome.before == "damaged":
        say(f"{outcome.name}: was damaged, and is made again")
    if not sys.stderr.isatty():
        said = {"whole": ", there already", "changed": ", as its sounds have changed"}.get(outcome.before, "")
        say(f"{outcome.name}: {_count(outcome.entry.num_recordings, 'recording')}{said}")


def _summarise(plan: Plan, out: Path, pool: Workers, outcomes: list[Outcome], spent_s: float, as_json: bool) -> None:
    from soundsight.encoders.ledger import INDEX

    entries = [outcome.entry for outcome in outcomes]
    num_done, num_tokens = sum(e.num_recordings for e in entries), sum(e.num_tokens for e in entries)
    total, before = sum(e.num_bytes for e in entries), sum(outcome.before == "whole" for outcome in outcomes)
    if as_json:
        failed = {key: fault for entry in entries for key, fault in entry.failed.items()}
        facts = {"embedded": num_done, "failed": failed, "tokens": num_tokens, "bytes": total}
        shards = {"shards": len(entries), "shards_before": before, "seconds": round(spent_s, 1)}
        typer.echo(json.dumps(_listed(plan, pool, out) | facts | shards, indent=2))
        return
    _show_listed(plan)
    show(f"embedded: {_count(num_done, 'recording')}, {_count(num_tokens, 'token')} of {pool.nature.size} numbers")
    show(f"shards: {len(entries):,} of {_size(total)}{f', {before:,} of them there already' if before else ''}")
    show(f"time: {_time(spent_s)}")
    show(str(out / INDEX))


def _listed(plan: Plan, pool: Workers, out: Path) -> dict[str, Any]:
    """What the manifest has, for JSON."""
    manifest = plan.manifest
    return {
        "source": manifest.what,
        "folder": str(out),
        "encoder": {"name": pool.nature.name, "identity": pool.nature.identity, "size": pool.nature.size},
        "listed": len(manifest.records) + manifest.num_left_out,
        "left_out": manifest.num_left_out,
        "missing": [record.name for record in manifest.missing],
        "found": len(manifest.found),
        "prompts": sum(len(plan.prompts(record)) for record in manifest.found),
    }


def _show_listed(plan: Plan) -> None:
    manifest, missing = plan.manifest, plan.manifest.missing
    show(f"listed: {_count(len(manifest.records) + manifest.num_left_out, 'recording')} in {manifest.what}")
    if manifest.num_left_out:
        quality = f"no label of quality {manifest.min_quality:g} or more"
        show(f"left out: {_count(manifest.num_left_out, 'recording')} with {quality}")
    if missing:
        show(f"missing: {_count(len(missing), 'recording')} not in {manifest.folder} (first: {missing[0].name})")
    num_prompts = sum(len(plan.prompts(record)) for record in manifest.found)
    show(f"found: {_count(len(manifest.found), 'recording')} with {_count(num_prompts, 'prompt')}")


def _count(number: int, what: str) -> str:
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{number:,} {what if number == 1 else plural}"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:,.1f} kB"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@contextmanager
def _bar(num_recordings: int) -> Iterator[Callable[[int], None]]:
    """A progress bar over all recordings with the time left, on stderr; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Hearing", total=num_recordings)
        yield lambda num: progress.advance(task, num)
