"""A hospital's own reports: what is read out of them, what the report model is taught, what drafts are held against."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from imaging.neck_phantom import phantom
from train.cases import bank_patient, write_case

from hnvlm.errors import InputRefusedError, UsageError
from hnvlm.evaluate import cases, segmentation
from hnvlm.evaluate import report as measured
from hnvlm.evaluate.own_reports import OwnReport, own_report, own_reports, understood
from hnvlm.imaging.lesions import Lesion, LesionSpec
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.write import AI_DRAFT, write_nifti
from hnvlm.models.neck import build_neck
from hnvlm.train import report, segmenter
from hnvlm.train.data import BIT, CHANNELS, load_cached
from hnvlm.train.pool import Encoded
from hnvlm.types import Finding, Provenance, Segmentation

ENGLISH = """CT of the neck with contrast. Mr Kowalski, born 1950.
Findings: 32 mm mass in the left palatine tonsil. Necrotic lymph node in left level II, 24 mm.
Impression: Left tonsillar mass with nodal metastasis."""
POLISH = """TK szyi z kontrastem.
Opis: Guz migdałka podniebiennego lewego 32 mm. Powiększony węzeł chłonny w grupie II po lewej 24 mm, martwiczy.
Wnioski: Rak migdałka lewego z przerzutem do węzła."""
# How the app's text file begins (hnvlm.services.documents.as_text).
HEADING = "AI DRAFT - RESEARCH USE ONLY - NOT A MEDICAL DEVICE\nCase HN-0001, report version 2, 2026-01-01 10:00 UTC\n"
NODE = Finding("node", side="left", level="II", size_mm=24.0, source="clinician", attributes={"texture": "necrotic"})
MASS = Finding("mass", site="palatine tonsil", side="left", size_mm=32.0, source="clinician")


# ---- reading --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("text", [ENGLISH, POLISH], ids=["en", "pl"])
def test_a_report_of_either_language_gives_its_lesions(text):
    read = understood(text)
    assert set(map(repr, read.lesions)) == {repr(MASS), repr(NODE)} and not read.unclear


def test_a_report_that_a_clinician_signed_in_the_app_is_the_clinics():
    read = understood(f"{HEADING}Signed by Dr A on 2026-01-01; AI-assisted draft\n\n{ENGLISH}")
    assert set(map(repr, read.lesions)) == {repr(MASS), repr(NODE)} and not read.unclear


def test_a_follow_up_gives_what_is_there_now():
    read = understood("Compared with 2019 the left level III node has decreased from 18 mm to 9 mm. No mass.")
    assert [(f.side, f.level, f.size_mm) for f in read.lesions] == [("left", "III", 9.0)]


@pytest.mark.parametrize("text", ["No mass. No lymphadenopathy.", "Brak guza. Węzły chłonne niepowiększone."])
def test_a_report_that_denies_disease_is_one_without_lesions(text):
    assert understood(text) == OwnReport()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "says nothing of masses or nodes"),
        ("Status post left neck dissection.", "says nothing of masses or nodes"),
        ("Narrowing of the larynx.", "says nothing of masses or nodes"),
        ("Widespread lymphadenopathy.", "a node without its side"),
        (f"{ENGLISH}\n\n(AI draft, research use only)\n", "an AI draft of this program"),
        (f"{HEADING}AI draft, not signed\n\n{ENGLISH}", "an AI draft of this program"),
        (f"{HEADING}AI draft, edited, not signed\n\n{ENGLISH}", "an AI draft of this program"),
        ("No mass. A 30 mm mass in the left oral tongue.", "contradicts itself"),
    ],
)
def test_a_report_that_leaves_it_open_counts_neither_as_disease_nor_as_health(text, why):
    read = understood(text)
    assert why in read.unclear and read.lesions == ()


def test_both_sides_are_two_nodes_and_an_unknown_site_is_none():
    """ "No node in the right neck" stood in the report of a patient with nodes on both sides."""
    read = understood("Bilateral level II nodes, 12 mm. 30 mm mass of the nasopharynx in the midline.")
    assert [(f.kind, f.side, f.level, f.site) for f in read.lesions] == [
        ("node", "right", "II", None), ("node", "left", "II", None), ("mass", "midline", None, None),
    ]  # fmt: skip


def test_reports_are_paired_by_folder_and_the_log_says_which_are_not_taken(tmp_path, capsys):
    texts = {"a": ENGLISH, "b": "", "c": None}
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        if text is not None:
            (tmp_path / name / "report.txt").write_text(text, encoding="utf-8-sig")
    found = own_reports([tmp_path / name for name in texts])
    assert list(found) == ["a", "b"] and len(found["a"].lesions) == 2
    said = capsys.readouterr().err
    assert "2 of 3 patients have a report.txt; 1 are taken, 1 of them name a lesion" in said
    assert "own report not taken, b: says nothing" in said and "Kowalski" not in said
    assert own_reports([tmp_path / "c"]) == {} and capsys.readouterr().err == ""


def test_a_report_of_an_old_code_page_is_refused_by_name(tmp_path):
    (tmp_path / "report.txt").write_bytes(POLISH.encode("cp1250"))
    with pytest.raises(InputRefusedError, match=r"report\.txt is no UTF-8 text. Convert it \(iconv"):
        own_report(tmp_path)


# ---- teaching -------------------------------------------------------------------------------------------------------
INSERTED = Finding("node", side="right", level="IV", size_mm=15.0)


def encoded(patient: int, *, flipped: bool = False, findings: tuple[Finding, ...] = ()) -> Encoded:
    return Encoded(torch.zeros(512, 4).half(), patient, flipped, list(findings))


def banks_named(*names: str) -> list:
    return [SimpleNamespace(patient=SimpleNamespace(patient_id=name)) for name in names]


def test_what_the_report_names_stands_beside_what_was_inserted_and_is_mirrored_with_the_ct():
    pool = [
        encoded(0, findings=(INSERTED,)), encoded(0, flipped=True, findings=(INSERTED,)), encoded(1), encoded(2),
    ]  # fmt: skip
    reports = {"a": OwnReport((NODE,)), "b": OwnReport(unclear="says nothing")}
    told = report.with_own_reports(pool, banks_named("a", "b", "c"), reports)
    assert [(e.patient, [f.side for f in e.findings]) for e in told] == [
        (0, ["left", "right"]), (0, ["right", "right"]), (2, []),
    ]  # fmt: skip
    assert [len(e.findings) for e in pool] == [1, 1, 0, 0], "the pool on disk is that of every model"


def test_without_any_clear_report_there_is_nothing_to_learn():
    with pytest.raises(InputRefusedError, match=r"report\.txt"):
        report.with_own_reports([encoded(0)], banks_named("a"), {"a": OwnReport(unclear="says nothing")})


def test_the_trainer_teaches_what_the_clinic_reported(tmp_path, monkeypatch):
    """report.txt was asked for and read by nobody: "No mass identified." was taught of a reported tumour."""
    data = tmp_path / "own"
    write_case(data / "phantom")
    (data / "phantom" / "report.txt").write_text(POLISH, encoding="utf-8")
    network = SimpleNamespace(encoder=SimpleNamespace(token_width=4, to=lambda where: None))
    taught: list[str] = []
    original = report.target_of

    def target_of(tokenizer, text, end):
        taught.append(text)
        return original(tokenizer, text, end)

    monkeypatch.setattr(report, "load_weights", lambda folder, net: network)
    monkeypatch.setattr(report, "ClipNetwork", lambda *args: None)
    monkeypatch.setattr(report, "load_bank", lambda *args, **options: [bank_patient()])
    monkeypatch.setattr(report, "pool_folder", lambda *args: tmp_path)
    monkeypatch.setattr(report, "build_pool", lambda *args, **options: [encoded(0), encoded(0, flipped=True)])
    monkeypatch.setattr(report, "target_of", target_of)
    monkeypatch.setattr(report, "report_loss", lambda *args: (torch.zeros(()), torch.zeros(())))

    def train_loop(model, loss_of_step, *args, **options):
        for step in range(4):
            loss_of_step(step)
        return model

    monkeypatch.setattr(report, "train_loop", train_loop)
    made = report.train(data, tmp_path / "pack" / "report", tmp_path / "runs", steps=1, threads=1, device="cpu")
    english = [t for t in taught if t.startswith("EXAMINATION")]
    for side, other in (("left", "right"), ("right", "left")):
        own = [t for t in english if f"{side} palatine tonsil" in t]
        assert own and all(f"24 mm necrotic node in {side} level II" in t for t in own)
        assert not any(f"{other} palatine tonsil" in t for t in own)
    assert not any("No mass" in t or "Kowalski" in t for t in english)
    assert len(taught) == 64 > len(english) and made["metrics"]["own_reports"] == 1


# ---- measuring ------------------------------------------------------------------------------------------------------
def case_of(own: OwnReport | None, lesions: list[Lesion] | None = None) -> cases.Case:
    ct, masks = phantom()
    found = Segmentation(masks, {}, Provenance("phantom", "1", "", 0), 0.0)
    return cases.Case("phantom", ct, found, lesions or [], dict(masks), own)


def test_drafts_are_held_against_the_clinics_reports_by_hand():
    """Reported left II and a tonsil; drafted left II and right III: 1 hit, 1 made up, 1 missed. One well patient."""
    ill = measured.against_own_report(
        case_of(OwnReport((NODE, MASS))), [NODE, Finding("node", side="right", level="III")]
    )
    well = measured.against_own_report(case_of(OwnReport()), [])
    nobody = measured.against_own_report(case_of(None), [NODE])
    unclear = measured.against_own_report(case_of(OwnReport(unclear="open")), [NODE])
    assert nobody == unclear == [] and measured.own_report_metrics([]) == {}
    told = measured.own_report_metrics(ill + well)
    assert told["own_report_finding_f1"]["value"] == 0.5
    assert told["own_report_lesion_named_where_it_names_one"]["value"] == 1.0
    assert told["own_report_none_named_where_it_names_none"]["n"] == 1


@pytest.mark.parametrize(
    ("own", "counts"),
    [(None, True), (OwnReport(), True), (OwnReport((MASS,)), False), (OwnReport(unclear="open"), False)],
)
def test_a_reported_tumour_is_no_ct_without_a_lesion(own, counts):
    """Drafts that named a hospital's real tumours were counted as false alarms."""
    neck = build_neck(*phantom())
    presence = measured.Presence()
    denials = [("Primary site:", 0.1), ("Nodes right:", 0.9), ("Nodes left:", 0.9)]
    presence.add(case_of(own), denials, np.zeros((3, 64, 64, 64), np.float32), neck)
    nothing = np.zeros((1, 1, 1), np.float32)
    lesion = Lesion(LesionSpec("node", "II", "left", 20.0), (0, 0, 0), nothing, nothing, (0.0, 0.0, 0.0))
    presence.add(case_of(own, [lesion]), denials, np.zeros((3, 64, 64, 64), np.float32), neck)
    assert presence.truth == ([False, True] if counts else [True])
    assert measured.without_lesion(case_of(own)) is counts


def test_an_unknown_word_of_the_grammar_is_a_reason_and_no_fault(monkeypatch):
    from hnvlm.evaluate import own_reports as module

    def cannot(findings, *, language):
        raise UsageError("The report grammar (pl) has no word for 'x'.")

    monkeypatch.setattr(module, "render", cannot)
    assert "no word" in understood(ENGLISH).unclear


# ---- contours that a model drew -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("drawn", "known"),
    [
        ((), {"Brainstem", "SpinalCord", "PTV_7000", "PTV_6300", "PTV_5600"}),
        (("Brainstem",), {"SpinalCord", "PTV_7000", "PTV_6300", "PTV_5600"}),
        (("Brainstem", "PTV_7000"), {"SpinalCord"}),
    ],
)
def test_the_segmenter_learns_from_no_contour_of_its_own(tmp_path, drawn, known):
    """Contours of `hnvlm segment` put beside a CT, to learn reports with, were the segmenter's truth as well."""
    ct = Volume(np.full((9, 11, 13), 40, np.int16), (3.0, 2.5, 2.0), (5.0, 6.0, 7.0))
    write_nifti(ct, tmp_path / "p" / "ct.nii.gz")
    for at, name in enumerate(("Brainstem", "SpinalCord", "PTV_7000")):
        mask = np.zeros(ct.shape, np.uint8)
        mask[2:7, 2 + 2 * at : 6 + 2 * at, 3:9] = 1
        write_nifti(ct.with_array(mask), tmp_path / "p" / f"{name}.nii.gz", AI_DRAFT if name in drawn else "")
    made = segmenter.by_the_clinic(tmp_path / "p", tmp_path / "cache")
    assert {name for name, there in zip(CHANNELS, made.known, strict=True) if there} == known
    seen = {name for name in CHANNELS if ((made.labels >> BIT[name]) & 1).any()}
    assert seen == known - {"PTV_6300", "PTV_5600"}
    whole = load_cached(tmp_path / "p", tmp_path / "cache")
    assert whole.known[BIT["Brainstem"]] and ((whole.labels >> BIT["PTV_7000"]) & 1).any(), "others may use them"


def test_a_segmenter_is_not_held_against_its_own_contours(tmp_path):
    ct = Volume(np.full((9, 11, 13), 40, np.int16), (3.0, 2.5, 2.0))
    mask = np.zeros(ct.shape, np.uint8)
    mask[2:7, 3:8, 4:9] = 1
    write_nifti(ct, tmp_path / "p" / "ct.nii.gz")
    write_nifti(ct.with_array(mask), tmp_path / "p" / "Brainstem.nii.gz", AI_DRAFT)
    found = Segmentation({"Brainstem": mask > 0}, {}, Provenance("x", "1", "", 0), 0.1)
    pack = SimpleNamespace(segment=lambda volume: found)
    with pytest.raises(InputRefusedError, match="a clinic's contour"):
        segmentation.run(pack, tmp_path)
    write_nifti(ct.with_array(mask), tmp_path / "p" / "Bone_Mandible.nii.gz")
    metrics = segmentation.run(pack, tmp_path)["metrics"]
    assert "dice_Brainstem" not in metrics and metrics["dice_Bone_Mandible"]["mean"] == 0.0
