"""From recordings to a folder of shards, by several processes; and beforehand, what that will take."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from soundsight.audio import MAX_DURATION_S
from soundsight.datasets.records import Record
from soundsight.encoders.ledger import Entry, Ledger
from soundsight.encoders.plan import Plan, sounds_digest
from soundsight.encoders.workers import Workers
from soundsight.encoders.writing import num_bytes, shard_bytes, write_shard
from soundsight.errors import DatasetError

__all__ = ["Estimate", "Outcome", "embed", "estimate", "num_cores"]

Float64 = NDArray[np.float64]

# Recordings whose length is looked up, and the fewest that are encoded, for an estimate.
_MAX_LOOKED_UP = 2000
_NUM_TIMED = 8

Watch = Callable[[int], None]
"""Told how many more recordings are done with."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A shard that is whole.

    Attributes:
        name: Of its file.
        entry: What the folder's list says of it.
        before: What was there of it: ``whole`` if it was left as it is.
    """

    name: str
    entry: Entry
    before: Literal["whole", "new", "changed", "damaged"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would take.

    Attributes:
        num_shards: In the end.
        num_whole: How many of them are there already.
        num_bytes: Of all shards.
        seconds: Until all are there.
        num_timed: Recordings that were encoded to know it.
        faults: Why some of them could not be.
    """

    num_shards: int
    num_whole: int
    num_bytes: int
    seconds: float
    num_timed: int
    faults: tuple[str, ...]


def num_cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def embed(plan: Plan, folder: Path, workers: Workers, watch: Watch) -> Generator[Outcome, None, None]:
    """Make the shards that are not in the folder yet; those that are whole are left alone.

    A run that was stopped, even by a kill, goes on where it was when it is begun again, and ends with the same bytes,
    whatever the number of processes.

    Args:
        plan: What to embed.
        folder: Where to; it is made.
        workers: Processes with the encoder.
        watch: Called as the work goes on.

    Yields:
        The outcome of each shard, in order.

    Raises:
        DatasetError: The folder holds something else, or shards of another encoder, template or manifest.
        OutputError: A shard cannot be written; those before it are kept.
        ModelError: A process has died.
    """
    ledger = Ledger(folder, plan.made_with(workers.nature))
    ledger.begin()
    sounds = {name: sounds_digest(records) for name, records in plan.shards.items()}
    states = {name: ledger.state(name, digest) for name, digest in sounds.items()}
    todo = [record for name, records in plan.shards.items() if states[name] != "whole" for record in records]
    # One stream for all shards, so that no process waits for the end of one.
    heard = workers.hear(todo)
    for name, records in plan.shards.items():
        if states[name] == "whole":
            watch(len(records))
            yield Outcome(name, ledger.entries[name], "whole")
            continue
        failed = {}
        with write_shard(folder / name) as shard:
            for _, item in zip(records, heard, strict=False):
                if item.tokens_LD is None:
                    failed[item.record.key] = item.fault
                else:
                    facts = plan.facts(item.record, item.duration_s, workers.nature)
                    shard.add(item.record.key, item.tokens_LD, facts)
                watch(1)
        entry = Entry(shard.sha256, shard.num_bytes, shard.num_recordings, shard.num_tokens, sounds[name], failed)
        ledger.add(name, entry)
        yield Outcome(name, entry, states[name])


def estimate(plan: Plan, folder: Path, workers: Workers, num_workers: int) -> Estimate:
    """What ``embed`` would take; nothing is written.

    The lengths of up to 2,000 recordings are looked up, and some of them, from the shortest to the longest, are encoded
    by all processes at once, as these may be in each other's way. Between them, tokens grow evenly with a recording's
    length, and times in proportion to it.

    Args:
        plan: What is to be embedded.
        folder: Where to.
        workers: Processes with the encoder.
        num_workers: How many there are to be, where these are fewer.

    Raises:
        DatasetError: As for ``embed``; or not one of those that are tried can be heard.
    """
    ledger = Ledger(folder, plan.made_with(workers.nature))
    shards = plan.shards
    left = {name for name, part in shards.items() if ledger.state(name, sounds_digest(part)) != "whole"}
    found = [record for part in shards.values() for record in part]
    looked_up = [found[row] for row in _spread(len(found), _MAX_LOOKED_UP)]
    lengths_s = _lengths_s(looked_up)
    order = np.argsort(lengths_s, kind="stable")
    num_timed = max(_NUM_TIMED, 4 * workers.num)
    timed, faults = _timed(workers, [looked_up[order[row]] for row in _spread(len(order), num_timed)])
    timed_s, spent_s, tokens = np.array(timed, np.float64).T
    num_tokens = np.rint(np.interp(lengths_s, timed_s, tokens)).astype(int)
    mean_bytes = np.mean(
        [
            num_bytes(record.key, (count, workers.nature.size), plan.facts(record, length_s, workers.nature))
            for record, count, length_s in zip(looked_up, num_tokens.tolist(), lengths_s.tolist(), strict=True)
        ]
    )
    mean_s = float(spent_s.sum() / timed_s.sum() * lengths_s.mean())
    num_at_once = max(workers.num, min(num_workers, num_cores()))
    return Estimate(
        num_shards=len(shards),
        num_whole=len(shards) - len(left),
        num_bytes=sum(shard_bytes(round(mean_bytes * len(part))) for part in shards.values()),
        seconds=mean_s * sum(len(shards[name]) for name in left) / num_at_once,
        num_timed=len(timed),
        faults=faults,
    )


def _timed(workers: Workers, chosen: Sequence[Record]) -> tuple[list[tuple[float, float, int]], tuple[str, ...]]:
    """Length and time in seconds and number of tokens of recordings, by their lengths; and what could not be heard."""
    # A process's first recording pays for what a library sets up when it is used.
    deque(workers.hear(chosen), maxlen=0)
    tried = list(workers.hear(chosen))
    timed = [(item.duration_s, item.spent_s, len(item.tokens_LD)) for item in tried if item.tokens_LD is not None]
    faults = tuple(item.fault for item in tried if item.fault)
    if not timed:
        raise DatasetError(f"not one of {len(tried)} recordings that were tried can be heard (first: {faults[0]})")
    return sorted(timed), faults


def _lengths_s(records: Sequence[Record]) -> Float64:
    """How much of each recording would be heard; the typical length where it cannot be looked up."""
    known = [_duration_s(record) for record in records]
    typical_s = float(np.median([length for length in known if length is not None] or [0.0]))
    return np.array([typical_s if length is None else length for length in known])


def _spread(num: int, at_most: int) -> Sequence[int]:
    """Places among ``num``, evenly from the first to the last."""
    if num <= at_most:
        return range(num)
    return [place * (num - 1) // (at_most - 1) for place in range(at_most)]


def _duration_s(record: Record) -> float | None:
    """How much of a recording would be heard, as its header has it; None if libsndfile does not know the format."""
    import soundfile

    try:
        duration_s = min(float(soundfile.info(str(record.path)).duration), MAX_DURATION_S)
    except (soundfile.LibsndfileError, RuntimeError, OSError):
        return None
    if record.start_s is None or record.end_s is None:
        return duration_s
    return min(duration_s, record.end_s - record.start_s)
