"""Shards of embeddings: every recording with its own, the same bytes whoever makes them, and what is kept."""

from __future__ import annotations

import hashlib
import json
import os
import random
import tarfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soundsight.datasets.manifests import read
from soundsight.encoders import writing
from soundsight.encoders.embedder import Estimate, Outcome, embed, estimate
from soundsight.encoders.ledger import INDEX
from soundsight.encoders.plan import Plan
from soundsight.encoders.shards import read_shards, records
from soundsight.encoders.workers import Workers
from soundsight.errors import DatasetError, ModelError, OutputError
from soundsight.training.adapter_rows import rows_of
from toy_encoder import load, write_tones

PITCHES = {f"{word}.wav": 200 + 30 * row for row, word in enumerate(("zeta", "10", "9", "alpha", "Beta", "ä", "x/a"))}


def planned(folder: Path, *, shard_size: int = 3, **options: Any) -> Plan:
    """Seven sounds, written and listed in orders of their own; a label says the pitch that is in the file."""
    names = list(PITCHES)
    for name in random.Random(1).sample(names, len(names)):
        if not (folder / name).exists():
            write_tones(folder / name, PITCHES[name], seconds=0.5 + 0.5 * (PITCHES[name] % 4))
    listed = random.Random(2).sample(names, len(names))
    lines = [f"{name},{PITCHES[name]}_Hz,{'train' if row % 2 else 'test'}" for row, name in enumerate(listed)]
    (folder / "list.csv").write_text("\n".join(["filename,label,split", *lines]), encoding="utf-8")
    return Plan(read(str(folder / "list.csv")), shard_size=shard_size, **options)


def weights(folder: Path, text: str = "1") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "weights.txt"
    path.write_text(text)
    return path


def run(plan: Plan, out: Path, file: Path, *, num: int = 1) -> list[Outcome]:
    done: list[int] = []
    with Workers(partial(load, file), num) as workers, closing(embed(plan, out, workers, done.append)) as outcomes:
        made = list(outcomes)
    assert sum(done) == len(plan.manifest.found)
    return made


def guess(plan: Plan, out: Path, file: Path, *, num: int = 1) -> Estimate:
    with Workers(partial(load, file), num) as workers:
        return estimate(plan, out, workers, num)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of ``planned``; not to be changed."""
    folder = tmp_path_factory.mktemp("sounds")
    planned(folder)
    return folder


@pytest.fixture(scope="module")
def made(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its shards, made by one process; not to be changed."""
    out = tmp_path_factory.mktemp("made") / "deep" / "out"
    run(planned(sounds), out, weights(tmp_path_factory.mktemp("toy")))
    return out


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return weights(tmp_path / "toy")


def test_each_recording_has_what_was_heard_in_it(made: Path) -> None:
    """The pitch that the encoder hears is the one that the label says, and that of the file of that name."""
    heard = {r.key: r for path in sorted(made.glob("*.tar")) for r in records(path)}
    assert set(heard) == {name.removesuffix(".wav") for name in PITCHES}
    for name, pitch_hz in PITCHES.items():
        record = heard[name.removesuffix(".wav")]
        np.testing.assert_allclose(record.tokens_LD[:, 0], pitch_hz, atol=2)
        np.testing.assert_allclose(record.tokens_LD[:, 1], 0.4 / np.sqrt(2), rtol=0.01)
        assert len(record.tokens_LD) == 1 + PITCHES[name] % 4
        assert record.facts["labels"] == [f"{pitch_hz}_Hz"]
        assert record.facts["prompts"] == [f"an image of {pitch_hz} Hz"]
        assert record.facts["source"] == name
        assert record.facts["duration_s"] == 0.5 * len(record.tokens_LD)
        assert record.facts["split"] in ("train", "test")
        assert (record.facts["encoder"], record.facts["identity"]) == ("toy", hashlib.sha256(b"1").hexdigest())
    stored = read_shards(sorted(made.glob("*.tar")))
    np.testing.assert_allclose(stored.find("x/a.flac").pooled_D[0], PITCHES["x/a.wav"], atol=2)


def test_the_list_says_what_there_is(made: Path) -> None:
    index = json.loads((made / INDEX).read_bytes())
    assert set(tree(made)) == {INDEX, *(f"shard-{i:06d}.tar" for i in range(3))}
    for name, entry in index["shards"].items():
        data = (made / name).read_bytes()
        assert (entry["sha256"], entry["num_bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
        found = list(records(made / name))
        assert (entry["num_recordings"], entry["num_tokens"]) == (len(found), sum(len(r.tokens_LD) for r in found))
    assert [entry["num_recordings"] for entry in index["shards"].values()] == [3, 3, 1]
    assert index["counts"]["recordings"] == 7
    assert index["made_with"]["encoder"] == "toy"


def test_bytes_do_not_depend_on_who_makes_them(made: Path, sounds: Path, toy: Path, tmp_path: Path) -> None:
    run(planned(sounds), tmp_path / "out", toy, num=3)
    assert tree(tmp_path / "out") == tree(made)


def test_nothing_in_a_shard_tells_when_or_by_whom(made: Path) -> None:
    for path in made.glob("*.tar"):
        with tarfile.open(path) as tar:
            members = tar.getmembers()
            assert [m.name for m in members] == sorted(m.name for m in members)
            assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.type) for m in members} == {
                (0, 0, 0, "", "", 0o644, tarfile.REGTYPE)
            }
        assert str(made.parent.parent).encode() not in path.read_bytes()


@pytest.mark.parametrize("key", ["a", "ä" * 60, "x/" + "long" * 60, "x" * 99])
def test_a_shard_is_what_tarfile_reads_and_of_the_size_foretold(key: str, tmp_path: Path) -> None:
    tokens_LD = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    facts = {"b": 1, "a": ["ü"]}
    with writing.write_shard(tmp_path / "0.tar") as shard:
        empty = shard.num_bytes
        shard.add(key, tokens_LD, facts)
        assert shard.num_bytes - empty == writing.num_bytes(key, (7, 5), facts)
        shard.add("z", tokens_LD, {})
        content = shard.num_bytes
    data = (tmp_path / "0.tar").read_bytes()
    assert shard.num_bytes == len(data) == writing.shard_bytes(content)
    assert shard.sha256 == hashlib.sha256(data).hexdigest()
    with tarfile.open(tmp_path / "0.tar") as tar:
        assert tar.getnames() == [f"{key}.json", f"{key}.npy", "z.json", "z.npy"]
    first, second = records(tmp_path / "0.tar")
    assert (first.key, first.facts, second.key) == (key, facts, "z")
    np.testing.assert_array_equal(first.tokens_LD, tokens_LD)


def test_a_shard_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with writing.write_shard(tmp_path / "0.tar") as shard:
            shard.add("a", np.ones((1, 2), np.float32), {})
            assert len(tree(tmp_path)) == 2
            raise KeyboardInterrupt

    (tmp_path / "0.tar").write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert tree(tmp_path) == {"0.tar": b"before"}
    with pytest.raises(OutputError, match=r"0\.tar: cannot be written"):
        writing.write_shard(tmp_path / "absent" / "0.tar").__enter__()


def test_whole_shards_are_left_alone_and_others_made_again(made: Path, sounds: Path, toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name, data in tree(made).items():
        (out / name).write_bytes(data)
    damaged = bytearray((out / "shard-000001.tar").read_bytes())
    damaged[700] ^= 1
    (out / "shard-000001.tar").write_bytes(damaged)
    (out / "shard-000002.tar").unlink()
    (out / ".shard-000001.tar.999.tmp").write_text("left by a kill")
    kept = (out / "shard-000000.tar").stat()
    assert guess(planned(sounds), out, toy).num_whole == 1
    assert [o.before for o in run(planned(sounds), out, toy)] == ["whole", "damaged", "damaged"]
    assert tree(out) == tree(made)
    left = (out / "shard-000000.tar").stat()
    assert (left.st_ino, left.st_mtime_ns) == (kept.st_ino, kept.st_mtime_ns)
    assert [o.before for o in run(planned(sounds), out, toy)] == ["whole"] * 3


def test_sounds_that_come_or_change_are_heard(toy: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "sounds", tmp_path / "out"
    planned(folder)
    late = folder / "9.wav"
    data = late.read_bytes()
    late.unlink()
    plan = Plan(read(str(folder / "list.csv")), shard_size=3)
    assert [record.name for record in plan.manifest.missing] == ["9.wav"]
    assert sum(o.entry.num_recordings for o in run(plan, out, toy)) == 6
    late.write_bytes(data)
    write_tones(folder / "zeta.wav", 777)
    os.utime(folder / "zeta.wav", ns=(1, 1))
    outcomes = run(planned(folder), out, toy)
    assert [o.before for o in outcomes] == ["changed", "changed", "whole"]
    stored = read_shards(sorted(out.glob("*.tar")))
    assert stored.find("zeta").pooled_D[0] == pytest.approx(777, abs=2)
    assert stored.find("9").pooled_D[0] == pytest.approx(PITCHES["9.wav"], abs=2)


def test_a_damaged_sound_is_told_and_does_not_stop_the_rest(toy: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "sounds", tmp_path / "out"
    planned(folder)
    (folder / "10.wav").write_bytes(b"no sound at all")
    (folder / "ä.wav").write_bytes((folder / "ä.wav").read_bytes()[:1000])
    for before in ("new", "whole"):
        outcomes = run(planned(folder), out, toy, num=2)
        assert {o.before for o in outcomes} == {before}
        failed = {key: fault for o in outcomes for key, fault in o.entry.failed.items()}
        assert set(failed) == {"10", "ä"}
        assert "10.wav: not a " in failed["10"]
        assert "ä.wav: ends early" in failed["ä"]
        assert sum(o.entry.num_recordings for o in outcomes) == 5
    assert len(read_shards(sorted(out.glob("*.tar")))) == 5
    write_tones(folder / "10.wav", PITCHES["10.wav"])
    assert [o.before for o in run(planned(folder), out, toy)] == ["changed", "whole", "whole"]


def test_what_an_encoder_refuses_names_the_sound(sounds: Path, tmp_path: Path) -> None:
    (outcome, *_) = run(planned(sounds), tmp_path / "out", weights(tmp_path, "1 deaf"))
    assert outcome.entry.failed["10"] == f"{sounds / '10.wav'}: it hears nothing"
    with pytest.raises(DatasetError, match=r"not one of 7 recordings that were tried can be heard .*it hears nothing"):
        guess(planned(sounds), tmp_path / "other", weights(tmp_path, "1 deaf"))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"text": "2"}, "made with identity 6b86b273ff34f.*, not d4735e3a"),
        ({"template": "a picture of {label}"}, "made with template an image of {label}, not a picture of {label}"),
        ({"shard_size": 4}, "made with shard size 3, not 4"),
        ({"label": "cat"}, "made with manifest "),
    ],
)
def test_a_folder_of_something_else_is_refused(
    change: dict[str, Any], fault: str, made: Path, sounds: Path, tmp_path: Path
) -> None:
    before = tree(made)
    file = weights(tmp_path, change.pop("text", "1"))
    if label := change.pop("label", ""):
        (tmp_path / "list.csv").write_text("filename,label\n" + "".join(f"{name},{label}\n" for name in PITCHES))
        plan = Plan(read(str(tmp_path / "list.csv"), sounds), shard_size=3)
    else:
        plan = planned(sounds, **change)
    for use in (run, guess):
        with pytest.raises(DatasetError, match=fault) as caught:
            use(plan, made, file)
        assert str(made) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert tree(made) == before


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"{}", b'{"format_version": 2}', b"[" * 100_000, b"\xff"], ids=lambda data: str(data[:9])
)
def test_a_list_that_is_damaged_is_refused(content: bytes, sounds: Path, toy: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / INDEX).write_bytes(content)
    with pytest.raises(DatasetError, match=r"embeddings\.json is damaged"):
        run(planned(sounds), tmp_path / "out", toy)


@pytest.mark.parametrize("entry", ["x", {}, {"sha256": "", "num_bytes": "1"}, {"num_bytes": [], "failed": 1}])
def test_an_entry_that_is_none_is_refused(entry: Any, made: Path, sounds: Path, toy: Path, tmp_path: Path) -> None:
    index = json.loads((made / INDEX).read_bytes())
    whole = index["shards"]["shard-000000.tar"]
    index["shards"]["shard-000000.tar"] = whole | entry if entry and isinstance(entry, dict) else entry
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / INDEX).write_text(json.dumps(index))
    with pytest.raises(DatasetError, match=r"embeddings\.json is damaged"):
        run(planned(sounds), tmp_path / "out", toy)


def test_a_folder_of_other_files_and_a_file_are_refused(sounds: Path, toy: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "shard-000000.tar").write_text("mine")
    for out, fault in ((tmp_path / "mine", "holds other files"), (toy, "a file; expected a folder")):
        with pytest.raises(DatasetError, match=fault):
            run(planned(sounds), out, toy)
    assert tree(tmp_path / "mine") == {"shard-000000.tar": b"mine"}
    with pytest.raises(OutputError, match="cannot be written to"):
        run(planned(sounds), toy / "below", toy)


def test_plans_that_do_not_fit_are_refused(sounds: Path, tmp_path: Path) -> None:
    for size in (0, 100_001):
        with pytest.raises(DatasetError, match=f"a shard of {size} recordings"):
            planned(sounds, shard_size=size)
    with pytest.raises(DatasetError, match=r"^template "):
        planned(sounds, template="an image")
    (tmp_path / "list.csv").write_text("filename,label\na.wav,dog\nb.wav,cat\n")
    with pytest.raises(DatasetError, match=r"not one of its 2 recordings is in .*, the first would be 'a\.wav'"):
        Plan(read(str(tmp_path / "list.csv")))


def test_an_encoder_that_cannot_be_loaded_is_one_error(sounds: Path, tmp_path: Path) -> None:
    from soundsight import encoders
    from soundsight.errors import UnknownNameError

    with pytest.raises(UnknownNameError, match="no 'vgish' in encoders"):
        Workers(partial(encoders.load, "vgish", "x"), 2)
    with pytest.raises(ModelError, match="there is no such file"):
        Workers(partial(encoders.load, "vggish", str(tmp_path / "x.safetensors")), 1)


def test_a_process_that_dies_is_one_error_and_what_is_finished_is_kept(
    made: Path, sounds: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="a process with the encoder has died"):
        run(planned(sounds), tmp_path / "out", weights(tmp_path, "1 dies"), num=2)
    assert set(tree(tmp_path / "out")) == {INDEX}


def test_a_process_that_dies_while_another_is_begun_is_one_error(
    sounds: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool closes its pipes under the hands of ``submit``; which of the two comes first is a matter of luck."""
    found = planned(sounds).manifest.found

    def closed(*_: object) -> None:
        raise OSError("handle is closed")

    with Workers(partial(load, toy), 1) as workers:
        monkeypatch.setattr(ProcessPoolExecutor, "submit", closed)
        with pytest.raises(ModelError, match="a process with the encoder has died"):
            next(workers.hear(found))


def test_shards_say_what_trainings_ask_for(made: Path, sounds: Path) -> None:
    manifest = planned(sounds).manifest
    rows, is_captioned = rows_of(read_shards(sorted(made.glob("*.tar"))).facts, "shards")
    assert not is_captioned
    found = {row.name: (row.shows, row.fold, row.source) for row in rows}
    assert found == {record.key: (record.labels, record.split, record.name) for record in manifest.found}
    assert {row.fold for row in rows} == {"train", "test"}


def test_weights_that_change_meanwhile_are_noticed(sounds: Path, toy: Path) -> None:
    with Workers(partial(load, toy), 1) as workers:
        workers.nature = workers.nature._replace(identity="what another process has loaded")
        with pytest.raises(ModelError, match="weights have changed"):
            next(workers.hear(planned(sounds).manifest.found))


def test_all_processes_take_part_with_one_thread_each(
    sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setenv("TOY_SLOW_S", "0.1")
    found = planned(sounds).manifest.found
    with Workers(partial(load, weights(tmp_path, "1 counts")), 2) as workers:
        faults = {item.fault.partition(": ")[2] for item in workers.hear(6 * found)}
    assert len(faults) == 2, "two processes"
    assert all(fault.endswith("with 1 thread") for fault in faults)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("shard_size", [2, 1000])
def test_sizes_are_foretold(shard_size: int, toy: Path, tmp_path: Path) -> None:
    """Sounds of many lengths, so that most of them were not encoded for it."""
    lengths_s = np.random.default_rng(0).choice([0.5, 1, 1.5, 3, 7], 60).tolist()
    for row, seconds in enumerate(lengths_s):
        write_tones(tmp_path / f"{row}.wav", 300, seconds=seconds)
    (tmp_path / "list.csv").write_text("filename,label\n" + "".join(f"{row}.wav,dog\n" for row in range(60)))
    plan = Plan(read(str(tmp_path / "list.csv")), shard_size=shard_size)
    expected = guess(plan, tmp_path / "out", toy)
    assert not (tmp_path / "out").exists()
    entries = [outcome.entry for outcome in run(plan, tmp_path / "out", toy)]
    assert expected.num_shards == len(entries) == -(-60 // shard_size)
    assert expected.num_bytes == pytest.approx(sum(entry.num_bytes for entry in entries), rel=0.02)


def test_times_are_foretold(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder that takes 50 ms for each of 20 sounds, of which 8 are tried, on two processes and on one."""
    for row in range(20):
        write_tones(tmp_path / f"{row}.wav", 300, seconds=0.5)
    (tmp_path / "list.csv").write_text("filename,label\n" + "".join(f"{row}.wav,dog\n" for row in range(20)))
    plan = Plan(read(str(tmp_path / "list.csv")))
    monkeypatch.setenv("TOY_SLOW_S", "0.05")
    for num in (1, 2):
        expected = guess(plan, tmp_path / "out", toy, num=num)
        assert (expected.num_timed, expected.faults) == (8, ())
        assert 1.0 / num <= expected.seconds < 3.0 / num
