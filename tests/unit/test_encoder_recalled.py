"""Embeddings that were computed before, in the place of the encoder that computed them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soundsight.encoders.recalled import is_recalled, recall
from soundsight.encoders.writing import write_shard
from soundsight.errors import DatasetError, ModelError, SoundsightError

TOKENS = {name: np.full((2, 3), i, np.float32) for i, name in enumerate(("dog", "far/dog", "rain"))}


def shard(folder: Path, **facts: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with write_shard(folder / "a.tar") as out:
        for name, tokens_LD in TOKENS.items():
            out.add(name, tokens_LD, facts)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shard(tmp_path / "shards", encoder="clap", identity="ab" * 32)


@pytest.fixture
def array(tmp_path: Path) -> Path:
    np.save(tmp_path / "all.npy", np.stack(list(TOKENS.values())))
    (tmp_path / "list.csv").write_text("file\n" + "".join(f"{name}.wav\n" for name in TOKENS))
    return tmp_path / "all.npy"


@pytest.mark.parametrize(
    ("sound", "expected"),
    [("x/dog.wav", 0), (Path("/x/far/dog.flac"), 1), ("far/dog.wav", 1), ("rain.mp3", 2), ("/rain.wav", 2)],
)
def test_a_recording_is_found_by_its_name(sound: Any, expected: int, folder: Path, array: Path) -> None:
    options = {"rows": str(array.parent / "list.csv"), "column": "file"}
    for known in (recall("clap", folder, {}), recall("clap", folder / "a.tar", {}), recall("clap", array, options)):
        found = known.find(sound)
        np.testing.assert_array_equal(found.tokens_LD, np.full((2, 3), expected))
        np.testing.assert_array_equal(found.pooled_D, np.full(3, expected))
        assert (known.name, known.size) == ("clap", 3)


def test_an_open_file_has_a_name(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "rain.wav").write_bytes(b"")
    with (tmp_path / "rain.wav").open("rb") as file:
        assert recall("clap", folder, {}).find(file).pooled_D[0] == 2


def test_what_made_them_is_remembered(folder: Path, tmp_path: Path, array: Path) -> None:
    assert recall("clap", folder, {}).identity == "ab" * 32
    assert recall("clap", shard(tmp_path / "silent"), {}).identity is None
    assert recall("clap", array, {"rows": array.parent / "list.csv", "column": "file"}).identity is None
    with pytest.raises(ModelError, match="embeddings of 'clap', and 'vggish' is wanted"):
        recall("vggish", folder, {})


def test_embeddings_are_told_from_weights(folder: Path, array: Path, tmp_path: Path) -> None:
    assert is_recalled(folder)
    assert is_recalled(str(folder / "a.tar"))
    assert is_recalled(array)
    assert not is_recalled(tmp_path)
    assert not is_recalled("laion/clap-htsat-fused")
    assert not is_recalled("vggish.pth")
    assert not is_recalled("x" * 300)


@pytest.mark.parametrize("sound", [b"RIFF", (np.zeros(8), 8000), io.BytesIO()])
def test_a_sound_without_a_name_is_refused(sound: Any, folder: Path) -> None:
    with pytest.raises(SoundsightError, match="found by the name of a file"):
        recall("clap", folder, {}).find(sound)


def test_of_other_sounds_nothing_is_known(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"a\.tar: no embedding of 'cat\.wav'"):
        recall("clap", folder, {}).find("dogs/cat.wav")


@pytest.mark.parametrize(
    ("what", "options", "fault"),
    [
        ("all.npy", {}, "does not say whose its rows are; add --encoder-set rows=LIST"),
        ("all.npy", {"pca": "x.npz"}, "have no option 'pca'; known: rows, column"),
        ("all.npy", {"rows": "nowhere.csv"}, r"nowhere\.csv: there is no such file"),
        ("shards", {"rows": "list.csv"}, "shards name their recordings themselves"),
        ("nowhere.tar", {}, "there is no such file"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    what: str, options: dict[str, Any], fault: str, folder: Path, array: Path, tmp_path: Path
) -> None:
    with pytest.raises(SoundsightError, match=fault):
        recall("clap", tmp_path / what, options)
