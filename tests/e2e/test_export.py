"""``soundsight export`` as a user calls it, on real data, and what the pipeline makes of the result."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from onnx_models import describe
from soundsight import AudioToImage, audio, noise
from soundsight.cli import main
from soundsight.export import load_system
from soundsight.features import logmel
from soundsight.folder import read_folder, write_folder
from soundsight.models import aivae, lenet5

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def judge(tmp_path: Path) -> Path:
    """An untrained LeNet-5, as training saves it."""
    torch.manual_seed(0)
    folder = describe(
        tmp_path / "judge",
        system="lenet5",
        features=None,
        kind="judge",
        latent_size=0,
        training={"recipe": {"data": {"images": "mnist"}}},
    )
    return write_folder(folder, {"model.safetensors": save(lenet5.System(lenet5.Config()).state_dict())}).path


def test_judge_is_exported_and_checked_on_real_images(
    judge: Path, data_root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(judge), "--data", str(data_root)]) == 0
    out, err = capfd.readouterr()
    assert err == f"converting {judge}\n"
    assert "test images of mnist" in out
    assert "61,706 parameters" in out  # LeCun et al. (1998) have 60,000 with sparse connections in C3
    assert set(read_folder(judge).weights) == {"model.onnx", "model.safetensors"}


def test_json_is_one_line(judge: Path, data_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "judge.onnx"
    assert main(["export", str(judge), "--data", str(data_root), "--out", str(out), "--json"]) == 0
    printed, err = capfd.readouterr()
    assert err == ""
    assert printed.count("\n") == 1
    report = json.loads(printed)
    assert report["path"] == str(out)
    assert report["num_bytes"] == out.stat().st_size
    assert report["max_difference"] < 1e-4
    assert report["onnx_ms"] > 0


@pytest.mark.slow
def test_aivae_gives_the_same_picture_from_both(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    system = aivae.System(aivae.Config())
    folder = describe(tmp_path / "aivae", latent_size=64)
    write_folder(folder, {"model.safetensors": save(system.state_dict())})
    sounds = [str(EXAMPLES / name) for name in ("seven.wav", "three.wav")]
    assert main(["export", str(folder.path), "--sounds", sounds[0], "--sounds", sounds[1]]) == 0
    capfd.readouterr()
    pictures = AudioToImage.from_pretrained(folder.path)(sounds[0], num_images=3, seed=9)
    clip = audio.condition(audio.decode(sounds[0], sample_rate_hz=8000))
    features = torch.from_numpy(logmel.extract([clip] * 3, logmel.Config()))
    with torch.inference_mode():
        _, module = load_system(folder.path)
        expected = module.generate(features, torch.from_numpy(noise.draw(9, 3, 64)))[:, 0].numpy()
    assert np.abs(pictures.array[..., 0] / 255 - expected).max() <= 0.5 / 255 + 1e-4


def test_mistakes_are_one_line(judge: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    cases = {
        ("nothing",): "no 'nothing' in models",
        (str(tmp_path / "empty"),): "no config.json",
        (str(judge), "--data", str(tmp_path)): "mnist: no t10k",
    }
    for args, message in cases.items():
        assert main(["export", *args]) == 2
        err = capfd.readouterr().err.splitlines()
        assert err[-1].startswith("soundsight: error: "), args
        assert message in err[-1], (args, err)
    assert sorted(tmp_path.rglob("*")) == before


def test_without_the_extra_there_is_one_line(judge: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from soundsight.cli import main\n"
        f"sys.exit(main(['export', {str(judge)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "soundsight: error: export needs the extra 'train': pip install 'soundsight[train]'\n"
