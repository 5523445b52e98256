"""Arrays as files named by the SHA-256 of their bytes: ``arrays/ab/<sha>.npy`` and ``.masks``.

A file is written under a temporary name, flushed to the disk and renamed, so a killed process leaves
either the whole file or none of it. The same content is stored once.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hnvlm.errors import HnvlmError, NotFoundError
from hnvlm.imaging.masks import PackedMask, PackedMasks

_MASKS_MAGIC = b"HNVLMMASK1\n"
_CHUNK = 1 << 22


def _fsync_dir(folder: Path) -> None:
    """Make a rename durable. Windows cannot open folders; its file system journals renames itself."""
    if os.name == "nt":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class ArrayStore:
    """Content-addressed array files below one folder.

    Args:
        root: Folder of the files; created when missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.root.mkdir(parents=True, exist_ok=True)

    def put(self, array: np.ndarray) -> str:
        """Store an array of any numeric or bool type; return its name (``<sha>.npy``).

        The array is streamed to disk, never copied as a whole in memory.
        """
        contiguous = np.ascontiguousarray(array)
        if contiguous.dtype.hasobject:
            raise TypeError("only numeric or bool arrays can be stored")
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(contiguous))
        return self._write([header.getvalue(), memoryview(contiguous).cast("B") if contiguous.size else b""], "npy")

    def get(self, name: str) -> np.ndarray:
        """Return the array as a read-only memory map: only the touched pages are read.

        Raises:
            HnvlmError: Code ``store_damaged``: the file was cut short or overwritten.
            NotFoundError: It is gone.
        """
        with self._sound(name):
            return np.load(self.path(name), mmap_mode="r", allow_pickle=False)

    def put_masks(self, masks: Mapping[str, np.ndarray]) -> str:
        """Store bool masks (z, y, x) of one grid, packed to bits inside their bounding boxes and compressed."""
        packed = PackedMasks(masks)
        entries, blobs = [], []
        for name, mask in sorted(packed.packed.items()):
            entries.append({"name": name, "box": mask.box, "bytes": len(mask.data)})
            blobs.append(mask.data)
        head = json.dumps({"shape": list(packed.shape or (0, 0, 0)), "masks": entries}).encode()
        return self._write([_MASKS_MAGIC, len(head).to_bytes(8, "little"), head, *blobs], "masks")

    def get_masks(self, name: str, only: Iterable[str] | None = None) -> PackedMasks:
        """Return name -> bool mask (z, y, x), unpacked one by one when asked for; ``only`` limits which are read.

        Raises:
            HnvlmError: Code ``store_damaged``: the file was cut short or overwritten.
            NotFoundError: It is gone.
        """
        wanted = None if only is None else set(only)
        out: dict[str, PackedMask] = {}
        with self._sound(name), open(self.path(name), "rb") as f:
            head, start = _read_masks_head(f)
            shape = tuple(head["shape"])
            for entry in head["masks"]:
                if wanted is None or entry["name"] in wanted:
                    f.seek(start)
                    box = None if entry["box"] is None else tuple(entry["box"])
                    data = f.read(entry["bytes"])
                    if len(data) != entry["bytes"]:
                        raise ValueError("shorter than its header says")
                    out[entry["name"]] = PackedMask(shape, box, data)
                start += entry["bytes"]
        return PackedMasks(out)

    def mask_names(self, name: str) -> list[str]:
        """Names of the masks in a file that have a voxel, without unpacking any."""
        with self._sound(name), open(self.path(name), "rb") as f:
            return [entry["name"] for entry in _read_masks_head(f)[0]["masks"] if entry["box"] is not None]

    def path(self, name: str) -> Path:
        """Path of a stored file.

        Raises:
            NotFoundError: There is no such file (it was deleted behind the store's back).
        """
        path = self._place(name)
        if not path.is_file():
            raise NotFoundError(f"The array file {name} is missing from {self.root}. Restore the data folder's backup.")
        return path

    def intact(self, name: str) -> bool:
        """Whether the file's bytes still have the hash in its name."""
        h = hashlib.sha256()
        with open(self.path(name), "rb") as f:
            while chunk := f.read(_CHUNK):
                h.update(chunk)
        return h.hexdigest() == name.split(".")[0]

    def names(self) -> set[str]:
        """Names of all complete files."""
        return {p.name for p in self.root.glob("??/*") if not p.name.startswith(".")}

    def remove(self, names: Iterable[str], *, min_age_seconds: float = 3600.0) -> list[str]:
        """Delete files that nobody names, and temporary files left by killed processes, when old enough.

        The age limit protects a file that another process has just written and not yet named in a row.
        """
        limit = time.time() - min_age_seconds
        paths = [*(self._place(n) for n in names), *self.root.glob("??/.tmp-*")]
        return self._remove(dict.fromkeys(paths, limit))

    def erase(self, last_named: Mapping[str, float]) -> list[str]:
        """Delete files that no row names any more; return the names of those that are gone.

        Left alone is a file that was written again after it was last named, unless that is an hour ago: somebody is
        about to name it.

        Args:
            last_named: Name -> when the newest of the rows that named it was written, in seconds of the epoch.
        """
        hour_ago = time.time() - 3600.0
        self._remove({self._place(name): max(when, hour_ago) for name, when in last_named.items()})
        return sorted(name for name in last_named if not self._place(name).exists())

    @staticmethod
    def _remove(limits: Mapping[Path, float]) -> list[str]:
        removed = []
        for path, limit in limits.items():
            try:
                if path.stat().st_mtime > limit:
                    continue
                # Put aside first: whoever stores the same content at this moment must not be told that it is there.
                aside = path.with_name(f".tmp-{uuid.uuid4().hex}")
                os.replace(path, aside)
                if aside.stat().st_mtime > limit:  # claimed between the two looks
                    os.replace(aside, path)
                    continue
                aside.unlink()
                removed.append(path.name)
            except FileNotFoundError:  # whoever else cleans up was faster
                continue
        return removed

    def unfinished(self) -> list[str]:
        """Files that are being written, or were when their process was killed."""
        return sorted(p.name for p in self.root.glob("??/.tmp-*"))

    @contextmanager
    def _sound(self, name: str) -> Iterator[None]:
        """Say in words what a reader stumbles over in a file that is not as it was written."""
        try:
            yield
        except (ValueError, EOFError, KeyError, TypeError, OverflowError) as error:
            raise HnvlmError(
                f"The array file {name} in {self.root} is damaged. `hnvlm store check` tells what it belongs to; "
                "restore it from a backup of the data folder.",
                code="store_damaged",
            ) from error

    def _place(self, name: str) -> Path:
        return self.root / name[:2] / name

    def _write(self, parts: list, suffix: str) -> str:
        """Hash and write ``parts`` one after the other; return the name."""
        h = hashlib.sha256()
        for part in parts:
            h.update(part)
        name = f"{h.hexdigest()}.{suffix}"
        target = self._place(name)
        try:
            if target.stat().st_size == sum(len(p) for p in parts):
                os.utime(target)  # an old orphan that is named again must not look old enough to be removed
                return name
        except FileNotFoundError:  # not there, or swept just now
            pass
        try:
            self._write_new(target, parts)
        except OSError as error:
            raise HnvlmError(
                f"Nothing was saved: {self.root} cannot be written ({error.strerror or error}). Make room on its disk, "
                "check that this user may write there, and try again.",
                code="storage",
            ) from error
        return name

    @staticmethod
    def _write_new(target: Path, parts: list) -> None:
        target.parent.mkdir(exist_ok=True)
        fd, temp = tempfile.mkstemp(prefix=".tmp-", dir=target.parent)
        try:
            with os.fdopen(fd, "wb") as f:
                for part in parts:
                    f.write(part)
                f.flush()
                os.fsync(f.fileno())
            os.replace(temp, target)
        except BaseException:
            Path(temp).unlink(missing_ok=True)
            raise
        _fsync_dir(target.parent)


def _read_masks_head(f: BinaryIO) -> tuple[dict, int]:
    """Return the header and the offset of the first mask."""
    if f.read(len(_MASKS_MAGIC)) != _MASKS_MAGIC:
        raise ValueError("not a mask file")
    size = int.from_bytes(f.read(8), "little")
    return json.loads(f.read(size)), len(_MASKS_MAGIC) + 8 + size
