"""Why a clinic's report leaves open what is there, beside what it says: no model is taught by such a report."""

from __future__ import annotations

from hnvlm.report.earlier import dated_headings, pattern
from hnvlm.report.parse import ParsedReport, detect_language
from hnvlm.report.places import OUTSIDE_SITES
from hnvlm.report.render import denies
from hnvlm.report.sizes import measured
from hnvlm.report.tagging import tag_sentence
from hnvlm.types import Finding

_PLACES = ("side", "site", "level", "bare_level", "ipsilateral", "contralateral")
# A larger mass of the thyroid gland is more than a nodule in passing.
_NODULE_MM = 20.0
_CERTAINTY = "probable"  # where no word says how certain


def doubt_of(text: str, read: ParsedReport) -> str:
    """Say what a report leaves open; "" where nothing does."""
    language = detect_language(text)
    if pattern("doubts", language, "corrected").search(text):
        return "takes back a part of itself (a correction, an addendum about a side)"
    if dated_headings(text, language) > 1:
        return "tells of several examinations by their dates"
    if any(may_tell_of_lesion(sentence, language) for sentence in read.unread):
        return "a sentence that may tell of a lesion was not read"
    lesions = [f for f in read.findings if f.kind in ("node", "mass")]
    if any(not _spoken_of(finding, lesions) for finding in read.set_aside):
        return "tells of a lesion outside its findings, before them or of an examination of some date"
    if any(_is_vague(finding) for finding in lesions):
        return "names a node and says neither where, how large nor what it is like"
    thyroid = [f for f in lesions if f.site in OUTSIDE_SITES and f.presence != "absent"]
    if any((f.size_mm or 0.0) > _NODULE_MM for f in thyroid):
        return "names a mass of the thyroid gland, which the models have no place for"
    return ""


def may_tell_of_lesion(sentence: str, language: str) -> bool:
    """Whether a sentence has a size or a texture, and a place in the neck, and speaks of nothing else."""
    tokens = [token for token in tag_sentence(sentence, language) if token.tag != "ignore"]
    tags = {token.tag for token in tokens}
    if "foreign" in tags or not tags & set(_PLACES) or pattern("doubts", language, "other").search(sentence):
        return False
    if "texture" in tags and not tags & {"negation", "normal"}:
        return True
    return any(size is not None for size in measured(tokens, 0, sentence, language))


def _spoken_of(told: Finding, findings: list[Finding]) -> bool:
    """Whether the findings say of a lesion that was told of elsewhere that it is there, or that it is not."""
    if told.kind not in ("node", "mass"):
        return True
    present = [f for f in findings if f.presence != "absent" and f.kind == told.kind]
    return bool(present) or any(f.presence == "absent" and denies(f, told) for f in findings)


def _is_vague(finding: Finding) -> bool:
    """Whether a node is there and only its side is told: most such sentences deny it in words that no rule knows."""
    bare = finding.side and finding.level is None and finding.size_mm is None and not finding.attributes
    there = finding.kind == "node" and finding.presence == "present" and finding.certainty == _CERTAINTY
    return bool(there and bare)
