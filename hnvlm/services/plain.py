"""Typed words that stand beside others: in one line, without what nobody sees."""

from __future__ import annotations

import unicodedata


def one_line(text: str) -> str:
    """Return a name or a description without control characters and marks that turn the letters around.

    Such a mark would turn what stands behind it, too: the number of the case, or the days between two CTs.
    """
    seen = (c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cf"))
    return " ".join("".join(seen).split())
