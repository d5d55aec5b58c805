"""The rules of the building: who may import whom, what stays unloaded, what never appears.

Each rule is a function from a source tree to the lines that break it, and is shown a small tree that does.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onnx_models import write_generator

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "src" / "soundsight"

# From the ground up; a room imports only from rooms in lines above its own. docs/architecture.md says why.
FLOORS = (
    {"_version", "errors"},
    {"registry", "files", "manifest", "noise", "photo", "picture", "runtime"},
    {"client", "folder", "config", "film", "foreign"},
    {"audio"},
    {"features", "datasets"},
    {"conditioning", "losses", "metrics"},
    {"adapters", "encoders", "models", "texts"},
    {"backbones", "training"},
    {"export"},
    {"blending", "controls", "generator", "hearing", "result"},
    {"alignment", "pipeline"},
    {"batch", "server"},
    {"evaluation"},
    {"reproduction"},
    {"cli"},
    {"__init__", "__main__"},
)
DATA_ONLY = {"recipes", "pretrained"}
LEVEL = {room: level for level, floor in enumerate(FLOORS) for room in floor}

MAX_LINES = 350
HEAVY = (
    "numpy",
    "onnxruntime",
    "torch",
    "pydantic",
    "PIL",
    "soundfile",
    "soxr",
    "rich",
    "av",
    "transformers",
    "diffusers",
)


def room_of(path: Path, root: Path) -> str:
    return path.relative_to(root).parts[0].removesuffix(".py")


def modules(root: Path) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(root.rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported anywhere, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def upward_imports(root: Path) -> list[str]:
    """Imports of a higher room, or of a neighbour on the same floor; rooms without a floor; relative imports."""
    broken = []
    for path, tree in modules(root):
        home = room_of(path, root)
        if home not in LEVEL and home not in DATA_ONLY:
            broken.append(f"{path.name}: the room '{home}' has no floor")
            continue
        for line, name in imported(tree):
            package, _, rest = name.partition(".")
            if package == "":
                broken.append(f"{path.name}:{line}: relative import of {name}")
            if package != "soundsight":
                continue
            # A name that is no room (`from soundsight import AudioToImage`) comes from the top.
            room = rest.split(".")[0] if rest.split(".")[0] in LEVEL else "__init__"
            if room != home and LEVEL[room] >= LEVEL.get(home, 0):
                broken.append(f"{path.name}:{line}: {home} imports {room}")
    return broken


def dangers(root: Path) -> list[str]:
    """Whatever would run code from a file: pickle and its kin, torch.load, eval, exec."""
    broken = []
    for path, tree in modules(root):
        for line, name in imported(tree):
            if name.split(".")[0] in {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}:
                broken.append(f"{path.name}:{line}: {name}")
            if name == "torch.load":
                broken.append(f"{path.name}:{line}: torch.load")
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            unsafe_load = any(
                keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False" for keyword in node.keywords
            )
            if called in {"eval", "exec", "compile", "__import__", "torch.load"} or unsafe_load:
                broken.append(f"{path.name}:{node.lineno}: {called}")
    return broken


def long_files(root: Path) -> list[str]:
    """Files that have outgrown one reading."""
    return [
        f"{path.name}: {count} lines"
        for path in sorted(root.rglob("*.py"))
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    ]


RULES: list[Callable[[Path], list[str]]] = [upward_imports, dangers, long_files]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_source_keeps_the_rule(rule: Callable[[Path], list[str]]) -> None:
    assert len(list(SOURCE.rglob("*.py"))) > 30
    assert rule(SOURCE) == []


@pytest.mark.parametrize(
    ("rule", "where", "text", "found"),
    [
        (upward_imports, "audio/clip.py", "import soundsight.cli", "clip.py:1: audio imports cli"),
        (
            upward_imports,
            "audio/clip.py",
            "def f():\n    from soundsight import pipeline",
            "clip.py:2: audio imports pip",
        ),
        (upward_imports, "errors.py", "from soundsight.registry import find", "errors.py:1: errors imports registry"),
        (upward_imports, "features/mfcc.py", "from soundsight.datasets import mnist", "features imports datasets"),
        (upward_imports, "config.py", "from soundsight import AudioToImage", "config imports __init__"),
        (
            upward_imports,
            "models/x.py",
            "if TYPE_CHECKING:\n    from soundsight.training import system",
            "x.py:2",
        ),
        (upward_imports, "audio/clip.py", "from ..cli import main", "clip.py:1: relative import"),
        (upward_imports, "attic/x.py", "", "the room 'attic' has no floor"),
        (dangers, "folder.py", "import pickle", "folder.py:1: pickle"),
        (dangers, "folder.py", "def f(p):\n    return torch.load(p)", "folder.py:2: torch.load"),
        (dangers, "folder.py", "from torch import load", "folder.py:1: torch.load"),
        (dangers, "folder.py", "numpy.load(p, allow_pickle=True)", "folder.py:1: numpy.load"),
        (dangers, "config.py", "x = eval('1')", "config.py:1: eval"),
        (dangers, "config.py", "exec('1')", "config.py:1: exec"),
        (long_files, "config.py", "\n" * (MAX_LINES + 1), f"config.py: {MAX_LINES + 1} lines"),
    ],
)
def test_the_rule_can_be_broken(
    tmp_path: Path, rule: Callable[[Path], list[str]], where: str, text: str, found: str
) -> None:
    file = tmp_path / where
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    (line,) = rule(tmp_path)
    assert found in line


def test_harmless_code_breaks_no_rule(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "clip.py").write_text(
        "import re\nfrom soundsight.errors import AudioError\nmodel.eval()\nre.compile('x')\nnumpy.load(p)\n"
    )
    assert [line for rule in RULES for line in rule(tmp_path)] == []


def loaded_by(code: str, *arguments: str) -> set[str]:
    """Which of the top-level modules are loaded after ``code`` ran in an interpreter of its own."""
    report = "\nimport sys\nsys.stderr.write('\\nLOADED ' + ' '.join({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code + report, *arguments], capture_output=True, text=True, check=True)
    return set(done.stderr.rpartition("LOADED ")[2].split())


def test_the_probe_sees_what_is_loaded() -> None:
    assert {"numpy", "soundsight"} <= loaded_by("import numpy, soundsight")


COMMAND = "import sys; from soundsight.cli import main; code = main(sys.argv[1:]); assert code == 0, code"


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        ("import soundsight", ()),
        (COMMAND, ("--version",)),
        (COMMAND, ("generate", "x", "--help")),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code: str, arguments: tuple[str, ...]) -> None:
    assert loaded_by(code, *arguments) & (set(HEAVY) - {"rich"}) == set()


def test_help_loads_nothing_but_what_prints_it() -> None:
    assert loaded_by(COMMAND, "--help") & set(HEAVY) <= {"rich"}


def test_generating_needs_neither_pydantic_nor_torch(tmp_path: Path) -> None:
    model = write_generator(tmp_path / "model")
    sound = REPOSITORY / "examples" / "seven.wav"
    loaded = loaded_by(COMMAND, "generate", str(sound), "-o", str(tmp_path / "out"), "--model", str(model))
    assert {"numpy", "onnxruntime", "soundfile"} <= loaded
    assert loaded & {"torch", "pydantic", "rich", "scipy", "librosa", "av", "onnx"} == set()
    assert (tmp_path / "out" / "seven.png").stat().st_size > 0
