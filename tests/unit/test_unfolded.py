"""Convolutions over unfolded windows are PyTorch's convolutions: values, gradients, and gradients of gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from soundsight.models import unfolded
from soundsight.models.unfolded import UnfoldedConv2d, UnfoldedConvTranspose2d

# Height, kernel, stride: several places, one place, rows that no window reaches, windows apart, single pixels.
SIZES = [(10, 4, 2), (4, 4, 2), (5, 4, 2), (7, 3, 1), (9, 2, 3), (1, 1, 1)]
BACK = [(3, 3, 2), (1, 3, 2), (5, 2, 2), (4, 1, 2), (3, 4, 3)]


def tensors(height: int, kernel: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(height)
    draw = {"generator": generator, "dtype": torch.float64}
    return torch.randn(2, 3, height, height, **draw), torch.randn(5, 3, kernel, kernel, **draw)


@pytest.mark.parametrize(("height", "kernel", "stride"), SIZES)
def test_convolution(height, kernel, stride):
    image, weight = tensors(height, kernel)
    torch.testing.assert_close(
        unfolded._Convolution.apply(image, weight, stride), functional.conv2d(image, weight, stride=stride)
    )
    image.requires_grad_()
    weight.requires_grad_()
    apply = lambda x, w: unfolded._Convolution.apply(x, w, stride)  # noqa: E731
    assert torch.autograd.gradcheck(apply, (image, weight), fast_mode=True)
    assert torch.autograd.gradgradcheck(apply, (image, weight), fast_mode=True)


@pytest.mark.parametrize(("height", "kernel", "stride"), BACK)
def test_transposed_convolution(height, kernel, stride):
    image, weight = tensors(height, kernel)
    weight = weight.transpose(0, 1).contiguous()
    wanted = functional.conv_transpose2d(image, weight, stride=stride)
    torch.testing.assert_close(unfolded._Transposed.apply(image, weight, stride), wanted)
    image.requires_grad_()
    weight.requires_grad_()
    apply = lambda x, w: unfolded._Transposed.apply(x, w, stride)  # noqa: E731
    assert torch.autograd.gradcheck(apply, (image, weight), fast_mode=True)
    assert torch.autograd.gradgradcheck(apply, (image, weight), fast_mode=True)


def pair(transposed: bool, **options: bool) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    ours = (UnfoldedConvTranspose2d if transposed else UnfoldedConv2d)(6, 8, 3, stride=2, **options)
    plain = (nn.ConvTranspose2d if transposed else nn.Conv2d)(6, 8, 3, stride=2, **options)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_trains_as_the_plain_one_does(transposed, bias):
    layers = pair(transposed, bias=bias)
    image = torch.randn(4, 6, 7, 7)
    found = []
    for layer in layers:
        seen = image.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            output = layer(seen)
        output.float().square().mean().backward()
        assert output.dtype == torch.bfloat16
        found.append([output.float(), seen.grad, *(parameter.grad for parameter in layer.parameters())])
    for mine, theirs in zip(*found, strict=True):
        assert mine.dtype == theirs.dtype
        torch.testing.assert_close(mine, theirs, rtol=3e-2, atol=3e-3)


def test_a_penalty_on_gradients_has_the_gradient_of_the_plain_layer():
    found = []
    for layer in pair(False, bias=True):
        seen = torch.linspace(-1, 1, 2 * 6 * 49).view(2, 6, 7, 7).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            score = layer(seen).float().tanh().sum()
        (slope,) = torch.autograd.grad(score, seen, create_graph=True)
        slope.square().sum().backward()
        found.append(layer.weight.grad)
    torch.testing.assert_close(*found, rtol=5e-2, atol=5e-2 * float(found[1].abs().max()))


@pytest.mark.parametrize("transposed", [False, True])
def test_elsewhere_it_is_the_plain_layer(transposed, monkeypatch):
    ours, plain = pair(transposed)
    image = torch.randn(2, 6, 9, 9)

    def never(*_: object) -> None:
        raise AssertionError

    for name in ("_Convolution", "_Transposed"):
        monkeypatch.setattr(getattr(unfolded, name), "apply", never)
    assert torch.equal(ours(image), plain(image)), "single precision"
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours.eval()(image), plain(image)), "in use"
        with pytest.raises(AssertionError):
            ours.train()(image)
