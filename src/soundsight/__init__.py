"""Turn sound into pictures.

Example:
    >>> from soundsight import AudioToImage
    >>> pipe = AudioToImage.from_pretrained("digits")  # doctest: +SKIP
    >>> pictures = pipe("seven.wav", num_images=4, seed=0)  # doctest: +SKIP
    >>> pictures[0].save("seven.png")  # doctest: +SKIP
    >>> pictures.array.shape  # doctest: +SKIP
    (4, 28, 28, 1)

Importing the package imports nothing else: what a name needs is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from soundsight._version import __version__

if TYPE_CHECKING:
    from soundsight.alignment import Alignment
    from soundsight.audio import Clip
    from soundsight.client import Client
    from soundsight.errors import SoundsightError
    from soundsight.pipeline import AudioToImage, Pictures

__all__ = ["Alignment", "AudioToImage", "Client", "Clip", "Pictures", "SoundsightError", "__version__"]

_HOMES = {
    "Alignment": "soundsight.alignment",
    "AudioToImage": "soundsight.pipeline",
    "Client": "soundsight.client",
    "Clip": "soundsight.audio",
    "Pictures": "soundsight.pipeline",
    "SoundsightError": "soundsight.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'soundsight' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
