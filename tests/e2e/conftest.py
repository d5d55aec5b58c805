"""Fixtures of the tests that go through the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from onnx_models import write_generator
from soundsight.cli import main


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a small random generator."""
    return write_generator(tmp_path_factory.mktemp("model") / "toy")


@pytest.fixture
def generate(toy_model: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str], list[str]]]:
    """``soundsight generate`` in this process: exit code, lines on stdout, lines on stderr."""

    def call(*arguments: object, model: Path | str = toy_model) -> tuple[int, list[str], list[str]]:
        code = main(["generate", *map(str, arguments), "--model", str(model)])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out.splitlines(), err.splitlines()

    return call
