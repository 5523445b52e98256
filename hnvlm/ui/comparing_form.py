"""Two texts of one case beside each other, the questions about them, and what all raters said.

Nothing here knows whose text is Text A: keys, labels and pages are made of what tells nobody.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from hnvlm.services import comparing, rating
from hnvlm.services.context import App
from hnvlm.ui import html, rating_form
from hnvlm.ui.errors import handled

# What is told apart in the results (``comparing.ORIGINS``).
ORIGINS = {
    "independent": "Clinician's text written without an AI draft",
    "edited": "Clinician's text edited from an AI draft",
}
NOTE = "Authors hidden. Signatures, sources, checks and the predicted target region are left out of both."


def show(app: App, item: comparing.Item) -> None:
    """Show both texts and the questions with what this rater answered so far."""
    rating_form.begin_clock(_shown(item), item.seconds)
    with st.container(horizontal=True, gap="medium"):
        for name, text in zip(("Text A", "Text B"), item.texts, strict=True):
            with st.container(width="stretch", key=f"rate-{name[-1].lower()}"):
                st.markdown(f"**{name}**")
                html.text_block(text, label=name)
    for question in rating.questions(item.task):
        values = list(question.choices)
        given = item.answers.get(question.id)
        st.radio(
            question.label, values, None if given is None else values.index(given), format_func=question.choices.get,
            help=question.source or None, horizontal=True, **_common(app, item, question.id),
        )  # fmt: skip
    st.text_area("Comment", item.answers.get("comment", ""), height=80, **_common(app, item, "comment"))


def left_out(pairs: comparing.Pairs) -> None:
    """Say which cases this rater is not shown, and why."""
    if pairs.unnamed:
        st.caption(
            f"Left out for everybody: {_named(pairs.unnamed)}. The clinician's text there was saved without a name, so "
            "nobody knows who must not compare it."
        )
    if pairs.own:
        html.note(
            f"Left out for you: {_named(pairs.own)}. You wrote or signed the clinician's text there, so you cannot "
            "compare it blindly."
        )
    if pairs.rated:
        html.note(
            f"Left out for you: {_named(pairs.rated)}. You rated the AI draft there by name, and would know it again."
        )
    if pairs.telling:
        html.note(
            f"Left out: {_named(pairs.telling)}. A sentence of one text tells who wrote it, by a name or because it "
            "speaks of the AI draft."
        )


def nothing(task: str, pairs: comparing.Pairs) -> None:
    """Say what is missing for a comparison, and where to go."""
    st.subheader("Nothing to compare yet")
    left_out(pairs)
    plan = rating.chain(task)[0] == "plan"
    what = "plan" if plan else f"report in {'Polish' if rating.chain(task)[1] == 'pl' else 'English'}"
    if not (pairs.unnamed or pairs.own or pairs.rated or pairs.telling):
        st.text(f"No case has both an AI draft of its {what} and a clinician's own text that says something else.")
    counted = (
        (pairs.only_draft, "with an AI draft alone: correct it under Edit, or write your own, and save it"),
        (pairs.same, "where the clinician's text, without what is left out of both, is the AI draft word for word"),
        (pairs.only_clinician, "with a clinician's text alone: have an AI draft written"),
    )
    html.items([f"{_many(len(cases), 'case')} {why}." for cases, why in counted if cases])
    if pairs.only_draft or pairs.same or pairs.only_clinician:
        page, name, icon = ("plan", "Treatment plan", "assignment") if plan else ("review", "Review", "description")
        st.page_link(f"pages/{page}.py", label=f"Go to {name}", icon=f":material/{icon}:")
    else:
        st.text(f"Open a case, draft its {what}, correct it under Edit and save it.")
        st.page_link("pages/cases.py", label="Go to Cases", icon=":material/upload:")


def results(app: App, task: str, *, withheld: bool) -> None:
    """Show what all raters said, folded away.

    Args:
        withheld: This rater still has texts to compare, whose author the results would tell.
    """
    with st.expander("Comparisons of all raters", key="rate-results"):
        if withheld:
            st.text("Shown when you have compared all texts: before, it would tell which text is whose.")
            return
        told = comparing.summary(app, task)
        if not (told["n"] or told["begun"] or told["not_blind"]):
            st.text("No comparisons yet.")
            return
        st.text(_compared(told))
        for origin, title in ORIGINS.items():
            _group(title, told["by_origin"][origin])
        st.caption(
            f"Complete comparisons of each rater's newest texts only; {told['begun']} begun, {told['older']} of older "
            f"texts, {told['not_blind']} by raters who had rated the AI draft by name before. A text counts as edited "
            "where an AI draft was saved before it, however little of that is left. Intervals: Wilson, and where "
            "several raters compared a case, cases resampled. The files hold all, with the versions of both texts and "
            "what made the draft."
        )
        with st.container(horizontal=True, gap="small"):
            st.download_button("Comparisons (CSV)", lambda: comparing.as_csv(app, task), f"{task}.csv", "text/csv",
                               key="rate-csv", on_click="ignore")  # fmt: skip
            st.download_button("Comparisons (JSON)", lambda: comparing.as_json(app, task), f"{task}.json",
                               "application/json", key="rate-json", on_click="ignore")  # fmt: skip


def _group(title: str, told: dict[str, Any]) -> None:
    """Show what was said of texts of one origin: how far a text is the draft decides what a preference means."""
    st.markdown(f"**{title}**")
    if not told["n"]:
        st.text("None compared yet.")
        return
    changed = told["words_changed"]
    st.text(
        f"{_compared(told)} Words that differ between both texts: median {100 * changed['median']:.0f} % "
        f"({100 * changed['least']:.0f} to {100 * changed['most']:.0f} %)."
    )
    if told["cases"] < comparing.FEWEST_CASES:
        st.text(f"Too few to claim anything: shares are shown from {comparing.FEWEST_CASES} cases on.")
        return
    head = ["Question", "Answer", "n", "Share (95 % interval)"]
    html.table(head, [[r["question"], r["answer"], f"{r['k']} of {r['n']}", _share(r)] for r in told["rows"]])


def _compared(told: dict[str, Any]) -> str:
    return f"{_many(told['n'], 'comparison')} of {_many(told['cases'], 'case')} by {_many(told['raters'], 'rater')}."


def _named(cases: list[str]) -> str:
    return f"{_many(len(cases), 'case')} ({', '.join(sorted(cases))})"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _share(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return f"too few cases ({row['cases']})"
    return f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def _common(app: App, item: comparing.Item, question_id: str) -> dict[str, Any]:
    return {"key": _key(item, question_id), "on_change": handled(_store), "args": (app, item, question_id)}


def _shown(item: comparing.Item) -> str:
    return f"{item.task}-{item.id}"


def _key(item: comparing.Item, question_id: str) -> str:
    return f"rate-{_shown(item)}-{question_id}"


def _store(app: App, item: comparing.Item, question_id: str) -> None:
    value = st.session_state.get(_key(item, question_id))
    comparing.answer(app, item, question_id, value, seconds=rating_form.spent(_shown(item), item.seconds))
