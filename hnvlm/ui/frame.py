"""What surrounds every page: settings, style, banner, errors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from hnvlm.config import PROJECT_DIR
from hnvlm.ui import errors, html, state

if TYPE_CHECKING:
    from streamlit.navigation.page import StreamlitPage

STYLE: Path = PROJECT_DIR / "assets" / "app.css"
# A file of our own: Streamlit fetches its named icons for the browser tab from another host.
ICON: Path = PROJECT_DIR / "assets" / "icon.svg"


def begin() -> None:
    """Set up the page; the first call of the entry script."""
    st.set_page_config(page_title="hnvlm", page_icon=str(ICON), layout="wide")
    st.html(STYLE)


def run(page: StreamlitPage) -> None:
    """Run the chosen page; whatever fails in it is shown in words."""
    html.banner()
    state.adopt_address()
    if page.url_path != "plan":
        state.form_shown(None)
    errors.show_flashes()
    with errors.guard():
        page.run()
