"""What the page says of a dose before its numbers, what it asks of the clinic's, and what a what-if keeps."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fake_app import SHAPE, add_case, fakes  # noqa: E402
from test_plan_dose import AI_CONTOURS, finish, masks, open_dose, shown, with_structures  # noqa: E402
from ui.page_text import texts  # noqa: E402

from hnvlm.services import dose, dose_told, planning  # noqa: E402
from hnvlm.services.dose import WhatIf  # noqa: E402
from hnvlm.types import Provenance  # noqa: E402

pytestmark = pytest.mark.usefixtures("through_the_entry_script")


def uploaded(app, case_id: str, gy: float = 60.0, **payload):
    array = np.full(SHAPE, gy, np.float32)
    given = {"source": "upload", "unit": "Gy", "max_gy": gy, **payload}
    return app.store.save_result(case_id, "dose", given, arrays={"dose": array})


def test_the_page_asks_for_the_prescription_of_a_clinics_dose_on_guessed_targets(services) -> None:
    app = services(None)
    case_id = add_case(app, "planning CT")
    made_by = Provenance("fake-segmenter", "1", "0" * 64, seed=0)
    app.store.save_result(case_id, "segmentation", AI_CONTOURS, arrays={"masks": masks()}, provenance=made_by)
    item = uploaded(app, case_id)
    at = open_dose(case_id)
    page = texts(at)
    (warned,) = [w.value for w in at.warning if "Prescription not known" in w.value]
    assert "no target of the clinic is named by its dose" in warned
    assert "100 % = 70 Gy" not in page and at.button(key=f"whatif-{case_id}-{item.id}-go").disabled
    assert "until then nothing can be scaled" in page
    at.number_input(key=f"dose-told-{item.id}-gy").set_value(60.0).run()
    at.number_input(key=f"dose-told-{item.id}-n").set_value(30).run()
    assert "100 % = 60 Gy in 30 fractions; maximum" in texts(shown(at))
    assert dose_told.told(app, item) == {"dose_id": item.id, "prescription_gy": 60.0, "fractions": 30}
    dose_told.tell(app, item.id, fractions=30, who="Dr A")
    assert "prescription not known, 30 fractions; maximum" in texts(shown(at.run()))


def test_it_asks_for_the_prescription_also_where_the_files_tell_the_fractions(services) -> None:
    app = services(None)
    item = uploaded(app, add_case(app, "planning CT"), fractions=30)
    spans = {name: mask for name, mask in masks().items() if not name.startswith("PTV")}
    app.store.save_result(item.case_id, "structures", {"source": "upload"}, arrays={"masks": spans})
    at = open_dose(item.case_id)
    asked = [field.key for field in at.number_input if field.key and field.key.startswith("dose-told")]
    assert asked == [f"dose-told-{item.id}-gy"]
    at.number_input(key=asked[0]).set_value(60.0).run()
    assert "100 % = 60 Gy in 30 fractions; maximum" in texts(shown(at))


def test_assumed_fractions_are_called_so_and_can_be_corrected(services) -> None:
    app = services(None)
    case_id = with_structures(app)
    item = uploaded(app, case_id, 70.0)
    scheme = {"levels": [{"dose_gy": 70.0, "fractions": 35}]}
    at = open_dose(case_id)
    assert "in 35 fractions" not in texts(at)
    form = {"site": "oropharynx", "p16": "negative", "histology": "squamous_cell_carcinoma"}
    drafted = planning.make_plan([], form)
    assert drafted["prescription"]["schemes"][0]["levels"][0].items() >= scheme["levels"][0].items()
    app.store.save_result(case_id, "plan", drafted | {"author": "rules"}, provenance={}, who="rules")
    page = texts(shown(at.run()))
    assert "100 % = 70 Gy in 35 fractions (assumed from the draft plan)" in page and "Correct them here" in page
    at.number_input(key=f"dose-told-{item.id}-n").set_value(33).run()
    assert "100 % = 70 Gy in 33 fractions; maximum" in texts(shown(at)) and "Correct them here" not in texts(at)


def test_what_if_keeps_what_was_changed_before_and_offers_no_highest_level(services) -> None:
    app = services(fakes())
    case_id = with_structures(app)
    base = dose.predict(app, case_id)
    scaled = dose.scale(app, base.id, WhatIf(prescription_gy=60.0, fractions=20))
    at = open_dose(case_id)
    at.selectbox(key=f"dose-choice-{case_id}-{scaled.id}").set_value(scaled.id).run()
    key = f"whatif-{case_id}-{scaled.id}"
    assert at.multiselect(key=f"{key}-drop").options == ["PTV_5600"]
    assert "PTV_7000 cannot be left out: it holds the gross disease" in texts(at)
    at.button_group(key=f"{key}-side").set_value("right").run()
    at.button(key=f"{key}-go").click().run()
    finish(app, at, case_id)
    made = dose.doses(app, case_id)[1]
    assert made.payload["prescriptions"] == {"PTV_7000": 60.0, "PTV_5600": 48.0} and made.payload["fractions"] == 20
    assert "Stays as it is in this dose: right neck spared" in texts(at)


def test_what_is_predicted_from_a_clinics_dose_is_compared_with_the_prediction(services) -> None:
    app = services(fakes())
    case_id = with_structures(app)
    item = uploaded(app, case_id, 69.0)
    dose.predict(app, case_id)
    at = open_dose(case_id)
    key = f"whatif-{case_id}-{item.id}"
    assert "what is predicted anew is not made from it" in texts(at)
    at.multiselect(key=f"{key}-drop").select("PTV_5600").run()
    at.button(key=f"{key}-go").click().run()
    finish(app, at, case_id)
    page = texts(at)
    assert "Solid: What-if 1: predicted anew, without PTV_5600. Dashed: Predicted dose (AI draft)." in page
    assert "Predicted anew from the structures, not made from the uploaded dose" in page


def test_a_prediction_that_failed_is_told_in_red_before_its_numbers(services) -> None:
    app = services(fakes())
    case_id = with_structures(app)
    failed = "the prediction gives PTV_7000 37.9 of 70 Gy (median): do not use it"
    array = np.full(SHAPE, 37.9, np.float32)
    payload = {"source": "prediction", "unit": "Gy", "max_gy": 37.9, "prescriptions": {"PTV_7000": 70.0},
               "failed": failed, "doubts": [failed], "notes": [failed], "inputs": {"PTV_7000": "clinic"}}  # fmt: skip
    app.store.save_result(case_id, "dose", payload, slot=dose.PREDICTED, arrays={"dose": array})
    at = open_dose(case_id)
    (error,) = [e.value for e in at.error]
    assert "37.9 of 70 Gy" in error and "do not use it" in error


def test_what_an_upload_dropped_stays_in_sight_with_the_way_back(services) -> None:
    app = services(fakes())
    case_id = with_structures(app)
    uploaded(app, case_id, 70.0)
    (first,) = app.store.history(case_id, "structures")
    at = open_dose(case_id)
    assert not [b for b in at.button if b.key and b.key.startswith("earlier-")], "nothing was replaced"
    cord = {"SpinalCord": masks()["SpinalCord"]}
    second = app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": cord}, who="Dr B")
    item = uploaded(app, case_id, 30.0)
    at.session_state["clinician_name"] = "Dr C"
    for _ in range(2):
        page = texts(shown(at.run()))
        assert "UTC by Dr B. No longer used, of those of" in page and "Parotid_L, Parotid_R" in page
    back = at.button(key=f"earlier-structures-{case_id}-{second.id}-back")
    assert back.label == f"Go back to the structures of {first.created[:16].replace('T', ' ')} UTC"
    shown(back.click().run())
    assert "No longer used" not in texts(at) and "taken again" in texts(at)
    newest = app.store.latest_result(case_id, "structures")
    assert (newest.version, newest.who, newest.arrays) == (3, "Dr C", first.arrays)
    at.button(key=f"earlier-dose-{case_id}-{item.id}-back").click().run()
    assert "maximum 70.0 Gy" in texts(shown(at)) and app.store.latest_result(case_id, "dose").version == 3


def test_of_several_earlier_versions_the_one_that_is_chosen_comes_back(services) -> None:
    app = services(None)
    case_id = with_structures(app)
    for name in ("SpinalCord", "Parotid_L", "Parotid_R"):
        app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": {name: masks()[name]}})
    _, second, _, now = app.store.history(case_id, "structures")
    at = open_dose(case_id)
    key = f"earlier-structures-{case_id}-{now.id}"
    assert len(at.selectbox(key=f"{key}-which").options) == 3
    at.selectbox(key=f"{key}-which").set_value(second.id).run()
    assert "No longer used, of those of" in texts(at)
    shown(at.button(key=f"{key}-back").click().run())
    assert app.store.latest_result(case_id, "structures").payload["same_as"] == second.id


@pytest.mark.parametrize("scaled", [False, True])
def test_a_dose_made_from_the_clinics_targets_is_judged_by_those(services, scaled) -> None:
    app = services(fakes())
    case_id = with_structures(app)
    made = dose.predict(app, case_id, what_if=WhatIf(drop=("PTV_5600",)))
    if scaled:
        dose.scale(app, made.id, WhatIf(prescription_gy=66.0))
    made_by = Provenance("fake-segmenter", "1", "0" * 64, seed=0)
    app.store.save_result(case_id, "segmentation", AI_CONTOURS, arrays={"masks": masks()}, provenance=made_by)
    cord = {"SpinalCord": masks()["SpinalCord"]}
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": cord})
    page = texts(open_dose(case_id))
    assert "The structures were changed" in page and "Targets guessed by the AI" not in page
