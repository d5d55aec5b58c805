"""``soundsight datasets`` as a user calls it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from file_server import Served, serve
from sample_data import write_cifar10, write_esc50, write_fsdd, write_mnist
from soundsight import registry
from soundsight.cli import main
from soundsight.datasets import cifar10, esc50, fsdd


def run(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | environment
    return subprocess.run(
        [sys.executable, "-m", "soundsight", "datasets", *args], env=env, capture_output=True, text=True, timeout=60
    )


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 2, result
    assert result.stderr.startswith("soundsight: error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_list_says_what_is_here(tmp_path):
    write_fsdd(tmp_path / "fsdd", repetitions=1)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "speech_commands").mkdir()
    (tmp_path / "speech_commands" / "speech_commands_v0.01.tar.gz.part").touch()
    result = run("list", "--json", SOUNDSIGHT_DATA=str(tmp_path))
    assert result.returncode == 0
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert sorted(rows) == sorted([*registry.names("datasets"), "esc50-cifar10"])
    assert rows["fsdd"]["here"] == "yes"
    assert rows["mnist"]["here"] == "no"
    assert rows["speech_commands"]["here"] == "unfinished"
    assert rows["fsdd"]["licence"] == "CC BY-SA 4.0"
    assert rows["fsdd"]["folder"] == str(tmp_path / "fsdd")
    table = run("list", SOUNDSIGHT_DATA=str(tmp_path))
    assert table.returncode == 0
    for name in rows:
        assert name in table.stdout
    assert rows["esc50-cifar10"]["stands_for"] == ["esc50", "cifar10"]
    assert "esc50-cifar10: stands for esc50 and cifar10\n" in table.stdout


def test_check_of_the_real_recordings(data_root):
    result = run("check", "fsdd", "--json", SOUNDSIGHT_DATA=str(data_root))
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["num_items"] == 2000
    assert report["speakers"] == dict.fromkeys(("jackson", "nicolas", "theo", "yweweler"), 500)
    assert report["durations_s"]["min"] < report["durations_s"]["median"] < report["durations_s"]["max"]
    table = run("check", "fsdd", SOUNDSIGHT_DATA=str(data_root))
    assert table.returncode == 0
    assert "yweweler 500" in table.stdout


def test_check_of_a_broken_set_shows_the_report_and_fails(tmp_path):
    write_fsdd(tmp_path / "fsdd", speakers=("ada",), repetitions=50)
    (tmp_path / "fsdd" / "4_ada_2.wav").write_bytes(b"[red]no[/red] sound")
    (tmp_path / "fsdd" / "5_ada_2.wav").unlink()
    result = run("check", "fsdd", "--json", SOUNDSIGHT_DATA=str(tmp_path))
    assert "1 missing, 1 damaged" in one_line(result)
    report = json.loads(result.stdout)
    assert report["missing"] == ["5_ada_2.wav"]
    assert report["ok"] is False
    table = run("check", "fsdd", "--folder", str(tmp_path / "fsdd"))
    assert "4_ada_2.wav" in one_line(table)
    assert "5_ada_2.wav" in table.stdout


def test_check_of_changed_images_fails(tmp_path):
    write_mnist(tmp_path)
    assert "not the published file" in one_line(run("check", "mnist", "--folder", str(tmp_path)))


def test_mistakes_are_one_line(tmp_path):
    assert "no 'fsd' in datasets (did you mean 'fsdd'?)" in one_line(run("check", "fsd"))
    assert "elsewhere/pairs: no such folder; a folder of pairs holds" in one_line(run("check", "elsewhere/pairs"))
    assert "prepare fsdd" in one_line(run("check", "fsdd", SOUNDSIGHT_DATA=str(tmp_path)))
    one_line(run("prepare"))
    (tmp_path / "file").touch()
    one_line(run("prepare", "fsdd", "--folder", str(tmp_path / "file" / "below")))


@pytest.mark.parametrize("args", [["--help"], ["list", "--help"], ["prepare", "--help"], ["check", "--help"]])
def test_help(args):
    result = run(*args)
    assert result.returncode == 0
    assert "soundsight datasets" in result.stdout


def packed_fsdd(folder: Path) -> bytes:
    write_fsdd(folder, speakers=("ada",), repetitions=50)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, "free-spoken-digit-dataset-1.0.8/recordings")
    return buffer.getvalue()


def info_from(url: str):
    return replace(fsdd.INFO, files=(replace(fsdd.INFO.files[0], urls=(url,)),))


def test_prepare_downloads_checks_and_says_where(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("SOUNDSIGHT_DATA", str(tmp_path / "data"))
    with serve() as server:
        server.files["fsdd.tar.gz"] = Served(packed_fsdd(tmp_path / "source"))
        monkeypatch.setattr(fsdd, "INFO", info_from(server.url("fsdd.tar.gz")))
        assert main(["datasets", "prepare", "fsdd"]) == 0
        out, err = capsys.readouterr()
        assert out.strip() == str(tmp_path / "data" / "fsdd")
        assert "CC BY-SA 4.0" in err
        assert len(fsdd.load(tmp_path / "data" / "fsdd")) == 500
        assert main(["datasets", "prepare", "fsdd"]) == 0
        assert "already" in capsys.readouterr().err
        assert main(["datasets", "prepare", "fsdd", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["downloaded"] is False
        assert len(server.log) == 1, "nothing is downloaded twice"
        assert main(["datasets", "prepare", "fsdd", "--folder", str(tmp_path / "else"), "--json"]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out) == {
            "name": "fsdd",
            "folder": str(tmp_path / "else"),
            "licence": "CC BY-SA 4.0",
            "attribution": fsdd.INFO.attribution,
            "downloaded": True,
        }
        assert "CC BY-SA 4.0" in err


def test_prepare_refuses_what_does_not_pass_the_check(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    write_fsdd(tmp_path / "source", speakers=("ada",), repetitions=3)
    with serve() as server:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            tar.add(tmp_path / "source", "top/recordings")
        server.files["fsdd.tar.gz"] = Served(buffer.getvalue())
        monkeypatch.setattr(fsdd, "INFO", info_from(server.url("fsdd.tar.gz")))
        assert main(["datasets", "prepare", "fsdd", "--folder", str(tmp_path / "fsdd")]) == 2
        assert "470 missing" in capsys.readouterr().err


def pack(folder: Path, name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, name)
    return buffer.getvalue()


def test_prepare_of_a_name_that_stands_for_two_sets(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("SOUNDSIGHT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(cifar10, "_PER_CLASS", {"train": 10, "test": 2})
    write_esc50(tmp_path / "esc50", esc50.INFO.classes, folds=(1,))
    write_cifar10(tmp_path / "cifar10")
    with serve() as server:
        for module, top, body in (
            (esc50, "ESC-50-0123", pack(tmp_path / "esc50", "ESC-50-0123")),
            (cifar10, "cifar10", pack(tmp_path / "cifar10" / "cifar-10-batches-bin", "cifar-10-batches-bin")),
        ):
            server.files[top] = Served(body)
            (file,) = module.INFO.files
            monkeypatch.setattr(
                module, "INFO", replace(module.INFO, files=(replace(file, urls=(server.url(top),), md5=None),))
            )
        paths = [str(tmp_path / "data" / name) for name in ("esc50", "cifar10")]
        assert main(["datasets", "prepare", "esc50-cifar10"]) == 0
        out, err = capsys.readouterr()
        assert out.split() == paths
        assert "CC BY-NC 3.0" in err
        assert "Krizhevsky" in err
        assert main(["datasets", "prepare", "esc50-cifar10"]) == 0
        assert capsys.readouterr().out.split() == paths
        assert main(["datasets", "prepare", "esc50-cifar10", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert [(item["name"], item["folder"]) for item in told] == list(zip(("esc50", "cifar10"), paths, strict=True))
        assert len(server.log) == 2, "nothing is downloaded twice"
    assert main(["datasets", "check", "esc50-cifar10", "--json"]) == 0
    reports = json.loads(capsys.readouterr().out)
    assert [(report["name"], report["num_items"]) for report in reports] == [("esc50", 400), ("cifar10", 120)]
    next((tmp_path / "data" / "esc50" / "audio").iterdir()).unlink()
    assert main(["datasets", "check", "esc50-cifar10"]) == 2
    out, err = capsys.readouterr()
    assert "esc50: " in out
    assert "cifar10: " in out
    assert "1 missing" in err


def test_the_real_sets_are_there_as_they_lie(data_root):
    result = run("prepare", "esc50-cifar10", SOUNDSIGHT_DATA=str(data_root))
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [str(data_root / "esc50"), str(data_root / "cifar10")]
    assert result.stderr.count("is there already") == 2


@pytest.mark.parametrize("command", ["prepare", "check"])
def test_one_folder_is_not_for_two_sets(tmp_path, command):
    message = one_line(run(command, "esc50-cifar10", "--folder", str(tmp_path)))
    assert "stands for esc50 and cifar10" in message
    assert "SOUNDSIGHT_DATA" in message
    assert not list(tmp_path.iterdir())


PREPARE = """
import sys
from dataclasses import replace
from soundsight.datasets import cifar10, esc50, fsdd
fsdd.INFO = replace(fsdd.INFO, files=(replace(fsdd.INFO.files[0], urls=(sys.argv[1],)),))
from soundsight.cli import main
sys.exit(main(["datasets", "prepare", "fsdd", "--folder", sys.argv[2]]))
"""


def test_ctrl_c_keeps_what_came_and_the_next_call_goes_on(tmp_path):
    body = packed_fsdd(tmp_path / "source")
    target = tmp_path / "fsdd"
    env = os.environ | {"no_proxy": "127.0.0.1"}
    with serve() as server:
        server.files["fsdd.tar.gz"] = Served(body, block=20_000, pause_s=0.05)
        command = [sys.executable, "-c", PREPARE, server.url("fsdd.tar.gz"), str(target)]
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            part = target / f"{fsdd.INFO.files[0].path}.part"
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline and not (part.is_file() and part.stat().st_size > 40_000):
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        assert "Traceback" not in err
        kept = part.read_bytes()
        assert 40_000 < len(kept) < len(body)
        assert body.startswith(kept)
        server.files["fsdd.tar.gz"] = Served(body)
        again = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
        assert again.returncode == 0, again.stderr
        assert server.ranges == [None, f"bytes={len(kept)}-"]
        assert len(fsdd.load(target)) == 500
