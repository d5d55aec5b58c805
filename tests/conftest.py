"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# Seeds explicit, and no clock: a machine under load is no failure.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# A script's background job inherits an ignored Ctrl-C and hands it on: commands that tests interrupt would not hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the real data: SOUNDSIGHT_DATA, else ../shared/data; the test says so when it is absent."""
    root = Path(os.environ.get("SOUNDSIGHT_DATA", _SHARED))
    if not (root / "fsdd").is_dir():
        pytest.skip(f"no real data in {root}; set SOUNDSIGHT_DATA")
    return root
