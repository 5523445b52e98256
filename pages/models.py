"""Models: what each one does, what it learned from, how well it was measured, and what leaves this machine."""

from __future__ import annotations

import streamlit as st

from hnvlm.services import availability, context
from hnvlm.ui import model_cards


def main() -> None:
    app = context.app()
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.subheader("Models")
        absent = availability.missing(app)
        if absent:
            st.warning(f"Not installed here: {', '.join(absent)}. What needs them is switched off, with the reason.")
        cards = availability.cards(app)
        if not cards:
            st.text("No model is installed. Cases can be uploaded and viewed; nothing can be drafted.")
        for card in cards:
            model_cards.show(card)
    with right:
        st.subheader("Privacy")
        model_cards.privacy(str(app.settings.data_dir))
        st.subheader("How to read the drafts")
        st.text(
            "Real disease and real anatomy: contours of organs and targets, airway, artefacts and distances were "
            "learned and measured on real head-and-neck CTs. Inserted lesions: masses and nodes that a program drew "
            "into real CTs taught the models what a described lesion looks like. A model that learned from inserted "
            "lesions may miss real ones that look different; each model card says which findings that concerns. "
            "Suspicions: learned from what real patients were treated for; to be confirmed or rejected by you."
        )


main()
