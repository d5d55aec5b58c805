"""Pictures of pairs beside the real ones: baselines are what they say they are, and a model is held against them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from soundsight.config import parse_recipe
from soundsight.datasets import pairs as folder_of_pairs
from soundsight.datasets.pair_splits import split_pairs
from soundsight.errors import DatasetError, UnknownNameError
from soundsight.evaluation import files
from soundsight.evaluation.evaluator import baselines, evaluate, is_pairs
from soundsight.evaluation.text import lines
from soundsight.metrics import fidelity
from soundsight.training.trainer import train

RATE_HZ = 16_000
SIDE = 16


def write_pairs(folder: Path, seconds: int = 8) -> Path:
    """Two clips whose pictures and tones both rise with time; a square shows which clip it is."""
    rows = ["sound,image,clip,time_s"]
    for clip, hz in (("a", 300), ("b", 1200)):
        (folder / clip).mkdir(parents=True)
        for second in range(seconds):
            time_T = np.arange(RATE_HZ) / RATE_HZ
            soundfile.write(
                folder / clip / f"{second}.wav", 0.3 * np.sin(2 * np.pi * (hz + 60 * second) * time_T), RATE_HZ
            )
            pixels_HWC = np.full((SIDE, SIDE, 3), 25 * second, np.uint8)
            pixels_HWC[2:6, 2:6] = 255 if clip == "a" else 0
            Image.fromarray(pixels_HWC).save(folder / clip / f"{second}.png")
            rows.append(f"{clip}/{second}.wav,{clip}/{second}.png,{clip},{second}")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("scenes") / "pairs")


def beside(report, name: str) -> dict[str, float]:
    score = next(score for score in report.scores if score.name == name)
    return {baseline.name: baseline.value for baseline in score.baselines}


def test_baselines_are_those_of_their_names(folder):
    report = baselines(str(folder), split="block", image_size=SIDE)
    found = folder_of_pairs.load(folder)
    split = split_pairs(found, "block", seed=0)
    images = found.load_images(range(len(found)), SIDE) / 255
    test = images[split.test]

    def error(predicted: np.ndarray) -> float:
        return float(fidelity.mse(predicted, test).mean())

    by_clip = {clip: images[[row for row in split.train if found.clips[row] == clip]].mean(axis=0) for clip in "ab"}
    mse = beside(report, "mse")
    # Means are rounded to 256 levels, as pictures are.
    rounding = 3e-3
    assert mse["mean picture"] == pytest.approx(
        error(np.broadcast_to(images[split.train].mean(axis=0), test.shape)), abs=rounding
    )
    assert mse["mean picture of the clip"] == pytest.approx(
        error(np.stack([by_clip[found.clips[row]] for row in split.test])), abs=rounding
    )
    # The last training second of its clip, row 5 of a and row 13 of b.
    assert split.test.tolist() == [6, 7, 14, 15]
    assert mse["nearest training frame of the clip"] == pytest.approx(error(images[[5, 5, 13, 13]]), abs=1e-9)
    # Row 7 has row 8 beside it, which is of the other clip, and row 5 two rows away.
    assert mse["nearest training frame in the table"] == pytest.approx(error(images[[5, 8, 13, 13]]), abs=1e-9)
    assert mse["uniform noise"] > 2 * mse["nearest training frame of the clip"]


def test_baselines_alone_have_no_scores_of_a_model(folder, tmp_path):
    report = baselines(str(folder), split="block", image_size=SIDE)
    text = "\n".join(lines(report))
    assert "this model" not in text
    assert "nan" not in text
    written = files.write(report, tmp_path / "report")
    page = written[0].read_text(encoding="utf-8")
    assert "this model" not in page
    assert "What was read as what" not in page
    table = json.loads((tmp_path / "report" / "report.json").read_text())
    assert table["scores"]["ssim"]["value"] is None
    assert table["labels"] == []


def test_real_frames_give_the_numbers_that_were_measured_for_them(data_root):
    """As measured independently on these frames: 0.442 for the mean frame, 0.144 for the nearest, HSS of noise."""
    report = baselines("beach_frames", split="block", data=data_root)
    ssim = beside(report, "published_ssim")
    assert ssim["mean picture of the clip"] == pytest.approx(0.442, abs=0.01)
    assert ssim["nearest training frame in the table"] == pytest.approx(0.144, abs=0.01)
    assert beside(report, "hss")["uniform noise"] == pytest.approx(0.9995, abs=0.01)
    assert beside(report, "histogram")["uniform noise"] < beside(report, "histogram")["mean picture of the clip"]
    assert "no leak to be seen" in report.more_notes[0]


@pytest.fixture(scope="module")
def model(folder, tmp_path_factory) -> Path:
    table = {
        "name": "small",
        "features": {"name": "mfcc"},
        "data": {"pairs": str(folder), "split": "block"},
        "model": {
            "system": "mfcc_generator",
            "image_size": SIDE,
            "channels": [16, 8, 8],
            "widths": [32],
            "normalise": True,
            "losses": {"l1": 1.0},
        },
        "train": {"batch_size": 6, "epochs": 60, "precision": "fp32", "optimizer": {"default": {"lr": 2e-3}}},
    }
    return train(parse_recipe(table), tmp_path_factory.mktemp("model") / "small")


def test_a_model_is_measured_on_its_test_pairs_beside_the_baselines(model, folder, tmp_path):
    report = evaluate(model, num_samples=3)
    assert report.num_pictures == 4
    assert report.num_heard == 0
    names = set(beside(report, "mse"))
    assert {"mean picture", "mean picture of the clip", "frame of the nearest training sound", "uniform noise"} <= names
    score = next(score for score in report.scores if score.name == "mse")
    assert "uniform noise" not in score.reached_by
    assert [sample.label for sample in report.samples] == ["real"] * 3 + ["made"] * 3
    assert len({sample.sound for sample in report.samples}) == 3
    files.write(report, tmp_path)
    assert (tmp_path / "samples.png").exists()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "real picture of a, " in page or "real picture of b, " in page


def test_what_a_baseline_reaches_is_marked(model):
    report = evaluate(model, num_samples=0)
    text = list(lines(report))
    for score in report.scores:
        marked = any(line.startswith(score.title) and line.endswith(" *") for line in text)
        assert marked == bool(score.reached_by), score.name
        sign = -1 if score.lower_is_better else 1
        wanted = {b.name for b in score.baselines if sign * b.value >= sign * score.value}
        assert set(score.reached_by) == wanted


def test_published_numbers_stand_beside_their_frames(data_root):
    """The mean frame of a clip, which hears nothing, has a better SSIM and a lower loss than was published."""
    report = baselines("beach_frames", split="random", data=data_root, image_size=64)
    papers = {score.name: score.published.value for score in report.scores if score.published}
    assert papers == {"published_ssim": 0.463, "published_loss": 4.691, "hss": 0.999}
    assert "published: 0.463" in "\n".join(lines(report))
    block = baselines("beach_frames", split="block", data=data_root, image_size=32)
    assert not any(score.published for score in block.scores), "measured with another split"


def test_training_pairs_are_no_test(model):
    report = evaluate(model, split="random", num_samples=0)
    assert report.num_heard > 0
    assert "are no test of it" in report.notes[0]


def test_other_pairs_are_refused(model, folder):
    table = folder / "pairs.csv"
    before = table.read_text()
    try:
        table.write_text("\n".join(before.splitlines()[:-2]) + "\n")
        with pytest.raises(DatasetError, match="was trained on other data"):
            evaluate(model)
    finally:
        table.write_text(before)


def test_what_is_meant_by_a_name(folder, model):
    assert is_pairs("beach_frames")
    assert is_pairs(str(folder))
    assert not is_pairs("mnist")
    assert not is_pairs("digits")
    assert not is_pairs(str(model))
    assert not is_pairs(str(model.parent)), "pictures of samples lie below, and no sounds"
    with pytest.raises(UnknownNameError, match="no clip 'c'; known: a, b"):
        baselines(str(folder), split="clip:c", image_size=SIDE)
