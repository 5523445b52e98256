"""Word-level differences between two texts, for showing what an edit changed."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import Literal

DiffOp = Literal["equal", "insert", "delete"]


def word_diff(a: str, b: str) -> list[tuple[DiffOp, str]]:
    """Return the steps from ``a`` to ``b`` as (op, words).

    White space belongs to the word before it: joining ``equal`` and ``delete`` gives ``a``, joining ``equal`` and
    ``insert`` gives ``b``. A replacement is a ``delete`` followed by an ``insert``.
    """
    old, new = _words(a), _words(b)
    steps: list[tuple[DiffOp, str]] = []
    for op, i0, i1, j0, j1 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if op == "equal":
            steps.append(("equal", "".join(old[i0:i1])))
            continue
        if i1 > i0:
            steps.append(("delete", "".join(old[i0:i1])))
        if j1 > j0:
            steps.append(("insert", "".join(new[j0:j1])))
    return steps


def _words(text: str) -> list[str]:
    """Split after white space; leading white space is a piece of its own."""
    return re.findall(r"^\s+|\S+\s*", text)
