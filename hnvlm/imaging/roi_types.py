"""What a structure is to a planning system, by its name: RT ROI Interpreted Type (PS3.3 C.8.8.8.1)."""

from __future__ import annotations

import re

# Letters and digits of the name -> term. Planning systems calculate dose within the EXTERNAL one only.
_NAMED = (
    (re.compile(r"external"), "EXTERNAL"),
    (re.compile(r"bolus\d*"), "BOLUS"),
    (re.compile(r"couch(?:surface|interior|exterior|inner|outer|top)?|tabletop|treatmenttable"), "SUPPORT"),
    (re.compile(r"iso|isocent(?:er|re|rum)"), "ISOCENTER"),
)
# Made from a target to steer a plan, and no target: a system that took a ring for a PTV would ask for its dose there.
_HELPER = re.compile(r"ring|shell|wall|help|dummy|(?:^|[^a-z])(?:opt|exp)(?:$|[^a-z])|[+]|\d\s*mm", re.IGNORECASE)
_AVOIDED = re.compile(r"avoid|prv", re.IGNORECASE)
_TARGETS = ("PTV", "CTV", "GTV")


def interpreted_type(name: str) -> str:
    """Return the defined term: PTV, CTV, GTV, AVOIDANCE, CONTROL, EXTERNAL, BOLUS, SUPPORT, ISOCENTER or ORGAN."""
    kind = name[:3].upper()  # clinics also write "ptv boost"
    if kind in _TARGETS:
        return "AVOIDANCE" if _AVOIDED.search(name) else "CONTROL" if _HELPER.search(name) else kind
    key = re.sub(r"[\s_-]", "", name.lower())
    return next((term for word, term in _NAMED if word.fullmatch(key)), "ORGAN")
