"""Whether the process that took a lock file is still there. The operating system frees it, however the process dies."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout


def is_held(path: Path) -> bool:
    """Return whether another process, or another lock of this one, holds the lock file ``path``."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
