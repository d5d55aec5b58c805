"""Write a file whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["replace_file"]


def replace_file(path: Path, data: bytes | memoryview) -> None:
    """Write ``data`` to ``path`` through a temporary name in the same folder, so that no half file is ever seen.

    Raises:
        OSError: It cannot be written; what was there before is still there, and nothing else is.
    """
    # The process' number keeps two processes apart; within one, no two threads write the same file.
    temporary = path.with_name(f".{os.getpid()}-{hash(path.name) & 0xFFFFFFFF:08x}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
