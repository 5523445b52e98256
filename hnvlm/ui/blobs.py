"""Voxel arrays as private files that the browser can fetch: raw for slabs, gzip for the whole."""

from __future__ import annotations

import atexit
import gzip
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from filelock import FileLock

from hnvlm.services.locks import is_held

# Beyond this the least recently shown arrays leave the disk; showing them again writes them again.
DISK_LIMIT_BYTES = 6 * 1024**3
# Level 1 shrinks a CT to 42 % in a third of the time level 5 needs for 41.8 %.
GZIP_LEVEL = 1
WIRE_DTYPES = ("int16", "uint8", "uint16", "uint32")
# Folders of the blobs, and the file in each that its server holds locked for as long as it lives, however it dies.
FOLDERS, OWNER = "hnvlm-view-", "owner.lock"
# A folder without that file is just being made, or was by a version that had none.
UNOWNED_S = 24 * 3600.0
# A page reruns within milliseconds and its browser fetches within seconds; so young a blob is in use.
IN_USE_S = 300.0


class Blob:
    """One array on disk, C order, little endian.

    Attributes:
        id: Content identifier; equal ids mean equal bytes.
        path: The raw file.
        shape: (z, y, x).
        dtype: One of WIRE_DTYPES.
    """

    def __init__(self, blob_id: str, path: Path, shape: tuple[int, int, int], dtype: str) -> None:
        self.id, self.path, self.shape, self.dtype = blob_id, path, shape, dtype
        self.used = time.monotonic()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Size of the raw file."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    def gzip_path(self) -> Path:
        """Return the compressed file, writing it on first use (1.3 s for 105 MB, zlib frees the GIL)."""
        target = self.path.with_suffix(".gz")
        with self._lock:
            if not target.exists():
                partial = self.path.with_suffix(".gz.part")
                with open(self.path, "rb") as raw, gzip.open(partial, "wb", GZIP_LEVEL) as out:
                    shutil.copyfileobj(raw, out, 1 << 20)
                partial.rename(target)
        return target

    def slab(self, z0: int, z1: int) -> bytes:
        """Return the raw bytes of slices z0 (included) to z1 (excluded).

        Raises:
            ValueError: The range is empty or leaves the volume.
        """
        if not 0 <= z0 < z1 <= self.shape[0]:
            raise ValueError(f"slices {z0} to {z1} are not inside 0 to {self.shape[0]}")
        step = self.nbytes // self.shape[0]
        with open(self.path, "rb") as raw:
            raw.seek(z0 * step)
            return raw.read((z1 - z0) * step)

    def remove(self) -> None:
        """Delete both files."""
        with self._lock:
            self.path.unlink(missing_ok=True)
            self.path.with_suffix(".gz").unlink(missing_ok=True)


def remove_leftovers() -> None:
    """Remove the folders of servers that are gone, and with them the pixels of their patients.

    A server that is killed, or whose machine loses its power, cannot take its own along.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDERS}*"):
        with suppress(OSError):  # of another user, or whoever else looks after them was faster
            if _left_behind(folder):
                shutil.rmtree(folder)


def _left_behind(folder: Path) -> bool:
    if folder.is_symlink() or not folder.is_dir():
        return False
    owner = folder / OWNER
    if not owner.is_file():
        return folder.stat().st_mtime < time.time() - UNOWNED_S
    return not is_held(owner)


class BlobStore:
    """Blobs by content id in one directory that only this user may read and that goes with the process.

    Patient pixels never enter Streamlit's media store: its ids are not unguessable per user, and
    above 1 MiB they collide (they hash the length and three 64 KiB samples).
    """

    def __init__(self, limit_bytes: int = DISK_LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._blobs: OrderedDict[str, Blob] = OrderedDict()
        self._lock = threading.RLock()
        self._dir: Path | None = None
        self._owner: FileLock | None = None

    def put(self, blob_id: str, shape: Sequence[int], dtype: str, make: Callable[[], np.ndarray]) -> Blob:
        """Return the blob of ``blob_id``, calling ``make`` for its array only if it is not stored yet.

        Raises:
            ValueError: ``make`` returned another shape or type than announced.
        """
        with self._lock:
            blob = self._blobs.get(blob_id)
            if blob is None:
                array = np.ascontiguousarray(make())
                if array.shape != tuple(shape) or str(array.dtype) != dtype or dtype not in WIRE_DTYPES:
                    raise ValueError(f"expected {dtype} {tuple(shape)}, got {array.dtype} {array.shape}")
                path = self._directory() / f"{len(self._blobs)}-{time.monotonic_ns()}.raw"
                array.astype(array.dtype.newbyteorder("<"), copy=False).tofile(path)
                blob = Blob(blob_id, path, array.shape, dtype)
                self._blobs[blob_id] = blob
                self._evict()
            blob.used = time.monotonic()
            self._blobs.move_to_end(blob_id)
            return blob

    def get(self, blob_id: str) -> Blob | None:
        """Return a stored blob, or None."""
        with self._lock:
            blob = self._blobs.get(blob_id)
            if blob is not None:
                blob.used = time.monotonic()
                self._blobs.move_to_end(blob_id)
            return blob

    def clear(self) -> None:
        """Delete every file."""
        with self._lock:
            for blob in self._blobs.values():
                blob.remove()
            self._blobs.clear()
            if self._dir is not None and self._owner is not None:
                self._owner.release()
                shutil.rmtree(self._dir, ignore_errors=True)
                self._dir = None

    def _directory(self) -> Path:
        if self._dir is None:
            self._dir = Path(tempfile.mkdtemp(prefix=FOLDERS))  # mode 0700
            self._owner = FileLock(self._dir / OWNER, thread_local=False)
            self._owner.acquire(timeout=5)
            atexit.register(shutil.rmtree, self._dir, ignore_errors=True)
        return self._dir

    def _evict(self) -> None:
        now = time.monotonic()
        total = sum(b.nbytes for b in self._blobs.values())
        for blob_id in list(self._blobs)[:-1]:
            blob = self._blobs[blob_id]
            if total <= self._limit:
                break
            if now - blob.used < IN_USE_S:
                continue
            total -= blob.nbytes
            self._blobs.pop(blob_id).remove()
