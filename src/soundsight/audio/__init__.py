"""From any sound to a mono ``Clip``: decode, resample, trim, level, cut at silences or evenly.

Everything a front end sees went through ``decode`` or ``from_array`` and then through its own ``prepare``, in training
and in use alike.
"""

from soundsight.audio.clip import MAX_DURATION_S, MIN_DURATION_S, Clip
from soundsight.audio.decoder import decode
from soundsight.audio.level import condition
from soundsight.audio.parts import split_evenly
from soundsight.audio.samples import from_array
from soundsight.audio.silence import split_at_silences

__all__ = [
    "MAX_DURATION_S",
    "MIN_DURATION_S",
    "Clip",
    "condition",
    "decode",
    "from_array",
    "split_at_silences",
    "split_evenly",
]
