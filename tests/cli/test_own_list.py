"""Many patients from a list: who was imported, who was refused and why, and that a second run goes on."""

from __future__ import annotations

import shutil

import pytest
from imaging.phantoms import head, write_ct

from hnvlm.cli import own_list
from hnvlm.errors import HnvlmError

NODE = "Powiększony węzeł chłonny w grupie II po lewej 24 mm. Bez guza."


@pytest.fixture
def archive(tmp_path):
    """Three patients; the folder of the second is named as people name them, the third one's CT is damaged."""
    root = tmp_path / "archive"
    for n, name in enumerate(("one", "Żółć, Jan (1948)", "three"), 1):

        def identify(ds, k, n=n):
            ds.PatientID, ds.PatientName, ds.FrameOfReferenceUID = f"P{n}", f"Kowalska{n}", f"1.7.{n}"

        write_ct(root / name / "CT", head((6 + n, 10, 14)), modify=identify, series=f"1.3.{n}")
    (root / "old.txt").write_bytes(NODE.encode("cp1250"))
    file = sorted((root / "three" / "CT").iterdir())[3]
    file.write_bytes(file.read_bytes()[:-100])
    return root


@pytest.fixture
def listed(archive):
    """``listed(text)``: the list as a file beside the archive's folders."""

    def write(text: str, encoding: str = "utf-8"):
        (archive / "list.csv").write_bytes(text.replace("\n", "\r\n").encode(encoding))
        return archive / "list.csv"

    return write


THREE = (
    "input;folder;report;encoding\none;train/a1;old.txt;cp1250\n\nŻółć, Jan (1948);validation/b1;;\nthree;train/a3;;\n"
)


def test_a_list_is_imported_and_a_second_run_goes_on(run, archive, listed, tmp_path):
    for encoding in ("utf-8", "utf-8-sig"):
        ran = run("import-cases", listed(THREE, encoding), tmp_path / "own", "--json")
        made = ran.data
        assert ran.code == 0 and made["n_rows"] == 3 and made["n_refused"] == 1
        if encoding == "utf-8":
            assert [c["state"] for c in made["cases"]] == ["imported", "imported", "refused"]
            assert [c["line"] for c in made["cases"]] == [2, 4, 5]
            assert made["cases"][0]["report"]["lesions"][0]["side"] == "left"
            assert "1 of 3, train/a1" in ran.stderr  # of what follows at once not every line is shown
        broken = made["cases"][2]
        assert broken["code"] == "unreadable" and "slice" in broken["error"]
    assert [c["state"] for c in made["cases"]][:2] == ["there already"] * 2 and made["n_there"] == 2
    assert sorted(p.relative_to(tmp_path / "own").as_posix() for p in (tmp_path / "own").glob("*/*")) == [
        "train/a1", "validation/b1",
    ]  # fmt: skip
    shutil.rmtree(archive / "three")
    shutil.copytree(archive / "one", archive / "three")
    words = run("import-cases", listed(THREE), tmp_path / "own")
    assert "1 imported, 2 there already, 0 refused" in words.stdout
    assert "Kowalska" not in words.stdout + words.stderr


def test_what_cannot_be_meant_is_said_with_its_line_before_any_work(run, listed, tmp_path):
    head_ = "input,folder,corrected\n"
    for text, said in (
        ("", "no column input"), ("input,folder\n", "no patient"), ("input,sturctures\na,b\n", "sturctures"),
        ("input,folder,folder\na,b,c\n", "folder"), (head_ + "one,\n", "line 2: folder is empty"),
        (head_ + "one,../a1,\n", "below DIR"), (head_ + "one,/a1,\n", "below DIR"), (head_ + "one,.a1,\n", "below DIR"),
        (head_ + "one,train/a1,\none,train/A1,\n", "line 3: folder train/A1 is that of line 2"),
        (head_ + "one,train,\none,train/a1,\n", "within that of line 2"), (head_ + "one,a1,maybe\n", "yes or no"),
        (head_ + "one,a1,yes,train/a1\n", "line 2: more cells than columns"),
    ):  # fmt: skip
        message = run("import-cases", listed(text), tmp_path / "own", "--json").refused("usage", status=2)
        assert said in message and "list.csv" in message, (text, message)
    run("import-cases", listed("input,folder\nŻ,a\n", "cp1250"), tmp_path / "own", "--json").refused("usage", status=2)
    for nothing in (tmp_path / "none.csv", tmp_path):
        run("import-cases", nothing, tmp_path / "own", "--json").refused("usage", status=2)
    assert not (tmp_path / "own").exists()


def test_one_person_is_not_on_both_sides(run, archive, listed, tmp_path):
    shutil.copytree(archive / "one", archive / "follow-up")
    text = "input\tfolder\none\ttrain/a1\nŻółć, Jan (1948)\ttrain/a2\nfollow-up\tvalidation/b1\n"
    cases = run("import-cases", listed(text), tmp_path / "own", "--json").data["cases"]
    assert [c.get("code", c["state"]) for c in cases] == ["other_side", "imported", "other_side"]
    assert "train (line 2) and validation (line 4)" in cases[0]["error"] and "P1" not in cases[0]["error"]


def test_a_fault_in_one_patient_keeps_no_other_from_being_imported_and_a_full_disk_ends_it(
    run, listed, tmp_path, monkeypatch
):
    whole = own_list.make_case

    def failing(wanted, out):
        if wanted.folder.name == "a1":
            raise RuntimeError("odd")
        return whole(wanted, out)

    monkeypatch.setattr(own_list, "make_case", failing)
    cases = run("import-cases", listed(THREE), tmp_path / "own", "--json").data["cases"]
    assert [c.get("code", c["state"]) for c in cases] == ["unexpected", "imported", "unreadable"]
    assert "fault of the program" in cases[0]["error"]

    def full(wanted, out):
        raise HnvlmError("no room", code="output")

    monkeypatch.setattr(own_list, "make_case", full)
    run("import-cases", listed(THREE), tmp_path / "own", "--json").refused("output")


def test_stopping_keeps_what_is_done(run, listed, tmp_path, monkeypatch):
    whole = own_list.make_case

    def stopped(wanted, out):
        if wanted.folder.name == "b1":
            raise KeyboardInterrupt
        return whole(wanted, out)

    monkeypatch.setattr(own_list, "make_case", stopped)
    message = run("import-cases", listed(THREE), tmp_path / "own", "--json").refused("cancelled", status=130)
    assert "1 imported so far stay" in message
    assert (tmp_path / "own" / "train" / "a1" / "ct.nii.gz").exists()
