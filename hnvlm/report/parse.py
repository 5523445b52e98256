"""Report text to findings: what a model or a clinician wrote, read by rules.

Nothing is invented: a sentence that no rule reads is returned as unparsed, and two statements that exclude each
other are returned as a contradiction, both findings kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from hnvlm.report.clauses import split_clauses
from hnvlm.report.consistency import covers, denied_and_reported, name_of, repeats, same_region
from hnvlm.report.earlier import told_of_once
from hnvlm.report.mentions import NECROSIS, findings_of, implied_kind
from hnvlm.report.phrases import begins, line_nothing, staged, whole, word
from hnvlm.report.places import CONFLICT
from hnvlm.report.render import denies
from hnvlm.report.sentences import READ_SECTIONS, Sentence, read_lines
from hnvlm.report.tagging import low_density, tag_sentence
from hnvlm.report.tokens import Token
from hnvlm.report.vocabulary import check_language, load
from hnvlm.types import Finding, Source

_POLISH = re.compile(
    r"[ąćęłńśźż]|\b(?:guz|po stronie|strona|grupie|opis|wnioski|badanie|bez|nie|obustronnie|szyi|lewej|prawej"
    r"|wez(?:el|l[aey]|low)|chlonn\w+|usun|dodaj|narysuj|grup[aey]|poziom\w*|migdal\w+|jezyka|rak[ai]?|guza"
    r"|gr|lew(?:y|ego|a|ym)|praw(?:y|ego|a|ym)|po|zmian[ay]?|nasady|krtani|slinian\w+|przyuszn\w+|obraz|prawidlow\w+|wznow\w+|cech|usunac|dodac|powieksz"
    r"|zmniejsz|wstaw|brak|obu|stron)\b",
    re.IGNORECASE,
)
_ENGLISH = re.compile(r"\b(?:the|in|of|no|node|mass|left|right|level|neck|with|is|and)\b", re.IGNORECASE)
_PRONOUN = re.compile(
    r"\s*(?:it|this|these|they|the (?:(?P<node>(?:lymph )?nodes?)|(?P<mass>mass|tumou?r)|lesion)|measur\w+)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ParsedReport:
    """What a text says.

    Attributes:
        findings: In the order of the text; a summary that repeats a finding adds nothing.
        unparsed_sentences: Sentences of the read sections that no rule reads.
        contradictions: Plain sentences about statements that exclude each other.
        sections: Text by section key (findings, impression, ...); "" holds text before any heading.
        unread: Sentences in which no rule knows finding, history or advice, beside those of the technique.
        set_aside: Lesions told before the heading of the findings, or of an examination that may be an earlier one.
        harmless: Nodes among the findings that are held to be reactive or of normal size.
    """

    findings: list[Finding]
    unparsed_sentences: list[str]
    contradictions: list[str] = field(default_factory=list)
    sections: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    set_aside: list[Finding] = field(default_factory=list)
    harmless: list[Finding] = field(default_factory=list)


def detect_language(text: str) -> str:
    """Return ``pl`` or ``en`` by letters and common words; English when in doubt."""
    return "pl" if len(_POLISH.findall(text)) > len(_ENGLISH.findall(text)) else "en"


def parse(text: str, language: str | None = None, *, source: Source = "clinician") -> list[Finding]:
    """Return the findings a text states; see ``parse_report``."""
    return parse_report(text, language, source=source).findings


def parse_report(text: str, language: str | None = None, *, source: Source = "clinician") -> ParsedReport:
    """Read a report, or any sentence of one.

    Args:
        text: Any text.
        language: ``en``, ``pl`` or None to detect.
        source: Who says so; written into every finding.

    Returns:
        Findings, sentences not understood, contradictions and sections.
    """
    language = check_language(language) if language else detect_language(text)
    sentences, sections = read_lines(text, language)
    reader = _Reader(language, source)
    # What stands before the heading of the findings without one of its own is why the patient was sent.
    opened = any(sentence.section == "findings" for sentence in sentences)
    earlier, perhaps = told_of_once(sentences, language)
    for index, sentence in enumerate(sentences):
        if opened and not sentence.section:
            reader.leave_out(sentence, keep=True)
        elif sentence.section in READ_SECTIONS and index in earlier:
            reader.unparsed.append(sentence.text)
            reader.leave_out(sentence, keep=index in perhaps)
        elif sentence.section in READ_SECTIONS:
            reader.read(sentence)
    reader.settle()
    contradictions = list(dict.fromkeys(reader.contradictions + denied_and_reported(reader.findings, reader.harmless)))
    return ParsedReport(
        reader.findings,
        reader.unparsed,
        contradictions,
        sections,
        reader.unread,
        reader.set_aside,
        reader.harmless,
    )


def sentence_findings(sentence: Sentence, language: str, last_side: str | None = None) -> list[Finding]:
    """Read one sentence on its own; ``last_side`` is the side of the primary mass.

    A finding whose words name both left and right has the side ``CONFLICT``.
    """
    return read_sentence(sentence, language, last_side)[0]


def read_sentence(
    sentence: Sentence,
    language: str,
    last_side: str | None = None,
    *,
    describe_denied: bool = False,
    treated: bool = False,
) -> tuple[list[Finding], bool]:
    """Read one sentence as ``sentence_findings`` does; the flag says that history or advice in it was left out.

    ``describe_denied`` reads a request: it keeps size and texture of what the sentence denies, and what the sentence
    says was removed. ``treated`` reads what was treated as well: "remove the treated left tonsil cancer" is no history.
    """
    line_kind = sentence.line.split("_")[0] or None
    if line_kind in ("node", "mass", "airway") and line_nothing(language).fullmatch(sentence.text):
        which = sentence.line.removeprefix(f"{line_kind}_")
        side = which if which in ("left", "right") else None
        # The line "nodes other" stands behind those of the sides.
        attributes = {"other_than_listed": True} if which == "other" else {}
        return [Finding(line_kind, "absent", side=side, attributes=attributes)], False
    if not describe_denied:
        if whole(language, "all_normal").fullmatch(sentence.text):
            return [Finding("mass", "absent"), Finding("node", "absent")], False
        if whole(language, "no_recurrence").fullmatch(sentence.text):
            return [Finding("mass", "absent")], False
    tokens = [token for token in tag_sentence(sentence.text, language) if token.tag != "ignore"]
    if not describe_denied and _no_recurrence_since(sentence.text, tokens, language):
        return [Finding("mass", "absent")], False
    findings: list[Finding] = []
    side = last_side
    left_out = False
    for clause in split_clauses(sentence.text, tokens, language, line_kind):
        kept = (describe_denied and clause.not_now == "removed") or (treated and clause.not_now == "treated")
        if clause.not_now and not kept:
            left_out = True
            side = side or _treated_side(clause.tokens)
            continue
        implied = clause.kind is None
        if implied:
            clause.kind = implied_kind(clause)
        found = findings_of(clause, sentence.text, language, sentence.line, side, describe_denied=describe_denied)
        if implied and not describe_denied:
            # "3 mm slices from the nasopharynx to the clavicle": the size was that of something else.
            found = [f for f in found if f.kind != "mass" or f.presence == "absent" or f.size_mm or f.attributes]
        for finding in found:
            if finding.kind == "mass" and finding.presence != "absent" and finding.side in ("left", "right"):
                side = finding.side
        findings += found
        side = side or _one_side_of_nodes(findings)
    return (findings if describe_denied else _still_open(findings)), left_out


def _no_recurrence_since(text: str, tokens: list[Token], language: str) -> bool:
    """Whether a sentence tells what was done and that nothing came back: "s/p glossectomy, no recurrence"."""
    parts = re.split(r"[,;]\s+|\s[-–]\s", text)
    told = [token.tag for token in tokens if token.start < len(text) - len(parts[-1])]
    return "history" in told and "size" not in told and bool(whole(language, "no_recurrence").fullmatch(parts[-1]))


def _treated_side(tokens: list[Token]) -> str | None:
    """The side of the tumour that a history tells of: what is contralateral to it is on the other."""
    sides = {token.value for token in tokens if token.tag == "side"}
    told = {"history", "mass"} <= {token.tag for token in tokens}
    return next(iter(sides)) if told and sides in ({"left"}, {"right"}) else None


def _one_side_of_nodes(findings: list[Finding]) -> str | None:
    """The side of the nodes where all are on one: "contralateral" is the other, where no mass says so."""
    sides = {f.side for f in findings if f.kind == "node" and f.presence != "absent"}
    return next(iter(sides)) if sides in ({"left"}, {"right"}) else None


def _still_open(findings: list[Finding]) -> list[Finding]:
    """Drop the "patent" of an airway that the same sentence tells is narrowed: "patent but mildly narrowed"."""
    narrowed = any(f.kind == "airway" and f.presence != "absent" for f in findings)
    return [f for f in findings if not (narrowed and f.kind == "airway" and f.presence == "absent" and f.site is None)]


class _Reader:
    """Collects the findings of a text sentence by sentence."""

    def __init__(self, language: str, source: Source) -> None:
        self.language = language
        self.source = source
        self.findings: list[Finding] = []
        self.unparsed: list[str] = []
        self.unread: list[str] = []
        self.set_aside: list[Finding] = []
        # Findings of a sentence that asks, "Left tonsil mass?", which the next may answer.
        self._asked: list[Finding] = []
        self.contradictions: list[str] = []
        self._sections: list[str] = []
        self._treated_side: str | None = None
        # Said of a finding and settled by the rest of the text: a patent airway, a disease that is known.
        self._patent: list[Finding] = []
        self._known: list[tuple[Finding, str]] = []
        self._named_by_stage: list[Finding] = []
        self.harmless: list[Finding] = []
        # Necrotic for how dense it is, which "No necrosis." behind it takes back.
        self._dense: list[Finding] = []
        patterns = load(f"patterns_{language}")["boilerplate"]
        self._boilerplate = re.compile(rf"(?:{'|'.join(patterns)})[.:]?", re.IGNORECASE)

    def leave_out(self, sentence: Sentence, *, keep: bool) -> None:
        """Take no finding of a sentence; ``keep`` in mind what lesions it names."""
        if keep:
            self.set_aside += [f for f in read_sentence(sentence, self.language)[0] if f.presence != "absent"]

    def read(self, sentence: Sentence) -> None:
        if self._boilerplate.fullmatch(sentence.text):
            return
        if self._asked and whole(self.language, "answers_none").fullmatch(sentence.text):
            asked = self._asked
            self.findings = [
                replace(f, presence="absent", certainty="probable", size_mm=None, attributes={}) if f in asked else f
                for f in self.findings
            ]
            return
        before = len(self.findings)
        self._read(sentence)
        self._asked = self.findings[before:] if sentence.text.rstrip().endswith("?") else []

    def _read(self, sentence: Sentence) -> None:
        found, left_out = read_sentence(sentence, self.language, self._primary_side())
        for finding in found:
            if rivals := finding.attributes.pop("rival_sizes_mm", None):
                sizes = " and ".join(f"{size:g}" for size in rivals)
                self.contradictions.append(f"Several sizes of one {finding.kind}, {sizes} mm: '{sentence.text}'")
        if not left_out:
            # "The tumour measures 31 mm and narrows the airway": of two things the first may be the one before.
            first = found[:1] if len({finding.kind for finding in found}) == len(found) else found
            if self._grows_on(sentence, first) or self._continues(sentence, first):
                found = found[1:]
                if not found:
                    return
        if not left_out and not found and self._denies_necrosis(sentence):
            return
        if left_out or not found:
            self.unparsed.append(sentence.text)
            self.unread += [sentence.text] * (not left_out and sentence.section != "technique")
            told = tag_sentence(sentence.text, self.language) if left_out else []
            self._treated_side = _treated_side(told) or self._treated_side
        for finding in found:
            if finding.side == CONFLICT:
                self.contradictions.append(f"Left and right in one statement: '{sentence.text}'")
                finding = replace(finding, side=None)
            self._check_line(finding, sentence)
            self._note(replace(finding, source=self.source), sentence)
            self._add(replace(finding, source=self.source), sentence)

    def _denies_necrosis(self, sentence: Sentence) -> bool:
        """Take "No necrosis." for the one lesion there is, unless that was called necrotic."""
        tokens = [t for t in tag_sentence(sentence.text, self.language) if t.tag != "separator"]
        lesions = [i for i, f in enumerate(self.findings) if f.kind in ("node", "mass") and f.presence != "absent"]
        if len(lesions) != 1 or [(t.tag, t.value) for t in tokens] != [("texture", "solid")]:
            return False
        lesion = self.findings[lesions[0]]
        if not NECROSIS.search(sentence.text) or (lesion.attributes.get("texture") and lesion not in self._dense):
            return False
        self.findings[lesions[0]] = replace(lesion, attributes={**lesion.attributes, "texture": "solid"})
        return True

    def _note(self, finding: Finding, sentence: Sentence) -> None:
        """Keep in mind what the rest of the text may settle."""
        tokens = tag_sentence(sentence.text, self.language)
        tags = {token.tag for token in tokens}
        open_only = not tags & {"negation", "normal", "narrowing"} and word(self.language, "open").search(sentence.text)
        if finding.kind == "airway" and finding.presence == "absent" and open_only:
            self._patent.append(finding)
        # A node that no word leaves open is one that is held to be harmless.
        small = finding.kind == "node" and "indeterminate" not in tags
        if finding.presence == "indeterminate" and (small or tags & {"benign", "unsuspicious"}):
            self.harmless.append(finding)
        necrotic = [sentence.text[t.start : t.end] for t in tokens if (t.tag, t.value) == ("texture", "necrotic")]
        if necrotic and all(low_density(self.language).fullmatch(words) for words in necrotic):
            self._dense.append(finding)
        masses = [sentence.text[token.start : token.end] for token in tokens if token.tag == "mass"]
        named = masses and all(word(self.language, "disease_names").fullmatch(name) for name in masses)
        bare = finding.kind == "mass" and finding.size_mm is None and not finding.attributes
        by_stage = staged(self.language).search(sentence.text) is not None
        if bare and named and finding.presence == "present" and ("definite" in tags or by_stage):
            self._known.append((finding, sentence.text))
            self._named_by_stage += [finding] * by_stage

    def settle(self) -> None:
        """Let go of what the rest of the text tells better.

        A patent airway may be narrowed. A cancer that is known is the mass that is described, and none is seen where
        the text denies any.
        """
        narrowed = [f for f in self.findings if f.kind == "airway" and f.presence != "absent"]
        gone = [f for f in self._patent if any(denies(f, other) for other in narrowed)]
        for known, text in self._known:
            if known not in self.findings:
                continue
            others = [f for f in self.findings if f.kind == "mass" and f != known]
            seen = [f for f in others if f.presence != "absent"]
            by_stage = known in self._named_by_stage
            if any((f.side, f.site) == (known.side, known.site) or (by_stage and same_region(known, f)) for f in seen):
                gone.append(known)
            elif any(f.presence == "absent" and not f.attributes and denies(f, known) for f in others):
                gone.append(known)
                self.unparsed.append(text)
        kept = [(f, s) for f, s in zip(self.findings, self._sections, strict=True) if f not in gone]
        self.findings, self._sections = [f for f, _ in kept], [s for _, s in kept]

    def _primary_side(self) -> str | None:
        sides = [f.side for f in self.findings if f.kind == "mass" and f.presence != "absent" and f.side]
        return sides[-1] if sides else self._treated_side or _one_side_of_nodes(self.findings)

    def _continues(self, sentence: Sentence, found: list[Finding]) -> bool:
        """Attach "It is centrally necrotic." or "The mass measures 25 mm." to the finding it goes on about."""
        index = self._referent(sentence.text)
        if index is None or len(found) > 1:
            return False
        last = self.findings[index]
        if found and (found[0].presence == "absent" or found[0].level or found[0].site or found[0].side):
            return False
        new = found[0] if found else self._bare_facts(sentence, last)
        if new is None:
            return False
        attributes = {k: v for k, v in new.attributes.items() if k not in last.attributes}
        clash = any(last.attributes.get(k) not in (None, v) for k, v in new.attributes.items())
        if clash or (new.size_mm is not None and last.size_mm is not None):
            return False
        size = new.size_mm if last.size_mm is None else last.size_mm
        self.findings[index] = replace(last, size_mm=size, attributes={**last.attributes, **attributes})
        return True

    def _grows_on(self, sentence: Sentence, found: list[Finding]) -> bool:
        """Attach "The tumour extends into the left soft palate." to the one mass there is: it names no second one.

        A side that is not that of the mass is left to stand, unless the tumour crosses the midline.
        """
        masses = [i for i, f in enumerate(self.findings) if f.kind == "mass" and f.presence != "absent"]
        if len(masses) != 1 or len(found) != 1 or not begins(self.language, "goes_on").match(sentence.text):
            return False
        last, new = self.findings[masses[0]], found[0]
        if new.kind != "mass" or new.presence == "absent" or None not in (new.size_mm, last.size_mm):
            return False
        if last.side != new.side is not None and not new.attributes.get("crosses_midline"):
            return False
        attributes = {**new.attributes, **last.attributes}
        size = new.size_mm if last.size_mm is None else last.size_mm
        self.findings[masses[0]] = replace(last, size_mm=size, attributes=attributes)
        return True

    def _referent(self, text: str) -> int | None:
        """Which finding a sentence goes on about: "it" the last one, "the mass" the last mass."""
        match = _PRONOUN.match(text)
        if match is None or not self.findings or self.language != "en":
            return None
        kind = match.lastgroup
        index = next((i for i in reversed(range(len(self.findings))) if kind in (None, self.findings[i].kind)), None)
        if index is None:
            return None
        last = self.findings[index]
        return index if last.kind in ("node", "mass") and last.presence != "absent" else None

    def _bare_facts(self, sentence: Sentence, last: Finding) -> Finding | None:
        tokens = [token for token in tag_sentence(sentence.text, self.language) if token.tag != "ignore"]
        if not any(token.tag in ("size", "texture", "crosses") for token in tokens):
            return None
        clause = split_clauses(sentence.text, tokens, self.language)[0]
        clause.kind = last.kind
        found = findings_of(clause, sentence.text, self.language, "", None)
        return found[0] if found else None

    def _check_line(self, finding: Finding, sentence: Sentence) -> None:
        expected = {"node_right": "right", "node_left": "left"}.get(sentence.line)
        if expected and finding.kind == "node" and finding.side in ("left", "right") and finding.side != expected:
            self.contradictions.append(
                f"The line for the {expected} neck speaks of the {finding.side}: '{sentence.text}'"
            )

    def _add(self, finding: Finding, sentence: Sentence) -> None:
        """Keep a finding unless it repeats one: any denial, or a summary's shorter words for it."""
        section = sentence.section
        if finding.presence == "absent":
            if finding in self.findings:
                return
            if section == "impression" and any(covers(old, finding) for old in self.findings):
                return
        elif section == "impression":
            earlier = [old for old, where in zip(self.findings, self._sections, strict=True) if where != "impression"]
            both = finding.kind == "node" and finding.side == "bilateral"
            parts = [replace(finding, side="right"), replace(finding, side="left")] if both else [finding]
            if all(any(repeats(part, old) for old in earlier) for part in parts):
                return
            if any(repeats(finding, old) for old in earlier):
                return
            self._report_mismatch(finding, earlier)
        self.findings.append(finding)
        self._sections.append(section)

    def _report_mismatch(self, finding: Finding, earlier: list[Finding]) -> None:
        same_place = [
            old
            for old in earlier
            if old.kind == finding.kind
            and old.presence != "absent"
            and (old.level, old.site) == (finding.level, finding.site)
        ]
        if same_place:
            told = "; ".join(name_of(old) for old in same_place)
            self.contradictions.append(f"The impression says {name_of(finding)}, the findings say {told}.")
        elif earlier:
            self.contradictions.append(f"The impression says {name_of(finding)}, which the findings do not mention.")
