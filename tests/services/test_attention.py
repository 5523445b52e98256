"""Where to look first: told only where nothing was found, with figures of the detector's own card."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from hnvlm.services import analysis, attention
from hnvlm.types import Finding

PLACE = Finding("node", "indeterminate", side="left", level="II", slice_index=4, box=(3, 1, 2, 6, 5, 7))


class Models:
    def look_first(self, volume, segmentation):
        return PLACE


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([], True),
        ([Finding("mass", "absent"), Finding("airway"), Finding("target"), Finding("coverage")], True),
        ([Finding("mass")], False),
        ([Finding("node", "indeterminate", attributes={"suspected": True})], False),
    ],
)
def test_a_place_is_told_where_no_mass_or_node_was_found(found, told):
    assert attention.look_first(Models(), None, None, found) == (PLACE if told else None)


def card(tmp_path, metrics) -> SimpleNamespace:
    folder = tmp_path / "tumour"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "metrics.json").write_text(json.dumps({"tumour": {"metrics": metrics}}))
    return SimpleNamespace(settings=SimpleNamespace(models_dir=tmp_path))


def test_how_often_it_is_right_stands_on_the_card(tmp_path):
    metrics = {
        "look_first_in_target": {"value": 0.75, "n": 20}, "usual_place_where_nothing_was_found": {"value": 0.4, "n": 20}
    }  # fmt: skip
    text = attention.meaning(card(tmp_path, metrics))
    assert "In 15 of 20 patients" in text and "the same in everybody, did in 8." in text


@pytest.mark.parametrize("metrics", [{}, {"look_first_in_target": {"value": None, "n": 0}}])
def test_what_was_not_measured_is_said(tmp_path, metrics):
    assert attention.NOT_MEASURED in attention.meaning(card(tmp_path, metrics))


def test_it_is_stored_with_the_findings_and_old_findings_are_of_before(app, phantom, monkeypatch):
    case_id = app.store.add_case(phantom).id
    monkeypatch.setattr(analysis, "looks_for_disease", lambda app: True)
    analysis.save_findings(app, case_id, [Finding("target")], 0, PLACE)
    assert attention.load(app, case_id) == PLACE
    assert analysis.load_current_findings(app, case_id) is not None
    analysis.save_findings(app, case_id, [Finding("mass")])
    assert attention.load(app, case_id) is None
    monkeypatch.setattr(analysis, "looks_for_disease", lambda app: False)
    analysis.save_findings(app, case_id, [Finding("mass")])  # of a pack without a detector
    monkeypatch.setattr(analysis, "looks_for_disease", lambda app: True)
    assert analysis.load_current_findings(app, case_id) is None
