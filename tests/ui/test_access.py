"""Grants, blobs and routes without a browser."""

from __future__ import annotations

import asyncio
import gzip
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from hnvlm.config import PROJECT_DIR
from hnvlm.ui import access as access_module
from hnvlm.ui import blobs as blobs_module
from hnvlm.ui.access import Access
from hnvlm.ui.blobs import BlobStore
from hnvlm.ui.hosts import refusal
from hnvlm.ui.server import (
    PrivacyMiddleware,
    content_security_policy,
    cookie_of,
    create_app,
    make_routes,
    parse_position,
)

SID = "a-browser-cookie-value-1"
OTHER = "a-browser-cookie-value-2"


@pytest.fixture
def store():
    made = BlobStore()
    yield made
    made.clear()


@pytest.fixture
def access(store) -> Access:
    return Access(store)


def array(seed: int = 0, shape: tuple[int, int, int] = (5, 4, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 2000, shape).astype(np.int16)


def put(store: BlobStore, name: str, values: np.ndarray):
    return store.put(name, values.shape, "int16", lambda: values)


def test_blob_returns_the_exact_bytes_raw_and_compressed(store) -> None:
    values = array()
    blob = put(store, "a", values)
    np.testing.assert_array_equal(np.frombuffer(blob.slab(1, 4), "<i2").reshape(3, 4, 3), values[1:4])
    with gzip.open(blob.gzip_path()) as packed:
        assert packed.read() == values.astype("<i2").tobytes()
    assert blob.nbytes == 5 * 4 * 3 * 2


@pytest.mark.parametrize(("z0", "z1"), [(-1, 2), (2, 2), (3, 2), (0, 6), (5, 6)])
def test_slab_outside_the_volume_is_refused(store, z0: int, z1: int) -> None:
    with pytest.raises(ValueError, match="not inside"):
        put(store, "a", array()).slab(z0, z1)


def test_blob_of_wrong_type_or_shape_is_refused(store) -> None:
    with pytest.raises(ValueError, match="expected int16"):
        store.put("a", (5, 4, 3), "int16", lambda: array().astype(np.float32))
    with pytest.raises(ValueError, match="expected int16"):
        store.put("a", (5, 4, 4), "int16", array)


def test_an_array_is_written_once_per_content(store) -> None:
    first = put(store, "a", array())
    assert store.put("a", (5, 4, 3), "int16", lambda: pytest.fail("asked again")) is first


def test_folder_is_private_and_goes_with_the_store(store) -> None:
    folder = put(store, "a", array()).path.parent
    assert folder.stat().st_mode & 0o777 == 0o700
    store.clear()
    assert not folder.exists()


LEAVES_PIXELS = """
import os, sys, tempfile
import numpy as np
from hnvlm.ui.blobs import BlobStore
tempfile.tempdir = sys.argv[1]
BlobStore().put("a", (2, 3, 4), "int16", lambda: np.ones((2, 3, 4), np.int16))
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_server_left_goes_with_the_next_start(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(blobs_module.tempfile, "tempdir", str(tmp_path))
    subprocess.run([sys.executable, "-c", LEAVES_PIXELS, str(tmp_path)], cwd=PROJECT_DIR, timeout=120)
    (left,) = tmp_path.iterdir()
    assert (left / "owner.lock").is_file() and list(left.glob("*.raw")), "patient pixels, and nobody who owns them"
    living = BlobStore()
    mine = put(living, "a", array()).path
    young, old = tmp_path / "hnvlm-view-young", tmp_path / "hnvlm-view-old"  # of a version that locked nothing
    for folder, age_s in ((young, 0), (old, 2 * 24 * 3600)):
        folder.mkdir()
        os.utime(folder, (time.time() - age_s,) * 2)
    (tmp_path / "hnvlm-view-a-file").touch()
    (tmp_path / "hnvlm-view-elsewhere").symlink_to(left, target_is_directory=True)
    create_app(PROJECT_DIR / "app.py", Access(living))
    assert not left.exists() and not old.exists()
    assert mine.is_file() and young.is_dir() and (tmp_path / "hnvlm-view-a-file").is_file()
    living.clear()
    assert not mine.parent.exists()


def test_least_recently_used_blob_leaves_but_never_one_in_use(monkeypatch) -> None:
    size = array().nbytes
    small = BlobStore(limit_bytes=2 * size)
    try:
        for name in "abc":
            put(small, name, array())
        assert all(small.get(name) for name in "abc")  # all shown moments ago
        monkeypatch.setattr(blobs_module, "IN_USE_S", -1.0)
        gone = small.get("a").path
        small.get("b"), small.get("c")
        put(small, "d", array())
        assert small.get("a") is None and small.get("b") is None and not gone.exists()
        assert small.get("c") and small.get("d")
    finally:
        small.clear()


def test_token_is_stable_per_browser_and_useless_for_another(access) -> None:
    blob = put(access.blobs, "a", array())
    token = access.grant(SID, blob)
    assert access.grant(SID, blob) == token
    assert access.grant(OTHER, blob) != token
    assert access.blob_for(token, SID) is blob
    for sid in (OTHER, None, "", SID[:-1]):
        assert access.blob_for(token, sid) is None
    assert access.blob_for("unknown", SID) is None


@pytest.mark.parametrize("sid", [None, "", "short", object()])
def test_no_cookie_no_grant(access, sid) -> None:
    with pytest.raises(PermissionError):
        access.grant(sid, put(access.blobs, "a", array()))


def test_grants_expire(access, monkeypatch) -> None:
    blob = put(access.blobs, "a", array())
    token = access.grant(SID, blob)
    now = access_module.time.monotonic()
    monkeypatch.setattr(access_module.time, "monotonic", lambda: now + access_module.TTL_S + 1)
    assert access.blob_for(token, SID) is None
    assert access.grant(SID, blob) != token


def test_position_is_kept_per_browser_and_viewer(access) -> None:
    token = access.grant(SID, put(access.blobs, "a", array()))
    assert access.set_position(token, SID, "v", {"index": [1, 2, 3]})
    assert not access.set_position(token, OTHER, "v", {"index": [9, 9, 9]})
    assert access.position(SID, "v") == {"index": [1, 2, 3]}
    assert access.position(OTHER, "v") is None and access.position(SID, "w") is None


GOOD = {"key": "v", "volume": "hu:1", "index": [1, 2, 3]}


def test_position_of_the_viewer_is_accepted() -> None:
    assert parse_position({**GOOD, "unknown": "x"}) == GOOD


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*GOOD, "x"]), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(list(GOOD)), JSON, max_size=6))
def test_hostile_positions_are_refused_or_harmless(changes: dict) -> None:
    try:
        parsed = parse_position({**GOOD, **changes})
    except (ValueError, TypeError, KeyError, OverflowError):
        return
    assert len(parsed["index"]) == 3 and all(0 <= v <= 100_000 for v in parsed["index"])
    assert len(parsed["key"]) <= 200 and len(parsed["volume"]) <= 200
    assert set(parsed) == set(GOOD)


def call(app, path: str, *, method: str = "GET", query: str = "", headers: dict | None = None, body: bytes = b""):
    """One request to an ASGI app: (status, headers, body)."""
    sent: list[dict] = []
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict:
        if not pending:
            await asyncio.Event().wait()  # the client stays connected and says no more
        return pending.pop()

    async def send(message: dict) -> None:
        sent.append(message)

    raw = [(k.lower().encode(), v.encode()) for k, v in ({"Host": "localhost"} | (headers or {})).items()]
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "headers": raw, "scheme": "http", "server": ("test", 80), "client": ("test", 1), "http_version": "1.1",
        "root_path": "", "extensions": {},
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    start = next(m for m in sent if m["type"] == "http.response.start")
    names = {k.decode(): v.decode() for k, v in start["headers"]}
    return start["status"], names, b"".join(m.get("body", b"") for m in sent if m["type"] == "http.response.body")


def test_the_address_of_the_worklist_leads_there(access) -> None:
    app = Starlette(routes=make_routes(access))
    status, headers, _ = call(app, "/cases", query="case=HN-0001")
    assert (status, headers["location"]) == (307, "./?case=HN-0001")
    assert call(app, "/cases")[1]["location"] == "./"


def test_routes_guard_and_serve(access) -> None:
    app = Starlette(routes=make_routes(access))
    values = array()
    token = access.grant(SID, put(access.blobs, "a", values))
    own = {"Cookie": f"hnvlm_sid={SID}"}
    status, headers, body = call(app, f"/ct/blob/{token}", headers=own)
    assert status == 200 and headers["content-encoding"] == "gzip" and headers["cache-control"] == "private, no-store"
    assert gzip.decompress(body) == values.tobytes()
    status, headers, body = call(app, f"/ct/blob/{token}", query="z0=1&z1=2", headers=own)
    assert status == 200 and headers["content-encoding"] == "identity" and body == values[1:2].tobytes()
    for bad in ({}, {"Cookie": f"hnvlm_sid={OTHER}"}, {**own, "Sec-Fetch-Site": "same-site"}):
        assert call(app, f"/ct/blob/{token}", headers=bad)[0] == 404
    for query in ("z0=1", "z0=a&z1=2", "z0=4&z1=9", "z0=3&z1=1"):
        assert call(app, f"/ct/blob/{token}", query=query, headers=own)[0] == 400


def test_position_route(access) -> None:
    import json

    app = Starlette(routes=make_routes(access))
    token = access.grant(SID, put(access.blobs, "a", array()))
    own = {"Cookie": f"hnvlm_sid={SID}"}
    path = f"/ct/pos/{token}"
    assert call(app, path, method="POST", headers=own, body=json.dumps(GOOD).encode())[0] == 204
    assert access.position(SID, "v")["index"] == [1, 2, 3]
    assert call(app, path, method="POST", headers={}, body=json.dumps(GOOD).encode())[0] == 404
    assert call(app, path, method="POST", headers=own, body=b"{")[0] == 400
    assert call(app, path, method="POST", headers=own, body=b'{"key": 1, "index": "abc"}')[0] == 400
    assert call(app, path, method="POST", headers=own, body=b"x" * 20_000)[0] == 413
    assert call(app, path, headers=own)[0] == 405


def page_app(content_type: bytes, path_headers: tuple = ()):
    async def app(scope, receive, send) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type), *path_headers]}
        )
        await send({"type": "http.response.body", "body": b"x"})

    return PrivacyMiddleware(app, "default-src 'self'", frozenset({"localhost", "ct.hospital.example"}))


@pytest.mark.parametrize(
    ("host", "origin", "answered"),
    [
        ("localhost:8501", None, True),
        ("127.0.0.1:8501", None, True),
        ("[::1]:8501", "http://[::1]:8501", True),
        ("10.1.2.3:8501", "http://10.1.2.3:8501", True),
        ("CT.hospital.example", "https://CT.hospital.example", True),
        ("127.0.0.1:8501", "https://ct.hospital.example", True),  # a proxy that asks in its own words
        ("localhost:8501", "http://localhost:3000", False),  # another program's page on this machine
        ("localhost:8501", "https://evil.example", False),
        ("localhost:8501", "null", False),
        ("localhost:8501", "http://[", False),
        ("evil.example:8501", "http://evil.example:8501", False),  # a name of theirs that points here
        ("localhost.evil.example", None, False),
        ("127.0.0.1.evil.example", None, False),
        ("", None, False),
    ],
)
def test_only_pages_of_this_server_reach_it(host, origin, answered) -> None:
    """Any page that a clinician has open elsewhere could open the websocket and read every case."""
    names = frozenset({"localhost", "ct.hospital.example"})
    headers = [(b"host", host.encode())] + ([(b"origin", origin.encode())] if origin is not None else [])
    for kind in ({"type": "websocket"}, {"type": "http", "method": "POST"}):
        assert (refusal({**kind, "headers": headers}, names) == "") is answered
    read = refusal({"type": "http", "method": "GET", "headers": headers}, names)
    assert (read == "") is (answered or host.startswith("localhost:")), "a link from elsewhere opens the app"


def test_a_refused_name_is_told_where_names_are_listed_and_a_websocket_is_closed() -> None:
    app = page_app(b"text/html")
    status, headers, body = call(app, "/", headers={"Host": "evil.example"})
    assert status == 403 and b"HNVLM_HOSTS" in body and "set-cookie" not in headers
    sent = []

    async def send(message) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"origin", b"http://evil.example")]
    scope = {"type": "websocket", "path": "/_stcore/stream", "headers": headers}
    asyncio.run(app(scope, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_middleware_gives_pages_a_cookie_once() -> None:
    app = page_app(b"text/html; charset=utf-8")
    _, headers, _ = call(app, "/")
    assert headers["content-security-policy"] == "default-src 'self'" and headers["cache-control"] == "no-store"
    assert headers["set-cookie"].startswith("hnvlm_sid=") and "HttpOnly; SameSite=Strict" in headers["set-cookie"]
    assert cookie_of([(b"cookie", headers["set-cookie"].split(";")[0].encode())])
    assert "set-cookie" not in call(app, "/", headers={"Cookie": f"a=b; hnvlm_sid={SID}"})[1]


def test_middleware_leaves_assets_cacheable_but_not_downloads() -> None:
    app = page_app(b"text/javascript", ((b"cache-control", b"public, immutable"),))
    _, headers, _ = call(app, "/static/js/index.js")
    assert headers["cache-control"] == "public, immutable" and "set-cookie" not in headers
    assert headers["x-content-type-options"] == "nosniff"
    assert call(app, "/media/abc.pdf")[1]["cache-control"] == "no-store"


def test_policy_allows_the_installed_streamlit_and_nothing_foreign() -> None:
    import streamlit

    policy = content_security_policy()
    inline = (Path(streamlit.__file__).parent / "static" / "index.html").read_text().count("<script>")
    assert policy.count("'sha256-") == inline
    assert "http" not in policy and "unsafe-eval'" not in policy.replace("'wasm-unsafe-eval'", "")
