"""Closed streams, foreign home directories, whole folders: what surrounds a command changes nothing it should not."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnx_models import generator_bytes, write_generator
from soundsight.cli import COMMANDS, main
from soundsight.cli.mixture import parse
from words import COMMAND, Generate, files, phrase, write


def shell(line: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", line.replace("soundsight", str(COMMAND))],
        cwd=cwd,
        # What a test in this process has loaded must not speak for the command.
        env={k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_loses_what_is_said_and_nothing_else(closed, toy_model, tmp_path):
    write(tmp_path / "a.wav")
    done = shell(f"soundsight generate a.wav -o out --model {toy_model} {closed}", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert files(tmp_path / "out") == ["a.png"]
    assert shell(f"soundsight --version {closed}", tmp_path).returncode == 0


def test_nothing_can_be_read_from_a_closed_standard_input(toy_model, tmp_path):
    done = shell(f"soundsight generate - -o out --model {toy_model} <&-", tmp_path)
    assert done.returncode == 2
    assert done.stderr == "soundsight: error: stdin: empty, 0 bytes; expected a sound\n"


def test_nothing_is_noted_about_this_machine_and_nothing_is_said_for_lack_of_a_home(toy_model, tmp_path):
    """ONNX Runtime would keep a device's number and events to send in the home directory, or say that it cannot."""
    write(tmp_path / "a.wav")
    (tmp_path / "home").mkdir()
    line = f"soundsight generate a.wav -o out --model {toy_model} && soundsight info"
    done = shell(line, tmp_path, HOME=str(tmp_path / "home"), XDG_CACHE_HOME=str(tmp_path / "home"))
    assert (done.returncode, done.stderr) == (0, "")
    assert list((tmp_path / "home").rglob("*")) == []
    homeless = shell(line, tmp_path, HOME="/proc/1/nowhere", NO_COLOR="1")
    assert (homeless.returncode, homeless.stderr) == (0, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_plain_and_whole_in_a_narrow_terminal(name, tmp_path):
    text = shell(f"soundsight {name} --help", tmp_path, COLUMNS="40").stdout
    assert text.startswith("Usage: soundsight")
    assert "--help" in text
    assert "…" not in text
    assert not set("─│╭╮╰╯┌└") & set(text)
    assert "<bool>" not in text, "a flag takes no value"


@pytest.mark.parametrize(
    "command", [["morph", "{}", "{}", "-o", "m.gif"], ["generate", "--mix", "{}", "{}", "-o", "m.png"]]
)
def test_several_words_are_not_taken_for_one(command, toy_model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "phrase.wav", phrase(2))
    assert main([*(part.format("phrase.wav") for part in command), "--model", str(toy_model)]) == 2
    assert "utterances in it, and one is wanted" in capsys.readouterr().err
    assert files(tmp_path) == ["phrase.wav"]


def test_several_words_are_not_ranked_as_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "phrase.wav", phrase(2))
    Image.fromarray(np.zeros((28, 28), np.uint8)).save("p.png")
    assert main(["rank", "phrase.wav", "p.png"]) == 2
    assert "utterances in it, and one is wanted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("-", "not to standard output"),
        ("", "--out is empty"),
    ],
)
def test_an_output_that_is_none(out, message, generate: Generate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.wav")
    code, _, err = generate("a.wav", "-o", out)
    assert (code, files(tmp_path)) == (2, ["a.wav"])
    assert message in err[0]


def test_an_empty_name_is_no_folder(generate: Generate, tmp_path):
    code, _, err = generate("", "-o", tmp_path / "out")
    assert (code, err) == (2, ["soundsight: error: '': no name of a file"])


def test_errors_name_the_file_that_was_asked_for(generate: Generate, tmp_path):
    sound = write(tmp_path / "a.wav")
    code, _, err = generate(sound, "-o", sound / "below.png")
    assert code == 2
    assert str(sound / "below.png") in err[0]
    assert ".tmp" not in err[0]


def test_a_film_is_a_file_and_its_folder_can_be_written_before_the_work(toy_model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.wav")
    common = ["--model", str(toy_model), "--frames", "2"]
    assert main(["morph", "a.wav", "a.wav", "-o", "films.gif/", *common]) == 2
    assert main(["morph", "no.wav", "a.wav", "-o", "a.wav/film.gif", *common]) == 2
    assert "a.wav" in capsys.readouterr().err.splitlines()[-1]
    assert files(tmp_path) == ["a.wav"]


def test_a_morph_warns_of_what_the_model_does_not_know(tmp_path, monkeypatch, capsys):
    strange = write_generator(tmp_path / "strange", generator_bytes(quiet=2.0))
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.wav")
    assert main(["morph", "a.wav", "a.wav", "-o", "m.gif", "--frames", "2", "--model", str(strange)]) == 0
    assert capsys.readouterr().err.count("this does not sound like") == 2


def test_a_file_that_is_called_like_a_weight_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:0.5").touch()
    assert parse(["a:0.5", "b:0.5", "c:d"]) == (["a:0.5", "b", "c:d"], [1.0, 0.5, 1.0])


def test_a_strict_refusal_names_every_part(tmp_path, generate: Generate):
    strange = write_generator(tmp_path / "strange", generator_bytes(quiet=2.0))
    code, _, err = generate(
        write(tmp_path / "phrase.wav", phrase(2)), "-o", tmp_path / "out", "--strict", model=strange
    )
    assert code == 2
    assert "part 1:" in err[0]
    assert "part 2:" in err[1]


def test_data_sets_are_listed_in_lines_that_a_narrow_terminal_holds(tmp_path):
    rows = json.loads(shell("soundsight datasets list --json", tmp_path).stdout)
    text = shell("soundsight datasets list", tmp_path, COLUMNS="40").stdout.splitlines()
    assert len(text) == len(rows) + 1
    for line, row in zip(text, rows, strict=False):
        if row["kind"] == "bundle":
            assert line == f"{row['name']}: stands for {' and '.join(row['stands_for'])}"
            continue
        assert line.startswith(f"{row['name']}: {row['kind']}s, ")
        assert row["title"] in line
