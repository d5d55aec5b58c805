"""The parts of an evaluation: baselines, errors, published numbers, report and page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from fitted_models import recipe
from onnx_models import describe
from sample_data import write_fsdd
from soundsight.datasets.types import SoundSet
from soundsight.errors import DatasetError, ModelError, OutputError
from soundsight.evaluation import files
from soundsight.evaluation.baselines import images_of_labels, mean_image, nearest
from soundsight.evaluation.page import render
from soundsight.evaluation.protocol import Data, load_sounds, pair, recipe_of
from soundsight.evaluation.published import PUBLISHED, SCENES_2025, published
from soundsight.evaluation.report import Baseline, Group, Report, Sample, Score, shown_groups
from soundsight.evaluation.scores import by_name, by_speaker, clustered_error, mean_over_recordings
from soundsight.evaluation.text import lines
from soundsight.files import check_writable


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def test_nearest_equals_scikit_learn() -> None:
    items, queries = rng().random((700, 6, 7)).astype(np.float32), rng(1).random((300, 6, 7)).astype(np.float32)
    reference = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(items.reshape(700, -1))
    expected = reference.kneighbors(queries.reshape(300, -1), return_distance=False)[:, 0]
    np.testing.assert_array_equal(nearest(queries, items), expected)


def test_an_item_is_nearest_to_itself() -> None:
    items = rng().random((50, 3)).astype(np.float32)
    np.testing.assert_array_equal(nearest(items, items), np.arange(50))


def test_mean_image_of_black_and_white_is_grey() -> None:
    images = np.stack([np.zeros((1, 4, 5)), np.full((1, 4, 5), 255)]).astype(np.uint8)
    np.testing.assert_array_equal(mean_image(images), np.full((1, 4, 5), 128))


def test_mean_image_keeps_colours_apart() -> None:
    images = np.zeros((2, 3, 4, 5), np.uint8)
    images[:, 0], images[1, 2] = 200, 100
    mean = mean_image(images)
    assert mean.shape == (3, 4, 5)
    assert [sorted(set(channel.ravel().tolist())) for channel in mean] == [[200], [0], [50]]


def test_images_of_labels_have_these_labels_and_all_are_drawn() -> None:
    image_labels = np.repeat(np.arange(4), 5)
    wanted = rng().integers(0, 4, 2000)
    rows = images_of_labels(wanted, image_labels, rng(1))
    np.testing.assert_array_equal(image_labels[rows], wanted)
    assert set(rows) == set(range(20))


def test_mean_over_recordings_counts_each_once() -> None:
    right = np.array([True, True, True, False, True, False])
    rows = np.array([0, 0, 0, 0, 1, 2])
    assert mean_over_recordings(right, rows) == pytest.approx((3 / 4 + 1 + 0) / 3)
    assert right.mean() != pytest.approx(mean_over_recordings(right, rows))


def test_clustered_error_equals_the_bootstrap_over_recordings() -> None:
    per_recording = rng().beta(8, 1, 200)
    rows = rng(1).integers(0, 200, 10_000)
    right = rng(2).random(10_000) < per_recording[rows]
    groups = [right[rows == i] for i in range(200)]
    draws = rng(3)
    means = []
    for _ in range(2000):
        chosen = [groups[i] for i in draws.integers(0, 200, 200)]
        means.append(np.concatenate(chosen).mean())
    assert clustered_error(right, rows) == pytest.approx(np.std(means), rel=0.06)


def test_clustered_error_is_the_plain_one_where_every_picture_has_its_own_recording() -> None:
    right = rng().random(5000) < 0.9
    plain = right.std(ddof=1) / np.sqrt(5000)
    assert clustered_error(right, np.arange(5000)) == pytest.approx(plain, rel=1e-9)
    assert clustered_error(right, rng(1).integers(0, 3, 5000)) is not None
    assert clustered_error(right, np.zeros(5000, np.int64)) is None


def test_by_name_is_sorted_and_weighs_nothing_across_names() -> None:
    groups = by_name(np.array(["theo", "ada", "theo", "ada", "ada"]), np.array([True, True, False, True, False]))
    assert groups == (Group("ada", 2 / 3, 3), Group("theo", 0.5, 2))


def test_by_speaker_needs_speakers() -> None:
    sounds = SoundSet(
        tuple(Path(f"{i}.wav") for i in range(4)), np.zeros(4, np.int64), ("ada", "bob", "ada", "eve"), np.zeros(4)
    )
    rows, right = np.array([0, 2, 2, 1]), np.array([True, False, True, True])
    assert by_speaker(sounds, rows, right) == (Group("ada", pytest.approx(2 / 3), 3), Group("bob", 1.0, 1))
    assert by_speaker(replace(sounds, speakers=None), rows, right) == ()


def test_many_speakers_are_shown_by_their_lowest() -> None:
    groups = [Group(f"{i:04}", i / 100, 1) for i in range(100)]
    shown, left_out = shown_groups(groups[::-1])
    assert [group.name for group in shown] == [f"{i:04}" for i in range(20)]
    assert left_out == 80
    assert shown_groups(groups[:20]) == (groups[:20], 0)


def test_published_numbers_are_the_papers() -> None:
    def value(*key: Any) -> float | None:
        entry = published(*key)
        return entry.value if entry else None

    many, one = ("fsdd", "many-to-one"), ("speech_commands", "one-to-one")
    assert value("aivae", {}, *many, "random", "accuracy") == 0.942
    assert value("aivae", {}, *one, "random", "accuracy") == 0.866
    assert value("aivaegan", {"alpha": 0.2}, *one, "random", "accuracy") == 0.669
    assert value("aivaegan", {"alpha": 2.0}, *many, "random", "accuracy") == 0.943
    assert value("lenet5", {}, None, None, "official", "accuracy") == 0.987
    # Nothing was published for these, and a number for something else would mislead.
    assert value("aivae", {}, *many, "speaker:theo", "accuracy") is None
    assert value("aivae", {}, "fsdd", "one-to-one", "random", "accuracy") is None
    assert value("aivaegan", {"alpha": 3}, *many, "random", "accuracy") is None
    assert value("aivaegan", {}, *many, "random", "accuracy") is None
    assert value("aivae", {}, *many, "random", "diversity") is None
    scenes = ("scenes:BEACH", None, "random")
    assert value("mfcc_generator", SCENES_2025, *scenes, "published_ssim") == 0.463
    assert value("mfcc_generator", SCENES_2025, *scenes, "published_loss") == 4.691
    assert value("mfcc_generator", {**SCENES_2025, "normalise": True}, *scenes, "published_ssim") is None
    assert all(entry.source for entry in PUBLISHED)
    assert all(0 < entry.value < 1 for entry in PUBLISHED if entry.metric != "published_loss")


def test_test_pairs_are_those_of_the_recipe() -> None:
    images, sounds = np.repeat(np.arange(10), 30), np.repeat(np.arange(10), 4)
    folder = describe(Path("model"), training=recipe())
    many = pair(recipe_of(folder), images, sounds, seed=0)
    assert len(many) == 300
    np.testing.assert_array_equal(images[many.images], sounds[many.sounds])
    one = pair(recipe_of(describe(Path("model"), training=recipe(pairing="one-to-one"))), images, sounds, seed=0)
    assert len(one) == 40
    again, other = (pair(recipe_of(folder), images, sounds, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(again.sounds, many.sounds)
    assert (other.sounds != many.sounds).any()


def test_the_default_split_holds_out_what_training_held_out(tmp_path: Path) -> None:
    write_fsdd(tmp_path / "fsdd", repetitions=20)
    model = describe(tmp_path / "model", training=recipe())
    own = load_sounds(model, recipe_of(model), None, tmp_path)
    assert own.num_heard == 0
    assert own.split.name == "random"
    other = load_sounds(model, recipe_of(model), "speaker:ada", tmp_path)
    heard = set(own.split.train) & set(other.split.test)
    assert other.num_heard == len(heard) > 0


def test_data_of_another_version_are_refused(tmp_path: Path) -> None:
    write_fsdd(tmp_path / "fsdd", repetitions=20)
    model = describe(tmp_path / "model", training={**recipe(), "train_recordings": 1800, "test_recordings": 200})
    with pytest.raises(DatasetError, match="1800 train recordings; here it has 360"):
        load_sounds(model, recipe_of(model), None, tmp_path)


def test_the_fingerprint_is_of_the_contents(tmp_path: Path) -> None:
    write_fsdd(tmp_path / "fsdd", repetitions=20)
    model = describe(tmp_path / "model", training=recipe())

    def fingerprint() -> str:
        return load_sounds(model, recipe_of(model), None, tmp_path).data.sha256

    before = fingerprint()
    assert fingerprint() == before
    file = tmp_path / "fsdd" / "3_ada_4.wav"
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    assert fingerprint() != before


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({}, "does not say what the model was trained on"),
        ({"recipe": "aivae"}, "does not say"),
        ({"recipe": {"model": {"system": "aivae"}, "speed": 3}}, "unknown key 'speed'"),
    ],
)
def test_a_model_must_say_what_it_was_trained_on(training: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        recipe_of(describe(Path("model"), training=training))


def test_a_model_without_recordings_cannot_be_tested(tmp_path: Path) -> None:
    model = describe(Path("model"), training=recipe(sounds=None))
    with pytest.raises(ModelError, match="names no recordings"):
        load_sounds(model, recipe_of(model), None, tmp_path)


def score(value: float, **changes: Any) -> Score:
    baselines = (Baseline("chance", 0.1), Baseline("nearest", 0.9), Baseline("real images", 0.99, ceiling=True))
    return replace(Score("accuracy", "Accuracy", value, 0.01, baselines), **changes)


def test_a_score_that_a_baseline_reaches_is_marked() -> None:
    assert score(0.95).reached_by == ()
    assert score(0.9).reached_by == ("nearest",)
    assert score(0.05).reached_by == ("chance", "nearest")
    assert score(0.995).reached_by == ()


def test_a_distance_is_reached_from_below() -> None:
    beside = (Baseline("near", 0.5), Baseline("far", 2.0), Baseline("real images", 0.1, ceiling=True))
    assert Score("frechet", "Fréchet distance", 1.0, None, beside, lower_is_better=True).reached_by == ("near",)
    assert Score("frechet", "Fréchet distance", 0.4, None, beside, lower_is_better=True).reached_by == ()


def test_single_pictures_and_sets_have_a_table_each() -> None:
    beside = (Baseline("constant", 9.0), Baseline("real training images", 0.5, ceiling=True))
    distance = Score("frechet", "Fréchet distance", 1.25, None, beside, lower_is_better=True, table="set")
    (scores, rows), (set_scores, set_rows) = report(scores=(*report().scores, distance)).tables()
    assert [score.name for score in scores] == ["accuracy", "diversity"]
    assert rows[:3] == [
        ("this model", ["85.00 % ± 1.00 *", "0.250"]),
        ("published", ["94.20 %", "–"]),
        ("chance", ["10.00 %", "–"]),
    ]
    assert set_scores == (distance,)
    assert set_rows == [("this model", ["1.250"]), ("constant", ["9.000"]), ("real training images", ["0.500"])]


def report(**changes: Any) -> Report:
    picture = rng().integers(0, 256, (28, 28, 1), dtype=np.uint8)
    return replace(
        Report(
            model="toy",
            system="aivae",
            summary="A toy.",
            kind="generator",
            split="random",
            seed=5,
            num_pictures=30,
            num_recordings=6,
            num_heard=0,
            labels=("zero", "one", "two"),
            scores=(score(0.85, published=PUBLISHED[0]), Score("diversity", "Diversity", 0.25)),
            confusion_LL=np.array([[8, 2, 0], [0, 9, 1], [0, 0, 0]]),
            by_label=(Group("zero", 0.8, 10), Group("one", 0.9, 10), Group("two", float("nan"), 0)),
            by_speaker=(Group("theo", 0.85, 20),),
            samples=(Sample(picture, "zero", "zero", "0_theo_1"), Sample(picture, "one", "two", "1_theo_7")),
            data=(Data("fsdd", "Free Spoken Digits", "CC BY-SA 4.0", "Jackson", 54, 6, "ab" * 32),),
            judge={"name": "lenet5", "model.onnx": "cd" * 32},
            weights={"model.onnx": "ef" * 32},
            versions={"soundsight": "1", "numpy": "2"},
            command="soundsight evaluate toy --seed 5",
            date="2026-01-02",
            seconds=3.25,
        ),
        **changes,
    )


class Page(HTMLParser):
    """Tags with their attributes, and whether every one that is opened is closed."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_page_asks_nothing_of_the_network() -> None:
    text = render(report())
    page = Page(text)
    assert {name for name, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "base", "form"})
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    assert "http:" not in text
    assert "https:" not in text
    assert not re.search(r"url\(|@import|\son\w+=", text)
    assert any("default-src 'none'" in (meta.get("content") or "") for meta in page.all("meta"))


def test_page_can_be_read_without_seeing_it() -> None:
    page = Page(render(report()))
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    assert [image["alt"] for image in page.all("img")] == [
        "Picture made from 0_theo_1, which says zero; read as zero",
        "Picture made from 1_theo_7, which says one; read as two",
    ]
    assert all(head.get("scope") in ("row", "col") for head in page.all("th"))
    assert any("width=device-width" in (meta.get("content") or "") for meta in page.all("meta"))


def test_page_says_all_that_is_needed() -> None:
    words = " ".join(Page(render(report())).words)
    for needed in (
        "85.00 %",
        "± 1.00",
        "94.20 %",
        "Table 4",
        "chance",
        "real images",
        "seed 5",
        "soundsight evaluate toy --seed 5",
        "ab" * 32,
        "cd" * 32,
        "ef" * 32,
        "numpy 2",
        "3.25 s",
        "CC BY-SA 4.0",
        "reached without a model by nearest",
        "read as two",
    ):
        assert needed in words, needed


def test_page_escapes_what_comes_from_files() -> None:
    evil = '<script>alert("1")</script>'
    text = render(
        report(
            model=evil,
            summary=evil,
            labels=(evil, "one", "two"),
            by_speaker=(Group(evil, 0.5, 2),),
            samples=(Sample(np.zeros((2, 2, 3), np.uint8), evil, evil, evil),),
            command=evil,
            versions={evil: evil},
        )
    )
    assert "<script" not in text
    Page(text)


def test_recordings_that_trained_are_told_first() -> None:
    heard = report(num_heard=4)
    assert heard.notes == ("4 of the 6 test recordings trained this model: the scores are no test of it.",)
    assert "4 of the 6 test recordings" in render(heard)
    assert report().notes == ()


def test_json_is_strict_and_says_what_could_not_be_computed() -> None:
    table = json.loads(json.dumps(report().to_json(), allow_nan=False))
    assert table["scores"]["accuracy"]["value"] == 0.85
    assert table["scores"]["accuracy"]["reached_by"] == ["nearest"]
    assert table["scores"]["accuracy"]["published"]["value"] == 0.942
    assert table["confusion"] == [[8, 2, 0], [0, 9, 1], [0, 0, 0]]
    assert table["by_label"][2] == {"name": "two", "accuracy": None, "num_pictures": 0}
    assert table["samples"][1] == {"label": "one", "read_as": "two", "sound": "1_theo_7"}


def test_the_text_holds_the_numbers_one_fact_a_line() -> None:
    text = list(lines(report()))
    for needed in ("85.00", "94.20", "10.00", "0.250", "theo", "two (1)"):
        assert any(needed in line for line in text), needed
    assert "  chance: 10.00 %" in text
    assert any(line.startswith("  * reached without a model by") for line in lines(report(scores=(score(0.05),))))
    assert all(line.isprintable() for line in text), "no boxes drawn, no colours"


def test_files_are_the_page_the_numbers_and_a_sheet(tmp_path: Path) -> None:
    written = files.write(report(), tmp_path / "deep" / "report")
    assert [path.name for path in written] == ["report.html", "report.json", "samples.png"]
    assert {path.name for path in written[0].parent.iterdir()} == {path.name for path in written}
    with Image.open(written[2]) as sheet:
        assert sheet.size == (28 + 2, 2 * 28 + 3)
        assert sheet.info["seed"] == "5"
    assert [p.name for p in files.write(report(samples=()), tmp_path / "judge")] == ["report.html", "report.json"]


def test_a_folder_that_cannot_be_written_is_known_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for act in (check_writable, lambda folder: files.write(report(), folder)):
        with pytest.raises(OutputError, match="file"):
            act(tmp_path / "file" / "report")
    check_writable(tmp_path / "new" / "report")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
