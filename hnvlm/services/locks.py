"""Whether the process that took a lock file is still there. The operating system frees it, however the process dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

# The file in a folder of lock files that is held while one is made or removed; it stays.
TURN = "turn"
# A turn is over within milliseconds; whoever holds one for longer hangs, and nobody is to wait for that.
TURN_S = 5.0


def is_held(path: Path) -> bool:
    """Return whether another process, or another lock of this one, holds the lock file ``path``."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def take(folder: Path, name: str) -> FileLock:
    """Make the lock file ``NAME.lock`` of this process in ``folder``, hold it, and remove those of processes that died.

    A file that is just being made is not held yet and looks like that of a dead process: only one process at a time
    makes and removes them. Where another keeps its turn, nothing is removed; a later start does it.

    Args:
        name: Of nobody else, now and before.

    Raises:
        OSError: The file cannot be made.
    """
    lock = FileLock(folder / f"{name}.lock", thread_local=False)
    with _turn(folder) as ours:
        lock.acquire(timeout=TURN_S)
        if ours:
            _sweep(folder)
    return lock


@contextmanager
def _turn(folder: Path) -> Iterator[bool]:
    turn = FileLock(folder / TURN)
    try:
        turn.acquire(timeout=TURN_S)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        turn.release()


def _sweep(folder: Path) -> None:
    for path in folder.glob("*.lock"):
        with suppress(OSError):  # of another user: theirs to remove
            if not is_held(path):
                path.unlink(missing_ok=True)
