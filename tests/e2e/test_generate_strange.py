"""Sounds that a model does not know: said, told in JSON and in the pictures, and refused where that is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from onnx_models import generator_bytes, write_generator
from soundsight import AudioToImage
from soundsight.cli import main
from words import files


@pytest.fixture(scope="module")
def known(data_root: Path) -> Path:
    return sorted((data_root / "fsdd").rglob("7_*_1.wav"))[0]


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tone, whose features are dark but for one band."""
    path = tmp_path_factory.mktemp("sounds") / "tone.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000), 8000)
    return path


@pytest.fixture(scope="module")
def model(known: Path, strange: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It knows the one and not the other."""
    place = tmp_path_factory.mktemp("model")
    deaf = AudioToImage.from_pretrained(write_generator(place / "deaf"))
    high, low = (float(deaf.extract(deaf.hear(path)).mean()) for path in (known, strange))
    assert high > low + 0.01
    blob = generator_bytes(quiet=(high + low) / 2)
    return write_generator(place / "hearing", blob, card={"summary": "", "hears": "a spoken digit"})


@pytest.fixture
def call(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: object) -> tuple[int, list[str], list[str]]:
        code = main(["generate", *map(str, arguments), "-o", str(tmp_path / "out"), "--model", str(model)])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return run


def test_the_pipeline_says_what_it_heard(model, known, strange):
    pipe = AudioToImage.from_pretrained(model)
    right, wrong = pipe([known, strange])
    assert (right.heard.label, right.heard.confidence, right.heard.is_known) == ("7", 1.0, True)
    assert right.heard.outlier < 0.1
    assert wrong.heard.outlier > 0.9
    assert not wrong.heard.is_known
    assert right.metadata(0)["label"] == "7"
    assert float(wrong.metadata(0)["outlier"]) > 0.9


def test_a_model_that_does_not_say_says_nothing(toy_model, known):
    pictures = AudioToImage.from_pretrained(toy_model)(known)
    assert pictures.heard is None
    assert "label" not in pictures.metadata(0)


def test_a_strange_sound_gets_its_picture_and_a_warning(call, known, strange, tmp_path):
    code, out, err = call(known, strange)
    assert code == 0
    assert out == [f"2 files in {tmp_path / 'out'}"]
    (line,) = err
    assert line.startswith(f"soundsight: warning: {strange}: this does not sound like a spoken digit (score 1.00)")
    with Image.open(tmp_path / "out" / "tone.png") as image:
        assert float(image.info["outlier"]) > 0.9


def test_strict_makes_no_picture_of_it(call, known, strange, tmp_path):
    code, _, err = call(known, strange, "--strict")
    assert code == 1
    assert files(tmp_path / "out") == [f"{known.stem}.png"]
    assert err[0].startswith(f"soundsight: error: {strange}: this does not sound like a spoken digit")
    assert err[1] == "soundsight: 1 of 2 sounds could not be used"
    assert call(strange, "--strict")[0] == 2
    assert call(known, "--strict")[0] == 0


def test_json_carries_label_confidence_and_score(call, known, strange):
    code, out, _ = call(known, strange, "--json")
    assert code == 0
    first, second = (json.loads(line)["heard"] for line in out)
    assert first == {"label": "7", "confidence": 1.0, "outlier": pytest.approx(0, abs=0.1)}
    assert second["outlier"] > 0.9
    code, out, _ = call(known, strange, "--json", "--grid")
    told = [{"sound": str(path), **heard} for path, heard in ((known, first), (strange, second))]
    assert json.loads(out[-1])["heard"] == told
    code, out, _ = call(known, strange, "--json", "--strict")
    refused = json.loads(out[-1])
    assert (code, len(out), refused["heard"], refused["sound"]) == (1, 2, second, str(strange))
    assert "does not sound like a spoken digit" in refused["error"]
    code, out, _ = call("--mix", known, strange, "--json")
    assert json.loads(out[-1])["heard"] == [first, second]


def test_of_a_recording_with_strange_parts_the_others_are_kept(call, known, strange, tmp_path):
    voice, rate = soundfile.read(known)
    tone, _ = soundfile.read(strange)
    pause = np.zeros(rate)
    path = tmp_path / "mixed.wav"
    soundfile.write(path, np.concatenate([pause, voice, pause, tone, pause, voice, pause]), rate)
    code, _, err = call(path, "--strict")
    assert code == 1
    assert files(tmp_path / "out") == ["mixed-1.png", "mixed-3.png"]
    assert "mixed.wav, part 2: this does not sound like" in err[0]
    assert len(err) == 1
    _, out, _ = call(path, "--strict", "--json")
    lines = [json.loads(line) for line in out]
    assert sorted((line["part"], "error" in line) for line in lines) == [(1, False), (2, True), (3, False)]
    _, out, _ = call(path, "--strict", "--json", "--grid")
    assert [one["part"] for one in json.loads(out[-1])["heard"]] == [1, 3]


def test_a_mixture_says_what_it_does_not_know(call, known, strange, tmp_path):
    code, _, err = call("--mix", known, strange)
    assert code == 0
    (line,) = err
    assert line.startswith(f"soundsight: warning: {strange}: this does not sound like a spoken digit")
    (tmp_path / "out" / f"{known.stem}+tone.png").unlink()
    code, _, err = call("--mix", known, strange, "--strict")
    assert (code, files(tmp_path / "out")) == (2, [])
    assert err[0].startswith(f"soundsight: error: {strange}: this does not sound like a spoken digit")
    assert call("--mix", known, known, "--strict")[0] == 0


def test_a_network_that_answers_nan_is_refused(known, tmp_path, capsys):
    blob = generator_bytes(quiet=float("nan"))
    model = write_generator(tmp_path / "nan", blob)
    assert main(["generate", str(known), "-o", str(tmp_path), "--model", str(model)]) == 2
    assert "not finite" in capsys.readouterr().err


def test_strict_needs_a_model_that_can_tell(toy_model, known, tmp_path, capsys):
    code = main(["generate", str(known), "-o", str(tmp_path), "--model", str(toy_model), "--strict"])
    assert code == 2
    assert "cannot tell what it knows; leave out --strict" in capsys.readouterr().err
