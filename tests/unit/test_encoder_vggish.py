"""VGGish against NumPy in TensorFlow's layout, the published tensors and constants, and options."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from encoder_laws import check_encoder, noise
from soundsight import encoders
from soundsight.audio import Clip
from soundsight.encoders.vggish import Config, Network, Pca, Vggish, load, quantised
from soundsight.errors import MissingExtraError, ModelError, SoundsightError, UnknownNameError
from soundsight.features import vggish as front_end

Float32 = NDArray[np.float32]
RATE_HZ = 16_000

# The tensors of torchvggish's vggish-10086976.pth.
PUBLISHED = {
    **{f"features.{i}.weight": (after, before, 3, 3) for i, before, after in [
        (0, 1, 64), (3, 64, 128), (6, 128, 256), (8, 256, 256), (11, 256, 512), (13, 512, 512),
    ]},
    **{f"features.{i}.bias": (n,) for i, n in [(0, 64), (3, 128), (6, 256), (8, 256), (11, 512), (13, 512)]},
    **{f"embeddings.{i}.weight": shape for i, shape in [(0, (4096, 12288)), (2, (4096, 4096)), (4, (128, 4096))]},
    **{f"embeddings.{i}.bias": (n,) for i, n in [(0, 4096), (2, 4096), (4, 128)]},
}  # fmt: skip


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """Random weights of a size that keeps activations alive; 288 MB, made once."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))
        if len(shape) > 1
        else 0.1 * torch.randn(shape, generator=generator)
        for name, shape in PUBLISHED.items()
    }


@pytest.fixture(scope="module")
def pca() -> Pca:
    rng = np.random.default_rng(1)
    return Pca((0.1 * rng.standard_normal((128, 128))).astype(np.float32), rng.standard_normal(128).astype(np.float32))


@pytest.fixture(scope="module")
def encoder(tensors: dict[str, Tensor]) -> Vggish:
    return of(tensors)


def of(tensors: dict[str, Tensor], pca: Pca | None = None, **options: Any) -> Vggish:
    with torch.device("meta"):
        network = Network(relu=options.get("relu", True))
    network.load_state_dict(tensors, assign=True)
    return Vggish(network, pca, Config(**options))


def reference(tensors: dict[str, Tensor], clip: Clip, *, relu: bool = True) -> Float32:
    """The published network in NumPy, height, width and channels in TensorFlow's order throughout."""
    x_PHWC = front_end.patches(clip, front_end.Config())[..., None].astype(np.float64)
    for i in (0, 3, 6, 8, 11, 13):
        weight, bias = tensors[f"features.{i}.weight"].numpy(), tensors[f"features.{i}.bias"].numpy()
        _, height, width, _ = x_PHWC.shape
        padded = np.pad(x_PHWC, ((0, 0), (1, 1), (1, 1), (0, 0)))
        x_PHWC = bias + sum(
            padded[:, y : y + height, x : x + width] @ weight[:, :, y, x].T.astype(np.float64)
            for y in range(3)
            for x in range(3)
        )
        x_PHWC = np.maximum(x_PHWC, 0)
        if i in (0, 3, 8, 13):
            x_PHWC = x_PHWC.reshape(len(x_PHWC), height // 2, 2, width // 2, 2, -1).max(axis=(2, 4))
    hidden = x_PHWC.reshape(len(x_PHWC), -1).astype(np.float32)
    for i in (0, 2, 4):
        hidden = hidden @ tensors[f"embeddings.{i}.weight"].numpy().T + tensors[f"embeddings.{i}.bias"].numpy()
        if i < 4 or relu:
            hidden = np.maximum(hidden, 0)
    return hidden


def test_its_tensors_are_the_published_ones() -> None:
    with torch.device("meta"):
        found = {name: tuple(tensor.shape) for name, tensor in Network().state_dict().items()}
    assert found == PUBLISHED
    assert sum(map(math.prod, PUBLISHED.values())) == 72_141_184


@pytest.mark.parametrize("relu", [True, False])
def test_it_is_the_published_network(relu: bool, tensors: dict[str, Tensor]) -> None:
    clip = noise(2.2, RATE_HZ)
    wanted_LD = reference(tensors, clip, relu=relu)
    assert wanted_LD.shape == (2, 128)
    assert (wanted_LD < 0).any() == (not relu)
    (found,) = of(tensors, relu=relu).encode([clip])
    np.testing.assert_allclose(found.tokens_LD, wanted_LD, atol=1e-4 * np.abs(wanted_LD).max())
    np.testing.assert_allclose(found.pooled_D, wanted_LD.mean(axis=0), atol=1e-4 * np.abs(wanted_LD).max())


def test_what_is_seen_is_flattened_by_height_width_and_channel() -> None:
    class Seen(nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            return torch.arange(2 * 512 * 6 * 4).reshape(2, 512, 6, 4).float()

    network = Network()
    network.features, network.embeddings = Seen(), nn.Identity()  # type: ignore[assignment]
    flat_PX, seen = network(torch.zeros(2, 96, 64)), Seen()(torch.zeros(0))
    for channel, row, column in [(3, 1, 2), (511, 5, 3), (0, 0, 1)]:
        assert torch.equal(flat_PX[:, (row * 4 + column) * 512 + channel], seen[:, channel, row, column])


def test_it_keeps_the_laws(encoder: Vggish) -> None:
    assert (encoder.name, encoder.size, encoder.sample_rate_hz) == ("vggish", 128, 16_000)
    check_encoder(encoder, [0.5, 3.0, 11.0])


@pytest.mark.parametrize(("duration_s", "tokens"), [(0.02, 1), (0.97, 1), (0.98, 1), (2.0, 2), (10.0, 10), (11.9, 12)])
def test_a_token_is_0_96_s(duration_s: float, tokens: int, encoder: Vggish) -> None:
    (found,) = encoder.encode([noise(duration_s, RATE_HZ)])
    assert len(found.tokens_LD) == tokens


def test_a_short_sound_ends_in_silence(encoder: Vggish) -> None:
    short = noise(0.4, RATE_HZ)
    filled = Clip(np.concatenate([short.samples, np.zeros(RATE_HZ - len(short.samples), np.float32)]), RATE_HZ)
    first, second = encoder.encode([short, filled])
    np.testing.assert_array_equal(first.tokens_LD, second.tokens_LD)


def test_a_token_does_not_depend_on_what_comes_later(encoder: Vggish) -> None:
    """Also across the blocks in which a long sound is heard."""
    long = noise(13, RATE_HZ)
    whole, start = encoder.encode([long, Clip(long.samples[: 11 * RATE_HZ], RATE_HZ)])
    np.testing.assert_allclose(whole.tokens_LD[:11], start.tokens_LD, rtol=1e-4, atol=1e-4)


def test_half_the_bits_give_nearly_the_same(encoder: Vggish, tensors: dict[str, Tensor]) -> None:
    clip = noise(2, RATE_HZ)
    half, whole = (e.encode([clip])[0].tokens_LD for e in (of(tensors, precision="bf16"), encoder))
    assert half.dtype == np.float32
    assert 0 < np.linalg.norm(half - whole) < 0.03 * np.linalg.norm(whole)


def test_the_pca_takes_eigenvectors_in_rows_and_clips(pca: Pca) -> None:
    tokens_LD = np.random.default_rng(2).standard_normal((3, 128)).astype(np.float32) * 1.5 + pca.means_D
    wanted = [[sum((token - pca.means_D) * vector) for vector in pca.vectors_DD] for token in tokens_LD]
    found = pca.apply(tokens_LD)
    np.testing.assert_allclose(found, np.clip(wanted, -2, 2), atol=1e-4)
    assert found.min() == -2
    assert found.max() == 2
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("value", "nearest", "down"),
    [(-2, 0, 0), (2, 255, 255), (0, 128, 127), (-1.99, 1, 0), (1.99, 254, 254), (0.02, 129, 128), (1, 191, 191)],
)
def test_steps_are_the_published_ones(value: float, nearest: int, down: int) -> None:
    """PyTorch's ``round((x + 2) * 63.75)``, and AudioSet's cast of it to 8 bits."""
    whitened_LD = np.full((1, 128), value, np.float32)
    assert (quantised(whitened_LD, "nearest") == nearest).all()
    assert (quantised(whitened_LD, "down") == down).all()
    assert int(torch.round((torch.tensor(float(value)) + 2) * 63.75)) == nearest
    assert np.uint8((value + 2) * 63.75) == down


def test_outputs_follow_from_one_another(encoder: Vggish, tensors: dict[str, Tensor], pca: Pca) -> None:
    clip = noise(3, RATE_HZ)
    raw = encoder.encode([clip])[0]
    whitened = of(tensors, pca, output="pca").encode([clip])[0]
    np.testing.assert_array_equal(whitened.tokens_LD, pca.apply(raw.tokens_LD))
    stepped = of(tensors, pca, output="quantised", rounding="down").encode([clip])[0]
    np.testing.assert_array_equal(stepped.tokens_LD, quantised(whitened.tokens_LD, "down"))
    np.testing.assert_allclose(stepped.pooled_D, stepped.tokens_LD.mean(axis=0))
    assert len(np.unique(stepped.tokens_LD)) > 20


def test_the_identity_tells_weights_and_options_apart(encoder: Vggish, tensors: dict[str, Tensor], pca: Pca) -> None:
    assert of(tensors).identity == of(tensors, pca).identity == encoder.identity, "an unused PCA is of no account"
    nudged = {**tensors, "features.13.bias": torch.nextafter(tensors["features.13.bias"], torch.tensor(9.0))}
    other = Pca(pca.vectors_DD, pca.means_D + 1)
    identities = [
        encoder.identity,
        of(nudged).identity,
        of(tensors, relu=False).identity,
        of(tensors, precision="bf16").identity,
        of(tensors, pca, output="pca").identity,
        of(tensors, other, output="pca").identity,
        of(tensors, pca, output="quantised").identity,
        of(tensors, pca, output="quantised", rounding="down").identity,
    ]
    assert len(set(identities)) == len(identities)


def test_a_file_is_read(
    encoder: Vggish, tensors: dict[str, Tensor], pca: Pca, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the PCA in it, as the whole published module has it, and with one that is named, which wins."""
    inside = {"pproc.pca_eigen_vectors": torch.from_numpy(pca.vectors_DD), "pproc.pca_means": torch.zeros(128, 1)}
    path = tmp_path / "vggish.safetensors"
    save_file(tensors | inside, path, metadata={"made": "by a test"})
    assert encoders.load("vggish", path).identity == encoder.identity
    found = load(str(path), output="pca")
    assert found.identity == of(tensors, Pca(pca.vectors_DD, np.zeros(128, np.float32)), output="pca").identity
    np.savez(tmp_path / "pca.npz", pca_eigen_vectors=pca.vectors_DD, pca_means=pca.means_D)
    assert load(path, pca=tmp_path / "pca.npz", output="pca").identity == of(tensors, pca, output="pca").identity
    path.unlink()
    np.testing.assert_array_equal(found.encode([noise(1, RATE_HZ)])[0].tokens_LD.shape, (1, 128))


def test_an_encoder_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(
        UnknownNameError, match=r"no 'vgish' in encoders \(did you mean 'vggish'\?\); known: clap, vggish"
    ):
        encoders.load("vgish", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"the encoder 'vggish' needs .*: pip install 'soundsight\[sd3\]'"):
        encoders.load("vggish", tmp_path)


def test_options_that_last_are_those_that_change_what_it_says() -> None:
    assert encoders.lasting("vggish", {"output": "quantised", "pca": "a.npz", "relu": True}) == {"output": "quantised"}
    assert encoders.lasting("vggish", {}) == encoders.lasting("clap", {"revision": "main"}) == {}


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"output": "whitened"}, "output must be one of raw, pca, quantised, not 'whitened'"),
        ({"rounding": "up"}, "rounding must be one of nearest, down, not 'up'"),
        ({"precision": "fp16"}, "precision must be one of fp32, bf16, not 'fp16'"),
        ({"relu": "no"}, "relu must be true or false, not 'no'"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Config(**options)
    with pytest.raises(SoundsightError, match=f"the encoder 'vggish': {fault}"):
        encoders.load("vggish", "weights", **options)


@pytest.mark.parametrize("output", ["pca", "quantised"])
def test_an_output_without_its_pca_is_refused(output: str, tensors: dict[str, Tensor]) -> None:
    with pytest.raises(ModelError, match=rf"the output '{output}' needs the PCA .* vggish_pca_params.npz"):
        of(tensors, output=output)


def test_numbers_that_are_not_finite_are_refused(tensors: dict[str, Tensor]) -> None:
    huge = {**tensors, "embeddings.4.weight": torch.full((128, 4096), 3e38)}
    with pytest.raises(ModelError, match="make no finite numbers of this sound"):
        of(huge).encode([noise(1, RATE_HZ)])


def test_the_published_weights_pass_the_published_smoke_test() -> None:
    """AudioSet's vggish_smoke_test.py: a tone of 1 kHz, statistics within 10 %; for whoever has the weights."""
    weights, pca = os.environ.get("SOUNDSIGHT_VGGISH"), os.environ.get("SOUNDSIGHT_VGGISH_PCA")
    if not weights or not pca:
        pytest.skip("no published weights; set SOUNDSIGHT_VGGISH and SOUNDSIGHT_VGGISH_PCA to them")
    tone = Clip(np.sin(2 * np.pi * 1000 * np.arange(3 * RATE_HZ) / RATE_HZ).astype(np.float32), RATE_HZ)
    raw = load(weights, relu=False).encode([tone])[0].tokens_LD
    stepped = load(weights, pca=pca, relu=False, output="quantised", rounding="down").encode([tone])[0].tokens_LD
    assert raw.shape == (3, 128)
    np.testing.assert_allclose([raw.mean(), raw.std()], [0.000657, 0.343], rtol=0.1)
    np.testing.assert_allclose([stepped.mean(), stepped.std()], [126.0, 89.3], rtol=0.1)
