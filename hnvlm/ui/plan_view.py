"""The drafted plan as cards: staging, open questions, contradictions, options, prescription, constraints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from hnvlm.ui import badges, html

Payload = dict[str, Any]
_CISPLATIN = {
    "contraindicated": "contraindicated", "relative": "relative contraindication, to be weighed",
    "eligible": "no contraindication among the facts that were stated", "undetermined": "eligibility not determined",
}  # fmt: skip
_STATUS = {"met": "met", "not_met": "NOT met", "not_evaluable": "not evaluable"}


def show(plan: Payload) -> None:
    """Show everything that was drafted, what is open first."""
    tags = {s["title"]: s["tag"] for s in reversed(plan["sources"])}
    for line in plan["urgent"]:
        st.error(line)
    staging(plan["staging"], tags)
    _questions(plan)
    _contradictions(plan)
    _treatment(plan, tags)
    _prescription(plan["prescription"], tags)
    _constraints(plan["constraints"], tags, _judged_on(plan))
    _systemic(plan, tags)
    _lists(plan)
    _sources(plan)


def staging(stage: Payload, tags: dict[str, str]) -> None:
    """Show T, N, M and stage group with the reason for each."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown("**Staging**")
            if stage["provisional"]:
                st.badge("provisional", color="orange", help="Facts are missing that could change it.")
        group = stage["group"] or " or ".join(stage["possible_groups"]) or "open"
        html.tiles([*((k.upper(), stage[k] or f"{k.upper()}?") for k in ("t", "n", "m")), ("Stage", group)])
        lines = [_why(k.upper(), stage["basis"][k], tags) for k in ("t", "n", "m")]
        html.items(lines)
        site = stage.get("site_name") or stage["site"] or "no site yet"
        st.caption(f"{stage['edition']}, {stage['kind']}, table of {site}")
        for other in stage["alternatives"]:
            parts = [other[k] or f"{k.upper()}?" for k in ("t", "n", "m")]
            name = other.get("site_name") or other["site"] or ""
            st.text(f"If {name}: {' '.join(parts)}, stage {other['group'] or 'open'}")


def _why(name: str, basis: Payload, tags: dict[str, str]) -> str:
    if basis["value"] is None:
        possible = f"; possible {', '.join(basis['possible'])}" if basis["possible"] else ""
        return f"{name} cannot be derived yet{possible}"
    reason = basis["basis"] or "by the table"
    facts = f" (here {basis['facts']})" if basis["facts"] else ""
    return f"{basis['value']}: {reason}{facts}{tag(basis['sources'], tags)}"


def tag(titles: Sequence[str], tags: dict[str, str]) -> str:
    """Return the source tags of titles as they stand in the plan text: `` [S3][S7]``."""
    found = [f"[{tags[t]}]" for t in dict.fromkeys(titles) if t in tags]
    return " " + "".join(found) if found else ""


def _questions(plan: Payload) -> None:
    if not plan["needs"]:
        return
    with st.expander(f"Open questions ({len(plan['needs'])})", expanded=True, key="plan-questions"):
        st.caption("Not determinable from CT unless said. The most decisive first.")
        html.items([f"{need['question']}: {need.get('why') or need['changes']}" for need in plan["needs"]])


def _contradictions(plan: Payload) -> None:
    fired = [c for c in [*plan.get("text_checks", ()), *plan["checks"]] if c["status"] in ("fail", "warn")]
    with st.container(border=True):
        st.markdown("**Contradictions and checks**")
        for check in fired:
            badges.check(check["status"], check["message"])
        passed = sum(c["status"] == "pass" for c in plan["checks"])
        waiting = sum(c["status"] == "not_evaluated" for c in plan["checks"])
        st.caption(f"{passed} rules agree; {waiting} could not be checked because facts are missing.")


def _treatment(plan: Payload, tags: dict[str, str]) -> None:
    modality, intent = plan["modality"], plan["intent"]
    with st.container(border=True):
        st.markdown("**Intent and treatment options**")
        confirm = ", to be confirmed" if intent["provisional"] else ""
        reason = intent["reason"]
        st.text(f"Intent: {intent['value'] or 'open'}{confirm}. {reason[:1].upper()}{reason[1:]}.")
        if modality["drafted"]:
            st.text(f"Drafted: {modality['drafted']}")
        if modality["withheld"]:
            st.text(f"No treatment drafted: {modality['withheld']}.")
        groups = (("Applies", modality["options"]), ("Depends on open facts", modality["depends"]),
                  ("Advised against", modality["avoid"]))  # fmt: skip
        for name, options in groups:
            if options:
                st.caption(name)
                html.items([_option(o, tags) for o in options])
        if modality["branches"]:
            st.caption("If it turns out to be")
            html.items(modality["branches"])


def _option(option: Payload, tags: dict[str, str]) -> str:
    strength = f" ({option['strength']})" if option["strength"] else ""
    principle = f": {option['principle']}" if option["principle"] else ""
    return f"{' / '.join(option['options'])}{principle}{strength}{tag(option['sources'], tags)}"


def _prescription(prescription: Payload, tags: dict[str, str]) -> None:
    with st.container(border=True):
        st.markdown("**Prescription**")
        if prescription["withheld"]:
            st.text(f"Withheld: {prescription['withheld']}.")
        for scheme in prescription["schemes"]:
            if scheme["condition"]:
                st.caption(scheme["condition"][0].upper() + scheme["condition"][1:])
            rows = [
                (v["target"], v["purpose"], f"{v['dose_gy']:g} Gy", str(v["fractions"]), f"{v['per_fraction_gy']:g} Gy",
                 f"{v['eqd2_10_gy']:.1f} Gy", tag(v["sources"], tags).strip())
                for v in scheme["levels"]
            ]  # fmt: skip
            heads = ("Target", "For", "Dose", "Fractions", "Each", "EQD2 (α/β 10)", "Source")
            html.table(heads, rows, numeric=(2, 3, 4, 5))
            st.caption(" ".join(p for p in (scheme["schedule"], scheme["note"]) if p))


def _judged_on(plan: Payload) -> str:
    """Which dose the limits are judged on; plans drafted before they said so tell its name alone."""
    used = plan.get("dose_used", "")
    return plan.get("dose_line") or (f"Judged on: {used}" if used and not used.startswith("no dose") else used)


def _constraints(constraints: Sequence[Payload], tags: dict[str, str], used: str) -> None:
    if not constraints:
        return
    with st.container(border=True):
        st.markdown("**Dose constraints**")
        rows = [
            (
                c["structure"].replace("_", " "), _limit(c),
                "–" if c["value"] is None else f"{c['value']:.1f} {c['unit']}",
                _STATUS.get(c["status"], c["status"].replace("_", " ")), str(c["priority"]), c["endpoint"],
                tag(c["sources"], tags).strip(),
            )
            for c in constraints
        ]  # fmt: skip
        tones = [{"met": "good", "not_met": "bad"}.get(c["status"], "") for c in constraints]
        heads = ("Structure", "Limit", "Value", "Status", "Priority", "Protects from", "Source")
        html.table(heads, rows, numeric=(2,), keep=(0, 1, 3), tones=tones)
        if used:
            st.caption(f"{used[0].upper()}{used[1:].rstrip('.')}.")
        st.caption("Priority 1: hard limit. 2: strong. 3: as low as reasonably achievable.")


def _limit(row: Payload) -> str:
    sign = {"<=": "≤", ">=": "≥"}.get(row["op"], row["op"])
    return f"{row['metric'].replace('pct', '%')} {sign} {row['limit']:g} {row['unit']}"


def _systemic(plan: Payload, tags: dict[str, str]) -> None:
    verdict = plan["cisplatin"]["verdict"] if plan["cisplatin"] else ""
    if not plan["systemic"] and not verdict:
        return
    with st.container(border=True):
        st.markdown("**Systemic treatment**")
        if verdict:
            st.text(f"Cisplatin: {_CISPLATIN[verdict]}.")
            html.items([c["text"] for c in plan["cisplatin"]["criteria"]])
        rows = [
            (s["agent"], s["dose"], s["status"].replace("_", " "), s["reason"], tag(s["sources"], tags).strip())
            for s in plan["systemic"]
        ]  # fmt: skip
        if rows:
            html.table(("Agent", "Dose", "Status", "Why", "Source"), rows, keep=(2,))


def _lists(plan: Payload) -> None:
    parts = (("Target volumes", "targets"), ("Supportive care", "supportive_care"), ("Follow-up", "follow_up"),
             ("Not verified: check before use", "not_verified"))  # fmt: skip
    for name, key in parts:
        if plan[key]:
            with st.expander(f"{name} ({len(plan[key])})", key=f"plan-{key}"):
                html.items(plan[key])


def _sources(plan: Payload) -> None:
    with st.expander(f"Sources ({len(plan['sources'])})", key="plan-sources"):
        rows = [(s["tag"], s["title"], str(s["year"] or ""), s["doi"] or s["url"], s["grade"]) for s in plan["sources"]]
        html.table(("Tag", "Document", "Year", "DOI or address", "Grade"), rows)
