"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path to write to; what was written takes the name ``path`` when the block ends without an error.

    On a full disk half a CT or half a dose under its final name would be taken for the whole. The folder is made if
    need be; a file of that name from before stays until the new one is complete.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside it, so that the renaming is one step; the ending stays, for writers that go by it.
    partial = path.with_name(f".{secrets.token_hex(4)}-partial-{path.name}"[-200:])
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
