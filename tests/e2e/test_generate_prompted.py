"""``soundsight generate`` with an adapter and a text-to-image model: recordings in, PNGs out, mistakes in a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from soundsight.backbones.backbone import Backbone, Painting
from soundsight.cli import main
from tiny_adapters import options_of

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ONE, TWO = EXAMPLES / "one.wav", EXAMPLES / "two.wav"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return options_of(tmp_path_factory.mktemp("parts"))


@pytest.fixture
def paint(
    parts: dict[str, Path], generate: Callable[..., tuple[int, list[str], list[str]]]
) -> Callable[..., tuple[int, list[str], list[str]]]:
    def call(*arguments: object, **without: bool) -> tuple[int, list[str], list[str]]:
        named = {name: path for name, path in parts.items() if name != "--model" and not without.get(name[2:])}
        options = [each for pair in named.items() for each in pair]
        return generate(*arguments, *options, "--steps", 2, model=parts["--model"])

    return call


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_ctrl_c_ends_the_sound_in_hand(paint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is finished stays; no other sound is begun, which may take minutes."""
    painted, own = [], Backbone.paint

    def interrupted(painter: Backbone, *args: object, **settings: object) -> object:
        painted.append(settings)
        if len(painted) == 2:
            raise KeyboardInterrupt
        return own(painter, *args, **settings)

    monkeypatch.setattr(Backbone, "paint", interrupted)
    code, _, _ = paint(ONE, TWO, EXAMPLES / "seven.wav", EXAMPLES / "three.wav", "-o", tmp_path)
    assert (code, len(painted)) == (130, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["one.png"]


def test_a_mixture_that_is_made_black_is_told(paint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    black = Painting(np.zeros((1, 3, 16, 16), np.float32), (0,))
    monkeypatch.setattr(Backbone, "paint", lambda *_, **__: black)
    code, _, err = paint("--mix", f"{ONE}:0.6", f"{TWO}:0.4", "-o", tmp_path)
    assert code == 0
    assert "safety checker has made 1 of 1 pictures black" in "\n".join(err)


def test_pictures_of_several_sounds(paint, tmp_path: Path) -> None:
    code, out, err = paint(ONE, TWO, "-o", tmp_path, "--num-images", 2, "--json")
    assert (code, err) == (0, [])
    told = [json.loads(line) for line in out]
    assert [Path(line["path"]).name for line in told] == ["one_0.png", "one_1.png", "two_0.png", "two_1.png"]
    assert pixels(tmp_path / "one_0.png").shape == (288, 288, 3), "16 pixels, scaled for a screen"
    assert np.abs(pixels(tmp_path / "one_0.png") - pixels(tmp_path / "one_1.png")).max() > 10
    with Image.open(tmp_path / "one_0.png") as image:
        assert "sd3" in str(image.info)
        assert str(tmp_path.parent) not in str(image.info), "no path of this machine goes into a picture"


def test_layers(paint, tmp_path: Path) -> None:
    for name, layer in {
        "plain": [],
        "place": ["--place", f"{TWO}@left"],
        "then": ["--then", f"{TWO}@0.5"],
        "text": ["--prompt", "dog", "--text-share", "0.5", "--negative", "rain"],
        "loud": ["--follow-loudness"],
        "without": ["--without", "text_encoder_3", "--without", "text_encoder"],
    }.items():
        assert paint(ONE, "-o", tmp_path / f"{name}.png", *layer)[0] == 0
    assert paint("--mix", f"{ONE}:0.6", f"{TWO}:0.4", "-o", tmp_path / "mix.png")[0] == 0
    found = {path.stem: pixels(path).tobytes() for path in tmp_path.glob("*.png")}
    assert len(found) == len(set(found.values())) == 7, "every layer changes something"


def test_words_that_are_not_read_are_told_in_a_line(paint, tmp_path: Path) -> None:
    long = "dog " * 75 + "under the rain"
    code, out, err = paint(ONE, "-o", tmp_path, "--prompt", long, "--negative", "dog " * 76)
    assert (code, out) == (0, [str(tmp_path / "one.png")])
    lost = "is too long, and is read by clip_l and clip_g (77 tokens) without"
    assert [line.partition(" is too long")[0].split(" 'dog")[0] for line in err] == [
        "soundsight: warning: the prompt",
        "soundsight: warning: the negative",
    ]
    assert err[0].endswith(f"{lost} 'under the rain'")
    assert err[1].endswith(f"{lost} 'dog'")
    assert paint(ONE, "-o", tmp_path, "--prompt", "dog " * 75)[2] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--place", "two.wav"], "expected dog.wav@left"),
        (["--place", f"{TWO}@middle"], "no place 'middle'"),
        (["--place", f"{TWO}@left", "--place", f"{TWO}@0,0,1,0.5"], "overlap"),
        (["--place", "absent.wav@left"], "absent.wav"),
        (["--then", f"{TWO}@soon"], "'soon' is no share"),
        (["--text-share", "0.5"], "needs a text"),
        (["--guidance", "nan"], "guidance is nan"),
        (["--strict"], "cannot tell what it knows"),
        (["--precision", "fp16"], "fp16 needs a GPU"),
        (["--without", "t5"], "cannot leave out 't5'; expected text_encoder, text_encoder_2, text_encoder_3"),
        (["--style", str(ONE)], "has no style"),
        (["--encoder-set", "output=raw"], "the encoder 'clap' has no option 'output'; known: download, revision"),
        (["--encoder-set", "revision"], "--encoder-set takes KEY=VALUE"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str, paint, tmp_path: Path) -> None:
    code, out, err = paint(ONE, "-o", tmp_path, *arguments)
    assert code == 2
    assert out == []
    assert len(err) == 1, err
    assert message in err[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("without", "message"), [("backbone", "--model digits works now"), ("encoder", "add --encoder")]
)
def test_what_is_not_named_is_asked_for(without: str, message: str, paint, tmp_path: Path) -> None:
    code, _, err = paint(ONE, "-o", tmp_path, **{without: True})
    assert code == 2
    assert len(err) == 1
    assert message in err[0]


def test_a_model_that_paints_by_itself_takes_no_text(generate, tmp_path: Path) -> None:
    code, _, err = generate(ONE, "-o", tmp_path, "--prompt", "a dog")
    assert (code, len(err)) == (2, 1)
    assert "has no prompt" in err[0]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["export"], "used as it is"),
        (["rank", str(ONE), str(EXAMPLES.parent / "docs" / "img" / "digits.png"), "--model"], "choose an alignment"),
    ],
)
def test_other_commands_say_what_an_adapter_is(command: list[str], message: str, parts, capsys) -> None:
    assert main([*command, str(parts["--model"])]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert message in err.splitlines()[-1]


def test_a_card_says_whose_words_it_learned(parts, capsys) -> None:
    assert main(["models", "show", str(parts["--model"])]) == 0
    assert "words       of the text encoder diffusion, for «an image of {label}»" in capsys.readouterr().out
