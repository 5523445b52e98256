"""Who may fetch which voxels, and where each viewer stands. Shared by script threads and HTTP routes.

Every browser carries an HttpOnly cookie; every blob it may read gets an unguessable token that is
worthless with any other cookie. One server process is assumed: the registry lives in memory.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from dataclasses import dataclass
from typing import Any

from hnvlm.ui.blobs import Blob, BlobStore

COOKIE = "hnvlm_sid"
BLOB_ROUTE = "/ct/blob"
POSITION_ROUTE = "/ct/pos"
TTL_S = 12 * 3600.0
MAX_POSITIONS = 2000


@dataclass
class Grant:
    """One browser's right to one blob."""

    token: str
    sid: str
    blob_id: str
    expires: float


class Access:
    """Grants, blobs and last reported positions of one server process."""

    def __init__(self, blobs: BlobStore | None = None, ttl_s: float = TTL_S) -> None:
        self.blobs = blobs or BlobStore()
        # Set by the server that has the routes. Without it (plain `streamlit run app.py`, AppTest)
        # nothing is granted.
        self.serving = False
        self._ttl = ttl_s
        self._lock = threading.Lock()
        self._grants: dict[str, Grant] = {}
        self._tokens: dict[tuple[str, str], str] = {}
        self._positions: dict[tuple[str, str], dict[str, Any]] = {}

    def grant(self, sid: str, blob: Blob) -> str:
        """Return the token with which the browser ``sid`` may fetch ``blob``.

        The token is stable per (browser, blob): a new one on every rerun would make the viewer load
        the volume again.

        Raises:
            PermissionError: ``sid`` is not a real cookie value.
        """
        if not isinstance(sid, str) or len(sid) < 16:
            raise PermissionError("no browser cookie: voxels are not handed out")
        now = time.monotonic()
        with self._lock:
            for token in [t for t, g in self._grants.items() if g.expires < now]:
                self._drop(token)
            token = self._tokens.get((sid, blob.id)) or secrets.token_urlsafe(24)
            self._tokens[(sid, blob.id)] = token
            self._grants[token] = Grant(token, sid, blob.id, now + self._ttl)
            return token

    def blob_for(self, token: str, sid: str | None) -> Blob | None:
        """Return the blob of a token, or None if it is unknown, expired or another browser's."""
        with self._lock:
            grant = self._grants.get(token)
            if grant is None or not self._owns(grant, sid):
                return None
            blob_id = grant.blob_id
        return self.blobs.get(blob_id)

    def set_position(self, token: str, sid: str | None, key: str, position: dict[str, Any]) -> bool:
        """Store where the viewer ``key`` stands; False if the token is not this browser's."""
        with self._lock:
            grant = self._grants.get(token)
            if grant is None or not self._owns(grant, sid):
                return False
            self._positions.pop((grant.sid, key), None)
            self._positions[(grant.sid, key)] = position
            while len(self._positions) > MAX_POSITIONS:
                del self._positions[next(iter(self._positions))]
            return True

    def position(self, sid: str | None, key: str) -> dict[str, Any] | None:
        """Return the last position that the viewer ``key`` of this browser reported, or None."""
        if not isinstance(sid, str):
            return None
        with self._lock:
            return self._positions.get((sid, key))

    @staticmethod
    def _owns(grant: Grant, sid: str | None) -> bool:
        if not isinstance(sid, str) or grant.expires < time.monotonic():
            return False
        return hmac.compare_digest(grant.sid.encode(), sid.encode("utf-8", "replace"))

    def _drop(self, token: str) -> None:
        grant = self._grants.pop(token)
        self._tokens.pop((grant.sid, grant.blob_id), None)


ACCESS = Access()
