"""UIDs of the source, replaced so that they still match each other but point at nobody."""

from __future__ import annotations

import contextlib
import os
import secrets
import time

from hnvlm.errors import HnvlmError
from hnvlm.imaging.write import content_uid
from hnvlm.services.context import App


def map_uid(app: App, uid: str) -> str:
    """Replace a DICOM UID by a keyed hash in the 2.25 root (PS3.5 B.2); "" stays "".

    The key never leaves the data folder, so that nobody can test a guessed UID against the store.
    """
    return content_uid(_secret(app).hex(), uid) if uid else ""


def _secret(app: App) -> bytes:
    path = app.settings.data_dir / "uid.key"
    with contextlib.suppress(FileExistsError):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as f:
            f.write(secrets.token_bytes(32))
            f.flush()
            os.fsync(f.fileno())
    for _ in range(50):
        key = path.read_bytes()
        if len(key) == 32:
            return key
        time.sleep(0.02)  # another thread has created the file and is about to fill it
    raise HnvlmError(f"{path} is damaged; restore it from a backup, or remove it to start with a new key.")
