"""Components are found by the name of their file, or by an entry point; by nothing else."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import soundsight
from soundsight import registry
from soundsight.errors import UnknownNameError

ROOMS = ["features", "datasets", "models", "metrics", "losses"]
SOURCE = Path(soundsight.__file__).parent


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """Entry points of other packages, as if installed."""
    points: list[EntryPoint] = []

    def entry_points(*, group: str) -> list[EntryPoint]:
        return [point for point in points if point.group == group]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    registry._plugins.cache_clear()
    yield points
    registry._plugins.cache_clear()


@pytest.mark.parametrize("room", ROOMS)
def test_names_are_the_files_of_the_room(room: str) -> None:
    names = registry.names(room)
    assert names == sorted(set(names))
    files = {path.stem for path in (SOURCE / room).glob("*.py")}
    assert set(names) <= files
    assert names, f"{room} is empty"


@pytest.mark.parametrize("room", ROOMS)
def test_a_name_leads_to_its_module(room: str) -> None:
    for name in registry.names(room):
        assert registry.find(room, name).__name__ == f"soundsight.{room}.{name}"


@pytest.mark.parametrize("room", sorted(registry._SHARED))
def test_shared_modules_are_there_and_are_no_components(room: str) -> None:
    for name in registry._SHARED[room]:
        assert (SOURCE / room / f"{name}.py").is_file(), f"{room}/{name}.py is gone; take it out of _SHARED"
        with pytest.raises(UnknownNameError):
            registry.find(room, name)


def test_an_unknown_name_is_told_with_the_nearest_and_all_known_ones() -> None:
    with pytest.raises(UnknownNameError) as caught:
        registry.find("features", "logmell")
    assert "no 'logmell' in features (did you mean 'logmel'?); known: " in str(caught.value)
    for name in registry.names("features"):
        assert name in str(caught.value)


@pytest.mark.parametrize("name", ["os", "..errors", "logmel.np", "logmel/../logmel", "", "__init__", "LOGMEL"])
def test_a_name_from_a_file_reaches_nothing_but_components(name: str) -> None:
    with pytest.raises(UnknownNameError):
        registry.find("features", name)


def test_listing_imports_no_component() -> None:
    code = "import sys; from soundsight import registry; registry.names('models'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_another_package_adds_a_component(plugins: list[EntryPoint]) -> None:
    plugins.append(EntryPoint("whisper", "json.decoder", "soundsight.features"))
    assert "whisper" in registry.names("features")
    assert "whisper" not in registry.names("models")
    assert registry.find("features", "whisper").__name__ == "json.decoder"


def test_an_entry_point_that_is_no_module_is_refused(plugins: list[EntryPoint]) -> None:
    plugins.append(EntryPoint("whisper", "json.decoder:JSONDecoder", "soundsight.features"))
    with pytest.raises(AssertionError, match="must name a module"):
        registry.find("features", "whisper")
