"""The demo case: a synthetic neck with inserted lesions, taken in the same way as any upload."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from hnvlm.imaging.anatomy import ANATOMY_MM, build_anatomy
from hnvlm.imaging.atlas import Neck, sample_neck
from hnvlm.imaging.lesions import LesionSpec, apply, insert
from hnvlm.imaging.resample import resample_to
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import write_dicom_series
from hnvlm.services.analysis import part
from hnvlm.services.context import App
from hnvlm.services.intake import create_case, open_path
from hnvlm.services.jobs import JobContext
from hnvlm.store import CaseRecord
from hnvlm.types import Progress, no_progress

POLL_S = 0.5
DEMO_SEED = 11
# Chosen by eye among several: the mass lies in the tonsil, the nodes deep to the sternocleidomastoid.
DEMO_LESION_SEED = 4
DEMO_DESCRIPTION = "SYNTHETIC demo: drawn from a cohort atlas with inserted lesions, not a patient"
# A picture that oncologists know: a tonsil primary with ipsilateral nodes.
DEMO_LESIONS = (
    LesionSpec(kind="mass", place="palatine tonsil", side="right", size_mm=30.0),
    LesionSpec(kind="node", place="II", side="right", size_mm=26.0, texture="necrotic"),
    LesionSpec(kind="node", place="III", side="right", size_mm=16.0),
)


def existing_demo(app: App) -> CaseRecord | None:
    """Return the store's demo case, the oldest if there are several; None without one."""
    cases = app.store.list_cases(demo=True, descending=False)
    return cases[0] if cases else None


def create_demo(app: App, *, who: str = "", progress: Progress = no_progress) -> CaseRecord:
    """Make the demo case, or return the one that is already there.

    The CT is written as DICOM marked SYNTHETIC and goes through intake like an upload, so the demo shows the same path.

    Raises:
        ModelPackError: The cohort atlas is missing or damaged.
    """
    found = existing_demo(app)
    if found is not None:
        return found
    with _alone(app, progress):
        return existing_demo(app) or _create(app, who, progress)


@contextmanager
def _alone(app: App, progress: Progress) -> Iterator[None]:
    """Wait while another process or thread makes the demo case: of two at once each would make one."""
    lock = FileLock(app.store.path / "demo.lock", thread_local=False)
    while True:
        try:
            lock.acquire(timeout=POLL_S)
            break
        except Timeout:
            progress(0.0, "waiting for the demo case that is being made")  # ends the wait when Stop was pressed
    try:
        yield
    finally:
        lock.release()


def _create(app: App, who: str, progress: Progress) -> CaseRecord:
    progress(0.0, "drawing a synthetic neck")
    volume = draw_demo_ct(DEMO_SEED)
    progress(0.6, "writing DICOM marked SYNTHETIC")
    with tempfile.TemporaryDirectory(prefix="hnvlm-demo-") as folder:
        series = Path(folder) / "CT"
        meta = {"patient_id": "SYNTHETIC", "body_part": "HEADNECK"}
        write_dicom_series(volume, series, "demo neck, not a patient", synthetic=True, meta=meta)
        return create_case(
            app,
            open_path(series),
            description=DEMO_DESCRIPTION,
            origin="demo",
            demo=True,
            who=who,
            progress=part(progress, 0.7, 1.0),
        )


def start_demo(app: App, *, who: str = "") -> str:
    """Make the demo case in the background; return the job id. Result: ``case_id``."""

    def work(job: JobContext) -> dict[str, Any]:
        return {"case_id": create_demo(app, who=who, progress=job.progress).id}

    return app.jobs.submit("demo", work, who=who, needs_models=False)


def draw_demo_ct(seed: int = DEMO_SEED) -> Volume:
    """Draw the demo's CT: a synthetic neck with the lesions that fit into it; HU int16 (z, y, x)."""
    return insert_lesions(sample_neck(seed), DEMO_LESIONS, np.random.default_rng(DEMO_LESION_SEED))


def insert_lesions(neck: Neck, specs: tuple[LesionSpec, ...], rng: np.random.Generator) -> Volume:
    """Insert lesions one after the other; each one sees those before it. One that has no room is left out."""
    volume = neck.volume
    for spec in specs:
        grid = (ANATOMY_MM,) * 3
        masks = {n: resample_to(volume.with_array(m), grid).array for n, m in neck.masks.items()}
        anatomy = build_anatomy(resample_to(volume, grid, antialias=True), masks)
        lesion = insert(volume, anatomy, spec, rng) if anatomy is not None else None
        if lesion is not None:
            volume = apply(volume, [lesion])
    return volume
