"""Adapters: as published, laws that every one keeps, and a prompt's learned words through a tiny text encoder."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from soundsight import adapters, registry
from soundsight.adapters import check_encoder
from soundsight.adapters.patches import resample
from soundsight.conditioning import Conditioning
from soundsight.errors import ModelError, RecipeError, UnknownNameError
from soundsight.folder import write_folder
from soundsight.manifest import NO_PICTURE, ModelFolder, parse

NAMES = registry.names("adapters")
SMALL: dict[str, dict[str, Any]] = {
    "v2d_pooled": {"pooled_size": 12},
    "v2d_clap": {"pooled_size": 12, "input_size": 128},
    "v2d_tokens": {
        "clip_l_size": 6,
        "clip_g_size": 10,
        "t5_size": 8,
        "width": 16,
        "num_heads": 2,
        "num_layers": 1,
        "feed_forward": 16,
        "num_tokens": 7,
    },
    "audio_token": {"word_size": 16, "width": 24, "num_words": 2},
}


@cache
def text_encoder() -> CLIPTextModel:
    """A random text encoder of five thousand weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        size: Any = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = CLIPTextConfig(vocab_size=50, max_position_embeddings=10, eos_token_id=49, **size)
        return CLIPTextModel(config).eval().requires_grad_(False)


def read(ids_BL: Tensor, tokens_BKW: Tensor | None = None) -> Conditioning:
    """What it says of words; K learned ones take places 3 and following."""
    encoder = text_encoder()

    def replace_words(_module: nn.Module, _arguments: object, found_BLW: Tensor) -> Tensor:
        assert tokens_BKW is not None
        last = 3 + tokens_BKW.shape[1]
        return torch.cat([found_BLW[:, :3], tokens_BKW, found_BLW[:, last:]], dim=1)

    hook = None
    if tokens_BKW is not None:
        hook = encoder.get_input_embeddings().register_forward_hook(replace_words)
    try:
        said = encoder(input_ids=ids_BL)
    finally:
        if hook is not None:
            hook.remove()
    return Conditioning(pooled=said.pooler_output, clip_l=said.last_hidden_state)


def prompt(num: int, *words: int) -> Tensor:
    """«an image of» and some words, (num, 8)."""
    ids = [1, 2, 3, *words, 49]
    return torch.tensor(ids + [49] * (8 - len(ids))).expand(num, -1)


def tell(tokens_BKW: Tensor) -> Conditioning:
    return read(prompt(len(tokens_BKW), *[7] * tokens_BKW.shape[1]), tokens_BKW)


def build(name: str, seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    more = {"tell": tell} if name == "audio_token" else {}
    return adapters.build(name, SMALL[name] | options, **more).eval()


def sounds(num: int = 6, length: int = 5, size: int = 128, seed: int = 1) -> tuple[Tensor, Tensor]:
    tokens_BLD = 40 + 20 * torch.randn(num, length, size, generator=torch.Generator().manual_seed(seed))
    return tokens_BLD, tokens_BLD.mean(dim=1)


def test_the_room_has_adapters() -> None:
    assert sorted(SMALL) == NAMES


@pytest.mark.parametrize(("name", "size"), [("v2d_pooled", 128), ("v2d_clap", 512)])
def test_the_published_mapper_layer_by_layer(name: str, size: int) -> None:
    adapter = adapters.build(name, {})
    kinds = [nn.Linear, nn.GELU, nn.LayerNorm, nn.Dropout] * 3 + [nn.Linear]
    layers = list(adapter.layers)
    assert [type(layer) for layer in layers] == kinds
    linear = [(layer.in_features, layer.out_features) for layer in layers if isinstance(layer, nn.Linear)]
    assert linear == [(size, 512), (512, 1024), (1024, 1024), (1024, 2048)]
    assert [layer.p for layer in layers if isinstance(layer, nn.Dropout)] == [0.3, 0.3, 0.4]
    expected = sum(a * b + b for a, b in linear) + 2 * (512 + 1024 + 1024)
    assert sum(tensor.numel() for tensor in adapter.state_dict().values()) == expected, "and nothing else"


def test_the_published_tokens() -> None:
    adapter = adapters.build("v2d_tokens", {})
    said = adapter.eval()(*sounds(2)).parts
    assert {name: tuple(part.shape) for name, part in said.items()} == {
        "clip_l": (2, 20, 768),
        "clip_g": (2, 20, 1280),
        "t5": (2, 20, 4096),
    }
    layers = adapter.transformer.layers
    assert len(layers) == 4
    assert {(a.self_attn.embed_dim, a.self_attn.num_heads, a.linear1.out_features) for a in layers} == {(512, 8, 1024)}
    assert adapter.along_time.weight.shape == (20, 5)


@pytest.mark.parametrize("name", NAMES)
def test_what_one_sound_says_depends_on_it_alone(name: str) -> None:
    adapter, (tokens_BLD, pooled_BD) = build(name), sounds()
    whole = adapter(tokens_BLD, pooled_BD).parts
    assert whole
    for i in range(len(tokens_BLD)):
        for part, said in adapter(tokens_BLD[i : i + 1], pooled_BD[i : i + 1]).parts.items():
            torch.testing.assert_close(said[0], whole[part][i], rtol=1e-4, atol=1e-5)
    other = adapter(*sounds(seed=2)).parts
    assert all(not torch.allclose(other[part], said, rtol=1e-2) for part, said in whole.items()), "it hears"


@pytest.mark.parametrize("name", NAMES)
def test_it_listens_to_the_half_that_it_names(name: str) -> None:
    adapter, (tokens_BLD, pooled_BD) = build(name), sounds()
    said = adapter(tokens_BLD, pooled_BD).parts
    changed = {
        "tokens": adapter(tokens_BLD.flip(0), pooled_BD).parts,
        "pooled": adapter(tokens_BLD, pooled_BD.flip(0)).parts,
    }
    for half, parts in changed.items():
        same = all(torch.equal(parts[part], said[part]) for part in said)
        assert same == (half != adapter.hears)


@pytest.mark.parametrize("name", NAMES)
def test_normalised_inputs_are_free_of_their_scale(name: str) -> None:
    """Embeddings in other units, learned in these units, say the same."""
    tokens_BLD, pooled_BD = sounds()
    found = []
    for factor, offset in ((1.0, 0.0), (3.0, -50.0)):
        adapter = build(name, normalise=True)
        scaled = factor * tokens_BLD + offset, factor * pooled_BD + offset
        random = torch.Generator().manual_seed(3)
        shapes = {part: said.shape[1:] for part, said in adapter(*scaled).parts.items()}
        wanted = {part: torch.randn(4, *shape, generator=random) for part, shape in shapes.items()}
        adapter.fit(*scaled, wanted)
        found.append(adapter(*scaled).parts)
    for part, said in found[0].items():
        torch.testing.assert_close(found[1][part], said, rtol=1e-3, atol=1e-3)
    plain = [build(name)(factor * tokens_BLD, factor * pooled_BD).parts for factor in (1.0, 3.0)]
    assert not all(torch.allclose(plain[0][part], plain[1][part], rtol=1e-2) for part in plain[0])


def test_one_of_unit_length_hears_directions_alone() -> None:
    adapter, (tokens_BLD, pooled_BD) = build("v2d_clap", normalise=True, unit_length=True), sounds(8)
    adapter.fit(tokens_BLD, pooled_BD, {"pooled": torch.randn(4, 12, generator=torch.Generator().manual_seed(3))})
    said, longer = (adapter(tokens_BLD, factor * pooled_BD).parts["pooled"] for factor in (1, 7))
    torch.testing.assert_close(said, longer, rtol=1e-3, atol=1e-3)
    plain = build("v2d_clap")
    assert not torch.allclose(plain(tokens_BLD, 7 * pooled_BD).parts["pooled"], plain(*sounds(8)).parts["pooled"])
    heard_BD = adapter.inputs.remove(adapter._direction(pooled_BD))
    torch.testing.assert_close(heard_BD.mean(dim=0), torch.zeros(128), atol=1e-5, rtol=0)
    torch.testing.assert_close(heard_BD.std(dim=0, correction=0), torch.ones(128), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["v2d_pooled", "v2d_tokens"])
def test_one_that_has_learned_nothing_says_the_mean_target(name: str) -> None:
    adapter, heard = build(name, normalise=True), sounds()
    torch.manual_seed(0)
    wanted = {part: 5 + 0.1 * torch.randn(9, *said.shape[1:]) for part, said in adapter(*heard).parts.items()}
    wanted = {part: torch.cat([torch.full_like(x[..., :1], 700.0), x[..., 1:]], dim=-1) for part, x in wanted.items()}
    adapter.fit(*heard, wanted)
    for tensor in adapter.parameters():
        nn.init.zeros_(tensor)
    for part, said in adapter(*heard).parts.items():
        torch.testing.assert_close(said, wanted[part].mean(dim=0).expand_as(said))
    for tensor in adapter.parameters():
        nn.init.normal_(tensor)
    for said in adapter(*heard).parts.values():
        assert (said[..., 0] == 700).all(), "what never changes is said as it is"


@pytest.mark.parametrize("length", [1, 3, 4, 6, 7, 10, 11])
def test_patches_of_other_numbers_are_all_heard_in_their_order(length: int) -> None:
    tokens_BLD = torch.rand(2, length, 3)
    five = resample(tokens_BLD, 5)
    for i in range(5):
        first, last = i * length // 5, -(-(i + 1) * length // 5)
        torch.testing.assert_close(five[:, i], tokens_BLD[:, first:last].mean(dim=1))
    assert torch.equal(resample(five, 5), five), "five stay as they are, to the bit"
    rising = torch.arange(length).float()[None, :, None]
    assert (resample(rising, 5).diff(dim=1) >= 0).all()
    adapter = build("v2d_tokens")
    for part, said in adapter(tokens_BLD.repeat(1, 1, 43)[..., :128], torch.zeros(2, 128)).parts.items():
        torch.testing.assert_close(said, adapter(five.repeat(1, 1, 43)[..., :128], torch.zeros(2, 128)).parts[part])


def test_learned_words_are_one_long_and_placed_where_a_word_stands() -> None:
    adapter, heard = build("audio_token", word_length=0.7), sounds(3, length=4)
    words_BKW = adapter.words(heard[0])
    assert words_BKW.shape == (3, 2, 16)
    torch.testing.assert_close(words_BKW.norm(dim=-1), torch.full((3, 2), 0.7))
    assert torch.equal(adapter(*heard).parts["clip_l"], tell(words_BKW).parts["clip_l"])
    embeddings = text_encoder().get_input_embeddings().weight
    dog = read(prompt(1, 20, 21)).parts
    for part, said in tell(embeddings[[20, 21]][None]).parts.items():
        torch.testing.assert_close(said, dog[part], rtol=0, atol=0)


def test_attention_hears_the_order_of_nothing_and_the_share_of_everything() -> None:
    adapter, tokens_BLD = build("audio_token"), sounds(3, length=4)[0]
    words = adapter.words(tokens_BLD)
    torch.testing.assert_close(adapter.words(tokens_BLD.flip(1)), words, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(adapter.words(tokens_BLD.repeat(1, 2, 1)), words, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(adapter.words(tokens_BLD[:, :3]), words, rtol=1e-3)


def test_a_frozen_text_encoder_teaches_words() -> None:
    """Learned words come to say what the words of a class say; the text encoder stays as it is."""
    heard = sounds(4, seed=5)
    wanted = [torch.cat([read(prompt(1, *words)).parts["pooled"] for words in ((20, 21), (30, 31))])] * 2
    wanted_BP = torch.cat(wanted)
    before = {name: tensor.clone() for name, tensor in text_encoder().state_dict().items()}
    adapter = build("audio_token", normalise=True)
    adapter.fit(*heard, {})
    optimizer = torch.optim.Adam(adapter.parameters(), 1e-2)
    history = []
    for _ in range(60):
        loss = nn.functional.mse_loss(adapter(*heard).parts["pooled"], wanted_BP)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(float(loss.detach()))
    assert history[-1] < 0.1 * history[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in text_encoder().state_dict().items())


def test_without_a_text_encoder_words_can_be_asked_for_and_nothing_else() -> None:
    adapter: Any = adapters.build("audio_token", SMALL["audio_token"])
    assert adapter.words(sounds()[0]).shape == (6, 2, 16)
    with pytest.raises(AssertionError, match="a text encoder must tell"):
        adapter(*sounds())


@pytest.mark.parametrize("name", NAMES)
def test_unknown_options_and_wrong_values_are_one_line(name: str) -> None:
    with pytest.raises(RecipeError, match=r"unknown key 'adapter\.widht' in the recipe; known here: .*input_size"):
        adapters.build(name, {"widht": 3})
    with pytest.raises(RecipeError, match=r"recipe key 'adapter\.input_size': input should be greater than 0"):
        adapters.build(name, {"input_size": 0})


def test_options_that_do_not_fit_each_other_are_one_line() -> None:
    with pytest.raises(RecipeError, match="3 dropouts for 1 widths"):
        adapters.build("v2d_clap", {"widths": [7]})
    with pytest.raises(RecipeError, match="a width of 10 cannot be divided among 4 heads"):
        adapters.build("v2d_tokens", {"width": 10, "num_heads": 4})
    with pytest.raises(UnknownNameError, match="did you mean 'v2d_clap'"):
        adapters.build("v2d_clip", {})


def save_to(folder: Path, name: str = "v2d_pooled", seed: int = 0, **changes: Any) -> ModelFolder:
    adapter = build(name, seed)
    described = ModelFolder(
        path=folder,
        name="tiny",
        system=name,
        kind="adapter",
        features={"name": "vggish", "size": 128, "identity": "a" * 64},
        latent_size=0,
        image=NO_PICTURE,
        model=adapter.config.model_dump(mode="json"),
        target={"name": "sentence", "identity": "b" * 64, "sizes": {"pooled": [12]}, "template": "{label}"},
    )
    return write_folder(replace(described, **changes), {"model.safetensors": save(adapter.state_dict())})


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_one_says_the_same(name: str, tmp_path: Path) -> None:
    saved = save_to(tmp_path, name)
    more = {"tell": tell} if name == "audio_token" else {}
    folder, adapter = adapters.load(tmp_path, **more)
    assert folder == saved
    assert not adapter.training
    for part, said in adapter(*sounds()).parts.items():
        assert torch.equal(said, build(name)(*sounds()).parts[part])


def test_a_folder_is_checked(tmp_path: Path) -> None:
    save_to(tmp_path)
    with pytest.raises(ModelError, match=r"unknown key 'adapter\.colour' in config\.json"):
        adapters.load(save_to(tmp_path, model={"colour": 1}).path)
    with pytest.raises(ModelError, match=r"tensor 'layers\.12\.bias' is \(12,\); a v2d_pooled .* has \(13,\)"):
        adapters.load(save_to(tmp_path, model={"pooled_size": 13}).path)
    with pytest.raises(ModelError, match=r"tensor 'inputs\.deviation' is absent; .* has \(128,\)"):
        adapters.load(save_to(tmp_path, model={"pooled_size": 12, "normalise": True}).path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["layers.0.bias"][3] = torch.nan
    write_folder(save_to(tmp_path), {"model.safetensors": save(weights)})
    with pytest.raises(ModelError, match=r"tensor 'layers\.0\.bias' is .* of finite numbers"):
        adapters.load(tmp_path)


def test_the_manifest_of_an_adapter(tmp_path: Path) -> None:
    described = save_to(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["kind"], config["image"]) == ("adapter", None)
    assert parse(tmp_path, config) == described
    for key, value, message in (
        ("image", {"channels": 1, "height": 2, "width": 2}, "image in .* expected null, for an adapter"),
        ("target", None, "target in .* expected an object for an adapter"),
        ("target", "clip", "target in .* expected an object for an adapter"),
        ("features", None, "features in .* expected an object"),
        ("kind", "alignment", "image in .* expected an object"),
    ):
        with pytest.raises(ModelError, match=message):
            parse(tmp_path, config | {key: value})


def test_other_models_have_no_target(data_root: Path) -> None:
    del data_root
    from soundsight.folder import pretrained_names, read_folder, resolve

    for name in pretrained_names():
        folder = read_folder(resolve(name), verify=False)
        assert "target" not in folder.config()
        with pytest.raises(ModelError, match="target in"):
            parse(folder.path, folder.config() | {"target": {}})


@pytest.mark.parametrize(
    ("came", "message"),
    [
        ({"name": "clap"}, "this encoder is clap: choose the encoder 'vggish'"),
        ({"size": 512}, "trained on embeddings of vggish, 128 wide; this width is 512"),
        ({"identity": "c" * 64}, r"trained on another 'vggish' \(identity aaaaaaaaaaaa…, this one is cccccccccccc…\)"),
    ],
)
def test_another_encoder_is_refused(came: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = save_to(tmp_path)
    right = {"name": "vggish", "size": 128, "identity": "a" * 64}
    check_encoder(folder, **right)  # type: ignore[arg-type]
    check_encoder(folder, name="vggish", size=128)
    with pytest.raises(ModelError, match=message) as caught:
        check_encoder(folder, **(right | came))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
