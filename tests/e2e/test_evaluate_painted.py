"""``soundsight evaluate ADAPTER --backbone --judge`` as a user calls it, with a judge that was trained; mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_backbones
from painted_set import JOINED, train, write_cifar10, write_data
from soundsight.cli import main

Run = Callable[..., tuple[int, list[str], list[str]]]


@pytest.fixture(scope="module")
def places(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("painted")
    backbone = tiny_backbones.write(folder / "sd3", "sd3", sample_size=16)
    root = write_cifar10(write_data(folder / "data"), data_root, every=100)
    with tiny_backbones.quiet():
        adapter = train(folder / "adapter", root, backbone)
    joined = ", ".join(
        f"{name} = {{ sounds = {json.dumps(sounds)}, images = {json.dumps(images)} }}"
        for name, (sounds, images) in JOINED.items()
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOUNDSIGHT_DATA", str(root))
        small = ["data.classes={" + joined + "}", "train.epochs=2", "train.batch_size=16", "train.precision=fp32"]
        changes = [word for change in small for word in ("--set", change)]
        assert main(["train", "resnet-cifar10", "--out", str(folder / "judge"), *changes]) == 0
    return {"root": str(root), "backbone": str(backbone), "adapter": str(adapter), "judge": str(folder / "judge")}


@pytest.fixture
def run(
    places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """The command in an empty folder: exit code, lines on stdout, lines on stderr."""
    monkeypatch.setenv("SOUNDSIGHT_DATA", places["root"])
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, list[str], list[str]]:
        capsys.readouterr()
        code = main(["evaluate", *arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out.splitlines(), err.splitlines()

    return call


def whole(places: dict[str, str]) -> list[str]:
    return [places["adapter"], "--backbone", places["backbone"], "--judge", places["judge"], "--steps", "2"]


def test_a_report(run: Run, places: dict[str, str], tmp_path: Path) -> None:
    code, out, err = run(*whole(places), "--guidance", "2", "--samples", "2", "--out", "report")
    assert (code, err) == (0, [])
    assert out[0] == "tiny: evaluation"
    assert "tiny + sd3: pictures" in out
    (accuracy,) = [line for line in out if line.startswith("Accuracy: pictures that are read as what was heard")]
    assert "%" in accuracy
    for row in ("chance: 20.00 %", "mean target, no sound heard", "prompt of the sound's class", "real images"):
        assert any(line.strip().startswith(row) for line in out), row
    assert any(line.startswith("  crow, to be read as bird: ") and " of 4; of its own prompt " in line for line in out)
    assert out[-1] == f"report: {Path('report', 'report.html')}"
    assert sorted(path.name for path in Path("report").iterdir()) == ["report.html", "report.json", "samples.png"]
    page = Path("report", "report.html").read_text()
    assert "tiny + sd3: evaluation" in page
    assert "transformer/diffusion_pytorch_model.safetensors, SHA-256" in page
    report = json.loads(Path("report", "report.json").read_text())
    assert report["kind"] == "adapter"
    assert report["parts"]["pooled"]["retrieval"]["1"] >= 0
    pictures = report["pictures"]
    assert pictures["scores"]["accuracy"]["value"] == pytest.approx(float(accuracy.split()[9]) / 100, abs=1e-4)
    assert (pictures["num_pictures"], pictures["backbone"]["steps"], pictures["backbone"]["guidance"]) == (20, 2, 2.0)
    # What the report says it was made by makes it again.
    words = pictures["command"].split()
    assert words[:2] == ["soundsight", "evaluate"]
    code, out, _ = run(*words[2:], "--json")
    assert code == 0
    again = json.loads("\n".join(out))
    for each in (again, report):
        del each["pictures"]["seconds"], each["pictures"]["command"]
    assert again == report
    assert Path("reports", "tiny-fold-3", "report.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--judge", "JUDGE"], "paints nothing itself: add --backbone"),
        (["--steps", "4"], "or leave --steps out"),
        (["--draws", "2"], "or leave --draws out"),
        (["--backbone", "BACKBONE"], "nothing reads the pictures: add --judge"),
        (["--backbone", "BACKBONE", "--judge", "alignment"], "choose a judge"),
        (["--backbone", "none", "--judge", "JUDGE"], "no such folder, nor a name on the hub"),
        (["--backbone", "BACKBONE", "--judge", "JUDGE", "--precision", "fp16"], "precision fp16 needs a GPU"),
        (["--backbone", "BACKBONE", "--judge", "JUDGE", "--guidance", "nan"], "guidance is nan"),
        (["--backbone", "BACKBONE", "--judge", "JUDGE", "--samples", "1000"], "the number of samples is 0 to 100"),
        (["--backbone", "BACKBONE", "--judge", "JUDGE", "--seed", "-1"], "a seed is a whole number"),
        (["--noise", "x"], "leave --outliers, --noise, --snr, --max-pairs, --variation and --alignment out"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], message: str, run: Run, places: dict[str, str], tmp_path: Path
) -> None:
    named = {"JUDGE": places["judge"], "BACKBONE": places["backbone"]}
    code, out, err = run(places["adapter"], *(named.get(word, word) for word in arguments))
    assert (code, out, len(err)) == (2, [], 1), err
    assert message in err[0]
    assert list(tmp_path.iterdir()) == []


def test_training_tells_what_of_its_prompts_is_not_read(
    places: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Path(places["adapter"], "recipe.json")
    long = "targets.template=an image of {label} " + "dog " * 75
    for options in (["--dry-run"], ["--out", str(tmp_path / "out"), "--set", "train.epochs=1"]):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SOUNDSIGHT_DATA", places["root"])
            assert main(["train", str(recipe), "--set", long, *options]) == 0
        lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
        assert len(lines) == 1
        assert lines[0].startswith("soundsight: warning: 6 of 6 prompts are too long; 'an image of chirping birds dog")
        assert "is read by clip_l and clip_g (77 tokens) without 'dog" in lines[0]


def test_a_model_that_paints_by_itself_takes_no_backbone(run: Run, places: dict[str, str]) -> None:
    code, _, err = run("digits", "--backbone", places["backbone"])
    assert (code, len(err)) == (2, 1)
    assert "'digits' is no adapter" in err[0]
    assert "leave --backbone out" in err[0]
