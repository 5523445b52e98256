"""What the clinic contoured as disease: which structures count, and findings that are of before they were uploaded."""

from __future__ import annotations

import numpy as np
import pytest

from hnvlm.services import analysis, clinic_contours, reporting
from hnvlm.store import ResultRecord


def upload(app, case_id, phantom, *names: str) -> ResultRecord:
    masks = {}
    for n, name in enumerate(names):
        masks[name] = np.zeros(phantom.shape, bool)
        masks[name][2 : 4 + n, 6:12, 8:15] = True
    rows = [{"name": k, "volume_ml": round(float(m.sum()) * phantom.voxel_ml, 3)} for k, m in masks.items()]
    payload = {"structures": rows, "source": "upload"}
    return app.store.save_result(case_id, "structures", payload, arrays={"masks": masks}, who="Dr Ada Nowak")


@pytest.mark.parametrize(("volumes", "words"), [
    ({"PTV_7000": 557.4, "PTV_5600": 800.0, "CTV_7000": 300.0}, "PTV_7000, 557 ml"),
    ({"PTV 01": 100.0, "PTV 02": 300.2}, "PTV 02, 300 ml"),
    ({"PTV_5600": 80.0, "PTV_7000": 0.0}, "PTV_5600, 80 ml"),
    ({"PTV_7000_L": 100.0, "PTV_7000_R": 60.0, "PTV_5600": 400.0}, "PTV_7000_L, 100 ml"),
    ({"PTV_7000_ring": 900.0, "PTV_5600": 400.0}, "PTV_5600, 400 ml"),
    ({"GTVp": 20.0, "Brainstem": 25.0}, ""),
    ({}, ""),
])  # fmt: skip
def test_the_target_of_the_highest_level_is_named(volumes, words):
    assert clinic_contours.treated_words(volumes) == words


def test_gross_tumour_of_the_clinic_is_among_the_findings(app, case_id, phantom, models):
    upload(app, case_id, phantom, "GTVp", "GTVp+5mm", "Larynx")
    found = analysis.analyse_case(app, case_id)
    assert list(found.segmentation.gross) == ["GTVp"] and found.treated == ""
    assert found.segmentation.gross["GTVp"].sum() == 2 * 6 * 7
    assert [f.attributes["contour"] for f in found.findings if "contour" in f.attributes] == ["GTVp"]
    assert "GTVp" not in found.segmentation.masks and analysis.is_complete(app, case_id)


def test_findings_are_measured_again_when_gross_tumour_comes_goes_or_changes(app, case_id, phantom, models):
    def contours() -> list[str]:
        found = analysis.load_findings(app, case_id) or []
        return sorted(f.attributes["contour"] for f in found if "contour" in f.attributes)

    analysis.analyse_case(app, case_id)
    assert contours() == []
    upload(app, case_id, phantom, "Larynx", "PTV_7000")
    assert analysis.is_complete(app, case_id), "other structures say nothing of lesions"
    for names in (("GTVp",), ("GTVp", "GTVn"), ("Larynx",)):
        upload(app, case_id, phantom, *names)
        assert not analysis.is_complete(app, case_id)
        before = models.calls.count("segment")
        analysis.analyse_case(app, case_id)
        assert contours() == sorted(n for n in names if n.startswith("GTV"))
        assert models.calls.count("segment") == before, "the models' own contours stay"
        assert analysis.is_complete(app, case_id)


def test_findings_are_of_before_when_gross_tumour_comes_while_they_are_measured(app, case_id, phantom, models):
    def while_measuring(step: str) -> None:
        if step == "findings" and app.store.latest_result(case_id, "structures") is None:
            upload(app, case_id, phantom, "GTVp")

    models.on_step = while_measuring
    analysis.analyse_case(app, case_id)
    assert analysis.load_current_findings(app, case_id) is None, "nobody measured the contour"
    found = analysis.analyse_case(app, case_id)
    assert [f.attributes["contour"] for f in found.findings if "contour" in f.attributes] == ["GTVp"]


def test_a_draft_without_disease_is_warned_of_beside_a_target_of_the_clinic(app, case_id, phantom, models):
    models.report = "No mass. No enlarged node."
    upload(app, case_id, phantom, "PTV_5600", "PTV_7000")
    checks = reporting.draft_report(app, case_id).payload["checks"]
    (warned,) = [c for c in checks if c["id"] == "report.treated"]
    assert warned["status"] == "warn" and "PTV_7000" in warned["message"]
    typed = reporting.check_text(app, case_id, "Mass of the left tonsil, 31 mm.").checks
    assert "report.treated" not in [c.id for c in typed]


def test_structures_without_a_store(phantom, models):
    mask = np.zeros(phantom.shape, bool)
    mask[3:5, 6:12, 8:15] = True
    found = analysis.analyse(models, phantom, structures={"GTVn": mask, "PTV_7000": mask, "Larynx": mask})
    assert list(found.segmentation.gross) == ["GTVn"]
    assert found.treated == f"PTV_7000, {mask.sum() * phantom.voxel_ml:.0f} ml"


def test_nobody_looks_for_disease_in_a_synthetic_ct(app, phantom, models):
    for number, options in enumerate(({"demo": True}, {"meta": {"synthetic": True}}, {})):
        case = app.store.add_case(phantom, **options)
        for again in (False, True):  # made now, and loaded
            found = analysis.analyse_case(app, case.id)
            assert found.segmentation.of_patient is (number == 2), (options, again)
    assert not analysis.analyse(models, phantom, of_patient=False).segmentation.of_patient


def test_findings_of_before_the_pack_had_a_tumour_detector_are_measured_again(
    app, case_id, phantom, models, monkeypatch
):
    analysis.analyse_case(app, case_id)
    demo = app.store.add_case(phantom, demo=True).id
    analysis.analyse_case(app, demo)
    monkeypatch.setattr(analysis, "looks_for_disease", lambda app: True)
    assert not analysis.is_complete(app, case_id) and analysis.is_complete(app, demo), "nobody looks in a synthetic CT"
    analysis.analyse_case(app, case_id)
    assert analysis.is_complete(app, case_id)
