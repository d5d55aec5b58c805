"""``soundsight reproduce`` as a user calls it: small, interrupted, repeated, asked for the impossible."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from soundsight.cli import main
from training_sets import small_root

TIMEOUT_S = 300
SMALL = ["--only", "table5", "--only", "figure7", "--only", "figure8", "--alpha", "0.2", "--pairing", "one-to-one"]


@pytest.fixture(scope="module")
def place(data_root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reproduce")
    small_root(folder / "data", data_root, num_images=200, repetitions=range(20))
    return folder


def environment(place: Path) -> dict[str, str]:
    return os.environ | {"SOUNDSIGHT_DATA": str(place / "data"), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "soundsight", "reproduce", "aivae-2021", "--quick", *args]


def run(place: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*args), cwd=place, env=environment(place), capture_output=True, text=True, timeout=TIMEOUT_S
    )


def report(place: Path, out: str) -> dict:
    return json.loads((place / out / "report.json").read_text())


@pytest.fixture(scope="module")
def whole(place) -> Path:
    result = run(place, *SMALL, "--out", "whole")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "report: whole/report.html\n"
    return place / "whole"


@pytest.mark.slow
def test_a_row_of_table_5_with_its_figures(place, whole):
    found = report(place, "whole")
    (row,) = found["tables"]["table5"]
    assert (row["title"], row["split"], row["scores"]["accuracy"]["num_runs"]) == ("AIVAEGAN α = 0.2", "random", 1)
    assert {"chance", "constant picture", "nearest recording", "archetype", "real images"} == set(
        row["baselines"]["accuracy"]
    )
    assert row["published_elsewhere"]["value"] == 0.669
    assert [run["name"] for run in found["runs"]] == [
        "archetype-one-to-one-random-s0",
        "aivae-one-to-one-random-s0",
        "aivaegan-alpha-0.2-one-to-one-random-s0",
    ]
    curve = found["figure8"]["aivaegan-alpha-0.2-one-to-one-random-s0"]
    assert curve["num_zeroed"] == [0, 32, 64]
    assert curve["num_draws"] == 20
    # With all elements at 0 every recording gives one picture, and the judge one answer, as often right as it occurs.
    assert curve["low"][-1] == curve["high"][-1]
    assert sorted(p.name for p in (whole / "figures").iterdir()) == [
        "figure7-aivaegan-alpha-0.2-one-to-one-random-s0.png",
        "figure8-one-to-one.png",
    ]
    assert found["command"] == (
        "soundsight reproduce aivae-2021 --out whole --only table5 --only figure7 --only figure8 --alpha 0.2 "
        "--pairing one-to-one --quick"
    )


@pytest.mark.slow
def test_what_is_finished_is_read(place, whole):
    before = {path: path.stat().st_mtime_ns for path in (whole / "models").rglob("*") if path.is_file()}
    numbers = report(place, "whole")
    result = run(place, *SMALL, "--out", "whole", "--finished-only")
    assert result.returncode == 0, result.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    again = report(place, "whole")
    assert again.pop("command") == f"{numbers.pop('command')} --finished-only"
    del again["date"], numbers["date"]
    assert again == numbers


@pytest.mark.slow
def test_interrupted_it_goes_on_and_ends_with_the_same_numbers(place, whole):
    state = place / "cut" / "models" / "aivaegan-alpha-0.2-one-to-one-random-s0" / "state" / "state.safetensors"
    with subprocess.Popen(
        command(*SMALL, "--out", "cut"), cwd=place, env=environment(place), stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + TIMEOUT_S
        while not state.exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130, err
    assert "interrupted; the same command goes on" in err
    assert "Traceback" not in err
    partly = run(place, *SMALL, "--out", "cut", "--finished-only")
    assert partly.returncode == 0, partly.stderr
    assert report(place, "cut")["missing"] == ["aivaegan-alpha-0.2-one-to-one-random-s0"]
    assert "1 trainings are not finished" in (place / "cut" / "report.html").read_text()
    assert run(place, *SMALL, "--out", "cut").returncode == 0
    assert report(place, "cut")["tables"] == report(place, "whole")["tables"]


@pytest.mark.slow
def test_runs_of_an_earlier_report_are_not_trained_again(place, whole):
    result = run(place, *SMALL, "--out", "other", "--earlier", "whole/report.json")
    assert result.returncode == 0, result.stderr
    assert not (place / "other" / "models").exists()
    ours, theirs = report(place, "other"), report(place, "whole")
    for key in ("tables", "runs", "figure8", "missing", "recipes", "claim"):
        assert ours[key] == theirs[key], key
    assert ours["earlier"] == [entry["name"] for entry in theirs["runs"]]
    assert ours["command"].endswith("--quick --earlier whole/report.json")
    # Curves are numbers, and drawn again; pictures are taken from beside the report.
    sheet = "figure7-aivaegan-alpha-0.2-one-to-one-random-s0"
    assert sorted(path.stem for path in (place / "other" / "figures").iterdir()) == [sheet, "figure8-one-to-one"]
    both = [(place / out / "figures" / f"{sheet}.png").read_bytes() for out in ("whole", "other")]
    assert both[0] == both[1]
    assert ours["figures"] == theirs["figures"]
    assert "3 runs are read from an earlier report" in (place / "other" / "report.html").read_text()
    # A report made of reports says as much as the first.
    assert run(place, *SMALL, "--out", "third", "--earlier", "other/report.json").returncode == 0
    assert report(place, "third")["tables"] == theirs["tables"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "args", "message"),
    [
        ({}, ["--set", "train.batch_size=64"], "was trained with another 'train.batch_size'"),
        ({"quick": False}, [], "has quick False, not True"),
        ({"evaluation": 1}, [], "has evaluation 1, not 2"),
        ({"format_version": 99}, [], "has format_version 99, not 1"),
        ({"paper": "another"}, [], "no report of 'aivae-2021'"),
        ({"recipes": {}}, [], "does not say how archetype-one-to-one-random-s0 was trained"),
        ({"runs": [{"name": "archetype-one-to-one-random-s0"}]}, [], "is damaged"),
        ({"figure8": 3}, [], "is damaged"),
        ({"date": "\ud800"}, [], "is damaged"),
        ({"figures": [3]}, [], "is damaged"),
        ({"runs": "strange scores"}, [], "is damaged"),
        ({"runs": "strange training"}, [], "is damaged"),
        ({"runs": "endless training"}, [], "is damaged"),
        ({"figures": "no picture"}, [], "is damaged: ValueError('figure7-aivaegan-alpha-0.2-one-to-one-random-s0.png"),
    ],
)
def test_an_earlier_report_of_something_else_is_one_line(place, whole, tmp_path, change, args, message):
    table = json.loads((whole / "report.json").read_text())
    if (runs := change.get("runs")) == "strange scores":
        table["runs"][2]["scores"]["accuracy"] = 7.3
    elif runs == "strange training":
        table["runs"][2]["training"]["steps"] = "many"
    elif runs == "endless training":
        table["runs"][2]["training"]["steps"] = float("inf")
    elif "figures" in change and isinstance(change["figures"], str):
        (tmp_path / "figures").mkdir()
        (tmp_path / "figures" / f"{table['figures'][0]['name']}.png").write_text("hello")
    else:
        table |= change
    (tmp_path / "report.json").write_text(json.dumps(table))
    result = run(place, *SMALL, "--out", str(tmp_path / "out"), "--earlier", str(tmp_path / "report.json"), *args)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture
def inside(place, monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("SOUNDSIGHT_DATA", str(place / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["aivae-2022"], "'aivae-2022' is not"),
        (["aivae-2021", "--only", "table9"], "no 'table9' in the tables and figures"),
        (["aivae-2021", "--alpha", "-1"], "expected a number from 0 up, not -1"),
        (["aivae-2021", "--alpha", "much"], "--alpha"),
        (["aivae-2021", "--seeds", "0"], "the number of seeds is 1 to 100"),
        (["aivae-2021", "--pairing", "none"], "no 'none' in pairings"),
        (["aivae-2021", "--set", "model.depth=1"], "unknown key 'model.depth'"),
        (["aivae-2021", "--set", "model.latent_size=0"], "recipe key 'model.latent_size': "),
        (["aivae-2021", "--set", "model.latent_size=100000000000"], "recipe key 'model.latent_size': "),
        (["aivae-2021", "--quick", "--seeds", "2"], "a quick look has one seed, not 2"),
        (["aivae-2021", "--only", "table4", "--alpha", "1"], "α is AIVAEGAN's, and table4 is without it"),
        (["aivae-2021", "--set", "nonsense"], "--set takes key.key=value"),
        (["aivae-2021", "--data", "nowhere"], "fsdd: no recordings in nowhere/fsdd"),
        (["aivae-2021", "--out", "taken"], "taken holds other files"),
        (["aivae-2021", "--out", "taken/file"], "cannot be written"),
        (["aivae-2021", "--earlier", "nowhere.json"], "nowhere.json cannot be read"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing_behind(inside, capsys, args, message):
    (inside / "taken").mkdir()
    (inside / "taken" / "file").write_text("mine")
    before = sorted(path.as_posix() for path in inside.rglob("*"))
    assert main(["reproduce", *args]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("soundsight: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert sorted(path.as_posix() for path in inside.rglob("*")) == before


@pytest.mark.parametrize(
    ("is_kept", "args", "message"),
    [
        (lambda digit, _: digit != "0", ["--quick"], "nothing of class 0; every class is needed"),
        (lambda digit, _: digit != "3", ["--only", "table4"], "nothing of class 3"),
        (lambda digit, who: digit != "3" or who == "theo", [], "'speaker:jackson' leaves the test part without"),
        (lambda *_: True, ["--pairing", "one-to-one-scd"], "speech_commands"),
    ],
    ids=["a digit", "a digit for a table", "a digit of all but one", "another set"],
)
def test_data_that_cannot_do_are_told_before_anything_is_trained(
    place, inside, monkeypatch, capsys, is_kept, args, message
):
    link_data(place, inside, is_kept)
    monkeypatch.setenv("SOUNDSIGHT_DATA", str(inside / "data"))
    assert main(["reproduce", "aivae-2021", *args, "--out", "out"]) == 2
    _, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1, err
    assert not (inside / "out").exists()


def test_data_that_are_enough_for_what_is_asked_are_enough(place, inside, monkeypatch):
    """Without speakers left out, one of them may be all that says three."""
    link_data(place, inside, lambda digit, who: digit != "3" or who == "theo")
    monkeypatch.setenv("SOUNDSIGHT_DATA", str(inside / "data"))
    begun: list[str] = []

    def train(recipe, folder, **_) -> None:
        begun.append(folder.name)
        raise KeyboardInterrupt

    monkeypatch.setattr("soundsight.reproduction.runner.train", train)
    assert main(["reproduce", "aivae-2021", "--no-speakers", "--out", "out"]) == 130
    assert begun == ["archetype-many-to-one-random-s0"]


def link_data(place: Path, inside: Path, is_kept: Callable[[str, str], bool]) -> None:
    """The small data set, with some of its recordings."""
    (inside / "data" / "fsdd").mkdir(parents=True)
    (inside / "data" / "mnist").symlink_to(place / "data" / "mnist")
    for path in (place / "data" / "fsdd").glob("*.wav"):
        digit, speaker, _ = path.stem.split("_")
        if is_kept(digit, speaker):
            (inside / "data" / "fsdd" / path.name).symlink_to(path.resolve())


@pytest.mark.slow
def test_a_damaged_model_of_its_own_is_told_with_what_to_do(place, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "spoilt")
    weights = tmp_path / "spoilt" / "models" / "aivaegan-alpha-0.2-one-to-one-random-s0" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    result = run(place, *SMALL, "--out", str(tmp_path / "spoilt"))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert f"without {weights.parent}, 'soundsight reproduce' trains it again" in result.stderr


@pytest.mark.slow
def test_a_folder_without_all_facts_of_its_training_is_still_reported(place, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "old")
    config = tmp_path / "old" / "models" / "aivaegan-alpha-0.2-one-to-one-random-s0" / "config.json"
    table = json.loads(config.read_text())
    del table["training"]["machine"], table["training"]["seconds"]
    config.write_text(json.dumps(table))
    result = run(place, *SMALL, "--out", str(tmp_path / "old"), "--finished-only")
    assert result.returncode == 0, result.stderr
    assert "machine unknown" in (tmp_path / "old" / "report.html").read_text()
    # And such a report is an earlier one as any other.
    result = run(place, *SMALL, "--out", str(tmp_path / "new"), "--earlier", str(tmp_path / "old" / "report.json"))
    assert result.returncode == 0, result.stderr


@pytest.mark.alone
@pytest.mark.slow
def test_the_quick_version_on_all_of_the_data(data_root, tmp_path):
    """The whole of it, in minutes on two cores; loose in time, since a machine under load is no failure."""
    result = subprocess.run(
        command("--out", "out"),
        cwd=tmp_path,
        env=os.environ | {"SOUNDSIGHT_DATA": str(data_root)},
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {name: len(rows) for name, rows in found["tables"].items()} == {"table4": 2, "table5": 4}
    by_title = {(row["title"], row["pairing"]): row["scores"] for rows in found["tables"].values() for row in rows}
    # Real, if short: a system that heard nothing would stay at chance, 10 %.
    assert by_title["AIVAE", "many-to-one"]["accuracy"]["mean"] > 0.2
    names = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    for number in range(3, 9):
        assert any(name.startswith(f"figure{number}-") for name in names)
    assert any(name.startswith("plane-") for name in names)
