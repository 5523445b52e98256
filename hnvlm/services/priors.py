"""Other CTs of the same patient: linked by a named clinician, proposed where the files said so, never by themselves.

Two cases are of one patient when statements lead from one to the other. What is drafted, measured or planned of a case
knows nothing of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from hnvlm.errors import HnvlmError, UsageError
from hnvlm.services.conflicts import again_on_conflict
from hnvlm.services.context import App
from hnvlm.store import CaseRecord, Statement, known_as, say, statements

BY_NUMBER = "The files of both gave the same patient number and date of birth."
BY_STUDY = "The files of both gave the same study."
NAMELESS = "Enter your name first: it is kept with what you say of two CTs."


@dataclass(frozen=True)
class Other:
    """Another case, seen from one.

    Attributes:
        days: By how many days it was taken later (negative: earlier); None where nothing stored tells.
        said: The statement about these two, None where there is none.
        through: Ids of the linked cases that lead here where nobody linked these two directly.
        why: Why it is proposed, "" where it is not.
    """

    case: CaseRecord
    days: int | None = None
    said: Statement | None = None
    through: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class View:
    """All other cases of the worklist, seen from one.

    Attributes:
        linked: CTs of the same patient, the latest first where it is known when they were taken.
        proposed: CTs that the uploaded files call this patient's, of which nobody has said whether they are.
        denied: CTs of which somebody said that they are not this patient's.
        candidates: Cases that may be linked with this one, newest first.
    """

    linked: list[Other]
    proposed: list[Other]
    denied: list[Other]
    candidates: list[CaseRecord]


def view(app: App, case: CaseRecord) -> View:
    """Return what is known of a case and all others; read once, for a page asks in each run."""
    said, _ = statements(app.store)
    ways, about = _ways(_near(said), case.id), _about(said, case.id)
    known = known_as(app.store)
    days = _days(known, case.id)
    seen = View([], [], [], [])
    for other in app.store.list_cases():
        if other.id == case.id:
            continue
        there = Other(other, days.get(other.id), about.get(other.id))
        if other.id in ways:
            seen.linked.append(replace(there, through=tuple(ways[other.id][1:-1])))
            continue
        seen.candidates.append(other)
        if there.said is not None:
            seen.denied.append(there)
        elif why := _why(known, case, other):
            seen.proposed.append(replace(there, why=why))
    seen.linked.sort(key=lambda o: (o.days is None, -(o.days or 0)))
    return seen


def _why(known: dict[str, tuple[str, int | None]], case: CaseRecord, other: CaseRecord) -> str:
    """Why two cases may be one patient's, by what their files gave; "" where nothing says so."""
    if case.synthetic or other.synthetic:
        return ""
    mine, theirs = (known.get(id_, ("", None))[0] for id_ in (case.id, other.id))
    if mine and theirs:  # of two numbers in one study, as careless anonymisation leaves it, the study says nothing
        return BY_NUMBER if mine == theirs else ""
    study = case.meta.get("study_uid")
    return BY_STUDY if study and other.meta.get("study_uid") == study else ""


def groups(app: App) -> dict[str, list[str]]:
    """Return case id -> the other CTs of its patient, by id and mark, of the cases of the worklist that have any."""
    near = _near(statements(app.store)[0])
    cases = app.store.list_cases(descending=False) if near else []
    names = {case.id: f"{case.id} (SYNTHETIC)" if case.synthetic else case.id for case in cases}
    found = {id_: _ways(near, id_) for id_ in names if id_ in near}
    others = {id_: [names[other] for other in names if other != id_ and other in found[id_]] for id_ in found}
    return {id_: some for id_, some in others.items() if some}


def link(app: App, case_id: str, other_id: str, *, who: str) -> None:
    """Say that two CTs are of the same patient.

    Raises:
        UsageError: No name was given, both are one case, or one of them was deleted.
        NotFoundError: There is no such case.
        HnvlmError: Code ``denied``: somebody said that two of those who would become one patient's are not.
    """

    def add() -> None:
        said, last = statements(app.store)
        _require(app, case_id, other_id, who)
        if _direct(said, case_id, other_id) == "same":
            return
        _refuse_denied(said, case_id, other_id)
        say(app.store, case_id, other_id, "same", who=who.strip(), based_on=last)

    again_on_conflict(add)


def deny(app: App, case_id: str, other_id: str, *, who: str) -> None:
    """Say that two CTs are not of the same patient, so that they are not proposed again.

    Raises:
        UsageError, NotFoundError: As ``link``.
        HnvlmError: Code ``linked``: they are linked, through others or directly.
    """

    def add() -> None:
        said, last = statements(app.store)
        _require(app, case_id, other_id, who)
        if other_id in _ways(_near(said), case_id):
            raise HnvlmError(f"{case_id} and {other_id} are linked. Take the link back first.", code="linked")
        if _direct(said, case_id, other_id) != "different":
            say(app.store, case_id, other_id, "different", who=who.strip(), based_on=last)

    again_on_conflict(add)


def take_back(app: App, case_id: str, other_id: str, *, who: str) -> None:
    """Take back what was said of two CTs, whichever it was.

    Raises:
        UsageError: No name was given.
        NotFoundError: There is no such case.
    """

    def add() -> None:
        said, last = statements(app.store)
        if not who.strip():
            raise UsageError(NAMELESS)
        if _direct(said, case_id, other_id):
            say(app.store, case_id, other_id, "", who=who.strip(), based_on=last)

    again_on_conflict(add)


def _require(app: App, case_id: str, other_id: str, who: str) -> None:
    if not who.strip():
        raise UsageError(NAMELESS)
    if case_id == other_id:
        raise UsageError(f"{case_id} cannot be linked with itself. Choose another CT.")
    for id_ in (case_id, other_id):
        if app.store.get_case(id_).deleted is not None:
            raise UsageError(f"{id_} was deleted. Restore it on the page Cases first.")


def _refuse_denied(said: list[Statement], case_id: str, other_id: str) -> None:
    near = _near(said)
    together = _ways(near, case_id).keys() | _ways(near, other_id).keys()
    for s in said:
        if s.verdict == "different" and {s.one, s.other} <= together:
            raise HnvlmError(
                f"{s.who} said that {s.one} and {s.other} are not of the same patient ({s.created[:10]}). If that is "
                f"wrong, open {s.one}, take it back there, and link again.",
                code="denied",
            )


def _direct(said: Iterable[Statement], case_id: str, other_id: str) -> str:
    pair = {case_id, other_id}
    return next((s.verdict for s in said if {s.one, s.other} == pair), "")


def _about(said: Iterable[Statement], case_id: str) -> dict[str, Statement]:
    """What was said of a case and each other one; what was taken back is left out."""
    mine = (s for s in said if case_id in (s.one, s.other) and s.verdict)
    return {s.other if s.one == case_id else s.one: s for s in mine}


def _near(said: Iterable[Statement]) -> dict[str, list[str]]:
    near: dict[str, list[str]] = defaultdict(list)
    for s in said:
        if s.verdict == "same":
            near[s.one].append(s.other)
            near[s.other].append(s.one)
    return dict(near)


def _ways(near: dict[str, list[str]], start: str) -> dict[str, list[str]]:
    """The shortest chain of links from one case to each that it reaches, both ends included."""
    ways = {start: [start]}
    todo = [start]
    for here in todo:  # grows meanwhile
        for next_ in near.get(here, ()):
            if next_ not in ways:
                ways[next_] = [*ways[here], next_]
                todo.append(next_)
    return ways


def _days(known: dict[str, tuple[str, int | None]], case_id: str) -> dict[str, int]:
    """Days from this CT to others of the same key; of another key they are moved by another number."""
    key, day = known.get(case_id, ("", None))
    if day is None:
        return {}
    return {id_: there - day for id_, (other, there) in known.items() if other == key and there is not None}
