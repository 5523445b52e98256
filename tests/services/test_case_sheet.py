"""The printed plan as a reviewer reads it: pages counted, not met first, one list of sources, a line to sign."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from test_dose_service import SPANS, blocks, upload
from test_plan_export import PALETTE, pdf_text

from hnvlm.imaging.volume import Volume
from hnvlm.plan import kb
from hnvlm.services import case_sheet, histograms, plan_export, planning
from hnvlm.services.sheet_parts import Sources

FORM = {"site": "oropharynx", "p16": "negative", "histology": "squamous_cell_carcinoma", "setting": "definitive",
        "tumour_size_mm": 45, "invaded": ["none"], "nodes_n_pos": 0, "distant": False, "ecog": 0,
        "chemo_possible": True, "prior_neck_rt": False}  # fmt: skip


@pytest.fixture
def planned(app, case_id, phantom):
    """A plan, and a dose of 40 Gy with 77 Gy in one voxel."""
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": blocks(phantom.shape, SPANS)})
    gy = np.full(phantom.shape, 40.0)
    gy[4, 9, 15] = 77.0
    item = upload(app, case_id, gy)
    return planning.draft_case_plan(app, case_id, form=FORM), item


def test_the_sheet_counts_its_pages_tells_the_dose_cites_one_list_and_has_a_line_to_sign_on(app, planned, monkeypatch):
    monkeypatch.setattr(case_sheet, "_font_files", lambda: None)  # built-in font: its text can be read back
    plan, item = planned
    level = plan.payload["prescription"]["schemes"][0]["levels"][0]
    assert (level["dose_gy"], level["fractions"]) == (70, 35)
    data = plan_export.pdf(app, plan, item, PALETTE)
    words = " ".join(pdf_text(data).split())
    pages = len(re.findall(rb"/Type /Page\b(?!s)", data))
    assert pages >= 2
    assert re.findall(r"page (\d+) of (\d+)", words) == [(str(n), str(pages)) for n in range(1, pages + 1)]
    assert (
        "100 % = 70 Gy in 35 fractions \\(assumed from the draft plan\\). Maximum dose 77.0 Gy \\(110.0 %\\)." in words
    )
    end = words.split("Reviewed by")[1]
    for piece in ("Name of the reviewing clinician", "Signature", "Date"):
        assert piece in end
    assert "AI draft, not signed" in words and "Signed by" not in words
    assert words.count("Sources [S1] ") == 1 and "SOURCES" not in words and not re.search(r"\[\d+\]", words)


def test_the_signs_of_the_field_are_written_where_the_font_has_them():
    sheet = case_sheet._Sheet({})
    sheet.unicode = True
    assert sheet.printable("PTV_7000 D99pct >= 66.5 Gy") == "PTV_7000 D99 % ≥ 66.5 Gy"
    assert sheet.printable("D0.03cc <= 45 Gy, V95pct, alpha/beta, 35 mm2, 40 mg/m2") == (
        "D0.03cc ≤ 45 Gy, V95 %, α/β, 35 mm², 40 mg/m²"
    )
    sheet.unicode = False
    assert sheet.printable("V95 % ≥ 95 %, α/β, mm²") == "V95 % >= 95 %, alpha/beta, mm2"


@pytest.mark.parametrize("count", [1, 7, 60])
def test_every_name_of_the_legend_lies_inside_the_drawing(app, planned, count):
    judged = histograms.judge(app, planned[1])
    curve = next(iter(judged.histograms.values()))
    names = [f"Structure_of_our_own_with_a_long_name_{n:02d}"[-34:] for n in range(count)]
    drawing = case_sheet._Sheet({}).curves(replace(judged, histograms=dict.fromkeys(names, curve)))
    left, low, right, high = drawing.getBounds()
    assert left >= 0 and low >= 0 and right <= drawing.width and high <= drawing.height < 500
    written = [s for s in drawing.contents if getattr(s, "text", "").replace(" ", "_") in names]
    assert len({(s.x, s.y) for s in written}) == count


def cells_of(table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table._cellvalues]


def test_limits_that_are_not_met_come_first_with_the_priority_in_full(app, planned):
    plan, item = planned
    rows, misfit = planning.rows_on(plan.payload, item, histograms.judge(app, item))
    assert {r.status for r in rows} >= {"met", "not_met"} and not misfit
    parts = case_sheet._Sheet({}).constraints(rows, misfit, Sources(plan.payload))
    heads, *cells = cells_of(parts[2])
    assert heads[5] == "Priority"
    states = [row[4].split(" (")[0] for row in cells]
    assert states == sorted(states, key=["NOT MET", "met", "not evaluable"].index)
    missed = [int(row[5]) for row in cells if row[4].startswith("NOT MET")]
    assert missed == sorted(missed)


def test_the_table_cites_the_list_of_the_text_with_year_and_doi(app, planned):
    plan, item = planned
    rows, misfit = planning.rows_on(plan.payload, item, histograms.judge(app, item))
    listed = {d["title"]: d["tag"] for d in plan.payload["sources"]}
    sources = Sources(plan.payload)
    table = cells_of(case_sheet._Sheet({}).constraints(rows, misfit, sources)[2])[1:]
    row = next(r for r in rows if r.structure == "SpinalCord" and r.metric == "D0.03cc")
    printed_row = next(c for c in table if c[0] == "SpinalCord" and c[1].startswith("D0.03cc"))
    assert printed_row[6].split() == [f"[{listed[d.title]}]" for d in row.sources]

    last = len(plan.payload["sources"])
    other = kb.Document("Smith A et al. (Lancet)", 2024, "10.1/x", "", "A")
    case_sheet._Sheet({}).constraints([replace(row, sources=(other,))], "", sources)
    assert sources.listed()[-1] == f"[S{last + 1}] Smith A et al. (Lancet), 2024, doi 10.1/x (grade A)"


def test_a_corrected_line_of_the_sources_and_words_below_them_are_kept(planned):
    plan, _ = planned
    first = next(line for line in plan.payload["text"].splitlines() if line.startswith("[S1] "))
    text = plan.payload["text"].replace(first, "[S1] corrected by hand") + "Seen by the board.\n"
    sources = Sources(plan.payload | {"text": text})
    assert sources.listed()[0] == "[S1] corrected by hand"
    assert len(sources.listed()) == len(plan.payload["sources"])
    assert sources.lines[-1] == "Seen by the board."


def test_slices_of_a_wide_and_a_narrow_neck_have_one_scale():
    """60 x 30 mm and 20 x 30 mm of patient, 8 mm around each: the pictures are as wide as that tells."""
    array = np.full((9, 60, 80), -1000, np.int16)
    array[:5, 15:35, 20:60] = 40  # 40 columns of 1.5 mm, 20 rows of 1.5 mm
    array[5:, 15:35, 30:45] = 40
    volume = Volume(array, (4.0, 1.25, 1.5))
    masks = {"PTV_7000": array > 0}
    table = case_sheet._Sheet({}).slices(volume, masks, Volume(np.ones(array.shape, np.float32), volume.spacing_mm), 70)
    pictures = table._cellvalues[0]
    per_mm = []
    for picture, columns in zip(pictures, (15, 40, 40), strict=True):
        margin = 2 * round(8 / 1.5)
        per_mm.append(picture.drawWidth / ((columns + margin) * 1.5))
        assert picture.drawHeight / ((20 + 2 * round(8 / 1.25)) * 1.25) == pytest.approx(per_mm[-1])
    assert per_mm == pytest.approx([per_mm[0]] * 3)
    assert max(p.drawHeight for p in pictures) <= 58 * 72 / 25.4 + 0.01


@pytest.mark.parametrize("count", [1, 5, 30])
def test_a_table_leaves_no_one_or_two_rows_alone_on_a_page(count):
    """A line is some 4 mm high: where one or two rows would be left over, four go over with them."""
    sheet = case_sheet._Sheet({})
    table = sheet.table(("a", "b"), [(n, n) for n in range(count)], (1, 1))
    _, height = table.wrap(500, 1000)
    pieces = table.split(500, height - 1)
    if count == 30:
        assert [len(p._cellvalues) for p in pieces] == [31 - 4, 5], "the heads are repeated"
    else:
        assert len(pieces) <= 1 or min(len(p._cellvalues) for p in pieces) > 3


def test_what_a_limit_is_about_and_by_how_little_it_is_missed_are_printed(app, case_id, phantom, monkeypatch):
    monkeypatch.setattr(case_sheet, "_font_files", lambda: None)
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": blocks(phantom.shape, SPANS)})
    gy = np.full(phantom.shape, 26.04)
    plan = planning.draft_case_plan(app, case_id, form=FORM)
    words = " ".join(pdf_text(plan_export.pdf(app, plan, upload(app, case_id, gy), PALETTE)).split())
    assert "at least one gland, usually" in words and "26.04 Gy" in words and "-0.04 Gy" in words


def test_the_homogeneity_of_a_lower_target_is_not_printed(app, case_id, phantom):
    """70 Gy in the boost and 56 Gy below it: D2 of a lower target that reaches into the boost is that of the boost."""
    spans = {**SPANS, "CTV_7000": SPANS["PTV_7000"], "CTVn": SPANS["PTV_5600"]}
    app.store.save_result(case_id, "structures", {"source": "upload"}, arrays={"masks": blocks(phantom.shape, spans)})
    item = upload(app, case_id, np.full(phantom.shape, 56.0))
    told = {r["name"]: r["homogeneity"] for r in histograms.table(histograms.judge(app, item), None) if r["target"]}
    assert told == {"PTV_7000": 0.0, "CTV_7000": 0.0, "PTV_5600": None, "CTVn": None}
