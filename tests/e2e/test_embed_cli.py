"""``soundsight datasets embed`` as a user calls it: real recordings, one's own, kills, and mistakes."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from soundsight import audio
from soundsight.cli import main
from soundsight.encoders import vggish
from soundsight.encoders.array import to_npy
from soundsight.encoders.ledger import INDEX
from soundsight.encoders.shards import read_shards, records
from toy_encoder import load, write_plugin, write_tones

TESTS = Path(__file__).resolve().parents[1]
COMMAND = (sys.executable, "-m", "soundsight", "datasets", "embed")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where the toy encoder is installed."""
    plugin = write_plugin(tmp_path_factory.mktemp("plugin"))
    return os.environ | {"PYTHONPATH": os.pathsep.join((str(plugin), str(TESTS)))}


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Twelve sounds and their list, and the encoder's weights."""
    folder = tmp_path / "sounds"
    for row in range(12):
        write_tones(folder / f"{row}.wav", 200 + 20 * row)
    (folder / "list.csv").write_text("filename,label\n" + "".join(f"{i}.wav,{200 + 20 * i}\n" for i in range(12)))
    (tmp_path / "toy.txt").write_text("1")
    return folder


def run(*arguments: object, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def toy(sounds: Path, out: Path) -> list[object]:
    return [sounds / "list.csv", "-o", out, "--encoder", "toy", "--weights", sounds.parent / "toy.txt"]


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_list_becomes_shards(sounds: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    out = tmp_path / "out"
    (sounds / "3.wav").unlink()
    (sounds / "4.wav").write_text("no sound")
    plan = run(*toy(sounds, out), "--shard-size", 5, "--dry-run", environment=environment)
    assert plan.returncode == 0, plan.stderr
    assert plan.stdout.splitlines()[:4] == [
        f"listed: 12 recordings in {sounds / 'list.csv'}",
        f"missing: 1 recording not in {sounds} (first: 3.wav)",
        "found: 11 recordings with 11 prompts",
        "shards: 3 of 41.0 kB",
    ]
    assert plan.stdout.splitlines()[4].startswith("time: about ")
    assert not out.exists()
    done = run(*toy(sounds, out), "--shard-size", 5, "--template", "{label}!", environment=environment)
    assert done.returncode == 1, done.stderr
    assert "embedded: 10 recordings, 20 tokens of 3 numbers\n" in done.stdout
    assert done.stdout.endswith(f"{out / 'embeddings.json'}\n")
    lines = done.stderr.splitlines()
    assert lines[:3] == [f"shard-00000{i}.tar: {n} recordings" for i, n in ((0, 5), (1, 3), (2, 2))]
    assert lines[3].startswith(f"soundsight: error: {sounds / '4.wav'}: not a ")
    assert lines[4:] == ["soundsight: 1 of 11 recordings could not be heard"]
    for path in out.glob("*.tar"):
        for record in records(path):
            assert record.facts["prompts"] == [f"{record.facts['labels'][0]}!"]
            np.testing.assert_allclose(record.tokens_LD[:, 0], float(record.facts["labels"][0]), atol=2)
    again = run(*toy(sounds, out), "--shard-size", 5, "--template", "{label}!", "--json", environment=environment)
    assert again.returncode == 1
    said = json.loads(again.stdout)
    keys = ("listed", "left_out", "missing", "found", "embedded", "shards_before")
    assert [said[key] for key in keys] == [12, 0, ["3.wav"], 11, 10, 3]
    assert set(said["failed"]) == {"4"}
    other = run(*toy(sounds, out), "--shard-size", 5, environment=environment)
    assert other.returncode == 2
    assert "made with template {label}!, not an image of {label}; use the same" in other.stderr
    assert other.stderr.count("\n") == 1


def test_what_was_heard_once_is_remembered_for_other_prompts(
    sounds: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    cache = tmp_path / "cache"
    trial = run(*toy(sounds, tmp_path / "a"), "--cache", cache, "--dry-run", environment=environment)
    assert trial.returncode == 0, trial.stderr
    assert not cache.exists()
    assert run(*toy(sounds, tmp_path / "a"), "--cache", cache, environment=environment).returncode == 0
    files = sorted(cache.rglob("*.embedding"))
    assert len(files) == 12
    for path in files:  # another memory, that none of the sounds has
        data = to_npy(np.full((3, 3), 7, np.float32))
        path.write_bytes(hashlib.sha256(data).digest() + data)
    other = run(*toy(sounds, tmp_path / "b"), "--cache", cache, "--template", "{label}!", environment=environment)
    assert other.returncode == 0, other.stderr
    (shard,) = (tmp_path / "b").glob("*.tar")
    assert all((record.tokens_LD == 7).all() and record.tokens_LD.shape == (2, 3) for record in records(shard))


def test_options_of_an_encoder_are_part_of_what_the_shards_are(
    sounds: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    outs = tmp_path / "plain", tmp_path / "high"
    for out, options in zip(outs, ([], ["--set", "octaves=2"]), strict=True):
        done = run(*toy(sounds, out), *options, environment=environment)
        assert done.returncode == 0, done.stderr
    plain, high = (next(records(out / "shard-000000.tar")) for out in outs)
    np.testing.assert_allclose(high.tokens_LD[:, 0], 4 * plain.tokens_LD[:, 0])
    assert (plain.facts.get("options"), high.facts["options"]) == (None, {"octaves": 2})
    assert plain.facts["identity"] != high.facts["identity"]
    assert json.loads((outs[1] / INDEX).read_text())["made_with"]["options"] == {"octaves": 2}
    before = tree(outs[1])
    for options, said in (([], "none"), (["--set", "octaves=1"], "octaves=1"), (["--set", "octaves=0"], "none")):
        other = run(*toy(sounds, outs[1]), *options, environment=environment)
        assert other.returncode == 2
        assert f"made with options octaves=2, not {said}; use the same" in other.stderr
    again = run(*toy(sounds, outs[1]), "--set", "octaves = 2", "--json", environment=environment)
    assert json.loads(again.stdout)["shards_before"] == 1
    assert tree(outs[1]) == before
    usual = run(*toy(sounds, outs[0]), "--set", "octaves=0", "--json", environment=environment)
    assert json.loads(usual.stdout)["shards_before"] == 1, "what is usual need not be said"
    for text, fault in (
        ("octaves=high", "octaves must be a whole number, not 'high'"),
        ("pitch=1", "no option 'pitch'"),
    ):
        wrong = run(*toy(sounds, tmp_path / "wrong"), "--set", text, environment=environment)
        assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
        assert fault in wrong.stderr
        assert not (tmp_path / "wrong").exists()


def test_sounds_that_are_all_damaged_are_a_failure(sounds: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    for path in sounds.glob("*.wav"):
        path.write_text("no sound")
    done = run(*toy(sounds, tmp_path / "out"), environment=environment)
    assert done.returncode == 2
    assert "soundsight: 12 of 12 recordings could not be heard" in done.stderr
    assert "Traceback" not in done.stderr


def children(process: int) -> set[int]:
    """Processes below another one, at any depth."""
    path = Path(f"/proc/{process}/task/{process}/children")
    below = {int(word) for word in path.read_text().split()} if path.exists() else set()
    return below.union(*(children(child) for child in below))


def lives(process: int) -> bool:
    """Whether a process is there, and not only waiting to be buried."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def noted(index: Path) -> bool:
    """Whether an index has a shard."""
    return index.is_file() and bool(json.loads(index.read_text())["shards"])


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's list of processes")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_stopped_goes_on_and_ends_the_same(
    number: signal.Signals, sounds: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    assert run(*toy(sounds, tmp_path / "whole"), "--shard-size", 2, environment=environment).returncode == 0
    out = tmp_path / "out"
    # The same identity, but time to be interrupted in.
    slow = environment | {"TOY_SLOW_S": "0.2"}
    command = [*COMMAND, *map(str, toy(sounds, out)), "--shard-size", "2", "--workers", "2"]
    with subprocess.Popen(command, env=slow, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        # A shard counts from when the index has it; one that was stopped in between is made again.
        while time.monotonic() < deadline and not noted(out / INDEX):
            time.sleep(0.005)
        helpers = children(process.pid)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert "Traceback" not in err
    assert len(helpers) >= 2
    deadline = time.monotonic() + 20
    while any(map(lives, helpers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(lives, helpers)), "no process is left behind"
    if number == signal.SIGINT:
        assert err.endswith("interrupted; the same command goes on\n")
        assert not [name for name in tree(out) if name.endswith(".tmp")]
    assert 1 <= len(list(out.glob("shard-*.tar"))) < 6
    done = run(*toy(sounds, out), "--shard-size", 2, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "there already" in done.stdout
    assert tree(out) == tree(tmp_path / "whole")


@pytest.mark.slow
def test_real_recordings_through_vggish(data_root: Path, tmp_path: Path) -> None:
    """Random weights of the published shapes; every embedding is that of the file of its name, to the bit."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in vggish.Network().state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    weights = tmp_path / "vggish.safetensors"
    save_file(
        {name: torch.randn(s, generator=generator) * math.sqrt(2 / math.prod(s[1:])) for name, s in shapes.items()},
        weights,
    )
    # The list in an order of its own, and names of WAV files that are FLAC here.
    stems = sorted(path.stem for path in (data_root / "esc50" / "audio").iterdir())[:6]
    (tmp_path / "list.csv").write_text(
        "filename,category,fold\n" + "".join(f"{stem}.wav,class_{stem[-2:]},4\n" for stem in stems[::-1])
    )
    done = run(
        *(tmp_path / "list.csv", "--audio", data_root / "esc50" / "audio", "-o", tmp_path / "out"),
        *("--encoder", "vggish", "--weights", weights, "--workers", 2, "--json"),
        environment=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    encoder = vggish.load(weights)
    said = json.loads(done.stdout)
    assert said["encoder"] == {"name": "vggish", "identity": encoder.identity, "size": 128}
    assert (said["embedded"], said["tokens"]) == (6, 30)
    stored = read_shards(list((tmp_path / "out").glob("*.tar")))
    assert stored.keys == stems
    with one_thread():
        for stem in stems[::5]:
            clip = audio.decode(data_root / "esc50" / "audio" / f"{stem}.flac", sample_rate_hz=16_000)
            np.testing.assert_array_equal(stored.find(stem).tokens_LD, encoder.encode([clip])[0].tokens_LD)
    rng = np.random.default_rng(1)
    np.savez(
        tmp_path / "pca.npz",
        pca_eigen_vectors=(0.1 * rng.standard_normal((128, 128))).astype(np.float32),
        pca_means=rng.standard_normal(128).astype(np.float32),
    )
    done = run(
        *(tmp_path / "list.csv", "--audio", data_root / "esc50" / "audio", "-o", tmp_path / "quantised"),
        *("--encoder", "vggish", "--weights", weights, "--workers", 1, "--json"),
        *("--set", "output=quantised", "--set", f"pca={tmp_path / 'pca.npz'}"),
        environment=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    encoder = vggish.load(weights, pca=tmp_path / "pca.npz", output="quantised")
    assert json.loads(done.stdout)["encoder"]["identity"] == encoder.identity
    (shard,) = (tmp_path / "quantised").glob("*.tar")
    found = {record.key: record for record in records(shard)}
    assert all(record.facts["options"] == {"output": "quantised"} for record in found.values()), "no file of ours"
    with one_thread():
        np.testing.assert_array_equal(found[stem].tokens_LD, encoder.encode([clip])[0].tokens_LD)


class one_thread:
    """PyTorch computes with one thread, as the processes do."""

    def __enter__(self) -> None:
        self._before = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._before)


def vggish_with(*texts: str) -> list[str]:
    settings = [word for text in texts for word in ("--set", text)]
    return ["list.csv", "-o", "out", "--weights", "w", "--encoder", "vggish", *settings]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list.csv", "-o", "out"], "Missing option '--weights'"),
        (["list.csv", "--weights", "w"], "Missing option '--out' / '-o'"),
        (["list.csv", "-o", "", "--weights", "w"], "--out is empty"),
        (["list.csv", "-o", "out", "--weights", "w", "--workers", "0"], "should be greater than or equal to 1"),
        (["list.csv", "-o", "out", "--weights", "w", "--shard-size", "0"], "should be greater than or equal to 1"),
        (["list.csv", "-o", "out", "--weights", "w", "--template", "a sound"], "expected the field {label}"),
        (["list.csv", "-o", "out", "--weights", "w", "--min-quality", "1.5"], "a share from 0 to 1, not 1.5"),
        (["list.csv", "-o", "out", "--weights", "w", "--min-quality", "0.5"], "nothing says of what quality"),
        (["list.csv", "-o", "list.csv/out", "--weights", "w"], "list.csv/out: cannot be written to"),
        (["list.csv", "-o", "out", "--weights", "w", "--audio", "empty"], "not one of its 1 recordings is in empty"),
        (["esc51", "-o", "out", "--weights", "w"], "did you mean 'esc50'?"),
        (["esc50", "--audio", "empty", "-o", "out", "--weights", "w"], "esc50: no esc50.csv"),
        (["away.csv", "-o", "out", "--weights", "w"], "no 'away.csv' in data sets with sounds"),
        (["out.csv", "-o", "out", "--weights", "w"], "'../a.wav' is no file below the folder"),
        (["twice.csv", "-o", "out", "--weights", "w"], "'a.wav' is there twice"),
        (["none.csv", "-o", "out", "--weights", "w"], "no pairs in it"),
        (["columns.csv", "-o", "out", "--weights", "w"], "neither a column 'caption' nor 'label'"),
        (["list.csv", "-o", "out", "--weights", "w", "--encoder", "vgish"], "no 'vgish' in encoders"),
        (["list.csv", "-o", "out", "--weights", "w", "--encoder", "vggish"], "w: there is no such file"),
        (vggish_with("output"), "--set takes KEY=VALUE, for example output=quantised; got 'output'"),
        (vggish_with("out=raw"), "has no option 'out'; known: output, pca, precision, relu, rounding"),
        (vggish_with("output=whitened"), "output must be one of raw, pca, quantised, not 'whitened'"),
        (vggish_with("relu=no"), "the encoder 'vggish': relu must be true or false, not 'no'"),
        (vggish_with("pca=3"), "the encoder 'vggish': pca must be a text, not 3"),
        (vggish_with("relu=true", "relu=false"), "--set relu=false: 'relu' is given twice"),
        (vggish_with("output=pca", "pca=none.npz"), "w: there is no such file"),
        (["list.csv", "-o", "out", "--weights", "w", "--set", "output=raw"], "known: download, revision"),
        (["list.csv", "-o", "out", "--weights", "w", "--set", "download=1"], "download must be true or false, not 1"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    lists = {
        "list": "filename,label\na.wav,dog\n",
        "out": "filename,label\n../a.wav,dog\n",
        "twice": "filename,label\na.wav,dog\na.wav,cat\n",
        "none": "filename,label\n",
        "columns": "filename\na.wav\n",
    }
    for name, text in lists.items():
        Path(f"{name}.csv").write_text(text)
    write_tones(tmp_path / "a.wav", 300)
    Path("empty").mkdir()
    before = {path.name for path in tmp_path.iterdir()}
    assert main(["datasets", "embed", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("soundsight: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert {path.name for path in tmp_path.iterdir()} == before, "nothing was begun"


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "embed", "--help"]) == 0
    out = capsys.readouterr().out
    assert "soundsight datasets embed esc50 -o shards --weights clap\n" in out
    for option in (
        "--audio",
        "--template",
        "--min-quality",
        "--shard-size",
        "--workers",
        "--dry-run",
        "--json",
        "--set",
    ):
        assert option in out


def test_the_toy_hears_the_same_here(sounds: Path) -> None:
    """What the other tests take for granted of it."""
    clip = audio.decode(sounds / "5.wav", sample_rate_hz=8000)
    (embedding,) = load(sounds.parent / "toy.txt").encode([clip])
    np.testing.assert_allclose(embedding.tokens_LD, [[300, 0.4 / math.sqrt(2), 1.0]] * 2, rtol=0.01)
