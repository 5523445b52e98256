"""Other CTs of the patient: what is linked or proposed, linking, and two CTs beside each other."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from hnvlm.services import CaseRecord, documents, priors
from hnvlm.services.context import App
from hnvlm.services.priors import Other
from hnvlm.ui import badges, casebar, html, state
from hnvlm.ui.errors import handled

# Remembered of a case: the CT that stands beside it, and the one that was unlinked last.
_BESIDE, _UNLINKED = "beside", "unlinked"
_TOGETHER = "_scroll_together"
NOT_REGISTERED = "not registered"
MEANING = (
    "No place of one CT is a place of the other. Bring both to the same place, each by itself; from then on they go "
    "through as many mm. Window, zoom and scale are the same in both in any case."
)


def menu(app: App) -> Callable[[CaseRecord], None]:
    """Return what the case row shows of the patient's other CTs."""

    def show(case: CaseRecord) -> None:
        seen = priors.view(app, case)
        with st.popover(_label(seen.linked, seen.proposed), type="tertiary", icon=":material/person:", key="other-cts"):
            casebar.name_box(f"linker-{case.id}")
            for other in seen.proposed:
                _proposed(app, case, other)
            for other in seen.linked:
                _linked(app, case, other)
            _unlinked(app, case)
            for other in seen.denied:
                _denied(app, case, other)
            _form(app, case, seen.candidates)

    return show


def _label(linked: list[Other], proposed: list[Other]) -> str:
    if proposed:
        return f"Same patient as {proposed[0].case.id}?"
    if len(linked) > 1:
        return f"{len(linked)} linked CTs"
    if not linked:
        return "Link another CT"
    mark = "SYNTHETIC" if linked[0].case.synthetic else ""
    return ", ".join(filter(None, (f"Linked CT: {linked[0].case.id}", mark, when(linked[0]))))


def when(other: Other) -> str:
    """Say how many days lie between two CTs, "" where nothing stored tells."""
    if other.days is None:
        return ""
    if other.days == 0:
        return "same day"
    count = abs(other.days)
    return f"{count} day{'' if count == 1 else 's'} {'later' if other.days > 0 else 'earlier'}"


def _head(other: Other) -> None:
    """What is known of a CT: description, when it was taken or only that it was added, and that it is synthetic."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{other.case.id}**", width="content")
        if other.case.synthetic:
            badges.case(other.case)
    described = [other.case.description] if casebar.described(other.case) else []
    html.note(", ".join([*described, *filter(None, [when(other)]), f"added {casebar.when(other.case.created)[:10]}"]))


def _buttons(app: App, case: CaseRecord, other: Other, *more: tuple[str, str, Callable[..., None]]) -> None:
    beside = state.of_case(case.id).get(_BESIDE) == other.case.id
    with st.container(horizontal=True, gap="small"):
        st.button("Open", key=f"prior-open-{other.case.id}", help=f"Open {other.case.id}", on_click=state.open_case,
                  args=(other.case.id,))  # fmt: skip
        st.button("Stop comparing" if beside else "Compare", key=f"prior-compare-{other.case.id}",
                  help=f"{case.id} and {other.case.id} side by side", on_click=_stand,
                  args=(case.id, None if beside else other.case.id))  # fmt: skip
        for label, key, act in more:
            st.button(label, key=f"prior-{key}-{other.case.id}", help=f"{label}: {case.id} and {other.case.id}",
                      on_click=handled(act), args=(app, case.id, other.case.id))  # fmt: skip


def _proposed(app: App, case: CaseRecord, other: Other) -> None:
    with st.container(border=True, key=f"prior-{other.case.id}"):
        _head(other)
        html.note(f"Is it this patient's, too? {other.why} Nothing is linked until you say so.")
        _buttons(app, case, other, ("Same patient", "link", _link), ("Not the same", "deny", _deny))


def _linked(app: App, case: CaseRecord, other: Other) -> None:
    with st.container(border=True, key=f"prior-{other.case.id}"):
        _head(other)
        if other.said is None:
            html.note(f"Linked through {', '.join(other.through)}.")
            _buttons(app, case, other)
        else:
            html.note(f"Linked by {_by(other)}")
            _buttons(app, case, other, ("Unlink", "unlink", _unlink))


def _denied(app: App, case: CaseRecord, other: Other) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        html.note(f"{other.case.id} is not this patient's, said {_by(other)}")
        st.button("Undo", key=f"prior-undeny-{other.case.id}", help=f"{other.case.id} may be this patient's",
                  on_click=handled(_take_back), args=(app, case.id, other.case.id))  # fmt: skip


def _by(other: Other) -> str:
    assert other.said is not None
    return f"{documents.named(other.said.who)}, {casebar.when(other.said.created)} UTC"


def _unlinked(app: App, case: CaseRecord) -> None:
    other = state.of_case(case.id).get(_UNLINKED)
    if other is not None:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            html.note(f"{other} was unlinked.")
            st.button("Undo", key=f"prior-relink-{other}", help=f"Link {case.id} and {other} again",
                      on_click=handled(_link), args=(app, case.id, other))  # fmt: skip


def _form(app: App, case: CaseRecord, candidates: list[CaseRecord]) -> None:
    names = {o.id: _name(o) for o in candidates}
    if not names:
        html.note("There is no other case in the worklist.")
        return
    chosen = st.selectbox("Link a CT of the same patient", list(names), index=None, format_func=names.get,
                          key=f"prior-choice-{case.id}", placeholder="Choose a case")  # fmt: skip
    st.button("Link", key="prior-link", disabled=chosen is None, on_click=handled(_link),
              args=(app, case.id, chosen or ""))  # fmt: skip
    html.note("A draft of one CT takes nothing from the other.")


def _name(case: CaseRecord) -> str:
    mark = "SYNTHETIC, not a patient · " if case.synthetic else ""
    return f"{case.id} · {mark}{case.description}"


def _link(app: App, case_id: str, other_id: str) -> None:
    priors.link(app, case_id, other_id, who=state.who())
    state.of_case(case_id).pop(_UNLINKED, None)


def _unlink(app: App, case_id: str, other_id: str) -> None:
    _take_back(app, case_id, other_id)
    state.of_case(case_id)[_UNLINKED] = other_id


def _deny(app: App, case_id: str, other_id: str) -> None:
    priors.deny(app, case_id, other_id, who=state.who())


def _take_back(app: App, case_id: str, other_id: str) -> None:
    priors.take_back(app, case_id, other_id, who=state.who())


def _stand(case_id: str, other_id: str | None) -> None:
    """Put another CT beside a case, or take it away (None)."""
    state.of_case(case_id)[_BESIDE] = other_id


def beside(app: App, case: CaseRecord) -> Other | None:
    """Return the CT that stands beside this one, while it is linked or proposed."""
    wanted = state.of_case(case.id).get(_BESIDE)
    if wanted is None:
        return None
    seen = priors.view(app, case)
    return next((other for other in (*seen.linked, *seen.proposed) if other.case.id == wanted), None)


def heading(case: CaseRecord, other: Other) -> bool:
    """Say what stands beside what, with the way out; return whether both scroll together."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="comparing"):
        html.note(", ".join(filter(None, (f"{case.id} beside {other.case.id}", when(other), NOT_REGISTERED))))
        together = st.toggle("Scroll together, by mm", st.session_state.get(_TOGETHER, False), key="scroll-together",
                             help=MEANING)  # fmt: skip
        st.session_state[_TOGETHER] = together  # outlives the widget when another page is shown
        st.button("Stop comparing", key="stop-comparing", on_click=_stand, args=(case.id, None))
    return together
