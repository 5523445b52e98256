"""Parts of a sentence that say nothing of a lesion on this scan: what else is normal, history, advice."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise

from hnvlm.report.tokens import Clause, Token
from hnvlm.report.vocabulary import with_words

_LESION = ("node", "mass")
# Facts that are told only of a lesion that is seen on this scan.
_OBSERVED = ("size", "texture", "size_words", "crosses", "narrowing", "normal", "unsuspicious", "benign")


@cache
def _pattern(language: str, name: str) -> re.Pattern[str]:
    words = "|".join(with_words(language, name, "treatment_words")).replace(" ?", r"\s*").replace(" ", r"\s+")
    if name == "normal_in":
        # What is normal is the thing itself: "normal in size", "of normal size", "is normal".
        return re.compile(rf"\s*(?:{words})?\s*(?:[.,;:)]|$|(?:and|or|but|with|i|oraz|ale)\b)", re.IGNORECASE)
    # "No residual tumour" tells of none.
    told = r"(?<!no\s)(?<!without\s)(?<!bez\s)" if name == "seen_still" else ""
    return re.compile(rf"(?<!\w){told}(?:{words})(?!\w)", re.IGNORECASE)


# ---- what else is normal ----------------------------------------------------------------------


def split_asides(sentence: str, clause: Clause, language: str) -> list[Clause]:
    """Take the parts out of a clause that say of something else that it is normal.

    "Node with normal fatty hilum" is a node; "right tonsil mass, left tonsil normal" is one mass and one normal tonsil.

    Returns:
        The clause, and a clause (``aside``) for each part taken out.
    """
    out = [clause]
    for word in [token for token in clause.tokens if token.tag == "normal"]:
        span = _aside_of(sentence, clause, word, language)
        if span is None or word not in clause.tokens:
            continue
        taken = [token for token in clause.tokens if span[0] <= token.start < span[1]]
        clause.tokens = [token for token in clause.tokens if token not in taken]
        out.append(Clause(taken, *span, joined_by=",", aside=True))
    return out


def _aside_of(sentence: str, clause: Clause, word: Token, language: str) -> tuple[int, int] | None:
    """Where the part stands whose "normal" this is; None where it is said of the lesion itself."""
    heads = [token for token in clause.tokens if token.tag in _LESION]
    if not heads:
        return None
    separators = [token for token in clause.tokens if token.tag == "separator"]
    following = next((token for token in separators if token.start >= word.end), None)
    later = next((head for head in heads if head.start >= word.end), None)
    if later is not None and (following is None or following.start > later.start):
        return None  # "normal lymph nodes", "clear of adenopathy"
    earlier = [head for head in heads if head.end <= word.start]
    begin = clause.start
    since = earlier[-1].end if earlier else clause.start
    before = [token for token in separators if since <= token.start and token.end <= word.start]
    if before:
        begin = before[-1].start
    lead = sentence[before[-1].end if before else clause.start : word.start]
    end = following.start if following is not None else clause.end
    if _pattern(language, "normal_in").match(sentence, word.end):
        other = bool(re.search(r"\w", _pattern(language, "same_subject").sub("", lead)))
        return (begin, end) if other and (before or not earlier) else None
    return (begin, end) if before or not earlier else (word.start, word.end)


# ---- history and advice -----------------------------------------------------------------------


def settle_background(sentence: str, clauses: list[Clause], language: str) -> None:
    """Mark the clauses that tell history or give advice: nothing of it is seen on this scan."""
    for clause in clauses:
        clause.not_now = _not_now(sentence, clause, language)
    _settle_treated(sentence, clauses, language)
    for previous, clause in pairwise(clauses):
        weak = clause.joined_by in ("and", "or", ",", "with", "plus", "as well as", "i", "oraz", "lub")
        if previous.not_now and not clause.not_now and weak and _leads(previous) and not clause.has("size"):
            if _denied_today(previous, clause) or _observed_today(previous, clause):
                continue
            text = sentence[clause.start : clause.end]
            clause.not_now = "" if _pattern(language, "current").search(text) else previous.not_now
    for clause, following in zip(clauses[-2::-1], clauses[:0:-1], strict=False):
        # "The mass and the node were removed."
        joined = following.joined_by in ("and", ",", "i", "oraz")
        if following.not_now == "removed" and joined and not _leads(following) and clause.kind and not clause.not_now:
            text = sentence[clause.start : clause.end]
            clause.not_now = "" if clause.has("size") or _pattern(language, "current").search(text) else "removed"


def _denied_today(previous: Clause, clause: Clause) -> bool:
    """Whether a denial of its own stands behind a comma: "s/p tonsillectomy, no residual mass" is said of this scan."""
    own = any(token.tag == "negation" for token in clause.tokens)
    return own and clause.kind is not None and previous.not_now != "removed" and not previous.has("negation")


def _observed_today(previous: Clause, clause: Clause) -> bool:
    """Whether what a treatment was for is followed by what is seen: "s/p CRT for tonsil cancer, necrotic node"."""
    narrowed = clause.has("narrowing", "artefact")
    return previous.not_now == "treated" and (narrowed or (clause.joined_by == "," and clause.has("texture")))


def _settle_treated(sentence: str, clauses: list[Clause], language: str) -> None:
    """Mark a disease that the words behind it tell was treated: "left tonsil SCC with nodes, s/p CRT".

    What is measured or described, "left tonsil SCC after RT, 22 mm", is there; so is any "mass".
    """
    first = next((clause for clause in clauses if clause.kind is not None), None)
    if first is None or first.head is None or first.kind != "mass":
        return
    named = [t for t in first.tokens if t.tag == "mass"]
    if not all(_pattern(language, "disease_names").fullmatch(sentence[t.start : t.end]) for t in named):
        return
    cue = _pattern(language, "treated_behind").search(sentence, first.head[1])
    if cue is None:
        return
    told = [clause for clause in clauses if clause.start < cue.start()]
    if any(clause.denied or clause.has(*_OBSERVED) for clause in told):
        return
    if not _pattern(language, "seen_still").search(sentence[first.start : told[-1].end]):
        for clause in told:
            clause.not_now = clause.not_now or "treated"


def _leads(clause: Clause) -> bool:
    """Whether the words of history or advice stand before the noun, and so may reach over to the next."""
    cue = next((token for token in clause.tokens if token.tag in ("history", "removed", "advice")), None)
    return cue is None or clause.head is None or cue.start < clause.head[0]


def _not_now(sentence: str, clause: Clause, language: str) -> str:
    for cue in clause.tokens:
        if cue.tag not in ("history", "removed", "advice"):
            continue
        heads = [token for token in clause.tokens if token.tag in _LESION]
        behind = clause.head is not None and cue.start >= clause.head[1]
        sized = any(token.tag == "size" and token.end <= cue.start for token in clause.tokens)
        parted = clause.head is not None and any(
            token.tag == "separator" and clause.head[1] <= token.start < cue.start for token in clause.tokens
        )
        # "12 mm node, status post tonsillectomy" and "node, FNA is advised" are nodes.
        if behind and ((cue.tag == "history" and sized) or (cue.tag == "advice" and (parted or sized))):
            continue
        if cue.tag == "history" and _before_history(sentence, clause, cue, heads, language, sized):
            continue
        return "removed" if cue.tag == "removed" else "treated" if cue.value == "treatment" else "background"
    return ""


def _before_history(sentence: str, clause: Clause, cue: Token, heads: list[Token], language: str, sized: bool) -> bool:
    """Whether the words before those of history speak of today: "no recurrence after CRT for a cancer"."""
    before = {token.tag for token in clause.tokens if token.end <= cue.start}
    # "Recurrent disease at the tonsil, 22 mm, after CRT for tonsil cancer": measured somewhere, it is seen.
    seen = any(head.end <= cue.start for head in heads) or {"site", "size"} <= before
    denials = [t for t in clause.tokens if t.tag == "negation" and t.end <= cue.start]
    if denials and not sentence[denials[-1].end : cue.start].isspace() and (seen or cue.value == "treatment"):
        return True
    current = _pattern(language, "current").search(sentence[clause.start : cue.start]) is not None
    return seen and (current or (sized and cue.value == "treatment"))
