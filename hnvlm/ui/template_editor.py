"""Choose the constraint template of a case, and edit a copy of one."""

from __future__ import annotations

from typing import Any

import streamlit as st

from hnvlm.services import constraint_templates, dose
from hnvlm.services.context import App
from hnvlm.ui import state
from hnvlm.ui.errors import guard, handled

_COLUMNS = {"organ": "Structure", "metric": "Metric", "op": "Sign", "limit": "Limit", "unit": "Unit",
            "priority": "Priority", "endpoint": "Protects from", "source": "Source or editor"}  # fmt: skip


def choose(app: App, case_id: str) -> None:
    """Show which template judges this case, to choose another and to edit."""
    names = constraint_templates.names(app)
    key = f"template-{case_id}"
    st.session_state[key] = constraint_templates.chosen(app, case_id)
    name = st.session_state[key]
    own = name not in constraint_templates.TITLES
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.selectbox("Template", names, format_func=lambda n: f"Limits: {constraint_templates.title(n)}", key=key,
                     on_change=handled(_choose), args=(app, case_id, key),
                     label_visibility="collapsed", width=240)  # fmt: skip
        if st.button("Edit" if own else "Edit a copy", key=f"template-edit-{case_id}"):
            rows = [_shown(r) for r in constraint_templates.rows(app, name)]
            _edit(app, case_id, name, own, rows, constraint_templates.stamp(app, name))
        if own:
            _removal(app, case_id, name)


def _choose(app: App, case_id: str, key: str) -> None:
    constraint_templates.choose(app, case_id, st.session_state[key])


def _removal(app: App, case_id: str, name: str) -> None:
    """Ask once more: a removed template is gone for every case that uses it."""
    with st.popover("Remove", key=f"template-removal-{case_id}-{name}"):
        default = constraint_templates.title("default")
        st.caption(f"Every case that uses it is judged by {default} again. Nothing brings it back.")
        st.button("Remove this template", key=f"template-remove-{case_id}", type="primary", on_click=handled(_remove),
                  args=(app, name))  # fmt: skip


def _remove(app: App, name: str) -> None:
    constraint_templates.remove(app, name, who=state.who())


@st.dialog("Constraint template", width="large")
def _edit(app: App, case_id: str, name: str, own: bool, shown: list[dict[str, Any]], stamp: str) -> None:
    # Rows and stamp are those of the moment the window was opened: every rerun of it gets them again, so that the
    # edits keep to the rows they were made on.
    with guard():
        st.caption("A number you change loses its published source and says who changed it. Metrics: Dmean, Dmax, "
                   "D0.03cc, D2pct, V50Gy (in % or cc), V95pct.")  # fmt: skip
        proposed = name if own else f"{constraint_templates.title(name)} edited"
        title = st.text_input("Name", value=proposed, max_chars=40, key="template-name")
        rows = st.data_editor(
            shown, num_rows="dynamic", hide_index=True, height=380, key=f"template-rows-{name}", disabled=["source"],
            column_order=list(_COLUMNS),
            column_config={
                **{k: st.column_config.TextColumn(v) for k, v in _COLUMNS.items()},
                "op": st.column_config.SelectboxColumn("Sign", options=["<", "<=", ">="], width="small"),
                "unit": st.column_config.SelectboxColumn("Unit", options=["Gy", "%", "cc"], width="small"),
                "limit": st.column_config.NumberColumn("Limit", width="small"),
                "priority": st.column_config.NumberColumn("Priority", min_value=1, max_value=3, step=1, width="small"),
            },
        )  # fmt: skip
        if st.button("Save and use for this case", type="primary", key="template-save"):
            saved = constraint_templates.save(
                app, title, [_plain(r) for r in rows], who=state.who(),
                based_on=stamp if own and title.strip() == name else "", structures=dose.structure_names(app, case_id),
            )  # fmt: skip
            constraint_templates.choose(app, case_id, saved)
            st.rerun()


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {k: row.get(k, "") for k in (*_COLUMNS, "id")}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k != "source"}
