"""Read, edit, compare and sign a drafted text: the same for reports and plans.

What is typed goes into the store at once; Save makes it a version. No version is ever overwritten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from hnvlm.services import ResultRecord, documents, reporting
from hnvlm.services.context import App
from hnvlm.ui import badges, casebar, html, state
from hnvlm.ui.errors import handled

READ, EDIT, CHANGES, HISTORY = "Read", "Edit", "Changes", "History"


@dataclass(frozen=True)
class Document:
    """One text with its versions.

    Attributes:
        name: ``report`` or ``plan``.
        versions: Oldest first, at least one.
        save: (text, id of the version it was made from, who) -> stores a new version.
        sign: (id of the version, clinician) -> signs it.
        read: Draws the newest version in the Read view; default the text.
    """

    name: str
    versions: list[ResultRecord]
    save: Callable[[str, int, str], ResultRecord]
    sign: Callable[[int, str], ResultRecord]
    read: Callable[[ResultRecord], None] | None = None
    edit_height: int = 400

    @property
    def latest(self) -> ResultRecord:
        """The newest version."""
        return self.versions[-1]

    def key(self, part: str) -> str:
        """Session key of a widget of this text."""
        return f"{self.name}-{part}-{self.latest.case_id}-{self.latest.slot}"

    @property
    def text_key(self) -> str:
        """Session key of the editor; a new version gets a new editor."""
        return f"{self.name}-text-{self.latest.id}"


def show(app: App, doc: Document) -> None:
    """Show the text with its four views and the signature."""
    mode_key = doc.key("mode")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if st.session_state.get(mode_key) is None:
            st.session_state[mode_key] = READ
        mode = st.segmented_control(
            f"View of the {doc.name}", [READ, EDIT, CHANGES, HISTORY], key=mode_key, required=True,
            label_visibility="collapsed",
        )  # fmt: skip
        _sign(app, doc)
    badges.document(doc.latest)
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
    if mode == READ and documents.typed(app, doc.latest) != doc.latest.payload["text"]:
        st.caption("There is typed text that was not saved as a version yet: see Edit.")


def _edit(app: App, doc: Document) -> None:
    key = doc.text_key
    if key not in st.session_state:
        st.session_state[key] = documents.typed(app, doc.latest)
    # Above the text, so that nothing moves under the pointer when the text is kept.
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button("Save as new version", type="primary", key=doc.key("save"), on_click=handled(_save), args=(app, doc))
        st.button("Discard typed text", key=doc.key("discard"), on_click=handled(_discard), args=(app, doc))
        st.caption("What you type is kept, also without saving.")
    st.text_area(
        f"Text of the {doc.name}", key=key, height=doc.edit_height, on_change=handled(_keep), args=(app, doc),
        label_visibility="collapsed",
    )  # fmt: skip


def _keep(app: App, doc: Document) -> None:
    documents.keep_typing(app, doc.latest, st.session_state[doc.text_key], who=state.who())


def _save(app: App, doc: Document) -> None:
    text = st.session_state.get(doc.text_key, doc.latest.payload["text"])
    documents.keep_typing(app, doc.latest, text, who=state.who())
    if text == doc.latest.payload["text"]:
        st.toast("Nothing was changed, so no version was made.")
    else:
        doc.save(text, doc.latest.id, state.who() or "clinician")
        st.toast("Saved as a new version.")
    st.session_state[doc.key("mode")] = READ


def _discard(app: App, doc: Document) -> None:
    original = str(doc.latest.payload["text"])
    documents.keep_typing(app, doc.latest, original, who=state.who())
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
    html.diff_block(reporting.word_diff(draft.payload["text"], doc.latest.payload["text"]))


def _history(doc: Document) -> None:
    st.caption("Every version stays. Going back to one makes a new version with its text.")
    for version in reversed(doc.versions):
        who = version.who or "unknown"
        title = f"Version {version.version}, {casebar.when(version.created)} UTC, {who}. {documents.signature(version)}"
        with st.expander(title, key=f"{doc.name}-version-{version.id}"):
            if version.id != doc.latest.id:
                st.button(
                    f"Go back to version {version.version}", key=f"restore-{version.id}", on_click=handled(_restore),
                    args=(doc, version),
                )  # fmt: skip
            html.text_block(version.payload["text"], label=f"version {version.version}")


def _restore(doc: Document, version: ResultRecord) -> None:
    doc.save(version.payload["text"], doc.latest.id, state.who() or "clinician")
    st.session_state[doc.key("mode")] = READ
    st.toast(f"The text of version {version.version} is the newest version again.")


def _sign(app: App, doc: Document) -> None:
    with st.popover("Sign", icon=":material/signature:", key=doc.key("sign")):
        st.text(f"Signing version {doc.latest.version} of the {doc.name}.")
        if documents.typed(app, doc.latest) != doc.latest.payload["text"]:
            st.caption("Typed text that is not saved is not part of what you sign. Save it first.")
        name = st.text_input("Name of the clinician", value=state.who(), key=doc.key("name"))
        st.button(
            "I have read and approve it", type="primary", key=doc.key("approve"), disabled=not name.strip(),
            help=None if name.strip() else "Type the name of the clinician who signs, then press Enter.",
            on_click=handled(_approve), args=(doc,),
        )  # fmt: skip


def _approve(doc: Document) -> None:
    name = st.session_state[doc.key("name")]
    doc.sign(doc.latest.id, name)
    state.set_who(name)
    st.toast(f"Signed by {name.strip()}.")
