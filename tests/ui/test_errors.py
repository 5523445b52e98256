"""What a failure of a page leaves in the log: where it was, never what a file or a tag of an upload is called."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

NAME = "/uploads/KOWALSKI^JAN_1952/IM1.dcm"


def page() -> None:
    from pathlib import Path

    import streamlit as st

    from hnvlm.ui.errors import guard, handled, show_flashes

    def read() -> None:
        try:
            Path(st.session_state["name"]).read_bytes()
        except OSError as error:
            raise ValueError(f"{st.session_state['name']} cannot be read") from error

    show_flashes()
    if st.session_state["fails"] == "page":
        with guard():
            read()
    st.button("Read", on_click=handled(read))


@pytest.mark.parametrize("fails", ["page", "callback"])
def test_the_log_of_a_failed_page_names_no_file_of_a_patient(fails, caplog) -> None:
    at = AppTest.from_function(page, default_timeout=60)
    at.session_state["name"], at.session_state["fails"] = NAME, fails
    at.run()
    if fails == "callback":
        at.button[0].click().run()
    assert len(at.error) == 1 and "does not know" in at.error[0].value and not at.exception
    assert "KOWALSKI" not in caplog.text and "KOWALSKI" not in at.error[0].value
    for told in (f"a {fails} failed", "ValueError", "FileNotFoundError (No such file or directory)", "in read"):
        assert told in caplog.text, told
