"""What an upload replaced, for as long as it is replaced, and the button that takes it again."""

from __future__ import annotations

import streamlit as st

from hnvlm.services import earlier_uploads
from hnvlm.services.context import App
from hnvlm.services.earlier_uploads import Earlier
from hnvlm.ui import casebar, html, state
from hnvlm.ui.errors import handled

_WHAT = {earlier_uploads.STRUCTURES: "structures", earlier_uploads.DOSE: "uploaded dose"}
_HELP = (
    "Stored again as the newest version, under your name. What is used now stays in the case's history, and can be "
    "gone back to in the same way."
)


def show(app: App, case_id: str) -> None:
    """Say which structures and which dose of the clinic are not used any more, with the way back to each."""
    for kind in earlier_uploads.KINDS:
        found = earlier_uploads.earlier(app, case_id, kind)
        if found:
            _offer(app, case_id, kind, found)


def _offer(app: App, case_id: str, kind: str, found: list[Earlier]) -> None:
    """Offer one version, first of all the last one that holds structures which are missing now."""
    now = app.store.latest_result(case_id, kind)
    by_id = {version.result.id: version for version in found}
    first = next((version for version in found if version.dropped), found[0])
    # Keys with the newest id: another version gives new widgets, whose choice is about that one.
    key = f"earlier-{kind}-{case_id}-{now.id}"
    chosen = st.session_state.get(f"{key}-which", first.result.id)
    version = by_id.get(chosen, first)
    by = f" by {now.who}" if now.who else ""
    used = "taken again" if "same_as" in now.payload else "added"
    said = f"{_WHAT[kind].capitalize()} in use: {used} {casebar.when(now.created)} UTC{by}."
    if version.dropped:
        said += f" No longer used, of those of {_of(version)}: {', '.join(version.dropped)}."
    html.note(said)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if len(found) > 1:
            st.selectbox(
                f"Earlier {_WHAT[kind]}", list(by_id), list(by_id).index(version.result.id), key=f"{key}-which",
                format_func=lambda i: f"{_of(by_id[i])}, version {by_id[i].result.version}",
                label_visibility="collapsed", width=260,
            )  # fmt: skip
        st.button(
            f"Go back to the {_WHAT[kind]} of {_of(version)}", key=f"{key}-back", icon=":material/undo:", help=_HELP,
            on_click=handled(_go_back), args=(app, version.result.id, now.id),
        )  # fmt: skip


def _of(version: Earlier) -> str:
    return f"{casebar.when(version.uploaded)} UTC"


def _go_back(app: App, result_id: int, now_id: int) -> None:
    earlier_uploads.go_back(app, result_id, based_on=now_id, who=state.who())
