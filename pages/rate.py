"""Rate: a clinician reads one AI draft after the other beside its CT, and answers the same questions about each.

Or compares it, blinded, with the clinician's own text of the same case.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from hnvlm.services import comparing, context, rating
from hnvlm.services.plain import one_line
from hnvlm.ui import comparing_form, frame, html, picture, rating_form, state
from hnvlm.ui.errors import guard, handled
from hnvlm.ui.viewer import show as show_viewer

VIEWER = "rate"
Found = Sequence[rating.Item | comparing.Item]
TASK, AT = "rate-task", "rate-at"


def main() -> None:
    app = context.app()
    task, rater = who_and_what()
    if not rater:
        rating_form.put_away()
        st.subheader("Who rates?")
        if state.by_login():
            st.text(state.NO_LOGIN)
        else:
            st.text("Give your name above. Your ratings are kept under it, and you go on where you stopped.")
            known_raters(app)
        results(app, task)
        return
    before = rating_form.on_screen(task, rater)
    pairs = comparing.pairs(app, task, rater, on_screen=before) if comparing.compares(task) else None
    found = pairs.items if pairs else rating.items(app, task, rater, on_screen=before)
    if not found:
        rating_form.put_away()
        nothing(app, task, pairs)
        return
    place = current(task, rater, found)
    item = found[place]
    rating_form.put_on_screen(task, rater, item.id)
    # Two texts beside each other take more room than one.
    left, right = st.columns([1, 1] if pairs else [3, 2], gap="small")
    with left, guard():
        show_viewer(
            VIEWER, [picture.original(app, item.case)], window=picture.window(item.case), height=frame.PAGE_HEIGHT,
            case=item.case.id,
        )  # fmt: skip
    # A container of each item's own: the column in it is built anew, and another item does not begin scrolled down.
    with right, st.container(key=f"rate-item-{item.id}"), frame.column("panel"), guard():
        steps(task, rater, found, place)
        newcomer(app, rater, found)
        if item.newer:
            newer(task, rater, item)
        if pairs:
            comparing_form.show(app, item)
        else:
            html.text_block(str(item.draft.payload["text"]), label="AI draft to rate")
            rating_form.show(app, task, item, rater)
            st.caption("Whoever rates a draft here knows it: its case is left out of their blinded comparisons.")
        how_far(task, found, place)
        following(task, rater, found, place, "rate-next-below")
        if pairs:
            comparing_form.left_out(pairs)
        results(app, task, withheld=not finished(found))


def nothing(app, task: str, pairs: comparing.Pairs | None) -> None:
    """Say what is missing before anything can be rated, and where to go."""
    if pairs:
        comparing_form.nothing(task, pairs)
        results(app, task)
        return
    st.subheader("Nothing to rate yet")
    st.text("No case has an AI draft of this kind. Draft one on the page Review or Treatment plan.")
    st.page_link("pages/cases.py", label="Go to Cases", icon=":material/upload:")


def who_and_what() -> tuple[str, str]:
    """Show who rates and what is rated; return the task and the rater's name."""
    known = rating.tasks()
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="casebar"):
        rater = rater_named()
        # The default is kept outside of the widget, which forgets it when another page is shown.
        st.session_state.setdefault(TASK, st.session_state.get(f"_{TASK}", next(iter(known))))
        task = st.selectbox("What is rated", list(known), format_func=known.get, key=TASK, width=240,
                            label_visibility="collapsed")  # fmt: skip
        st.session_state[f"_{TASK}"] = task
        alone = "The AI draft as it was written, in an order of your own. Measurements and checks are not shown."
        html.note(comparing_form.NOTE if comparing.compares(task) else alone)
    return task, rater


def rater_named() -> str:
    """Ask who rates, unless the log-in tells."""
    if state.by_login():
        html.note(state.who())
        return state.who()
    st.session_state.setdefault("rate-who", state.who())
    st.text_input("Your name", key="rate-who", placeholder="Your name", label_visibility="collapsed", width=240,
                  max_chars=state.LONGEST_NAME, on_change=handled(named))  # fmt: skip
    # As it is kept for the other pages: with a mark that nobody sees one rater would be two.
    return one_line(st.session_state["rate-who"])


def named() -> None:
    state.set_who(st.session_state["rate-who"])


def known_raters(app) -> None:
    """Let somebody who rated before choose their name: typed another way it would begin a session anew."""
    names = rating.raters(app)
    if names:
        st.selectbox("Rated here before", names, index=None, placeholder="Choose a name", key="rate-known", width=240,
                     on_change=handled(recognised))  # fmt: skip


def recognised() -> None:
    st.session_state["rate-who"] = st.session_state["rate-known"] or ""
    named()


def newcomer(app, rater: str, found: Found) -> None:
    """Say who has rated before, where the name that was given is none of theirs: it may be one of them, misspelled."""
    if any(item.answers for item in found):
        return
    names = rating.raters(app)
    if names and not state.by_login() and rating.person(rater) not in {rating.person(name) for name in names}:
        html.note(
            f"Nobody has rated as {rater} before. Names so far: {', '.join(names)}. If one is yours, give it above to "
            "go on where you stopped; titles and capitals make no difference."
        )


def current(task: str, rater: str, found: Found) -> int:
    """Return which draft or comparison is shown: of the case last stepped to, at first the first that is not complete.

    By its case it is found again where a newer draft took the place of the one that was there.
    """
    cases = [item.case.id for item in found]
    at = st.session_state.setdefault(AT, {})
    if at.get((task, rater)) not in cases:
        at[task, rater] = next((item.case.id for item in found if not item.complete), cases[0])
    return cases.index(at[task, rater])


def steps(task: str, rater: str, found: Found, place: int) -> None:
    """Show how far the session is, and the way to the draft before and after."""
    done = sum(item.complete for item in found)
    which = f"Draft {place + 1}, AI draft"
    if comparing.compares(task):
        which = f"Comparison {place + 1}: one text is an AI draft"
    st.progress(done / len(found), f"{done} of {len(found)} rated. {which}, research use only")
    cases = [item.case.id for item in found]
    last = place + 1 == len(found)
    with st.container(horizontal=True, gap="small"):
        st.button("Previous", key="rate-previous", disabled=place == 0, on_click=go,
                  args=(task, rater, cases[place - 1]),
                  help="This is the first one." if place == 0 else None)  # fmt: skip
        following(task, rater, found, place, "rate-next")
        st.button("Skip", type="tertiary", key="rate-skip", disabled=last, on_click=go,
                  args=(task, rater, cases[min(place + 1, len(found) - 1)]),
                  help="This is the last one." if last else "Answers given so far stay.")  # fmt: skip
    # The same words whatever is answered: nothing moves under the pointer.
    first, end = "This is the first one. " if place == 0 else "", "Next opens when every question below is answered."
    st.caption(first + ("This is the last one." if last else end))


def following(task: str, rater: str, found: Found, place: int, key: str) -> None:
    """Show the way to the draft after, above and below the questions."""
    lacking = rating.missing(task, found[place].answers)
    last = place + 1 == len(found)
    why = "This is the last one." if last else f"Still to answer: {', '.join(lacking)}" if lacking else None
    st.button("Next", type="primary", key=key, disabled=bool(why), help=why, on_click=go,
              args=(task, rater, found[min(place + 1, len(found) - 1)].case.id))  # fmt: skip


def how_far(task: str, found: Found, place: int) -> None:
    """Say below the questions what is still to answer."""
    lacking = rating.missing(task, found[place].answers)
    if finished(found):
        st.success("All are rated. Thank you.")
    else:
        st.caption(f"Still to answer: {', '.join(lacking)}" if lacking else "Complete and kept.")


def finished(found: Found) -> bool:
    return all(item.complete and not item.newer for item in found)


def newer(task: str, rater: str, item: rating.Item | comparing.Item) -> None:
    """Say that something newer waits behind what this rater has before them, and let them go on to it."""
    what = "A newer text" if comparing.compares(task) else "A newer AI draft"
    if item.answers and not item.complete:
        st.info(f"{what} of this case exists. You finish what you began; the newer one comes after it.")
        return
    kept = "Your answers to this one are kept. " if item.complete else ""
    st.info(f"{what} of this case exists. {kept}It takes its place when you go on.")
    st.button("Rate the newer one now", key="rate-newer", on_click=go, args=(task, rater, item.case.id))


def go(task: str, rater: str, case_id: str) -> None:
    st.session_state[AT][task, rater] = case_id
    rating_form.take_off_screen()


def results(app, task: str, *, withheld: bool = False) -> None:
    """Show what all raters said, folded away: whoever still rates should not see it by chance."""
    if comparing.compares(task):
        comparing_form.results(app, task, withheld=withheld)
        return
    with st.expander("Ratings of all raters", key="rate-results"):
        every = rating.ratings(app, task)
        if not every:
            st.text("No ratings yet.")
            return
        rows = [
            [row["label"], str(row["n"]), str(row["raters"]), f"{row['mean']:.2f}" if row["n"] else "", agreed(row)]
            for row in rating.summary(app, task)
        ]
        head = ["Question", "Ratings", "Raters", "Mean (1 to 5)", "Quadratic-weighted kappa (95 % interval)"]
        html.table(head, rows)
        begun = sum(not row["complete"] for row in every)
        st.caption(f"Complete ratings only; {begun} begun. The files hold all, with what made each draft.")
        with st.container(horizontal=True, gap="small"):
            st.download_button("Ratings (CSV)", lambda: rating.as_csv(app, task), f"ratings-{task}.csv", "text/csv",
                               key="rate-csv", on_click="ignore")  # fmt: skip
            st.download_button("Ratings (JSON)", lambda: rating.as_json(app, task), f"ratings-{task}.json",
                               "application/json", key="rate-json", on_click="ignore")  # fmt: skip


def agreed(row: dict) -> str:
    """Say how far each pair of raters agrees, with the drafts they share."""
    said = []
    for pair in row["agreement"]:
        value = "not defined" if pair["kappa"] is None else f"{pair['kappa']:.2f}"
        between = f" ({pair['interval'][0]:.2f} to {pair['interval'][1]:.2f})" if pair["interval"] else ""
        said.append(f"{' and '.join(pair['raters'])}: {value}{between}, n {pair['n']}")
    return "; ".join(said) or "no two raters share drafts yet"


main()
