"""Every command and every line of Python that the README shows runs, in the order in which a reader would try them."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
DOCUMENTS = [README, REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]

# What takes more than one process to check has its own function; the rest is run as it stands.
TRAINING = ("train", "evaluate", "export", "datasets")
ELSEWHERE = (*TRAINING, "serve")
ADDRESS = "http://127.0.0.1:8000"


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    lines = [line for block in blocks("sh", text) for line in block.replace("\\\n", " ").splitlines() if line]
    return [shlex.split(line, comments=True) for line in lines]


ALL = commands(README.read_text(encoding="utf-8"))
SHOWN = [words for words in ALL if words[0] == "soundsight"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the reader has it: the examples are there, the README's outputs pile up."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(REPOSITORY / "examples", folder / "examples")
    return folder


def run(words: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    # These tests may themselves run under make, whose flags are none of the reader's.
    inherited = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}}
    done = subprocess.run(
        words,
        cwd=folder,
        env={**inherited, "COLUMNS": "200", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{shlex.join(words)}: {done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def soundsight(words: list[str]) -> list[str]:
    assert words[0] == "soundsight"
    return [sys.executable, "-m", *words]


def test_the_reader_finds_what_is_promised_first() -> None:
    assert ALL[0] == ["make", "demo"]
    core = {"generate", "morph", "rank", "models"}
    assert {words[1] for words in SHOWN} == core | {"serve", "datasets", "train", "evaluate", "export"}
    assert {words[0] for words in ALL} == {"make", "pip", "soundsight", "curl"}


@pytest.mark.parametrize("words", [w for w in SHOWN if w[1] not in ELSEWHERE and "runs/first" not in w], ids=shlex.join)
def test_a_command_of_the_core_runs(words: list[str], folder: Path) -> None:
    done = run(soundsight(words), folder)
    assert done.stdout.strip()
    if "-o" in words:
        out = folder / words[words.index("-o") + 1]
        pictures = [out] if out.suffix else list(out.glob("*.png"))
        assert pictures
        assert all(picture.read_bytes().startswith((b"\x89PNG", b"GIF89a")) for picture in pictures)


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """The README's server, at a port that is free."""
    command = [*soundsight(["soundsight", "serve"]), "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        said = server.stderr.readline()
        yield said.split()[2]
        server.terminate()


def test_the_server_answers_what_is_shown(address: str, folder: Path) -> None:
    shown = [words for words in ALL if words[0] == "curl"]
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    sheet, lines = (run([word.replace(ADDRESS, address) for word in [*words, "-sS"]], folder) for words in shown)
    assert (folder / "seven-sheet.png").read_bytes().startswith(b"\x89PNG"), sheet
    assert [json.loads(line)["type"] for line in lines.stdout.splitlines()] == ["sound", "image", "image", "end"]


def test_the_client_runs_as_shown(address: str, folder: Path) -> None:
    _, client = blocks("python", README.read_text(encoding="utf-8"))
    run([sys.executable, "-c", client.replace(ADDRESS, address)], folder)
    assert all((folder / f"seven-{i}.png").read_bytes().startswith(b"\x89PNG") for i in range(4))


def test_the_python_runs(folder: Path) -> None:
    block, _ = blocks("python", README.read_text(encoding="utf-8"))
    assert run([sys.executable, "-c", block], folder).stdout.strip() == "(4, 28, 28, 1)"
    assert (folder / "seven.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_training_session_runs_from_data_to_picture(folder: Path, data_root: Path) -> None:
    session = [words for words in SHOWN if words[1] in TRAINING or "runs/first" in words]
    assert [words[1] for words in session][-4:] == ["train", "evaluate", "export", "generate"]
    for words in session:
        shorter = ["--set", "data.max_pairs=6400"] if words[1] == "train" else []  # a tenth of the reader's minutes
        done = run(soundsight([*words, *shorter]), folder, SOUNDSIGHT_DATA=str(data_root))
        assert done.stdout.strip(), shlex.join(words)
    assert (folder / "runs" / "first" / "model.onnx").is_file()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_exist(document: Path) -> None:
    """The recipes themselves run in CI; here, that make knows the target and would run something."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    text = document.read_text(encoding="utf-8")
    shown = {words[1] for words in commands(text) if words[0] == "make"} | set(re.findall(r"`make ([a-z]+)`", text))
    for target in sorted(shown):
        done = run(["make", "--dry-run", target], REPOSITORY, PYTHON=sys.executable)
        assert "nothing to be done" not in done.stdout.lower(), target


def test_the_demo_uses_what_the_readme_teaches() -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    recipe = run(["make", "--dry-run", "demo"], REPOSITORY, PYTHON=sys.executable).stdout
    assert "soundsight generate examples" in recipe
    assert "[train]" not in recipe
    assert "[dev]" not in recipe


def test_install_lines_name_existing_extras() -> None:
    """`pip install` of the built wheel runs in CI (.ci/check_wheel); here, that what is asked for exists."""
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = README.read_text(encoding="utf-8")
    asked = re.findall(r"pip install '?\.(?:\[([a-z,]+)\])?", text)
    assert "" in asked
    assert {extra for extra in ",".join(asked).split(",") if extra} <= set(extras)
    assert "train" in asked


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_pictures_lead_somewhere(document: Path) -> None:
    for alt, target in re.findall(r"(!?)\[[^\]]*\]\(([^)#]+)", document.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            assert (document.parent / target).is_file(), f"{alt}{target}"
