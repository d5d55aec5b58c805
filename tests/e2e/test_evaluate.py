"""``soundsight evaluate`` on real data: its numbers against scikit-learn and plain NumPy, its files, its messages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from fitted_models import LATENT, SHARPNESS, mean_images, ridge, write_models
from onnx_models import write_generator
from soundsight import noise
from soundsight.cli import main
from soundsight.datasets import fsdd, mnist
from soundsight.datasets.pairing import many_to_one
from soundsight.datasets.splits import make_split
from soundsight.evaluation import evaluator
from soundsight.features import logmel
from soundsight.folder import read_folder, write_folder
from training_sets import small_root


@pytest.fixture(scope="module")
def models(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Folders of a generator and a judge that are fitted in closed form."""
    generator, judge = write_models(data_root, tmp_path_factory.mktemp("models"))
    return str(generator), str(judge)


@pytest.fixture(scope="module")
def small(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """All recordings and a tenth of the pictures, for what does not depend on their number."""
    root = tmp_path_factory.mktemp("small")
    small_root(root, data_root, num_images=1000, repetitions=range(50))
    return str(root)


@pytest.fixture
def evaluate(data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs the command in an empty folder; returns exit code, stdout, stderr."""
    monkeypatch.setenv("SOUNDSIGHT_DATA", str(data_root))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> tuple[int, str, str]:
        code = main(["evaluate", *args])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def by_hand(root: Path, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, decisions, labels of the nearest recordings, speakers and pictures, computed without our evaluation."""
    sounds, test = fsdd.load(root / "fsdd"), mnist.load(root / "mnist", train=False)
    split = make_split(sounds, "random", seed=0)
    train_x, test_x = (
        logmel.extract(sounds.load(rows, sample_rate_hz=8000), logmel.Config()).reshape(len(rows), -1)
        for rows in (split.train, split.test)
    )
    rng = np.random.Generator(np.random.Philox(seed))
    rows = many_to_one(test.labels, sounds.labels[split.test], rng).sounds
    weights, means = ridge(train_x, sounds.labels[split.train]), mean_images(root)
    logits = SHARPNESS * (test_x @ weights[:-1] + weights[-1])[rows]
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    pattern = np.random.default_rng(0).normal(0, 0.05, (LATENT, 784))
    images = np.clip(shares @ means + noise.draw(seed, len(rows), LATENT) @ pattern, 0, 1)
    images = np.round(images * 255) / 255
    decisions = KNeighborsClassifier(1).fit(means, np.arange(10)).predict(images)
    near = KNeighborsClassifier(1).fit(train_x, sounds.labels[split.train]).predict(test_x)[rows]
    return test.labels, decisions, near, np.array(sounds.speakers)[split.test][rows], images


def test_the_numbers_are_those_of_an_independent_computation(evaluate, models, data_root: Path) -> None:
    generator, judge = models
    code, out, _ = evaluate(generator, "--judge", judge, "--seed", "3", "--json")
    assert code == 0
    report = json.loads(out)
    labels, decisions, near, speakers, images = by_hand(data_root, seed=3)
    right = labels == decisions
    assert report["num_pictures"] == 10_000
    assert report["num_recordings"] == 200
    # A picture between two mean images may be read either way.
    assert report["scores"]["accuracy"]["value"] == pytest.approx(right.mean(), abs=5e-4)
    assert np.abs(np.array(report["confusion"]) - confusion_matrix(labels, decisions)).sum() <= 10
    for group in report["by_speaker"]:
        assert group["accuracy"] == pytest.approx(right[speakers == group["name"]].mean(), abs=2e-3)
    for i, group in enumerate(report["by_label"]):
        assert group["num_pictures"] == (labels == i).sum()
        assert group["accuracy"] == pytest.approx(right[labels == i].mean(), abs=2e-3)
    baselines = {b["name"]: b["value"] for b in report["scores"]["accuracy"]["baselines"]}
    assert baselines["chance"] == 0.1
    test = mnist.load(data_root / "mnist", train=False)
    centroid = KNeighborsClassifier(1).fit(mean_images(data_root), np.arange(10))
    assert baselines["real images"] == pytest.approx(
        (centroid.predict(test.images_NCHW.reshape(-1, 784) / 255) == test.labels).mean(), abs=1e-3
    )
    # Right recordings are shown as real images, of which the judge reads so many.
    assert baselines["nearest recording"] == pytest.approx((near == labels).mean() * baselines["real images"], abs=0.02)
    constant = centroid.predict(
        mnist.load(data_root / "mnist", train=True).images_NCHW.reshape(-1, 784).mean(0)[None] / 255
    )
    assert baselines["constant picture"] == pytest.approx((labels == constant).mean())
    spread = {b["name"]: b["value"] for b in report["scores"]["diversity"]["baselines"]}
    assert spread["constant picture"] == 0
    assert spread["real images"] == 1
    assert spread["nearest recording"] == pytest.approx(1, abs=0.1)
    compared_with_real_images(report, images, test.images_NCHW.reshape(-1, 784) / 255)


def compared_with_real_images(report: dict[str, Any], images: np.ndarray, real: np.ndarray) -> None:
    """The judge's features are the pixels: the pictures as a set, by scikit-learn and by eigenvalues."""
    scores = report["scores"]
    covariances = np.cov(images.T), np.cov(real.T)
    shared = np.sqrt(np.clip(np.linalg.eigvals(covariances[0] @ covariances[1]).real, 0, None)).sum()
    frechet = np.square(images.mean(0) - real.mean(0)).sum() + np.trace(sum(covariances)) - 2 * shared
    assert scores["frechet"]["value"] == pytest.approx(frechet, rel=0.02)
    reach = NearestNeighbors(n_neighbors=6).fit(real).kneighbors(real)[0][:, 5]
    nearest = NearestNeighbors(n_neighbors=1).fit(images).kneighbors(real)[0][:, 0]
    assert scores["coverage"]["value"] == pytest.approx((nearest < reach).mean(), abs=0.005)
    beside = {name: {b["name"]: b["value"] for b in score["baselines"]} for name, score in scores.items()}
    for name in ("frechet", "kernel"):
        assert scores[name]["lower_is_better"]
        assert (
            abs(beside[name]["real training images"]) < 0.1 * scores[name]["value"] < beside[name]["constant picture"]
        )
    for name in ("precision", "recall", "density", "coverage"):
        assert beside[name]["real training images"] > 0.85
        assert "real images" not in beside[name], "what is compared with itself says nothing"
    assert beside["recall"]["constant picture"] == 0


def test_one_seed_gives_one_report(evaluate, models, small: str) -> None:
    generator, judge = models

    def report(seed: str) -> dict[str, Any]:
        code, out, _ = evaluate(generator, "--judge", judge, "--data", small, "--json", "--seed", seed)
        assert code == 0
        return {key: value for key, value in json.loads(out).items() if key not in ("seconds", "date")}

    first, again, other = report("0"), report("0"), report("1")
    assert first == again
    assert other["samples"] != first["samples"]
    assert other["confusion"] != first["confusion"]
    assert other["scores"]["accuracy"]["value"] == pytest.approx(first["scores"]["accuracy"]["value"], abs=0.05)


def test_a_quick_look_takes_some_of_the_pairs_evenly(models, small: str) -> None:
    generator, judge = models
    few = evaluator.evaluate(generator, judge=judge, max_pairs=100, draws=2, data=Path(small))
    assert "--draws 2 --max-pairs 100" in few.command
    whole = evaluator.evaluate(generator, judge=judge, data=Path(small))
    assert (few.num_pictures, whole.num_pictures) == (200, 1000)
    assert len(few.by_label) == 10
    values = [{score.name: score.value for score in report.scores} for report in (few, whole)]
    assert values[0]["accuracy"] == pytest.approx(values[1]["accuracy"], abs=0.15)


def test_controls_are_those_of_generate_and_stand_in_the_command(evaluate, models, small: str) -> None:
    generator, judge = models

    def scores(*more: str) -> dict[str, float]:
        code, out, err = evaluate(generator, "--judge", judge, "--data", small, "--json", *more)
        assert (code, err) == (0, "")
        report = json.loads(out)
        assert " ".join(more) in report["command"]
        return {name: score["value"] for name, score in report["scores"].items()}

    usual, still = scores(), scores("--variation", "0.0")
    assert scores("--variation", "1.0") == usual
    # Without noise one recording is one picture: the sounds alone differ.
    assert still["diversity"] < 0.9 * usual["diversity"]


def test_few_steps_and_many_are_measured_of_the_default_model(data_root: Path, small: str) -> None:
    found = {}
    for steps in (4, 12):
        report = evaluator.evaluate("digits", max_pairs=200, controls={"steps": steps}, data=Path(small))
        assert f"--steps {steps}" in report.command
        found[steps] = {score.name: score.value for score in report.scores}
    usual = evaluator.evaluate("digits", max_pairs=200, data=Path(small))
    assert {score.name: score.value for score in usual.scores} == found[4]
    assert found[12]["frechet"] != found[4]["frechet"]
    assert found[12]["accuracy"] == pytest.approx(found[4]["accuracy"], abs=0.03)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--steps", "0"), "steps"),
        (("--guidance", "nan"), "guidance"),
        (("--variation", "2.5"), "variation"),
        (("--steps", "4"), "has no steps"),
    ],
)
def test_controls_that_do_not_go_are_refused(evaluate, models, small: str, arguments, said: str) -> None:
    code, out, err = evaluate(models[0], "--judge", models[1], "--data", small, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_judge_has_no_controls(evaluate, small: str) -> None:
    code, _, err = evaluate("lenet5", "--data", small, "--variation", "1", "--steps", "3")
    assert code == 2
    assert "leave --steps and --variation out" in err


def test_the_report_is_written_and_shown(evaluate, models, small: str, tmp_path: Path) -> None:
    generator, judge = models
    code, out, err = evaluate(generator, "--judge", judge, "--data", small, "--samples", "3")
    assert (code, err) == (0, "")
    folder = tmp_path / "reports" / "fitted-random"
    assert {path.name for path in folder.iterdir()} == {"report.html", "report.json", "samples.png"}
    report = json.loads((folder / "report.json").read_text())
    for shown in ("published", "94.20 %", "chance", "nearest recording", "real images", "theo"):
        assert shown in out, shown
    assert f"{100 * report['scores']['accuracy']['value']:.2f} %" in out
    assert len(report["samples"]) == 30
    page = (folder / "report.html").read_text()
    assert page.count("<img ") == 30
    assert report["command"] in page
    # The fitted classifier is no better than the nearest recording, and must be marked.
    if report["scores"]["accuracy"]["reached_by"]:
        assert "reached without a model by nearest recording" in out


def test_recordings_that_trained_are_told(evaluate, models, small: str) -> None:
    generator, judge = models
    code, out, _ = evaluate(generator, "--judge", judge, "--data", small, "--split", "speaker:theo", "--out", "theo")
    assert code == 0
    report = json.loads(Path("theo/report.json").read_text())
    sounds = report["num_recordings"]
    assert sounds == 500
    assert 400 < report["num_heard"] < 500
    assert "trained this model" in out
    assert report["scores"]["accuracy"]["published"] is None
    assert [group["name"] for group in report["by_speaker"]] == ["theo"]


def test_pytorch_is_not_needed(models, small: str, tmp_path: Path) -> None:
    generator, judge = models
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxscript', 'safetensors', 'accelerate'): sys.modules[name] = None\n"
        "from soundsight.cli import main\n"
        f"sys.exit(main(['evaluate', {generator!r}, '--judge', {judge!r}, '--json']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"SOUNDSIGHT_DATA": small},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["versions"].keys() >= {"onnxruntime", "numpy", "soundsight"}


@pytest.mark.slow
def test_a_judge_is_tested_on_real_images(evaluate, models, data_root: Path) -> None:
    code, out, _ = evaluate(models[1], "--json")
    assert code == 0
    score = json.loads(out)["scores"]["accuracy"]
    test = mnist.load(data_root / "mnist", train=False)
    centroid = KNeighborsClassifier(1).fit(mean_images(data_root), np.arange(10))
    reference = (centroid.predict(test.images_NCHW.reshape(-1, 784) / 255) == test.labels).mean()
    assert score["value"] == pytest.approx(reference, abs=1e-3)
    # Both are well-known: the share of ones, and the nearest neighbour's 3.09 % error (LeCun et al., 1998).
    baselines = {b["name"]: b["value"] for b in score["baselines"]}
    assert baselines["constant answer"] == 0.1135
    assert baselines["nearest image"] == pytest.approx(0.9691, abs=0.0002)
    assert score["published"]["value"] == 0.987


def test_mistakes_are_one_line_and_leave_nothing(evaluate, models, tmp_path: Path) -> None:
    generator, judge = models
    (tmp_path / "file").touch()
    (tmp_path / "running" / "state").mkdir(parents=True)
    surplus = shutil.copytree(generator, tmp_path / "surplus")
    (surplus / "other.onnx").touch()
    changed = shutil.copytree(generator, tmp_path / "changed")
    (changed / "model.onnx").write_bytes(b"x" + (changed / "model.onnx").read_bytes()[1:])
    foreign = write_generator(tmp_path / "foreign", training={})
    model = read_folder(generator)
    few = replace(model, path=tmp_path / "few", labels=("yes", "no"))
    write_folder(few, {"model.onnx": Path(generator) / "model.onnx"})
    before = sorted(tmp_path.rglob("*"))
    cases = {
        ("nothing",): "no 'nothing' in models",
        (generator, "--judge", judge, "--split", "weekly"): "no split 'weekly'",
        (generator, "--judge", judge, "--split", "speaker:thea"): "no speaker 'thea'; known: jackson",
        (generator, "--judge", judge, "--data", "empty"): "mnist: no train-images",
        (generator, "--judge", "nobody"): "no judge 'nobody'; train one",
        (generator, "--judge", generator): "makes pictures from sounds; choose a judge",
        (judge, "--split", "random"): "leave --split out",
        (judge, "--judge", judge): "is a judge itself, tested on real test images; leave --judge out",
        (generator, "--judge", judge, "--seed", "-1"): "a seed is",
        (generator, "--judge", judge, "--samples", "1000"): "number of samples",
        (generator, "--judge", judge, "--max-pairs", "9"): "number of test pairs is 10 or more, not 9",
        (judge, "--max-pairs", "50"): "leave --outliers, --noise and --max-pairs out",
        (generator, "--judge", judge, "--out", "file/report"): "file/report",
        ("running",): "training is not finished",
        ("surplus",): "other.onnx is not listed",
        ("changed",): "is not the file",
        (str(foreign),): "does not say what the model was trained on",
        ("few", "--judge", judge): "trained on 2 labels, its data have 10",
    }
    for args, message in cases.items():
        code, out, err = evaluate(*args)
        assert (code, out) == (2, ""), args
        assert err.startswith("soundsight: error: "), args
        assert err.count("\n") == 1, err
        assert message in err, (args, err)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_alignment_that_comes_with_the_package_is_tested_on_itself(data_root, tmp_path, capsys):
    """A sound finds pictures of its digit among ten thousand, and a picture its sounds."""
    assert main(["evaluate", "alignment", "--data", str(data_root), "-o", str(tmp_path / "report"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["kind"] == "alignment"
    assert (report["num_recordings"], report["num_pictures"], report["num_heard"]) == (200, 10_000, 0)
    scores = {name: score["value"] for name, score in report["scores"].items()}
    assert scores["picture_to_sound_accuracy_at_1"] > 0.97
    assert scores["sound_to_picture_accuracy_at_5"] > 0.95
    assert all(not score["reached_by"] for score in report["scores"].values())
    assert scores["match"] > 0.7
    page = (tmp_path / "report" / "report.html").read_text()
    assert "200 test recordings and 10,000 real test images" in page
