"""The questions about one draft; every answer goes into the store at once."""

from __future__ import annotations

import time
from typing import Any

import streamlit as st

from hnvlm.services import rating
from hnvlm.services.context import App
from hnvlm.ui.errors import handled

_SINCE = "rating-since"
_ON_SCREEN = "rating-on-screen"
# Choices up to this long stand beside each other.
_SHORT = 12


def show(app: App, task: str, item: rating.Item, rater: str) -> None:
    """Show the questions about a draft with what this rater answered so far."""
    begin_clock(_chain(task, item, rater), item.seconds)
    asked = rating.questions(task)
    for question in (q for q in asked if q.type != "count"):
        _choice(app, task, item, rater, question)
    counted = [q for q in asked if q.type == "count"]
    if counted:
        st.caption("Errors of each kind; what is left open counts as none. Changes since an earlier CT are not asked.")
    for start in range(0, len(counted), 2):
        for column, question in zip(st.columns(2, gap="small"), counted[start : start + 2], strict=True):
            key = _key(task, item, rater, question.id)
            column.number_input(
                question.label, 0, rating.MOST_ERRORS, item.answers.get(question.id), key=key, placeholder="0",
                help=question.source or None, on_change=handled(_store), args=(app, task, item, rater, question.id),
            )  # fmt: skip
    st.text_area(
        "Comment", item.answers.get("comment", ""), key=_key(task, item, rater, "comment"), height=80,
        on_change=handled(_store), args=(app, task, item, rater, "comment"),
    )  # fmt: skip


def _choice(app: App, task: str, item: rating.Item, rater: str, question: rating.Question) -> None:
    stored = item.answers.get(question.id)
    given = None if stored is None else str(stored)
    values, words = list(question.choices), question.choices
    common: dict[str, Any] = {
        "key": _key(task, item, rater, question.id), "on_change": handled(_store), "help": question.source or None,
        "args": (app, task, item, rater, question.id),
    }  # fmt: skip
    if question.type == "scale":
        label = f"{question.label} (1 {words['1']}, 5 {words['5']})"
        st.segmented_control(label, values, default=given, **common)
    else:
        index = None if given is None else values.index(given)
        short = max(len(w) for w in words.values()) < _SHORT
        st.radio(question.label, values, index, format_func=words.get, horizontal=short, **common)


def _chain(task: str, item: rating.Item, rater: str) -> str:
    return f"{task}-{item.draft.id}-{rater}"


def _key(task: str, item: rating.Item, rater: str, question_id: str) -> str:
    return f"rate-{_chain(task, item, rater)}-{question_id}"


def _store(app: App, task: str, item: rating.Item, rater: str, question_id: str) -> None:
    value = st.session_state.get(_key(task, item, rater, question_id))
    seconds = spent(_chain(task, item, rater), item.seconds)
    rating.answer(app, task, item.draft, rater, question_id, value, seconds=seconds)


def begin_clock(shown: str, before: float) -> None:
    """Let the clock run for what is shown now, unless it does already.

    Args:
        before: Seconds spent on it before, which count, too; what is spent on others does not.
    """
    if st.session_state.get(_SINCE, ("",))[0] != shown:
        st.session_state[_SINCE] = shown, time.monotonic() - before


def spent(shown: str, before: float) -> float:
    """Return the seconds spent on what is shown, all sittings together."""
    chain, since = st.session_state.get(_SINCE, ("", 0.0))
    return time.monotonic() - since if chain == shown else before


def put_on_screen(task: str, rater: str, item_id: int | str) -> None:
    """Note which draft or comparison this rater has before them: no redraft may change it under their eyes."""
    st.session_state[_ON_SCREEN] = task, rater, item_id


def on_screen(task: str, rater: str) -> Any:
    """Return the id of what this rater has before them; None at first, and once they went on from it."""
    *whose, item_id = st.session_state.get(_ON_SCREEN, (None, None, None))
    return item_id if whose == [task, rater] else None


def take_off_screen() -> None:
    """Note that the rater went on: where they come back to it, there may be a newer one."""
    st.session_state.pop(_ON_SCREEN, None)


def put_away() -> None:
    """Stop the clock: nothing to rate is shown."""
    st.session_state.pop(_SINCE, None)
    take_off_screen()
