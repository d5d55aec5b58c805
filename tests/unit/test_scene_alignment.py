"""A space of scenes: learned from pairs, exported, tested by retrieval, and what it says of pictures of pairs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from onnx_models import alignment_bytes, describe
from sample_data import write_scenes
from soundsight.cli import main
from soundsight.config import parse_recipe
from soundsight.datasets import pairs as folder_of_pairs
from soundsight.datasets.pair_splits import split_pairs
from soundsight.errors import DatasetError
from soundsight.evaluation.evaluator import baselines, evaluate
from soundsight.features import mfcc
from soundsight.folder import ImageShape, write_folder
from soundsight.training.trainer import train
from soundsight.training.weights import load_system

RATE_HZ = 16_000
SIDE = 16
CLIPS = "abcdefgh"


def brightness_of(clip: str, second: int) -> float:
    return ((second + 0.1 * CLIPS.index(clip)) % 8) / 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Eight clips of eight seconds, in each of which the pitch says how bright the picture is."""
    folder = tmp_path_factory.mktemp("scenes") / "pairs"
    rows = ["sound,image,clip,time_s"]
    rng = np.random.default_rng(0)
    for clip in CLIPS:
        (folder / clip).mkdir(parents=True)
        for second in range(8):
            level = brightness_of(clip, second)
            time_T = np.arange(RATE_HZ) / RATE_HZ
            tone_T = 0.3 * np.sin(2 * np.pi * 200 * 16**level * time_T) + 0.001 * rng.normal(size=RATE_HZ)
            soundfile.write(folder / clip / f"{second}.wav", tone_T, RATE_HZ)
            pixels_HWC = np.full((2 * SIDE, 2 * SIDE, 3), round(20 + 200 * level), np.uint8)
            pixels_HWC += rng.integers(0, 8, pixels_HWC.shape, dtype=np.uint8)
            Image.fromarray(pixels_HWC).save(folder / clip / f"{second}.png")
            rows.append(f"{clip}/{second}.wav,{clip}/{second}.png,{clip},{second}")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def space(folder, tmp_path_factory) -> Path:
    """Learned from six clips, by the recipe of the package on a small scale, and exported."""
    table = {
        "name": "space",
        "features": {"name": "mfcc"},
        "data": {"pairs": str(folder), "split": "clip"},
        "model": {"system": "alignment", "image_channels": 3, "image_size": SIDE, "bins": 13, "frames": 8},
        "train": {"batch_size": 48, "epochs": 60, "precision": "fp32", "optimizer": {"default": {"lr": 3e-3}}},
    }
    out = train(parse_recipe(table), tmp_path_factory.mktemp("space") / "space")
    assert not (out / "samples").exists(), "it makes no pictures"
    assert main(["export", str(out)]) == 0
    return out


def places(space: Path, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Of the sounds and pictures of the test clips, by PyTorch."""
    found = folder_of_pairs.load(folder)
    rows = split_pairs(found, "clip", seed=0).test
    features = mfcc.extract(found.load_sounds(rows, RATE_HZ), mfcc.Config())
    images = found.load_images(rows, SIDE).astype(np.float32) / 255
    module = load_system(space)[1].eval()
    with torch.no_grad():
        sound, image = module(torch.from_numpy(features), torch.from_numpy(images))
    return sound.double().numpy(), image.double().numpy()


def test_sounds_of_new_clips_find_their_pictures(space, folder):
    report = evaluate(space)
    sound_TD, image_TD = places(space, folder)
    near_TT = sound_TD @ image_TD.T
    scores = {score.name: score for score in report.scores}
    assert scores["match"].value == pytest.approx(near_TT.diagonal().mean(), abs=1e-4)
    (other,) = scores["match"].baselines
    assert other.value == pytest.approx(near_TT[~np.eye(16, dtype=bool)].mean(), abs=1e-4)
    assert scores["match"].value > other.value + 0.3
    for way, near in (("sound_to_picture", near_TT), ("picture_to_sound", near_TT.T)):
        for k in (1, 5, 10):
            score = scores[f"{way}_accuracy_at_{k}"]
            wanted = np.mean([i in np.argsort(-row)[:k] for i, row in enumerate(near)])
            assert score.value == pytest.approx(wanted)
            assert score.baselines[0].value == pytest.approx(k / 16)
        assert scores[f"{way}_accuracy_at_5"].value > 0.8
    assert (report.kind, report.num_pictures, report.num_heard, report.labels) == ("alignment", 16, 0, ())
    assert "of their own moment" in report.score_note
    assert report.data[0].num_train == 48


def test_the_nearest_training_sound_finds_what_its_frame_is_like(space, folder):
    report = evaluate(space)
    found = folder_of_pairs.load(folder)
    split = split_pairs(found, "clip", seed=0)
    sounds = {
        part: mfcc.extract(found.load_sounds(rows, RATE_HZ), mfcc.Config()).reshape(len(rows), -1).astype(np.float64)
        for part, rows in (("train", split.train), ("test", split.test))
    }
    images = found.load_images(range(len(found)), SIDE) / 255
    ranks = []
    for place, sound in enumerate(sounds["test"]):
        frame = images[split.train[np.square(sounds["train"] - sound).sum(axis=1).argmin()]]
        apart = np.square(images[split.test] - frame).mean(axis=(1, 2, 3))
        ranks.append(int((apart <= apart[place]).sum()))
    for score in report.scores:
        if score.name.startswith("sound_to_picture"):
            k = int(score.name.rpartition("_")[2])
            without = {b.name: b.value for b in score.baselines}["frame of the nearest training sound"]
            assert without == pytest.approx(np.mean([rank <= k for rank in ranks]))


def test_pictures_of_pairs_are_seen_smaller_by_a_whole_number(space, folder):
    large, small = (baselines(str(folder), split="clip", image_size=n, alignment=space) for n in (2 * SIDE, SIDE))
    of = [{s.name: {b.name: b.value for b in s.baselines} for s in report.scores} for report in (large, small)]
    name = "sound_to_picture_accuracy_at_5"
    assert of[0][name]["real frames"] == of[1][name]["real frames"] > 0.8
    assert of[0][name]["mean picture"] == 0
    assert not any("no better than by chance" in note for note in large.notes)


def test_where_real_frames_are_found_by_chance_it_is_told(space, folder, tmp_path):
    """Eight moments of one picture: nothing can tell which is whose."""
    for second in range(8):
        (tmp_path / f"{second}.wav").write_bytes((folder / "a" / f"{second}.wav").read_bytes())
        (tmp_path / f"{second}.png").write_bytes((folder / "a" / "0.png").read_bytes())
    report = baselines(str(tmp_path), split="random", image_size=SIDE, alignment=space)
    assert any("find each other no better than by chance" in note for note in report.notes)


def test_it_teaches_what_paints_such_pairs_and_nothing_else(space, folder, tmp_path):
    table = {
        "name": "taught",
        "features": {"name": "mfcc"},
        "data": {"pairs": str(folder), "split": "clip"},
        "model": {"system": "mfcc_generator", "image_size": SIDE, "channels": [16, 8, 8], "widths": [32]},
        "train": {"batch_size": 48, "epochs": 2, "precision": "fp32"},
        "consistency": {"model": str(space)},
    }
    out = train(parse_recipe(table), tmp_path / "taught")
    first = json.loads((out / "metrics.jsonl").read_text().splitlines()[0])
    assert first["consistency"] > 0
    report = evaluate(out, alignment=space, num_samples=0)
    assert "An alignment taught this model; the alignment score tells how well it learned that." in report.notes


def test_rank_takes_pictures_of_scenes(space, folder, capsys):
    pictures = [str(folder / "a" / f"{second}.png") for second in range(8)]
    assert main(["rank", str(folder / "b" / "3.wav"), *pictures, "--model", str(space), "--json"]) == 0
    best = [json.loads(line)["image"] for line in capsys.readouterr().out.splitlines()][:3]
    assert str(folder / "a" / "3.png") in best


def test_coefficients_are_heard_by_what_hears_coefficients(space, tmp_path):
    (tmp_path / "scenes" / "beach").mkdir(parents=True)
    write_scenes(tmp_path / "scenes", [(f"beach/beach{i}.png", "BEACH") for i in range(8)])
    for i in range(8):
        Image.fromarray(np.full((SIDE, SIDE, 3), 20 * i, np.uint8)).save(tmp_path / "scenes" / f"beach/beach{i}.png")
    assert baselines(str(tmp_path / "scenes"), image_size=SIDE, alignment=space).alignment["name"] == "space"
    described = describe(
        tmp_path / "deaf",
        name="deaf",
        system="alignment",
        latent_size=0,
        kind="alignment",
        labels=None,
        image=ImageShape(3, SIDE, SIDE),
    )
    deaf = write_folder(described, {"model.onnx": alignment_bytes((48, 48), (3, SIDE, SIDE))}).path
    with pytest.raises(DatasetError, match=r"come as coefficients \(mfcc\), without sounds, and 'deaf' hears logmel"):
        baselines(str(tmp_path / "scenes"), image_size=SIDE, alignment=deaf)
