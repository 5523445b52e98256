"""Read, edit, compare and sign a drafted text: the same for reports and plans.

What is typed goes into the store at once; Save makes it a version. No version is ever overwritten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from hnvlm.services import ResultRecord, documents
from hnvlm.services.context import App
from hnvlm.services.plain import one_line
from hnvlm.ui import badges, casebar, html, state
from hnvlm.ui.errors import handled

# Kept texts shown at once; all stay in the store.
SHOWN_UNSAVED = 3
READ, EDIT, CHANGES, HISTORY = "Read", "Edit", "Changes", "History"


@dataclass(frozen=True)
class Document:
    """One text with its versions.

    Attributes:
        name: ``report`` or ``plan``.
        versions: Oldest first, at least one.
        save: (text, id of the version it was made from, who) -> stores a new version.
        read: Draws the newest version in the Read view; default the text.
        restore: (older version, id of the newest, who) -> makes it the newest; default its text is saved.
    """

    name: str
    versions: list[ResultRecord]
    save: Callable[[str, int, str], ResultRecord]
    read: Callable[[ResultRecord], None] | None = None
    edit_height: int = 400
    restore: Callable[[ResultRecord, int, str], ResultRecord] | None = None

    @property
    def latest(self) -> ResultRecord:
        """The newest version."""
        return self.versions[-1]

    def key(self, part: str) -> str:
        """Session key of a widget of this text."""
        return f"{self.name}-{part}-{self.latest.case_id}-{self.latest.slot}"

    def memory(self) -> tuple[dict[str, Any], str, str]:
        """What this session remembers of the case; in it the key of the version seen and of the one before a draft."""
        of_case = state.of_case(self.latest.case_id)
        return of_case, f"{self.name}-seen-{self.latest.slot}", f"{self.name}-expected-{self.latest.slot}"

    @property
    def text_key(self) -> str:
        """Session key of the editor; a new version gets a new editor."""
        return f"{self.name}-text-{self.latest.id}"

    @property
    def held_key(self) -> str:
        """Session key of what this tab's editor held last: a tab of the same browser may have typed since."""
        return f"{self.text_key}-held"


def expect(name: str, case_id: str, slot: str, latest: ResultRecord | None) -> None:
    """Note that this session asked for a new draft: its arrival is no surprise to who reads."""
    state.of_case(case_id)[f"{name}-expected-{slot}"] = latest.id if latest else 0


def show(app: App, doc: Document) -> None:
    """Show the text with its four views and the signature."""
    mode_key = doc.key("mode")
    _follow(doc)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        # Not set through the session: after a restart of the server the browser tells a new session which view is open.
        mode = st.segmented_control(
            f"View of the {doc.name}", [READ, EDIT, CHANGES, HISTORY], key=mode_key, required=True,
            default=None if mode_key in st.session_state else READ, label_visibility="collapsed",
        )  # fmt: skip
        _sign(app, doc)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        badges.document(doc.latest)
        st.caption(f"Version {doc.latest.version}, {casebar.when(doc.latest.created)} UTC")
    _news(doc)
    _replaced(doc)
    if mode in (READ, EDIT):
        _unsaved(app, doc)
    if mode == READ and _typed(app, doc) != doc.latest.payload["text"]:
        st.caption("There is typed text that was not saved as a version yet: see Edit.")
    if mode == EDIT:
        _edit(app, doc)
    elif mode == CHANGES:
        _changes(doc)
    elif mode == HISTORY:
        _history(doc)
    elif doc.read is not None:
        doc.read(doc.latest)
    else:
        html.text_block(doc.latest.payload["text"], label=doc.name)


def _follow(doc: Document) -> None:
    """Remember which version this session reads; one it asked for itself takes the place of the one before."""
    memory, seen, expected = doc.memory()
    memory.setdefault(seen, doc.latest.id)
    if expected in memory and memory[expected] != doc.latest.id:
        del memory[expected]
        memory[seen] = doc.latest.id


def _is_news(doc: Document) -> bool:
    """Whether somebody else saved the newest version while this session was reading another one."""
    memory, seen, _ = doc.memory()
    return memory.get(seen, doc.latest.id) != doc.latest.id


def _news(doc: Document) -> None:
    if not _is_news(doc):
        return
    with st.container(border=True):
        st.text(
            f"Version {doc.latest.version} by {documents.named(doc.latest.who)} was saved while you were reading. "
            "It is the one shown now; signing is for this one."
        )
        st.button(f"I have seen version {doc.latest.version}", key=doc.key("seen-it"), on_click=_seen, args=(doc,))


def _replaced(doc: Document) -> None:
    """Say which text of a clinician the AI draft shown took the place of, and lead back to it."""
    before = documents.replaced(doc.versions)
    if before is None:
        return
    what = documents.signature(before) if before.signed else "with a clinician's changes"
    with st.container(border=True):
        st.text(
            f"This AI draft took the place of version {before.version} ({what}), which stays in History. Going back to "
            "it makes a new version with its text, to be signed again."
        )
        st.button(f"Go back to version {before.version}", key=doc.key("back"), on_click=handled(_restore),
                  args=(doc, before))  # fmt: skip


def _seen(doc: Document, version: ResultRecord | None = None) -> None:
    memory, seen, _ = doc.memory()
    memory[seen] = (version or doc.latest).id


def _unsaved(app: App, doc: Document) -> None:
    """Show what was typed and never saved: elsewhere, or here over a version that is no longer the newest."""
    every = documents.unsaved(app, doc.latest, writer=state.browser())
    more = len(every) - SHOWN_UNSAVED
    _thrown_away(app, doc)
    for kept in every[:SHOWN_UNSAVED]:
        _kept(app, doc, kept)
    if more > 0 and st.toggle(f"Show all texts that were not saved ({more} more)", key=doc.key("all-kept")):
        for kept in every[SHOWN_UNSAVED:]:
            _kept(app, doc, kept)


def _kept(app: App, doc: Document, kept: documents.Kept) -> None:
    who = "here" if kept.mine else f"by {html.as_named(kept.who)}" if kept.who else "in another browser"
    title = f"Typed {who} over version {kept.base.version}, {casebar.when(kept.created)} UTC, not saved"
    with st.expander(title, key=f"{doc.name}-kept-{kept.base.id}-{kept.slot}", icon=":material/edit_note:"):
        with st.container(horizontal=True, gap="small"):
            st.button("Put it into the editor", key=f"{doc.name}-take-{kept.base.id}-{kept.slot}",
                      on_click=handled(_take), args=(app, doc, kept))  # fmt: skip
            if kept.mine:
                st.button("Throw it away", key=f"{doc.name}-drop-{kept.base.id}-{kept.slot}",
                          on_click=handled(_drop), args=(app, doc, kept))  # fmt: skip
        html.text_block(kept.text, label="typed text")


def _take(app: App, doc: Document, kept: documents.Kept) -> None:
    who, writer = state.who(), state.browser()
    held = st.session_state.get(doc.text_key, _typed(app, doc))
    if held not in (kept.text, doc.latest.payload["text"]):
        documents.set_aside(app, doc.latest, held, who=who, writer=writer)
        st.toast("What the editor held and was not saved stands above it, to be put back.")
    _keep_text(app, doc, kept.text)
    st.session_state[doc.text_key] = kept.text
    if kept.mine:
        documents.settle(app, kept, who=who)
    st.session_state[doc.key("mode")] = EDIT


def _drop(app: App, doc: Document, kept: documents.Kept) -> None:
    if documents.settle(app, kept, who=state.who()):
        _thrown(doc).append(kept)
    else:
        st.toast("More was typed there in another tab meanwhile, so nothing was thrown away.")


def _thrown(doc: Document) -> list[documents.Kept]:
    """What this session threw away of this text and can bring back, the last one last."""
    return state.of_case(doc.latest.case_id).setdefault(doc.key("thrown"), [])


def _thrown_away(app: App, doc: Document) -> None:
    """Say which text was thrown away last, with Undo; after it the one before has its turn."""
    if not _thrown(doc):
        return
    kept = _thrown(doc)[-1]
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        st.text(f"A text typed over version {kept.base.version} was thrown away.", width="stretch")
        st.button("Undo", key=doc.key("undo-drop"), on_click=handled(_undrop), args=(app, doc, kept))


def _undrop(app: App, doc: Document, kept: documents.Kept) -> None:
    documents.bring_back(app, kept)
    if kept in _thrown(doc):
        _thrown(doc).remove(kept)


def _typed(app: App, doc: Document) -> str:
    return documents.typed(app, doc.latest, writer=state.browser())


def _edit(app: App, doc: Document) -> None:
    # Above the text, so that nothing moves under the pointer when the text is kept.
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button("Save as new version", type="primary", key=doc.key("save"), on_click=handled(_save), args=(app, doc))
        st.button("Discard typed text", key=doc.key("discard"), on_click=handled(_discard), args=(app, doc))
        casebar.name_box(doc.key("saver"))
    st.caption("What you type is kept, also without saving.")
    # What was typed is the box's own start: set through the session alone it can miss the browser, whose empty box
    # would then be kept as what was typed.
    typed = _typed(app, doc)
    shown = st.text_area(
        f"Text of the {doc.name}", value=typed, key=doc.text_key, height=doc.edit_height,
        on_change=handled(_keep), args=(app, doc), label_visibility="collapsed",
    )  # fmt: skip
    if shown and shown != typed and doc.held_key not in st.session_state:
        # A session that never drew the box, as after a restart of the server: nothing calls back for what stands in it.
        _keep_text(app, doc, shown)
    st.session_state[doc.held_key] = shown


def _keep(app: App, doc: Document) -> None:
    _keep_text(app, doc, st.session_state[doc.text_key])


def _keep_text(app: App, doc: Document, text: str) -> None:
    """Keep what this tab typed; what another tab of the same browser typed meanwhile is set aside, not overwritten."""
    who, writer, there = state.who(), state.browser(), _typed(app, doc)
    if there not in (text, doc.latest.payload["text"], st.session_state.get(doc.held_key, there)):
        documents.set_aside(app, doc.latest, there, who=who, writer=writer)
        st.toast("What was typed in another tab of this browser stands above the text, to be put back.")
    documents.keep_typing(app, doc.latest, text, who=who, writer=writer)
    st.session_state[doc.held_key] = text


def _save(app: App, doc: Document) -> None:
    text = st.session_state.get(doc.text_key, doc.latest.payload["text"])
    _keep_text(app, doc, text)
    if text == doc.latest.payload["text"]:
        st.toast("Nothing was changed, so no version was made.")
    else:
        saved = doc.save(text, doc.latest.id, state.who() or documents.UNNAMED)
        _keep_text(app, doc, str(doc.latest.payload["text"]))  # saved: nothing is left to remember
        _seen(doc, saved)
        told = "" if state.who() else f", by {documents.NOBODY_NAMED}: give your name in Edit, beside Save"
        st.toast(f"Saved as a new version{told}.")
    st.session_state[doc.key("mode")] = READ


def _discard(app: App, doc: Document) -> None:
    original = str(doc.latest.payload["text"])
    typed = str(st.session_state.get(doc.text_key, original))
    _keep_text(app, doc, original)
    if typed != original:  # one wrong click beside Save is no reason to lose an hour's words
        documents.set_aside(app, doc.latest, typed, who=state.who(), writer=state.browser())
        st.toast("Discarded. It stands above the text until you throw it away.")
    st.session_state[doc.text_key] = original
    st.session_state[doc.key("mode")] = READ


def _changes(doc: Document) -> None:
    draft = documents.ai_draft(doc.versions)
    if draft is None:
        st.caption("There is no AI draft to compare with.")
        return
    if draft.payload["text"] == doc.latest.payload["text"]:
        st.caption(f"The newest version is the AI draft (version {draft.version}) word for word.")
        return
    st.caption(
        f"Version {doc.latest.version} against the AI draft (version {draft.version}): added words are underlined, "
        "removed words are struck through."
    )
    html.diff_block(documents.word_diff(draft.payload["text"], doc.latest.payload["text"]))


def _history(doc: Document) -> None:
    st.caption("Every version stays. Going back to one makes a new version with its text.")
    for version in reversed(doc.versions):
        by = html.as_named(f"by {documents.named(version.who)}. {documents.signature(version)}")
        title = f"Version {version.version}, {casebar.when(version.created)} UTC, {by}"
        with st.expander(title, key=f"{doc.name}-version-{version.id}"):
            if version.id != doc.latest.id:
                st.button(
                    f"Go back to version {version.version}", key=f"restore-{version.id}", on_click=handled(_restore),
                    args=(doc, version),
                )  # fmt: skip
            html.text_block(version.payload["text"], label=f"version {version.version}")


def _restore(doc: Document, version: ResultRecord) -> None:
    who = state.who() or documents.UNNAMED
    if doc.restore is not None:
        made = doc.restore(version, doc.latest.id, who)
    else:
        made = doc.save(version.payload["text"], doc.latest.id, who)
    _seen(doc, made)
    st.session_state[doc.key("mode")] = READ
    st.toast(f"Version {version.version} is the newest version again.")


def _sign(app: App, doc: Document) -> None:
    # A new menu after each signature, so it closes: it lay over the words that say who signed, ready for a second one.
    key = f"{doc.key('sign')}-{doc.latest.id}-{len(doc.latest.signoffs)}"
    with st.popover("Sign", icon=":material/signature:", key=key):
        st.text(f"Signing version {doc.latest.version} of the {doc.name}.")
        if _typed(app, doc) != doc.latest.payload["text"]:
            st.caption("Typed text that is not saved is not part of what you sign. Save it first.")
        box = f"{doc.key('name')}-{state.who()}"
        why = _signer(box)
        if _is_news(doc):
            why = f"Version {doc.latest.version} was saved while you were reading: look at it and say so first."
        st.button("I have read and approve it", type="primary", key=doc.key("approve"), disabled=bool(why), help=why,
                  on_click=handled(_approve), args=(app, doc, box))  # fmt: skip
        if why:
            st.caption(why)


def _signer(box: str) -> str | None:
    """Ask who signs in the text input ``box``, unless the log-in tells; return why nobody can sign yet.

    Another box for another name: with one key a name that was given elsewhere stood in it, and counted as none.
    """
    if state.by_login():
        if not state.who():
            return state.NO_LOGIN
        st.text(f"Name of the clinician: {state.who()}")
        return None
    name = st.text_input("Name of the clinician", value=state.who(), key=box)
    return None if one_line(name) else "Type the name of the clinician who signs, then press Enter."


def _approve(app: App, doc: Document, box: str) -> None:
    # Of the box itself: a name that was typed and not sent before the click is the one that is meant.
    name = state.who() if state.by_login() else one_line(st.session_state[box])
    documents.sign(app, doc.latest.id, name)
    state.set_who(name)
    st.toast("Signed.")
