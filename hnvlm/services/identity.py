"""UIDs and patients of the source, replaced so that they still match each other but point at nobody."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import time
from datetime import date
from pathlib import Path

from hnvlm.errors import HnvlmError
from hnvlm.imaging.dicom import SliceHeader
from hnvlm.imaging.whose import number_of_patient
from hnvlm.imaging.write import content_uid
from hnvlm.services.context import App

# A number and a birth date can be tried out, unlike a UID: each try costs about a tenth of a second and 32 MB, and the
# secret begins with a dot, so that no backup of the data folder holds it beside the keys.
_COST = {"n": 2**15, "r": 8, "p": 1, "maxmem": 64 * 1024**2}
_PATIENT_SECRET = ".patient.key"
_KEY_BYTES, _SHIFT_BYTES = 24, 8
# Days by which study dates are moved, another number for each patient: up to about 200 years.
_SHIFTS = 73_000


def map_uid(app: App, uid: str) -> str:
    """Replace a DICOM UID by a keyed hash in the 2.25 root (PS3.5 B.2); "" stays "".

    The key never leaves the data folder, so that nobody can test a guessed UID against the store.
    """
    return content_uid(_secret(app.settings.data_dir / "uid.key").hex(), uid) if uid else ""


def pseudonym(app: App, header: SliceHeader) -> tuple[str, int | None]:
    """Return a key that is the same for each CT of a patient in this store, and its study date moved by a secret.

    Days between two CTs of one key are true, the dates are not. ("", None) where the header gives no patient's number
    or no birth date: a number alone, as careless anonymisation gives it to all, would call strangers one person.
    """
    number, born = number_of_patient(header), _date(header.text("PatientBirthDate"))
    if born is None or not number:
        return "", None
    secret = _secret(app.settings.data_dir / _PATIENT_SECRET)
    words = f"{number}\x1f{born.isoformat()}".encode()
    made = hashlib.scrypt(words, salt=secret, dklen=_KEY_BYTES + _SHIFT_BYTES, **_COST)
    taken = _date(header.text("StudyDate"))
    shift = int.from_bytes(made[_KEY_BYTES:]) % _SHIFTS
    return made[:_KEY_BYTES].hex(), None if taken is None else taken.toordinal() + shift


def _date(text: str) -> date | None:
    found = re.fullmatch(r"(\d{4})\.?(\d\d)\.?(\d\d)", text)
    with contextlib.suppress(ValueError):
        return date(*map(int, found.groups())) if found else None
    return None


def _secret(path: Path) -> bytes:
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
