"""Finding sounds and naming their pictures."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundsight.batch import Source, collect, plan
from soundsight.errors import SoundsightError


def _plan(*paths: str) -> list[str]:
    sources = [Source(path, Path(path), PurePath(path).parent) for path in paths]
    return [str(name) for name in plan(sources)]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["seven.wav"], ["seven"]),
        (["a.wav", "b.wav"], ["a", "b"]),
        (["a.wav", "a.mp3", "b.wav"], ["a.wav", "a.mp3", "b"]),
        (["a.wav", "A.wav"], ["a.wav", "A.wav.2"]),
        (["x/a.wav", "y/a.wav"], ["x/a", "y/a"]),
        (["a.wav", "a-1.wav"], ["a", "a-1.wav"]),
        (["a-1.wav", "b.wav"], ["a-1", "b"]),
        (["a.wav", "a.mp3", "a.wav.flac"], ["a.wav.2", "a.mp3", "a.wav"]),
        ([".wav", "noext"], [".wav", "noext"]),
        (["-1", "..1"], ["-1", "..1"]),
    ],
)
def test_names(paths: list[str], names: list[str]) -> None:
    assert _plan(*paths) == names


def test_the_same_name_from_several_folders_is_numbered() -> None:
    sources = [Source(path, Path(path)) for path in ("x/a.wav", "y/a.wav", "z/a.wav")]
    assert [str(name) for name in plan(sources)] == ["a.wav", "a.wav.2", "a.wav.3"]


NAMES = st.text("aA1-._", min_size=1, max_size=6).filter(lambda name: name.strip("."))


@given(st.lists(NAMES, max_size=12), st.integers(1, 3), st.integers(1, 3))
def test_no_two_sounds_ever_write_one_file(files: list[str], num_images: int, most_parts: int) -> None:
    """Whatever they are called and however they are cut, on a file system that folds case, too."""
    sources = [Source(file, Path(file)) for file in files]
    written: dict[str, int] = {}
    for i, name in enumerate(plan(sources)):
        for num_parts in range(1, most_parts + 1):
            for part in range(1, num_parts + 1) if num_parts > 1 else [0]:
                for index in range(num_images):
                    stem = f"{name.name}-{part}" if part else name.name
                    file = f"{stem}_{index}.png" if num_images > 1 else f"{stem}.png"
                    assert written.setdefault(file.casefold(), i) == i, (files, file)


def test_folders_are_searched_and_mirrored(tmp_path: Path) -> None:
    for name in ("b.wav", "a.FLAC", "notes.txt", ".hidden.wav", "sub/c.mp3", "sub/deep/d.opus", ".git/e.wav", "x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path, target_is_directory=True)
    found = collect([str(tmp_path)])
    assert [(str(s.folder), s.name) for s in found] == [
        (".", "a.FLAC"), (".", "b.wav"), ("sub", "c.mp3"), ("sub/deep", "d.opus"),
    ]  # fmt: skip
    assert not any(source.error for source in found)


def test_a_file_named_itself_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    (source,) = collect([str(tmp_path / "notes.txt")])
    assert source.path == tmp_path / "notes.txt"
    (source,) = collect(["x" * 5000])
    assert source.path is not None


def test_a_folder_without_sound(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    (source,) = collect([str(tmp_path)])
    assert "a folder without sound" in source.error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0)
    (source,) = collect([str(tmp_path)])
    assert "Permission denied" in source.error


def test_standard_input_once() -> None:
    (source,) = collect(["-"])
    assert (source.path, source.name) == (None, "stdin")
    with pytest.raises(SoundsightError, match="twice"):
        collect(["-", "-"])
