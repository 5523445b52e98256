"""The way back after an upload: what the clinic's structures and dose were before, and taking them again."""

from __future__ import annotations

import json
from dataclasses import dataclass

from hnvlm.errors import UsageError
from hnvlm.services.clinic_contours import drawn_id
from hnvlm.services.context import App
from hnvlm.services.dose_told import tell, told
from hnvlm.store import ResultRecord

# Both keep what was uploaded in the slot without a name.
STRUCTURES, DOSE = KINDS = ("structures", "dose")


@dataclass(frozen=True)
class Earlier:
    """A version of the clinic's structures or dose that is not used any more.

    Attributes:
        result: The version.
        uploaded: When it came in; ``result.created`` may be when it was taken again.
        dropped: Names of its structures that the version used now does not hold; () of a dose.
    """

    result: ResultRecord
    uploaded: str
    dropped: tuple[str, ...]


def earlier(app: App, case_id: str, kind: str) -> list[Earlier]:
    """Return the versions that the newest one replaced, the last one first; each content once, none as used now.

    Args:
        kind: STRUCTURES or DOSE.

    Raises:
        UsageError: Another kind.
    """
    if kind not in KINDS:
        raise UsageError(f"'{kind}' is nothing that is uploaded; {' and '.join(KINDS)} are.")
    versions = app.store.history(case_id, kind, "")
    if len(versions) < 2:
        return []
    now, newest = set(_names(app, versions[-1])), _content(versions[-1])
    # The last of each content: what was said of a dose (its prescription) stands with that one.
    found = {_content(version): version for version in versions}
    others = sorted((v for c, v in found.items() if c != newest), key=lambda v: v.id, reverse=True)
    return [
        Earlier(v, app.store.get_result(drawn_id(v)).created, tuple(n for n in _names(app, v) if n not in now))
        for v in others
    ]


def go_back(app: App, result_id: int, *, based_on: int, who: str = "") -> ResultRecord:
    """Store an earlier version of the clinic's structures or dose again as the newest one; nothing is overwritten.

    Args:
        result_id: The version to be used again.
        based_on: Id of the newest version, which it takes the place of.
        who: User.

    Returns:
        The new version. Its ``same_as`` is the id under which this content came in.

    Raises:
        UsageError: It is no structures and no dose that were uploaded.
        NotFoundError: There is no such version.
        HnvlmError: Code ``conflict``: another version came meanwhile.
    """
    item = app.store.get_result(result_id)
    if item.kind not in KINDS or item.slot:
        raise UsageError("Only structures and a dose that were uploaded can be taken again.")
    arrays = {name: app.store.load_masks(item, name) if file.endswith(".masks") else app.store.load_array(item, name)
              for name, file in item.arrays.items()}  # fmt: skip
    payload = item.payload | {"same_as": drawn_id(item)}
    stored = app.store.save_result(
        item.case_id, item.kind, payload, arrays=arrays, provenance=item.provenance, who=who, based_on=based_on
    )
    said = told(app, item) if item.kind == DOSE else {}
    if said := {key: said[key] for key in ("prescription_gy", "fractions") if key in said}:
        tell(app, stored.id, **said, who=who)
    return stored


def _content(result: ResultRecord) -> str:
    """What a version holds, the same for one that was taken again: array files are named by their content."""
    payload = {key: value for key, value in result.payload.items() if key != "same_as"}
    return json.dumps([result.arrays, payload], sort_keys=True)


def _names(app: App, result: ResultRecord) -> list[str]:
    return app.store.arrays.mask_names(result.arrays["masks"]) if result.kind == STRUCTURES else []
