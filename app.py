"""Entry script: the frame around every page, and which pages there are. Start it with ``hnvlm serve``."""

from __future__ import annotations

import streamlit as st

from hnvlm.config import PROJECT_DIR
from hnvlm.ui import frame

PAGES = PROJECT_DIR / "pages"

frame.begin()
chosen = st.navigation(
    [
        st.Page(PAGES / "cases.py", title="Cases", url_path="cases", default=True),
        st.Page(PAGES / "review.py", title="Review", url_path="review"),
        st.Page(PAGES / "plan.py", title="Treatment plan", url_path="plan"),
        st.Page(PAGES / "counterfactual.py", title="Counterfactual", url_path="counterfactual"),
        st.Page(PAGES / "rate.py", title="Rate", url_path="rate"),
        st.Page(PAGES / "models.py", title="Models", url_path="models"),
    ],
    position="top",
)
frame.run(chosen)
