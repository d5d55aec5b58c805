"""Pictures of what an adapter says, read by a judge: the numbers beside NumPy's, and what does not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny_backbones
from painted_set import CLASSES, COLOURS, JOINED, embeddings, train, write_cifar10, write_data, write_judge
from soundsight import adapters, texts
from soundsight.backbones.backbone import Backbone, Painting
from soundsight.conditioning import Conditioning
from soundsight.datasets import cifar10
from soundsight.errors import DatasetError, ModelError, SoundsightError, UnknownNameError
from soundsight.evaluation.adapter import evaluate_painted
from soundsight.evaluation.adapter_report import Painted
from soundsight.evaluation.painting import Settings
from soundsight.evaluation.words import (
    NEAREST,
    NEAREST_MEAN,
    NO_SOUND,
    OWN_PROMPT,
    PICTURE_PROMPT,
    WHOLE_PROMPT,
    shared_classes,
)
from soundsight.folder import read_folder
from soundsight.texts.diffusion.encoders import DiffusionTexts

SIDE = 32
LABELS = tuple(JOINED)
LABEL_OF = {sound: LABELS.index(label) for label, (sounds, _) in JOINED.items() for sound in sounds}


@pytest.fixture(scope="module")
def places(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("painted")
    backbone = tiny_backbones.write(folder / "sd3", "sd3", sample_size=SIDE // 2)
    root = write_cifar10(write_data(folder / "data", spread=2.0), data_root)
    with tiny_backbones.quiet():
        adapter = train(folder / "adapter", root, backbone)
    return {"root": root, "backbone": backbone, "adapter": adapter, "judge": write_judge(folder / "judge")}


def settings(places: dict[str, Path], **changes: Any) -> Settings:
    return replace(Settings(str(places["backbone"]), str(places["judge"]), steps=1, guidance=1.0), **changes)


def evaluate(places: dict[str, Path], **changes: Any) -> Painted:
    split = changes.pop("split", None)
    return evaluate_painted(places["adapter"], settings(places, **changes), split=split, root=places["root"])


class Easel:
    """In the place of a backbone's hand: a picture has the colour of the label whose prompt is nearest."""

    def __init__(self, spoken: dict[str, int], model: Path) -> None:
        self.prompts = list(spoken)
        self.labels = list(spoken.values())
        pooled = texts.load("diffusion", model).encode([f"an image of {name}" for name in spoken]).pooled
        assert pooled is not None
        self.pooled_CP = pooled.numpy().astype(np.float64)
        self.calls: list[tuple[np.ndarray, list[int], dict[str, Any]]] = []

    def colour(self, pooled_P: np.ndarray) -> tuple[int, int, int]:
        distance_C = np.square(self.pooled_CP - pooled_P).sum(axis=1)
        label = self.labels[int(distance_C.argmin())]
        return (120, 120, 120) if label < 0 else COLOURS[LABELS[label]]

    def paint(self, said: Any, **asked: Any) -> Painting:
        pooled_BP = said.pooled.numpy().astype(np.float64)
        assert set(said.parts) in ({"pooled"}, {"pooled", "clip_l", "clip_g", "t5"})
        self.calls.append((pooled_BP, list(asked.pop("rows")), asked))
        images = np.array([self.colour(row_P) for row_P in pooled_BP], np.float32) / 255
        return Painting(np.broadcast_to(images[:, :, None, None], (*images.shape, SIDE, SIDE)))


def read(colour: tuple[int, int, int]) -> int:
    """The label whose colour is nearest."""
    return int(np.argmin([np.square(np.subtract(COLOURS[label], colour)).sum() for label in LABELS]))


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray((a / np.linalg.norm(a, axis=1)[:, None]) @ (b / np.linalg.norm(b, axis=1)[:, None]).T)


@pytest.fixture
def easel(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Easel:
    # The prompt of every class of sounds and of pictures; of rain nobody knows the colour.
    spoken = {name.replace("_", " "): LABEL_OF.get(name, -1) for name in sorted(CLASSES)}
    spoken |= {name: LABELS.index(label) for label, (_, pictures) in JOINED.items() for name in pictures}
    with tiny_backbones.quiet():
        found = Easel(spoken, places["backbone"])
    monkeypatch.setattr(Backbone, "paint", lambda self, said, **asked: found.paint(said, **asked))
    return found


def test_each_row_is_what_its_words_are_read_as(places: dict[str, Path], easel: Easel) -> None:
    report = evaluate(places)
    lines, rows_ND = embeddings(spread=2.0)
    trained = np.array([line[1] != "3" for line in lines])
    asked = np.array([line[1] == "3" and line[2] in LABEL_OF for line in lines])
    names = np.array([line[2] for line in lines])
    wanted_R = np.array([LABEL_OF[name] for name in names[asked]])
    _, module = adapters.load(places["adapter"])
    with torch.no_grad():
        x_ND = torch.from_numpy(rows_ND)
        said_NP = module(x_ND[:, None], x_ND).pooled.numpy().astype(np.float64)
    classes = sorted(CLASSES)
    prompts_CP = easel.pooled_CP[: len(classes)]
    labels_N = np.array([classes.index(name) for name in names])

    def accuracy(pooled_RP: np.ndarray) -> float:
        return float(np.mean([read(easel.colour(row)) for row in pooled_RP] == wanted_R))

    mean_P = prompts_CP[labels_N[trained]].mean(axis=0)
    scaled_ND = (rows_ND - rows_ND[trained].mean(axis=0)) / rows_ND[trained].std(axis=0)
    means_CD = np.stack([scaled_ND[trained & (labels_N == i)].mean(axis=0) for i in range(len(classes))])
    expected = {
        "chance": 1 / len(LABELS),
        "constant answer": np.bincount(wanted_R).max() / len(wanted_R),
        NO_SOUND: accuracy(np.tile(mean_P, (len(wanted_R), 1))),
        NEAREST_MEAN: accuracy(prompts_CP[cosines(scaled_ND[asked], means_CD).argmax(axis=1)]),
        NEAREST: accuracy(prompts_CP[cosines(said_NP[asked], prompts_CP).argmax(axis=1)]),
        OWN_PROMPT: 1.0,
        WHOLE_PROMPT: 1.0,
        PICTURE_PROMPT: 1.0,
    }
    (score,) = report.pictures.scores
    found = {baseline.name: baseline.value for baseline in score.baselines}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert score.value == pytest.approx(accuracy(said_NP[asked]))
    assert 0.4 < score.value < 1, "neither perfect nor lost"
    ceilings = {baseline.name for baseline in score.baselines if baseline.ceiling}
    assert ceilings == {NEAREST, OWN_PROMPT, WHOLE_PROMPT, PICTURE_PROMPT, "real images"}
    decided_R = np.array([read(easel.colour(row)) for row in said_NP[asked]])
    confusion = np.zeros((5, 5), int)
    np.add.at(confusion, (wanted_R, decided_R), 1)
    np.testing.assert_array_equal(report.pictures.confusion_LL, confusion)
    by_sound = {sound.name: sound for sound in report.pictures.by_sound}
    assert set(by_sound) == set(LABEL_OF) & set(CLASSES)
    here = names[asked] == "crow"
    assert by_sound["crow"].accuracy == pytest.approx((decided_R == wanted_R)[here].mean())
    assert (by_sound["crow"].label, by_sound["crow"].own_prompt, by_sound["crow"].num_pictures) == ("bird", 1.0, 4)
    assert (report.pictures.num_pictures, report.pictures.num_recordings) == (20, 20)
    assert report.pictures.notes == ("4 of 24 test recordings are of classes that the judge does not know.",)


def test_real_images_are_read_by_the_same_judge(places: dict[str, Path], easel: Easel) -> None:
    images = cifar10.load(places["root"] / "cifar10", train=False)
    labels = {name: LABELS.index(label) for label, (_, pictures) in JOINED.items() for name in pictures}
    right = [
        read(tuple(image.mean(axis=(1, 2)))) == labels[cifar10.INFO.classes[label]]
        for image, label in zip(images.images_NCHW, images.labels, strict=True)
        if cifar10.INFO.classes[label] in labels
    ]
    (score,) = evaluate(places).pictures.scores
    assert {b.name: b.value for b in score.baselines}["real images"] == pytest.approx(np.mean(right))


def test_every_row_has_the_same_noise_and_no_picture_is_painted_twice(places: dict[str, Path], easel: Easel) -> None:
    evaluate(places, draws=2, seed=7)
    seen = [(row.tobytes(), place) for pooled, rows, _ in easel.calls for row, place in zip(pooled, rows, strict=True)]
    of_tables = [asked for _, _, asked in easel.calls]
    assert all(asked == {"seed": 7, "steps": 1, "guidance": 1.0} for asked in of_tables)
    # Alone the prompts in all parts have a pooled vector that was painted before.
    assert len(seen) - len(set(seen)) == 40
    assert {place for _, place in seen} == set(range(40)), "two pictures of 20 recordings, each from its own noise"
    commonest, count = Counter(row for row, _ in seen).most_common(1)[0]
    assert count == 40, "the mean target, once from each noise"
    assert {place for row, place in seen if row == commonest} == set(range(40))


def test_seeds_and_draws(places: dict[str, Path], easel: Easel) -> None:
    one, two = evaluate(places, num_samples=1), evaluate(places, draws=3, num_samples=1)
    assert one.pictures.scores[0].value == two.pictures.scores[0].value, "this hand takes no notice of noise"
    assert (two.pictures.num_pictures, two.pictures.num_recordings) == (60, 20)
    assert two.pictures.scores[0].error == pytest.approx(one.pictures.scores[0].error), "recordings are what was drawn"
    samples = one.pictures.samples
    assert [sample.label for sample in samples] == ["bird", "dog", "frog", "ship"]
    assert all(sample.image_HWC.shape == (SIDE, SIDE, 3) for sample in samples)
    assert all(sample.decision == LABELS[read(tuple(sample.image_HWC[0, 0]))] for sample in samples)


def test_recordings_that_trained_are_said(places: dict[str, Path], easel: Easel) -> None:
    report = evaluate(places, split="fold:1")
    assert report.pictures.num_heard == 20
    assert any("trained this adapter" in line for line in report.lines())


def test_without_the_real_images_a_note_says_so(places: dict[str, Path], easel: Easel, tmp_path: Path) -> None:
    root = write_data(tmp_path / "data", spread=2.0)
    report = evaluate_painted(places["adapter"], settings(places), root=root)
    assert "real images" not in {baseline.name for baseline in report.pictures.scores[0].baselines}
    assert any(note.startswith("Real images do not stand beside") for note in report.pictures.notes)
    assert all(line.count("\n") == 0 for line in report.lines())


def test_a_backbone_that_hears_no_more_has_no_row_of_all_parts(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch, easel: Easel, tmp_path: Path
) -> None:
    pooled = train(tmp_path / "pooled", places["root"], places["backbone"], targets={"without": ["text_encoder_3"]})
    encode = DiffusionTexts.encode

    def pooled_alone(self: DiffusionTexts, prompts: Sequence[str]) -> Conditioning:
        return Conditioning(pooled=encode(self, prompts).pooled)

    monkeypatch.setattr(DiffusionTexts, "encode", pooled_alone)
    report = evaluate_painted(pooled, settings(places), root=places["root"])
    assert WHOLE_PROMPT not in {baseline.name for baseline in report.pictures.scores[0].baselines}


def test_painted_for_good_it_is_the_same_again(places: dict[str, Path]) -> None:
    with tiny_backbones.quiet():
        first, second = (evaluate(places, seed=3).to_json() for _ in range(2))
        other = evaluate(places, seed=4)
    for report in (first, second):
        report["pictures"]["seconds"] = 0
    assert first == second
    again = evaluate(places, seed=3)
    pixels = [np.stack([s.image_HWC for s in each.pictures.samples]) for each in (again, other)]
    assert pixels[0].std(axis=0).mean() > 1, "pictures differ"
    assert not np.array_equal(*pixels)


def refusal(call: Callable[[], Any], kind: type[SoundsightError]) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


BAD: dict[str, tuple[Callable[[Path], dict[str, Any]], type[SoundsightError], str]] = {
    "a judge of other things": (
        lambda path: {"judge": str(write_judge(path / "j", {"truck": (["train"], ["truck"])}))},
        ModelError,
        "reads truck, and the adapter was taught chirping_birds, crow, dog, frog, rain, sea_waves: they share no class",
    ),
    "a judge of other names": (
        lambda path: {"judge": str(write_judge(path / "j", None, labels=["a", "b"]))},
        ModelError,
        "reads a, b, and the adapter was taught",
    ),
    "a larger judge": (
        lambda path: {"judge": str(write_judge(path / "j", shape=(3, 64, 64)))},
        ModelError,
        "reads pictures of (3, 64, 64), these are (3, 32, 32)",
    ),
    "a judge of a strange size": (
        lambda path: {"judge": str(write_judge(path / "j", shape=(3, 20, 20)))},
        ModelError,
        "reads pictures of (3, 20, 20), these are (3, 32, 32); ",
    ),
    "a judge of grey": (
        lambda path: {"judge": str(write_judge(path / "j", shape=(1, 32, 32)))},
        ModelError,
        "reads pictures of (1, 32, 32), these are (3, 32, 32)",
    ),
    "a judge of nothing": (
        lambda path: {"judge": str(write_judge(path / "j", poison=float("nan")))},
        ModelError,
        "the judge's logits hold NaN or infinity",
    ),
    "no judge": (lambda path: {"judge": str(path / "j")}, UnknownNameError, "no judge '"),
    "an adapter as a judge": (lambda path: {"judge": ""}, ModelError, "choose a judge"),
    "no backbone": (lambda path: {"backbone": str(path / "none")}, ModelError, "no such folder"),
    "no pictures": (lambda path: {"draws": 0}, SoundsightError, "is 1 to 1000, not 0"),
    "no steps": (lambda path: {"steps": 0}, SoundsightError, "steps is 0"),
    "a random split": (lambda path: {"split": "random"}, UnknownNameError, "no split 'random' for an adapter"),
    "a fold that is not there": (lambda path: {"split": "fold:9"}, DatasetError, "there is no fold 9"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_one_line(name: str, places: dict[str, Path], tmp_path: Path) -> None:
    change, kind, message = BAD[name]
    changes = change(tmp_path)
    if changes.get("judge") == "":
        changes["judge"] = str(places["adapter"])
    with tiny_backbones.quiet():
        assert message in refusal(lambda: evaluate(places, **changes), kind)


def test_a_backbone_of_other_sizes_is_one_line(places: dict[str, Path], tmp_path: Path) -> None:
    other = tiny_backbones.write(tmp_path / "sd15", "sd15")
    message = refusal(lambda: evaluate(places, backbone=str(other), judge=str(small(tmp_path))), ModelError)
    assert message.startswith("the adapter says pooled, and Stable Diffusion 1.5 hears clip_l")
    pooled = tiny_backbones.POOLED
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_backbones, "POOLED", pooled + 8)
        patch.setattr(tiny_backbones, "CLIP_G", tiny_backbones.CLIP_G + 8)
        wide = tiny_backbones.write(tmp_path / "wide", "sd3", sample_size=SIDE // 2)
    message = refusal(lambda: evaluate(places, backbone=str(wide)), ModelError)
    assert f"has {pooled} numbers and Stable Diffusion 3 here takes {pooled + 8}" in message


def small(folder: Path) -> Path:
    return write_judge(folder / "small", shape=(3, 16, 16))


def test_a_fold_without_a_class_that_the_judge_knows_is_one_line(places: dict[str, Path], tmp_path: Path) -> None:
    root = write_data(tmp_path / "data")
    table = root / "table.csv"
    lines = [line for line in table.read_text().splitlines() if ",3," not in line or line.endswith("rain")]
    table.write_text("\n".join(lines) + "\n")
    message = refusal(lambda: evaluate_painted(places["adapter"], settings(places), root=root), DatasetError)
    assert message.startswith("fold:3: not one of the 4 test recordings is of a class that the judge knows (")


def test_a_backbone_that_was_taught_other_words_is_one_line(
    places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tiny_backbones.write(tmp_path / "own", "sd3", texts=False, sample_size=SIDE // 2)
    card = '{"text_encoder": {"name": "%s", "identity": "%s"}}'
    (other / "card.json").write_text(card % ("sentence", "e" * 64))
    message = refusal(lambda: evaluate(places, backbone=str(other)), ModelError)
    assert "learned the words of 'diffusion'" in message
    assert "was taught those of 'sentence' (eeeeeeeeeeee…)" in message
    for text in ("{}", '{"text_encoder": 3}', card % ("diffusion", "e" * 64)):
        (other / "card.json").write_text(text)
        with tiny_backbones.quiet():
            assert evaluate(places, backbone=str(other)).pictures.num_pictures == 20
    (other / "card.json").write_text("{")
    assert "card.json" in refusal(lambda: evaluate(places, backbone=str(other)), ModelError)


def test_pictures_larger_by_a_whole_number_are_read(places: dict[str, Path], tmp_path: Path, easel: Easel) -> None:
    whole = evaluate(places).pictures.scores[0].value
    assert evaluate(places, judge=str(small(tmp_path))).pictures.scores[0].value == whole


def test_classes_are_joined_as_the_judge_says_or_by_their_names(tmp_path: Path) -> None:
    joined = read_folder(write_judge(tmp_path / "joined"))
    found = shared_classes(joined, ["crow", "rain", "sea waves"])
    assert found == {"crow": (0, ("bird",)), "sea waves": (4, ("ship", "airplane"))}
    plain = read_folder(write_judge(tmp_path / "plain", None, labels=cifar10.INFO.classes))
    assert shared_classes(plain, ["dog", "engine"]) == {"dog": (5, ("dog",))}


def test_prompts_that_are_too_long_are_told_by_training_and_evaluation(
    places: dict[str, Path], easel: Easel, tmp_path: Path
) -> None:
    told: list[str] = []
    template = "an image of {label} " + "dog " * 80 + "the end"
    out = train(tmp_path / "out", places["root"], places["backbone"], warn=told.append, targets={"template": template})
    (line,) = told
    assert line.startswith("6 of 6 prompts are too long; 'an image of chirping birds dog dog ")
    assert "is read by clip_l and clip_g (77 tokens) without 'dog dog " in line
    assert line.endswith("the end'")
    report = evaluate_painted(out, settings(places), root=places["root"])
    assert list(report.lines()).count(f"note: {line}") == 1
    assert report.to_json()["notes"] == [line]
