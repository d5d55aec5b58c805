"""What every data set must keep: its papers in order, its absence said clearly, its items read in a fixed order."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import numpy as np
import pytest

from sample_data import SAMPLES
from soundsight import registry
from soundsight.datasets.check import Report
from soundsight.datasets.info import DatasetInfo
from soundsight.datasets.types import ImageSet, SoundSet
from soundsight.errors import DatasetError

NAMES = registry.names("datasets")
PAIRS = [name for name in NAMES if registry.find("datasets", name).INFO.kind == "pair"]


@pytest.fixture(params=[name for name in NAMES if name not in PAIRS])
def module(request):
    return registry.find("datasets", request.param)


@pytest.fixture(params=PAIRS)
def pair_module(request):
    return registry.find("datasets", request.param)


def load(module, folder: Path) -> list[SoundSet | ImageSet]:
    if module.INFO.kind == "image":
        return [module.load(folder, train=True), module.load(folder, train=False)]
    return [module.load(folder)]


def test_the_sets_of_the_papers_are_known():
    assert {"mnist", "fsdd", "speech_commands"} <= set(NAMES)
    assert {"beach_frames", "scenes"} <= set(PAIRS)


def test_pairs_have_papers_and_no_classes(pair_module):
    info = pair_module.INFO
    assert info.name == pair_module.__name__.rpartition(".")[2]
    assert info.title
    assert info.licence
    assert info.classes == ()
    assert info.files == ()


@pytest.mark.parametrize("exists", [False, True])
def test_pairs_that_are_absent_are_one_line(pair_module, tmp_path, exists):
    folder = tmp_path / "nothing"
    if exists:
        folder.mkdir()
    for use in (pair_module.load, pair_module.check):
        with pytest.raises(DatasetError) as caught:
            use(folder)
        assert str(folder) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_its_papers_are_in_order(module):
    info = module.INFO
    assert isinstance(info, DatasetInfo)
    assert info.name == module.__name__.rpartition(".")[2], "the registry's name is the folder's and the messages'"
    assert info.kind in ("sound", "image")
    for text in (info.title, info.licence, info.attribution):
        assert text.strip() == text
        assert text
    assert urlsplit(info.homepage).scheme in ("http", "https")
    assert len(info.classes) == len(set(info.classes)) > 1


def test_its_downloads_are_named_safely_and_checked(module):
    assert module.INFO.files
    for file in module.INFO.files:
        path = PurePosixPath(file.path)
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert urlsplit(file.urls[0]).scheme == "https", "the first mirror is a safe one"
        for checksum, digits in ((file.sha256, 64), (file.md5, 32), (file.content_md5, 32)):
            assert checksum is None or re.fullmatch(rf"[0-9a-f]{{{digits}}}", checksum)
        # Without a checksum the connection itself must be safe, and the format must show damage.
        if not file.has_checksum:
            assert all(urlsplit(url).scheme == "https" for url in file.urls)
            assert file.path.endswith(".gz")


@pytest.mark.parametrize("exists", [False, True])
def test_its_absence_is_one_line_that_says_what_to_do(module, tmp_path, exists):
    folder = tmp_path / "nothing"
    if exists:
        folder.mkdir()
    for use in (lambda: load(module, folder), lambda: module.check(folder)):
        with pytest.raises(DatasetError) as caught:
            use()
        message = str(caught.value)
        assert str(folder) in message
        assert f"soundsight datasets prepare {module.INFO.name}" in message
        assert "\n" not in message


@pytest.fixture
def folder(module, data_root, tmp_path) -> Path:
    """The real data; where they are not to be had here, a small folder of the same layout."""
    name = module.INFO.name
    if (data_root / name).is_dir():
        return data_root / name
    if name not in SAMPLES:
        pytest.skip(f"{name} is neither in {data_root} nor among the samples of sample_data.py")
    SAMPLES[name](tmp_path)
    return tmp_path


def test_items_are_read_in_the_same_order_each_time(module, folder):
    for first, again in zip(load(module, folder), load(module, folder), strict=True):
        assert len(first) > 0
        assert first.labels.dtype == np.int64
        assert set(first.labels) == set(range(len(module.INFO.classes))), "every class is there"
        np.testing.assert_array_equal(first.labels, again.labels)
        if isinstance(first, SoundSet) and isinstance(again, SoundSet):
            assert first.paths == again.paths
            assert len(set(first.paths)) == len(first)
        elif isinstance(first, ImageSet) and isinstance(again, ImageSet):
            assert first.images_NCHW.dtype == np.uint8
            assert first.images_NCHW.shape[1] in (1, 3)
            assert first.images_NCHW.flags.c_contiguous, "a layout in memory that sums in the same order everywhere"
            np.testing.assert_array_equal(first.images_NCHW, again.images_NCHW)


def test_data_pass_their_check_without_duplicates(module, folder):
    report = module.check(folder)
    assert isinstance(report, Report)
    assert report.ok, (report.problems, report.corrupt[:3], report.missing[:3])
    assert sum(report.classes.values()) == report.num_items > 0
    assert report.duplicates == (), "a recording that is there twice could be on both sides of a split"
