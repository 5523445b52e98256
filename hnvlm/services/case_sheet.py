"""The plan of a case as a PDF to print: what it is, stage, prescription, dose, constraints, text, signature."""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np

from hnvlm.imaging.volume import Volume
from hnvlm.plan.constraints import Constraint
from hnvlm.plan.decimals import margin_text, value_text
from hnvlm.plan.render import reference
from hnvlm.services import documents, dose, histograms, planning
from hnvlm.services.analysis import NOTICE
from hnvlm.services.context import App
from hnvlm.services.histograms import Judged
from hnvlm.services.palette import on_paper, structure_colours
from hnvlm.services.sheet_parts import Sources, counted_canvas
from hnvlm.services.slice_picture import axial, patient_extent
from hnvlm.store import ResultRecord

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

# In the order in which limits are printed: what is not met comes first.
_STATUS = {"not_met": "NOT MET", "met": "met", "not_evaluable": "not evaluable"}
_SIGNS = ((re.compile(r"<="), "≤"), (re.compile(r">="), "≥"), (re.compile(r"\balpha/beta\b"), "α/β"),
          (re.compile(r"\b([DV]\d+(?:\.\d+)?)pct\b"), r"\1 %"), (re.compile(r"\b(m?m)2\b"), r"\1²"))  # fmt: skip
# Room on the page for the pictures of three slices: width of all together, height of each.
_ROW_MM, _HIGHEST_MM = 174.0, 58.0
# Fonts with Polish letters and comparison signs that systems have; the first pair found is used.
_FONTS = (("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"), ("NotoSans-Regular.ttf", "NotoSans-Bold.ttf"),
          ("LiberationSans-Regular.ttf", "LiberationSans-Bold.ttf"), ("arial.ttf", "arialbd.ttf"))  # fmt: skip
_FONT_DIRS = ("/usr/share/fonts", "/usr/local/share/fonts", "/Library/Fonts", "/System/Library/Fonts/Supplemental",
              "C:/Windows/Fonts")  # fmt: skip
# Below the curves; so many letters of a name find room in a column.
_LEGEND_COLUMNS, _LEGEND_LETTERS = 3, 34
_PLAIN = {"≤": "<=", "≥": ">=", "α": "alpha", "β": "beta", "Ł": "L", "ł": "l", "–": "-", "·": "-", "−": "-", "×": "x"}


def build(
    app: App, plan: ResultRecord, item: ResultRecord | None = None, *, palette: Mapping[str, Any] | None = None
) -> bytes:
    """Return the PDF.

    Args:
        plan: The version to print.
        item: A dose of the case to print beside it; None: no dose was made.
        palette: Colours of structures and isodose levels (see ``slice_picture.axial``).
    """
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.platypus import SimpleDocTemplate

    sheet = _Sheet(palette or {})
    judged = histograms.judge(app, item) if item is not None else None
    notes = planning.notes(app, plan, item)
    story = [*sheet.head(plan, notes), *sheet.stage(plan.payload), *sheet.prescription(plan.payload)]
    sources = Sources(plan.payload)
    if judged is not None and item is not None:
        story += sheet.dose(app, item, judged)
        story += sheet.constraints(*planning.rows_on(plan.payload, item, judged), sources)
    else:
        story += [
            sheet.heading("Dose"),
            sheet.line("No dose of this case was chosen: constraints are not judged here."),
        ]
    story += [*sheet.text(sources), *sheet.sign_here()]
    out = io.BytesIO()
    document = SimpleDocTemplate(
        out, pagesize=A4, leftMargin=15 * mm, rightMargin=15 * mm, topMargin=18 * mm, bottomMargin=15 * mm,
        title=f"{NOTICE}: plan of {plan.case_id}", author="hnvlm (AI draft)", subject=NOTICE, creator="hnvlm",
        invariant=1,
    )  # fmt: skip
    synthetic = f"{planning.SYNTHETIC_CASE} " if planning.SYNTHETIC_CASE in notes else ""
    footer = f"{synthetic}{plan.case_id}, plan version {plan.version}. {documents.signature(plan)}"
    decorate = sheet.decorator(footer)
    document.build(story, onFirstPage=decorate, onLaterPages=decorate, canvasmaker=counted_canvas(sheet.regular))
    return out.getvalue()


@lru_cache(maxsize=1)
def _font_files() -> tuple[Path, Path] | None:
    for folder in map(Path, _FONT_DIRS):
        if folder.is_dir():
            found = {p.name: p for p in folder.rglob("*.ttf")}
            for regular, bold in _FONTS:
                if regular in found and bold in found:
                    return found[regular], found[bold]
    return None


class _Sheet:
    """Styles, and the parts of the sheet."""

    def __init__(self, palette: Mapping[str, Any]) -> None:
        from reportlab.lib.styles import ParagraphStyle
        from reportlab.pdfbase import pdfmetrics
        from reportlab.pdfbase.ttfonts import TTFont

        self.palette = palette
        files = _font_files()
        self.regular, self.bold, self.unicode = "Helvetica", "Helvetica-Bold", files is not None
        if files is not None:
            self.regular, self.bold = "sheet", "sheet-bold"
            pdfmetrics.registerFont(TTFont(self.regular, str(files[0])))
            pdfmetrics.registerFont(TTFont(self.bold, str(files[1])))
        self.body = ParagraphStyle("body", fontName=self.regular, fontSize=8, leading=10.5)
        self.strong = ParagraphStyle("strong", parent=self.body, fontName=self.bold)
        self.small = ParagraphStyle("small", parent=self.body, fontSize=6.8, leading=8.4)
        self.title = ParagraphStyle("title", parent=self.body, fontName=self.bold, fontSize=14, leading=18)
        self.section = ParagraphStyle(
            "section", parent=self.body, fontName=self.bold, fontSize=10, leading=14, spaceBefore=6, keepWithNext=1
        )

    def printable(self, text: object) -> str:
        """With the signs of the field; without a font for them, with what the built-in one can print instead."""
        words = str(text)
        for written, sign in _SIGNS:
            words = written.sub(sign, words)
        if not self.unicode:
            words = "".join(_PLAIN.get(c, c) for c in words)
            words = unicodedata.normalize("NFKD", words).encode("latin-1", "ignore").decode("latin-1")
        return words

    def line(self, text: object, style: Any = None) -> Flowable:
        """One paragraph."""
        from reportlab.platypus import Paragraph

        return Paragraph(escape(self.printable(text)), style or self.body)

    def heading(self, text: str) -> Flowable:
        """Heading of a section."""
        return self.line(text, self.section)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[object]], widths: Sequence[float]) -> Flowable:
        """Table over the width of the page; ``widths`` are shares."""
        from reportlab.lib.colors import HexColor
        from reportlab.lib.units import mm
        from reportlab.platypus import Table

        cells = [[self.line(h, self.small) for h in heads], *([self.line(c, self.small) for c in row] for row in rows)]
        total = sum(widths)
        return Table(
            cells, colWidths=[180 * mm * w / total for w in widths], repeatRows=1, hAlign="LEFT",
            style=[("VALIGN", (0, 0), (-1, -1), "TOP"), ("BACKGROUND", (0, 0), (-1, 0), HexColor("#e8ecef")),
                   ("LINEBELOW", (0, 0), (-1, -1), 0.25, HexColor("#b0b8bf")), ("LEFTPADDING", (0, 0), (-1, -1), 3),
                   ("TOPPADDING", (0, 0), (-1, -1), 1), ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
                   # Neither one or two rows below the heads nor one or two on the next page.
                   ("NOSPLIT", (0, 0), (0, min(3, len(cells) - 1))),
                   ("NOSPLIT", (0, max(0, len(cells) - 4)), (0, -1))],
        )  # fmt: skip

    def decorator(self, footer: str) -> Any:
        """Return the function that marks every page."""

        def draw(canvas: Any, document: Any) -> None:
            width, height = document.pagesize
            canvas.saveState()
            canvas.setFillColorRGB(0.98, 0.9, 0.75)
            canvas.rect(0, height - 30, width, 30, stroke=0, fill=1)
            canvas.setFillColorRGB(0.35, 0.2, 0)
            canvas.setFont(self.bold, 10)
            canvas.drawCentredString(width / 2, height - 20, documents.HEADER)
            canvas.setFillColorRGB(0.3, 0.3, 0.3)
            canvas.setFont(self.regular, 7)
            canvas.drawString(42, 22, self.printable(footer))
            canvas.restoreState()

        return draw

    # ---- parts --------------------------------------------------------------------------------

    def head(self, plan: ResultRecord, notes: Sequence[str]) -> list[Flowable]:
        """Title, version and signature; what must be known before it is read, and where text and figures disagree."""
        when = plan.created[:16].replace("T", " ")
        return [
            self.line(f"Draft treatment plan, case {plan.case_id}", self.title),
            self.line(f"Version {plan.version} of {when} UTC. {documents.signature(plan)}."),
            self.line("Drafted by a program from this CT, the clinical form and cited tables. A clinician corrects and "
                      "signs it. Not a prescription."),
            *(self.line(note, self.strong) for note in notes),
            *(self.line(f"{c['status'].upper()}: {c['message']}")
              for c in plan.payload.get("text_checks", ()) if c["status"] in ("fail", "warn")),
        ]  # fmt: skip

    def stage(self, payload: dict[str, Any]) -> list[Flowable]:
        """Urgent lines, stage, intent and treatment."""
        staging, intent, modality = payload["staging"], payload["intent"], payload["modality"]
        state = " (provisional)" if staging["provisional"] else ""
        open_table = (
            " (open until the missing marker is known; the plan is drafted for the first)"
            if modality.get("token")
            else " (open until the markers are known and agree; no plan is drafted)"
        )
        lines = [
            f"{': '.join(words)}{state}{open_table if number else ''}"
            for number, words in enumerate(planning.all_stages(staging))
        ] + [
            f"Intent: {planning.intent_words(intent)}",
            "Treatment drafted: " + "; ".join(t for t in (modality["drafted"] or "none", modality["withheld"]) if t),
        ]
        urgent = [self.heading("Urgent"), *(self.line(t) for t in payload["urgent"])] if payload["urgent"] else []
        return [*urgent, self.heading("Stage and intent"), *(self.line(t) for t in lines)]

    def prescription(self, payload: dict[str, Any]) -> list[Flowable]:
        """Dose levels of the drafted schemes."""
        drafted = payload["prescription"]
        rows = [
            (v["target"], v["purpose"], f"{v['dose_gy']:g} Gy", v["fractions"], f"{v['per_fraction_gy']:g} Gy",
             f"{v['eqd2_10_gy']:.1f} Gy", f"{v['bed10_gy']:.1f} Gy",
             "; ".join(t for t in (s["schedule"], s["condition"]) if t))
            for s in drafted["schemes"] for v in s["levels"]
        ]  # fmt: skip
        of_draft = " (figures of the AI draft, NOT of the edited text)" if planning.text_disagrees(payload) else ""
        out: list[Flowable] = [self.heading(f"Prescription{of_draft}")]
        if drafted["withheld"]:
            out.append(self.line(f"No dose drafted: {drafted['withheld']}"))
        if rows:
            heads = ("Target", "For", "Dose", "Fractions", "Each", "EQD2", "BED", "Schedule, condition")
            out.append(self.table(heads, rows, (1.8, 2.2, 1.2, 1.2, 1.2, 1.3, 1.3, 3.8)))
            out.append(self.line("EQD2 and BED: α/β 10 Gy assumed, no time factor.", self.small))
        return out

    def dose(self, app: App, item: ResultRecord, judged: Judged) -> list[Flowable]:
        """Pictures, curves and figures of the dose."""
        from reportlab.platypus import KeepTogether

        volume, gy, found = (
            app.store.load_volume(item.case_id),
            dose.load(app, item),
            dose.structures(app, item.case_id),
        )
        fractions = dose.fractions(app, item)
        said = _dose_words(item, judged, gy, dose.in_fractions(app, item), dose.notes(app, item))
        out: list[Flowable] = [self.heading("Dose"), *(self.line(text) for text in said)]
        if dose.is_predicted(item):
            out.insert(2, self.line("PREDICTED by a model, not calculated from beams."))
        out.append(self.slices(volume, found.masks, gy, judged.prescription_gy))
        out += self.isodose(judged.prescription_gy)
        out.append(KeepTogether([self.heading("Dose-volume histogram"), self.curves(judged)]))
        rows = histograms.table(judged, fractions)
        out.append(self.figures(rows))
        out += [self.line(f"{r['name']}: {r['outside']}; its figures are not known.") for r in rows if r["outside"]]
        out.append(self.line(
            f"EQD2 for {fractions} fractions, mean sample by sample; ratios of the cited tables." if fractions else
            "EQD2 is not given: the number of fractions is not known.", self.small))  # fmt: skip
        out.append(self.line("HI: of the highest level only, as its dose makes the D2 of a lower one.", self.small))
        return out

    def slices(self, volume: Volume, masks: Mapping[str, np.ndarray], gy: Volume, full_gy: float | None) -> Flowable:
        """Pictures of the key slices side by side, all at one scale."""
        from reportlab.lib.units import mm
        from reportlab.platypus import Image, Table

        picked = key_slices(volume, masks)
        sizes = [_shown_mm(volume, index) for index in picked]
        scale = min(_ROW_MM / (len(picked) * max(w for w, _ in sizes)), _HIGHEST_MM / max(h for _, h in sizes))
        pictures, captions = [], []
        for index, (width, height) in zip(picked, sizes, strict=True):
            picture = axial(volume, index, masks=masks, dose=gy, full_gy=full_gy, palette=self.palette)
            data = io.BytesIO()
            picture.save(data, "PNG")
            data.seek(0)
            pictures.append(Image(data, width * scale * mm, height * scale * mm))
            captions.append(
                self.line(f"slice {index + 1} of {volume.shape[0]}, right of the patient on the left", self.small)
            )
        return Table(
            [pictures, captions], hAlign="LEFT", colWidths=[_ROW_MM / 3 * mm] * len(picked),
            style=[("VALIGN", (0, 0), (-1, 0), "MIDDLE"), ("ALIGN", (0, 0), (-1, 0), "CENTER"),
                   ("LEFTPADDING", (0, 0), (-1, -1), 0), ("RIGHTPADDING", (0, 0), (-1, -1), 0)],
        )  # fmt: skip

    def isodose(self, full_gy: float | None) -> list[Flowable]:
        """Which colour is which dose, in one line."""
        from reportlab.platypus import Paragraph

        levels = self.palette.get("isodose", [])
        if not full_gy or not levels:
            return []
        parts = [
            f'<font backColor="{v["colour"]}">&nbsp;&nbsp;&nbsp;</font>&nbsp;{v["percent"]}&nbsp;%&nbsp;'
            f"({v['percent'] * full_gy / 100:.1f}&nbsp;Gy)"
            for v in levels
        ]
        return [Paragraph("Isodose: " + "&nbsp; ".join(parts), self.small)]

    def figures(self, rows: Sequence[Mapping[str, Any]]) -> Flowable:
        """Figures of every structure."""

        def gy(value: float | None) -> str:
            return "-" if value is None else f"{value:.1f}"

        cells = [
            (r["name"].replace("_", " "), r["drawn_by"], f"{r['volume_cc']:.1f}", gy(r.get("Dmean")),
             gy(r.get("D98pct")), gy(r.get("D50pct")), gy(r.get("D2pct")), gy(r.get("D0.03cc")),
             "-" if r.get("homogeneity") is None or not r["target"] else f"{r['homogeneity']:.3f}", gy(r["eqd2_mean"]),
             r["alpha_beta"])
            for r in rows
        ]  # fmt: skip
        heads = (
            "Structure",
            "Drawn by",
            "cc",
            "Mean Gy",
            "D98 Gy",
            "D50 Gy",
            "D2 Gy",
            "D0.03cc",
            "HI",
            "EQD2 mean",
            "Ratio",
        )
        return self.table(heads, cells, (2.6, 1.2, 1.1, 1.1, 1.1, 1.1, 1.1, 1.2, 1, 1.2, 2.2))

    def curves(self, judged: Judged) -> Flowable:
        """The DVH as a drawing, with a legend below it that grows with the structures."""
        from reportlab.graphics.shapes import Drawing, Line, PolyLine, String
        from reportlab.lib.colors import HexColor

        legend = -(-len(judged.histograms) // _LEGEND_COLUMNS)
        width, height, left, bottom = 470.0, 170.0, 30.0, 22.0 + 9 * legend + 6
        top = max([10.0, *(dvh.max_gy for dvh in judged.histograms.values())]) * 1.03
        drawing = Drawing(510, bottom + height + 12)
        for percent in range(0, 101, 20):
            y = bottom + height * percent / 100
            drawing.add(Line(left, y, left + width, y, strokeColor=HexColor("#d5dade"), strokeWidth=0.4))
            drawing.add(String(left - 4, y - 2.5, str(percent), fontSize=6.5, textAnchor="end"))
        for gy in range(0, int(top) + 1, 10):
            x = left + width * gy / top
            drawing.add(Line(x, bottom, x, bottom + height, strokeColor=HexColor("#d5dade"), strokeWidth=0.4))
            drawing.add(String(x, bottom - 9, str(gy), fontSize=6.5, textAnchor="middle"))
        drawing.add(String(left + width / 2, bottom - 20, "Dose [Gy]", fontSize=7, textAnchor="middle"))
        drawing.add(String(left, bottom + height + 3, "Volume [%]", fontSize=7))
        colours = structure_colours(judged.histograms, self.palette)
        for n, (name, dvh) in enumerate(judged.histograms.items()):
            ink = HexColor(on_paper(colours[name]))
            doses, volumes = dvh.curve(0.5, top)
            points = np.column_stack([left + width * doses / top, bottom + height * volumes / 100])
            drawing.add(
                PolyLine(points[points[:, 0] <= left + width].ravel().tolist(), strokeColor=ink, strokeWidth=1.2)
            )
            column, row = divmod(n, legend)
            x, y = left + column * width / _LEGEND_COLUMNS, 9 * (legend - 1 - row) + 2
            drawing.add(Line(x, y + 2, x + 12, y + 2, strokeColor=ink, strokeWidth=2))
            words = self.printable(name.replace("_", " "))[:_LEGEND_LETTERS]
            drawing.add(String(x + 16, y, words, fontName=self.regular, fontSize=6.8))
        return drawing

    def constraints(self, judged: Sequence[Constraint], misfit: str, sources: Sources) -> list[Flowable]:
        """Judged rows with their sources, those not met first, or why none is judged."""
        rows = []
        order = list(_STATUS)
        for r in sorted(judged, key=lambda r: (order.index(r.status), r.priority)):
            value = "-" if r.value is None else f"{value_text(r.value, r.limit)} {r.unit}"
            exact = r.value is not None and r.margin is not None
            margin = f"{margin_text(r.margin, r.value, r.limit)} {r.unit}" if exact else "-"
            why = f" ({r.reason})" if r.reason and not misfit else ""
            cited = [(r.edited, r.edited)] if r.edited else [(d.title, reference(d)) for d in r.sources]
            limit = f"{r.metric} {r.op} {r.limit:g} {r.unit}{f' ({r.applies})' if r.applies else ''}"
            rows.append(
                (r.structure.replace("_", " "), limit, value, margin, _STATUS[r.status] + why, r.priority,
                 " ".join(sources.tag(*document) for document in cited))
            )  # fmt: skip
        heads = ("Structure", "Limit", "Value", "Margin", "Status", "Priority", "Source")
        met = sum(r.status == "met" for r in judged)
        missed = sum(r.status == "not_met" for r in judged)
        said = f"{missed} not met, {met} met, {len(rows) - met - missed} not evaluable."
        said = f"None is judged: {misfit}." if misfit else said
        table = self.table(heads, rows, (2, 2.4, 1.4, 1.4, 2.6, 1, 1.7))
        legend = "Priority 1: hard limit. 2: strong. 3: as low as reasonably achievable. Sources: at the end."
        return [self.heading("Dose constraints"), self.line(said), table, self.line(legend, self.small)]

    def text(self, sources: Sources) -> list[Flowable]:
        """The text of the plan as it was drafted or edited, and the sources of the sheet."""
        from reportlab.lib.units import mm
        from reportlab.platypus import CondPageBreak

        out: list[Flowable] = [CondPageBreak(40 * mm), self.heading("Plan text")]
        for line in sources.lines:
            if line.strip():
                capital = line.strip(": ").isupper() and len(line.split()) <= 9
                out.append(self.line(line, self.section if capital else self.body))
        if listed := sources.listed():
            out += [self.heading("Sources"), *(self.line(line, self.small) for line in listed)]
        return out

    def sign_here(self) -> list[Flowable]:
        """Lines on which the reviewing clinician signs by hand; nothing is filled in."""
        from reportlab.lib.colors import black
        from reportlab.lib.units import mm
        from reportlab.platypus import KeepTogether, Table

        heads = ("Name of the reviewing clinician", "Signature", "Date")
        lines = Table(
            [["", "", "", "", ""], [self.line(h, self.small) for h in (heads[0], "", heads[1], "", heads[2])]],
            colWidths=[70 * mm, 5 * mm, 65 * mm, 5 * mm, 35 * mm], rowHeights=[12 * mm, None], hAlign="LEFT",
            style=[*(("LINEBELOW", (n, 0), (n, 0), 0.5, black) for n in (0, 2, 4)),
                   ("LEFTPADDING", (0, 0), (-1, -1), 0)],
        )  # fmt: skip
        return [KeepTogether([self.heading("Reviewed by"), lines])]


def _dose_words(item: ResultRecord, judged: Judged, gy: Volume, given: str, notes: Sequence[str]) -> list[str]:
    """Which dose it is, of which prescription, and its maximum; then what else is known of it.

    Args:
        given: In how many fractions, as ``dose.in_fractions`` says it.
        notes: Of ``dose.notes``.
    """
    full = judged.prescription_gy
    given = given or ", fractions not known"
    said = f"100 % = {full:g} Gy{given}" if full else "prescription not known"
    top = float(np.nanmax(gy.array))
    share = f" ({100 * top / full:.1f} %)" if full else ""
    return [f"{dose.label(item)}. {said}. Maximum dose {top:.1f} Gy{share}.", *notes]


def _shown_mm(volume: Volume, index: int) -> tuple[float, float]:
    """Return width and height in mm of what ``axial`` shows of a slice (y, x)."""
    rows, columns = patient_extent(np.asarray(volume.array[index], np.float32), volume)
    height, width = volume.array[index][rows, columns].shape
    return width * volume.spacing_mm[2], height * volume.spacing_mm[1]


def key_slices(volume: Volume, masks: Mapping[str, np.ndarray]) -> list[int]:
    """Return the slices to show: through the highest target at a quarter, half and three quarters of its height."""
    levels = dose.prescriptions(masks)
    names = [next(iter(levels))] if levels else [n for n in masks if dose.is_target(n)] or list(masks)
    extent = np.flatnonzero(np.any([masks[n].any(axis=(1, 2)) for n in names], axis=0)) if names else np.array([])
    if not extent.size:
        extent = np.arange(volume.shape[0])
    picked = [int(extent[round((len(extent) - 1) * share)]) for share in (0.75, 0.5, 0.25)]
    return list(dict.fromkeys(picked))
