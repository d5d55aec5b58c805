"""Arrays in NumPy's own format, from bytes that may be anything: no pickle, no more memory than the bytes take."""

from __future__ import annotations

import io
import math
import warnings
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

__all__ = ["parse_npy", "to_npy"]

_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def parse_npy(data: bytes | memoryview) -> NDArray[Any]:
    """The array in the bytes of an ``.npy`` file: a view of them, in whatever shape and numbers they say.

    Raises:
        ValueError: It is no such file, is cut short or goes on behind its end, or holds something else than numbers.
    """
    header = io.BytesIO(data[: 1 << 16])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that Python 2 has written it, as AudioSet's PCA
            shape, is_fortran, dtype = _READERS[npy.read_magic(header)](header)
    except Exception as error:  # NumPy reads the header with Python's own parser, which has many errors
        raise ValueError(
            f"no .npy file that is read here, or its header is damaged ({type(error).__name__})"
        ) from error
    if dtype.kind not in "fiu":
        raise ValueError(f"it holds {dtype}, which are no real numbers")
    content = memoryview(data)[header.tell() :]
    expected = math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise ValueError(f"its header announces {expected:,} bytes, and {len(content):,} follow")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")


def to_npy(array: NDArray[Any]) -> bytes:
    """The bytes of an ``.npy`` file of numbers."""
    stream = io.BytesIO()
    npy.write_array(stream, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return stream.getvalue()
