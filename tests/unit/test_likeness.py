"""Pictures of pairs beside the real ones: baselines are what they say they are, and a model is held against them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from onnx_models import alignment_bytes, alignment_matrices, describe, judge_matrices, write_judge
from soundsight.cli import main
from soundsight.config import parse_recipe
from soundsight.datasets import pairs as folder_of_pairs
from soundsight.datasets.pair_splits import split_pairs
from soundsight.errors import DatasetError, ModelError, SoundsightError, UnknownNameError
from soundsight.evaluation import files
from soundsight.evaluation.comparisons import by_alignment, by_picture
from soundsight.evaluation.evaluator import baselines, evaluate, is_pairs
from soundsight.evaluation.published import published
from soundsight.evaluation.report import Baseline, Score
from soundsight.evaluation.text import lines
from soundsight.features import mfcc
from soundsight.folder import ImageShape, write_folder
from soundsight.metrics import fidelity
from soundsight.metrics.frechet import frechet_distance
from soundsight.metrics.kernel import kernel_distance
from soundsight.metrics.sliced_wasserstein import sliced_wasserstein
from soundsight.models import mfcc_generator
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


def score_of(report, name: str):
    return next(score for score in report.scores if score.name == name)


def beside(report, name: str) -> dict[str, float]:
    return {baseline.name: baseline.value for baseline in score_of(report, name).baselines}


def ceilings(report, name: str) -> set[str]:
    return {baseline.name for baseline in score_of(report, name).baselines if baseline.ceiling}


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
    dark = beside(report, "dark")
    assert abs(dark["uniform noise"]) < 0.005
    assert dark["nearest training frame of the clip"] > 0.02, "what knows where shadows lie is told from noise"
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
        digits = 4 if "accuracy" in score.name else 3
        wanted = {b.name for b in score.baselines if sign * round(b.value, digits) >= sign * round(score.value, digits)}
        assert set(score.reached_by) == wanted


def test_published_numbers_stand_beside_their_frames(data_root, tmp_path):
    for clip in ("beach", "beach2"):
        (tmp_path / "beach_frames" / clip).mkdir(parents=True)
        for i in range(12):
            image = data_root / "beach_frames" / clip / f"beach{i}.png"
            (tmp_path / "beach_frames" / clip / image.name).write_bytes(image.read_bytes())
    data_root = tmp_path  # few of them: all take minutes at their size
    report = baselines("beach_frames", split="random", data=data_root)
    papers = {score.name: score.published.value for score in report.scores if score.published}
    assert papers == {"published_ssim": 0.463, "published_loss": 4.691, "hss": 0.999}
    assert "published: 0.463" in "\n".join(lines(report))
    assert "frame of the nearest training sound" not in beside(report, "mse"), "these frames have no sounds"
    for split, size in (("block", 32), ("random", 32)):
        other = baselines("beach_frames", split=split, data=data_root, image_size=size)
        assert not any(score.published for score in other.scores), "measured with another split and size"


@pytest.mark.parametrize(
    ("pairs", "changed", "is_theirs"),
    [
        ("scenes:BEACH", {}, True),
        ("scenes", {}, False),
        ("scenes:BEACH,CITY", {}, False),
        ("scenes:BEACH", {"image_size": 64}, False),
        ("scenes:BEACH", {"decoder": "upsampling"}, False),
        ("scenes:BEACH", {"losses": {"l1": 1.0, "ms_ssim": 0.5}}, False),
        ("scenes:BEACH", {"normalise": True}, False),
    ],
)
def test_a_published_number_is_of_the_published_system_and_data(pairs, changed, is_theirs):
    options = mfcc_generator.Config().model_dump(mode="json") | changed
    found = published("mfcc_generator", options, pairs, None, "random", "published_ssim")
    assert (found is not None) == is_theirs


def test_of_pairs_alone_the_nearest_sound_is_told_by_its_mfccs(folder):
    """The pitch rises with time: nearest to the last seconds of each clip is the last one that trains."""
    report = baselines(str(folder), split="block", image_size=SIDE)
    found = beside(report, "mse")
    assert found["frame of the nearest training sound"] == found["nearest training frame of the clip"]
    assert any("MFCCs" in note for note in report.notes)


def test_one_equal_picture_lifts_no_score_over_all_others():
    """A film holds black frames: noise that has one is no better than the mean picture."""
    rng = np.random.default_rng(0)
    real = rng.integers(0, 256, (1, 3, SIDE, SIDE)) // 2 + rng.integers(0, 40, (40, 3, SIDE, SIDE))
    real[0] = 0
    noise = rng.integers(0, 256, real.shape)
    noise[0] = 0
    compare = by_picture(real.astype(np.uint8)).compute
    mean = np.broadcast_to(np.rint(real.mean(axis=0)), real.shape)
    found = {name: compare(images.astype(np.uint8)) for name, images in (("noise", noise), ("mean", mean))}
    assert found["noise"]["psnr"] < found["mean"]["psnr"]
    assert found["mean"]["psnr"] == pytest.approx(-10 * np.log10(found["mean"]["mse"]))
    assert compare(real.astype(np.uint8))["psnr"] == np.inf


def test_what_prints_the_same_is_reached():
    score = Score("ssim", "SSIM", 0.80049, baselines=(Baseline("mean picture", 0.80031), Baseline("noise", 0.7994)))
    assert score.reached_by == ("mean picture",)
    share = Score("accuracy", "Accuracy", 0.80049, baselines=(Baseline("a", 0.80031), Baseline("b", 0.800491)))
    assert share.reached_by == ("b",)
    assert Score("mse", "Error", 0.5, baselines=(Baseline("none", float("nan")),)).reached_by == ()


def real(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Training and test pictures of the block split, uint8."""
    found = folder_of_pairs.load(folder)
    split = split_pairs(found, "block", seed=0)
    return found.load_images(split.train, SIDE), found.load_images(split.test, SIDE)


def test_sets_are_compared_by_patches_beside_real_training_frames(folder, model):
    report = evaluate(model, num_samples=0, seed=3)
    score = score_of(report, "sliced_wasserstein")
    train_images, test_images = real(folder)

    def distance(images: np.ndarray) -> float:
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([3, 5])))
        return 1000 * float(sliced_wasserstein(images, test_images, rng).mean())

    mean = np.rint(train_images.mean(axis=0)).astype(np.uint8)
    values = beside(report, "sliced_wasserstein")
    assert values["mean picture"] == pytest.approx(distance(np.broadcast_to(mean, test_images.shape)))
    # Twelve frames train and four test: the first, the last and two between them, evenly.
    assert values["real training frames"] == pytest.approx(distance(train_images[[0, 4, 7, 11]]))
    assert (score.lower_is_better, score.table) == (True, "set")
    assert ceilings(report, "sliced_wasserstein") == {"real training frames"}
    assert "real training frames" not in score.reached_by
    assert values["real training frames"] < values["uniform noise"]
    assert "real training frames" not in beside(report, "ssim")
    assert "real training frames" in "\n".join(lines(report))


@pytest.mark.parametrize("side", [SIDE, SIDE // 2])
def test_sets_are_compared_in_the_features_of_a_judge(side, folder, tmp_path):
    """A judge of smaller pictures sees the means of squares."""
    judge = write_judge(tmp_path / "judge", (3, side, side))
    report = baselines(str(folder), image_size=SIDE, judge=judge)
    train_images, test_images = real(folder)

    def seen(images: np.ndarray) -> np.ndarray:
        step = SIDE // side
        small = np.mean([images[:, :, i::step, j::step] for i in range(step) for j in range(step)], axis=0)
        return np.rint(small).reshape(len(images), -1) / 255 @ judge_matrices((3, side, side))[1].astype(np.float64)

    noise = np.random.Generator(np.random.Philox(np.random.SeedSequence([0, 4]))).integers(
        0, 256, test_images.shape, dtype=np.uint8
    )
    for name, distance in (("frechet", frechet_distance), ("kernel", kernel_distance)):
        values = beside(report, name)
        assert values["uniform noise"] == pytest.approx(distance(seen(noise), seen(test_images)), rel=1e-4)
        floor = distance(seen(train_images[[0, 4, 7, 11]]), seen(test_images))
        assert values["real training frames"] == pytest.approx(floor, rel=1e-4)
        assert ceilings(report, name) == {"real training frames"}
        assert score_of(report, name).title.endswith("in the features of judge")
    assert report.judge["name"] == "judge"
    assert ("Judge", ["judge", f"model.onnx, SHA-256 {report.judge['model.onnx']}"]) in report.facts()
    assert f"--judge {judge}" in report.command


def test_without_a_judge_there_are_no_features_to_compare(model):
    report = evaluate(model, num_samples=0)
    assert not {"frechet", "kernel", "alignment"} & {score.name for score in report.scores}
    assert (report.judge, report.alignment) == ({}, {})


def test_a_network_of_other_pictures_is_refused(folder, data_root, tmp_path):
    for side in (SIDE + 1, 2 * SIDE):
        judge = write_judge(tmp_path / f"judge{side}", (3, side, side))
        with pytest.raises(ModelError, match=rf"reads pictures of \(3, {side}, {side}\), these are \(3, 16, 16\)"):
            baselines(str(folder), image_size=SIDE, judge=judge)
    with pytest.raises(ModelError, match="reads pictures of"):
        baselines(str(folder), image_size=SIDE, judge=write_judge(tmp_path / "grey", (1, SIDE, SIDE)))
    with pytest.raises(UnknownNameError, match="no judge 'nobody'"):
        baselines(str(folder), image_size=SIDE, judge="nobody")
    with pytest.raises(ModelError, match=rf"sees pictures of \(3, {SIDE}, {SIDE}\), these are \(3, 24, 24\)"):
        baselines(str(folder), image_size=24, alignment=write_alignment(tmp_path / "space"))
    with pytest.raises(DatasetError, match="pictures and no sounds"):
        baselines("beach_frames", image_size=SIDE, alignment=tmp_path / "space", data=data_root)


def write_alignment(path: Path, **training) -> Path:
    """A space of the coefficients of these sounds and of these pictures."""
    described = {"name": "space", "system": "alignment", "latent_size": 0, "kind": "alignment", "labels": None}
    shape = ImageShape(3, SIDE, SIDE)
    space = describe(path, **described, features={"name": "mfcc"}, image=shape, training=training)
    return write_folder(space, {"model.onnx": alignment_bytes((13, 8), (3, SIDE, SIDE))}).path


def test_pairs_are_found_in_a_space_of_sounds_and_pictures(model, folder, tmp_path):
    report = evaluate(model, alignment=write_alignment(tmp_path / "space"), num_samples=0)
    found = folder_of_pairs.load(folder)
    rows = split_pairs(found, "block", seed=0).test
    sounds = mfcc.extract([mfcc.prepare(clip) for clip in found.load_sounds(rows, RATE_HZ)], mfcc.Config())

    def placed(items: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        places = items.reshape(len(items), -1) @ matrix.astype(np.float64)
        return places / np.linalg.norm(places, axis=1, keepdims=True)

    of_sound, of_image = alignment_matrices((13, 8), (3, SIDE, SIDE))
    near = placed(sounds, of_sound) @ placed(found.load_images(rows, SIDE) / 255, of_image).T
    assert beside(report, "alignment")["real frames"] == pytest.approx(float(np.diag(near).mean()), abs=1e-5)
    values = beside(report, "sound_to_picture_accuracy_at_1")
    # One picture for all moments is as near as all others: ties count against it.
    assert (values["mean picture"], values["chance"]) == (0, 0.25)
    assert ceilings(report, "picture_to_sound_accuracy_at_1") == {"real frames"}
    assert -1 <= score_of(report, "alignment").value <= 1
    assert report.alignment["name"] == "space"
    assert "of their own moment" in report.score_note
    assert not any("alignment" in note for note in report.notes)


def test_pairs_are_found_both_ways():
    """Sounds at 0, 40 and 90 degrees; a picture lies at as many as its pixels say."""

    def places(degrees) -> np.ndarray:
        angles = np.deg2rad(np.asarray(degrees, np.float64))
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def at(*degrees: int) -> np.ndarray:
        return np.stack([np.full((3, 4, 4), angle, np.uint8) for angle in degrees])

    comparison = by_alignment("toy", places([0, 40, 90]), lambda images: places(images[:, 0, 0, 0]), at(0, 40, 90))
    # The second sound is nearest to the third picture, the third to the second; the third picture to the second sound.
    found = comparison.compute(at(10, 45, 42))
    assert found["alignment"] == pytest.approx(np.cos(np.deg2rad([10, 5, 48])).mean(), abs=1e-6)
    assert found["sound_to_picture_accuracy_at_1"] == pytest.approx(1 / 3)
    assert found["picture_to_sound_accuracy_at_1"] == pytest.approx(2 / 3)
    assert found["sound_to_picture_accuracy_at_5"] == 1
    assert set(found) == {measure.name for measure in comparison.measures} == set(comparison.beside)
    chance, real_frames = comparison.beside["picture_to_sound_accuracy_at_1"]
    assert (chance.value, real_frames.value) == (pytest.approx(1 / 3), 1)


def test_an_alignment_that_knows_the_test_pairs_is_named(model, folder, tmp_path):
    own = {"data": {"pairs": str(folder), "split": "clip:a"}, "features": {"name": "mfcc"}}
    own["model"] = {"system": "alignment", "by_label": False}
    report = evaluate(model, alignment=write_alignment(tmp_path / "space", recipe=own), num_samples=0)
    # Clip a tests it, and the two test pairs of clip b train it.
    assert "The alignment 'space' has known 2 of the test pairs in its training." in report.notes


def test_the_command_line_names_both_networks(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    judge = write_judge(tmp_path / "judge", (3, SIDE, SIDE))
    assert main(["evaluate", str(folder), "--judge", str(judge), "--alignment", "none", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert {"sliced_wasserstein", "frechet", "kernel"} <= set(scores)
    assert "alignment" not in scores
    space = str(write_alignment(tmp_path / "space"))
    assert main(["evaluate", str(folder), "--alignment", space, "--size", "24"]) == 2
    assert "these are (3, 24, 24)" in capsys.readouterr().err


def test_pairs_are_compared_at_the_size_that_is_asked_for(folder, model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", str(folder), "--size", "24", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert "Pictures are compared at 24 by 24 pixels." in report["notes"]
    assert report["command"].endswith("--size 24")
    wanted = baselines(str(folder), image_size=24)
    assert report["scores"]["ssim"]["baselines"][0]["value"] == beside(wanted, "ssim")["mean picture"]
    for args, message in (
        ([str(folder), "--size", "15"], "compared at 16 to 1024 pixels on a side, not 15"),
        ([str(model), "--size", "16"], "leave --size out"),
        (
            [str(folder), "--draws", "2"],
            "without a model: leave --outliers, --noise, --snr, --draws, --max-pairs, --steps, --guidance and --var",
        ),
        ([str(folder), "--outliers", "x"], "without a model"),
    ):
        assert main(["evaluate", *args]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    assert f"Pictures are compared at {SIDE} by {SIDE} pixels." in evaluate(model, num_samples=0).notes


def test_a_test_frame_that_is_a_training_frame_is_told(tmp_path):
    """Its error is 0, and its ratio of signal to noise infinite, which JSON does not have."""
    folder = write_pairs(tmp_path)
    images = sorted(folder.rglob("*.png"))
    for image in images[1:]:
        image.write_bytes(images[0].read_bytes())
    report = baselines(str(folder), image_size=32)
    assert "∞" in "\n".join(lines(report))
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["scores"]


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


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_that_is_none_is_refused(seed, folder):
    with pytest.raises(SoundsightError, match="a seed is a whole number from 0"):
        baselines(str(folder), seed=seed, image_size=SIDE)


def test_a_folder_of_short_clips_is_split_by_clip(folder, tmp_path):
    """Files of one stem are clips of one pair each: no block of time can be cut off them."""
    for second in range(8):
        for suffix in ("wav", "png"):
            (tmp_path / f"{second}.{suffix}").write_bytes((folder / "a" / f"{second}.{suffix}").read_bytes())
    assert baselines(str(tmp_path), image_size=SIDE).split == "clip"
    assert baselines(str(folder), image_size=SIDE).split == "block"
    with pytest.raises(DatasetError, match="the longest has 1"):
        baselines(str(tmp_path), split="block", image_size=SIDE)


def test_what_is_meant_by_a_name(folder, model):
    assert is_pairs("beach_frames")
    assert is_pairs(str(folder))
    assert not is_pairs("mnist")
    assert not is_pairs("digits")
    assert not is_pairs(str(model))
    assert not is_pairs(str(model.parent)), "pictures of samples lie below, and no sounds"
    with pytest.raises(UnknownNameError, match="no clip 'c'; known: a, b"):
        baselines(str(folder), split="clip:c", image_size=SIDE)
