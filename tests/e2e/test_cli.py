"""The command line around the commands: help, completion, laziness, models, info."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from onnx_models import write_judge
from soundsight import __version__
from soundsight.cli import COMMANDS, complete_models, complete_recipes, main
from soundsight.cli.group import load
from soundsight.folder import pretrained_names
from words import COMMAND, write

HEAVY = "{'numpy', 'onnxruntime', 'soundfile', 'soxr', 'PIL', 'torch', 'pydantic'}"


def _main(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def _python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, stdout=subprocess.DEVNULL)


def test_every_command_exists_and_says_what_the_table_says() -> None:
    for name, line in COMMANDS.items():
        command = load(name)
        assert command.name == name
        assert command.help.strip().splitlines()[0] == line, name


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = _main(capsys, name, "--help")
    assert (code, err) == (0, "")
    assert "Usage: soundsight " + name in out
    assert "Examples" in out or "Commands" in out


def test_help_lists_every_command_without_importing_one() -> None:
    _python(
        "import sys\n"
        "from soundsight.cli import main, COMMANDS\n"
        "import contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out: assert main([]) == 0\n"
        "assert all(name in out.getvalue() and line[:20] in out.getvalue() for name, line in COMMANDS.items())\n"
        f"assert not {HEAVY} & set(sys.modules)\n"
        "assert not {f'soundsight.cli.{name}' for name in COMMANDS} & set(sys.modules)\n"
    )


def test_generating_imports_only_what_it_needs(toy_model: Path, tmp_path: Path) -> None:
    """No pydantic (which Typer would bring), no PyTorch, no other command, rich only for a bar."""
    sound = write(tmp_path / "a.wav")
    _python(
        "import sys\n"
        "from soundsight.cli import main\n"
        f"assert main(['generate', {str(sound)!r}, '-o', {str(tmp_path)!r}, '--model', {str(toy_model)!r}]) == 0\n"
        "found = {'torch', 'pydantic', 'rich', 'click', 'importlib.metadata', 'av'} & set(sys.modules)\n"
        "assert not found, found\n"
        "assert not {'soundsight.cli.train', 'soundsight.config', 'soundsight.training'} & set(sys.modules)\n"
    )
    assert (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generat"], "Did you mean 'generate'"),
        (["nope"], "No such command 'nope'"),
        (["--nope"], "--nope"),
        (["models", "nope"], "No such command 'nope'"),
        (["models", "show"], "NAME|FOLDER"),
        (["models", "show", "nope"], "no 'nope' in models"),
        (["info", "extra"], "extra"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = _main(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("soundsight: error: ")
    assert message in err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(capsys, "--version") == (0, f"soundsight {__version__}\n", "")
    done = subprocess.run([sys.executable, "-m", "soundsight", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"soundsight {__version__}\n"


def _complete(words: str) -> list[str]:
    """What bash would offer for the last of these words."""
    environment = {
        **os.environ,
        "_SOUNDSIGHT_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run([COMMAND], env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split()


def test_completion() -> None:
    assert _complete("soundsight ") == list(COMMANDS)
    assert _complete("soundsight mod") == ["models"]
    assert _complete("soundsight models ") == ["list", "show"]
    assert "--num-images" in _complete("soundsight generate --n")
    assert _complete("soundsight generate --format w") == ["webp"]
    assert _complete("soundsight generate --model ") == ["digits"]
    assert _complete("soundsight rank --model ") == ["alignment"]
    assert _complete("soundsight models show ") == pretrained_names()
    assert _complete("soundsight train ") == complete_recipes("")
    assert "aivae-fsdd" in complete_recipes("aivae")
    assert complete_models("no such") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    environment = {**os.environ, "_SOUNDSIGHT_COMPLETE": f"source_{shell}"}
    done = subprocess.run([COMMAND], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert "_SOUNDSIGHT_COMPLETE" in done.stdout


def test_models_are_listed_with_their_cards(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _main(capsys, "models", "list", "--json")
    listed = json.loads(out)
    assert (code, [model["name"] for model in listed]) == (0, pretrained_names())
    for model in listed:
        card = model["card"]
        assert card["summary"]
        assert card["licence"]
        assert card["limits"]
        assert all({"name", "licence", "attribution"} <= source.keys() for source in card["data"])
        code, out, _ = _main(capsys, "models", "show", model["name"])
        assert code == 0
        assert all(source["attribution"] in out for source in card["data"])
    assert _main(capsys, "models", "list")[0] == 0


def test_the_card_of_a_folder(capsys: pytest.CaptureFixture[str], toy_model: Path, tmp_path: Path) -> None:
    code, out, _ = _main(capsys, "models", "show", toy_model)
    assert code == 0
    for part in (
        "A network with random weights.",
        "CC0-1.0",
        "nobody",
        "accuracy: 0.1",
        "It has learnt nothing.",
        "28",
    ):
        assert part in out
    code, out, _ = _main(capsys, "models", "show", write_judge(tmp_path / "judge"), "--json")
    facts = json.loads(out)
    assert (code, facts["system"], facts["features"]) == (0, "lenet5", None)
    assert facts["num_bytes"] == (tmp_path / "judge" / "model.onnx").stat().st_size


def test_the_card_of_a_damaged_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    judge = write_judge(tmp_path / "judge")
    (judge / "model.onnx").write_bytes(b"")
    code, out, err = _main(capsys, "models", "show", judge)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "SHA-256" in err


def test_info(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOUNDSIGHT_DATA", str(tmp_path))
    code, out, _ = _main(capsys, "info", "--json")
    facts = json.loads(out)
    assert (code, facts["soundsight"]) == (0, __version__)
    assert facts["versions"]["numpy"] == importlib.import_module("numpy").__version__
    assert facts["folders"]["data"] == str(tmp_path)
    assert facts["extras"]["train"]["install"] == "pip install 'soundsight[train]'"
    assert "torch" in facts["extras"]["train"]["versions"]
    assert "CPUExecutionProvider" in facts["devices"]["onnxruntime"]
    code, out, _ = _main(capsys, "info")
    assert code == 0
    assert f"soundsight {__version__}" in out
    assert str(tmp_path) in out


def test_info_names_what_is_missing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from soundsight.cli import info

    monkeypatch.setattr(info, "_version", lambda name: None if name in ("av", "torch") else "1.0")
    _, out, _ = _main(capsys, "info")
    assert "not installed: pip install 'soundsight[video]'" in out
