"""Real pictures that train and real pictures that test, of three kinds: (N, 3, H, W) uint8 both."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from soundsight.datasets import beach_frames, cifar10
from soundsight.datasets.pair_splits import split_pairs


def film(data_root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Frames of a film, 64 by 64; the last quarter, other scenes than before, tests."""
    import av

    with av.open(str(data_root / "video" / "big_buck_bunny_480p_30s.mp4")) as container:
        frames = [
            frame.to_ndarray(width=64, height=64, format="rgb24").transpose(2, 0, 1)
            for i, frame in enumerate(container.decode(video=0))
            if i % 8 == 0
        ]
    part = len(frames) * 3 // 4
    return np.stack(frames[:part]), np.stack(frames[part:])


def beach(data_root: Path) -> tuple[np.ndarray, np.ndarray]:
    pairs = beach_frames.load(data_root / "beach_frames")
    split = split_pairs(pairs, "block", seed=0)
    return pairs.load_images(split.train, 64), pairs.load_images(split.test, 64)


def photographs(data_root: Path) -> tuple[np.ndarray, np.ndarray]:
    train, test = (cifar10.load(data_root / "cifar10", train=part).images_NCHW for part in (True, False))
    return train[:5000], test[:200]
