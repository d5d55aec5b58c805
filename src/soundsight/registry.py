"""Find a component by name: the name of its module in its room, or an entry point from outside.

A room is a package (``features``, ``datasets``, ``encoders``, ``models``, …). Dropping ``whisper.py`` into
``features/`` is all it takes to have ``features.name = "whisper"`` in a recipe. A package from outside does the same
with an entry point in the group ``soundsight.<room>`` whose name is the component's and whose value is a module.
"""

from __future__ import annotations

import importlib
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

from soundsight.errors import UnknownNameError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["find", "names", "unknown"]

# Modules that are no components: what a room's components share, and comparisons of two sets, which take no labels.
_SHARED = {
    "adapters": {"mapper", "patches"},
    "datasets": {
        *("archive", "audiocaps", "audioset", "augment", "bundles", "captions", "check", "check_pairs", "classes"),
        *(
            "clips",
            "download",
            "footage",
            "frames",
            "from_video",
            "info",
            "manifests",
            "non_speech",
            "outliers",
            "pair_set",
        ),
        *("pair_splits", "pairs", "pairing", "records", "selection", "sketch", "splits", "types", "voices"),
        "windows",
    },
    "encoders": {
        *("array", "cache", "embedder", "embedding", "ledger", "plan", "recalled", "shards", "stored", "weights"),
        *("workers", "writing"),
    },
    "features": {"mel", "options"},
    "metrics": {
        *("calibration", "darkness", "detection", "fidelity", "frechet", "kernel", "neighbours", "retrieval"),
        *("scene2025", "sets", "sliced_wasserstein", "targets"),
    },
    "models": {
        "codes",
        "examiner",
        "layers",
        "objectives",
        "painter",
        "pictures",
        "samplers",
        "shortcuts",
        "translator",
        "unet",
        "unfolded",
    },
}


@cache
def _plugins(room: str) -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=f"soundsight.{room}")}


def names(room: str) -> list[str]:
    """Names of all components in a room, sorted; nothing of them is imported."""
    import pkgutil

    package = importlib.import_module(f"soundsight.{room}")
    own = {m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")}
    return sorted((own - _SHARED.get(room, set())) | set(_plugins(room)))


def find(room: str, name: str) -> ModuleType:
    """Import the component ``name`` of ``room``; our own wins over a plug-in of that name.

    Raises:
        UnknownNameError: No such component; the message names the nearest and all known ones.
    """
    # Our own come first: reading the entry points of all that is installed takes longer than making a picture.
    if _is_own(room, name):
        return importlib.import_module(f"soundsight.{room}.{name}")
    if name in _plugins(room):
        plugin = _plugins(room)[name].load()
        assert isinstance(plugin, ModuleType), f"entry point {name!r} of soundsight.{room} must name a module"
        return plugin
    raise UnknownNameError(unknown(room, name, names(room)))


def _is_own(room: str, name: str) -> bool:
    """Whether ``name`` is a component of ours; checked so that a name from a file imports nothing but a component."""
    if not name.isidentifier() or name.startswith("_") or name in _SHARED.get(room, set()):
        return False
    return find_spec(f"soundsight.{room}.{name}") is not None


def unknown(room: str, name: str, known: list[str]) -> str:
    """One line for an unknown name, with the nearest known one."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    return f"no '{name}' in {room}{hint}; known: {', '.join(known) or 'none'}"
