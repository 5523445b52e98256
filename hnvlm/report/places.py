"""Where a clause places what it speaks of: nodal levels, sites, and the side of each."""

from __future__ import annotations

from typing import Any

from hnvlm.report.tokens import Clause, Token

# "right" and "left" in one clause with one place: nobody can know which is meant.
CONFLICT = "conflict"
# Sites in which a nodule is no lesion of the throat or the neck, and nothing that the models know.
OUTSIDE_SITES = ("thyroid gland",)
_REGIONS = ("oral cavity", "oropharynx", "hypopharynx", "larynx")
# A node in one of these spaces is a node of that level.
_LEVEL_OF_SPACE = {"submandibular space": "IB", "parapharyngeal space": "parapharyngeal"}
Place = tuple[str | None, str | None]


def node_places(clause: Clause, attributes: dict[str, Any]) -> list[Place]:
    """(level, side) of each place; the side is None where one side serves the whole clause.

    ``attributes`` gets ``also_level`` where one node borders on a second level.
    """
    levels = _levels(clause)
    if not levels:
        spaces = [_LEVEL_OF_SPACE[site] for site in clause.values("site") if site in _LEVEL_OF_SPACE]
        return [(spaces[0] if spaces else None, None)]
    several = _several_sides(clause, levels)
    places: list[Place] = []
    for token in levels:
        names, mode = token.value
        side = _nearest_side(token, clause, levels) if several else None
        if mode == "one":
            places.append((names[0] if names else None, side))
            if len(names) > 1 and len(levels) == 1:
                attributes["also_level"] = "/".join(names[1:])
        else:
            places += [(name, side) for name in names]
    return list(dict.fromkeys(places))


def _levels(clause: Clause) -> list[Token]:
    """Levels a clause names; a numeral alone is one where no word "level" stands, or behind one and a side or "and"."""
    if not clause.has("level"):
        return [token for token in clause.tokens if token.tag == "bare_level"]
    levels: list[Token] = []
    for before, token in zip([None, *clause.tokens], clause.tokens, strict=False):
        joined = bool(levels) and before is not None and before.tag in ("separator", "side")
        if token.tag == "level" or (token.tag == "bare_level" and joined):
            levels.append(token)
    return levels


def mass_places(clause: Clause, presence: str) -> list[Place]:
    """(site, side) of a mass, and of each site that a denial names ("no mass in the tonsil or larynx").

    A mass has one site: the first named subsite; a region (larynx) only where no subsite is named before an extension.
    """
    sites = [token for token in clause.tokens if token.tag == "site"]
    if presence == "absent" and len(sites) > 1:
        several = _several_sides(clause, sites)
        places = [(token.value, _nearest_side(token, clause, sites) if several else None) for token in sites]
        return list(dict.fromkeys(places))
    names = [token.value for token in sites]
    # "Laryngeal mass invading the thyroid gland" is a mass of the larynx.
    names = [name for name in names if name not in OUTSIDE_SITES or name == names[0]]
    specific = [name for name in names if name not in _REGIONS]
    if names and names[0] in OUTSIDE_SITES:
        specific = names[:1]
    return [((specific or names or [None])[0], None)]


def _several_sides(clause: Clause, places: list[Token]) -> bool:
    return len(places) > 1 and len(set(clause.values("side"))) > 1


def _nearest_side(place: Token, clause: Clause, places: list[Token]) -> str | None:
    """Side of one of several places: just before it, or just after it, or else the last one named before.

    "and" and commas part: in "level II on the right and level III on the left" III is on the left.
    """
    tokens = [token for token in clause.tokens if token in places or token.tag in ("side", "separator")]
    index = tokens.index(place)
    for neighbour in (index - 1, index + 1):
        if 0 <= neighbour < len(tokens) and tokens[neighbour].tag == "side":
            return tokens[neighbour].value
    earlier = [token.value for token in tokens[:index] if token.tag == "side"]
    later = [token.value for token in tokens[index:] if token.tag == "side"]
    return earlier[-1] if earlier else later[0] if later else None


def _either_side(clause: Clause) -> bool:
    """Whether a denial names both sides in one breath: "no adenopathy on the left or right"."""
    told = [token.value for token in clause.tokens if token.tag in ("side", "separator")]
    return len(told) == 3 and told[1] in ("or", "nor", "lub", "ani")


def side_of(clause: Clause, line: str, last_side: str | None) -> str | None:
    """Side of what a clause speaks of; ``CONFLICT`` where it names both.

    Args:
        clause: The clause.
        line: What the line's heading names; gives the side of a node where the clause names none.
        last_side: Side of the primary mass, for "ipsilateral" and "contralateral".
    """
    sides = list(dict.fromkeys(clause.values("side")))
    if clause.has("crosses"):
        sides = [side for side in sides if side != "midline"] or sides
    if {"left", "right"} <= set(sides):
        return "bilateral" if clause.denied and _either_side(clause) else CONFLICT
    if sides:
        return sides[0]
    if last_side in ("left", "right"):
        if clause.has("ipsilateral"):
            return last_side
        if clause.has("contralateral"):
            return "left" if last_side == "right" else "right"
    if clause.has("ipsilateral", "contralateral"):
        return None
    if clause.side_before:
        return clause.side_before
    return {"node_right": "right", "node_left": "left"}.get(line) if clause.kind == "node" else None
