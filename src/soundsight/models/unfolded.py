"""Convolutions as matrix products over unfolded windows ("im2col"), for training in bf16 on a CPU.

The same layers, weights and numbers as ``nn.Conv2d`` and ``nn.ConvTranspose2d`` without padding. Where many channels
meet few places, PyTorch's own kernels reach a third to two thirds of what its matrix product reaches, backwards above
all; there these take half of the time. Elsewhere, in other precisions, on other devices and in use they are the plain
layers. Chellapilla, Puri & Simard, *High Performance Convolutional Neural Networks for Document Processing*, 2006.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["UnfoldedConv2d", "UnfoldedConvTranspose2d"]


class UnfoldedConv2d(nn.Conv2d):
    """``nn.Conv2d`` with a square kernel and no padding."""

    def forward(self, input_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) → (B, channels out, …)."""
        if not _pays(input_BCHW, self.training):
            return super().forward(input_BCHW)
        # What autocast does for layers that it knows.
        product = _Convolution.apply(input_BCHW.bfloat16(), self.weight.bfloat16(), self.stride[0])  # type: ignore[no-untyped-call]
        return _with_bias(product, self.bias)


class UnfoldedConvTranspose2d(nn.ConvTranspose2d):
    """``nn.ConvTranspose2d`` with a square kernel and no padding."""

    def forward(self, input_BCHW: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, C, H, W) → (B, channels out, …)."""
        if output_size is not None or not _pays(input_BCHW, self.training):
            return super().forward(input_BCHW, output_size)
        product = _Transposed.apply(input_BCHW.bfloat16(), self.weight.bfloat16(), self.stride[0])  # type: ignore[no-untyped-call]
        return _with_bias(product, self.bias)


def _pays(input_BCHW: Tensor, training: bool) -> bool:
    device = input_BCHW.device.type
    autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
    return training and device == "cpu" and autocast


def _with_bias(output_BCHW: Tensor, bias_C: Tensor | None) -> Tensor:
    return output_BCHW if bias_C is None else output_BCHW + bias_C.bfloat16()[:, None, None]


class _Convolution(torch.autograd.Function):
    """Input (B, C, H, H), weight (O, C, K, K) → (B, O, N, N), channels last throughout."""

    @staticmethod
    def forward(ctx: Any, input_BCHW: Tensor, weight_OCKK: Tensor, stride: int) -> Tensor:
        windows_XD = _windows(input_BCHW, weight_OCKK.shape[2], stride)
        ctx.save_for_backward(input_BCHW, weight_OCKK, windows_XD)
        ctx.stride = stride
        return _convolve(windows_XD, weight_OCKK, len(input_BCHW))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        input_BCHW, weight_OCKK, windows_XD = ctx.saved_tensors
        gradient_BONN, kernel = gradients[0], weight_OCKK.shape[2]
        of_input = of_weight = None
        if ctx.needs_input_grad[0]:
            of_input = _transpose(gradient_BONN, weight_OCKK, ctx.stride, input_BCHW.shape[2])
        if ctx.needs_input_grad[1]:
            if torch.is_grad_enabled():  # the gradient is to be differentiated itself
                windows_XD = _windows(input_BCHW, kernel, ctx.stride)
            of_weight = _weight_gradient(_rows(gradient_BONN), windows_XD, kernel)
        return of_input, of_weight, None


class _Transposed(torch.autograd.Function):
    """Input (B, C, N, N), weight (C, O, K, K) → (B, O, H, H), H = stride · (N - 1) + K."""

    @staticmethod
    def forward(ctx: Any, input_BCNN: Tensor, weight_COKK: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(input_BCNN, weight_COKK)
        ctx.stride = stride
        return _transpose(input_BCNN, weight_COKK, stride, stride * (input_BCNN.shape[2] - 1) + weight_COKK.shape[2])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        input_BCNN, weight_COKK = ctx.saved_tensors
        kernel = weight_COKK.shape[2]
        windows_XD = _windows(gradients[0], kernel, ctx.stride)
        of_input = of_weight = None
        if ctx.needs_input_grad[0]:
            of_input = _convolve(windows_XD, weight_COKK, len(input_BCNN))
        if ctx.needs_input_grad[1]:
            of_weight = _weight_gradient(_rows(input_BCNN), windows_XD, kernel)
        return of_input, of_weight, None


def _rows(image_BCNN: Tensor) -> Tensor:
    """(B·N·N, C)."""
    return image_BCNN.permute(0, 2, 3, 1).reshape(-1, image_BCNN.shape[1])


def _windows(image_BCHW: Tensor, kernel: int, stride: int) -> Tensor:
    """All windows (B·N·N, K·K·C) of an image, channels last."""
    image_BHWC = image_BCHW.permute(0, 2, 3, 1).contiguous()
    num_items, height, _, channels = image_BHWC.shape
    places = (height - kernel) // stride + 1
    image, row, column, _ = image_BHWC.stride()
    shape = (num_items, places, places, kernel, kernel, channels)
    windows = image_BHWC.as_strided(shape, (image, stride * row, stride * column, row, column, 1))
    return windows.reshape(-1, kernel * kernel * channels)


def _convolve(windows_XD: Tensor, weight_OCKK: Tensor, num_items: int) -> Tensor:
    """Windows times weight, as an image (B, O, N, N)."""
    weight_OD = weight_OCKK.permute(0, 2, 3, 1).reshape(len(weight_OCKK), -1)
    places = round((len(windows_XD) // num_items) ** 0.5)
    return functional.linear(windows_XD, weight_OD).view(num_items, places, places, -1).permute(0, 3, 1, 2)


def _transpose(image_BONN: Tensor, weight_OCKK: Tensor, stride: int, height: int) -> Tensor:
    """The adjoint of the convolution: windows (K, K, C) of each place, added up where they overlap, (B, C, H, H)."""
    num_items, _, places, _ = image_BONN.shape
    channels, kernel = weight_OCKK.shape[1:3]
    weight_OD = weight_OCKK.permute(0, 2, 3, 1).reshape(len(weight_OCKK), -1)
    windows = (_rows(image_BONN) @ weight_OD).view(num_items, places, places, kernel, kernel, channels)
    whole_BHWC = windows.new_zeros(num_items, height, height, channels)
    reach = stride * (places - 1) + 1
    for i in range(kernel):
        for j in range(kernel):
            whole_BHWC[:, i : i + reach : stride, j : j + reach : stride] += windows[:, :, :, i, j]
    return whole_BHWC.permute(0, 3, 1, 2)


def _weight_gradient(rows_XO: Tensor, windows_XD: Tensor, kernel: int) -> Tensor:
    """(O, C, K, K)."""
    return (rows_XO.T @ windows_XD).view(rows_XO.shape[1], kernel, kernel, -1).permute(0, 3, 1, 2)
