"""Sentences that assert a lesion without saying all of it: no place, no size, at times not even its kind."""

from __future__ import annotations

import random
from typing import Any

from hnvlm.report.requests import labels_of
from hnvlm.report.vocabulary import fill, load, vocabulary
from hnvlm.types import Finding

# Facts that each style of sentence states beside "there is one".
STYLES: dict[str, tuple[str, ...]] = {
    "any": (),
    "kind": ("kind",),
    "side": ("kind", "side"),
    "texture": ("kind", "texture"),
}
_SHARES = (0.35, 0.2, 0.25, 0.2)
# Says "node or mass" as well as "mass".
_VAGUE_NOUN = "lesion"


def general_sentence(finding: Finding, rng: random.Random) -> tuple[str, dict[str, Any]]:
    """One sentence that holds for a node or a mass, and the facts it states (None = left open).

    Args:
        finding: A node or a mass with side and texture.

    Returns:
        Text and labels as of ``labels_of``; ``kind`` None means a node or a mass.
    """
    style = rng.choices(tuple(STYLES), _SHARES)[0]
    words = vocabulary()
    nouns = [n for n in words["nouns"][finding.kind]["train"] if n != _VAGUE_NOUN]
    slots = {
        "noun": rng.choice(nouns),
        "side": str(finding.side),
        "tex": rng.choice(words["textures"][finding.attributes["texture"]]["adj"]["train"]),
    }
    labels = dict.fromkeys(labels_of("add", finding))
    stated = {"kind": finding.kind, "side": finding.side, "texture": finding.attributes["texture"]}
    labels.update({"op": "add"} | {name: stated[name] for name in STYLES[style]})
    return fill(rng.choice(load("general")[style]), slots), labels
