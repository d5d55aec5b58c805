"""Write a file whole or not at all, know beforehand whether it can be, and be alone in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from soundsight.errors import OutputError

__all__ = ["alone", "check_writable", "replace_file"]


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
    except BaseException as error:
        with suppress(OSError):  # where nothing can be written there is nothing to take away
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None  # the file that was asked for, not ours
        raise


def check_writable(folder: Path) -> None:
    """See that a folder can be made and written to, before minutes are spent on what goes into it.

    Nothing stays behind: the nearest folder that is there already gets a file for a moment.

    Raises:
        OutputError: It cannot.
    """
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    probe = there / f".{os.getpid()}-probe.tmp"
    try:
        replace_file(probe, b"")
        probe.unlink()
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written to ({error.strerror})") from error


@contextmanager
def alone(folder: Path, does: str) -> Iterator[None]:
    """Keep other processes out of a folder that is there, for as long as this one is at it and lives.

    Where the system cannot lock a folder (Windows, some network drives), nobody is kept out.

    Args:
        folder: The folder.
        does: What is done there, for whoever comes second: ``"trains in"``.

    Raises:
        OutputError: Another process is at it.
    """
    if os.name != "posix":
        yield
        return
    import fcntl

    # The folder itself: a file for it would stay behind.
    opened = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f"another process {does} {folder}: wait for its end, or choose another folder") from None
        except OSError:
            pass
        yield
    finally:
        os.close(opened)
