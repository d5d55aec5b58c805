"""How ``soundsight serve`` is started, and what it says where it cannot be."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

pytest.importorskip("fastapi")

from onnx_models import describe, write_judge
from serve_process import READY, SERVE, served
from served import check_told
from soundsight.folder import write_folder

pytestmark = pytest.mark.slow


def _mistake(*options: str, **environment: str) -> str:
    """What is said where a server does not start."""
    done = subprocess.run(
        [*SERVE, *options], capture_output=True, text=True, timeout=60, check=False, env=os.environ | environment
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith("soundsight: error: ")
    return done.stderr


def test_a_warning_where_others_can_reach_it(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "closed").mkdir()
    with served(tmp_path / "open", "--host", "0.0.0.0") as server:
        warning, ready = server.log.read_text().splitlines()
        assert "warning" in warning
        assert "--token" in warning
        assert READY.fullmatch(ready + "\n")
    with served(tmp_path / "closed", "--host", "0.0.0.0", SOUNDSIGHT_TOKEN="secret") as server:
        assert READY.fullmatch(server.log.read_text())
        status, _, content = server.ask("/v1/models")
        assert status == 401
        check_told(json.loads(content), 401)
        assert server.ask("/v1/models", authorization="Bearer secret")[0] == 200
        assert "secret" not in " ".join(psutil.Process(server.process.pid).cmdline())


def test_a_proxy_in_the_environment_is_not_asked(tmp_path: Path) -> None:
    """Several workers are asked whether they are ready; this machine needs no proxy for that."""
    with served(tmp_path, "--workers", "2", http_proxy="http://127.0.0.1:9", no_proxy="", NO_PROXY="") as server:
        assert server.ask("/healthz")[0] == 200


def test_the_other_loopback(tmp_path: Path) -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    with served(tmp_path, "--host", "::1") as server:
        assert server.host == "::1"
        assert server.ask("/healthz")[0] == 200


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        said = _mistake("--port", port)
    assert f"port {port}" in said
    assert "--port" in said


@pytest.mark.parametrize("workers", ["1", "2"])
def test_models_that_cannot_be_served(tmp_path: Path, workers: str) -> None:
    said = _mistake("--port", "0", "--workers", workers, "--model", "nope")
    assert "'nope'" in said
    assert "digits" in said
    adapter = replace(
        describe(tmp_path / "adapter", name="spoken", kind="adapter", labels=None, latent_size=0),
        features={"name": "toy", "size": 8, "identity": "0"},
        target={"name": "toy", "identity": "0", "sizes": {}, "template": "{}"},
    )
    write_folder(adapter, {"model.safetensors": b"nothing"})
    assert "--backbone" in _mistake("--port", "0", "--workers", workers, "--model", str(tmp_path / "adapter"))
    _mistake("--port", "0", "--workers", workers, "--model", str(write_judge(tmp_path / "judge")))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--port", "70000"], "--port"),
        (["--workers", "0"], "--workers"),
        (["--max-upload", "0"], "--max-upload"),
        (["--max-upload", "nan"], "--max-upload"),
        (["--max-upload", "inf"], "--max-upload"),
        (["--origin", "example.org"], "origin"),
        (["--origin", "*"], "origin"),
        (["--max-seconds", "nan"], "--max-seconds"),
        (["--max-images", "0"], "--max-images"),
        (["--queue", "0"], "queue"),
        (["--deadline", "0"], "deadline"),
        (["--rate", "0"], "rate"),
        (["--batch", "0"], "--batch"),
        (["--window", "-1"], "window"),
        (["--token", "ü"], "token"),
        (["--host", "no.such.host.invalid"], "no.such.host.invalid"),
        (["--host", "192.0.2.1"], "192.0.2.1"),
        (["--nope"], "--nope"),
    ],
)
def test_options_that_do_not_fit(options: list[str], word: str) -> None:
    assert word in _mistake(*(["--port", "0"] if "--port" not in options else []), *options)


def test_help_says_every_option() -> None:
    done = subprocess.run([*SERVE, "--help"], capture_output=True, text=True, timeout=60, check=True)
    for option in ("--host", "--port", "--token", "--origin", "--model", "--workers", "--max-upload", "--max-seconds"):
        assert option in done.stdout
    for option in ("--max-images", "--queue", "--deadline", "--rate", "--batch", "--window", "SOUNDSIGHT_TOKEN"):
        assert option in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    "module", ["fastapi", "uvicorn", "httptools", "python_multipart", "prometheus_client", "websockets"]
)
def test_without_the_extra(module: str) -> None:
    """One line that says what to install, whichever part of it is missing."""
    code = (
        "import importlib.util, sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] == {module!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "find = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, *rest: None if name == {module!r} else find(name, *rest)\n"
        "from soundsight.cli import main\n"
        "sys.exit(main(['serve', '--port', '0']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "pip install 'soundsight[serve]'" in done.stderr
