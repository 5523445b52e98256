"""A small page that shows the viewer, or work in progress; started by test_viewer_browser.py, never part of the app."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import streamlit as st

from hnvlm.imaging.volume import Volume
from hnvlm.services.jobs import JobStatus
from hnvlm.ui import frame
from hnvlm.ui.access import ACCESS
from hnvlm.ui.jobs import panel
from hnvlm.ui.viewer import Box, Dose, Overlay, Series, Together, browser_id, jump_to, show

# Three different sizes and spacings, so that no axis can be taken for another.
SHAPE, SPACING, ORIGIN = (48, 40, 32), (3.0, 1.25, 2.0), (-200.0, -25.0, -31.0)


@st.cache_resource
def phantom() -> dict:
    rng = np.random.default_rng(7)
    z, y, x = np.indices(SHAPE)
    hu = rng.integers(-30, 90, SHAPE)
    hu[(y - 20) ** 2 / 300 + (x - 16) ** 2 / 200 > 1] = -1000
    hu[10:20, 5:12, 20:28] = 900  # bone: front, patient's left, towards the feet
    hu[30:34, 25:33, 4:9] = -300  # fat: back, patient's right, towards the head
    ct = Volume(hu.astype(np.int16), SPACING, ORIGIN)
    edited = hu.copy()
    edited[22:27, 15:22, 6:12] = 250
    edited[28:30, 15:22, 20:24] -= 150
    bone = np.zeros(SHAPE, bool)
    bone[10:20, 5:12, 20:28] = True
    target = np.zeros(SHAPE, bool)
    target[12:30, 8:24, 10:24] = True
    gy = (70 * np.exp(-(((z - 20) / 12) ** 2 + ((y - 16) / 10) ** 2 + ((x - 17) / 9) ** 2))).astype(np.float32)
    return {
        "ct": ct,
        "edited": Volume(edited.astype(np.int16), SPACING, ORIGIN),
        "overlay": Overlay({"Bone_Mandible": bone, "PTV_7000": target}),
        "target": target,
        "dose": Volume(gy, SPACING, ORIGIN),
    }


def count_run() -> None:
    log = os.environ.get("VIEWER_TEST_LOG")
    if log:
        with open(log, "a", encoding="utf-8") as out:
            out.write("run\n")


count_run()
st.set_page_config(layout="wide")
page = st.query_params.get("page", "single")
data = phantom()
original = Series(data["ct"], "Neck CT")
if page == "single":
    if st.button("Jump"):
        jump_to(page, (31, 28, 6))
    st.selectbox("Chosen", ["first", "second"], label_visibility="collapsed")
    boxes = [Box((30, 25, 4, 34, 33, 9), "Fat pad right")]
    show(page, [original], masks=data["overlay"], boxes=boxes, layout="mpr", case="T-001", window=(40, 400))
    st.text_input("Note", key="note")
elif page == "many":
    names = [f"Organ {n:02d}" for n in range(38)]
    show(page, [original], masks=dict.fromkeys(names, data["target"]) | data["overlay"].masks, case="T-001")
elif page == "marked":
    sources = {"PTV_7000": "AI", "uploaded: PTV_7000": "clinic", "uploaded: PTV_7000_eval_cropped_3mm_skin": "clinic"}
    show(page, [original], masks=Overlay(dict.fromkeys(sources, data["target"]), sources=sources), case="T-001")
elif page == "jobs":
    st.html(frame.STYLE)
    waiting = JobStatus("1", "counterfactual", "T-001", "running", 0.3, "finding the place of the lesion", 5.0, 31.0)
    failed = JobStatus("2", "export", "T-001", "failed", error="The disk is full, so nothing was written.")
    jobs = SimpleNamespace(active=lambda case, kind: [waiting] if kind == waiting.kind else [],
                           for_case=lambda case, kind: [failed], status=lambda job: waiting)  # fmt: skip
    for column, width in zip(st.columns([1, 2.4]), ("request", "panel"), strict=True):
        waiting, failed = (dataclasses.replace(job, id=f"{width}{job.id}") for job in (waiting, failed))
        with column, frame.column(width):
            panel(SimpleNamespace(jobs=jobs), "T-001", [waiting.kind, failed.kind])
elif page == "dose":
    show(page, [original], masks=data["overlay"], dose=Dose(data["dose"], 60.0, "AI draft"), case="T-001")
elif page == "together":
    scroll = st.toggle("Scroll together")
    # Half as many slices, twice as far apart, and a smaller field of view.
    other = Volume(np.ascontiguousarray(data["ct"].array[::2, :, 6:28]), (6.0, 1.25, 2.0), ORIGIN)
    for column, name, one in zip(st.columns(2), (page, "there"), (original, Series(other, "Prior")), strict=True):
        with column:
            show(name, [one], case=name, together=Together("pair", scroll, lead=name == page))
else:
    shown = [
        original,
        Series(data["edited"], "Counterfactual", "synthetic"),
        Series(None, "Difference", "difference", of=(0, 1)),
    ]
    show(page, shown, layout="side_by_side", case="T-001")
reported = ACCESS.position(browser_id(), page) or {}
st.text(f"index={reported.get('index')}")
if Path(os.environ.get("VIEWER_TEST_LOG", "")).is_file():
    st.button("Run again")
