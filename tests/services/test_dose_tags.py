"""A dose that leaves the app says the same of itself as when it came: part of a plan, effective dose."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from test_dose_service import SPANS, blocks, upload

from hnvlm.errors import UsageError
from hnvlm.imaging.dose import part_of_plan
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write_dose import write_rtdose
from hnvlm.services import dose, histograms, plan_export, rt_upload
from hnvlm.services.identity import map_uid
from hnvlm.services.rt_objects import dose_result


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


def test_steps_lead_no_further_from_what_was_planned_than_one(app, case_id, phantom):
    """Planned for 70 Gy: 49 to 84 Gy are shown, however they are reached; 56 to 44 Gy is a step of 0.79 alone."""
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": blocks(phantom.shape, SPANS)})
    base = upload(app, case_id, np.full(phantom.shape, 35.0))
    step = dose.scale(app, base.id, dose.WhatIf(prescription_gy=56.0))
    with pytest.raises(UsageError, match=r"44 Gy is too far from the 70 Gy of this dose: .* between 49 and 84 Gy only"):
        dose.scale(app, step.id, dose.WhatIf(prescription_gy=44.0))
    again = dose.scale(app, step.id, dose.WhatIf(prescription_gy=77.0, fractions=35))
    assert histograms.histograms(app, again)["SpinalCord"].mean_gy == pytest.approx(35.0 * 77 / 70, abs=0.01)
    # 38.5 Gy in 35 fractions of 1.1 Gy: 38.5 x (1.1 + 2) / 4.
    (cord,) = (r for r in histograms.table(histograms.judge(app, again), 35) if r["name"] == "SpinalCord")
    assert cord["eqd2_mean"] == pytest.approx(29.84, abs=0.01)


def test_a_predicted_dose_of_another_prescription_counts_from_the_levels_of_its_targets(app, case_id, phantom):
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": blocks(phantom.shape, SPANS)})
    made = dose.predict(app, case_id, what_if=dose.WhatIf(prescription_gy=56.0, drop=("PTV_5600",)))
    with pytest.raises(UsageError, match="44 Gy is too far from the 70 Gy"):
        dose.scale(app, made.id, dose.WhatIf(prescription_gy=44.0))


@pytest.mark.parametrize("cut", [False, True])
def test_an_export_says_where_its_dose_is_not_known(app, phantom, tmp_path, cut):
    """The grid ends after 4 of 8 slices; read back from NIfTI, 0 Gy there would meet every limit of an organ."""
    case_id = app.store.add_case(phantom).id
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": blocks(phantom.shape, SPANS)})
    gy = phantom.with_array(np.full(phantom.shape, 66.0, np.float32))
    gy.array[4:] = np.nan if cut else 66.0
    payload, arrays = dose_result(gy)
    item = app.store.save_result(case_id, "dose", payload, arrays=arrays)
    readme = plan_export.write_all(app, case_id, item, tmp_path / "out")["readme"].read_text("utf-8")
    assert ("does not reach all of this CT" in readme) is cut and "{" not in readme
    assert len(max(readme.splitlines(), key=len)) <= 120
