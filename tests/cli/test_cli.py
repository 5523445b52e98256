"""The command-line contract: fields, one JSON object, exit codes, refusals."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import yaml

from hnvlm import config
from hnvlm.cli import app, inputs, learning
from hnvlm.errors import ModelPackError, UsageError
from hnvlm.evaluate import cli as evaluate_cli
from hnvlm.imaging import intake
from hnvlm.imaging.write import write_dicom_series, write_nifti
from hnvlm.models.pack import ModelPack
from hnvlm.services import export
from hnvlm.store import CaseStore
from hnvlm.train import cli as train_cli

COMMANDS = (
    "serve", "demo", "inspect", "segment", "report", "zeroshot", "similar", "dose", "plan", "counterfactual",
    "generate",
    "import-openkbp", "import-case", "import-cases", "supervision", "train", "average", "evaluate", "batch", "bench",
)  # fmt: skip


def read_array(path: str) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(path))


# ---- the contract ----------------------------------------------------------------------------


def test_every_command_of_the_table_is_there(run):
    text = run("--help").stdout
    for name in COMMANDS:
        assert name in text
        shown = run(name, "--help")
        assert shown.code == 0
        assert "--json" in shown.stdout
    assert run("--version").stdout.startswith("hnvlm ")


def test_inspect_dicom_and_nifti(run, dicom, nifti):
    for source in (dicom, nifti):
        ran = run("inspect", source, "--json")
        assert ran.code == 0
        (series,) = ran.data["series"]
        assert series["modality"] == "CT"
        assert series["n_slices"] == 8
        assert series["shape"] == [8, 20, 24]
        assert series["spacing_mm"] == [3.0, 1.25, 1.5]
        assert series["accepted"] is True
        assert series["reasons"] == []
        assert isinstance(series["warnings"], list)
        assert series["uid"]
    assert "accepted" in run("inspect", dicom).stdout


def test_inspect_a_stored_case(run, case):
    (series,) = run("inspect", case.lower(), "--json").data["series"]
    assert series["case_id"] == case
    assert series["shape"] == [8, 20, 24]


def test_inspect_lists_a_refused_series_with_exit_0(run, dicom, tmp_path):
    folder = tmp_path / "gap"
    folder.mkdir()
    for i, file in enumerate(sorted(dicom.iterdir())):
        if i != 3:
            (folder / file.name).write_bytes(file.read_bytes())
    ran = run("inspect", folder, "--json")
    assert ran.code == 0
    (series,) = ran.data["series"]
    assert series["accepted"] is False or series["warnings"]


def test_segment_writes_masks_on_the_ct_grid(run, nifti, tmp_path, phantom):
    ran = run("segment", nifti, "--out", tmp_path / "o", "--json")
    assert ran.code == 0
    rows = {r["name"]: r for r in ran.data["structures"]}
    assert set(rows) == {"SpinalCord", "Parotid_L"}
    # 8 slices of 2 x 1 voxels of 3 x 1.25 x 1.5 mm
    assert rows["SpinalCord"]["volume_ml"] == pytest.approx(16 * 5.625 / 1000, abs=1e-3)
    mask = sitk.ReadImage(rows["SpinalCord"]["file"])
    assert mask.GetSize() == (24, 20, 8)
    assert mask.GetSpacing() == pytest.approx((1.5, 1.25, 3.0))
    assert mask.GetOrigin() == pytest.approx((-30.0, 40.0, -12.0))
    assert np.count_nonzero(sitk.GetArrayFromImage(mask)) == 16
    assert ran.data["seconds"] >= 0


def test_segment_as_dicom(run, dicom, tmp_path, phantom):
    ran = run("segment", dicom, "--out", tmp_path, "--format", "seg,rtstruct", "--json")
    assert ran.code == 0
    files = ran.data["structures"][0]["files"]
    assert Path(files["seg"]).is_file()
    assert Path(files["rtstruct"]).is_file()
    assert ran.data["structures"][0]["file"] == files["seg"]


def test_the_structures_of_a_synthetic_ct_refer_to_a_marked_copy(run, store_dir, phantom, tmp_path):
    """The demo case, and a series that says itself that it is synthetic."""
    store = CaseStore(store_dir)
    case = store.add_case(phantom, demo=True).id
    store.close()
    write_dicom_series(phantom, tmp_path / "series", "drawn", synthetic=True)
    for source in (case, tmp_path / "series"):
        out = tmp_path / f"of-{Path(source).name}"
        assert run("segment", source, "--out", out, "--format", "seg,rtstruct", "--json").code == 0
        ct = [pydicom.dcmread(f) for f in sorted((out / "ct").iterdir())]
        assert {(d.BurnedInAnnotation, "SYNTHETIC" in d.ImageComments) for d in ct} == {("YES", True)}
        assert ct[0].SeriesDescription == "SYNTHETIC CT for structures"
        instances = {d.SOPInstanceUID for d in ct}
        rtstruct = pydicom.dcmread(out / "structures.rtstruct.dcm")
        study = rtstruct.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        images = study.RTReferencedSeriesSequence[0].ContourImageSequence
        assert {i.ReferencedSOPInstanceUID for i in images} == instances
        (series,) = pydicom.dcmread(out / "structures.seg.dcm").ReferencedSeriesSequence
        assert {i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence} <= instances


@pytest.mark.parametrize("language", ["en", "pl"])
def test_report(run, nifti, language):
    ran = run("report", nifti, "--language", language, "--seed", "3", "--json")
    assert ran.code == 0
    data = ran.data
    assert data["text"]
    assert {"findings", "impression"} <= set(data["sections"])
    node = next(f for f in data["findings"] if f["kind"] == "node" and f["presence"] == "present")
    assert (node["side"], node["level"], node["size_mm"]) == ("left", "II", 22.0)
    assert [c["status"] for c in data["checks"]] == ["pass"]
    assert data["model"] == "fake-vlm"
    assert data["seed"] == 3
    assert data["seconds"] >= data["first_token_seconds"] >= 0.5
    assert "research use only" in data["notice"]


def test_report_of_a_case_is_stored_as_a_new_version(run, case, store_dir, models):
    assert run("report", case, "--json").data["version"] == 1
    assert run("report", case, "--json").data["version"] == 2
    assert models.calls.count("segment") == 1  # the second run reads the stored structures
    store = CaseStore(store_dir)
    assert len(store.history(case, "report", "en")) == 2
    store.close()


def test_report_without_json_is_readable(run, nifti):
    ran = run("report", nifti)
    assert ran.code == 0
    assert "level II" in ran.stdout
    assert "research use only" in ran.stdout
    assert "%" in ran.stderr


def test_zeroshot(run, nifti):
    ran = run("zeroshot", nifti, "--labels", "left neck node; no mass;; no mass", "--json")
    assert list(ran.data["scores"]) == ["left neck node", "no mass"]
    assert all(0 <= p <= 1 for p in ran.data["scores"].values())
    assert ran.data["model"]


def test_similar_finds_the_same_ct_first(run, case, nifti, store_dir, phantom):
    store = CaseStore(store_dir)
    other = phantom.array.copy()
    other[:, :, :12] = -1000
    store.add_case(phantom.with_array(other))
    store.close()
    cases = run("similar", nifti, "-k", "2", "--json").data["cases"]
    assert [c["id"] for c in cases] == [case, "HN-0002"]
    assert cases[0]["score"] == pytest.approx(1.0, abs=1e-3)
    assert cases[0]["score"] > cases[1]["score"]
    assert [c["id"] for c in run("similar", case, "--json").data["cases"]] == ["HN-0002"]


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_plan_with_clinical_file(run, nifti, tmp_path, suffix):
    form = {"ecog": 1, "p16": "positive"}
    path = tmp_path / f"form{suffix}"
    path.write_text(json.dumps(form) if suffix == ".json" else yaml.safe_dump(form))
    ran = run("plan", nifti, "--clinical", path, "--json")
    assert ran.code == 0, ran.stderr
    data = ran.data
    for name, kind in (
        ("text", str), ("staging", dict), ("prescription", dict), ("constraints", list), ("checks", list),
        ("needs", list), ("sources", list),
    ):  # fmt: skip
        assert isinstance(data[name], kind), name
    assert data["made_from"]["form"]["ecog"] == 1


def test_plan_with_structures_of_the_same_grid(run, nifti, tmp_path, phantom):
    folder = tmp_path / "masks"
    mask = np.zeros(phantom.shape, np.uint8)
    mask[2:4, 5:9, 6:11] = 1
    write_nifti(phantom.with_array(mask), folder / "LeftParotid.nii.gz")
    data = run("plan", nifti, "--structures", folder, "--json").data
    assert data["made_from"]["structures"] == ["Parotid_L", "SpinalCord"], "the models' where the clinic drew none"


def test_counterfactual_changes_nothing_outside(run, nifti, tmp_path, phantom):
    ran = run(
        "counterfactual", nifti, "--text", "node in left level II, 22 mm", "--out", tmp_path, "--seed", "5", "--json"
    )
    assert ran.code == 0, ran.stderr
    data = ran.data
    keys = [k for k in data["files"] if "counterfactual" in k]
    assert len(keys) == 1
    edited = read_array(data["files"][keys[0]])
    difference = read_array(data["files"]["difference"])
    inside = read_array(data["files"]["edit_mask"]) > 0
    np.testing.assert_array_equal(edited - phantom.array, difference)
    assert (difference[inside] == 65).all()
    assert not difference[~inside].any()
    assert inside.sum() == 2 * 3 * 4
    for name in ("edit_box_mm", "identity", "text_match", "gflops", "seconds"):
        assert name in data
    assert data["edit_box_mm"][0] == [-9.0, 42.5, -25.5]
    series = intake.scan(data["files"]["dicom_series"])
    assert series[0].accepted
    assert intake.read(series[0]).meta["synthetic"] is True
    assert Path(data["files"]["png"]).stat().st_size > 0


def test_counterfactual_of_a_case_is_stored_and_exported(run, case, store_dir, tmp_path, phantom):
    request = "Kowalska Maria\nnode in left level II, 22 mm"
    data = run("counterfactual", case, "--text", request, "--out", tmp_path, "--json").data
    difference = read_array(data["files"]["difference"])
    assert np.count_nonzero(difference) == 24
    drawn = sitk.ReadImage(data["files"]["counterfactual"])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(drawn), phantom.array + difference)
    assert drawn.GetOrigin() == pytest.approx((-30.0, 40.0, -12.0))
    assert Path(data["files"]["counterfactual"]).name == "counterfactual-SYNTHETIC.nii.gz"
    assert drawn.GetMetaData("descrip") == export.SYNTHETIC_NOTICE
    headers = [pydicom.dcmread(f) for f in Path(data["files"]["dicom_series"]).iterdir()]
    assert {h.SeriesDescription for h in headers} == {"SYNTHETIC counterfactual CT, AI generated"}
    assert not [h for h in headers if "Kowalska" in str(h)], "people type names into a request"
    store = CaseStore(store_dir)
    assert store.get_result(data["result_id"]).kind == "counterfactual"
    assert "counterfactual exported" in [e.action for e in store.audit(case)]
    store.close()


def test_generate(run, tmp_path):
    data = run("generate", "--text", "mass of the oral tongue", "--out", tmp_path, "--seed", "2", "--json").data
    again = run("generate", "--text", "mass of the oral tongue", "--out", tmp_path / "b", "--seed", "2", "--json").data
    first, second = (read_array(d["files"]["counterfactual"]) for d in (data, again))
    np.testing.assert_array_equal(first, second)
    assert {"edit_box_mm", "identity", "text_match", "gflops", "seconds"} <= set(data)


def test_batch_goes_through_an_archive_and_is_resumable(run, dicom, nifti, tmp_path, models):
    archive = tmp_path / "archive"
    (archive / "a" / "b").mkdir(parents=True)
    for file in dicom.iterdir():
        (archive / "a" / "b" / file.name).write_bytes(file.read_bytes())
    (archive / "ct.nii.gz").write_bytes(nifti.read_bytes())
    ran = run("batch", archive, "--out", tmp_path / "o", "--json")
    assert ran.code == 0, ran.stderr
    assert ran.data["n_done"] == 2
    for entry in ran.data["cases"]:
        folder = tmp_path / "o" / entry["folder"]
        names = {"report.txt", "report.json", "plan.txt", "plan.json", "findings.json", "made_with.json"}
        assert {p.name for p in folder.iterdir()} == names
        assert json.loads((folder / "report.json").read_text())["text"]
    models.calls.clear()
    again = run("batch", archive, "--out", tmp_path / "o", "--json")
    assert {c["state"] for c in again.data["cases"]} == {"stored before"}
    assert models.calls == []


def test_batch_goes_on_after_a_refusal(run, dicom, tmp_path, models):
    models.in_scope = False
    data = run("batch", dicom, "--out", tmp_path / "o", "--json").data
    assert data["n_refused"] == 1
    assert "lungs" in data["cases"][0]["error"]
    assert not list((tmp_path / "o").iterdir())


def test_bench(run, dicom):
    rows = run("bench", "--data", dicom, "--repeats", "1", "--models", "--json").data["measurements"]
    names = [r["name"] for r in rows]
    assert {"dicom_series_read", "store_first_slice", "segment", "report", "plan", "counterfactual"} <= set(names)
    for row in rows:
        assert set(row) == {"name", "value", "unit", "compared_with", "ratio"}
        assert row["value"] > 0
    assert rows[0]["ratio"] > 0


# ---- learning commands -----------------------------------------------------------------------


def test_the_command_line_knows_every_trainer_and_evaluation():
    """The lists stand twice, because the command line may not load torch to say what there is."""
    assert set(learning.TRAINABLE) == set(train_cli.TRAINERS)
    assert set(learning.EVALUATIONS) == set(evaluate_cli.EVALUATIONS)


def test_train_and_evaluate_pass_everything_on(run, tmp_path, monkeypatch):
    seen = []

    def trainer(name):
        def takes(data: Path, out: Path, *, steps: int = 1, lr: float = 1.0, fast: bool = False): ...

        return takes

    def train(name, data, resume, **options):
        seen.append((name, data, resume, options))
        return {"checkpoint": "c", "metrics": {"dice": 0.5}}

    def evaluate(name, data, **options):
        seen.append((name, data, options))
        print("a library that prints")  # noqa: T201
        return {"metrics": {"dice": 0.5}, "n_cases": 2, "model": "m", "seconds": 1.0}

    for package, functions in (("train", (train, trainer)), ("evaluate", (evaluate,))):
        module = type(sys)(f"hnvlm.{package}.cli")
        for function in functions:
            setattr(module, function.__name__, function)
        monkeypatch.setitem(sys.modules, f"hnvlm.{package}.cli", module)
    options = ["--steps", "100", "--lr=1e-3", "--fast", "--out", "2026_11_26"]
    ran = run("train", "segmenter", "--data", tmp_path, "--resume", *options, "--json")
    assert ran.data == {"checkpoint": "c", "metrics": {"dice": 0.5}}
    ran = run("evaluate", "segmentation", "--data", tmp_path, "--json")
    assert ran.data["n_cases"] == 2
    assert "a library that prints" in ran.stderr
    taken = {"steps": 100, "lr": 0.001, "fast": True, "out": Path("2026_11_26")}
    assert seen == [("segmenter", tmp_path, True, taken), ("segmentation", tmp_path, {})]


@pytest.mark.parametrize(
    ("command", "option", "words"),
    [
        ("train", ["--stepz", "5"], "--steps"),
        ("train", ["--steps", "abc"], "whole number"),
        ("train", ["--steps", "0"], "above 0"),
        ("train", ["--batch", "1.5"], "whole number"),
        ("train", ["--learning-rate", "-1"], "above 0"),
        ("train", ["--learning-rate", "nan"], "above 0"),
        ("train", ["--minutes", "inf"], "above 0"),
        ("train", ["--from-pack", "maybe"], "true or false"),
        ("train", ["--out="], "needs a value"),
        ("evaluate", ["--limit", "abc"], "whole number"),
        ("evaluate", ["--limit", "-1"], "above 0"),
        ("evaluate", ["--limit"], "needs a value"),
        ("evaluate", ["--record", "no"], "true or false"),
        ("evaluate", ["--processes", "two"], "whole number"),
        ("evaluate", ["--name", "dose"], "no option --name"),
    ],
)
def test_a_bad_option_of_a_trainer_or_an_evaluation_is_wrong_usage(run, tmp_path, command, option, words):
    name = {"train": "segmenter", "evaluate": "segmentation"}[command]
    assert words in run(command, name, "--data", tmp_path, *option, "--json").refused("usage", status=2)


def test_options_are_taken_as_the_function_says():
    def run(name: str, data: Path, *, limit: int | None = None, out: Path | None = None, minutes: float = 0.0): ...

    given = {"limit": "1e2", "out": "007", "minutes": "0"}
    assert learning.known_options(run, given) == {"limit": 100, "out": Path("007"), "minutes": 0.0}
    with pytest.raises(UsageError, match="--record-all"):
        learning.known_options(run, {"record_all": True})


def test_import_openkbp(run, tmp_path):
    folder = tmp_path / "src" / "valid-pats" / "pt_201"
    folder.mkdir(parents=True)
    (folder / "voxel_dimensions.csv").write_text("3\n3\n2\n")
    (folder / "ct.csv").write_text(",data\n5,1024\n")
    data = run("import-openkbp", tmp_path / "src", tmp_path / "dst", "--json").data
    assert data["n_patients"] == 1
    assert (tmp_path / "dst" / "validation" / "pt_201" / "ct.nii.gz").is_file()


def test_extra_options_refuse_loose_words():
    with pytest.raises(UsageError, match="belongs to no option"):
        learning.extra_options(["steps", "3"])


# ---- refusals: exit 3 ------------------------------------------------------------------------


READERS = {
    "inspect": [], "segment": ["--out", "OUT"], "report": [], "zeroshot": ["--labels", "a"], "similar": [], "plan": [],
    "counterfactual": ["--text", "node", "--out", "OUT"],
}  # fmt: skip


@pytest.mark.parametrize("command", READERS)
def test_unreadable_inputs_are_refused_in_json(run, tmp_path, command):
    rest = [tmp_path / "o" if a == "OUT" else a for a in READERS[command]]
    message = run(command, tmp_path / "nothing", *rest, "--json").refused("no_such_input")
    assert "nothing" in message
    (tmp_path / "text.txt").write_text("hello")
    run(command, tmp_path / "text.txt", *rest, "--json").refused("unreadable")
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 not a zip")
    run(command, tmp_path / "bad.zip", *rest, "--json").refused("unreadable")
    run(command, "HN-0042", *rest, "--json").refused("not_found")


@pytest.mark.parametrize("command", ["segment", "report", "zeroshot", "similar", "plan", "counterfactual"])
def test_a_ct_out_of_scope_is_declined_with_the_reason(run, nifti, tmp_path, models, command):
    models.in_scope = False
    rest = [tmp_path / "o" if a == "OUT" else a for a in READERS[command]]
    message = run(command, nifti, *rest, "--json").refused("out_of_scope")
    assert "lungs fill half" in message
    assert not (tmp_path / "o").exists()


def test_segment_can_be_told_to_ignore_the_scope(run, nifti, tmp_path, models):
    models.in_scope = False
    data = run("segment", nifti, "--out", tmp_path, "--allow-out-of-scope", "--json").data
    assert data["in_scope"] is False


def test_an_accepted_series_is_needed(run, tmp_path, dicom):
    import pydicom

    folder = tmp_path / "mr"
    folder.mkdir()
    for file in dicom.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.Modality = "MR"
        dataset.save_as(folder / file.name)
    message = run("report", folder, "--json").refused("no_ct_series")
    assert "MR" in message
    run("report", dicom, "--series", "1.2.3", "--json").refused("not_found")


@pytest.fixture
def targets(tmp_path, phantom):
    """A folder of masks as ``--structures`` takes it: a target, an organ, and where dose can be."""
    folder = tmp_path / "masks"
    arrays = {name: np.zeros(phantom.shape, np.uint8) for name in ("PTV70", "SpinalCord", "possible_dose_mask")}
    arrays["PTV70"][2:6, 6:10, 8:12] = 1
    arrays["SpinalCord"][:, 13:15, 11:13] = 1
    arrays["possible_dose_mask"][1:7, 4:17, 5:20] = 1
    for name, array in arrays.items():
        write_nifti(phantom.with_array(array), folder / f"{name}.nii.gz")
    return folder


def test_dose_is_predicted_and_written(run, nifti, targets, phantom, tmp_path):
    made = run("dose", nifti, "--structures", targets, "--out", tmp_path / "d.nii.gz", "--json").data
    assert made["prescriptions"] == {"PTV_7000": 70.0}
    assert set(made["dvh_metrics"]) == {"PTV_7000", "SpinalCord"}
    assert made["dvh_metrics"]["PTV_7000"]["D95pct"] > made["dvh_metrics"]["SpinalCord"]["Dmean"]
    assert made["seconds"] >= 0
    assert "AI draft" in made["notice"]
    written = read_array(made["file"])
    assert written.shape == phantom.shape
    assert made["max_gy"] == pytest.approx(float(written.max()), abs=0.01)
    said = sitk.ReadImage(made["file"]).GetMetaData("descrip")
    assert said == "AI draft, research use only: dose in Gy PREDICTED by AI"
    rtdose = run("dose", nifti, "--structures", targets, "--out", tmp_path / "d.dcm", "--json").data
    assert pydicom.dcmread(rtdose["file"]).Modality == "RTDOSE"


def test_dose_refusals(run, models, nifti, targets, tmp_path, monkeypatch):
    run("dose", nifti, "--structures", targets, "--out", tmp_path / "d.txt", "--json").refused("usage", 2)
    run("dose", nifti, "--structures", tmp_path / "none", "--out", tmp_path / "d.nii.gz", "--json").refused(
        "unreadable"
    )
    models.in_scope = False
    run("dose", nifti, "--structures", targets, "--out", tmp_path / "e.nii.gz", "--json").refused("out_of_scope")
    assert not (tmp_path / "e.nii.gz").exists()
    (targets / "PTV70.nii.gz").unlink()
    message = run("dose", nifti, "--structures", targets, "--out", tmp_path / "d.nii.gz", "--json").refused("no_target")
    assert "PTV_7000" in message


def test_a_pack_without_dose_model_says_so(run, nifti, targets, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "load_models", lambda: ModelPack(tmp_path / "models", 1))
    command = ("dose", nifti, "--structures", targets, "--out", tmp_path / "d.nii.gz", "--json")
    assert "no dose model in this pack yet" in run(*command).refused("model_pack")
    monkeypatch.setenv("HNVLM_ASSETS_DIR", str(tmp_path / "assets"))
    config.settings.cache_clear()
    assert "dose" in run("evaluate", "dose", "--data", targets, "--json").refused("model_pack")
    run("train", "dose", "--data", tmp_path, "--json").refused("input_refused")


def test_a_missing_model_pack_is_refused(run, nifti, monkeypatch):
    def broken():
        raise ModelPackError("assets/models/segmenter is missing; reinstall.")

    monkeypatch.setattr(inputs, "load_models", broken)
    assert "segmenter" in run("report", nifti, "--json").refused("model_pack")


def test_missing_folders_are_refused(run, tmp_path):
    for args in (
        ["train", "clip", "--data", tmp_path / "no"], ["evaluate", "zeroshot", "--data", tmp_path / "no"],
        ["supervision", "--data", tmp_path / "no", "--out", tmp_path], ["bench", "--data", tmp_path / "no"],
        ["batch", tmp_path / "no", "--out", tmp_path],
    ):  # fmt: skip
        assert str(tmp_path / "no") in run(*args, "--json").refused("no_such_folder")
    assert run("import-openkbp", tmp_path / "no", tmp_path / "dst", "--json").refused("input_refused")
    assert "ray" in run("batch", tmp_path, "--out", tmp_path / "o", "--engine", "ray", "--json").refused("engine")


def test_structures_of_nothing_are_refused(run, nifti, tmp_path):
    assert "no.dcm" in run("plan", nifti, "--structures", tmp_path / "no.dcm", "--json").refused("unreadable")
    (tmp_path / "empty").mkdir()
    assert "empty" in run("plan", nifti, "--structures", tmp_path / "empty", "--json").refused("unreadable")


def test_out_that_is_a_file_is_refused(run, nifti, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file" in run("segment", nifti, "--out", tmp_path / "file", "--json").refused("output")


@pytest.mark.parametrize(
    "command",
    [
        ["segment", "NIFTI"],
        ["counterfactual", "NIFTI", "--text", "Left level II node, 20 mm."],
        ["generate", "--text", "Left level II node, 20 mm."],
        ["dose", "NIFTI", "--structures", "."],
    ],
)
def test_a_place_that_cannot_be_written_is_said_before_the_work(run, models, nifti, tmp_path, command):
    (tmp_path / "file").write_text("")
    models.on_step = lambda name: pytest.fail("worked before it knew where to write")
    out = tmp_path / "file" / ("dose.nii.gz" if command[0] == "dose" else "out")
    args = [str(nifti) if a == "NIFTI" else a for a in command]
    assert "is a file" in run(*args, "--out", out, "--json").refused("output")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_full_disk_is_no_fault_of_the_program(run, nifti, tmp_path, monkeypatch, number):
    def full(*args, **options):
        raise OSError(number, os.strerror(number), "out/Brainstem.nii.gz")

    monkeypatch.setattr(export, "write_structures", full)
    message = run("segment", nifti, "--out", tmp_path / "o", "--json").refused("output")
    assert "out/Brainstem.nii.gz" in message
    assert "fault" not in message


def test_an_input_without_a_name_is_refused(run, monkeypatch, tmp_path, dicom):
    monkeypatch.chdir(dicom)
    run("inspect", "", "--json").refused("usage", status=2)
    assert "UTF-8" in run("inspect", "ct\udcff.nii.gz", "--json").refused("unreadable")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_every_console_gets_its_output(nifti, tmp_path, encoding):
    """A name or a Polish word outside the console's code page ended the command."""
    path = tmp_path / "szyja żółć.nii.gz"
    path.write_bytes(nifti.read_bytes())
    env = os.environ | {"HNVLM_DATA_DIR": str(tmp_path), "PYTHONIOENCODING": encoding}
    for options in ([], ["--json"]):
        call = [sys.executable, "-m", "hnvlm.cli", "inspect", str(path), *options]
        done = subprocess.run(call, capture_output=True, env=env, cwd=Path(__file__).resolve().parents[2])
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.decode())["input"] == str(path)


# ---- wrong usage: exit 2 ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [
        ["report"],
        ["report", "NIFTI", "--language", "de"],
        ["report", "NIFTI", "--seed", "minus"],
        ["report", "NIFTI", "--seed", "-1"],
        ["segment", "NIFTI"],
        ["segment", "NIFTI", "--out", "o", "--format", "stl"],
        ["zeroshot", "NIFTI", "--labels", " ; "],
        ["similar", "NIFTI", "-k", "0"],
        ["counterfactual", "NIFTI", "--text", "  ", "--out", "o"],
        ["generate", "--text", "", "--out", "o"],
        ["plan", "NIFTI", "--clinical", "no-such.json"],
        ["train", "nonsense", "--data", "."],
        ["train", "clip", "--data", ".", "loose"],
        ["evaluate", "nonsense", "--data", "."],
        ["batch", ".", "--out", "o", "--engine", "spark"],
        ["serve", "--port", "0"],
        ["nonsense"],
        ["inspect", "NIFTI", "--nonsense"],
    ],
)
def test_wrong_usage(run, nifti, args, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = [str(nifti) if a == "NIFTI" else a for a in args]
    run(*args, "--json").refused("usage", status=2)
    plain = run(*args)
    assert plain.code == 2
    assert plain.stdout == ""


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("f.json", "{", "neither valid JSON"),
        ("f.yaml", "a: [", "neither valid JSON"),
        ("f.json", "[1]", "mapping"),
        ("f.yaml", "ecog: 77", "ecog"),
        ("f.yaml", "no_such_field: 1", "no_such_field"),
    ],
)
def test_bad_clinical_files(run, nifti, tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    assert words in run("plan", nifti, "--clinical", tmp_path / name, "--json").refused("usage", status=2)


def test_a_fault_of_the_program_is_no_traceback(run, nifti, models, monkeypatch):
    def fault(name):
        raise RuntimeError("boom")

    models.on_step = fault
    message = run("report", nifti, "--json").refused("unexpected", status=1)
    assert "boom" in message


# ---- demo, serve, real process ---------------------------------------------------------------


def test_demo(run, monkeypatch, phantom, store_dir):
    from hnvlm.services import demo

    monkeypatch.setattr(demo, "draw_demo_ct", lambda seed: phantom)
    first = run("demo", "--json").data
    assert (first["case_id"], first["created"]) == ("HN-0001", True)
    assert run("demo", "--json").data["created"] is False
    assert run("demo").stdout == "HN-0001\n"
    assert run("demo", "--if-empty", "--json").data == {"case_id": "HN-0001", "created": False}
    store = CaseStore(store_dir)
    assert store.get_case("HN-0001").demo is True
    store.close()


def test_serve_passes_the_port_on(run, monkeypatch):
    module = type(sys)("hnvlm.ui.launch")
    seen = []
    module.serve = lambda port, headless, address: seen.append((port, headless, address))
    monkeypatch.setitem(sys.modules, "hnvlm.ui.launch", module)
    assert run("serve", "--port", "9001").code == 0
    assert seen == [(9001, True, "127.0.0.1")]


def test_a_real_process_keeps_stdout_clean(dicom, tmp_path):
    env = {"HNVLM_DATA_DIR": str(tmp_path), "PATH": "", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(
        [sys.executable, "-m", "hnvlm.cli", "inspect", str(dicom), "--json"], capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["series"][0]["accepted"]
    done = subprocess.run(
        [sys.executable, "-m", "hnvlm.cli", "inspect", "--json"], capture_output=True, text=True, env=env
    )
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "usage"
    assert app.info.name == "hnvlm"
