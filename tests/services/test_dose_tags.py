"""A dose that leaves the app says the same of itself as when it came: part of a plan, effective dose."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from test_dose_service import SPANS, blocks

from hnvlm.imaging.dose import part_of_plan
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write_dose import write_rtdose
from hnvlm.services import dose, plan_export, rt_upload
from hnvlm.services.identity import map_uid


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(
    ("given", "kind", "of_what"),
    [
        ({}, "PLAN", "PHYSICAL"),
        ({"DoseSummationType": "BEAM"}, "BEAM", "PHYSICAL"),
        ({"DoseType": "EFFECTIVE"}, "PLAN", "EFFECTIVE"),
        ({"DoseSummationType": "FRACTION", "DoseType": "EFFECTIVE"}, "FRACTION", "EFFECTIVE"),
    ],
)
def test_an_exported_dose_is_what_was_uploaded(app, phantom, tmp_path, given, kind, of_what, scaled):
    """One beam's dose left as that of the plan, and a proton dose with its RBE as a physical one."""
    gy = phantom.with_array(np.full(phantom.shape, 66.0, np.float32))
    dataset = pydicom.dcmread(write_rtdose(gy, phantom, tmp_path / "rd.dcm", predicted=False))
    for tag, value in given.items():
        setattr(dataset, tag, value)
    data = io.BytesIO()
    dataset.save_as(data)
    frame = map_uid(app, phantom.frame_of_reference_uid)
    case_id = app.store.add_case(Volume(phantom.array, phantom.spacing_mm, phantom.origin_mm, frame)).id
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": blocks(phantom.shape, SPANS)})
    (item,), _ = rt_upload.attach(app, case_id, [("rd.dcm", io.BytesIO(data.getvalue()))])
    if scaled:
        item = dose.scale(app, item.id, dose.WhatIf(prescription_gy=66.0))
    file = plan_export.write_all(app, case_id, item, tmp_path / "out")["rtdose"]
    written = pydicom.dcmread(file)
    assert (written.DoseSummationType, written.DoseType) == (kind, of_what)
    assert bool(part_of_plan([file])) == (kind != "PLAN")
    factor = 66 / 70 if scaled else 1.0
    assert float(written.pixel_array.max() * written.DoseGridScaling) == pytest.approx(66.0 * factor, abs=2e-3)
