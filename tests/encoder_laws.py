"""What holds for every encoder, and sounds to try it with."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from soundsight.audio import Clip
from soundsight.encoders import Encoder


def noise(duration_s: float, rate_hz: int, seed: int = 0) -> Clip:
    """Noise that swells and fades, so that its parts differ."""
    num = round(duration_s * rate_hz)
    swell = 0.3 * (1.1 + np.sin(2 * np.pi * np.arange(num) / rate_hz / 3))
    return Clip((np.random.default_rng(seed).standard_normal(num) * swell).astype(np.float32), rate_hz)


def check_encoder(encoder: Encoder, durations_s: Sequence[float]) -> None:
    clips = [noise(duration_s, encoder.sample_rate_hz, seed) for seed, duration_s in enumerate(durations_s)]
    assert re.fullmatch("[0-9a-f]{64}", encoder.identity)
    assert encoder.encode([]) == []
    together = encoder.encode(clips)
    assert len(together) == len(clips)
    for clip, embedding in zip(clips, together, strict=True):
        (alone,) = encoder.encode([clip])
        assert np.array_equal(alone.tokens_LD, embedding.tokens_LD), "neighbours change nothing, to the bit"
        assert np.array_equal(alone.pooled_D, embedding.pooled_D)
        assert embedding.tokens_LD.dtype == embedding.pooled_D.dtype == np.float32
        assert embedding.tokens_LD.shape[1:] == embedding.pooled_D.shape == (encoder.size,)
        assert np.isfinite(embedding.tokens_LD).all()
        assert embedding.pooled_D.std() > 0
    assert not np.allclose(together[0].pooled_D, together[1].pooled_D, rtol=1e-3), "it hears the sound"
