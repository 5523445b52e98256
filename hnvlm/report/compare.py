"""Compare two lists of findings: what was found, missed and made up, and whether the facts are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from hnvlm.types import Finding

LESIONS = ("node", "mass", "airway")


def _place(finding: Finding) -> str | None:
    return finding.level if finding.kind == "node" else finding.site


def _present(findings: Sequence[Finding], kinds: Sequence[str]) -> list[Finding]:
    """Present findings of these kinds; a bilateral node is one on each side."""
    items: list[Finding] = []
    for finding in findings:
        if finding.presence == "absent" or finding.kind not in kinds:
            continue
        if finding.kind == "node" and finding.side == "bilateral":
            items += [replace(finding, side="right"), replace(finding, side="left")]
        else:
            items.append(finding)
    return items


def _likeness(a: Finding, b: Finding) -> tuple[int, int, int, float]:
    """How well two findings of one kind agree; side and place first, then texture, then size."""
    same_texture = a.attributes.get("texture") == b.attributes.get("texture")
    gap = abs(a.size_mm - b.size_mm) if a.size_mm is not None and b.size_mm is not None else 1e3
    return (int(a.side == b.side) + int(_place(a) == _place(b)), int(_place(a) == _place(b)), int(same_texture), -gap)


def _pairs(reference: list[Finding], candidate: list[Finding], *, exact: bool) -> list[tuple[int, int]]:
    """Pair off the best agreeing findings of one kind first; ``exact`` asks for the same side and place."""
    options = []
    for i, a in enumerate(reference):
        for j, b in enumerate(candidate):
            if a.kind == b.kind and (not exact or (a.side == b.side and _place(a) == _place(b))):
                options.append((_likeness(a, b), i, j))
    pairs: list[tuple[int, int]] = []
    for _, i, j in sorted(options, key=lambda option: (tuple(-x for x in option[0]), option[1], option[2])):
        if all(i != p and j != q for p, q in pairs):
            pairs.append((i, j))
    return pairs


def _share(values: list[bool]) -> float | None:
    return fmean(map(float, values)) if values else None


def compare(
    reference: Sequence[Finding], candidate: Sequence[Finding], *, kinds: Sequence[str] = LESIONS
) -> dict[str, Any]:
    """Compare a candidate's findings with the reference.

    A hit is the same kind on the same side at the same place. Accuracies of side and place are taken over findings
    paired by kind alone, those of texture and size over hits; None where nothing can be compared.

    Returns:
        ``tp``, ``fp``, ``fn``, ``precision``, ``recall``, ``f1`` (1.0 when both say that there is nothing),
        ``side_accuracy``, ``place_accuracy``, ``level_accuracy`` (nodes), ``texture_accuracy``, ``size_abs_error_mm``
        (mean), ``by_kind`` (tp, fp, fn each) and ``matches`` (index pairs of hits in the present findings).
    """
    truth, said = _present(reference, kinds), _present(candidate, kinds)
    hits = _pairs(truth, said, exact=True)
    loose = _pairs(truth, said, exact=False)
    tp, fp, fn = len(hits), len(said) - len(hits), len(truth) - len(hits)
    textures = [
        truth[i].attributes["texture"] == said[j].attributes.get("texture")
        for i, j in hits
        if "texture" in truth[i].attributes
    ]
    errors = [abs(a - b) for i, j in hits if (a := truth[i].size_mm) is not None and (b := said[j].size_mm) is not None]
    by_kind = {}
    for kind in kinds:
        hit = sum(truth[i].kind == kind for i, _ in hits)
        by_kind[kind] = {
            "tp": hit,
            "fp": sum(f.kind == kind for f in said) - hit,
            "fn": sum(f.kind == kind for f in truth) - hit,
        }
    return {
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "precision": tp / (tp + fp) if tp + fp else None,
        "recall": tp / (tp + fn) if tp + fn else None,
        "f1": f1(tp, fp, fn),
        "side_accuracy": _share([truth[i].side == said[j].side for i, j in loose]),
        "place_accuracy": _share([_place(truth[i]) == _place(said[j]) for i, j in loose]),
        "level_accuracy": _share([truth[i].level == said[j].level for i, j in loose if truth[i].kind == "node"]),
        "texture_accuracy": _share(textures),
        "size_abs_error_mm": fmean(errors) if errors else None,
        "by_kind": by_kind,
        "matches": hits,
    }


def f1(tp: int, fp: int, fn: int) -> float:
    """F1 of counts; 1.0 when there was nothing to find and nothing was said."""
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0
