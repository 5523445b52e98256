"""Measurements on this machine, each beside a reference measured in the same run on the same data.

A measurement is a function that takes a ``Bench`` and returns rows; add one to ``MEASUREMENTS``.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from hnvlm.errors import InputRefusedError, ModelPackError
from hnvlm.imaging import intake
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import write_dicom_series
from hnvlm.models.base import Models
from hnvlm.services.planning import judged_without_store, make_plan
from hnvlm.store import CaseStore
from hnvlm.types import TARGET_NAMES, Progress, Segmentation, no_progress

SHAPE = (48, 256, 256)


@dataclass(frozen=True)
class Measurement:
    """One number.

    Attributes:
        value: Best of the repeats; what the models do first (all but ``dose``) is timed once.
        compared_with: What the ratio divides by; "" when there is no reference.
        ratio: value / reference in the same unit (below 1: faster than the reference), or None.
    """

    name: str
    value: float
    unit: str
    compared_with: str = ""
    ratio: float | None = None


@dataclass
class Bench:
    """What measurements run on.

    Attributes:
        folder: DICOM series.
        volume: The same series, read.
        workdir: Scratch folder.
        load_models: None when models are not measured.
    """

    folder: Path
    volume: Volume
    workdir: Path
    repeats: int
    load_models: Callable[[], Models] | None = None
    progress: Progress = no_progress

    def best(self, work: Callable[[], object]) -> float:
        """Return the shortest of the repeats, in seconds: the one least disturbed by other programs."""
        times = []
        for _ in range(self.repeats):
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
        return min(times)


def run_bench(
    data: Path | None = None,
    load_models: Callable[[], Models] | None = None,
    *,
    repeats: int = 3,
    progress: Progress = no_progress,
) -> list[Measurement]:
    """Run all measurements.

    Args:
        data: DICOM folder; None: a generated series of 48 slices of 256 x 256.
        load_models: Loads the models; None leaves them out.

    Raises:
        InputRefusedError: ``data`` holds no CT series that can be read.
    """
    rows: list[Measurement] = []
    with tempfile.TemporaryDirectory(prefix="hnvlm-bench-") as workdir:
        work = Path(workdir)
        folder = data or _generated_series(work / "dicom")
        volume = intake.read_path(folder, work).volume
        bench = Bench(folder, volume, work, repeats, load_models, progress)
        for number, measure in enumerate(MEASUREMENTS):
            progress(number / len(MEASUREMENTS), measure.__name__.replace("_", " "))
            rows += measure(bench)
    progress(1.0, "measured")
    return rows


def dicom_read(bench: Bench) -> list[Measurement]:
    """Read a DICOM series (scan, geometry checks, HU) against SimpleITK's series reader on the same files."""
    infos = [s for s in intake.scan(bench.folder) if s.accepted]
    if not infos:
        raise InputRefusedError(f"{bench.folder}: no CT series can be read.")
    files = [str(f) for f in infos[0].files]
    folder = str(infos[0].files[0].parent)
    names = [n for n in sitk.ImageSeriesReader.GetGDCMSeriesFileNames(folder) if n in set(files)] or files

    def ours() -> None:
        intake.read(next(s for s in intake.scan(bench.folder) if s.accepted))

    def reference() -> None:
        # Its own grouping and sorting belong to the comparison: ours scans too.
        sitk.ImageSeriesReader.GetGDCMSeriesFileNames(folder)
        sitk.ReadImage(names)

    reference()  # both start with the files in the page cache
    mine, theirs = bench.best(ours), bench.best(reference)
    return [Measurement("dicom_series_read", mine, "s", "SimpleITK ImageSeriesReader, same files", mine / theirs)]


def store_load(bench: Bench) -> list[Measurement]:
    """Store a CT; open it and take one axial slice or all, each against reading as much of the DICOM series again."""
    numbers = count()

    def save() -> None:
        # A new store each time: what a store holds already it does not write again.
        with closing(CaseStore(bench.workdir / f"store-{next(numbers)}")) as store:
            store.add_case(bench.volume)

    saved = bench.best(save)
    series = next(s for s in intake.scan(bench.folder) if s.accepted)
    middle_file = str(series.files[len(series.files) // 2])
    with closing(CaseStore(bench.workdir / "store-0")) as store:
        case = store.list_cases()[0].id
        middle = bench.volume.shape[0] // 2
        load = bench.best(lambda: np.array(store.load_volume(case).array[middle]))
        whole = bench.best(lambda: np.array(store.load_volume(case).array))
    one = bench.best(lambda: sitk.GetArrayFromImage(sitk.ReadImage(middle_file)))
    decode = bench.best(lambda: intake.read(next(s for s in intake.scan(bench.folder) if s.accepted)))
    return [
        Measurement("store_save_case", saved, "s"),
        Measurement("store_first_slice", load, "s", "reading one DICOM file with SimpleITK", load / one),
        Measurement("store_whole_volume", whole, "s", "reading the DICOM series again", whole / decode),
    ]


def model_inference(bench: Bench) -> list[Measurement]:
    """Load the models; contour; draft report and plan; edit; predict a dose. Beside the times the project promises."""
    if bench.load_models is None:
        return []
    started = time.perf_counter()
    models = bench.load_models()
    load = time.perf_counter() - started
    started = time.perf_counter()
    segmentation = models.segment(bench.volume)
    segment = time.perf_counter() - started
    promised = "promised: 10 s for 512 x 512 x 130 on two cores"
    rows = [Measurement("models_load", load, "s"), Measurement("segment", segment, "s", promised, segment / 10.0)]
    started = time.perf_counter()
    in_scope = models.scope(bench.volume, segmentation).in_scope
    # Finds the landmarks, which the models keep: whoever drafts a report or a plan waits for them first.
    before = segment + time.perf_counter() - started
    if in_scope:
        started = time.perf_counter()
        models.findings(bench.volume, segmentation)
        models.draft_report(bench.volume, segmentation=segmentation)
        report = before + time.perf_counter() - started
        rows.append(Measurement("report", report, "s", "promised: 10 s on two cores", report / 10.0))
        started = time.perf_counter()
        findings = models.findings(bench.volume, segmentation)
        # As `hnvlm plan` makes it: limits are judged on a predicted dose.
        make_plan(findings, {}, **judged_without_store(models, bench.volume, segmentation.masks))
        plan = before + time.perf_counter() - started
        rows.append(
            Measurement("plan", plan, "s", "promised: 5 s on two cores, contours and dose included", plan / 5.0)
        )
        started = time.perf_counter()
        models.counterfactual(bench.volume, "22 mm necrotic node in left level II", segmentation=segmentation)
        edit = time.perf_counter() - started
        rows.append(Measurement("counterfactual", edit, "s", "promised: 30 s on two cores", edit / 30.0))
        rows += _dose_inference(bench, models, segmentation)
    return rows


def _dose_inference(bench: Bench, models: Models, segmentation: Segmentation) -> list[Measurement]:
    """Predict a dose from the arrays, once to load the network and then timed; nothing without a model or a target."""
    if not any(name in segmentation.masks for name in TARGET_NAMES):
        return []
    try:
        models.dose(bench.volume, segmentation.masks)
    except ModelPackError:
        return []
    dose = bench.best(lambda: models.dose(bench.volume, segmentation.masks))
    return [Measurement("dose", dose, "s", "promised: 1.5 s on two cores", dose / 1.5)]


MEASUREMENTS: tuple[Callable[[Bench], list[Measurement]], ...] = (dicom_read, store_load, model_inference)


def _generated_series(folder: Path) -> Path:
    """Write noise around an elliptic neck as DICOM: nobody's CT, as hard to decode as a real one."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : SHAPE[1] * 1j, -1 : 1 : SHAPE[2] * 1j]
    body = (x / 0.6) ** 2 + (y / 0.7) ** 2 < 1
    array = np.where(body, 40, -1000) + rng.normal(0, 12, SHAPE)
    volume = Volume(np.clip(array, -1024, 3000).astype(np.int16), (3.0, 1.0, 1.0))
    write_dicom_series(volume, folder, "phantom for measurements", synthetic=True)
    return folder
