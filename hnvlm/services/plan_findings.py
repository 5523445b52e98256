"""Findings that a plan's text states, held against those that the plan was drafted from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from hnvlm.plan.case import describe_finding
from hnvlm.plan.kb import load_kb
from hnvlm.plan.safety import run_rules
from hnvlm.plan.textcheck import normalised
from hnvlm.report.parse import sentence_findings
from hnvlm.report.sentences import READ_SECTIONS, read_lines
from hnvlm.report.vocabulary import load
from hnvlm.types import SIDES, CheckResult, Finding

RULES = ("fid_negated", "fid_hedged", "fid_unsupported")

# Parts of a plan that speak of what is treated, limited, asked or checked, never of what is seen.
_OTHER_HEADING = re.compile(
    r"\W*(?:RADIOTHERAPY|TARGET|DOSE|SYSTEMIC|SUPPORTIVE|FOLLOW-UP|OPEN QUESTIONS|CONTRADICTIONS|NOT VERIFIED)\b"
)
_REFERENCE = re.compile(r"\s*\[S\d+\]\s")
_TAGS = re.compile(r"\[S\d+\]")
_CHECKED = re.compile(r"\W*(?:BLOCK|ERROR|WARN|INFO|FAIL)\b")
_LABEL = re.compile(r"[^.:;]{1,60}:(?=\s)")
# A sentence with one of these words speaks of targets and doses, of treatment, or of what is open or only possible.
_TREATS = (
    r"[CGP]TV\w*|elective\w*|targets?|prophyla\w+|doses?|c?Gy|fractions?|fx|boost\w*|contour(?:ed|ing)|cover\w*|"
    r"spar(?:es?|ed|ing)|irradiat\w*|radio(?:chemo)?therapy|(?:chemo)?radiation|(?:chemo|immuno)\w*|"
    r"(?-i:C?RT|IMRT|VMAT)|treat\w*|therap\w*|prescri\w*|constraints?|limits?|D(?:max|mean)|surg\w*|"
    r"operat\w*|resect\w*|excis\w*|dissect\w*|"
    r"\w+ectomy|reconstruct\w*|biops\w*|FNA\w*|salvage|adjuvant|neoadjuvant|induction|left out|"
    r"risk|chance|includ(?:es?|ed)|add(?:s|ed)?|volumes?|nodal (?:regions?|stations?|levels?|basins?)|mapping|"
    r"margins? (?:of )?\d+|\d+(?:[.,]\d+)?\s*mm margins?"
)
_OPEN = (
    r"if|unless|whether|when|once|until|in case|otherwise|should|would|could become|pending|provided|depend\w*|"
    r"decides?|options?|alternatives?|consider\w*|recommend\w*|advi[sc]e\w*|offer\w*|planned|discuss\w*|follow-?up|"
    r"surveillance|response|board|MDT|declin\w*|refus\w*|questions?|unknown|not (?:stated|known|determin\w+)|"
    r"cannot be (?:derived|staged|determined)|counted|standard of care|trials?|guidelines?|et al|doi|history of|"
    r"follow|re-?assess\w*|(?:re)?plan|family|mother|father|brother|sister|uninvolved|"
    r"not (?:\w+ )?(?:involved|affected|enlarged|pathological|suspicious)"
)
_NOT_SEEN = re.compile(rf"\b(?:{_TREATS}|{_OPEN})\b|\?|https?:|\bet al\.", re.IGNORECASE)
# What a category or stage rests on is held against the staging, "N2b by nodes on the left", unless it names a place.
_REASON = re.compile(
    r"(?:(?<![A-Za-z0-9])[cpyr]{0,2}(?:T(?:is|X|[0-4][ab]?)|N(?:X|[0-3][abc]?)|M(?:X|[01][ab]?))"
    r"|\b[Ss]tage\s+(?:group\s+)?(?:0|IV[ABC]?|I{1,3}|[1-4][ABC]?))\)?\s*"
    r"(?::|\(|(?:by|because|for|due|owing|as|since|given|on account)\b)"
)
_HEDGE = re.compile(
    r"\b(?:probabl\w+|likely|suspicio\w+|suspect\w*|presum\w+|may|might|could|possib\w+|questionabl\w+|suggest\w*|"
    r"equivocal|indeterminate|borderline|doubtful|appears?|not (?:proven|certain))\b",
    re.IGNORECASE,
)
# Without place and size a noun says that there is one only beside such a word: "the tumour" is spoken of anyway.
_SEEN = re.compile(
    r"\b(?:seen|visible|present|there (?:is|are)|shows?|shown|demonstrat\w+|found|identified|enlarged|pathological\w*|"
    r"suspicious|metastatic|necrotic)\b",
    re.IGNORECASE,
)

# Sites as the report reader names them, by their region.
_REGIONS = {
    "oral cavity": (
        "oral tongue", "floor of mouth", "buccal mucosa", "lower alveolar ridge", "upper alveolar ridge",
        "retromolar trigone", "hard palate", "lip",
    ),
    "oropharynx": (
        "base of tongue", "palatine tonsil", "soft palate", "posterior oropharyngeal wall",
        "lateral oropharyngeal wall", "vallecula", "glossotonsillar sulcus",
    ),
    "hypopharynx": ("pyriform sinus", "postcricoid region", "posterior hypopharyngeal wall"),
    "larynx": ("supraglottis", "glottis", "subglottis", "anterior commissure"),
    "salivary glands": ("parotid gland", "submandibular gland"),
}  # fmt: skip
_REGION_OF = {site: region for region, sites in _REGIONS.items() for site in sites}
# The form's sites and subsites in the same words; their own tokens are used where they agree.
_SITE_WORDS = {
    "larynx_supraglottis": ("supraglottis",), "larynx_glottis": ("glottis", "anterior commissure"),
    "larynx_subglottis": ("subglottis",), "major_salivary": ("salivary glands",),
}  # fmt: skip
_SUBSITE_WORDS = {
    "gingiva": ("lower alveolar ridge", "upper alveolar ridge"), "mucosal_lip": ("lip",),
    "dry_vermilion_lip": ("lip",), "tonsil": ("palatine tonsil",), "epiglottis": ("supraglottis",),
    "posterior_pharyngeal_wall": (
        "posterior pharyngeal wall", "posterior oropharyngeal wall", "posterior hypopharyngeal wall",
    ),
    "postcricoid": ("postcricoid region",), "vocal_cord": ("glottis",), "parotid": ("parotid gland",),
}  # fmt: skip
_NO_SITE = ("unknown_primary", "other_site")
# A nodule of it is told of in passing, and no mass of the CT's findings.
_PASSING = ("thyroid gland",)
# Nothing longer is a sentence.
_LONGEST = 1000
_ANY_SIDE = frozenset({*SIDES, "midline", "bilateral"})


@dataclass(frozen=True)
class Statement:
    """A mass or a node that a text states to be there.

    Attributes:
        key: In short, ``node left II``; how the rules know it.
        certain: Stated without a hedge.
        written: The sentence; ``line`` counts from 1, ``start`` and ``end`` are offsets in the whole text.
    """

    finding: Finding
    certain: bool
    written: str
    line: int
    start: int
    end: int

    @property
    def key(self) -> str:
        """Kind, side and place."""
        return " ".join(w for w in (self.finding.kind, self.finding.side, self.finding.place) if w)


@dataclass(frozen=True)
class _Known:
    """A finding of the case: its sides and places, all words for them; no places: at any."""

    kind: str
    sides: frozenset[str]
    places: frozenset[str] | None
    certain: bool = True

    def includes(self, stated: Finding) -> bool:
        place = stated.place
        return (
            self.kind == stated.kind
            and (stated.side is None or stated.side in self.sides)
            and (place is None or self.places is None or place in self.places)
        )


def check_findings(text: str, drafted: str, findings: Sequence[Finding], form: Mapping[str, Any]) -> list[CheckResult]:
    """Run the rules that hold the findings a plan's text states against those of the case.

    Read are sentences about a mass or a node in lines that the draft does not hold word for word; not those about
    targets, doses, treatment, stages, questions and conditions. A statement in less detail than a finding (no
    side, no level, a region for a site) is supported by it; so it is by the primary and the nodes of the form.

    Args:
        text: Edited by a clinician or written by a model, in English.
        drafted: Text of the plan as drafted.
        findings: What it was drafted from, a clinician's corrections included.
        form: Answers in the shape of ``validate_form``.

    Returns:
        One result per statement that a rule finds fault with (``details``: finding, line, start, end, written,
        expected), and one per rule that found nothing.
    """
    stated = statements(text, drafted, findings)
    known = [*_known(findings), *_known_of_form(findings, form)]
    facts = [(s, _facts(s, known, findings)) for s in stated]
    kb = load_kb()
    rules = [rule for rule in kb["safety"]["rules"] if rule["id"] in RULES]
    fired = []
    for statement, told in facts:
        # What is denied is not supported either: one of the two says enough.
        worst = next((r for r in run_rules(kb, told, rules) if r.status == "fail"), None)
        if worst is not None:
            fired.append(_told(worst, statement, findings))
    silent = {r.id for r in fired}
    empty = _facts(None, known, findings)
    together = {name: sorted({key for _, told in facts for key in told[name]}) for name in empty}
    return [*fired, *(r for r in run_rules(kb, together, rules) if r.status == "pass" and r.id not in silent)]


def _facts(stated: Statement | None, known: Iterable[_Known], findings: Sequence[Finding]) -> dict[str, list[str]]:
    """Return the facts that the rules read about one statement."""
    facts: dict[str, list[str]] = {
        "plan.asserted_findings": [], "plan.asserted_certain": [], "report.positive_findings": [],
        "report.hedged_findings": [], "report.negated_findings": [],
    }  # fmt: skip
    if stated is None:
        return facts
    facts["plan.asserted_findings"] = [stated.key]
    facts["plan.asserted_certain"] = [stated.key] if stated.certain else []
    parts = _each_side(stated.finding)
    if all(any(k.includes(p) for k in known if k.certain) for p in parts):
        facts["report.positive_findings"] = [stated.key]
    elif all(any(k.includes(p) for k in known) for p in parts):
        facts["report.hedged_findings"] = [stated.key]
    elif any(_denied(p, findings) for p in parts):
        facts["report.negated_findings"] = [stated.key]
    return facts


def _told(result: CheckResult, stated: Statement, findings: Sequence[Finding]) -> CheckResult:
    own = [describe_finding(f) for f in findings if f.kind == stated.finding.kind]
    written = stated.written if len(stated.written) <= 120 else f"{stated.written[:117]}..."
    holds = f"Findings: {'; '.join(own)}" if own else f"The findings name no {stated.finding.kind}"
    details = result.details | {
        "finding": stated.key, "line": stated.line, "start": stated.start, "end": stated.end,
        "written": stated.written, "expected": own,
    }  # fmt: skip
    message = f'Line {stated.line}: "{written}" ({stated.key}). {result.message}. {holds}.'
    return replace(result, message=message, details=details)


# ---------------------------------------------------------------- what the text states
def statements(text: str, drafted: str, findings: Sequence[Finding] = ()) -> list[Statement]:
    """Return the masses and nodes that a plan's text states to be there, in lines that are none of the draft.

    Args:
        findings: Of the case: the side of the primary, for "ipsilateral" and for what a tumour grows into.
    """
    masses = {f.side for f in findings if f.kind == "mass" and f.presence != "absent" and f.side}
    side = next(iter(masses)) if len(masses) == 1 else None
    out: list[Statement] = []
    for number, offset, block in _blocks(text, drafted):
        bare = _TAGS.sub(lambda m: " " * len(m[0]), block).replace("\n", " ").rstrip()
        label = _LABEL.match(bare)
        if label and _NOT_SEEN.search(label[0]):
            continue
        for sentence in read_lines(bare, "en")[0]:
            if sentence.section not in READ_SECTIONS or not _may_state(sentence.text):
                continue
            at = bare.find(sentence.text)
            start, end = (offset + at, offset + at + len(sentence.text)) if at >= 0 else (offset, offset + len(bare))
            for finding in sentence_findings(sentence, "en", side):
                seen = _seen(finding, sentence.text, masses)
                if seen is not None:
                    certain = seen.certainty != "possible" and not _HEDGE.search(sentence.text)
                    out.append(Statement(seen, certain, sentence.text, number, start, end))
    return list({(s.key, s.line, s.certain): s for s in out}.values())


def _may_state(sentence: str) -> bool:
    return len(sentence) <= _LONGEST and not _NOT_SEEN.search(sentence)


def _blocks(text: str, drafted: str) -> Iterator[tuple[int, int, str]]:
    """Lines that are none of the draft's, with number and offset; a sentence that is wrapped goes on in one block."""
    known = {normalised(line) for line in drafted.splitlines()}
    offset, other, block = 0, False, (0, 0, "")
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        if not line.strip():
            other = False
        elif _is_heading(line):
            other = bool(_OTHER_HEADING.match(line))
        skipped = not line.strip() or other or normalised(line) in known
        skipped = skipped or bool(_REFERENCE.match(line) or _CHECKED.match(line))
        goes_on = block[2] and line[:1].islower() and not re.search(r"[.:;!?]\s*$", block[2])
        if goes_on and not skipped:
            block = (block[0], block[1], block[2] + line)
        else:
            if block[2]:
                yield block
            block = (0, 0, "") if skipped else (number, offset, line)
        offset += len(line)
    if block[2]:
        yield block


def _is_heading(line: str) -> bool:
    words = line.strip()
    return words.isupper() and not words.startswith("-") and len(words) > 3


def _seen(finding: Finding, sentence: str, masses: set[Any]) -> Finding | None:
    """Return what a sentence states to be there: kind, side and place; None where it states nothing of the kind."""
    if finding.kind not in ("node", "mass") or finding.presence != "present" or finding.site in _PASSING:
        return None
    stated = finding if finding.side in (*SIDES, "midline", "bilateral") else replace(finding, side=None)
    if stated.kind == "mass" and _goes_on().match(sentence):
        # Where a tumour grows into is no second one; on the other side it is none of the tumour that is known.
        own = stated.side in masses or stated.side is None or stated.attributes.get("crosses_midline")
        return replace(stated, site=None, side=None if own or not masses else stated.side)
    if _REASON.search(sentence):
        return stated if stated.side and stated.place else None
    placed = stated.side or stated.place or stated.size_mm is not None
    return stated if placed or _SEEN.search(sentence) else None


@cache
def _goes_on() -> re.Pattern[str]:
    """Match the beginning of a sentence that tells where a tumour grows into."""
    return re.compile(rf"\W*(?:{'|'.join(load('patterns_en')['goes_on'])})(?!\w)", re.IGNORECASE)


# ---------------------------------------------------------------- what the case holds
def _each_side(finding: Finding) -> list[Finding]:
    return _on_both(finding) if finding.side == "bilateral" else [finding]


def _on_both(finding: Finding) -> list[Finding]:
    return [replace(finding, side="left"), replace(finding, side="right")]


def _known(findings: Sequence[Finding]) -> Iterator[_Known]:
    for finding in findings:
        if finding.kind not in ("node", "mass") or finding.presence == "absent":
            continue
        sides = {finding.side, *(SIDES if finding.side == "bilateral" else ())}
        sides |= {"midline"} if finding.attributes.get("crosses_midline") else set()
        place = finding.place
        places = {place, _REGION_OF.get(place or ""), *str(finding.attributes.get("also_level", "")).split("/")}
        certain = finding.presence == "present" and finding.certainty != "possible"
        yield _Known(finding.kind, frozenset(s for s in sides if s), frozenset(p for p in places if p), certain)


def _known_of_form(findings: Sequence[Finding], form: Mapping[str, Any]) -> Iterator[_Known]:
    """Yield the primary and the nodes of the form, which may know more than this CT shows and leaves details open."""
    present = [f for f in findings if f.presence == "present"]
    masses = [f for f in present if f.kind == "mass"]
    of_ct = {f.side for f in masses}
    side = form.get("side") or (next(iter(of_ct)) if len(of_ct) == 1 else None)
    site, subsite = form.get("site"), form.get("subsite")
    if (site or subsite) and site not in _NO_SITE:
        # The side that nobody states is open.
        sides = frozenset({side}) if side in (*SIDES, "midline") else _ANY_SIDE
        places = _form_places(site, subsite, {_REGION_OF.get(m.site or "") for m in masses})
        yield _Known("mass", sides, frozenset(places))
    nodes = [f for f in present if f.kind == "node"]
    count = form.get("nodes_n_pos")
    if count:
        # The form asks for no level: nodes that it counts beside those of the CT may lie at any.
        more = count > sum(len(_each_side(f)) for f in nodes)
        sides = _node_sides(form.get("nodes_laterality"), side)
        yield _Known("node", sides or (_ANY_SIDE if more else sides), None if more else frozenset())


def _form_places(site: str | None, subsite: str | None, of_ct: set[str | None]) -> set[str]:
    """Words for the primary of the form; a region is any of its sites where this CT shows no mass in it."""
    named = set(_SITE_WORDS.get(site or "", ((site or "").replace("_", " "),)))
    regions = named | {_REGION_OF.get(name, "") for name in named}
    if subsite not in (None, "other"):
        named |= set(_SUBSITE_WORDS.get(subsite, (subsite.replace("_", " "),)))
    elif not regions & of_ct:
        named |= {inner for name in named for inner in _REGIONS.get(name, ())}
    return {n for n in named | {_REGION_OF.get(name, "") for name in named} if n}


def _node_sides(laterality: str | None, primary: str | None) -> frozenset[str]:
    if laterality == "bilateral":
        return frozenset({*SIDES, "bilateral"})
    if primary not in SIDES or laterality is None:
        return frozenset()
    other = "left" if primary == "right" else "right"
    return frozenset({primary if laterality == "ipsilateral" else other})


def _denied(stated: Finding, findings: Sequence[Finding]) -> bool:
    """Whether the findings deny a statement; without a level or site they deny every one, and so do both sides."""
    place = stated.place
    for absent in findings:
        if absent.presence != "absent" or absent.kind != stated.kind or absent.attributes.get("other_than_listed"):
            continue
        where = absent.place
        same_side = absent.side in (None, "bilateral", stated.side)
        if same_side and (where is None or where in (place, _REGION_OF.get(place or ""))):
            return True
    return stated.side is None and all(_denied(one, findings) for one in _on_both(stated))
