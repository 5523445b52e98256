"""The way back after an upload that replaced the clinic's structures or dose."""

from __future__ import annotations

import numpy as np
import pytest

from hnvlm.errors import HnvlmError, UsageError
from hnvlm.services import clinic_contours, dose, dose_told, planning
from hnvlm.services import earlier_uploads as earlier


@pytest.fixture
def case_id(app, phantom) -> str:
    return app.store.add_case(phantom).id


def box(phantom, x: int) -> np.ndarray:
    mask = np.zeros(phantom.shape, bool)
    mask[2:5, 6:12, x : x + 4] = True
    return mask


def drawn(app, case_id: str, phantom, *names: str, who: str = "Dr A"):
    masks = {name: box(phantom, 5 + 2 * n) for n, name in enumerate(names)}
    rows = [{"name": name, "volume_ml": 1.0} for name in names]
    return app.store.save_result(
        case_id, "structures", {"source": "upload", "structures": rows}, arrays={"masks": masks}, who=who
    )


def dose_of(app, case_id: str, phantom, gy: float, *, covered: bool = False):
    arrays = {"dose": np.full(phantom.shape, gy, np.float32)}
    if covered:
        arrays["covered"] = {"covered": box(phantom, 5)}
    return app.store.save_result(
        case_id, "dose", {"source": "upload", "unit": "Gy", "max_gy": gy}, arrays=arrays, who="Dr A"
    )


def test_what_an_upload_dropped_is_told_and_comes_back_as_the_newest_version(app, case_id, phantom):
    first = drawn(app, case_id, phantom, "PTV_7000", "GTVp", "SpinalCord")
    assert earlier.earlier(app, case_id, "structures") == []
    second = drawn(app, case_id, phantom, "SpinalCord", who="Dr B")
    (found,) = earlier.earlier(app, case_id, "structures")
    assert (found.result.id, found.uploaded) == (first.id, first.created)
    assert set(found.dropped) == {"PTV_7000", "GTVp"}
    third = earlier.go_back(app, first.id, based_on=second.id, who="Dr C")
    assert (third.version, third.supersedes, third.who) == (3, second.id, "Dr C")
    assert third.arrays == first.arrays and third.payload == first.payload | {"same_as": first.id}
    np.testing.assert_array_equal(dose.structures(app, case_id).masks["PTV_7000"], box(phantom, 5))
    assert [r.id for r in app.store.history(case_id, "structures")] == [first.id, second.id, third.id]
    last = app.store.audit(case_id)[-1]
    assert (last.who, last.action, last.result_id) == ("Dr C", "structures saved", third.id)
    (found,) = earlier.earlier(app, case_id, "structures")
    assert found.result.id == second.id and found.dropped == (), "the way there is open too, and nothing is lost on it"


def test_what_was_made_from_structures_that_are_used_again_is_not_out_of_date(app, case_id, phantom):
    first = drawn(app, case_id, phantom, "PTV_7000", "GTVp", "SpinalCord")
    made = dose.predict(app, case_id)
    measured = clinic_contours.measured_on(app, case_id)
    second = drawn(app, case_id, phantom, "SpinalCord")
    assert dose.is_stale(app, made) and clinic_contours.measured_on(app, case_id) != measured
    back = earlier.go_back(app, first.id, based_on=second.id)
    assert not dose.is_stale(app, made) and clinic_contours.measured_on(app, case_id) == measured == first.id
    assert dose.structures(app, case_id).version == dose.structures_version(app, case_id)
    fourth = earlier.go_back(app, second.id, based_on=back.id)
    fifth = earlier.go_back(app, back.id, based_on=fourth.id)
    assert fifth.payload["same_as"] == first.id, "also where it is taken again for the second time"
    assert not dose.is_stale(app, made)


def test_every_content_is_offered_once_and_each_can_be_reached(app, case_id, phantom):
    first = drawn(app, case_id, phantom, "PTV_7000", "SpinalCord")
    second = drawn(app, case_id, phantom, "SpinalCord")
    third = drawn(app, case_id, phantom, "SpinalCord", "Larynx")
    offered = [(e.result.id, e.dropped) for e in earlier.earlier(app, case_id, "structures")]
    assert offered == [(second.id, ()), (first.id, ("PTV_7000",))]
    earlier.go_back(app, first.id, based_on=third.id)
    offered = [(e.result.id, e.dropped) for e in earlier.earlier(app, case_id, "structures")]
    assert offered == [(third.id, ("Larynx",)), (second.id, ())]


def test_an_earlier_dose_comes_back_with_what_was_said_of_it(app, case_id, phantom):
    first = dose_of(app, case_id, phantom, 66.0, covered=True)
    dose_told.tell(app, first.id, prescription_gy=66.0, who="Dr A")
    second = dose_of(app, case_id, phantom, 30.0)
    (found,) = earlier.earlier(app, case_id, "dose")
    assert found.result.id == first.id and found.dropped == ()
    third = earlier.go_back(app, first.id, based_on=second.id, who="Dr B")
    shown = dose.doses(app, case_id)
    assert [r.id for r in shown] == [third.id] and third.arrays == first.arrays
    assert np.isnan(dose.load(app, third, beyond=np.nan).array).sum() == (~box(phantom, 5)).sum()
    assert dose_told.told(app, third)["prescription_gy"] == 66.0
    assert app.store.latest_result(case_id, dose_told.KIND, str(third.id)).who == "Dr B"


def test_a_plan_says_on_which_dose_it_was_made_after_going_back_to_another(app, case_id, phantom):
    drawn(app, case_id, phantom, "PTV_7000", "SpinalCord")
    first = dose_of(app, case_id, phantom, 66.0)
    dose_told.tell(app, first.id, fractions=33, who="Dr A")
    on_first = planning.draft_case_plan(app, case_id)
    second = dose_of(app, case_id, phantom, 71.5)
    on_second = planning.draft_case_plan(app, case_id)
    assert planning.outdated(app, on_second) == []
    third = earlier.go_back(app, first.id, based_on=second.id, who="Dr B")
    came = [item.created[:16].replace("T", " ") for item in (second, first)]
    said = (f"the dose (judged on: Uploaded dose of {came[0]} UTC with a maximum of 71.5 Gy; "
            f"now again: Uploaded dose of {came[1]} UTC with a maximum of 66.0 Gy)")  # fmt: skip
    assert planning.outdated(app, on_second) == [said, "what was stated of the dose"]
    assert said in planning.notes(app, on_second)[0]
    # The same dose under another id is no other one, and what was stated of it came along.
    assert third.id != first.id and planning.outdated(app, on_first) == []
    assert planning.notes(app, on_first, third) == [] != planning.notes(app, on_first, second)


def test_predictions_are_nothing_to_go_back_to_and_a_newer_upload_is_not_hidden(app, case_id, phantom):
    first = drawn(app, case_id, phantom, "PTV_7000")
    predicted = dose.predict(app, case_id)
    with pytest.raises(UsageError, match="uploaded can be taken again"):
        earlier.go_back(app, predicted.id, based_on=predicted.id)
    with pytest.raises(UsageError, match="nothing that is uploaded"):
        earlier.earlier(app, case_id, "report")
    second = drawn(app, case_id, phantom, "SpinalCord")
    third = drawn(app, case_id, phantom, "Larynx", who="Dr B")
    with pytest.raises(HnvlmError, match="Dr B saved another version") as refused:
        earlier.go_back(app, first.id, based_on=second.id)
    assert refused.value.code == "conflict" and app.store.latest_result(case_id, "structures").id == third.id
