"""Names for pictures, so that no two sounds of a call ever write the same file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

from soundsight.batch.sources import Source

__all__ = ["plan"]

_PART = re.compile(r"(.+)-\d+", re.DOTALL)


def plan(sources: Sequence[Source]) -> list[PurePath]:
    """Where the pictures of each source go, relative to the output and without suffix.

    A sound's pictures are named after its stem. Where that is not unique (``a.wav`` and ``a.mp3``, also in letters of
    another case), after the whole file name, and where that is taken too, with a number. ``a-1`` counts as taken where
    there is an ``a``, whose first part may be written there.

    Args:
        sources: The sounds, in a fixed order, on which the numbers depend.

    Returns:
        A path for each of them.

    >>> from pathlib import Path
    >>> [str(p) for p in plan([Source("", Path("x/a.wav")), Source("", Path("a.mp3")), Source("", Path("b.wav"))])]
    ['a.wav', 'a.mp3', 'b']
    """
    stems = [source.folder / _stem(source.name) for source in sources]
    count = Counter(_key(stem) for stem in stems)
    taken = {key for key, times in count.items() if times == 1 and not _is_part(key, count)}
    # A stem that stands for several sounds names none of them, but `a-1` would still look like a part of `a`.
    names = []
    # Where counting goes on, so that ten thousand `take.wav` from as many folders are named in one pass.
    numbers: Counter[str] = Counter()
    for source, stem in zip(sources, stems, strict=True):
        if _key(stem) in taken:
            names.append(stem)
            continue
        full = candidate = source.folder / source.name
        key = _key(full)
        while _key(candidate) in taken or _key(candidate) in count or _is_part(_key(candidate), taken):
            numbers[key] += 1
            candidate = full.with_name(f"{full.name}.{numbers[key] + 1}")
        taken.add(_key(candidate))
        names.append(candidate)
    return names


def _stem(name: str) -> str:
    """The name without its suffix; the whole name where only dots would be left, which a path swallows."""
    stem = PurePath(name).stem
    return stem if stem.strip(".") else name


def _key(path: PurePath) -> str:
    """Paths with the same key may be the same file, on a file system that folds case."""
    return str(path).casefold()


def _is_part(key: str, names: Counter[str] | set[str]) -> bool:
    """Whether a name is what a part of another sound may be called."""
    match = _PART.fullmatch(key)
    return match is not None and match[1] in names
