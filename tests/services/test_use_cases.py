"""Use cases on a stored case with fake models: analyse, report, plan, counterfactual, zero-shot, similar."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from fakes import FINDINGS, FakeModels

from hnvlm import report as grammar
from hnvlm.config import Settings
from hnvlm.errors import CancelledError, HnvlmError, ModelPackError, ScopeError, UsageError
from hnvlm.imaging.volume import Volume
from hnvlm.services import (
    agreement,
    analysis,
    counterfactual,
    documents,
    edit_requests,
    planning,
    reporting,
    similar,
    zeroshot,
)
from hnvlm.services.context import App, ModelSlot
from hnvlm.types import Finding, Provenance

NODE = Finding("node", side="left", level="II", size_mm=22.0)


# ---- analysis --------------------------------------------------------------------------------


def test_analysis_is_stored_and_not_repeated(app, models, case_id):
    first = analysis.analyse_case(app, case_id, who="Dr A")
    second = analysis.analyse_case(app, case_id)
    assert models.calls.count("segment") == 1
    assert models.calls.count("findings") == 1
    assert second.findings == first.findings == FINDINGS
    assert second.scope == first.scope
    assert second.segmentation.provenance == first.segmentation.provenance
    for name, mask in first.segmentation.masks.items():
        np.testing.assert_array_equal(second.segmentation.masks[name], mask)
    assert app.store.get_case(case_id).in_scope is True
    analysis.analyse_case(app, case_id, again=True)
    assert models.calls.count("segment") == 2
    assert [r.version for r in app.store.history(case_id, "segmentation")] == [1, 2]


def test_a_case_of_earlier_models_is_known_by_their_weights(app, models, case_id, monkeypatch):
    """An upgrade left every stored case with the contours of the models before, and said nothing."""
    weights = dict.fromkeys(("segmenter", "clip", "tumour"), "a" * 64)
    monkeypatch.setattr(app, "provenance", lambda name: Provenance(name, "1", weights[name], 0))
    assert not analysis.of_earlier_models(app, case_id), "nobody contoured it yet"
    app.uses_pack = True
    weights["segmenter"] = models.segment(app.store.load_volume(case_id)).provenance.weights_sha256
    analysis.analyse_case(app, case_id)
    assert not analysis.of_earlier_models(app, case_id)
    for name in weights:
        before, weights[name] = weights[name], "b" * 64
        assert analysis.of_earlier_models(app, case_id), name
        weights[name] = ""
        assert not analysis.of_earlier_models(app, case_id), "not installed: nothing could make it anew"
        weights[name] = before
    app.uses_pack = False
    assert not analysis.of_earlier_models(app, case_id)


def test_volumes_of_structures_by_hand(app, case_id):
    analysis.analyse_case(app, case_id)
    rows = app.store.latest_result(case_id, "segmentation").payload["structures"]
    # cord: 8 x 2 x 1 voxels, parotid: 4 x 2 x 3, each voxel 3 x 1.25 x 1.5 mm = 5.625 mm3
    assert {r["name"]: r["volume_ml"] for r in rows} == {"SpinalCord": 0.09, "Parotid_L": 0.135}


def test_structures_to_draw_come_from_models_and_upload(app, case_id, phantom):
    analysis.analyse_case(app, case_id)
    own = np.zeros(phantom.shape, bool)
    own[3, 4, 5] = True
    app.store.save_result(case_id, "structures", {"structures": []}, arrays={"masks": {"Larynx": own}})
    masks = analysis.load_masks(app, case_id)
    assert sorted(masks) == ["Parotid_L", "SpinalCord", "uploaded: Larynx"]
    only = analysis.load_masks(app, case_id, only=["uploaded: Larynx"])
    assert list(only) == ["uploaded: Larynx"]
    np.testing.assert_array_equal(only["uploaded: Larynx"], own)


def test_out_of_scope_is_remembered_and_nothing_is_drafted(app, models, case_id):
    models.in_scope = False
    found = analysis.analyse_case(app, case_id)
    assert found.findings == []
    case = app.store.get_case(case_id)
    assert case.in_scope is False
    assert "lungs" in case.scope_reason
    for draft in (
        lambda: reporting.draft_report(app, case_id),
        lambda: planning.draft_case_plan(app, case_id),
        lambda: counterfactual.run_for_case(app, case_id, "node"),
        lambda: zeroshot.score_case(app, case_id, ["a"]),
        lambda: similar.index_case(app, case_id),
    ):
        with pytest.raises(ScopeError, match="lungs fill half of the field of view") as refused:
            draft()
        assert [str(refused.value).count(words) for words in ("will not draft", "head-and-neck CT only")] == [1, 1]
    assert {r.kind for r in app.store.history(case_id)} == {"segmentation", "scope"}
    assert app.store.load_volume(case_id).shape == (8, 20, 24)  # the viewer works


def test_a_stopped_analysis_keeps_the_finished_step(tmp_path, phantom):
    stop = threading.Event()

    def on_step(name):
        if name == "findings":
            stop.set()
            raise CancelledError("Stopped.")

    models = FakeModels(on_step=on_step)
    app = App(Settings(tmp_path / "d", tmp_path, 1), models=models)
    case_id = app.store.add_case(phantom).id
    job = app.jobs.wait(analysis.start_analysis(app, case_id), 30)
    assert job.state == "cancelled"
    assert stop.is_set()
    assert app.store.latest_result(case_id, "segmentation") is not None
    assert app.store.latest_result(case_id, "findings") is None
    models.on_step = lambda name: None
    job = app.jobs.wait(analysis.start_analysis(app, case_id), 30)
    assert job.result["in_scope"] is True
    assert models.calls.count("segment") == 1
    app.close()


# ---- reports ---------------------------------------------------------------------------------


def test_a_draft_streams_and_is_stored(app, case_id):
    pieces = []
    result = reporting.draft_report(app, case_id, seed=4, on_text=pieces.append)
    assert "".join(pieces) == result.payload["text"]
    assert result.payload["author"] == "model"
    assert result.provenance["seed"] == 4
    assert [c["status"] for c in result.payload["checks"]] == ["pass"]
    assert result.payload["notice"] == "AI draft, research use only"
    assert not result.signed


def test_draft_job_shows_the_text(app, case_id):
    job = app.jobs.wait(reporting.start_draft(app, case_id, language="pl", who="Dr A"), 30)
    assert job.state == "done"
    result = app.store.get_result(job.result["result_id"])
    assert job.text == result.payload["text"]
    assert result.who == "Dr A"
    assert reporting.latest(app, case_id, "pl") == result
    assert reporting.latest(app, case_id, "en") is None


def test_edit_is_checked_versioned_and_signed(app, case_id):
    drafted = reporting.draft_report(app, case_id)
    wrong = drafted.payload["text"].replace("left", "right")
    edited = reporting.save_edit(app, case_id, wrong, who="Dr A", based_on=drafted.id)
    assert edited.version == 2
    assert edited.payload["author"] == "clinician"
    assert edited.provenance == {}
    assert any(c["status"] == "fail" for c in edited.payload["checks"])
    signed = documents.sign(app, edited.id, "Dr Anna Nowak")
    assert signed.signoffs[0].clinician == "Dr Anna Nowak"
    assert [v.signed for v in reporting.versions(app, case_id)] == [False, True]
    with pytest.raises(HnvlmError) as error:
        reporting.save_edit(app, case_id, "x", who="Dr B", based_on=drafted.id)
    assert error.value.code == "conflict"
    with pytest.raises(UsageError, match="empty"):
        reporting.save_edit(app, case_id, "  \n", who="Dr B")
    with pytest.raises(UsageError, match="en or pl"):
        reporting.draft_report(app, case_id, language="de")


def test_word_diff_gives_both_texts_back():
    old, new = "A 22 mm node in the left neck.", "A 18 mm necrotic node in the left neck."
    parts = documents.word_diff(old, new)
    assert "".join(words for op, words in parts if op != "insert") == old
    assert "".join(words for op, words in parts if op != "delete") == new
    assert [op for op, _ in documents.word_diff(old, old)] == ["equal"]


# ---- agreement of text and measurement -------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([NODE], [("report.agreement", "pass")]),
        ([replace(NODE, size_mm=25.0)], [("report.agreement", "pass")]),  # 3 mm: as two readers differ
        ([replace(NODE, size_mm=28.0)], [("report.size", "warn")]),
        ([replace(NODE, side="right")], [("report.side", "fail")]),
        ([replace(NODE, level="III")], [("report.level", "warn")]),
        ([replace(NODE, side="bilateral")], [("report.unsupported", "warn")]),
        ([Finding("node", "absent")], [("report.presence", "fail")]),
        ([Finding("node", "absent", side="left")], [("report.presence", "fail")]),
        ([Finding("node", "absent", side="right")], [("report.omission", "warn")]),
        ([], [("report.omission", "warn")]),
        ([NODE, Finding("mass", site="oral tongue", side="left")], [("report.unsupported", "warn")]),
        ([NODE, replace(NODE, side="right")], [("report.unsupported", "warn")]),
    ],
)
def test_agreement(said, expected):
    found = agreement.check_agreement(said, [NODE])
    assert [(c.id, c.status) for c in found] == expected
    assert all(c.message for c in found)


def test_agreement_without_measurements_and_without_lesions():
    assert agreement.check_agreement([NODE], [])[0].status == "not_evaluated"
    nothing = [Finding("mass", "absent")]
    assert [(c.id, c.status) for c in agreement.check_agreement([], nothing)] == [("report.clear", "warn")]
    assert agreement.check_agreement([NODE], nothing)[0].id == "report.unsupported"


def test_the_right_claim_goes_to_the_right_lesion():
    other = Finding("node", side="right", level="II", size_mm=15.0)
    found = agreement.check_agreement([other, NODE], [NODE, other])
    assert [c.status for c in found] == ["pass"]


def test_a_sentence_nobody_understands_is_named():
    checked = reporting.check(grammar.render([NODE]) + "\nQuux frobnicates.", "en", [NODE])
    assert any(c.id == "report.unread" and "frobnicates" in c.message for c in checked.checks)


# ---- plan ------------------------------------------------------------------------------------


def test_plan_from_findings_and_form(app, case_id):
    result = planning.draft_case_plan(app, case_id, form={"ecog": "1", "p16": "unknown"}, who="Dr A")
    assert planning.load_form(app, case_id) == {"ecog": 1}
    assert result.payload["text"]
    assert result.payload["made_from"]["form"] == {"ecog": 1}
    assert result.payload["made_from"]["structures"] == ["Parotid_L", "SpinalCord"]
    assert planning.save_form(app, case_id, {"ecog": 1}, who="Dr A") is None
    with pytest.raises(UsageError, match="ecog"):
        planning.save_form(app, case_id, {"ecog": 9}, who="Dr A")
    assert len(app.store.history(case_id, "form")) == 1


def test_none_is_an_answer(app, case_id):
    """It outlives the next answer and reaches the plan."""
    planning.save_form(app, case_id, {"site": "nasopharynx", "invaded": ["none"]}, who="Dr A")
    planning.save_form(app, case_id, planning.load_form(app, case_id) | {"ecog": 1}, who="Dr A")
    assert planning.load_form(app, case_id)["invaded"] == ["none"]
    plan = planning.draft_case_plan(app, case_id)
    assert plan.payload["staging"]["t"] == "T1"
    assert not any(need["id"] == "invaded" for need in plan.payload["needs"])


def test_plan_edit_is_checked_against_the_draft(app, case_id):
    result = planning.draft_case_plan(app, case_id)
    text = result.payload["text"] + "\nPrescription changed to 99 Gy in 7 fractions.\n"
    edited = planning.save_edit(app, case_id, text, who="Dr A", based_on=result.id)
    assert any(c["status"] == "fail" and "99" in c["message"] for c in edited.payload["text_checks"])
    assert edited.payload["staging"] == result.payload["staging"]
    assert documents.sign(app, edited.id, "Dr A").signed
    assert planning.latest(app, case_id).id == edited.id
    with pytest.raises(UsageError, match="empty"):
        planning.save_edit(app, case_id, " ", who="Dr A", based_on=edited.id)


def test_plan_job(app, case_id):
    job = app.jobs.wait(planning.start_draft(app, case_id, form={}), 30)
    assert job.state == "done"
    assert planning.latest(app, case_id).id == job.result["result_id"]


# ---- counterfactual --------------------------------------------------------------------------


def test_counterfactual_is_kept_as_a_difference(app, case_id, phantom):
    result = counterfactual.run_for_case(app, case_id, " node left II ", seed=3)
    assert result.payload["text"] == "node left II"
    assert result.payload["box"] == [1, 2, 3, 3, 5, 7]
    assert result.payload["seed"] == 3
    assert app.store.load_array(result, "difference").shape == (2, 3, 4)
    expected = phantom.array.copy()
    expected[1:3, 2:5, 3:7] += 63
    edited = counterfactual.load_volume(app, result.id)
    np.testing.assert_array_equal(edited.array, expected)
    assert edited.same_grid(phantom)
    assert counterfactual.load_edit_mask(app, result.id).sum() == 24
    second = counterfactual.run_for_case(app, case_id, "no mass")
    assert [r.id for r in counterfactual.list_for_case(app, case_id)] == [second.id, result.id]
    assert second.supersedes is None


def test_an_edit_that_changes_nothing(app, models, case_id, phantom, monkeypatch):
    made = models.counterfactual(phantom, "x", segmentation=None)
    same = replace(made, volume=phantom, edit_mask=np.zeros(phantom.shape, bool), edit_box_mm=None)
    monkeypatch.setattr(models, "counterfactual", lambda *a, **k: same)
    result = counterfactual.run_for_case(app, case_id, "no mass")
    assert result.payload["box"] is None
    np.testing.assert_array_equal(counterfactual.load_volume(app, result.id).array, phantom.array)


def test_extreme_differences_survive_int16(app, models, case_id, monkeypatch):
    low = Volume(np.full((2, 3, 4), -30000, np.int16), (1, 2, 3))
    other = app.store.add_case(low).id
    made = models.counterfactual(Volume(np.zeros((4, 6, 8), np.int16), (1, 2, 3)), "x", segmentation=None)
    high = np.full((2, 3, 4), 30000.0, np.float32)
    edit = replace(made, volume=low.with_array(high), edit_mask=np.ones((2, 3, 4), bool))
    monkeypatch.setattr(models, "counterfactual", lambda *a, **k: edit)
    result = counterfactual.run_for_case(app, other, "node in level II")
    assert (counterfactual.load_volume(app, result.id).array == 30000).all()


def test_counterfactual_job_and_empty_text(app, case_id):
    job = app.jobs.wait(counterfactual.start(app, case_id, "node in level II"), 30)
    assert app.store.get_result(job.result["result_id"]).kind == "counterfactual"
    with pytest.raises(UsageError):
        counterfactual.start(app, case_id, "   ")
    with pytest.raises(UsageError, match="characters"):
        counterfactual.start(app, case_id, "x" * (edit_requests.MAX_TEXT + 1))


# ---- zero-shot, similar, models --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spacing", "said"),
    [
        ("Solid mass in the left tonsil, 12 mm", (3.0, 4.0, 4.1), "12 mm is 2.9 voxels of this CT (up to 4.1 mm wide)"),
        ("Solid mass in the left tonsil, 12 mm", (5.0, 1.0, 1.0), "12 mm is 2.4 voxels of this CT (up to 5.0 mm wide)"),
        ("Solid mass in the left tonsil, 12 mm", (3.0, 1.0, 1.0), ""),
        ("Solid mass in the left tonsil", (3.0, 4.0, 4.1), ""),
        ("Remove the 8 mm node in left level II", (3.0, 4.0, 4.1), ""),
        ("No mass.", (3.0, 4.0, 4.1), ""),
        ("", (3.0, 4.0, 4.1), ""),
    ],
)
def test_a_lesion_of_few_voxels_is_warned_of(text, spacing, said):
    told = edit_requests.too_small_to_show(text, spacing)
    assert told.startswith(said) if said else told == ""


def test_labels():
    assert zeroshot.parse_labels(" a ;b;; a") == ["a", "b"]
    with pytest.raises(UsageError, match="at least one"):
        zeroshot.parse_labels(" ; ")
    with pytest.raises(UsageError, match="too many"):
        zeroshot.parse_labels(";".join(map(str, range(65))))


def test_zeroshot_scores_are_kept(app, case_id):
    result = zeroshot.score_case(app, case_id, ["a", "b"])
    assert list(result.payload["scores"]) == ["a", "b"]


def test_similar_cases_with_their_impression(app, case_id, phantom):
    twin = app.store.add_case(phantom).id
    far = phantom.array.copy()
    far[:, :, :12] = -1000
    other = app.store.add_case(phantom.with_array(far)).id
    reporting.draft_report(app, twin)
    assert similar.index_all(app) == []
    found = similar.stored(app, case_id)
    assert [c.id for c in found] == [twin, other]
    assert found[0].score == pytest.approx(1.0, abs=1e-4)
    assert "node" in found[0].impression
    assert found[1].impression == ""
    assert [c.id for c in similar.stored(app, case_id, k=1)] == [twin]
    app.store.delete_case(twin)
    assert [c.id for c in similar.stored(app, case_id)] == [other]


def test_models_load_once_for_all_threads_and_again_after_a_failure():
    calls = []

    def load():
        calls.append(1)
        if len(calls) == 1:
            raise ModelPackError("missing")
        return FakeModels()

    slot = ModelSlot(load)
    with pytest.raises(ModelPackError):
        slot.get()
    assert not slot.loaded
    got = []
    threads = [threading.Thread(target=lambda: got.append(slot.get())) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 2
    assert len({id(m) for m in got}) == 1
