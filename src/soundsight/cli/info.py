"""``soundsight info``: what a bug report needs to say."""

from __future__ import annotations

import json
import os
import platform
import re
from typing import Annotated, Any

import typer

from soundsight.cli import examples, show

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_CORE = ("numpy", "onnxruntime", "soundfile", "soxr", "pillow", "pydantic", "typer", "rich")
# Extras that only bundle others.
_BUNDLES = {"all", "dev"}


@app.command(epilog=examples("soundsight info", "soundsight info --json"))
def info(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show versions, extras, devices and folders."""
    from soundsight._version import __version__

    facts: dict[str, Any] = {
        "soundsight": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in _CORE} | {"libsndfile": _libsndfile()},
        "extras": _extras(),
        "devices": _devices(),
        "folders": _folders(),
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    show(f"soundsight {facts['soundsight']}, Python {facts['python']}, {facts['platform']}")
    for title in ("versions", "extras", "devices", "folders"):
        show("")
        show(title)
        for name, value in facts[title].items():
            show(f"  {name:12} {_words(value)}")


def _words(value: Any) -> str:
    if isinstance(value, dict):  # an extra
        versions = ", ".join(f"{name} {version}" for name, version in value["versions"].items() if version)
        return versions if value["installed"] else f"not installed: {value['install']}"
    return ", ".join(value) if isinstance(value, list) else str(value)


def _version(distribution: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _libsndfile() -> str:
    import soundfile

    return str(soundfile.__libsndfile_version__)


def _extras() -> dict[str, Any]:
    """Each extra with the packages it brings, from the package's own metadata."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        requirements = requires("soundsight") or []
    except PackageNotFoundError:  # run from its source without being installed
        return {}
    packages: dict[str, list[str]] = {}
    for requirement in requirements:
        match = re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", requirement)
        if match and match[2] not in _BUNDLES:
            packages.setdefault(match[2], []).append(match[1])
    extras = {}
    for extra, names in sorted(packages.items()):
        versions = {name: _version(name) for name in names}
        installed = None not in versions.values()
        extras[extra] = {"installed": installed, "install": f"pip install 'soundsight[{extra}]'", "versions": versions}
    return extras


def _devices() -> dict[str, Any]:
    from soundsight.runtime import import_onnxruntime

    onnxruntime = import_onnxruntime()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices: dict[str, Any] = {"cpu": f"{cores} cores", "onnxruntime": onnxruntime.get_available_providers()}
    if _version("torch") is not None:
        import torch

        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        devices["torch"] = names or (["mps"] if torch.backends.mps.is_available() else ["cpu"])
    return devices


def _folders() -> dict[str, str]:
    from soundsight.datasets.info import data_root

    root = data_root()
    return {"data": str(root) if root.is_dir() else f"{root} (not there yet; see 'soundsight datasets list')"}
