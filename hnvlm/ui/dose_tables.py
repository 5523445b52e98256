"""Tables of a dose: constraints judged with margin and source, and the figures of every structure."""

from __future__ import annotations

from typing import Any

import streamlit as st

from hnvlm.services import histograms
from hnvlm.services.histograms import Judged
from hnvlm.services.limit_text import margin_text, value_text
from hnvlm.ui import html

_WORDS = {"met": "met", "not_met": "NOT\N{NO-BREAK SPACE}met", "not_evaluable": "not evaluable"}
_TONES = {"met": "good", "not_met": "bad"}
_ORDER = {"not_met": 0, "met": 1, "not_evaluable": 2}


def constraints(judged: Judged, against: Judged | None = None) -> None:
    """Show the judged rows, those not met first; what cannot be judged stands apart with the reason."""
    rows = sorted(judged.rows, key=lambda r: (_ORDER[r.status], r.priority))
    counts = {s: sum(r.status == s for r in rows) for s in _ORDER}
    if not rows:
        st.caption("No limit of this template is about a structure of this case.")
        return
    hard = [r for r in rows if r.priority == 1 and r.status != "not_evaluable"]
    kept = sum(r.status == "met" for r in hard)
    st.caption(
        f"Hard limits: {kept} of {len(hard)} met. All: {counts['met']} met, {counts['not_met']} not met, "
        f"{counts['not_evaluable']} not evaluable."
    )
    numbers = _numbered(rows)
    other = {(r.id, r.structure): r for r in against.rows} if against is not None else {}
    shown = [r for r in rows if r.status != "not_evaluable"]
    heads = [
        "Structure",
        "Limit",
        "Value",
        *(["Compared"] if against else []),
        "Margin",
        "Status",
        "Priority",
        "Source",
    ]
    body = []
    for r in shown:
        compared = other.get((r.id, r.structure))
        body.append(
            [
                _name(r.structure, judged),
                _limit(r),
                _value(r),
                *([_value(compared)] if against else []),
                _margin(r),
                _WORDS[r.status],
                str(r.priority),
                " ".join(f"[{n}]" for n in numbers[r.id, r.structure]),
            ]
        )
    if body:
        last = 4 if against else 3
        html.table(
            heads,
            body,
            numeric=range(2, last + 1),
            keep=(1, last + 1),
            whole=(0,),
            tones=[_TONES.get(r.status, "") for r in shown],
            below=[_remark(r) for r in shown],  # a column of them left one word a line, and cut the last columns
        )
        st.caption(
            "Priority 1: hard limit. 2: strong. 3: as low as reasonably achievable. Margin: room left to the limit, "
            "below 0 where it is not met."
        )
    waiting = [r for r in rows if r.status == "not_evaluable"]
    if waiting:
        # Where most is not judged, as in large fractions, why not comes before the rest.
        most = len(waiting) > len(shown)
        with st.expander(f"Not evaluable ({len(waiting)})", expanded=most, key="constraints-open"):
            html.table(
                ("Structure", "Limit", "Applies to", "Why"),
                [(_name(r.structure, judged), _limit(r), r.applies, r.reason) for r in waiting],
            )
    _sources(rows, numbers)


def _limit(row: Any) -> str:
    sign = {"<=": "≤", ">=": "≥"}.get(row.op, row.op)
    metric = row.metric.replace("pct", "%")
    return f"{metric} {sign} {row.limit:g} {row.unit}".replace(" ", "\N{NO-BREAK SPACE}")


def _name(structure: str, judged: Judged) -> str:
    """The structure; one that a model drew says so."""
    drawn = " (AI)" if judged.source.get(structure) == "AI" else ""
    return structure.replace("_", " ") + drawn


def _value(row: Any) -> str:
    if row is None:
        return "–"
    return row.reason if row.value is None else f"{value_text(row.value, row.limit)} {row.unit}"


def _margin(row: Any) -> str:
    if row.margin is None:
        return "–"
    return margin_text(row.margin, row.value, row.limit).replace("-", "\N{MINUS SIGN}")


def _remark(row: Any) -> str:
    """What a limit is about, and what else is to be known of its status; without a value that stands in its place."""
    return "; ".join(text for text in (row.applies, row.reason if row.value is not None else "") if text)


def _titles(row: Any) -> list[str]:
    return [f"{row.edited} (no published source)"] if row.edited else [_title(d) for d in row.sources]


def _title(document: Any) -> str:
    parts = [
        document.title,
        str(document.year) if document.year and str(document.year) not in document.title else "",
        document.doi or document.url,
        f"grade {document.grade}" if document.grade else "",
    ]
    return ", ".join(p for p in parts if p)


def _numbered(rows: list[Any]) -> dict[tuple[str, str], list[int]]:
    titles: dict[str, int] = {}
    for row in rows:
        for title in _titles(row):
            titles.setdefault(title, len(titles) + 1)
    return {(r.id, r.structure): [titles[t] for t in _titles(r)] for r in rows}


def _sources(rows: list[Any], numbers: dict[tuple[str, str], list[int]]) -> None:
    listed = {n: title for r in rows for n, title in zip(numbers[r.id, r.structure], _titles(r), strict=True)}
    with st.expander(f"Sources ({len(listed)})", key="constraints-sources"):
        html.table(("Tag", "Document"), [(f"[{n}]", listed[n]) for n in sorted(listed)])


def figures(judged: Judged, fractions: int | None) -> None:
    """Show the figures of targets (ICRU 83) and of organs, with EQD2 where fractions and alpha/beta are known."""
    rows = histograms.table(judged, fractions)
    targets, organs = [r for r in rows if r["target"]], [r for r in rows if not r["target"]]
    if targets:
        html.table(
            ("Target", "Volume", "D98 %", "D95 %", "D50 %", "D2 %", "Mean", "V95 %", "HI"),
            [
                (
                    _name(r["name"], judged),
                    f"{r['volume_cc']:.1f}",
                    *(_gy(r.get(m)) for m in ("D98pct", "D95pct", "D50pct", "D2pct", "Dmean")),
                    "–" if "v95_pct" not in r else f"{r['v95_pct']:.1f} %",
                    "–" if r["homogeneity"] is None else f"{r['homogeneity']:.3f}",
                )
                for r in targets
            ],
            numeric=range(1, 9),
            whole=(0,),
        )
        st.caption(
            "Volumes in cc, doses in Gy. V95: volume with at least 95 % of the level in the target's name. HI: "
            "homogeneity (ICRU 83): (D2 − D98) / D50, 0 is uniform; of the highest level only: its dose makes "
            "the D2 of a lower one."
        )
    if organs:
        html.table(
            ("Organ", "Volume", "Mean", "D0.03cc", "D2 %", "EQD2 mean", "EQD2 D0.03cc", "α/β"),
            [
                (
                    _name(r["name"], judged),
                    f"{r['volume_cc']:.1f}",
                    _gy(r.get("Dmean")),
                    _gy(r.get("D0.03cc")),
                    _gy(r.get("D2pct")),
                    _gy(r["eqd2_mean"]),
                    _gy(r["eqd2"]),
                    r["alpha_beta"].removeprefix("α/β ") or "not known",
                )
                for r in organs
            ],
            numeric=range(1, 7),
            whole=(0,),
        )
        known = "EQD2 needs the number of fractions."
        if fractions:
            noun = "fraction" if fractions == 1 else "fractions"
            known = f"EQD2 for {fractions} {noun}, the mean part by part, no time factor."
        st.caption(f"Volumes in cc, doses in Gy. {known} α/β: of the cited radiotherapy table.")
    beyond = [r for r in rows if r["outside_cc"] > 0]
    for row in beyond:
        st.text(f"{row['name']}: {_beyond(row)}")


def _beyond(row: dict[str, Any]) -> str:
    """What the part of a structure outside the dose grid means for its figures."""
    if row["outside"]:
        return f"{row['outside']}, so its figures are not known and its limits are not judged."
    return f"{row['outside_cc']:.2g} cc lie outside the dose grid and count as 0 Gy."


def _gy(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
