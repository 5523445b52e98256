"""Hard negatives: the same sentence with exactly one fact changed, for teaching a text model what a word does.

Pooled sentence embeddings hardly tell left from right; pairs that differ in one word make them.
"""

from __future__ import annotations

import re
from dataclasses import replace

from hnvlm.errors import UsageError
from hnvlm.report.requests import RequestSpec, with_finding
from hnvlm.report.vocabulary import SIZE_WORD_RANGES_MM, RandomLike, choose, size_word
from hnvlm.types import AIRWAY_LEVELS, MASS_SITES, NODE_LEVELS, TEXTURES, Finding

FIELDS = ("side", "place", "size", "texture", "negation")
_PLACES = {"node": NODE_LEVELS, "mass": MASS_SITES, "airway": AIRWAY_LEVELS}
# A statement becomes a denial, a command to add one to remove, and the other way round; the rest stays word for word.
_NEGATED = (
    (r"^There is (?:now )?an? ", "There is no "),
    (r"^(?:CT|The scan) shows an? ", "CT shows no "),
    (r"^(?:Add|Insert|Place|Put|Create|Please draw|Simulate|Generate|Depict|Kindly introduce) an? ", "Remove the "),
    (r"^(?:Remove|Delete|Erase|Take out|Eliminate|Take away|Get rid of|Kindly excise|Wipe out) the ", "Add the "),
    (r"^There is no ", "There is a "),
    (r"^No (?:evidence of an? )?", ""),
    (r"^no ", ""),
    (r" has resolved\.", " is present."),
    (r" is (?:no longer (?:visible|present)|gone)\.", " is present."),
    (r"^An? ", "No "),
)


def hard_negatives(spec: RequestSpec, rng: RandomLike) -> list[tuple[str, str]]:
    """Return (text, changed field) for every fact that the request's own words state.

    Args:
        spec: From ``sample_spec`` with ``add`` or ``remove``.
        rng: Chooses the other value.

    Returns:
        At most one text a field of ``FIELDS``; a field that this wording leaves out is left out here too, and so is
        negation where no word-for-word denial exists.

    Raises:
        UsageError: For ``none``: a clear neck has no fact to change.
    """
    finding = spec.finding
    if finding is None:
        raise UsageError("Hard negatives change a fact of a lesion; a request for a clear neck has none.")
    stated = spec.labels()
    changed: dict[str, Finding] = {}
    if stated["side"] in ("left", "right"):
        changed["side"] = replace(finding, side="left" if finding.side == "right" else "right")
    others = [place for place in _PLACES[finding.kind] if place != stated["place"]]
    place = choose(rng, others)
    changed["place"] = replace(finding, level=place) if finding.kind == "node" else replace(finding, site=place)
    if stated["size_word"] is not None:
        changed["size"] = replace(finding, size_mm=_other_size(finding.size_mm or 0.0, rng))
    if stated["narrowing_word"] is not None:
        pct = 30.0 if finding.attributes["narrowing_pct"] > 50 else 80.0
        changed["size"] = replace(finding, attributes={**finding.attributes, "narrowing_pct": pct})
    if stated["texture"] is not None:
        texture = next(texture for texture in TEXTURES if texture != stated["texture"])
        changed["texture"] = replace(finding, attributes={**finding.attributes, "texture": texture})
    pairs = [(with_finding(spec, other).text, field) for field, other in changed.items()]
    negated = _negated(spec.text)
    if negated is not None:
        pairs.append((negated, "negation"))
    return [(text, field) for text, field in pairs if text != spec.text]


def _other_size(size_mm: float, rng: RandomLike) -> float:
    """A size of another word class at least 8 mm away, so that the change matters."""
    choices = [
        mm
        for word, (low, high) in SIZE_WORD_RANGES_MM.items()
        for mm in range(low, high + 1)
        if word != size_word(size_mm) and abs(mm - size_mm) >= 8
    ]
    return float(choose(rng, choices))


def _negated(text: str) -> str | None:
    for pattern, replacement in _NEGATED:
        changed, count = re.subn(pattern, replacement, text, count=1)
        if count:
            return changed[:1].upper() + changed[1:]
    return None
