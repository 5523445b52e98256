"""Mount a component of our own: a folder of JavaScript that the browser runs beside Streamlit's elements."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
from streamlit.components.v2.manifest_scanner import ComponentConfig, ComponentManifest

_MOUNTS: dict[str, tuple[Any, Any]] = {}


def component(package: Path, name: str) -> Any:
    """Return the mounting function of ``package/assets/<name>.js``, registered with the runtime of this script.

    Streamlit finds file-backed components by a ``pyproject.toml`` in *installed* distributions. That
    fails when the app runs from a checkout without installation, and silently serves another copy's
    files when an old version is installed. So the same manifest is registered here, at run time, with
    the component's own folder. The name carries a content hash: Streamlit serves assets as cacheable
    without one, and a browser would keep an old component after an upgrade.
    """
    manager = get_bidi_component_manager()
    short = f"{name}-{_asset_hash(package)}"
    full = f"hnvlm.{short}"
    if manager.get_component_asset_root(full) is None:
        manifest = ComponentManifest("hnvlm", "0", [ComponentConfig(short, "assets")])
        manager.register_from_manifest(manifest, package)
    mount = _MOUNTS.get(full)
    if mount is None or mount[0] is not manager:  # one runtime a process; test runs make many
        mount = _MOUNTS[full] = (manager, st.components.v2.component(full, js=f"{name}.js"))
    return mount[1]


@cache
def _asset_hash(package: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted((package / "assets").glob("*.js")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:10]
