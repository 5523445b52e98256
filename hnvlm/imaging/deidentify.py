"""Stable replacement of UIDs (PS3.15 annex E); nothing else that a source says of a person is kept or written."""

from __future__ import annotations

import hashlib


def stable_uid(uid: str, salt: str) -> str:
    """Replacement of a UID that is the same for the same salt and cannot be traced back without it.

    Args:
        uid: Original; "" stays "".
        salt: Secret of one case or one store; CT, structures and dose of a case must use the same.
    """
    if not uid:
        return ""
    digest = hashlib.sha256(f"{salt}\x1f{uid}".encode()).digest()
    return "2.25." + str(int.from_bytes(digest[:16], "big"))
