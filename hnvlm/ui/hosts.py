"""By which names the server answers: a web site elsewhere must not reach it through a clinician's browser.

The app has no log-in, so a page of another site that gets through sees every case. Two ways lead there: a name of that
site that is made to point to this machine (DNS rebinding), and a websocket, which browsers open across sites.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.types import Scope

_READ_ONLY = ("GET", "HEAD", "OPTIONS")


def known_names(configured: Iterable[str]) -> frozenset[str]:
    """Return this machine's own names and those of ``HNVLM_HOSTS``, in small letters; nothing is looked up."""
    return frozenset(name.lower() for name in ("localhost", socket.gethostname(), *configured) if name)


def refusal(scope: Scope, names: frozenset[str]) -> str:
    """Why a request (HTTP or websocket) is not answered, or "".

    A numeric address is answered: only a name can be made to point here. A websocket, and a request that changes
    something, must come from a page of the very server that it goes to, or from a page of a name in ``names``, as
    behind a proxy that puts another name in the place of the one that was asked for.
    """
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    host, origin = headers.get(b"host", ""), headers.get(b"origin")
    if not _is_own(_parts(f"//{host}")[1], names):
        return (
            f"This server does not answer to the name {host!r}. Whoever runs it lists the names by which clinicians "
            "reach it in HNVLM_HOSTS."
        )
    changes = scope["type"] == "websocket" or scope.get("method") not in _READ_ONLY
    if origin is not None and changes:
        place, name = _parts(origin)
        if place != host and name not in names - {"localhost"}:
            return f"A page of {origin!r} is not one of this server's."
    return ""


def _parts(url: str) -> tuple[str, str]:
    """Host with its port, and its name alone in small letters."""
    try:
        split = urlsplit(url)
        return split.netloc, (split.hostname or "").rstrip(".")
    except ValueError:
        return "", ""


def _is_own(name: str, names: frozenset[str]) -> bool:
    if name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
