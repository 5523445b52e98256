"""Check the figures of an edited or model-written plan text against the structured plan."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from hnvlm.imaging.tg263 import to_tg263
from hnvlm.plan.kb import APP_LOGIC
from hnvlm.plan.prescription import Level
from hnvlm.plan.render import SOURCES_HEADING
from hnvlm.plan.result import Plan
from hnvlm.plan.staging import Staging
from hnvlm.types import CheckResult

_NUMBER = r"\d+(?:[.,]\d+)?"
_QUANTITIES = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        ("dose_gy", rf"(?<![\w.])({_NUMBER})\s*(c?Gy)\b"),
        ("fractions", r"(?<![\w.])(\d+)\s*(?:fractions?|fx|#)(?!\w)(?!\s+(?:a|per)\s+(?:day|week))"),
        # "70 Gy/33", "2 Gy x 33", "33 x 2 Gy": the number stands without its noun.
        ("fractions", r"(?<=Gy)\s*[/x×]\s*(\d{1,2})(?![\d.,]\d|\d|\s*(?:%|fractions?|fx|#))"),
        ("fractions", rf"(?<![\w.])(\d{{1,2}})\s*[x×](?=\s*{_NUMBER}\s*c?Gy\b)"),
        ("fractions_per_week", r"(?<![\w.])(\d+)\s*(?:fractions?|fx)\s+(?:a|per)\s+week"),
        ("mg_m2", rf"(?<![\w.])({_NUMBER})\s*mg\s*(?:/|per)\s*(?:m\s?(?:2|²|\^2)|sqm\b|sq\.?\s?m\b)"),
        ("mg", r"(?<![\w.,])(\d{1,2},\d{3}|\d+(?:\.\d+)?)\s*mg\b(?!\s*(?:/|per)\s*(?:m|kg|sq|d|L))"),
        ("mm", rf"(?<![\w.])({_NUMBER})\s*(mm|cm)\b(?!2)"),
    )
)
# TNM tokens are written in capitals; "in situ" or a sequence, "T1-weighted", must not match.
_SEQUENCE = r"\W?\s?(?:weight\w*|FLAIR|STIR|TSE|signal|hyper-?intens\w*|hypo-?intens\w*|sequences?|images?|imaging)\b"
_TNM = re.compile(
    r"(?<![A-Za-z0-9])[cpy]{0,2}(T(?:is|X|[0-4][ab]?)|N(?:X|[0-3][abc]?)|M(?:X|[01][ab]?))(?![A-Za-z0-9])"
    rf"(?!{_SEQUENCE})"
)
_JOINED_TNM = re.compile(r"(?<![A-Za-z0-9])[cp]?(T(?:is|[0-4][ab]?))(N[0-3][abc]?)(M[01])?(?![A-Za-z0-9])")
# Other diseases have stages, too.
_STAGE = re.compile(
    r"(?<!CKD )(?<!kidney disease )\bstage\s+(?:group\s+)?(0|IV[ABC]?|I{1,3}|[1-4][ABC]?)(?![A-Za-z0-9]|[.,]\d)"
    r"(?!\s+(?:chronic|CKD|kidney|renal|hypertens\w+|heart|COPD|pressure))",
    re.IGNORECASE,
)
_ROMAN = {"1": "I", "2": "II", "3": "III", "4": "IV"}
# Sides and nodal levels of a line.
_PLACE = re.compile(
    r"(?<![A-Za-z])(left|right|bilateral|ipsilateral|contralateral|levels? [IV]{1,3}[AB]?)(?![A-Za-z])", re.IGNORECASE
)
_LIMIT = re.compile(
    r"[<>≤≥]|\b(?:D(?:max|mean)|D[\d.]+cc|max|mean|maximum|limit\w*|constraint\w*|below)\b", re.IGNORECASE
)
_TARGET = re.compile(r"\b(?:PTV|CTV|GTV)_?\d{2,4}\b", re.IGNORECASE)
_PRESCRIBES = re.compile(r"\b(?:PTV|CTV|GTV|fractions?|fx|tumou?r|boost|prescri\w+)\b", re.IGNORECASE)
_HEDGES = re.compile(r"\b(?:could|would|may|might|if|possible|possibly)\b", re.IGNORECASE)
_REFERENCE = re.compile(r"\[S\d+\] ")
_TAGS = re.compile(r"\[S\d+\]")
_WORDS = {
    "dose_gy": "Gy", "fractions": "fractions", "fractions_per_week": "fractions a week", "mg_m2": "mg/m2",
    "mg": "mg", "mm": "mm", "tnm": "", "stage": "",
}  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """One figure of a text: what kind, its value, and where it stands (character offsets in the whole text)."""

    kind: str
    value: float | str
    written: str
    start: int
    end: int
    line: int


def figures(text: str) -> list[Figure]:
    """Find every dose, fraction number, drug dose, length, TNM category and stage group; the source list is skipped."""
    found: list[Figure] = []
    offset = 0
    in_sources = False
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        in_sources = in_sources or line.strip() == SOURCES_HEADING
        if in_sources and _REFERENCE.match(line):
            offset += len(line)
            continue
        found += [
            Figure(kind, value, line[a:b], offset + a, offset + b, number) for kind, value, a, b in _in_line(line)
        ]
        offset += len(line)
    return found


def _in_line(line: str) -> Iterator[tuple[str, float | str, int, int]]:
    # Tags and target names hold digits that are no figures.
    bare = _TAGS.sub(lambda m: " " * len(m[0]), line)
    bare = _TARGET.sub(lambda m: " " * len(m[0]), bare)
    for kind, pattern in _QUANTITIES:
        for match in pattern.finditer(bare):
            value = float(match[1].replace(",", "" if kind == "mg" else "."))
            unit = match[2].lower() if match.re.groups > 1 else ""
            value = value / 100 if unit == "cgy" else value * 10 if unit == "cm" else value
            yield kind, value, match.start(1), match.end()
    joined = list(_JOINED_TNM.finditer(bare))
    for match in joined:
        for group in range(1, 4):
            if match[group]:
                yield "tnm", match[group], match.start(group), match.end(group)
    for match in _TNM.finditer(bare):
        if not any(j.start() <= match.start() < j.end() for j in joined):
            yield "tnm", match[1], match.start(1), match.end(1)
    for match in _STAGE.finditer(bare):
        group = match[1].upper()
        yield "stage", _ROMAN.get(group[0], group[0]) + group[1:], match.start(1), match.end(1)


def check_plan_text(text: str, plan: Plan) -> list[CheckResult]:
    """Compare every figure of a plan text with the structured plan.

    A line that the draft itself holds is right by construction. In any other line a dose beside a target's name
    must be that target's, a limit beside a structure's name that structure's, a drug dose beside a drug's name
    that drug's; TNM and stage must be those of the staging (or of its alternative table); any other figure
    must at least occur in the draft. A line that is one of the draft but for its sides or levels is told.

    Args:
        text: Edited by a clinician or written by a model.

    Returns:
        One result per figure that disagrees (``fail``; ``details`` holds line, start, end, written, expected),
        one ``warn`` per prescription level or stage that the text no longer states, and one ``pass`` that counts
        the figures that agree.
    """
    drafted = {normalised(line) for line in plan.text.splitlines()}
    known = {(f.kind, f.value) for f in figures(plan.text)}
    lines = text.splitlines()
    found = figures(text)
    results: list[CheckResult] = []
    agreed = 0
    for figure in found:
        line = lines[figure.line - 1]
        expected = None if normalised(line) in drafted else _expected(figure, line, plan, known)
        if expected is None:
            agreed += 1
        else:
            results.append(_disagreement(figure, expected))
    results += _moved(text, plan, drafted)
    results += _left_out(found, plan)
    message = f"{agreed} figures of the text agree with the structured plan"
    return [*results, CheckResult("text_agrees", "pass", message, APP_LOGIC.title, {"agreed": agreed})]


def _moved(text: str, plan: Plan, drafted: set[str]) -> list[CheckResult]:
    """Tell of lines of the draft whose side or nodal level was changed ("Mass, left" where the plan says right)."""
    known: dict[str, list[str]] = {}
    for line in plan.text.splitlines():
        known.setdefault(_skeleton(line), []).append(_places(line))
    results: list[CheckResult] = []
    offset = 0
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        places = list(_PLACE.finditer(line))
        there = list(dict.fromkeys(known.get(_skeleton(line), [])))
        if places and there and _places(line) not in there and normalised(line) not in drafted:
            written = line[places[0].start() : places[-1].end()]
            details = {
                "line": number, "start": offset + places[0].start(), "end": offset + places[-1].end(),
                "written": written, "expected": there,
            }  # fmt: skip
            message = f'Line {number}: "{_places(line)}". The plan says {" or ".join(there)}.'
            results.append(CheckResult("text_place", "fail", message, APP_LOGIC.title, details))
        offset += len(line)
    return results


def _skeleton(line: str) -> str:
    """A line without its sides, levels and numbers."""
    return re.sub(r"\d+(?:[.,]\d+)?", "#", _PLACE.sub("@", normalised(line)))


def _places(line: str) -> str:
    """Sides and levels of a line in order: "left level II"."""
    return " ".join(
        m[1].lower() if m[1].isalpha() else f"level {m[1].split()[-1].upper()}" for m in _PLACE.finditer(line)
    )


def normalised(line: str) -> str:
    """Return a line without its source tags, list mark and case: lines that are equal so are word for word the same."""
    return " ".join(_TAGS.sub("", line).split()).strip(" -.").lower()


def _disagreement(figure: Figure, expected: list[str]) -> CheckResult:
    unit = _WORDS[figure.kind]
    wanted = " or ".join(expected) + (f" {unit}" if unit and expected else "")
    said = f"The plan says {wanted}" if expected else "The plan holds no such figure"
    details = {
        "line": figure.line,
        "start": figure.start,
        "end": figure.end,
        "written": figure.written,
        "expected": expected,
    }
    return CheckResult(
        f"text_{figure.kind}", "fail", f'Line {figure.line}: "{figure.written}". {said}.', APP_LOGIC.title, details
    )


def _expected(figure: Figure, line: str, plan: Plan, known: set[tuple[str, float | str]]) -> list[str] | None:
    """Return None when the figure agrees, else what would (empty when the plan holds nothing of the kind)."""
    if figure.kind in ("tnm", "stage"):
        allowed = _stages(plan.staging, figure, hedged=bool(_HEDGES.search(line)))
        return None if figure.value in allowed else allowed
    allowed = _allowed_beside_name(figure, line, plan)
    if figure.kind == "mg" and allowed is None:
        return None  # a drug that is none of the plan's treatment: an antiemetic, a painkiller
    if allowed is not None:
        return None if any(_same(v, figure.value) for v in allowed) else [f"{v:g}" for v in allowed]
    if any(kind == figure.kind and _same(value, figure.value) for kind, value in known):
        return None
    return [f"{level.dose_gy:g}" for level in plan.prescription.levels] if figure.kind == "dose_gy" else []


def _same(a: float | str, b: float | str) -> bool:
    return isinstance(a, float) and isinstance(b, float) and abs(a - b) < 0.005


def _stages(staging: Staging, figure: Figure, *, hedged: bool) -> list[str]:
    """Return the categories or groups a figure may be; a hedged sentence may also name what is still possible."""
    tables = (staging, *staging.alternatives)
    if figure.kind == "stage":
        groups = [g for s in tables for g in (s.group, *(s.possible_groups if hedged else ())) if g]
        return list(dict.fromkeys(groups))
    categories = [getattr(s, str(figure.value)[0].lower()) for s in tables]
    values = [v for c in categories for v in (c.value, *(c.possible if hedged else ())) if v]
    return list(dict.fromkeys(values))


def _allowed_beside_name(figure: Figure, line: str, plan: Plan) -> list[float] | None:
    """Return the values a figure may take because of a name in its line, None when no name binds it."""
    levels = plan.prescription.levels
    if figure.kind in ("dose_gy", "fractions"):
        level = next((v for v in levels if _is_nearest(figure, v, line, [v.target for v in levels])), None)
        if level is not None:
            return [level.dose_gy] if figure.kind == "dose_gy" else [float(level.fractions)]
    if figure.kind == "dose_gy":
        return _limits_beside_structure(figure, line, plan)
    if figure.kind == "mg_m2":
        drugs = [s for s in plan.systemic if s.status != "avoid" and s.agent.split()[0].lower() in line.lower()]
        given = [s for s in drugs if s.status != "not_eligible"]  # a dose that is not suitable is none of the plan's
        written = {float(f.value) for s in given for f in figures(s.dose) if f.kind == "mg_m2"}
        return sorted(written | {dose for s in given for dose in s.doses_mg_m2}) if drugs else None
    return _flat_doses(figure, line, plan) if figure.kind == "mg" else None


def _flat_doses(figure: Figure, line: str, plan: Plan) -> list[float] | None:
    """Doses in mg of the drug that stands just before a figure ("pembrolizumab 200 mg"); None where none does."""
    doses: set[float] = set()
    for regimen in plan.systemic:
        drug = re.escape(regimen.agent.split()[0])
        if re.search(rf"\b{drug}\b[^.;,\d]{{0,20}},?\s*{re.escape(figure.written)}", line, re.IGNORECASE):
            doses |= {
                float(f.value) for f in figures(regimen.dose) if f.kind == "mg" and regimen.status != "not_eligible"
            }
    return sorted(doses) or None


def _is_nearest(figure: Figure, level: Level, line: str, targets: list[str]) -> bool:
    """Whether a figure is the one that a target's name binds.

    Where the names come first ("PTV_7000 to 70 Gy and PTV_6300 to 63 Gy") it is the next one behind the name, else
    the one closest to it, of its own clause first. The dose of one fraction is bound by no name.
    """
    name = _name_of(level.target).search(line)
    if name is None:
        return False
    per_fraction = level.dose_gy / level.fractions
    spots = [
        (a, line[a:b])
        for kind, value, a, b in _in_line(line)
        if kind == figure.kind and not (kind == "dose_gy" and _same(value, per_fraction))
    ]
    names = [match.start() for target in targets for match in _name_of(target).finditer(line)]
    next_name = min((n for n in names if n > name.start()), default=len(line))
    following = [spot for spot in spots if name.end() <= spot[0] < next_name]
    if following and min(names) < spots[0][0]:
        return following[0][1] == figure.written
    breaks = [m.start() for m in re.finditer(r"[;,.](?=\s)", line)]
    start = max((b for b in breaks if b < name.start()), default=-1)
    end = min((b for b in breaks if b >= name.end()), default=len(line))
    clause = [spot for spot in spots if start < spot[0] < end] or spots
    nearest = min(clause, key=lambda spot: abs(spot[0] - name.start()), default=None)
    return nearest is not None and nearest[1] == figure.written


@cache
def _name_of(target: str) -> re.Pattern[str]:
    """A target as clinicians write it: PTV_7000, PTV7000, PTV_70, PTV70."""
    kind, _, digits = target.partition("_")
    short = rf"|{digits[:-2]}" if digits.endswith("00") and len(digits) > 2 else ""
    number = rf"(?:{digits}{short})(?!\w|[.,]\d|\s*c?Gy)" if digits.isdigit() else re.escape(digits)
    return re.compile(rf"\b{re.escape(kind)}[_ ]?{number}", re.IGNORECASE)


def _limits_beside_structure(figure: Figure, line: str, plan: Plan) -> list[float] | None:
    """Limits of the structures that a figure of a line belongs to: those named since the figure before it."""
    named = _structures_in(line, {r.structure for r in plan.constraints if r.unit == "Gy"})
    if not named:
        return None
    own: set[str] = set()
    since = 0
    for start in [a for kind, _, a, b in _in_line(line) if kind == "dose_gy"]:
        own = {name for name, at in named if since <= at < start} or own
        since = start
        if line[start:].startswith(figure.written):
            break
    own = own or {name for name, _ in named}
    rows = [r for r in plan.constraints if r.unit == "Gy" and r.structure in own]
    measured = {abs(round(v, 1)) for r in rows for v in (r.value, r.margin) if v is not None}
    return sorted({r.limit for r in rows} | measured)


def _structures_in(line: str, structures: set[str]) -> list[tuple[str, int]]:
    """Structures of the plan and where a line names them; in words ("left parotid") only where it tells a limit."""
    found = [(name, m.start()) for name in structures for m in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", line)]
    if _PRESCRIBES.search(line):
        return found if _LIMIT.search(line) else []  # "70 Gy in 35 fractions to the larynx" tells no limit of it
    if not _LIMIT.search(line):
        return found
    words = list(re.finditer(r"[A-Za-z]+", line))
    for first in range(len(words)):
        for last in range(min(first + 2, len(words) - 1), first - 1, -1):
            text = line[words[first].start() : words[last].end()]
            name = to_tg263(text) if re.fullmatch(r"[A-Za-z ]+", text) else None
            if name in structures and not any(name == other for other, _ in found):
                found.append((str(name), words[first].start()))
                break
    return found


def _left_out(found: list[Figure], plan: Plan) -> list[CheckResult]:
    """Warn of prescription levels and of a stage that the text no longer states."""
    doses = {f.value for f in found if f.kind == "dose_gy"}
    missing = [v for v in plan.prescription.levels if not any(_same(v.dose_gy, dose) for dose in doses)]
    results = [
        CheckResult(
            "text_level_missing",
            "warn",
            f"The text no longer states {v.target}, {v.dose_gy:g} Gy.",
            APP_LOGIC.title,
            {"target": v.target},
        )
        for v in missing
    ]
    group = plan.staging.group
    if group is not None and not any(f.kind == "stage" and f.value == group for f in found):
        results.append(
            CheckResult(
                "text_stage_missing",
                "warn",
                f"The text no longer states stage {group}.",
                APP_LOGIC.title,
                {"stage": group},
            )
        )
    return results
