"""CT viewer: the browser holds the voxels, so scrolling and windowing never ask the server.

The pages call :func:`show`; :func:`jump_to` sends a viewer to a voxel. Voxels travel over the guarded
routes of ``hnvlm.ui.server``; the position comes back over a small POST, so it costs no script run.
A page that is loaded anew opens there.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import streamlit as st

from hnvlm.ui.access import ACCESS, BLOB_ROUTE, COOKIE, POSITION_ROUTE
from hnvlm.ui.component import component
from hnvlm.ui.viewer.series import (
    DOSE_STEP_GY,
    Box,
    Dose,
    Overlay,
    Series,
    Together,
    body_box,
    check_grids,
    display_tables,
    dose_blob,
    mask_blobs,
    structure_list,
    volume_blob,
)

__all__ = ["Box", "Dose", "Overlay", "Series", "Together", "browser_id", "jump_to", "show"]

Layout = Literal["axial", "mpr", "side_by_side"]
PACKAGE = Path(__file__).resolve().parent
# A slab around the first slice goes ahead of volumes for which the whole takes noticeably longer.
SLAB_FROM_BYTES = 8 * 1024**2
SLAB_SLICES = 16


def browser_id() -> str | None:
    """Return this browser's cookie, or None when there is none (then no voxels are handed out)."""
    sid = st.context.cookies.get(COOKIE)
    return sid if isinstance(sid, str) and sid else None


def jump_to(key: str, index: Sequence[int] | int) -> None:
    """Send the viewer ``key`` to a voxel at its next run; the same voxel again jumps again.

    Args:
        key: Key given to :func:`show`.
        index: (z, y, x), or an axial slice alone.
    """
    target = [int(index), None, None] if isinstance(index, int | np.integer) else [int(v) for v in index]
    # A random id, not a counter: after a reconnect a new session would start counting anew while the
    # page still remembers the last number it obeyed.
    command = {"id": secrets.token_hex(8), "goto": target}
    st.session_state[f"_viewer_command_{key}"] = command


def show(
    key: str,
    series: Sequence[Series],
    *,
    masks: Overlay | Mapping[str, np.ndarray] | None = None,
    dose: Dose | None = None,
    layout: Layout = "axial",
    window: tuple[float, float] | None = None,
    height: int | str = 620,
    boxes: Sequence[Box] = (),
    case: str = "",
    dose_first: bool = True,
    together: Together | None = None,
) -> None:
    """Show one or more series on one grid.

    Args:
        key: Unique and stable; slice, window and zoom are remembered per key and first volume.
        series: First the CT. With ``side_by_side`` all are shown, locked on slice, window and zoom.
        masks: Structures on the same grid.
        dose: Dose on the same grid.
        layout: ``axial``, ``mpr`` (three linked planes) or ``side_by_side``.
        window: (centre, width) to start with and to return to with key 0: the DICOM default.
        height: Pixels, or a CSS length such as ``frame.PAGE_HEIGHT``.
        boxes: Findings to draw.
        case: Case code of the corner text (never a name).
        dose_first: Whether a dose is drawn before anybody asks for it (key d).
        together: Another viewer of the page with the same name follows this one, and this one follows it.

    Raises:
        UsageError: Nothing to show.
        FrameOfReferenceError: Series, structures or dose do not share one grid.
    """
    series = list(series)
    overlay = masks if isinstance(masks, Overlay) or masks is None else Overlay(masks)
    if overlay is not None and not overlay.masks:
        overlay = None
    base = check_grids(series, overlay, dose)
    sid = browser_id()
    middle = tuple(n // 2 for n in base.shape)
    if sid is None or not ACCESS.serving:
        st.info("Images are shown only by the app's own server. Start it with `hnvlm serve` or `make run`.")
        return

    data = _payload(sid, key, series, overlay, dose, boxes)
    data |= {
        "layout": layout,
        "window": [float(v) for v in window or (40.0, 400.0)],
        "command": _command(key, data["series"][0]["id"]),
        "height": height if isinstance(height, str) else f"{height}px",
        "case": case,
        "dose_first": dose_first,
        "together": None if together is None else vars(together),
        "start": _start(sid, key, data["series"][0]["id"], middle),
    }
    component(PACKAGE, "viewer")(key=key, data=data)


def _command(key: str, volume_id: str) -> dict[str, Any] | None:
    """Return where the viewer was last sent, None if that was in another CT: its voxel is no place in this one."""
    command = st.session_state.get(f"_viewer_command_{key}")
    # A command that names no CT yet was given just now: it is for the CT shown in this run.
    return command if command is not None and command.setdefault("volume", volume_id) == volume_id else None


def _start(sid: str, key: str, volume_id: str, middle: tuple[int, ...]) -> list[int]:
    """Return the voxel a freshly loaded page opens at: where this browser was last, else the middle.

    Kept fixed within a session, since a changing value would send the whole description on each run.
    """
    name = f"_viewer_start_{key}"
    kept = st.session_state.get(name)
    if kept is None or kept[0] != volume_id:
        last = ACCESS.position(sid, key)
        here = last["index"] if last and last["volume"] == volume_id else middle
        kept = st.session_state[name] = (volume_id, [int(v) for v in here])
    return kept[1]


def _payload(
    sid: str, key: str, series: list[Series], overlay: Overlay | None, dose: Dose | None, boxes: Sequence[Box]
) -> dict[str, Any]:
    """Describe everything to the browser; voxels go separately, by token."""
    base = series[0].volume
    assert base is not None
    tables = display_tables()
    shown = []
    for item in series:
        entry: dict[str, Any] = {"name": item.name, "kind": item.kind, "state": _state_text(item)}
        if item.volume is None:
            entry |= {"id": "", "of": list(item.of or ())}
        else:
            entry |= _blob_entry(sid, volume_blob(ACCESS.blobs, item.volume, item.content_id))
        shown.append(entry)
    data: dict[str, Any] = {
        "key": key,
        "shape": list(base.shape),
        "spacing": list(base.spacing_mm),
        "origin": list(base.origin_mm),
        "body": body_box(base, series[0].content_id),
        "series": shown,
        "presets": tables["presets"]["list"],
        "position_url": f".{POSITION_ROUTE}/{shown[0]['token']}",
        "boxes": [{"box": [int(v) for v in b.box], "label": b.label, "colour": b.colour} for b in boxes],
        "masks": None,
        "dose": None,
    }
    if overlay is not None:
        layers = [_blob_entry(sid, blob) for blob in mask_blobs(ACCESS.blobs, overlay)]
        data["masks"] = {"layers": layers, "structures": structure_list(overlay, base.voxel_ml)}
    if dose is not None:
        full = dose.prescription_gy or float(np.nanmax(dose.volume.array)) or 1.0
        data["dose"] = _blob_entry(sid, dose_blob(ACCESS.blobs, dose)) | {
            "step": DOSE_STEP_GY, "prescription": full, "state": dose.state,
            "levels": [{**lv, "gy": round(lv["percent"] * full / 100, 2)} for lv in tables["isodose"]["levels"]],
        }  # fmt: skip
    return data


def _state_text(item: Series) -> str:
    if item.state is not None:
        return item.state
    return {"ct": "", "synthetic": "AI · SYNTHETIC", "difference": "AI · DIFFERENCE"}[item.kind]


def _blob_entry(sid: str, blob: Any) -> dict[str, Any]:
    token = ACCESS.grant(sid, blob)
    depth = blob.shape[0]
    slab = None
    if blob.nbytes > SLAB_FROM_BYTES and depth > 2 * SLAB_SLICES:
        slab = SLAB_SLICES
    return {"id": blob.id, "token": token, "url": f".{BLOB_ROUTE}/{token}", "dtype": blob.dtype, "slab": slab}
