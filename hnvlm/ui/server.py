"""The web server around the Streamlit script: cookie, security headers, and the routes for voxels."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

from hnvlm.config import settings
from hnvlm.ui.access import ACCESS, BLOB_ROUTE, COOKIE, POSITION_ROUTE, Access
from hnvlm.ui.blobs import remove_leftovers
from hnvlm.ui.hosts import known_names, refusal

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    import streamlit as st
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

WORKLIST_ROUTE = "/cases"
MAX_POSITION_BYTES = 16_384
MAX_SLAB_BYTES = 64 * 1024**2
PRIVATE = {
    # "no-store" keeps the patient's pixels out of the browser's disk cache.
    "Cache-Control": "private, no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def content_security_policy() -> str:
    """Return the policy: own origin only, plus Streamlit's inline scripts by hash.

    The hashes are computed from the installed ``index.html``, so an upgrade cannot break them silently.
    """
    import streamlit

    index = (Path(streamlit.__file__).parent / "static" / "index.html").read_text("utf-8")
    hashes = [
        "'sha256-" + base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() + "'"
        for body in re.findall(r"<script>(.*?)</script>", index, re.DOTALL)
    ]
    return "; ".join([
        "default-src 'self'",
        f"script-src 'self' {' '.join(hashes)} 'wasm-unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ])  # fmt: skip


def cookie_of(headers: list[tuple[bytes, bytes]]) -> str | None:
    """Return the browser's identifier from raw ASGI headers, or None."""
    for name, value in headers:
        if name == b"cookie":
            try:
                morsel = SimpleCookie(value.decode("latin-1")).get(COOKIE)
            except CookieError:
                continue
            if morsel is not None and morsel.value:
                return morsel.value
    return None


class PrivacyMiddleware:
    """Answers to its own names alone, gives each browser its cookie and every page its headers.

    Pure ASGI: BaseHTTPMiddleware would buffer the voxel streams and breaks websockets.
    """

    def __init__(self, app: ASGIApp, policy: str, names: frozenset[str]) -> None:
        self.app, self.policy, self.names = app, policy, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; of those that are answered, only HTTP responses are touched."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        known = cookie_of(scope["headers"])
        if refused := refusal(scope, self.names):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await Response(refused, 403, PRIVATE, "text/plain")(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                content_type = dict(headers).get(b"content-type", b"")
                is_page = content_type.startswith(b"text/html")
                extra = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
                if is_page:
                    extra["Content-Security-Policy"] = self.policy
                if is_page or "/media/" in scope["path"]:
                    # Downloads (reports, DICOM) hold patient data as well.
                    headers = [h for h in headers if h[0].lower() != b"cache-control"]
                    extra["Cache-Control"] = "no-store"
                present = {name.lower() for name, _ in headers}
                headers += [
                    (k.lower().encode(), v.encode()) for k, v in extra.items() if k.lower().encode() not in present
                ]
                if is_page and known is None:
                    secure = "; Secure" if scope.get("scheme") == "https" else ""
                    value = f"{COOKIE}={secrets.token_urlsafe(24)}; Path=/; HttpOnly; SameSite=Strict{secure}"
                    headers.append((b"set-cookie", value.encode()))
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _foreign(request: Request) -> bool:
    """Whether another site's page sent the request (browsers without the header pass: cookie is Strict)."""
    return request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")


def _not_found() -> Response:
    # Unknown, expired and foreign tokens look alike, so nobody can probe for what exists.
    return Response("not found", 404, PRIVATE, "text/plain")


def make_routes(access: Access) -> list[Route]:
    """Return the routes ``GET /ct/blob/{token}[?z0=&z1=]``, ``POST /ct/pos/{token}`` and ``GET /cases``."""

    async def worklist(request: Request) -> Response:
        # The first page has no address of its own but "/"; whoever types its name met "Page not found". The answer is
        # relative, so that it holds behind a proxy that serves the app below another path.
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"./{query}", 307, PRIVATE)

    async def blob(request: Request) -> Response:
        found = access.blob_for(request.path_params["token"], request.cookies.get(COOKIE))
        if found is None or _foreign(request):
            return _not_found()
        if "z0" in request.query_params:
            try:
                z0, z1 = int(request.query_params["z0"]), int(request.query_params["z1"])
                if (z1 - z0) * (found.nbytes // found.shape[0]) > MAX_SLAB_BYTES:
                    raise ValueError("slab too large")
                body = await run_in_threadpool(found.slab, z0, z1)
            except (KeyError, ValueError):
                return Response("bad slice range", 400, PRIVATE, "text/plain")
            # An explicit encoding keeps Streamlit's gzip middleware from compressing it on the fly.
            return Response(body, 200, {**PRIVATE, "Content-Encoding": "identity"}, "application/octet-stream")
        try:
            path = await run_in_threadpool(found.gzip_path)
        except OSError:
            return _not_found()
        headers = {**PRIVATE, "Content-Encoding": "gzip", "X-Raw-Length": str(found.nbytes)}
        return FileResponse(path, media_type="application/octet-stream", headers=headers)

    async def position(request: Request) -> Response:
        if _foreign(request):
            return _not_found()
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_POSITION_BYTES:
                return Response("too large", 413, PRIVATE, "text/plain")
        try:
            data = parse_position(json.loads(body))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return Response("bad position", 400, PRIVATE, "text/plain")
        token, sid = request.path_params["token"], request.cookies.get(COOKIE)
        stored = access.set_position(token, sid, data.pop("key"), data)
        return Response(status_code=204, headers=PRIVATE) if stored else _not_found()

    return [
        Route(BLOB_ROUTE + "/{token}", blob, methods=["GET"]),
        Route(POSITION_ROUTE + "/{token}", position, methods=["POST"]),
        Route(WORKLIST_ROUTE, worklist, methods=["GET"]),
    ]


def parse_position(raw: Any) -> dict[str, Any]:
    """Check what a browser posted and return only known fields.

    Returns:
        ``key`` (viewer), ``volume`` (content id), ``index`` [z, y, x].

    Raises:
        ValueError, TypeError, KeyError, OverflowError: Anything else than that.
    """
    index = [int(v) for v in raw["index"]]
    if len(index) != 3 or min(index) < 0 or max(index) > 100_000:
        raise ValueError("index out of range")
    return {"key": str(raw["key"])[:200], "volume": str(raw["volume"])[:200], "index": index}


def create_app(
    script: Path, access: Access = ACCESS, *, lifespan: Callable[[Any], AbstractAsyncContextManager[None]] | None = None
) -> st.App:
    """Return the ASGI app: Streamlit running ``script``, with cookie, headers and voxel routes.

    Args:
        lifespan: Entered when the server is about to listen.
    """
    import streamlit as st

    remove_leftovers()
    access.serving = True
    names = known_names(settings().hosts)
    middleware = [Middleware(PrivacyMiddleware, policy=content_security_policy(), names=names)]
    return st.App(script, routes=make_routes(access), middleware=middleware, lifespan=lifespan)
