"""Uploads on disk: unpack a zip safely into a private folder and list the files of a folder."""

from __future__ import annotations

import atexit
import lzma
import os
import re
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from hnvlm.errors import UnreadableFileError

MAX_UNPACKED_BYTES = 8 * 1024**3
MAX_MEMBERS = 50_000
# Slices of pure background compress a thousandfold, so the ratio is only looked at for the whole archive
# and only where the unpacked size could hurt.
MAX_RATIO = 300
RATIO_MATTERS_ABOVE_BYTES = 1024**3
_CHUNK = 1024 * 1024
_IGNORED_NAMES = {"thumbs.db", "desktop.ini"}
_ENCRYPTED_FLAG = 0x1
# What the zip module and its decompressors raise on damaged archives.
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError, IndexError, OverflowError,
    NotImplementedError,
)  # fmt: skip
_DRIVE = re.compile("[A-Za-z]:")


def private_dir(workdir: Path | None = None) -> Path:
    """Make a folder only this user can read; without ``workdir`` it is removed when the process ends."""
    if workdir is not None:
        workdir.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="intake-", dir=workdir))
    folder = Path(tempfile.mkdtemp(prefix="hnvlm-intake-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def is_zip(path: Path) -> bool:
    """Whether a file is a zip archive, judged by its content."""
    return path.is_file() and zipfile.is_zipfile(path)


def list_files(root: Path) -> Iterator[Path]:
    """Yield every regular file under ``root`` in a stable order; links and hidden files are passed over."""
    return (path for path in _entries(root) if not path.is_symlink() and path.is_file())


def passed_over(root: Path) -> str:
    """How many symbolic links under ``root`` were passed over and what to do, in words; "" where there is none."""
    # A link may lead out of what was given, and to another patient.
    links = sum(path.is_symlink() for path in _entries(root))
    what = "1 symbolic link was" if links == 1 else f"{links} symbolic links were"
    return f"{what} passed over; put copies of the files there instead" if links else ""


def _entries(root: Path) -> Iterator[Path]:
    """Every file and every link, also one to a folder, but no hidden ones."""
    for folder, dirs, names in os.walk(root, followlinks=False):
        dirs[:] = sorted(d for d in dirs if not d.startswith(".") and d != "__MACOSX")
        yield from (Path(folder) / name for name in dirs if (Path(folder) / name).is_symlink())
        for name in sorted(names):
            if not name.startswith(".") and name.lower() not in _IGNORED_NAMES:
                yield Path(folder) / name


def unpack_zip(path: Path, workdir: Path | None = None, *, max_bytes: int = MAX_UNPACKED_BYTES) -> Path:
    """Unpack a zip into a new private folder, one chunk at a time.

    Args:
        path: The archive.
        workdir: Where to make the folder; the caller removes it. None: a temporary folder.
        max_bytes: Most bytes the unpacked files may take, counted while unpacking.

    Returns:
        The folder with the unpacked files.

    Raises:
        UnreadableFileError: The archive is damaged, encrypted, too large, or holds a member whose name
            points outside the folder or that is a link; the message names the member.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir() and not _ignored(m.filename)]
            _check_members(path, members, max_bytes)
            target = private_dir(workdir)
            try:
                _extract(path, archive, members, target, max_bytes)
            except BaseException:
                shutil.rmtree(target, ignore_errors=True)
                raise
    except _DAMAGED as error:
        raise UnreadableFileError(f"{path.name}: the zip archive is damaged ({error}). Zip it again.") from error
    return target


def unpack_all(paths: Iterable[Path], workdir: Path, *, max_bytes: int = MAX_UNPACKED_BYTES) -> list[Path]:
    """Unpack several zips of one upload and return the files in them; ``max_bytes`` holds for all together.

    Raises:
        UnreadableFileError: As ``unpack_zip``.
    """
    out: list[Path] = []
    for path in paths:
        files = list(list_files(unpack_zip(path, workdir, max_bytes=max_bytes)))
        max_bytes -= sum(file.stat().st_size for file in files)
        out += files
    return out


def _ignored(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return not parts or "__MACOSX" in parts or parts[-1].lower() in _IGNORED_NAMES or parts[-1] == ".DS_Store"


def _check_members(path: Path, members: list[zipfile.ZipInfo], max_bytes: int) -> None:
    if not members:
        raise UnreadableFileError(f"{path.name}: the zip archive is empty.")
    if len(members) > MAX_MEMBERS:
        raise UnreadableFileError(f"{path.name}: {len(members)} files in the zip; at most {MAX_MEMBERS} are unpacked.")
    for member in members:
        name = member.filename.replace("\\", "/")
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or (pure.parts and _DRIVE.match(pure.parts[0])):
            raise UnreadableFileError(
                f"{path.name}: member '{member.filename}' points outside the archive; nothing was unpacked."
            )
        if member.flag_bits & _ENCRYPTED_FLAG:
            raise UnreadableFileError(
                f"{path.name}: member '{member.filename}' is encrypted. "
                "Unpack it with its password and upload the files."
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise UnreadableFileError(f"{path.name}: member '{member.filename}' is a link; nothing was unpacked.")
    total = sum(m.file_size for m in members)
    packed = max(1, sum(m.compress_size for m in members))
    if total > max_bytes:
        raise UnreadableFileError(_too_large(path, total, max_bytes))
    if total > RATIO_MATTERS_ABOVE_BYTES and total / packed > MAX_RATIO:
        raise UnreadableFileError(
            f"{path.name}: {packed / 1e6:.1f} MB would unpack to {total / 1e9:.1f} GB; this looks like a zip bomb."
        )


def _too_large(path: Path, size: int, limit: int) -> str:
    return (
        f"{path.name}: unpacks to more than {limit / 1e6:.0f} MB ({size / 1e6:.0f} MB so far or declared). "
        "Upload one study at a time."
    )


def _extract(path: Path, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], target: Path, limit: int) -> None:
    free = shutil.disk_usage(target).free
    written = 0
    for number, member in enumerate(members):
        # A colon is common in a study's name; on Windows it would name a stream of another file.
        out = target / PurePosixPath(member.filename.replace("\\", "/").replace(":", "_"))
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            if out.exists():  # the same name twice: keep both, the reader sorts out duplicates
                out = out.with_name(f"{number}_{out.name}")
            with archive.open(member) as source, out.open("wb") as sink:
                while chunk := source.read(_CHUNK):
                    written += len(chunk)
                    if written > limit or written > free:
                        raise UnreadableFileError(_too_large(path, written, min(limit, free)))
                    sink.write(chunk)
        except (NotImplementedError, RuntimeError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise UnreadableFileError(
                f"{path.name}: member '{member.filename[-100:]}' cannot be unpacked: {why}"
            ) from error
