"""Whether a model fits into this machine's memory, asked before it is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from soundsight.errors import ModelError, TooLargeError

__all__ = ["BYTES", "PIXELS", "Offload", "Plan", "Precision", "check", "check_work", "free_bytes", "num_together"]

Precision = Literal["fp32", "bf16", "fp16"]
Offload = Literal["none", "model", "sequential"]

BYTES: dict[Precision, int] = {"fp32": 4, "bf16": 2, "fp16": 2}
PIXELS = 1 << 18
"""Pixels of the pictures that are painted at once, but one picture at least: one of 512 by 512, 256 of 32 by 32."""
_MEMINFO, _CGROUP, _CGROUPS = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
_GB = 1e9
# Numbers that live at once while a picture is decoded, for each pixel and channel of the decoder at full size. Measured
# with Stable Diffusion 3's decoder on a CPU: 8.4 at 384 x 384 pixels, 6.8 for each further one. Rough elsewhere.
_MAPS = 8
# What spares less than this is not worth a word.
_HELPS = 0.98
# One layer of a network at a time, at most this share of it.
_LAYER = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be held in memory.

    Attributes:
        weights: Part of the model to its number of weights.
        pixels: Of the pictures that are decoded at once, or of as much of them.
        channels: Width of the decoder at full size.
        precision: Of weights and work.
        offload: What leaves the GPU while it is not needed.
        on_gpu: Whether there is one.
    """

    weights: Mapping[str, int]
    pixels: int
    channels: int
    precision: Precision
    offload: Offload
    on_gpu: bool

    @property
    def work_bytes(self) -> int:
        """What painting takes beside the weights; roughly."""
        return self.pixels * self.channels * _MAPS * BYTES[self.precision]

    @property
    def main_bytes(self) -> int:
        """In the main memory."""
        if not self.on_gpu:
            return self._all_bytes + self.work_bytes
        # On its way to the GPU a part passes through here.
        return self._largest_bytes if self.offload == "none" else self._all_bytes

    @property
    def gpu_bytes(self) -> int:
        """On the GPU."""
        held = {
            "none": self._all_bytes,
            "model": self._largest_bytes,
            "sequential": int(_LAYER * self._largest_bytes),
        }
        return held[self.offload] + self.work_bytes if self.on_gpu else 0

    @property
    def _all_bytes(self) -> int:
        return sum(self.weights.values()) * BYTES[self.precision]

    @property
    def _largest_bytes(self) -> int:
        return max(self.weights.values(), default=0) * BYTES[self.precision]


def num_together(height: int, width: int) -> int:
    """How many pictures of so many pixels are painted at once, one at least."""
    return max(1, PIXELS // (height * width))


def check(plan: Plan, name: str) -> None:
    """Refuse a model that does not fit, in a line that says by how much, and what would help.

    Raises:
        ModelError: It needs more than is free.
    """
    short = _short(plan)
    if not short:
        return
    place, needed, free = short[0]
    helping = [
        (plan.precision == "fp32", "precision bf16", replace(plan, precision="bf16")),
        (plan.on_gpu and plan.offload == "none", "offload model", replace(plan, offload="model")),
        (plan.on_gpu and plan.offload != "sequential", "offload sequential", replace(plan, offload="sequential")),
        (
            "text_encoder_3" in plan.weights,
            "without text_encoder_3",
            replace(plan, weights={part: num for part, num in plan.weights.items() if part != "text_encoder_3"}),
        ),
    ]
    told = [
        f"{what} needs {other_needed / _GB:.1f}" + ("" if _short(other) else ", which fits")
        for is_open, what, other in helping
        if is_open and (other_needed := other.gpu_bytes if place == "GPU" else other.main_bytes) < _HELPS * needed
    ]
    raise ModelError(
        f"{name} needs about {needed / _GB:.1f} GB of {place} memory as {plan.precision}, and {free / _GB:.1f} are "
        f"free: {(needed - free) / _GB:.1f} are missing; "
        f"{'; '.join(told) or 'it takes a larger machine, or a smaller model'}"
    )


def check_work(what: str, numbers_bytes: int, *, on_gpu: bool, helping: str) -> None:
    """Refuse pictures that cannot be decoded, before they are painted.

    Args:
        what: For the message.
        numbers_bytes: One number for each pixel and channel of the decoder at full size, in its precision.
        on_gpu: Where it is painted.
        helping: What to do about it.

    Raises:
        TooLargeError: It needs more than is free.
    """
    needed, free = numbers_bytes * _MAPS, free_bytes(on_gpu=on_gpu)
    if free is not None and needed > free:
        raise TooLargeError(
            f"{what} at once: about {needed / _GB:.1f} GB of {'GPU' if on_gpu else 'main'} memory are needed, and "
            f"{free / _GB:.1f} are free; {helping}"
        )


def _short(plan: Plan) -> list[tuple[str, int, int]]:
    """Where there is too little: which memory, what is needed, and what is free."""
    needed = {"main": plan.main_bytes, "GPU": plan.gpu_bytes}
    found = {place: free_bytes(on_gpu=place == "GPU") for place in needed if place == "main" or plan.on_gpu}
    return [(place, needed[place], free) for place, free in found.items() if free is not None and needed[place] > free]


def free_bytes(*, on_gpu: bool) -> int | None:
    """What is free in the main memory, or on the GPU; None where nobody tells."""
    if on_gpu:
        import torch

        # What PyTorch keeps of earlier work it uses again.
        kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(torch.cuda.mem_get_info()[0]) + kept
    found = [each for each in (_free_of_machine(), *_free_of_groups()) if each is not None]
    return min(found, default=None)


def _free_of_machine() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        lines = dict(row.split(":", 1) for row in _MEMINFO.read_text().splitlines() if ":" in row)
        if "MemAvailable" in lines:
            return int(lines["MemAvailable"].split()[0]) * 1024
    with suppress(AttributeError, OSError, ValueError):  # no Linux: all that is there, free or not
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _free_of_groups() -> Iterator[int]:
    """What Linux's control groups leave to this process: a container's limit, a service's (version 2)."""
    with suppress(OSError, ValueError):
        own = next((row[3:] for row in _CGROUP.read_text().splitlines() if row.startswith("0::")), None)
        if own is None:
            return
        place = _CGROUPS / own.lstrip("/")
        for group in (place, *place.parents):
            with suppress(OSError, ValueError, KeyError):  # the topmost has no limit, and most say "max"
                limit = int((group / "memory.max").read_text())
                stat = dict(row.split() for row in (group / "memory.stat").read_text().splitlines())
                # Files that were read leave when somebody needs their place.
                files = int(stat["inactive_file"]) + int(stat["active_file"])
                held = int((group / "memory.current").read_text()) - files
                yield max(0, limit - held)
            if group == _CGROUPS:
                return
