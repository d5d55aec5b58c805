"""Embeddings that were computed earlier: found by name, never by order; and what is refused."""

from __future__ import annotations

import csv
import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundsight.encoders.array import parse_npy, to_npy
from soundsight.encoders.embedding import pool
from soundsight.encoders.stored import Stored, key_of, read_array
from soundsight.errors import DatasetError

NAMES = [f"{i}-x.wav" for i in range(5)]


def write(
    folder: Path, array: NDArray[Any], names: list[str] = NAMES, *, column: str = "filename"
) -> tuple[Path, Path]:
    np.save(folder / "a.npy", array)
    with (folder / "a.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["fold", column], *([i, name] for i, name in enumerate(names))])
    return folder / "a.npy", folder / "a.csv"


def rows(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_a_row_is_found_by_its_name(tmp_path: Path) -> None:
    stored = read_array(*write(tmp_path, rows(5, 4)))
    assert (len(stored), stored.size) == (5, 4)
    for i, name in enumerate(NAMES):
        for asked in (name, name.replace(".wav", ".flac"), name.replace(".wav", "")):
            np.testing.assert_array_equal(stored.find(asked).tokens_LD, rows(5, 4)[i : i + 1])
            np.testing.assert_array_equal(stored.find(asked).pooled_D, rows(5, 4)[i])


def test_several_tokens_are_pooled_by_their_mean(tmp_path: Path) -> None:
    stored = read_array(*write(tmp_path, rows(5, 3, 4)))
    np.testing.assert_array_equal(stored.find("2-x.wav").tokens_LD, rows(5, 3, 4)[2])
    np.testing.assert_allclose(stored.find("2-x.wav").pooled_D, rows(5, 3, 4)[2].mean(axis=0), rtol=1e-6)


def test_tokens_of_length_1_are_pooled_to_length_1_as_clap_does(tmp_path: Path) -> None:
    tokens_NLD = rows(5, 3, 4)
    tokens_NLD /= np.linalg.norm(tokens_NLD, axis=-1, keepdims=True)
    stored = read_array(*write(tmp_path, tokens_NLD))
    for i, name in enumerate(NAMES):
        mean_D = tokens_NLD[i].mean(axis=0)
        np.testing.assert_allclose(stored.find(name).pooled_D, mean_D / np.linalg.norm(mean_D), rtol=1e-5)
    tokens_NLD[2, 1] *= 1.01  # one token off the sphere, and lengths mean something
    off = read_array(*write(tmp_path, tokens_NLD)).find(NAMES[2])
    np.testing.assert_allclose(off.pooled_D, tokens_NLD[2].mean(axis=0), rtol=1e-6)


def test_tokens_that_cancel_out_are_pooled_to_nothing() -> None:
    tokens_LD = np.array([[1, 0], [-1, 0]], np.float32)
    np.testing.assert_array_equal(pool(tokens_LD), np.zeros(2, np.float32))


@given(st.permutations(range(5)), st.permutations(range(5)))
def test_the_order_of_list_and_question_is_of_no_account(tmp_path_factory: Any, listed: Any, asked: Any) -> None:
    folder = tmp_path_factory.mktemp("order")
    stored = read_array(*write(folder, rows(5, 4)[listed], [NAMES[i] for i in listed]))
    found = stored.pair([NAMES[i] for i in asked])
    np.testing.assert_array_equal([embedding.pooled_D for embedding in found], rows(5, 4)[asked])


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", "u1", "<i4"])
def test_any_real_numbers_are_read(dtype: str, tmp_path: Path) -> None:
    array = np.arange(20).reshape(5, 4).astype(dtype)
    (found,) = [read_array(*write(tmp_path, array)).find(NAMES[3]).pooled_D]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [12, 13, 14, 15])


def test_an_array_in_columns_and_a_plain_list_are_read(tmp_path: Path) -> None:
    array, _ = write(tmp_path, np.asfortranarray(rows(5, 4)))
    (tmp_path / "a.txt").write_text("\n".join(NAMES) + "\n")
    np.testing.assert_array_equal(read_array(array, tmp_path / "a.txt").find(NAMES[3]).pooled_D, rows(5, 4)[3])


def test_the_identity_is_that_of_the_embeddings(tmp_path: Path) -> None:
    first = read_array(*write(tmp_path, rows(5, 4)))
    second = read_array(*write(tmp_path, rows(5, 4)[::-1], NAMES[::-1]))
    other = read_array(*write(tmp_path, rows(5, 4), NAMES[::-1]))
    assert first.identity == second.identity != other.identity


@pytest.mark.parametrize(
    ("array", "names", "fault"),
    [
        (rows(4, 4), NAMES, r"a\.npy: 4 rows, and .*a\.csv names 5: '4-x\.wav' without a row"),
        (rows(3, 4), NAMES, r"3 rows, and .* names 5: '3-x\.wav' and 1 more without a row"),
        (rows(6, 4), NAMES, r"6 rows, and .* names 5: rows without a name"),
        (rows(5, 4), [*NAMES[:4], NAMES[0]], r"a\.csv: '0-x' named twice"),
        (rows(5, 4), [*NAMES[:4], "0-x.flac"], r"a\.csv: '0-x' named twice"),
        (rows(5, 4), [*NAMES[:4], ""], r"a\.csv: entry 5 names no recording"),
        (rows(5, 1, 1, 4), NAMES, r"shape \(5, 1, 1, 4\); expected \(N, D\) or \(N, L, D\)"),
        (rows(5), NAMES, r"shape \(5,\)"),
        (rows(5, 0), NAMES, r"shape \(5, 0\)"),
        (np.where(rows(5, 4) == rows(5, 4)[2, 1], np.nan, rows(5, 4)), NAMES, r"embedding of '2-x\.wav' holds NaN"),
        (np.full((5, 4), 1e300), NAMES, r"embedding of '0-x\.wav' holds NaN or infinity"),
        (np.full((5, 4), 1j), NAMES, "complex128, which are no real numbers"),
        (np.full((5, 4), "a"), NAMES, "no real numbers"),
        (np.full((5, 4), None), NAMES, "object, which are no real numbers"),
    ],
)
def test_what_does_not_fit_is_refused(array: NDArray[Any], names: list[str], fault: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=fault) as caught:
        read_array(*write(tmp_path, array, names))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (NAMES[:4], r"a\.npy: 1 of 5 embeddings have no recording, '4-x'"),
        ([*NAMES, "9.wav", "8.wav"], r"a\.npy: 2 of 7 recordings have no embedding, '9\.wav' and 1 more"),
        ([*NAMES, "0-x.flac"], "the recordings: '0-x' named twice"),
    ],
)
def test_one_too_many_or_too_few_is_refused(names: list[str], fault: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=fault):
        read_array(*write(tmp_path, rows(5, 4))).pair(names)


def test_a_recording_without_an_embedding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"a\.npy: no embedding of 'y\\n\.wav'"):
        read_array(*write(tmp_path, rows(5, 4))).find("y\n.wav")


def test_files_that_are_none_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array, listing = write(tmp_path, rows(5, 4))
    with pytest.raises(DatasetError, match="there is no such file"):
        read_array(tmp_path / "b.npy", listing)
    with pytest.raises(DatasetError, match="there is no such file"):
        read_array(array, tmp_path / "b.csv")
    with pytest.raises(DatasetError, match="no column 'name' to name the rows by; columns: fold, filename"):
        read_array(array, listing, column="name")
    listing.write_bytes(b"filename\n\xff\xfe\n")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_array(array, listing)
    monkeypatch.setattr("soundsight.encoders.stored.MAX_LIST_BYTES", 3)
    with pytest.raises(DatasetError, match="larger than"):
        read_array(array, listing)


def test_bytes_that_are_no_array_are_refused() -> None:
    whole = to_npy(rows(5, 4))
    np.testing.assert_array_equal(parse_npy(whole), np.load(io.BytesIO(whole), allow_pickle=False))
    for end in (0, 3, 8, 40, len(whole) - 1):
        with pytest.raises(ValueError, match=r"header is damaged|announces"):
            parse_npy(whole[:end])
    with pytest.raises(ValueError, match="80 bytes, and 81 follow"):
        parse_npy(whole + b"x")
    with pytest.raises(ValueError, match="announces"):
        parse_npy(whole.replace(b"(5, 4), }        ", b"(5000000000, 4),}"))


@given(st.binary(max_size=200), st.integers(0, 127))
def test_a_damaged_header_is_a_value_error(noise: bytes, place: int) -> None:
    whole = to_npy(rows(2, 2))
    with suppress(ValueError):
        parse_npy(whole[:place] + noise + whole[place + len(noise) :])


@pytest.mark.parametrize(
    ("name", "key"),
    [("a.wav", "a"), ("a/b.FLAC", "a/b"), ("v1.2", "v1.2"), ("v1.2.mp3", "v1.2"), ("./a.wav", "a"), ("a.txt", "a.txt")],
)
def test_a_key_is_the_name_without_the_format(name: str, key: str) -> None:
    assert key_of(name) == key


# Real data: VGGish and CLAP of ESC-50, whose arrays have no names of their own.


def classes(data_root: Path) -> tuple[list[str], NDArray[Any], NDArray[Any]]:
    with (data_root / "esc50" / "esc50.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    return (
        [line["filename"] for line in lines],
        np.array([int(line["target"]) for line in lines]),
        np.array([int(line["fold"]) for line in lines]),
    )


def accuracy(stored: Stored, data_root: Path) -> float:
    """Of the nearest class mean of three folds, on the fourth, in the order of sorted names."""
    names, targets, folds = classes(data_root)
    order = np.argsort(names)
    names, targets, folds = [names[i] for i in order], targets[order], folds[order]
    found = np.stack([embedding.pooled_D for embedding in stored.pair(names)])
    means = np.stack([found[(targets == label) & (folds != 4)].mean(axis=0) for label in range(50)])
    distances = ((found[folds == 4][:, None] - means) ** 2).sum(axis=2)
    return float((distances.argmin(axis=1) == targets[folds == 4]).mean())


@pytest.mark.parametrize(("name", "size", "least"), [("clap", 512, 0.9), ("vggish_mean", 128, 0.4)])
def test_esc50_is_heard_in_embeddings_that_are_paired_by_name(
    name: str, size: int, least: float, data_root: Path, tmp_path: Path
) -> None:
    """And not where the list is in another order than its array: chance is 0.02. Both in another order are as good."""
    array, listing = data_root / "esc50" / f"{name}.npy", data_root / "esc50" / "esc50.csv"
    stored = read_array(array, listing)
    assert (len(stored), stored.size) == (1600, size)
    right = accuracy(stored, data_root)
    assert right > least
    names = classes(data_root)[0]
    shuffled = np.random.default_rng(0).permutation(1600)
    together = read_array(*write(tmp_path, np.load(array)[shuffled], [names[i] for i in shuffled]))
    assert together.identity == stored.identity
    assert accuracy(together, data_root) == right
    planted = read_array(array, write(tmp_path, rows(1), [names[i] for i in shuffled])[1])
    assert accuracy(planted, data_root) < 0.06
    assert planted.identity != stored.identity
