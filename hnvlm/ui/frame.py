"""What surrounds every page: settings, style, banner, errors."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from hnvlm.config import PROJECT_DIR
from hnvlm.services import context
from hnvlm.ui import errors, html, keeper, rating_form, state

if TYPE_CHECKING:
    from streamlit.navigation.page import StreamlitPage

STYLE: Path = PROJECT_DIR / "assets" / "app.css"
# A file of our own: Streamlit fetches its named icons for the browser tab from another host.
ICON: Path = PROJECT_DIR / "assets" / "icon.svg"

# Heights of the viewer and of the columns beside it: what the window leaves below the rows above them (app.css).
PAGE_HEIGHT = "var(--page-height)"
PLAN_HEIGHT = "var(--plan-height)"  # where a row of buttons stands above, too


def begin() -> None:
    """Set up the page; the first call of the entry script."""
    st.set_page_config(page_title="hnvlm", page_icon=str(ICON), layout="wide")
    st.html(STYLE)


def column(key: str):
    """Return a column that scrolls by itself; app.css gives it its height by this key."""
    return st.container(height=480, key=key)


def run(page: StreamlitPage) -> None:
    """Run the chosen page; whatever fails in it is shown in words."""
    html.banner()
    keeper.show()
    state.adopt_address()
    if page.url_path != "plan":
        state.form_shown(None)
    if page.url_path != "rate":
        rating_form.put_away()
    errors.show_flashes()
    try:
        with errors.guard():
            page.run()
    finally:
        collect_garbage()


def collect_garbage() -> None:
    """Let go of what the run of a page left behind (arrays of a CT, before all).

    Streamlit would do so after every run, polls of a job too, and while the libraries of the models come into memory
    each time takes longer and stops their import: a page that asked how a job goes on kept it from ever beginning.
    """
    if not context.app().models_loading:
        gc.collect()
