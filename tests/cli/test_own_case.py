"""A clinic's DICOM and report as the folder of a patient that trainers read."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from hnvlm.evaluate.common import drawn_by_model, patient_folders, read_case
from hnvlm.imaging.write import AI_DRAFT, write_dicom_series, write_nifti

POLISH = "TK szyi. Powiększony węzeł chłonny w grupie II po lewej 24 mm, martwiczy. Bez guza."


@pytest.fixture
def masks(tmp_path, phantom):
    folder = tmp_path / "masks"
    for name, rows in {"PTV70": slice(6, 10), "Parotid_L": slice(5, 8), "Thyroid": slice(12, 14)}.items():
        array = np.zeros(phantom.shape, np.uint8)
        array[2:6, rows, 8:12] = 1
        note = AI_DRAFT if name == "Parotid_L" else "drawn by hand"
        write_nifti(phantom.with_array(array), folder / f"{name}.nii.gz", note)
    return folder


def test_a_case_folder_is_made_of_dicom_contours_and_report(run, dicom, masks, phantom, tmp_path):
    """Training asks for ct.nii.gz, and no command made one of a hospital's DICOM."""
    (tmp_path / "old.txt").write_bytes(POLISH.encode("cp1250"))
    folder = tmp_path / "own" / "train" / "a1"
    given = ("--structures", masks, "--report", tmp_path / "old.txt", "--encoding", "cp1250")
    made = run("import-case", dicom, folder, *given, "--json").data
    assert made["structures"] == ["PTV_7000", "Parotid_L"] or made["structures"] == ["Parotid_L", "PTV_7000"]
    assert made["left_out"] == ["Glnd_Thyroid"] and made["shape"] == list(phantom.shape)
    assert [(f["side"], f["level"], f["size_mm"]) for f in made["report"]["lesions"]] == [("left", "II", 24.0)]
    assert (folder / "report.txt").read_text(encoding="utf-8") == POLISH
    assert patient_folders(folder.parent) == [folder] and [p.name for p in folder.parent.iterdir()] == ["a1"]
    ct, contours = read_case(folder)
    assert ct.same_grid(phantom, 1e-3) and np.array_equal(ct.array, phantom.array)
    assert contours["PTV_7000"].sum() == 64 and contours["Parotid_L"].sum() == 48 and len(contours) == 2
    assert drawn_by_model(masks) == drawn_by_model(folder) == {"Parotid_L"}, "what a model drew goes on saying so"


def test_a_ct_alone_is_enough_and_words_say_what_was_made(run, nifti, tmp_path):
    (tmp_path / "r.txt").write_text("Status post neck dissection.", encoding="utf-8")
    printed = run("import-case", nifti, tmp_path / "a2", "--report", tmp_path / "r.txt")
    assert printed.code == 0 and "CT, contours of nothing" in printed.stdout
    assert "report: not taken, it says nothing of masses or nodes" in printed.stdout
    assert sorted(p.name for p in (tmp_path / "a2").iterdir()) == ["ct.nii.gz", "report.txt"]


def test_what_cannot_be_imported_is_refused_and_leaves_nothing(run, nifti, tmp_path):
    (tmp_path / "old.txt").write_bytes(POLISH.encode("cp1250"))
    folder, report = tmp_path / "own" / "a3", tmp_path / "old.txt"
    message = run("import-case", nifti, folder, "--report", report, "--json").refused("unreadable")
    assert str(report) in message and "--encoding" in message
    asked = ("import-case", nifti, folder, "--report")
    assert "cp9" in run(*asked, report, "--encoding", "cp9", "--json").refused("usage", status=2)
    assert "none.txt" in run(*asked, tmp_path / "none.txt", "--json").refused("unreadable")
    run("import-case", nifti, folder, "--structures", tmp_path / "nowhere", "--json").refused("unreadable")
    assert not folder.exists() and not list(tmp_path.glob("own/.*"))
    run("import-case", tmp_path / "nothing", folder, "--json").refused("no_such_input")
    folder.mkdir(parents=True)
    assert "name a new folder" in run("import-case", nifti, folder, "--json").refused("exists")
    assert list(folder.iterdir()) == []


def test_a_report_in_utf_16_is_no_nonsense_of_one_byte_a_letter(run, nifti, tmp_path):
    """With --encoding cp1250, as the message then said, every second letter was a zero byte."""
    report, asked = tmp_path / "r.txt", ("import-case", nifti, tmp_path / "a5", "--report", tmp_path / "r.txt")
    report.write_text(POLISH, encoding="utf-16")
    for more in ((), ("--encoding", "cp1250")):
        assert "--encoding utf-16" in run(*asked, *more, "--json").refused("unreadable")
    assert run(*asked, "--encoding", "utf-16", "--json").data["report"]["lesions"]
    assert (tmp_path / "a5" / "report.txt").read_text(encoding="utf-8") == POLISH
    report.write_bytes(b"PK\x03\x04\0\0 docx")
    assert "plain text" in run(*asked[:2], tmp_path / "a6", *asked[3:], "--json").refused("unreadable")


def test_a_synthetic_ct_is_nobody_to_learn_from(run, phantom, tmp_path):
    write_dicom_series(phantom, tmp_path / "ct", "drawn", synthetic=True)
    assert "SYNTHETIC" in run("import-case", tmp_path / "ct", tmp_path / "a4", "--json").refused("input_refused")
    assert not (tmp_path / "a4").exists()


def test_text_read_by_another_code_page_is_refused(run, nifti, tmp_path):
    """ "Węzły nie są powiększone" became "WÄ™zĹ‚y nie sÄ… powiÄ™kszone": no negation, and nothing said so."""
    report, asked = tmp_path / "r.txt", ("import-case", nifti, tmp_path / "a7", "--report", tmp_path / "r.txt")
    for begins in (b"", b"\xef\xbb\xbf"):
        report.write_bytes(begins + POLISH.encode("utf-8"))
        for page in ("cp1250", "iso8859-2", "cp1252"):
            message = run(*asked, "--encoding", page, "--json").refused("unreadable")
            assert "this is UTF-8" in message and "leave --encoding" in message, page
    report.write_bytes("Śladowy płyn. Gardło bez guza.".encode("cp1250"))
    message = run(*asked, "--encoding", "iso8859-2", "--json").refused("unreadable")
    assert "control character" in message and "cp1250" in message
    assert not (tmp_path / "a7").exists()
    report.write_bytes(b"No mass. No enlarged nodes.")
    assert run(*asked, "--encoding", "cp1250", "--json").data["report"]["lesions"] == []


def test_all_that_is_taught_of_a_report_is_shown_and_what_is_not(run, nifti, tmp_path):
    text = (
        "Enlarged lymph nodes at level II on the left, 24 mm, necrotic. Bilateral level III nodes, largest on the "
        "right 18 mm. No mass. The patient likes tea."
    )
    (tmp_path / "r.txt").write_text(text, encoding="utf-8")
    printed = run("import-case", nifti, tmp_path / "a8", "--report", tmp_path / "r.txt").stdout.splitlines()
    assert "report: present left II node 24 mm necrotic" in printed
    assert "report: present left III node largest 18 mm" in printed
    assert "report denies: mass" in printed
    assert "report, not read: The patient likes tea." in printed
    made = run("import-case", nifti, tmp_path / "a9", "--report", tmp_path / "r.txt", "--json").data["report"]
    assert made["unread"] == 1 == len(made["unread_sentences"]) and made["denied"][0]["kind"] == "mass"


def test_a_warning_is_printed_once(run, dicom, tmp_path):
    shutil.copytree(dicom, tmp_path / "ct")
    file = sorted((tmp_path / "ct").iterdir())[0]
    shutil.copyfile(file, tmp_path / "ct" / "again.dcm")
    made = run("import-case", tmp_path / "ct", tmp_path / "b1")
    assert (made.stdout + made.stderr).count("1 duplicate file(s)") == 1
    assert "1 duplicate file(s)" in run("import-case", tmp_path / "ct", tmp_path / "b2", "--json").data["warnings"][0]


def test_links_are_told_of(run, dicom, nifti, masks, tmp_path):
    """A folder of links was empty to every command, and of some links among files nothing was said."""
    for folder, sources in (("ct", dicom.iterdir()), ("masks", masks.iterdir())):
        (tmp_path / f"linked-{folder}").mkdir()
        for file in sources:
            (tmp_path / f"linked-{folder}" / file.name).symlink_to(file)
    n = len(list(dicom.iterdir()))
    for command in (("inspect",), ("batch", "--out", tmp_path / "out")):
        message = run(command[0], tmp_path / "linked-ct", *command[1:], "--json").refused("unreadable")
        assert f"{n} symbolic links were passed over" in message and "copies" in message
    asked = ("import-case", nifti, tmp_path / "b3", "--structures", tmp_path / "linked-masks")
    assert "3 symbolic links" in run(*asked, "--json").refused("unreadable")
    shutil.copyfile(masks / "PTV70.nii.gz", tmp_path / "linked-masks" / "PTV63.nii.gz")
    assert any("3 symbolic links were" in w for w in run(*asked, "--json").data["warnings"])
    shutil.copytree(dicom, tmp_path / "mixed")
    (tmp_path / "mixed" / "elsewhere").symlink_to(tmp_path / "linked-ct")
    (series,) = run("inspect", tmp_path / "mixed", "--json").data["series"]
    assert any("1 symbolic link was passed over" in w for w in series["warnings"])
    batch = run("batch", tmp_path / "mixed", "--out", tmp_path / "out", "--json").data
    assert batch["n_done"] == 1 and "1 symbolic link was passed over" in batch["warnings"][0]
    assert "symbolic" not in run("inspect", dicom).stdout
