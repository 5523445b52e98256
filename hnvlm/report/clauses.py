"""Cut a tagged sentence into clauses that each speak of one thing, and settle which of them are denied."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

from hnvlm.report.asides import settle_background, split_asides
from hnvlm.report.tokens import Clause, Token
from hnvlm.report.vocabulary import load

# A token of these tags is what a clause speaks of.
_HEADS = {
    "node": "node",
    "mass": "mass",
    "airway": "airway",
    "airway_general": "airway",
    "narrowing": "airway",
    "artefact": "artefact",
    "target": "target",
    "coverage": "coverage",
}
_PLACES = ("level", "bare_level", "site", "side")
_STRONG = ("but", "however", "whereas", "while", "although", "except", ";", "ale", "natomiast")
_CHAIN = ("or", "nor", "lub", "ani")
_AND = ("and", ",", "i", "oraz")


def split_clauses(sentence: str, tokens: list[Token], language: str, kind: str | None = None) -> list[Clause]:
    """Cut at strong separators, between two nouns, and between two places that have a size each.

    Args:
        sentence: The sentence.
        tokens: Its tagged spans.
        language: ``en`` or ``pl``.
        kind: What the line's heading says the sentence is about, where no noun does.
    """
    # The extents of a target region or of the scan name many places: nothing to cut there.
    whole = next((token.tag for token in tokens if token.tag == "coverage"), kind if kind == "target" else None)
    if whole:
        denied = any(token.tag == "negation" for token in tokens)
        return [Clause(tokens, 0, len(sentence), kind=whole, denied=denied)]
    tokens = _denied_last(sentence, tokens)
    cuts = sorted(set(_strong_cuts(tokens) + _noun_cuts(sentence, tokens) + _none_cuts(tokens) + _past_cuts(tokens)))
    cuts = sorted({*cuts, *_normal_cuts(tokens)})
    clauses = _cut(sentence, tokens, cuts)
    clauses = [part for clause in clauses for part in _split_by_place(clause)]
    clauses = [part for clause in clauses for part in _split_by_side(clause)]
    _unpair_bilateral(clauses)
    clauses = [part for clause in clauses for part in split_asides(sentence, clause, language)]
    known = kind
    for clause in clauses:
        _set_head(clause)
        named = clause.has("level", "bare_level", "site", "size") or _is_none(clause.tokens)
        # Under "Lymph nodes:" a side alone is that of the nodes.
        named = named or (kind is not None and _is_normal_side(clause.tokens))
        if clause.kind is None and known is not None and named and not clause.aside:
            clause.kind = known
        known = clause.kind or known
    _settle_denial(sentence, clauses)
    _carry_side(clauses)
    _share_texture(sentence, clauses, language)
    settle_background(sentence, clauses, language)
    return clauses


def _cut(sentence: str, tokens: list[Token], cuts: list[int]) -> list[Clause]:
    edges = [0, *cuts, len(sentence)]
    clauses = []
    for start, end in pairwise(edges):
        inside = [token for token in tokens if start <= token.start < end]
        joined = inside[0].value if start and inside and inside[0].tag == "separator" else ""
        clauses.append(Clause(inside, start, end, joined_by=joined))
    return clauses


def _strong_cuts(tokens: list[Token]) -> list[int]:
    """Semicolons, "but" ... where a new thing or place follows; "; minimum area 95 mm2" goes on about the old one."""
    starts = [
        i for i, token in enumerate(tokens) if token.tag == "separator" and token.value in _STRONG and token.start
    ]
    cuts = []
    for i, following in zip(starts, [*starts[1:], len(tokens)], strict=False):
        if any(token.tag in _HEADS or token.tag in _PLACES for token in tokens[i + 1 : following]):
            cuts.append(tokens[i].start)
    return cuts


def _none_cuts(tokens: list[Token]) -> list[int]:
    """The comma of a list's last words, "left II 21 mm, right none": they deny the other side and no item before."""
    commas = [i for i, token in enumerate(tokens) if token.tag == "separator" and token.value in _AND]
    listed = commas and any(token.tag == "size" for token in tokens[: commas[-1]])
    if not listed:
        return []
    last = tokens[commas[-1] :]
    # "Nodes: left II 21 mm, right normal."
    headless = not any(token.tag in _HEADS for token in tokens)
    return [last[0].start] if _is_none(last) or (headless and _is_normal_side(last)) else []


def _past_cuts(tokens: list[Token]) -> list[int]:
    """The comma between what was done once and what is denied today: "s/p left tonsillectomy, no residual mass"."""
    for index, token in enumerate(tokens):
        if token.tag != "separator" or token.value not in (",", "with"):
            continue
        before = [other.tag for other in tokens[:index]]
        if "history" in before and not set(before) & set(_HEADS) and tokens[index + 1 :]:
            return [token.start] if tokens[index + 1].tag == "negation" else []
    return []


def _unpair_bilateral(clauses: list[Clause]) -> None:
    """Drop the "bilateral" that a list with both sides spells out: "bilateral nodes: 32 mm right II, 20 mm left II"."""
    told = [clause for clause in clauses if clause.has("size") and set(clause.values("side")) & {"left", "right"}]
    if len(told) < 2 or not {"left", "right"} <= {side for clause in told for side in clause.values("side")}:
        return
    for clause in told:
        if len(set(clause.values("side"))) > 1:
            clause.tokens = [t for t in clause.tokens if (t.tag, t.value) != ("side", "bilateral")]


def _is_none(tokens: list[Token]) -> bool:
    """Whether words say of a side that there is none, and nothing else: ", right none", "none on the left"."""
    tags = sorted(token.tag for token in tokens if token.tag != "separator")
    return tags in (["negation", "side"], ["negated_after", "side"])


def _is_normal_side(tokens: list[Token]) -> bool:
    """Whether words say of a side that it is normal, and nothing else: "right normal, left level II 18 mm"."""
    return sorted(token.tag for token in tokens if token.tag != "separator") == ["normal", "side"]


def _normal_cuts(tokens: list[Token]) -> list[int]:
    """The comma behind a side that is normal, where the other has a lesion: "right normal, left level II 18 mm"."""
    for index, token in enumerate(tokens):
        if token.tag != "separator" or token.value not in (*_AND, *_STRONG):
            continue
        before, after = tokens[:index], tokens[index + 1 :]
        first, second = ({t.value for t in part if t.tag == "side"} for part in (before, after))
        tags, lesion = {t.tag for t in before}, {t.tag for t in after} & {"size", "texture"}
        normal = "normal" in tags and not tags & {"size", "texture", "mass", "site"}
        if normal and lesion and len(first) == len(second) == 1 and first != second:
            return [token.start]
    return []


def _noun_cuts(sentence: str, tokens: list[Token]) -> list[int]:
    """Places between two nouns that speak of different things."""
    heads = [(index, token) for index, token in enumerate(tokens) if token.tag in _HEADS]
    if tokens and tokens[0].value == "except":
        # Behind an exception that opens the sentence the denial begins: "poza węzłem II nie stwierdza się węzłów".
        tokens = [replace(t, tag="negation") if t.tag == "negated_after" else t for t in tokens]
    cuts = []
    for (i, first), (j, second) in pairwise(heads):
        between = tokens[i + 1 : j]
        separators = [token for token in between if token.tag in ("separator", "negation")]
        same = _HEADS[first.tag] == _HEADS[second.tag]
        treated = next((token for token in between if token.value == "treatment"), None)
        if treated and not same and not separators:
            # "Node after CRT for tonsil cancer": the node is there.
            cuts.append(treated.start)
            continue
        if same and (_HEADS[first.tag] == "airway" or not separators):
            continue
        if (
            not separators
            and "airway" in (_HEADS[first.tag], _HEADS[second.tag])
            and (cause := re.search(r"\s(?:from|by|due to|przez)\s", sentence[first.end : second.start]))
        ):
            cuts.append(first.end + cause.start())
            continue
        adjacent = re.fullmatch(r"[\s/-]*", sentence[first.end : second.start])
        if adjacent and {first.tag, second.tag} == {"mass", "node"}:
            continue
        cuts.append(_best_separator(sentence, [t for t in between if t.tag == "separator"], second, between))
    return cuts


def _best_separator(sentence: str, separators: list[Token], second: Token, between: list[Token]) -> int:
    """The separator where the second noun's own words begin."""
    strong = [token for token in separators if token.value in _STRONG]
    if strong:
        return strong[-1].start
    words = [token for token in separators if token.value != ","]
    commas = [token for token in separators if token.value == ","]
    if words:
        word = words[-1]
        later = [token for token in commas if token.start > word.start]
        opens = re.match(r"\s*(?:an?|the|no|one|two|another)\b|\s*\d", sentence[word.end :], re.IGNORECASE)
        return later[-1].start if later and not opens else word.start
    if commas:
        return commas[0].start if _own_facts(between, commas[0]) else commas[-1].start
    negations = [token for token in between if token.tag == "negation"]
    return negations[0].start if negations else second.start


def _own_facts(between: list[Token], comma: Token) -> bool:
    """Whether only describing words (no place, no size) lie behind the first comma: ", necrotic, enlarged node"."""
    after = [token for token in between if token.start > comma.start and token.tag != "separator"]
    before = [token for token in between if token.start < comma.start]
    return any(token.tag in _PLACES for token in before) and all(token.tag == "texture" for token in after)


def _split_by_place(clause: Clause) -> list[Clause]:
    """Split "nodes: right level II 18 mm, left level III 12 mm" between the places."""
    places = [index for index, token in enumerate(clause.tokens) if token.tag in ("level", "bare_level", "site")]
    sizes = [token for token in clause.tokens if token.tag == "size"]
    cuts = []
    if len(places) >= 2 and len(sizes) >= 2:
        for i, j in pairwise(places):
            separators = [token for token in clause.tokens[i + 1 : j] if token.tag == "separator"]
            if separators:
                cuts.append(separators[-1].start)
    if not cuts:
        return [clause]
    edges = [clause.start, *cuts, clause.end]
    parts = []
    for start, end in pairwise(edges):
        inside = [token for token in clause.tokens if start <= token.start < end]
        joined = inside[0].value if start != clause.start and inside else clause.joined_by
        parts.append(Clause(inside, start, end, joined_by=str(joined)))
    return parts


def _split_by_side(clause: Clause) -> list[Clause]:
    """Split "level II nodes up to 9 mm on the right and 14 mm on the left": one place, a size for each side."""
    told = [t for t in clause.tokens if t.tag == "size" or (t.tag == "side" and t.value in ("left", "right"))]
    sides = [token.value for token in told if token.tag == "side"]
    places = [token for token in clause.tokens if token.tag in ("level", "bare_level", "site")]
    paired = len(told) == 4 and told[0].tag != told[1].tag and told[2].tag != told[3].tag
    if not paired or len(set(sides)) != 2 or len(places) > 1:
        return [clause]
    parting = [t for t in clause.tokens if t.tag == "separator" and told[1].end <= t.start < told[2].start]
    if not parting and told[0].tag == "side":
        parting = [replace(told[2], value=",")]  # "R 18 mm L 22 mm"
    if not parting:
        return [clause]
    # What stands outside the two pairs is said of both: "bilateral" is told by them.
    both = [t for t in clause.tokens if t not in told and t not in parting and t.value != "bilateral"]
    cut = parting[-1].start
    return [
        Clause(sorted([*both, *told[:2]], key=lambda t: t.start), clause.start, cut, joined_by=clause.joined_by),
        Clause(sorted([*both, *told[2:]], key=lambda t: t.start), cut, clause.end, joined_by=str(parting[-1].value)),
    ]


def _set_head(clause: Clause) -> None:
    heads = [token for token in clause.tokens if token.tag in _HEADS]
    if not heads:
        return
    kinds = {_HEADS[token.tag] for token in heads}
    # "nodal mass", "metastatic node of a carcinoma": the node is what is spoken of.
    clause.kind = "node" if "node" in kinds else _HEADS[heads[0].tag]
    clause.head = (heads[0].start, heads[-1].end)


def _denied_last(sentence: str, tokens: list[Token]) -> list[Token]:
    """Let a sentence's last word deny the noun before it: "węzłów powiększonych brak", "adenopathy: none"."""
    word = tokens[-1] if tokens else None
    heads = [token for token in tokens if _HEADS.get(token.tag) in ("node", "mass")]
    if word is None or word.tag != "negation" or not heads or re.search(r"\w", sentence[word.end :]):
        return tokens
    behind = [token for token in tokens if token.start >= heads[-1].end]
    if any(token.tag in ("separator", "size", "texture") for token in behind):
        return tokens
    return [*tokens[:-1], replace(word, tag="negated_after")]


def _settle_denial(sentence: str, clauses: list[Clause]) -> None:
    """Negations reach forward to the noun, over or/nor, and over and/comma to nouns that stand bare."""
    excepting = any(token.value == "except" for clause in clauses for token in clause.tokens)
    for clause in clauses:
        before = any(token.tag == "negation" and token.start < _reach(clause) for token in clause.tokens)
        clause.denied = before or clause.has("negated_after")
        clause.excepting = excepting
    # What is said to be normal in passing breaks no chain: "the neck is normal, without mass or adenopathy".
    clauses = [clause for clause in clauses if not clause.aside]
    for previous, clause in pairwise(clauses):
        if previous.denied and not clause.denied and previous.has("negation") and clause.kind:
            bare = not clause.has("size", *_PLACES)
            chained = clause.joined_by in _CHAIN and not clause.has("size")
            clause.denied = chained or (bare and clause.joined_by in _AND)
    for clause, following in zip(clauses[-2::-1], clauses[:0:-1], strict=False):
        bare = not clause.has("size", *_PLACES)
        if following.denied and following.has("negated_after") and not clause.denied and clause.kind and bare:
            first = following.tokens[0]
            neither = first.tag == "negation" and sentence[first.start : first.end].lower() in _CHAIN
            clause.denied = neither or following.joined_by in ("and", "or", "nor", ",", "i", "lub", "oraz")


def _share_texture(sentence: str, clauses: list[Clause], language: str) -> None:
    """Let a texture that is said of several lesions at the end reach them all: "II 15 mm and III 18 mm, both necrotic".

    "Both" are the last two.
    """
    words = load(f"patterns_{language}")["both_are"].replace(" ", r"\s+")
    lesions = [c for c in clauses if c.has("size", "level", "node", "mass") and not c.denied and not c.aside]
    for clause in lesions[-1:]:
        for token in clause.tokens:
            said = re.search(rf"(?<!\w){words}\s*$", sentence[: token.start], re.IGNORECASE)
            if token.tag != "texture" or said is None:
                continue
            two = re.match(r"both|ob", said.group(), re.IGNORECASE)
            for other in lesions[-2 if two else 0 : -1]:
                other.tokens += [token] * (not other.has("texture"))


def _reach(clause: Clause) -> int:
    """Where a negation must begin to deny the clause: before its noun, or before the narrowing it tells of.

    "Mild narrowing without obstruction" is a narrowing.
    """
    narrowings = [token.start for token in clause.tokens if token.tag == "narrowing"]
    if clause.kind == "airway" and narrowings:
        return narrowings[0]
    return clause.head[1] if clause.head else clause.end


def _carry_side(clauses: list[Clause]) -> None:
    """The side named before a level holds for the next level too: "left level II: 2 cm node; level III: negative"."""
    for previous, clause in pairwise(clauses):
        of_nodes = _nodal(previous) and _nodal(clause) and clause.has("level", "bare_level")
        if not of_nodes or clause.joined_by not in (*_AND, ";"):
            continue
        if clause.has("side", "ipsilateral", "contralateral"):
            continue
        sides = [token for token in previous.tokens if token.tag == "side"]
        levels = [token for token in previous.tokens if token.tag in ("level", "bare_level")]
        words = [token for token in previous.tokens if token.tag in ("ipsilateral", "contralateral")]
        if len(words) == 1 and not sides and levels and words[0].start < levels[0].start:
            clause.tokens.append(words[0])
        elif len(sides) == 1 and levels and sides[0].value in ("left", "right") and _holds_on(previous, clause):
            clause.side_before = sides[0].value
        elif not sides and previous.side_before:
            clause.side_before = previous.side_before
    _carry_side_back(clauses)


def _holds_on(previous: Clause, clause: Clause) -> bool:
    """Whether a side holds for the next level: "left level II; level III", in a list "II left: 20 mm, III: 14 mm"."""
    order = [t.tag.removeprefix("bare_") for t in previous.tokens if t.tag in ("side", "level", "bare_level", "size")]
    return order.index("side") < order.index("level") or (order == ["level", "side", "size"] and clause.has("size"))


def _nodal(clause: Clause) -> bool:
    """Whether a clause may speak of nodes; a "mass" at a level is one."""
    return clause.kind in (None, "node") or (clause.has("level", "bare_level") and not clause.has("site"))


def _carry_side_back(clauses: list[Clause]) -> None:
    """The side behind the last level of a list holds for all: "levels II (22 mm) and III (16 mm) on the right"."""
    for clause, following in zip(clauses[-2::-1], clauses[:0:-1], strict=False):
        levels = [token for token in following.tokens if token.tag in ("level", "bare_level")]
        last = [token for token in following.tokens if token.tag in ("side", "size")]
        ends = len(levels) == 1 and [t.tag for t in last] == ["size", "side"] and last[0].start > levels[0].start
        side = last[1].value if ends else following.side_before if following.side_behind else None
        bare = not clause.has("side", "ipsilateral", "contralateral") and clause.side_before is None
        of_nodes = not {clause.kind, following.kind} - {None, "node"} and clause.has("level", "bare_level")
        one_head = following.head is None or clause.head is None
        if side and bare and of_nodes and one_head and clause.has("size") and following.joined_by in _AND:
            clause.side_before, clause.side_behind = side, True
