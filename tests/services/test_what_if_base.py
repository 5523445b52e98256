"""What is asked of a dose changes that dose: what was changed before stays, its prescription too. Numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from test_dose_service import SPANS, blocks, upload

from hnvlm.errors import UsageError
from hnvlm.services import dose
from hnvlm.services.dose import WhatIf

THREE = SPANS | {"PTV_6300": ((2, 5), (10, 12), (14, 17))}


@pytest.fixture
def planned(app, case_id, phantom):
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": blocks(phantom.shape, THREE)})
    return case_id


def test_a_scaled_dose_stays_scaled_when_a_side_is_spared(app, planned):
    """60 Gy in 20 fractions; "spare right" stored 70/63/56 Gy in 20 fractions, 3.5 Gy each."""
    base = dose.predict(app, planned)
    scaled = dose.scale(app, base.id, WhatIf(prescription_gy=60.0, fractions=20))
    made = dose.predict(app, planned, what_if=WhatIf(fractions=20, spare="right"), base_id=scaled.id)
    assert made.payload["prescriptions"] == {"PTV_7000": 60.0, "PTV_6300": 54.0, "PTV_5600": 48.0}
    assert (dose.fractions(app, made), dose.label(made)) == (
        20, "What-if 2: right neck spared; 60 Gy in 20 fractions, scaled",
    )  # fmt: skip
    assert dose.kept(app, made) == WhatIf(60.0, 20, (), "right")


def test_what_was_left_out_and_spared_stays_so_through_scaling(app, planned):
    spared = dose.predict(app, planned, what_if=WhatIf(spare="right"))
    scaled = dose.scale(app, spared.id, WhatIf(prescription_gy=66.0, fractions=33))
    both = dose.predict(app, planned, what_if=WhatIf(drop=("PTV_5600",)), base_id=scaled.id)
    assert dose.label(both).endswith("without PTV_5600; right neck spared; 66 Gy in 33 fractions, scaled")
    third = dose.predict(app, planned, what_if=WhatIf(64.0, 32, drop=("PTV_5600",)), base_id=both.id)
    assert dose.kept(app, third) == WhatIf(64.0, 32, ("PTV_5600",), "right"), "asked anew is asked anew"
    with pytest.raises(UsageError, match="The right neck is spared already"):
        dose.predict(app, planned, what_if=WhatIf(spare="left"), base_id=scaled.id)


def test_from_a_clinics_dose_it_is_told_that_it_is_predicted_anew(app, planned, phantom):
    item = upload(app, planned, np.full(phantom.shape, 69.0))
    made = dose.predict(app, planned, what_if=WhatIf(spare="right"), base_id=item.id)
    assert dose.label(made) == "What-if 1: predicted anew, right neck spared" and made.payload["anew"]
    assert "not made from the uploaded dose" in made.payload["notes"][0] and dose.doubts(app, made)
    assert dose.is_predicted(made) and "Predict dose" in made.payload["notes"][0]


def test_fractions_go_with_their_total_only(app, planned, phantom):
    """The clinic's 66 Gy in 33 are not what a prediction for 70 Gy is given in."""
    item = upload(app, planned, np.full(phantom.shape, 66.0))
    other = app.store.save_result(
        planned, "dose", item.payload | {"fractions": 33, "prescriptions": {"PTV_7000": 66.0}},
        arrays={"dose": np.full(phantom.shape, 66, np.float32)},
    )  # fmt: skip
    made = dose.predict(app, planned, what_if=WhatIf(fractions=33, spare="right"), base_id=other.id)
    assert made.payload["prescriptions"]["PTV_7000"] == 70.0 and made.payload["fractions"] is None
    same = dose.predict(app, planned)
    asked = dose.predict(app, planned, what_if=WhatIf(fractions=33, spare="right"), base_id=same.id)
    assert asked.payload["fractions"] == 33


def test_a_prescription_too_far_away_is_refused_before_anything_is_predicted(app, models, planned):
    base = dose.predict(app, planned)
    with pytest.raises(UsageError, match="too far"):
        dose.predict(app, planned, what_if=WhatIf(40.0, spare="right"), base_id=base.id)
    assert models.calls.count("dose") == 1
