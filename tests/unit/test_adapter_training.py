"""Training adapters: what is learned, from whom, how it is paired, kept and measured; and what is refused."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from soundsight import adapters, texts
from soundsight.cli import main
from soundsight.conditioning import Conditioning
from soundsight.config import load_recipe, load_table, recipe_names
from soundsight.encoders.array import to_npy
from soundsight.errors import ModelError, OutputError, RecipeError, SoundsightError, UnknownNameError
from soundsight.evaluation.words import ask
from soundsight.folder import read_folder
from soundsight.training.adapter import train_adapter
from soundsight.training.adapter_evaluation import evaluate_adapter, load_trial, measure, nearest_mean
from soundsight.training.adapter_recipe import load_adapter_recipe, parse_adapter_recipe
from soundsight.training.adapter_system import load_data, losses_of
from soundsight.training.loop import Progress

CLASSES = ("bell", "dog_bark", "rain", "wind")
NAMES = recipe_names("adapter")
WIDTH, SIZE = 6, 10


class Words:
    """A text encoder of random vectors, the same for the same prompt; takes learned words, too."""

    name = "sentence"

    def __init__(self, source: str | Path) -> None:
        self.source = str(source)
        self.identity = hashlib.sha256(self.source.encode()).hexdigest()
        self.token_width = 5

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        rows = []
        for prompt in prompts:
            seed = int.from_bytes(hashlib.sha256(f"{self.source} {prompt}".encode()).digest()[:8], "little")
            rows.append(np.random.Generator(np.random.Philox(seed)).normal(size=(9, SIZE)))
        said = torch.tensor(np.array(rows), dtype=torch.float32)
        if "tokens" in self.source:
            return Conditioning(clip_l=said[..., :4], clip_g=said[..., :6], t5=said)
        return Conditioning(pooled=said[:, 0] + 2)

    def encode_with_tokens(self, template: str, tokens_BKW: Tensor) -> Conditioning:
        assert template.count("{label}") == 1
        wave = torch.linspace(1, 3, 5 * SIZE).reshape(5, SIZE).sin()
        return Conditioning(pooled=tokens_BKW.sum(dim=1) @ wave + 2)


@pytest.fixture(autouse=True)
def _words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "load", lambda name, source: Words(source))


def sounds(num_per_fold: int = 8, length: int = 1, seed: int = 0) -> tuple[list[list[str]], Any]:
    """Lines of a table, and embeddings (N, L, D) that lie around a place for each class."""
    random = np.random.Generator(np.random.Philox(seed))
    places = 3 * random.normal(size=(len(CLASSES), WIDTH))
    lines, rows = [], []
    for fold in (1, 2, 3):
        for label, name in enumerate(CLASSES):
            for take in range(num_per_fold):
                lines.append([f"{fold}-{label}-{take}.wav", str(fold), name])
                rows.append(places[label] + random.normal(size=(length, WIDTH)) + 30)
    return lines, np.array(rows, np.float32)


def write_csv(path: Path, lines: list[list[str]], header: Sequence[str] = ("filename", "fold", "category")) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *lines])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of data: embeddings in the table's order."""
    folder = tmp_path / "data"
    folder.mkdir()
    lines, rows = sounds()
    write_csv(folder / "table.csv", lines)
    (folder / "x.npy").write_bytes(to_npy(rows[:, 0]))
    return folder


def recipe_of(*overrides: Callable[[dict[str, Any]], Any], **data: Any) -> Any:
    table: dict[str, Any] = {
        "name": "tiny",
        "source": "a test",
        "encoder": {"name": "vggish"},
        "data": {"table": "table.csv", "embeddings": "x.npy", "train_folds": [1, 2], "test_folds": [3], **data},
        "adapter": {"system": "v2d_pooled", "input_size": WIDTH, "widths": [32], "dropouts": [0.1], "normalise": True},
        "targets": {"model": "somebody"},
        "train": {"epochs": 12, "batch_size": 16, "losses": {"mse": 1, "cosine": 1}, "optimizer": {"lr": 1e-2}},
    }
    for override in overrides:
        override(table)
    return parse_adapter_recipe(table)


def said_of(folder: Path, rows: Any) -> Tensor:
    _, adapter = adapters.load(folder)
    tokens_NLD = torch.from_numpy(rows)
    with torch.no_grad():
        said: Conditioning = adapter(tokens_NLD, tokens_NLD.mean(dim=1))
    assert said.pooled is not None
    return said.pooled


def refusal(call: Callable[[], Any], kind: type[SoundsightError] = SoundsightError) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_it_learns_and_the_folder_says_what_from(root: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    out = train_adapter(recipe_of(), tmp_path / "out", root=root, watch=seen.append)
    report = evaluate_adapter(out, root=root)
    (part,) = report.parts
    assert part.retrieval[1] > 0.9
    assert 1 - part.errors["cosine"] < 0.2 * (1 - part.mean_target["cosine"])
    assert part.errors["mse"] < 0.2 * part.mean_target["mse"]
    assert part.beside["chance"] == pytest.approx({1: 1 / 4, 5: 1.0})
    assert (report.num_train, report.num_test, report.num_heard) == (64, 32, 0)
    folder = read_folder(out)
    assert (folder.kind, folder.system, folder.labels) == ("adapter", "v2d_pooled", CLASSES)
    assert folder.features == {"name": "vggish", "size": WIDTH, "identity": None}
    assert folder.target == {
        "name": "sentence",
        "identity": Words("somebody").identity,
        "sizes": {"pooled": [SIZE]},
        "template": "an image of {label}",
    }
    assert folder.model["pooled_size"] == SIZE, "as the targets have it"
    assert parse_adapter_recipe(json.loads((out / "recipe.json").read_text())) == recipe_of()
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [progress.epoch for progress in seen] == list(range(1, 13))
    assert lines[-1]["cosine"] < 0.5 * lines[0]["cosine"]
    assert (seen[-1].step, seen[-1].num_steps) == (48, 48)


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(root: Path, tmp_path: Path) -> None:
    def options(table: dict[str, Any]) -> None:
        table["train"] |= {"epochs": 2, "mixup": 0.4, "noise": 0.1, "ema": 0.9, "seed": table.get("seed", 0)}
        table.pop("seed", None)

    hashes = []
    for place, seed in enumerate((0, 0, 1)):
        torch.manual_seed(place)  # what ran before is of no account
        recipe = recipe_of(lambda table, seed=seed: table.update(seed=seed), options)  # type: ignore[misc]
        out = train_adapter(recipe, tmp_path / str(place), root=root)
        hashes.append(read_folder(out).weights["model.safetensors"])
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    "change",
    [
        *({"mixup": 0.4}, {"noise": 0.5}, {"ema": 0.5}),
        *({"losses": {"info_nce": 1}}, {"losses": {"mse": 0, "cosine": 1}}, {"losses": {"relative": True}}),
    ],
    ids=str,
)
def test_each_way_of_teaching_changes_what_is_learned_and_still_teaches(
    change: dict[str, Any], root: Path, tmp_path: Path
) -> None:
    plain = train_adapter(recipe_of(), tmp_path / "plain", root=root)
    other = train_adapter(recipe_of(lambda table: table["train"].update(change)), tmp_path / "other", root=root)
    _, rows = sounds()
    assert not torch.allclose(said_of(plain, rows), said_of(other, rows), atol=1e-3)
    assert evaluate_adapter(other, root=root).parts[0].retrieval[1] > 0.9


def test_a_relative_error_is_a_share_of_the_mean_targets(root: Path) -> None:
    recipe = recipe_of()
    heard, targets = load_data(recipe, root)
    prompts_CP = targets.parts["pooled"]
    one_hot_CC = torch.eye(len(CLASSES))
    config = recipe.train.losses.model_copy(update={"relative": True, "mse": 2.0})
    mean = Conditioning(pooled=prompts_CP.mean(dim=0).expand_as(prompts_CP))
    assert float(losses_of(mean, targets, one_hot_CC, config)["mse"]) == pytest.approx(2, rel=1e-5)
    plain = losses_of(mean, targets, one_hot_CC, config.model_copy(update={"relative": False}))["mse"]
    assert float(plain) == pytest.approx(2 * float(prompts_CP.var(dim=0, correction=0).mean()), rel=1e-5)
    assert len(heard) == 96


def test_embeddings_are_paired_by_name_and_not_by_place(root: Path, tmp_path: Path) -> None:
    """As in the published notebook: the list in another order than the array. By order, nothing could be learned."""
    straight = train_adapter(recipe_of(), tmp_path / "straight", root=root)
    lines, rows = sounds()
    order = np.random.Generator(np.random.Philox(4)).permutation(len(lines))
    (root / "x.npy").write_bytes(to_npy(rows[order, 0]))
    write_csv(root / "names.csv", [[lines[i][0].replace(".wav", ".flac")] for i in order], ["filename"])
    by_name = train_adapter(recipe_of(rows="names.csv"), tmp_path / "name", root=root)
    assert torch.equal(said_of(by_name, rows), said_of(straight, rows))
    by_order = train_adapter(recipe_of(), tmp_path / "order", root=root)
    assert evaluate_adapter(by_order, root=root).parts[0].retrieval[1] < 0.6
    assert evaluate_adapter(by_name, root=root).parts[0].retrieval[1] > 0.9


def test_real_sounds_find_their_prompts_and_those_in_a_wrong_order_do_not(data_root: Path, tmp_path: Path) -> None:
    """CLAP's embeddings of ESC-50: a small mapper learns from fold 1 what fold 2 means; paired by order it cannot."""
    small = ["adapter.widths=[128]", "adapter.dropouts=[0]", "train.epochs=6", "train.optimizer.lr=3e-3"]
    folds = ["data.train_folds=[1]", "data.test_folds=[2]", "targets.model=somebody"]
    recipe = load_adapter_recipe("v2d-clap", [*small, *folds])
    out = train_adapter(recipe, tmp_path / "right", root=data_root)
    (part,) = evaluate_adapter(out, root=data_root).parts
    assert part.retrieval[1] > 0.85
    card = read_folder(out).card
    assert card["licence"] == "for non-commercial use only"
    assert "CC BY-NC 3.0" in card["limits"][-1]
    assert "Piczak" in card["data"][0]["attribution"]
    names = [line.split(",")[0] for line in (data_root / "esc50" / "esc50.csv").read_text().splitlines()[1:]]
    (tmp_path / "in-order-of-a-folder.txt").write_text("\n".join(sorted(names, key=lambda name: name[::-1])))
    wrong = load_adapter_recipe("v2d-clap", [*small, *folds, f"data.rows={tmp_path}/in-order-of-a-folder.txt"])
    (part,) = evaluate_adapter(train_adapter(wrong, tmp_path / "wrong", root=data_root), root=data_root).parts
    assert part.retrieval[1] < 0.2


def test_only_its_training_folds_teach(root: Path, tmp_path: Path) -> None:
    straight = train_adapter(recipe_of(), tmp_path / "straight", root=root)
    lines, rows = sounds()
    rows[[line[1] == "3" for line in lines]] = 1e6
    (root / "x.npy").write_bytes(to_npy(rows[:, 0]))
    other = train_adapter(recipe_of(), tmp_path / "other", root=root)
    weights = [read_folder(out).weights for out in (straight, other)]
    assert weights[0] == weights[1]


def write_shards(folder: Path, lines: list[list[str]], rows: Any, facts: dict[str, Any]) -> None:
    """Two shards, the second recording of each pair in the second, with as many tokens as its place says."""
    folder.mkdir()
    for shard in range(2):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for line, tokens_LD in list(zip(lines, rows, strict=True))[shard::2]:
                key = line[0].removesuffix(".wav")
                for ending, data in (("npy", to_npy(tokens_LD)), ("json", json.dumps(facts).encode())):
                    member = tarfile.TarInfo(f"{key}.{ending}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))


def test_shards_in_place_of_an_array_for_tokens_of_all_text_encoders(root: Path, tmp_path: Path) -> None:
    lines, rows = sounds(length=5)
    identity = "d" * 64
    write_shards(root / "shards", lines, rows, {"encoder": "vggish", "identity": identity})
    size = {"width": 16, "num_heads": 2, "num_layers": 1, "feed_forward": 16, "num_tokens": 7, "input_size": WIDTH}

    def tokens(table: dict[str, Any]) -> None:
        table["adapter"] = {"system": "v2d_tokens", **size, "normalise": True}
        table["targets"]["model"] = "tokens"

    out = train_adapter(recipe_of(tokens, embeddings=None, shards="shards"), tmp_path / "out", root=root)
    folder = read_folder(out)
    assert folder.features == {"name": "vggish", "size": WIDTH, "identity": identity}
    assert [folder.model[f"{part}_size"] for part in ("clip_l", "clip_g", "t5")] == [4, 6, SIZE]
    report = evaluate_adapter(out, root=root)
    assert {part.name: part.retrieval[1] > 0.9 for part in report.parts} == dict.fromkeys(
        ("clip_l", "clip_g", "t5"), True
    )
    assert sum(line.startswith("t5: Cosine") for line in report.lines()) == 1

    def another(table: dict[str, Any]) -> None:
        tokens(table)
        table["encoder"] = {"name": "vggish", "identity": "e" * 64}

    for change, name in ((another, "vggish"), (lambda table: table["encoder"].update(name="clap"), "clap")):
        message = refusal(
            lambda change=change: train_adapter(  # type: ignore[misc]
                recipe_of(change, embeddings=None, shards="shards"), tmp_path / "no", root=root
            )
        )
        assert f"embeddings of 'vggish' (identity dddddddddddd…); the recipe's encoder is '{name}'" in message


def test_an_adapter_knows_the_options_of_its_encoder(root: Path, tmp_path: Path) -> None:
    def said(table: dict[str, Any]) -> None:
        table["encoder"]["options"] = {"output": "quantised"}

    of_array = read_folder(train_adapter(recipe_of(said), tmp_path / "array", root=root))
    assert of_array.features == {"name": "vggish", "size": WIDTH, "identity": None, "options": {"output": "quantised"}}
    lines, rows = sounds()
    for name, facts, wanted in (
        ("theirs", {"encoder": "vggish", "identity": "d" * 64, "options": {"output": "pca"}}, {"output": "pca"}),
        ("usual", {"encoder": "vggish", "identity": "d" * 64}, None),
        ("foreign", {}, {"output": "quantised"}),
    ):
        write_shards(root / name, lines, rows, facts)
        recipe = recipe_of(said, embeddings=None, shards=name)
        features = read_folder(train_adapter(recipe, tmp_path / name, root=root)).features or {}
        assert features.get("options") == wanted, name
    assert load_adapter_recipe("v2d-pooled").encoder.options == {"output": "quantised"}, "as they were published"


def test_shards_take_the_place_of_a_recipes_array_and_an_array_that_of_its_shards() -> None:
    shards = load_adapter_recipe("v2d-clap", ["data.shards=mine"]).data
    assert (shards.embeddings, shards.shards) == (None, ("mine",))
    array = load_adapter_recipe("v2d-tokens", ["data.embeddings=mine.npy", "data.rows=mine.txt"]).data
    assert (array.embeddings, array.rows, array.shards) == ("mine.npy", "mine.txt", None)
    plain = load_adapter_recipe("v2d-clap", ["data.fold=fold"]).data
    assert (plain.embeddings, plain.shards) == ("esc50/clap.npy", None)


def describe(root: Path, name: str, said: Callable[[int, str], dict[str, Any]], *, length: int = 1) -> Any:
    """A folder of shards that say themselves what they hold, and a recipe without a table."""
    lines, rows = sounds(length=length)
    facts = [said(int(line[1]), line[2]) for line in lines]
    (root / name).mkdir()
    with tarfile.open(root / name / "shard-000000.tar", "w") as tar:
        for line, tokens_LD, own in zip(lines, rows, facts, strict=True):
            key = line[0].removesuffix(".wav")
            own = {"encoder": "vggish", "identity": "d" * 64, "source": key, **own}
            for ending, data in (("npy", to_npy(tokens_LD)), ("json", json.dumps(own).encode())):
                member = tarfile.TarInfo(f"{key}.{ending}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return recipe_of(embeddings=None, table=None, shards=name)


def test_shards_may_say_themselves_what_they_hold(root: Path, tmp_path: Path) -> None:
    recipe = describe(root, "own", lambda fold, label: {"labels": [label], "fold": fold})
    of_shards = train_adapter(recipe, tmp_path / "shards", root=root)
    of_table = train_adapter(recipe_of(embeddings=None, shards="own"), tmp_path / "table", root=root)
    assert read_folder(of_shards).weights == read_folder(of_table).weights
    reports = [evaluate_adapter(out, root=root).to_json() for out in (of_shards, of_table)]
    assert reports[0]["parts"] == reports[1]["parts"]
    assert read_folder(of_shards).labels == CLASSES
    assert evaluate_adapter(of_shards, split="fold:2", root=root).num_heard == 32


def test_a_recording_may_have_several_labels_and_the_list_may_name_parts(root: Path, tmp_path: Path) -> None:
    """As AudioSet's: every bell rings in the wind, and what is nearest may be either."""

    def said(fold: int, label: str) -> dict[str, Any]:
        labels = ["bell", "wind"] if label == "bell" else [label]
        return {
            "labels": labels,
            "prompts": [f"a {label}" for label in labels],
            "split": "eval" if fold == 3 else "train",
        }

    recipe = describe(root, "own", said)
    recipe = recipe.model_copy(
        update={"data": recipe.data.model_copy(update={"train_folds": ("train",), "test_folds": ("eval",)})}
    )
    heard, targets = load_data(recipe, root)
    assert targets.prompts[0] == "an image of bell", "by the recipe's template"
    bells = [row for row, name in enumerate(heard.names) if name.split("-")[1] == "0"]
    torch.testing.assert_close(heard.shares(bells[:1]), torch.tensor([[0.5, 0, 0, 0.5]]))
    out = train_adapter(recipe, tmp_path / "out", root=root)
    report = evaluate_adapter(out, root=root)
    (part,) = report.parts
    assert part.retrieval[1] > 0.9
    # One of four for 24 recordings, two of four for 8.
    assert part.beside["chance"][1] == pytest.approx((24 / 4 + 8 / 2) / 32)
    assert part.beside["linear probe on the embeddings"][1] > 0.9
    assert report.split == "fold:eval"
    assert report.notes == ("8 of the test recordings have several classes: any of them counts as their own",)
    torch.testing.assert_close(heard.mean_shares(), heard.shares().mean(dim=0))
    assert heard.mean_shares().sum() == pytest.approx(1)
    half = torch.stack([targets.parts["pooled"][label] for label in (0, 3)]).mean(dim=0)
    said_N = said_of(out, sounds()[1][[row for row in bells if heard.folds[row] == "eval"]])
    assert float(torch.cosine_similarity(said_N, half[None]).mean()) > 0.9, "between the two"


def test_captions_are_prompts_as_they_are_and_those_of_tests_teach_nothing(root: Path, tmp_path: Path) -> None:
    """As AudioCaps': each recording its own texts, in the test other ones than in training."""

    def said(fold: int, label: str) -> dict[str, Any]:
        texts = [f"{label} {{far}} away", f"{label} nearby"] if fold == 3 else [f"one {label}"]
        return {"prompts": texts, "fold": fold}

    out = train_adapter(describe(root, "own", said), tmp_path / "out", root=root)
    assert read_folder(out).labels is None
    report = evaluate_adapter(out, root=root)
    assert report.num_prompts == 12
    assert report.notes == (
        "32 of the test recordings have several captions: any of them counts as their own",
        "8 of the 12 prompts are of no recording that trained",
    )
    lines = list(report.lines())
    assert "against 12 prompts of sentence (captions)" in lines[1]
    assert not any("probe" in line or "lowest" in line for line in lines)
    alone = train_adapter(
        describe(
            root, "other", lambda fold, label: {"prompts": ["silence" if fold == 3 else f"one {label}"], "fold": fold}
        ),
        tmp_path / "alone",
        root=root,
    )
    assert read_folder(alone).weights == read_folder(out).weights


def test_shards_may_lie_in_several_folders(root: Path, tmp_path: Path) -> None:
    recipe = describe(root, "own", lambda fold, label: {"labels": [label], "fold": fold})
    lines, rows = sounds()
    write_shards(
        root / "more",
        [["new-1.wav"], ["new-2.wav"]],
        rows[:2],
        {"labels": ["bell"], "fold": 3, "encoder": "vggish", "identity": "d" * 64},
    )
    both = recipe.model_copy(update={"data": recipe.data.model_copy(update={"shards": ("own", "more")})})
    out = train_adapter(both, tmp_path / "out", root=root)
    assert evaluate_adapter(out, root=root).num_test == 34
    assert len(lines) == 96


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (lambda fold, label: {"labels": [label], "fold": fold, "source": "film"}, "sections of 'film' train and test"),
        (
            lambda fold, label: {"labels": [label], "fold": fold, "source": "film.wav" if fold == 3 else "./film.flac"},
            "sections of 'film.wav' train and test",
        ),
        (lambda fold, label: {"labels": [label]}, "'1-0-0' is in no fold, nor in a part of its data set"),
        (lambda fold, label: {"fold": fold}, "nothing says what '1-0-0' shows"),
        (lambda fold, label: {"labels": [" "], "prompts": [3], "fold": fold}, "nothing says what '1-0-0' shows"),
        (
            lambda fold, label: {("labels" if label == "rain" else "prompts"): [label], "fold": fold},
            "some recordings have labels, others captions alone",
        ),
        (lambda fold, label: {"labels": [label], "split": "train"}, "there is no fold 1; folds: train"),
    ],
    ids=["leak", "leak by another name", "no fold", "nothing", "no texts", "mixed", "another fold"],
)
def test_shards_that_do_not_say_enough_are_refused(said: Any, fault: str, root: Path, tmp_path: Path) -> None:
    recipe = describe(root, "own", said)
    assert fault in refusal(lambda: train_adapter(recipe, tmp_path / "no", root=root))
    assert not (tmp_path / "no").exists()


def test_more_prompts_than_memory_holds_are_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = describe(root, "own", lambda fold, label: {"labels": [label], "fold": fold})
    monkeypatch.setattr("soundsight.training.adapter_data._PROMPTS", 3)
    monkeypatch.setattr("soundsight.training.adapter_data._MAX_TARGET_BYTES", 4 * 4 * SIZE - 1)
    message = refusal(lambda: train_adapter(recipe, tmp_path / "no", root=root))
    assert "4 prompts of 'sentence' in somebody take 0 GiB, and 0 are the most that is held" in message


def test_of_captions_only_what_the_adapter_says_is_held(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AudioCaps' captions fit into memory as pooled vectors, and not as the tokens of three text encoders."""
    whole = Words.encode

    def encode(self: Words, prompts: Sequence[str]) -> Conditioning:
        tokens = torch.ones(len(prompts), 77, 1000)
        return Conditioning(pooled=whole(self, prompts).pooled, clip_l=tokens, t5=tokens)

    monkeypatch.setattr(Words, "encode", encode)
    monkeypatch.setattr("soundsight.training.adapter_data._MAX_TARGET_BYTES", 10_000)
    monkeypatch.setattr("soundsight.training.adapter_data._PROMPTS", 3)
    recipe = describe(root, "own", lambda fold, label: {"prompts": [f"{label} {fold}"], "fold": fold})
    out = train_adapter(recipe, tmp_path / "out", root=root)
    target = read_folder(out).target or {}
    assert (target["sizes"], target["template"]) == ({"pooled": [SIZE]}, None)
    assert main(["models", "show", str(out)]) == 0


def test_what_nothing_taught_is_told_beside_all_baselines(root: Path, tmp_path: Path) -> None:
    recipe = describe(
        root, "own", lambda fold, label: {"labels": ["hail" if fold == 3 and label == "rain" else label], "fold": fold}
    )
    trial = load_trial(train_adapter(recipe, tmp_path / "out", root=root), root=root)
    report = measure(trial)
    assert report.notes == ("1 of the 5 prompts are of no recording that trained",)
    (part,) = report.parts
    for name in ("nearest class mean of the embeddings", "linear probe on the embeddings"):
        assert 0.6 < part.beside[name][1] <= 0.75, "hail is never found"
    assert read_folder(tmp_path / "out").labels == CLASSES
    near_NC = nearest_mean(trial.train, trial.test)
    assert (near_NC.argmax(axis=1) != trial.test.classes.index("hail")).all()


def test_a_judge_reads_one_class(root: Path, tmp_path: Path) -> None:
    recipe = describe(root, "own", lambda fold, label: {"labels": sorted({label, "bell"}), "fold": fold})
    trial = load_trial(train_adapter(recipe, tmp_path / "out", root=root), root=root)
    assert "captions or with several classes each" in refusal(lambda: ask(trial, {}, 1))


def test_a_word_in_the_prompt(root: Path, tmp_path: Path) -> None:
    def words(table: dict[str, Any]) -> None:
        table["adapter"] = {"system": "audio_token", "input_size": WIDTH, "width": 16, "normalise": True}
        table["train"] |= {"epochs": 4}

    out = train_adapter(recipe_of(words), tmp_path / "out", root=root)
    assert read_folder(out).model["word_size"] == 5
    (part,) = evaluate_adapter(out, root=root).parts
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["cosine"] < lines[0]["cosine"]
    assert part.errors["cosine"] > -1


def test_the_card_says_what_the_data_allow(root: Path, tmp_path: Path) -> None:
    own = train_adapter(recipe_of(licence="CC BY 4.0"), tmp_path / "own", root=root)
    assert read_folder(own).card["licence"] == "Apache-2.0"
    others = train_adapter(recipe_of(licence="CC BY-NC-SA 4.0"), tmp_path / "nc", root=root)
    card = read_folder(others).card
    assert card["licence"] == "for non-commercial use only"
    assert card["limits"] == ["Trained on data under CC BY-NC-SA 4.0: these weights are for non-commercial use only."]


def test_an_interrupted_training_leaves_no_model_and_can_be_begun_again(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        train_adapter(recipe_of(), out, root=root, stop_after=9)
    assert sorted(path.name for path in out.iterdir()) == ["metrics.jsonl", "recipe.json"]
    assert "no model" in refusal(lambda: evaluate_adapter(out, root=root), ModelError)
    train_adapter(recipe_of(), out, root=root)
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 12
    assert "holds a training already" in refusal(lambda: train_adapter(recipe_of(), out, root=root), RecipeError)


def put_nan(root: Path) -> None:
    _, rows = sounds()
    rows[7, 0, 2] = np.nan
    (root / "x.npy").write_bytes(to_npy(rows[:, 0]))


def drop_row(root: Path) -> None:
    write_csv(root / "names.csv", [[f"{i}.wav"] for i in range(96)], ["filename"])


def drop_class(root: Path) -> None:
    lines, _ = sounds()
    kept = [[name, fold if label != "wind" else "3", label] for name, fold, label in lines]
    write_csv(root / "table.csv", kept)


BAD: dict[str, tuple[Callable[[Path], Any], Any, str]] = {
    "NaN": (put_nan, {}, "the embedding of '1-0-7.wav' holds NaN or infinity"),
    "no embedding": (drop_row, {"rows": "names.csv"}, "no embedding of '1-0-0.wav'"),
    "no class": (drop_class, {}, "no recording of 'wind' in the training folds 1, 2"),
    "no fold": (lambda root: None, {"test_folds": [9]}, "there is no fold 9; folds: 1, 2, 3"),
    "no table": (lambda root: (root / "table.csv").unlink(), {}, "table.csv: there is no such file"),
    "no array": (lambda root: (root / "x.npy").unlink(), {}, "x.npy: there is no such file"),
    "a pickle": (lambda root: (root / "x.npy").write_bytes(b"\x80\x04N."), {}, "not an array in NumPy's format"),
    "no column": (lambda root: None, {"label": "word"}, "no column 'word'; columns: filename, fold, category"),
    "a twin": (
        lambda root: write_csv(root / "table.csv", [["a.wav", "1", "dog"], ["a.flac", "4", "dog"]]),
        {},
        "line 3: 'a.flac' is the recording of line 2; name it once",
    ),
    "a gap": (lambda root: write_csv(root / "table.csv", [["a.wav", "1", ""]]), {}, "line 2 lacks its category"),
    "no shards": (
        lambda root: None,
        {"embeddings": None, "shards": "none"},
        "no shards; make them with 'soundsight datasets embed MANIFEST",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_data_that_cannot_teach_are_one_line(name: str, root: Path, tmp_path: Path) -> None:
    damage, data, message = BAD[name]
    damage(root)
    assert message in refusal(lambda: train_adapter(recipe_of(**data), tmp_path / "out", root=root))
    assert not (tmp_path / "out").exists()


def adapter_with(**options: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda table: table["adapter"].update(options)


BAD_RECIPES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "an unknown option": (
        adapter_with(colour=3),
        "unknown key 'adapter.colour' in the recipe; known here: dropouts, in",
    ),
    "another width": (adapter_with(input_size=7), "are 6 wide, and 'v2d_pooled' hears 7"),
    "another target": (adapter_with(pooled_size=9), "'adapter.pooled_size' is 9, and what 'sentence' says there is 10"),
    "another part": (
        lambda table: table.update(adapter={"system": "v2d_tokens", "input_size": WIDTH}),
        "'v2d_tokens' says clip_l, clip_g, t5; 'sentence' in somebody lacks clip_g, clip_l, t5",
    ),
    "no system": (adapter_with(system="v2d"), "no 'v2d' in adapters"),
    "no text encoder": (lambda table: table["targets"].update(model=""), "--set targets.model=FOLDER"),
    "no part to leave out": (
        lambda table: table["targets"].update(without=["text_encoder_3"]),
        "'targets.without' is of text-to-image models, and somebody is a sentence encoder",
    ),
    "no option": (
        lambda table: table["encoder"].update(options={"out": "pca"}),
        "the encoder 'vggish' has no option 'out'; known: output",
    ),
    "no place": (lambda table: table["targets"].update(template="an image"), "expected the field {label}"),
    "no learning": (
        lambda table: table["train"]["optimizer"].update(lr=1e30),
        "try a lower learning rate",
    ),
}


@pytest.mark.parametrize("name", BAD_RECIPES)
def test_a_recipe_that_fits_nothing_is_one_line(name: str, root: Path, tmp_path: Path) -> None:
    change, message = BAD_RECIPES[name]
    assert message in refusal(lambda: train_adapter(recipe_of(change), tmp_path / "out", root=root))
    assert not (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.update(colour=1), "unknown key 'colour' in the recipe; known here: adapter, card, data"),
        (lambda table: table["data"].update(fold_s=1), "unknown key 'data.fold_s'"),
        (lambda table: table["train"].update(precision="bf16"), "unknown key 'train.precision'"),
        (lambda table: table["train"]["losses"].update(l1=1), "unknown key 'train.losses.l1'; known"),
        (lambda table: table["data"].update(test_folds=[2, 3]), "fold 2 is in train_folds and in test_folds"),
        (lambda table: table["data"].update(train_folds=[]), "recipe key 'data.train_folds'"),
        (lambda table: table["data"].update(shards="x"), "name either 'embeddings' or 'shards'"),
        (lambda table: table["data"].update(table=""), "an array does not say what it is of: name a 'table'"),
        (lambda table: table["train"]["losses"].update(mse=0, cosine=0), "all weights are 0"),
        (lambda table: table["train"]["losses"].update(temperature=0), "recipe key 'train.losses.temperature'"),
        (lambda table: table["encoder"].update(identity="x"), "recipe key 'encoder.identity'"),
        (lambda table: table.pop("adapter"), "the recipe lacks 'adapter'"),
    ],
)
def test_a_recipe_with_a_mistake_is_one_line(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    found = refusal(lambda: recipe_of(change), RecipeError)
    assert message.replace("; known", " in the recipe; known") in found or message in found


def test_an_evaluation_is_of_what_was_trained(root: Path, tmp_path: Path) -> None:
    out = train_adapter(recipe_of(), tmp_path / "out", root=root)
    assert evaluate_adapter(out, split="fold:2", root=root).num_heard == 32
    message = refusal(lambda: evaluate_adapter(out, split="random", root=root), UnknownNameError)
    assert "no split 'random' for an adapter; expected 'fold:N'" in message
    assert "no fold 9" in refusal(lambda: evaluate_adapter(out, split="fold:9", root=root))
    config = json.loads((out / "config.json").read_text())
    for keys, value, expected in (
        (("target", "identity"), "e" * 64, "learned from another text encoder (identity eeeeeeeeeeee…"),
        (("features", "size"), 7, "trained on embeddings of vggish, 7 wide; this width is 6"),
        (("labels",), ["a"], "trained on 1 classes, and the data have others now"),
    ):
        changed = json.loads(json.dumps(config))
        inner = changed
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        (out / "config.json").write_text(json.dumps(changed))
        assert expected in refusal(lambda: evaluate_adapter(out, root=root))


def test_a_constant_is_told_as_one(root: Path, tmp_path: Path) -> None:
    """Scores that need no sound are marked."""

    def hardly(table: dict[str, Any]) -> None:
        table["train"] |= {"epochs": 1, "optimizer": {"lr": 1e-9}}
        table["adapter"] |= {"normalise": False}

    report = evaluate_adapter(train_adapter(recipe_of(hardly), tmp_path / "out", root=root), root=root)
    lines = list(report.lines())
    assert any(line.startswith("Cosine") and line.endswith(" *") for line in lines)
    assert "  * reached without hearing anything" in lines
    assert json.loads(json.dumps(report.to_json()))["parts"]["pooled"]["mean_target"]["cosine"] > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_the_recipes_of_the_package(name: str) -> None:
    recipe = load_adapter_recipe(name)
    assert recipe.name == name
    assert recipe.source
    assert recipe.card.summary
    assert recipe.card.limits
    assert recipe.data.train_folds == (("balanced_train",) if name == "v2d-audioset" else (1, 2, 3))
    more = {"tell": lambda tokens: tokens} if recipe.adapter.system == "audio_token" else {}
    assert isinstance(adapters.build(recipe.adapter.system, recipe.adapter.options, **more), nn.Module)
    assert parse_adapter_recipe(json.loads(json.dumps(recipe.model_dump(mode="json")))) == recipe
    with pytest.raises(RecipeError, match="recipe of a system is wanted"):
        load_recipe(name)


def test_recipes_of_both_kinds_are_known_by_name() -> None:
    assert {"v2d-audioset", "v2d-pooled", "v2d-clap", "v2d-tokens", "audio-token"} == set(NAMES)
    assert not set(NAMES) & set(recipe_names())
    with pytest.raises(UnknownNameError, match="did you mean 'v2d-clap'"):
        load_table("v2d-clip")


def test_through_the_command_line(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOUNDSIGHT_DATA", str(root))
    recipe = tmp_path / "tiny.json"
    recipe.write_text(json.dumps(recipe_of().model_dump(mode="json", exclude_none=True)))
    out = tmp_path / "out"
    assert main(["train", str(recipe), "--dry-run", "--set", "train.epochs=3"]) == 0
    planned = capsys.readouterr().out
    assert "12 steps of 16 in 3 epochs" in planned
    assert "embeddings of vggish, 6 wide: 64 train, 32 test" in planned
    assert main(["train", str(recipe), "--out", str(out), "--set", "train.epochs=3"]) == 0
    trained = capsys.readouterr()
    assert f"{out}: next, soundsight evaluate {out}" in trained.out
    assert [line.split()[:2] for line in trained.err.splitlines()] == [["epoch", str(i)] for i in (1, 2, 3)]
    assert main(["train", str(recipe), "--out", str(out), "--resume"]) == 2
    assert "is not resumed" in capsys.readouterr().err
    assert main(["evaluate", str(out), "--out", str(tmp_path / "report"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "report" / "report.json").read_text())
    assert printed["parts"]["pooled"]["retrieval"]["1"] > 0.5
    assert main(["evaluate", str(out), "--out", str(tmp_path / "report"), "--split", "fold:1"]) == 0
    assert "note: 32 of the test recordings trained this adapter" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_one_line(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot write to" in refusal(lambda: train_adapter(recipe_of(), tmp_path / "file", root=root), OutputError)
