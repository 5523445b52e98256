"""Structures a tumour may invade, in words, in the order in which a site's T table asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hnvlm.plan.case import site_keys
from hnvlm.plan.kb import load_kb
from hnvlm.plan.staging import structures_read


def structure_choices(form: Mapping[str, Any]) -> dict[str, str]:
    """Return every structure token with its meaning; those that decide T at the form's site come first."""
    kb = load_kb()
    meanings: dict[str, str] = kb["staging"]["structures"]
    rows = [kb.site_row(key) for key in site_keys(form.get("site"), form)]
    read = {token for row in rows if row for token in structures_read(kb, row["t"])}
    first = [token for token in meanings if token in read]
    return {token: meanings[token] for token in (*first, *(t for t in meanings if t not in read))}
