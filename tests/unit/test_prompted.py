"""From a sound to a picture of a frozen text-to-image model, through the one pipeline object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import tiny_backbones
import tiny_clap
from encoder_laws import noise
from soundsight import AudioToImage, encoders, picture
from soundsight.audio import Clip
from soundsight.encoders.writing import write_shard
from soundsight.errors import ModelError, SoundsightError
from soundsight.pipeline.prompted import Prompted
from tiny_adapters import write_adapter

STEPS = 3


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("prompted")
    found = {
        "clap": tiny_clap.write(folder / "clap"),
        "sd3": tiny_backbones.write(folder / "sd3", "sd3"),
        "mute": tiny_backbones.write(folder / "mute", "sd3", texts=False),
    }
    return found | {"adapter": write_adapter(folder / "toy", encoders.load("clap", found["clap"]))}


@pytest.fixture(scope="module")
def pipe(places: dict[str, Path]) -> AudioToImage:
    return AudioToImage.from_pretrained(places["adapter"], backbone=places["sd3"], encoder=places["clap"])


@pytest.fixture(scope="module")
def sounds() -> list[Clip]:
    return [noise(0.8, 48_000, seed) for seed in range(3)]


def test_what_was_heard_before_paints_the_same(
    pipe: Prompted, places: dict[str, Path], sounds: list[Clip], tmp_path: Path
) -> None:
    """Shards instead of the encoder: mixed, placed and taking turns, too."""
    files = [tmp_path / f"{i}.wav" for i in range(2)]
    with write_shard(tmp_path / "a.tar") as shard:
        for file, clip in zip(files, sounds, strict=False):
            soundfile.write(file, clip.samples, clip.sample_rate_hz, subtype="FLOAT")
            facts = {"encoder": "clap", "identity": pipe.encoder.identity}
            shard.add(file.stem, pipe.encoder.encode([clip])[0].tokens_LD, facts)
    known = AudioToImage.from_pretrained(places["adapter"], backbone=places["sd3"], encoder=tmp_path)
    asked: dict[str, Any] = {"steps": 2, "guidance": 2.0, "places": [(files[1], "left")], "then": (files[1], 0.5)}
    np.testing.assert_allclose(known(files[0], **asked).array, pipe(files[0], **asked).array, atol=1)
    mixed = [each.mix(files, [1, 2], steps=2).array for each in (known, pipe)]
    np.testing.assert_allclose(*mixed, atol=1)
    with pytest.raises(SoundsightError, match="found by the name of a file"):
        known(sounds[0])
    other = tmp_path / "b" / "a.tar"
    other.parent.mkdir()
    with write_shard(other) as shard:
        shard.add("0", np.zeros((1, pipe.encoder.size), np.float32), {"encoder": "clap", "identity": "0" * 64})
    with pytest.raises(ModelError, match="trained on another 'clap'"):
        AudioToImage.from_pretrained(places["adapter"], backbone=places["sd3"], encoder=other)


def test_a_picture_is_what_the_backbone_paints_of_what_the_adapter_says(pipe: Prompted, sounds: list[Clip]) -> None:
    pictures = pipe(sounds[0], num_images=2, seed=7, steps=STEPS, guidance=3.0)
    with torch.inference_mode():
        (heard,) = pipe.encoder.encode([sounds[0]])
        said = pipe.adapter(torch.from_numpy(heard.tokens_LD)[None], torch.from_numpy(heard.pooled_D)[None])
    by_hand = pipe.backbone.paint(said, num_images=2, seed=7, steps=STEPS, guidance=3.0).images_NCHW
    wanted = (255 * by_hand.transpose(0, 2, 3, 1)).round()
    assert np.abs(pictures.array - wanted).max() <= 1
    assert pictures.array.shape[1:] == (pipe.backbone.default_size, pipe.backbone.default_size, 3)
    assert pictures.heard is None
    assert pictures.metadata(0)["model"] == "toy + sd3"


def test_it_hears_the_sound_and_the_seed(pipe: AudioToImage, sounds: list[Clip]) -> None:
    def paint(sound: Clip, seed: int) -> Any:
        return pipe(sound, seed=seed, steps=STEPS).array.astype(int)

    one = paint(sounds[0], 0)
    np.testing.assert_array_equal(one, paint(sounds[0], 0))
    assert np.abs(one - paint(sounds[1], 0)).max() > 0
    assert np.abs(one - paint(sounds[0], 1)).mean() > 5


def test_any_file_is_heard_at_the_encoders_rate(pipe: AudioToImage) -> None:
    low = noise(1.0, 8_000)
    assert pipe.hear(low)[0].sample_rate_hz == 48_000
    assert len(list(pipe.stream((low.samples, 8_000), steps=1, split=True))) == 1


def test_a_mixture_of_a_sound_with_itself_is_that_sound(pipe: AudioToImage, sounds: list[Clip]) -> None:
    alone = pipe(sounds[0], steps=STEPS).array.astype(int)
    both = pipe.mix([sounds[0], sounds[0]], [0.7, 0.3], steps=STEPS)
    assert np.abs(alone - both.array).max() <= 1
    other = pipe.mix([sounds[0], sounds[1]], [0.5, 0.5], steps=STEPS).array
    assert np.abs(alone - other).max() > 1
    turned = pipe.mix([sounds[1], sounds[0]], [3, 3], steps=STEPS).array.astype(int)
    assert np.abs(other - turned).max() <= 1


def test_a_sound_in_a_place_changes_the_picture_there_first(pipe: AudioToImage, sounds: list[Clip]) -> None:
    plain = pipe(sounds[0], steps=1, guidance=1.0).array.astype(int)
    placed = pipe(sounds[0], steps=1, guidance=1.0, places=[(sounds[1], "left")]).array.astype(int)
    change = np.abs(plain - placed).sum(axis=(0, 3)).mean(axis=0)  # of each column
    # The autoencoder carries a little of it over.
    assert change[: len(change) // 4].mean() > 2 * change[-len(change) // 4 :].mean()
    same = pipe(sounds[0], steps=1, guidance=1.0, places=[(sounds[0], "left")]).array.astype(int)
    assert np.abs(plain - same).max() <= 1


def test_another_sound_takes_over(pipe: AudioToImage, sounds: list[Clip]) -> None:
    first, second = (pipe(sound, steps=4).array.astype(int) for sound in sounds[:2])
    at_once = pipe(sounds[0], steps=4, then=(sounds[1], 0.0)).array.astype(int)
    never = pipe(sounds[0], steps=4, then=(sounds[1], 1.0)).array.astype(int)
    halfway = pipe(sounds[0], steps=4, then=(sounds[1], 0.5)).array.astype(int)
    assert np.abs(at_once - second).max() <= 1
    assert np.abs(never - first).max() <= 1
    assert np.abs(halfway - first).max() > 1
    assert np.abs(halfway - second).max() > 1


def test_a_louder_sound_is_followed_more(pipe: Prompted, sounds: list[Clip]) -> None:
    # The encoder here hears levels, too; what guidance was asked for is what counts.
    asked = []
    paint = pipe.backbone.paint
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipe.backbone, "paint", lambda said, **to: asked.append(to["guidance"]) or paint(said, **to))
        for gain in (0.001, 0.1, 1.0):
            pipe(Clip(sounds[0].samples * np.float32(gain), 48_000), steps=1, follow_loudness=True)
    assert asked[0] < asked[1] < asked[2]
    assert asked[0] == pytest.approx(2.0, abs=0.3)


def test_a_text_is_heard_beside_the_sound(pipe: AudioToImage, sounds: list[Clip]) -> None:
    plain, dog, half = (
        pipe(sounds[0], steps=STEPS, **controls).array.astype(int)
        for controls in ({}, {"prompt": "dog"}, {"prompt": "dog", "text_share": 0.5})
    )
    assert not np.array_equal(plain, dog), "the parts that the adapter does not say are the text's"
    assert np.abs(dog - half).max() > 1, "the pooled one is between"
    text_alone = [pipe(sound, steps=STEPS, prompt="dog", text_share=1.0).array.astype(int) for sound in sounds[:2]]
    assert np.abs(text_alone[0] - text_alone[1]).max() <= 1


def test_the_size_is_painted_or_scaled(pipe: Prompted, sounds: list[Clip]) -> None:
    own = pipe.backbone.default_size
    assert pipe(sounds[0], steps=1, size=2 * own).array.shape[1] == 2 * own
    scaled = pipe(sounds[0], steps=1, size=4 * own).array
    assert scaled.shape[1] == 4 * own
    small = pipe(sounds[0], steps=1).array
    assert np.abs(scaled[:, 2::4, 2::4].astype(int) - small).mean() < np.abs(small - small.mean()).mean()


def test_what_a_backbone_has_no_places_for_is_scaled(
    places: dict[str, Path], tmp_path: Path, sounds: list[Clip]
) -> None:
    """One that was trained here paints its own size and no larger one."""
    narrow = tiny_backbones.write(tmp_path / "narrow", "sd3", places=8)
    pipe = AudioToImage.from_pretrained(places["adapter"], backbone=narrow, encoder=places["clap"])
    own = pipe(sounds[0], steps=1).array
    assert own.shape[1:3] == (16, 16)
    larger = pipe(sounds[0], steps=1, size=32).array[0]
    expected = picture.to_uint8(picture.resize(own[0].transpose(2, 0, 1).astype(np.float32) / 255, 32))
    assert np.abs(larger.astype(int) - expected).max() <= 1


def test_steps_are_told_as_they_happen(pipe: Prompted, sounds: list[Clip]) -> None:
    told: list[tuple[int, int]] = []
    pipe.on_step = lambda done, total: told.append((done, total))
    try:
        pipe(sounds[0], steps=STEPS)
    finally:
        pipe.on_step = None
    assert told == [(step + 1, STEPS) for step in range(STEPS)]


def refused(error: type[SoundsightError], match: str) -> Any:
    return pytest.raises(error, match=match)


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"guidance": float("nan")}, "guidance is nan"),
        ({"text_share": 0.5}, "needs a text"),
        ({"follow_loudness": True, "guidance": 5.0}, "leave one of the two out"),
        ({"negative": "rain", "guidance": 1.0}, "nothing leads away from a negative prompt"),
        ({"text_share": 1.5, "prompt": "dog"}, "text_share is 1.5"),
        ({"prompt": 3}, "prompt is 3"),
        ({"prompt": "x" * 20_000}, "at most 10,000"),
        ({"variation": 1.0}, "has no variation"),
        ({"style": "a.png"}, "has no style"),
        ({"then": "a.wav"}, "a sound and a share"),
        ({"then": ("a.wav", 2.0)}, "share of the first sound"),
        ({"places": ["a.wav"]}, "a sound and its place"),
    ],
)
def test_what_cannot_be_turned_is_refused(
    controls: dict[str, Any], message: str, pipe: AudioToImage, sounds: list[Clip]
) -> None:
    with refused(SoundsightError, message):
        pipe(sounds[0], **controls)


def test_places_that_overlap_or_leave_the_picture_are_refused(pipe: AudioToImage, sounds: list[Clip]) -> None:
    with refused(SoundsightError, "overlap"):
        pipe(sounds[0], steps=1, places=[(sounds[1], "left"), (sounds[2], "top")])
    with refused(SoundsightError, "not inside"):
        pipe(sounds[0], steps=1, places=[(sounds[1], "0.5,0,1.5,1")])


@pytest.mark.parametrize("weights", [[1, 0], [1, -1], [float("nan"), 1]])
def test_a_mixture_needs_weights_above_0(weights: list[float], pipe: AudioToImage, sounds: list[Clip]) -> None:
    with refused(SoundsightError, "weights are"):
        pipe.mix(sounds[:2], weights, steps=1)


def test_a_text_needs_somebody_to_read_it(places: dict[str, Path], sounds: list[Clip]) -> None:
    mute = AudioToImage.from_pretrained(places["adapter"], backbone=places["mute"], encoder=places["clap"])
    assert mute(sounds[0], steps=1).array.std() > 0
    for asked in ("prompt", "negative"):
        with refused(SoundsightError, "^mute has no text encoder"):
            mute(sounds[0], steps=1, **{asked: "dog"})


def test_an_adapter_says_what_it_needs(places: dict[str, Path]) -> None:
    with refused(ModelError, r"add --backbone .*License.*--model digits works now"):
        AudioToImage.from_pretrained(places["adapter"], encoder=places["clap"])
    with refused(ModelError, "add --encoder"):
        AudioToImage.from_pretrained(places["adapter"], backbone=places["sd3"])
    with refused(ModelError, "paints by itself"):
        AudioToImage.from_pretrained("digits", backbone=places["sd3"])


def test_what_does_not_fit_is_refused_before_anything_is_painted(
    places: dict[str, Path], tmp_path: Path, sounds: list[Clip]
) -> None:
    encoder = encoders.load("clap", places["clap"])
    wide = write_adapter(tmp_path / "wide", encoder, pooled_size=48)
    with refused(ModelError, f"48 .*{tiny_backbones.POOLED}"):
        AudioToImage.from_pretrained(wide, backbone=places["sd3"], encoder=encoder)(sounds[0], steps=1)
    other = tiny_clap.write(tmp_path / "other", seed=1)
    with refused(ModelError, "another 'clap'"):
        AudioToImage.from_pretrained(places["adapter"], backbone=places["sd3"], encoder=other)


def test_the_encoder_hears_as_the_adapter_learned(
    places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, asked = encoders.load("clap", places["clap"]), []
    monkeypatch.setattr(encoders, "load", lambda name, weights, **options: asked.append(options) or encoder)
    features = {
        "name": "clap",
        "size": encoder.size,
        "identity": None,
        "options": {"output": "quantised", "relu": True},
    }
    learned = write_adapter(tmp_path / "learned", encoder, features=features)
    named: dict[str, Any] = {"backbone": places["sd3"], "encoder": places["clap"]}
    AudioToImage.from_pretrained(learned, **named)
    AudioToImage.from_pretrained(learned, **named, encoder_options={"pca": "a.npz", "relu": False})
    assert asked == [{"output": "quantised", "relu": True}, {"output": "quantised", "relu": False, "pca": "a.npz"}]
    with refused(ModelError, "loaded already"):
        AudioToImage.from_pretrained(learned, backbone=places["sd3"], encoder=encoder, encoder_options={"pca": "a.npz"})
    with refused(ModelError, "paints by itself"):
        AudioToImage.from_pretrained("digits", encoder_options={"pca": "a.npz"})


def test_a_backbone_that_was_taught_other_words_is_refused(places: dict[str, Path], tmp_path: Path) -> None:
    encoder = encoders.load("clap", places["clap"])
    target = {
        "name": "sentence",
        "identity": "a" * 64,
        "sizes": {"pooled": [tiny_backbones.POOLED]},
        "template": "{label}",
    }
    learned = write_adapter(tmp_path / "learned", encoder, target=target)
    own = tiny_backbones.write(tmp_path / "own", "sd3", texts=False)
    for identity in ("b" * 64, "a" * 64):
        (own / "card.json").write_text(json.dumps({"text_encoder": {"name": "sentence", "identity": identity}}))
        if identity[0] == "b":
            with refused(ModelError, r"learned the words of 'sentence' \(identity a{12}…\), and .* was taught"):
                AudioToImage.from_pretrained(learned, backbone=own, encoder=encoder)
    assert AudioToImage.from_pretrained(learned, backbone=own, encoder=encoder).folder.name == "toy"


def test_a_film_is_refused(pipe: AudioToImage, sounds: list[Clip]) -> None:
    with refused(SoundsightError, "no films"):
        pipe.morph(sounds[0], sounds[1])
