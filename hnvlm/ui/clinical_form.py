"""The clinical form: every answer goes into the store at once, every question may stay unknown."""

from __future__ import annotations

from typing import Any

import streamlit as st

from hnvlm.errors import UsageError
from hnvlm.services import planning
from hnvlm.services.context import App
from hnvlm.ui import state
from hnvlm.ui.errors import handled

UNKNOWN = "unknown"
_CHOICE_TYPES = ("choice", "yes_no")
_OPEN = ("Disease",)
# Of a case, by question: the answers that were last sent to the browser, and what is wrong with what was entered.
_SEEN, _WRONG = "form-seen", "form-wrong"


def show(app: App, case_id: str) -> None:
    """Show the form, grouped; each field says what its answer would change."""
    answers = planning.load_form(app, case_id)
    fields = planning.form_questions(answers)
    asked = f"{len(answers)} of {len(fields)} answered"
    left_out = len(planning.form_fields()) - len(fields)
    other = f" {left_out} questions of other primary sites are left out." if left_out else ""
    st.caption(f"{asked}. Each answer is kept at once; what is not known stays open.{other}")
    for group in dict.fromkeys(f.group for f in fields):
        members = [f for f in fields if f.group == group]
        with st.expander(group, expanded=group in _OPEN, key=f"form-{case_id}-{group}"):
            known = sum(f.id in answers for f in members)
            st.caption(f"{known} of {len(members)} answered")
            # A row of columns for every two questions: the Tab key goes from one to the next as the eye does.
            for start in range(0, len(members), 2):
                for column, question in zip(st.columns(2, gap="small"), members[start : start + 2], strict=False):
                    with column:
                        _field(app, case_id, question, answers.get(question.id))
    state.form_shown(case_id)


def _key(case_id: str, field_id: str) -> str:
    return f"form-{case_id}-{field_id}"


def _field(app: App, case_id: str, question: Any, answer: Any) -> None:
    key = _key(case_id, question.id)
    seen, wrong = (state.of_case(case_id).setdefault(part, {}) for part in (_SEEN, _WRONG))
    stored = _to_widget(question, answer)
    # The session may still hold the widgets of a form that the browser no longer shows. The browser then draws new,
    # empty ones, and the next click on anything would empty the stored form. So a form that comes back is told its
    # answers, in every run until it is used: of two runs in short order the browser may draw the last one alone.
    if key not in st.session_state or state.form_in_use() != case_id:
        wrong.pop(question.id, None)
        st.session_state[key] = stored
    # What somebody else answered meanwhile is shown: the plan is drafted from what is stored.
    elif question.id not in wrong and seen.get(question.id, stored) != stored:
        st.session_state[key] = stored
    seen[question.id] = stored
    label = question.label + (f" ({question.unit})" if question.unit else "")
    common = {"key": key, "help": _help(question), "on_change": handled(_store), "args": (app, case_id, question)}
    if question.type in _CHOICE_TYPES:
        choices = [UNKNOWN, *(c for c in question.choices if c != UNKNOWN)]
        st.selectbox(label, choices, index=choices.index(stored), format_func=words, **common)
    elif question.type == "multi":
        said = planning.structures_to_tick(planning.load_form(app, case_id))
        choices = ["none", *said]
        # Typing "none" and Enter must choose none, not every structure whose letters match.
        st.multiselect(
            label, choices, default=stored, format_func=lambda c: words(said.get(c, c)), placeholder="not known",
            filter_mode="contains", select_all=False,
            **common,
        )  # fmt: skip
    elif question.type == "text":
        st.text_input(label, value=stored, placeholder="not known", **common)
    else:
        _number(label, question, common)
    if message := wrong.get(question.id):
        st.error(message)


def _number(label: str, question: Any, common: dict[str, Any]) -> None:
    kind = int if question.type == "integer" else float
    low, high = (None if v is None else kind(v) for v in (question.minimum, question.maximum))
    st.number_input(
        label, min_value=low, max_value=high, value=None, step=kind(1), placeholder="not known",
        format=None if kind is int else "%g", **common,
    )  # fmt: skip


def _help(question: Any) -> str | None:
    changes = f"Changes {question.changes}." if question.changes else ""
    return " ".join(p for p in (question.help and question.help.rstrip(".") + ".", changes) if p) or None


def words(choice: str) -> str:
    """Return a choice of the tables as a person would write it."""
    if choice == UNKNOWN:
        return "not known"
    text = choice.replace("_", " ")
    return text[0].upper() + text[1:]


def _to_widget(question: Any, answer: Any) -> Any:
    if question.type == "yes_no":
        return UNKNOWN if answer is None else "yes" if answer else "no"
    if question.type == "choice":
        return UNKNOWN if answer is None else answer
    if question.type == "multi":
        return [] if answer is None else list(answer)
    if question.type == "text":
        return answer or ""
    if answer is None:
        return None
    return int(answer) if question.type == "integer" else float(answer)


def _given(question: Any, value: Any) -> Any:
    """Return an answer as it is stored: a code is written in capitals, whichever way it was typed."""
    return value.strip().upper() if question.type == "text" and question.pattern and value else value


def _store(app: App, case_id: str, question: Any) -> None:
    """Store one answer; a wrong one is named beside its field and the others are not lost."""
    key = _key(case_id, question.id)
    state.form_answered(case_id)
    wrong = state.of_case(case_id).setdefault(_WRONG, {})
    try:
        planning.answer(app, case_id, question.id, _given(question, st.session_state.get(key)), who=state.who())
    except UsageError as error:
        # The name of the field in files says nothing beside the field itself.
        wrong[question.id] = error.message.replace(f" ({question.id})", "")
    else:
        wrong.pop(question.id, None)
