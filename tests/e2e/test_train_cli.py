"""``soundsight train`` as a user calls it: killed, interrupted, resumed, and given wrong things."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from soundsight.cli import main
from soundsight.cli.train import _as_json, _bar
from soundsight.folder import read_folder
from soundsight.training.loop import Progress
from training_sets import small_root

# 24 steps an epoch. Everything that must be restored is in it: dropout, the average, moments, a falling rate.
RECIPE = """
[data]
images = "mnist"
[model]
system = "lenet5"
dropout = 0.3
[train]
epochs = 25
batch_size = 16
precision = "fp32"
ema = 0.99
save_every = 7
[train.optimizer.default]
schedule = "cosine"
"""
NUM_STEPS = 25 * 24
TIMEOUT_S = 120


@pytest.fixture(scope="module")
def place(data_root, tmp_path_factory) -> Path:
    """A folder with ``tiny.toml`` and small data."""
    folder = tmp_path_factory.mktemp("train")
    small_root(folder / "data", data_root, num_images=384, repetitions=(0, 5))
    (folder / "tiny.toml").write_text(RECIPE)
    return folder


def environment(place: Path) -> dict[str, str]:
    return os.environ | {"SOUNDSIGHT_DATA": str(place / "data"), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "soundsight", "train", *args]


def run(place: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*args), cwd=place, env=environment(place), capture_output=True, text=True, timeout=TIMEOUT_S
    )


def start_and_stop(place: Path, out: str, number: signal.Signals, delay_s: float, *args: str) -> tuple[int, str]:
    """Train until a state is there and ``delay_s`` longer, then send a signal; exit code and stderr."""
    state = place / out / "state" / "state.safetensors"
    before = state.stat().st_mtime_ns if state.exists() else 0
    with subprocess.Popen(
        command("tiny.toml", "--out", out, *args), cwd=place, env=environment(place), stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + TIMEOUT_S
        while not (state.exists() and state.stat().st_mtime_ns != before):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(delay_s)
        process.send_signal(number)
        _, err = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, err


def model_of(place: Path, out: str) -> bytes:
    return (place / out / "model.safetensors").read_bytes()


def steps_of(place: Path, out: str) -> list[int]:
    return [json.loads(line)["step"] for line in (place / out / "metrics.jsonl").read_text().splitlines()]


def one_line(err: str) -> str:
    assert err.startswith("soundsight: error: "), err
    assert err.count("\n") == 1, err
    return err


@pytest.fixture(scope="module")
def whole(place) -> Path:
    """A training that nothing interrupts."""
    result = run(place, "tiny.toml", "--out", "whole")
    assert result.returncode == 0, result.stderr
    assert "soundsight export whole" in result.stdout
    return place / "whole"


@pytest.mark.slow
def test_a_training_leaves_a_model_curves_and_a_journal(place, whole):
    folder = read_folder(whole)
    assert folder.system == "lenet5"
    assert folder.training["steps"] == NUM_STEPS
    steps = steps_of(place, "whole")
    assert steps == sorted({*range(50, NUM_STEPS + 1, 50), *range(24, NUM_STEPS + 1, 24)})
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert all(line["samples_per_s"] > 0 and line["cross_entropy"] > 0 for line in lines)
    assert lines[-1]["cross_entropy"] < 0.5 * lines[0]["cross_entropy"]
    assert list((whole / "tensorboard").glob("events*"))
    assert not [path.name for path in whole.rglob("*") if path.name.startswith(".")], "no temporary file is left"


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_weights(place, whole):
    rng = random.Random(time.time_ns())
    kills = 0
    for _ in range(3):
        resume = ["--resume"] if (place / "killed").exists() else []
        code, err = start_and_stop(place, "killed", signal.SIGKILL, rng.uniform(0, 0.4), *resume)
        kills += code == -signal.SIGKILL
        assert "Traceback" not in err
    assert kills, "the training was over before it was killed: make it longer"
    result = run(place, "tiny.toml", "--out", "killed", "--resume")
    assert result.returncode == 0, result.stderr
    assert model_of(place, "killed") == model_of(place, "whole")
    assert steps_of(place, "killed") == steps_of(place, "whole"), "no line twice, none missing"
    assert not [p.name for p in (place / "killed" / "state").iterdir() if p.name != "state.safetensors"]


@pytest.mark.slow
def test_ctrl_c_keeps_the_state_and_says_how_to_go_on(place, whole):
    code, err = start_and_stop(place, "interrupted", signal.SIGINT, 0.1)
    assert code == 130, err
    assert "Traceback" not in err
    assert "soundsight train tiny.toml --out interrupted --resume" in err
    assert not (place / "interrupted" / "config.json").exists()
    assert run(place, "tiny.toml", "--out", "interrupted").returncode == 2, "not overwritten unasked"
    result = run(place, "tiny.toml", "--out", "interrupted", "--resume")
    assert result.returncode == 0, result.stderr
    assert model_of(place, "interrupted") == model_of(place, "whole")
    assert steps_of(place, "interrupted") == steps_of(place, "whole")


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_keeps_the_state(place, whole):
    code, _ = start_and_stop(place, "full", signal.SIGINT, 0.05)
    assert code == 130
    state = place / "full" / "state" / "state.safetensors"
    before = hashlib.sha256(state.read_bytes()).digest()
    # The state has 1 MB: a process that may write no file of more than 500 KiB cannot save it.
    limited = ["bash", "-c", 'ulimit -f 500 && exec "$@"', "bash", *command("tiny.toml", "--out", "full", "--resume")]
    result = subprocess.run(
        limited, cwd=place, env=environment(place), capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert result.returncode == 2, result.stderr
    errors = [line for line in result.stderr.splitlines() if "error" in line]
    assert errors == result.stderr.splitlines()[-1:]
    assert errors[0].startswith("soundsight: error: cannot save the training state in full/state: ")
    assert hashlib.sha256(state.read_bytes()).digest() == before
    assert [path.name for path in state.parent.iterdir()] == ["state.safetensors"]
    result = run(place, "tiny.toml", "--out", "full", "--resume")
    assert result.returncode == 0, result.stderr
    assert model_of(place, "full") == model_of(place, "whole")


@pytest.mark.slow
def test_two_processes_train_the_network_that_one_does(place):
    """Each takes half of every batch: the mean of their gradients is that of the whole, but for rounding."""
    options = ["tiny.toml", "--set", "train.epochs=2", "--set", "model.dropout=0", "--out"]
    assert run(place, *options, "one").returncode == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "soundsight"]
    result = subprocess.run(
        [*launch, "train", *options, "two"],
        cwd=place,
        env=environment(place) | {"ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert result.returncode == 0, result.stderr
    one, two = (load_file(place / out / "model.safetensors") for out in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-5)
    assert steps_of(place, "two") == [24, 48]


@pytest.fixture
def inside(place, monkeypatch, tmp_path) -> Path:
    """An empty folder to work in, the data and the recipe known."""
    monkeypatch.setenv("SOUNDSIGHT_DATA", str(place / "data"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(RECIPE)
    return tmp_path


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["lenet"], "no 'lenet' in recipes (did you mean 'lenet5'?)"),
        (["absent.toml"], "cannot read the recipe absent.toml: No such file"),
        (["tiny.toml", "--set", "train.epoch=3"], "unknown key 'train.epoch' in the recipe; known here: batch_size,"),
        (["tiny.toml", "--set", "train.epochs=few"], "recipe key 'train.epochs': "),
        (["tiny.toml", "--set", "train.epochs"], "--set takes key.key=value"),
        (["tiny.toml", "--set", "model.system=lenet"], "no 'lenet' in models (did you mean 'lenet5'?)"),
        (["tiny.toml", "--set", "model.depth=3"], "unknown key 'model.depth' in the recipe; known here: dropout"),
        (["tiny.toml", "--set", "model.dropout=2"], "recipe key 'model.dropout': "),
        (["tiny.toml", "--set", "train.optimizer.judge.lr=1"], "unknown key 'train.optimizer.judge'"),
        (["tiny.toml", "--set", "data.images=cifar"], "no 'cifar' in datasets"),
        (["tiny.toml", "--set", "data.images=fsdd"], "fsdd is a data set of sounds; known here: cifar10, mnist"),
        (
            ["tiny.toml", "--set", "data.sounds=fsdd", "--set", "data.split=official"],
            "the system reads features None, the recipe gives (48, 48)",
        ),
        (["aivae-fsdd", "--set", "data.split=speaker:nobody"], "no speaker 'nobody'; known: jackson,"),
        (
            ["aivae-fsdd", "--set", "data.split=official", "--set", "features.bins=40"],
            "the system reads features (48, 48), the recipe gives (40, 48)",
        ),
        (["aivae-fsdd", "--set", "data.split=official", "--set", "features.name=mel"], "no 'mel' in features"),
        (["tiny.toml", "--out", "tiny.toml"], "cannot write to tiny.toml"),
        (["tiny.toml", "--bogus"], "--bogus"),
        ([], "RECIPE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line(inside, capsys, args, message):
    assert main(["train", *args]) == 2
    assert message in one_line(capsys.readouterr().err)
    assert not [path for path in inside.rglob("*") if path.name in ("config.json", "model.safetensors")]


@pytest.mark.parametrize("override", ["model.depth=3", "data.sounds=fsdd", "train.optimizer.judge.lr=1"])
def test_a_dry_run_finds_the_mistakes_that_training_would(inside, capsys, override):
    assert main(["train", "tiny.toml", "--dry-run", "--set", override]) == 2
    one_line(capsys.readouterr().err)


def test_absent_data_say_how_to_get_them(inside, capsys, monkeypatch):
    monkeypatch.setenv("SOUNDSIGHT_DATA", str(inside / "nowhere"))
    assert main(["train", "tiny.toml"]) == 2
    assert "soundsight datasets prepare mnist" in one_line(capsys.readouterr().err)


def test_a_folder_with_another_training_is_left_alone(inside, capsys):
    short = ["train", "tiny.toml", "--out", "out", "--set", "train.epochs=1"]
    assert main(short) == 0
    before = {path: path.read_bytes() for path in (inside / "out").rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main(short) == 2
    assert "out holds a training already: add --resume" in one_line(capsys.readouterr().err)
    assert main([*short, "--set", "train.seed=4", "--resume"]) == 2
    assert "was trained with another 'train.seed'" in one_line(capsys.readouterr().err)
    assert {path: path.read_bytes() for path in (inside / "out").rglob("*") if path.is_file()} == before
    (inside / "out" / "state" / "state.safetensors").write_bytes(b"damaged")
    assert main([*short, "--resume"]) == 2
    assert "cannot be resumed" in one_line(capsys.readouterr().err)


def test_a_training_goes_on_for_longer_and_ends_as_if_never_ended(inside):
    for out, *epochs in (("short", 1, 2), ("long", 2)):
        for number in epochs:
            options = ["--out", out, "--resume", "--set", f"train.epochs={number}"]
            options += ["--set", "train.optimizer.default.schedule=constant"]
            assert main(["train", "tiny.toml", *options]) == 0
    assert model_of(inside, "short") == model_of(inside, "long")


def test_a_learning_rate_that_is_too_high_is_one_line(inside, capsys):
    code = main(["train", "tiny.toml", "--set", "train.optimizer.default.lr=1e30", "--set", "train.epochs=1"])
    assert code == 2
    assert "the loss 'cross_entropy' became" in one_line(capsys.readouterr().err)


def test_a_dry_run_says_what_would_be_done_and_does_nothing(inside, capsys):
    before = sorted(inside.iterdir())
    assert main(["train", "tiny.toml", "--dry-run", "--set", "train.epochs=3"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    recipe, _, rest = out.partition("\n\n")
    assert json.loads(recipe)["train"]["epochs"] == 3
    assert json.loads(recipe)["name"] == "tiny"
    assert "61,706" in rest, "parameters of LeNet-5"
    assert "pairs 384, 72 steps of 16 in 3 epochs" in rest
    assert "on this machine" in rest
    assert sorted(inside.iterdir()) == before


def test_what_was_trained_is_told_as_json(inside, capsys):
    assert main(["train", "tiny.toml", "--set", "train.epochs=2", "--out", "told", "--json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert out.count("\n") == 1
    assert err.startswith("epoch 1  step 24/48")
    wanted = read_folder(inside / "told", verify=False)
    assert told["losses"].keys() == {"cross_entropy"}
    last = json.loads((inside / "told" / "metrics.jsonl").read_text().splitlines()[-1])
    assert told["losses"]["cross_entropy"] == last["cross_entropy"]
    assert {key: told[key] for key in ("name", "kind", "system", "folder")} == {
        "name": "tiny",
        "kind": "judge",
        "system": "lenet5",
        "folder": "told",
    }
    assert (told["steps"], told["parameters"], told["seconds"]) == (48, 61_706, wanted.training["seconds"])
    again = ["--set", "train.epochs=2", "--out", "told", "--resume", "--json"]
    assert main(["train", "tiny.toml", *again]) == 0
    assert json.loads(capsys.readouterr().out) == told | {
        "losses": {},
        "seconds": pytest.approx(told["seconds"], abs=1),
    }
    assert main(["train", "tiny.toml", "--dry-run", "--json"]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert (expected["pairs"], expected["steps"], expected["parameters"]["all"]) == (384, NUM_STEPS, 61_706)
    assert expected["recipe"]["name"] == "tiny"
    assert expected["seconds"] == pytest.approx(expected["step_s"] * NUM_STEPS, abs=0.1)


def test_a_log_has_a_line_of_every_epoch_and_one_a_minute(monkeypatch, capsys):
    """What comes before the first epoch, a backbone's autoencoder, takes minutes, too: it is epoch 0."""
    now_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    with _bar("long") as bar:
        for step, (epoch, passed_s) in enumerate([(0, 0), (0, 30), (0, 31), (0, 30), (1, 1), (1, 59), (1, 1), (2, 1)]):
            now_s += passed_s
            bar(Progress(step, 8, epoch, {"l1": 0.5}))
    told = [line.split("/")[0] for line in capsys.readouterr().err.splitlines()]
    assert told == ["epoch 0  step 0", "epoch 0  step 2", "epoch 1  step 4", "epoch 1  step 6", "epoch 2  step 7"]


def test_a_backbone_is_told_by_its_card(tmp_path, inside, capsys):
    """It has no config.json, as it lies in the layout of diffusers."""
    (tmp_path / "card.json").write_text('{"parameters": 5, "steps": 3, "seconds": 1.5, "licence": "x"}')
    bar = _bar("small")
    bar(Progress(3, 3, 1, {"flow": 0.25}))
    assert json.loads(_as_json(tmp_path, bar)) == {
        "name": "small",
        "kind": "backbone",
        "folder": str(tmp_path),
        "parameters": 5,
        "steps": 3,
        "seconds": 1.5,
        "losses": {"flow": 0.25},
    }
    capsys.readouterr()
    assert main(["train", "v2d-clap", "--set", "targets.model=x", "--dry-run", "--json"]) == 2
    assert "leave --json out" in one_line(capsys.readouterr().err)


def test_the_recipe_that_a_training_leaves_can_be_trained_again(inside, capsys):
    assert main(["train", "tiny.toml", "--out", "out", "--set", "train.epochs=1"]) == 0
    assert main(["train", "out/recipe.json", "--out", "again"]) == 0
    assert model_of(inside, "again") == model_of(inside, "out")
