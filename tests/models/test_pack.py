"""The pack as the app uses it: with small untrained networks (mechanics), then with what is shipped (whole way)."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from imaging.neck_phantom import CENTRE_MM, at, phantom
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as token_models

from hnvlm.config import settings
from hnvlm.errors import CancelledError, ModelPackError, ScopeError, UsageError
from hnvlm.imaging.atlas import sample_neck
from hnvlm.imaging.volume import Volume
from hnvlm.models import pack as pack_module
from hnvlm.models import report_writing
from hnvlm.models.base import Models
from hnvlm.models.checkpoint import save_model
from hnvlm.models.clip import ClipNetwork
from hnvlm.models.ct_encoder import token_width
from hnvlm.models.detect import Detection
from hnvlm.models.diffusion import LesionDenoiser
from hnvlm.models.pack import DIFFUSION_STEPS, TRIES, ModelPack
from hnvlm.models.registry import missing_models
from hnvlm.models.report_model import SPECIAL, ReportModel, model_config
from hnvlm.models.text_tower import TextReader, minilm_folder
from hnvlm.report import drafting
from hnvlm.report.parse import parse_report
from hnvlm.report.render import render
from hnvlm.types import OAR_NAMES, TARGET_NAMES, Finding, Provenance, Segmentation

WIDTHS = (8, 8, 8, 8)


def small_tokenizer(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer(token_models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        ["Nodes left: No enlarged nodes.", "Węzły chłonne powiększone po stronie lewej."], trainer
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


@pytest.fixture(scope="module")
def untrained_folder(tmp_path_factory) -> Path:
    """A pack of the right shape whose small networks have learned nothing."""
    try:
        minilm_folder()
    except ModelPackError as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("pack")
    names = [*OAR_NAMES, *TARGET_NAMES]
    save_model(
        folder / "clip", ClipNetwork(len(names), WIDTHS), {"version": "0", "structures": names, "widths": WIDTHS}
    )
    save_model(folder / "text", TextReader(), {"version": "0"})
    save_model(folder / "diffusion", LesionDenoiser(widths=(8, 8, 8)), {"version": "0", "widths": (8, 8, 8)})
    vocabulary = small_tokenizer(folder / "report").get_vocab_size()
    width = token_width(WIDTHS)
    save_model(
        folder / "report",
        ReportModel(vocabulary, width, 32, 2),
        {"version": "0"} | model_config(vocabulary, 32, 2, width),
    )
    return folder


@pytest.fixture(scope="module")
def patient() -> tuple[Volume, Segmentation]:
    ct, masks = phantom((3.0, 1.8, 1.5), noise_hu=6.0)
    return ct, Segmentation(masks, {}, Provenance("phantom", "1", "", 0), 0.0)


READINGS = {
    "node": {"op": "add", "kind": "node", "place": "II", "side": "left", "size_mm": 20.0},
    "unclear": {"op": "add", "kind": None, "place": None, "side": None},
    "remove": {"op": "remove", "kind": "node", "place": "II", "side": "left"},
}


@pytest.fixture
def untrained(untrained_folder, monkeypatch) -> ModelPack:
    """The pack, with requests read by a table: an untrained reader understands nothing."""
    blank = dict.fromkeys(("op", "kind", "place", "side", "texture", "size_mm", "narrowing_pct"))
    monkeypatch.setattr(
        pack_module, "read_facts", lambda reader, texts: [blank | {"confidence": {}} | READINGS[t] for t in texts]
    )
    monkeypatch.setattr(report_writing, "decode", partial(report_writing.decode, max_length=24))
    return ModelPack(untrained_folder, threads=1)


def test_the_pack_speaks_the_protocol():
    public = {name for name in vars(Models) if not name.startswith("_")}
    assert public <= set(dir(ModelPack))


def test_nothing_outside_the_mask_changes(untrained, patient):
    ct, segmentation = patient
    before = ct.array.copy()
    result = untrained.counterfactual(ct, "node", segmentation=segmentation, seed=3)
    np.testing.assert_array_equal(ct.array, before)
    assert result.edit_mask.any()
    assert result.volume.same_grid(ct)
    assert result.volume.array.dtype == ct.array.dtype
    np.testing.assert_array_equal(result.volume.array[~result.edit_mask], ct.array[~result.edit_mask])
    assert (result.volume.array != ct.array).sum() == result.edit_mask.sum()
    assert result.identity["max_abs_change_outside_hu"] == 0
    assert result.identity["changed_voxels"] == result.edit_mask.sum()
    (z0, y0, x0), (z1, y1, x1) = result.edit_box_mm
    assert z1 - z0 <= 96 + 3
    assert y1 - y0 <= 96 + 3
    assert x1 - x0 <= 96 + 3
    assert (x0 + x1) / 2 > CENTRE_MM[2]  # left of the patient
    assert result.asked["kind"] == "node"
    assert result.text_match["edits"] == 1
    assert 1 <= result.text_match["drawings"] <= TRIES
    drawn = result.text_match["drawings"] * DIFFUSION_STEPS["add"]
    assert result.gflops == pytest.approx(untrained.denoiser_gflops * drawn, abs=0.1)
    assert (result.provenance.model, result.provenance.seed) == ("diffusion", 3)


def test_one_seed_one_counterfactual(untrained, patient):
    ct, segmentation = patient
    a, b, c = (untrained.counterfactual(ct, "node", segmentation=segmentation, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(a.volume.array, b.volume.array)
    assert not np.array_equal(a.volume.array, c.volume.array)


def test_rules_win_where_they_are_sure(untrained):
    """The learned reader took "node" for level II left; what the rules leave open stays as it read it."""
    untrained.rules = lambda sentence: {"op": "add", "kind": None, "place": "IV", "side": None}
    (request,) = untrained.understand("node")
    assert (request["op"], request["kind"], request["place"], request["side"]) == ("add", "node", "IV", "left")
    untrained.rules = lambda sentence: None
    assert untrained.understand("node")[0]["place"] == "II"


@pytest.mark.parametrize(("place", "side"), [("IV", None), (None, "right"), (None, None)])
def test_a_removal_means_all_that_is_there_of_what_it_leaves_open(untrained, place, side):
    """ "Remove the node in level II" took the left one, where there was none, and left the right one."""
    untrained.rules = lambda sentence: {"op": "remove", "kind": None, "place": place, "side": side}
    (request,) = untrained.understand("remove")
    assert (request["op"], request["kind"], request["place"], request["side"]) == ("remove", "node", place, side)


def test_lesions_before_and_after_are_measured_alike(untrained, patient, monkeypatch):
    """Of a CT that an edit left as it was the page told 32 mm before and 30 mm after: from weaker evidence before."""
    ct, segmentation = patient
    peaks = {"threshold": 0.6, "place_threshold": 0.3}
    monkeypatch.setattr(untrained, "threshold", peaks.get)

    def detect(*_, peak):
        brief = {"kind": "mass", "size_mm": 30 if peak == 0.6 else 32}
        return [SimpleNamespace(kind="mass", side="right", place="larynx", brief=lambda: brief)]

    monkeypatch.setattr(pack_module, "detect", detect)
    match = untrained.counterfactual(ct, "remove", segmentation=segmentation).text_match
    assert match["edits"] == 0
    assert match["lesions_before"] == match["lesions_after"] == [{"kind": "mass", "size_mm": 30}]


def test_a_contoured_lesion_is_what_a_removal_means_and_weak_evidence_is_not_believed_beside_it(
    untrained, patient, monkeypatch
):
    ct, segmentation = patient
    peaks = {"threshold": 0.6, "place_threshold": 0.3}
    monkeypatch.setattr(untrained, "threshold", peaks.get)
    weak = np.zeros((64, 64, 64), bool)
    weak[10:13, 30:33, 40:43] = True

    def detect(*_, peak):
        found = Detection("node", weak, 0.4, np.zeros(3), 9.0, "II", "left", 60.0)
        return [found] if peak == 0.3 else []

    monkeypatch.setattr(pack_module, "detect", detect)
    mask = np.zeros(ct.shape, bool)
    centre = np.round(ct.mm_to_index(at(20.0, -20.0, 40.0))).astype(int)
    mask[tuple(slice(c - 3, c + 4) for c in centre)] = True
    alone = untrained.counterfactual(ct, "remove", segmentation=segmentation)
    beside = untrained.counterfactual(ct, "remove", segmentation=replace(segmentation, gross={"GTVn": mask}))
    assert alone.text_match["edits"] == beside.text_match["edits"] == 1
    assert "contoured" not in alone.text_match
    (told,) = beside.text_match["contoured"]
    assert (told["kind"], told["place"], told["side"]) == ("node", "II", "left") and "score" not in told
    assert not (alone.edit_mask & mask).any() and beside.edit_mask[mask].mean() > 0.5


def test_nothing_to_remove_changes_nothing(untrained, patient):
    ct, segmentation = patient
    result = untrained.counterfactual(ct, "remove", segmentation=segmentation)
    np.testing.assert_array_equal(result.volume.array, ct.array)
    assert result.edit_box_mm is None
    assert result.text_match["edits"] == result.text_match["drawings"] == 0


@pytest.mark.parametrize(
    ("text", "words"), [("", "Write what"), ("  \n", "Write what"), ("unclear", "does not say where")]
)
def test_requests_that_cannot_be_drawn(untrained, patient, text, words):
    ct, segmentation = patient
    with pytest.raises(UsageError, match=words):
        untrained.counterfactual(ct, text, segmentation=segmentation)


@pytest.mark.parametrize("limit", [0.0, 0.3, 0.9])
def test_stop_is_heard(untrained, patient, limit):
    ct, segmentation = patient
    told: list[float] = []

    def progress(fraction: float, message: str) -> None:
        told.append(fraction)
        if fraction > limit:
            raise CancelledError("stopped")

    with pytest.raises(CancelledError):
        untrained.counterfactual(ct, "node", segmentation=segmentation, progress=progress)
    assert told == sorted(told)
    with pytest.raises(CancelledError):
        untrained.draft_report(ct, segmentation=segmentation, progress=progress)
    with pytest.raises(CancelledError):
        untrained.findings(ct, segmentation, progress=progress)


@pytest.mark.parametrize("language", ["en", "pl"])
def test_the_pieces_of_a_report_are_its_text(untrained, patient, language):
    ct, segmentation = patient
    pieces: list[str] = []
    draft = untrained.draft_report(ct, segmentation=segmentation, language=language, seed=4, on_text=pieces.append)
    assert "".join(pieces) == draft.text
    assert draft.language == language
    assert draft.provenance.settings == {"language": language}
    assert len(draft.provenance.weights_sha256) == 64
    assert 0 <= draft.first_token_seconds <= draft.seconds
    assert untrained.draft_report(ct, segmentation=segmentation, language=language).text == draft.text


def test_a_language_that_is_not_spoken(untrained, patient):
    ct, segmentation = patient
    with pytest.raises(UsageError, match="en and pl, not in 'de'"):
        untrained.draft_report(ct, segmentation=segmentation, language="de")


def test_every_label_gets_a_probability(untrained, patient):
    ct, segmentation = patient
    labels = ["node in left level II", " mass ", ""]
    scores = untrained.zeroshot(ct, labels, segmentation=segmentation)
    assert list(scores) == ["node in left level II", "mass"]
    assert all(0 <= p <= 1 for p in scores.values())
    assert untrained.zeroshot(ct, labels, segmentation=segmentation) == scores
    with pytest.raises(UsageError, match="at least one label"):
        untrained.zeroshot(ct, ["", "  "], segmentation=segmentation)


def test_the_embedding_of_a_case_has_length_one(untrained, patient):
    ct, segmentation = patient
    assert np.linalg.norm(untrained.embed(ct, segmentation=segmentation)) == pytest.approx(1.0, abs=1e-4)


def test_facts_without_lesions(untrained, patient):
    ct, segmentation = patient
    assert [f.kind for f in untrained.findings(ct, segmentation)] == ["coverage", "artefact", "airway"]


def test_without_landmarks_nothing_is_drafted(untrained, patient):
    ct, segmentation = patient
    other = ct.with_array(np.roll(ct.array, 1, 0))
    masks = {k: m for k, m in segmentation.masks.items() if k not in ("Bone_Mandible", "Brainstem")}
    bare = Segmentation(masks, {}, segmentation.provenance, 0.0)
    with pytest.raises(ScopeError, match="landmarks of the neck"):
        untrained.findings(other, bare)
    verdict = untrained.scope(other, bare)
    assert not verdict.in_scope
    assert "landmarks" in verdict.reason
    assert untrained.scope(ct, segmentation).in_scope
    assert not untrained.scope(ct, Segmentation({}, {}, segmentation.provenance, 0.0)).in_scope


def test_a_missing_model_is_named(tmp_path, patient):
    ct, segmentation = patient
    with pytest.raises(ModelPackError, match=r"clip.*Restore the model pack"):
        ModelPack(tmp_path, 1).findings(ct, segmentation)
    with pytest.raises(ModelPackError, match="segmenter"):
        ModelPack(tmp_path, 1).segment(ct)


# ---- what is shipped ------------------------------------------------------------------------------------------------
def shipped(*names: str) -> ModelPack:
    folder = settings().models_dir
    absent = [n for n in names if n in missing_models(folder)]
    if absent:
        pytest.skip(f"the pack lacks {', '.join(absent)}: no weights in {folder}")
    pack = ModelPack(folder, threads=1)
    pack.words = drafting
    return pack


@pytest.fixture(scope="module")
def synthetic():
    return sample_neck(3, spacing_mm=(3.0, 2.4, 2.4), size=208)


@pytest.fixture(scope="module")
def contoured(synthetic):
    """Contours of the shipped segmenter on a synthetic neck."""
    told: list[float] = []
    result = shipped("segmenter").segment(synthetic.volume, progress=lambda f, m: told.append(f))
    assert told == sorted(told)
    assert told[-1] == 1.0
    return result


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * (a & b).sum() / (a.sum() + b.sum())


def test_shipped_segmenter_on_a_synthetic_neck(synthetic, contoured):
    for name, least in (("Bone_Mandible", 0.6), ("SpinalCord", 0.5), ("Parotid_L", 0.5), ("Parotid_R", 0.5)):
        assert contoured.masks[name].shape == synthetic.volume.shape
        assert dice(contoured.masks[name], synthetic.masks[name]) > least, name
    assert set(contoured.uncertainty) >= set(contoured.masks)
    assert all(0 <= v <= 1 for v in contoured.uncertainty.values())
    assert contoured.provenance.model == "segmenter"


def test_shipped_segmenter_finds_no_neck_in_air(contoured):
    pack = shipped("segmenter")
    air = Volume(np.full((20, 40, 40), -1000, np.int16), (5.0, 5.0, 5.0))
    found = pack.segment(air)
    assert found.masks == {}
    assert not pack.scope(air, found).in_scope


def test_shipped_pack_stops_while_contouring(synthetic):
    def progress(fraction: float, message: str) -> None:
        if fraction > 0:
            raise CancelledError("stopped")

    with pytest.raises(CancelledError):
        shipped("segmenter").segment(synthetic.volume, progress=progress)


def test_shipped_pack_scope_and_findings(synthetic, contoured):
    pack = shipped("segmenter", "clip")
    assert pack.scope(synthetic.volume, contoured).in_scope
    found = pack.findings(synthetic.volume, contoured)
    assert {"coverage", "artefact"} <= {f.kind for f in found}
    for f in found:
        if f.box is not None:
            assert all(0 <= a < b <= n for a, b, n in zip(f.box[:3], f.box[3:], synthetic.volume.shape, strict=True))


def test_a_report_model_that_learned_to_read_facts_is_told_what_was_measured(untrained, patient, monkeypatch):
    ct, segmentation = patient
    _, tokenizer, config = untrained.report_model
    prompts, write = [], report_writing.decode
    monkeypatch.setattr(
        report_writing, "decode", lambda m, t, prompt, **k: prompts.append(prompt) or write(m, t, prompt, **k)
    )
    untrained.draft_report(ct, segmentation=segmentation)
    monkeypatch.setitem(config, "told_facts", True)
    with pytest.raises(UsageError, match="nobody gave it the words"):
        untrained.draft_report(ct, segmentation=segmentation)
    monkeypatch.setattr(untrained, "words", drafting)
    untrained.draft_report(ct, segmentation=segmentation)
    plain, told = (prompt[0].tolist() for prompt in prompts)
    assert plain == told[:1] == [tokenizer.token_to_id("<report en>")]
    coverage = next(f for f in untrained.findings(ct, segmentation) if f.kind == "coverage")
    words = tokenizer.decode(told[1:])
    assert all(end in words for end in coverage.attributes.values()) and "node" not in words
    # Lesions that may be there are told to a model that learned to judge them, and to no other.
    may_be = Finding("node", side="left", level="II", size_mm=23.0, attributes={"texture": "necrotic"})
    monkeypatch.setattr(report_writing, "told_lesions", lambda *_, **__: [SimpleNamespace(described=lambda: may_be)])
    untrained.draft_report(ct, segmentation=segmentation)
    monkeypatch.setitem(config, "told_lesions", True)
    untrained.draft_report(ct, segmentation=segmentation)
    ends = [tokenizer.decode(prompt[0].tolist()[1:]).rpartition("\n")[2] for prompt in prompts[-2:]]
    assert "node" not in ends[0] and ends[1] == "Nodes left: 23 mm necrotic node in left level II."


def test_a_contoured_lesion_is_named_whatever_the_model_sees(untrained, patient, monkeypatch):
    ct, segmentation = patient
    _, _, config = untrained.report_model
    monkeypatch.setitem(config, "told_facts", True)
    monkeypatch.setitem(config, "told_lesions", True)
    monkeypatch.setattr(untrained, "words", drafting)
    monkeypatch.setattr(report_writing, "told_lesions", lambda *_, **__: [])
    mask = np.zeros(ct.shape, bool)
    centre = np.round(ct.mm_to_index(at(20.0, -20.0, 40.0))).astype(int)
    mask[tuple(slice(c - 3, c + 4) for c in centre)] = True
    contoured = replace(segmentation, gross={"GTVn": mask})
    (found,) = [f for f in untrained.findings(ct, contoured) if "contour" in f.attributes]
    assert (found.kind, found.level, found.side) == ("node", "II", "left")
    # An untrained decoder writes noise; begun with the heading of the line, it has to go on with the lesion.
    said = {}
    for what in (segmentation, contoured):
        given: list[dict] = []
        monkeypatch.setattr(report_writing, "decode", lambda *a, **k: given.append(k) or iter(()))  # noqa: B023
        untrained.draft_report(ct, segmentation=what)
        said[what is contoured] = given[0].get("allowed")
    _, tokenizer, _ = untrained.report_model
    assert said[False] is None and said[True] is not None
    ids = tokenizer.encode("Nodes left:").ids
    while ways := said[True](ids):
        (way,) = ways  # nothing else may be said
        ids.append(way)
        if tokenizer.decode(ids).endswith("\n"):
            break
    assert tokenizer.decode(ids) == f"Nodes left: {found.size_mm:.0f} mm node in left level II.\n"


def test_shipped_pack_writes_a_report_that_parses(synthetic, contoured):
    pack = shipped("segmenter", "clip", "report")
    draft = pack.draft_report(synthetic.volume, segmentation=contoured)
    parsed = parse_report(draft.text)
    assert "coverage" in {f.kind for f in parsed.findings}
    assert len(re.findall(r"^[A-Z ]{6,}:", draft.text, re.MULTILINE)) >= 3
    assert pack.draft_report(synthetic.volume, segmentation=contoured).text == draft.text


def test_a_suspicion_is_a_finding_and_named_unless_the_clinic_says_where_disease_is(untrained, patient, monkeypatch):
    ct, segmentation = patient
    _, tokenizer, config = untrained.report_model
    for key in ("told_facts", "told_lesions"):
        monkeypatch.setitem(config, key, True)
    monkeypatch.setattr(untrained, "words", drafting)
    neck = untrained.neck(ct, segmentation)
    mask = np.zeros((64, 64, 64), bool)
    mask[
        tuple(
            slice(int(c) - 2, int(c) + 3) for c in np.rint(neck.working.mm_to_index(at(20.0, -20.0, 40.0)) - neck.start)
        )
    ] = True
    seen = Detection("node", mask, 0.8, at(20.0, -20.0, 40.0), 15.0, "II", "left", 60.0)
    asked = []
    look = lambda neck, known: asked.append(known) or [seen]  # noqa: E731
    untrained.tumour_detector = SimpleNamespace(look=look)
    (found,) = [f for f in untrained.findings(ct, segmentation) if f.attributes.get("suspected")]
    assert (found.kind, found.presence, found.level, found.side) == ("node", "indeterminate", "II", "left")
    given: list[dict] = []
    monkeypatch.setattr(report_writing, "decode", lambda *a, **k: given.append(k) or iter(()))
    untrained.draft_report(ct, segmentation=segmentation)
    ids = tokenizer.encode("Nodes left:").ids
    while not tokenizer.decode(ids).endswith("\n"):
        (way,) = given[0]["allowed"](ids)
        ids.append(way)
    assert tokenizer.decode(ids) == "Nodes left: Indeterminate node in left level II.\n" and len(asked) == 2
    gross = np.zeros(ct.shape, bool)
    gross[tuple(slice(int(c) - 3, int(c) + 4) for c in np.rint(ct.mm_to_index(at(-15.0, -20.0, -33.0))))] = True
    contoured = untrained.findings(ct, replace(segmentation, gross={"GTVn": gross}))
    synthetic = untrained.findings(ct, replace(segmentation, of_patient=False))
    assert len(asked) == 2 and not [f for f in (*contoured, *synthetic) if f.attributes.get("suspected")]


@pytest.mark.parametrize("language", ["en", "pl"])
def test_shipped_pack_reports_a_contour_unlike_all_it_learned(synthetic, contoured, language):
    """Told of 118 mm it wrote a report of two languages that denied the mass."""
    pack = shipped("segmenter", "clip", "report")
    pack.words = drafting
    start = np.argwhere(synthetic.masks["Bone_Mandible"]).min(0)
    mask = np.zeros(synthetic.volume.shape, bool)
    reach = np.round(95.0 / np.array(synthetic.volume.spacing_mm) / np.sqrt(3)).astype(int)
    mask[tuple(slice(a, a + n) for a, n in zip(start, reach, strict=True))] = True
    draft = pack.draft_report(
        synthetic.volume, segmentation=replace(contoured, gross={"GTVp": mask}), language=language
    )
    found = parse_report(draft.text, language)
    (mass,) = [f for f in found.findings if f.kind == "mass"]
    assert mass.presence == "present" and mass.size_mm is not None and mass.size_mm > 80
    assert render(found.findings, language=language) == draft.text and not found.unparsed_sentences


def test_shipped_pack_scores_labels(synthetic, contoured):
    pack = shipped("segmenter", "clip", "text")
    scores = pack.zeroshot(synthetic.volume, ["necrotic node in left level II", "no mass"], segmentation=contoured)
    assert all(0 <= p <= 1 for p in scores.values())


def test_shipped_pack_draws_a_node_and_nothing_else(synthetic, contoured):
    pack = shipped("segmenter", "clip", "text", "diffusion")
    text = "Add a 24 mm solid node in left level II."
    result = pack.counterfactual(synthetic.volume, text, segmentation=contoured, seed=5)
    assert result.edit_mask.any()
    np.testing.assert_array_equal(result.volume.array[~result.edit_mask], synthetic.volume.array[~result.edit_mask])
    assert result.identity["max_abs_change_outside_hu"] == 0
    neck = pack.neck(synthetic.volume, contoured)
    middle = synthetic.volume.index_to_mm(np.argwhere(result.edit_mask).mean(0))
    assert neck.anatomy.neck_frame(middle, "left")[1] > 10  # on the left
    again = pack.counterfactual(synthetic.volume, text, segmentation=contoured, seed=5)
    np.testing.assert_array_equal(again.volume.array, result.volume.array)
