"""Errors reach the reader as the message written for them; where they came from goes to the log."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import streamlit as st

from hnvlm.errors import HnvlmError
from hnvlm.services.jobs import without_words
from hnvlm.ui import html

log = logging.getLogger(__name__)

UNEXPECTED = (
    "Something went wrong that the program does not know. What was saved is safe. Reload the page; if it happens "
    "again, tell whoever maintains this installation: the details are in the server's log."
)
_FLASH = "_flash_errors"


@contextmanager
def guard() -> Iterator[None]:
    """Show an error in place of what failed; the rest of the page stays."""
    try:
        yield
    except HnvlmError as error:
        st.error(html.as_written(error.message))
    except Exception as error:  # noqa: BLE001 - logged, without the message
        log.error("a page failed\n%s", without_words(error))
        st.error(UNEXPECTED)


def handled(function: Callable[..., Any]) -> Callable[..., None]:
    """Wrap a widget callback: its error is shown at the top of the run that follows (callbacks draw nothing)."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except HnvlmError as error:
            _flash(error.message)
        except Exception as error:  # noqa: BLE001 - logged, without the message
            log.error("a callback failed\n%s", without_words(error))
            _flash(UNEXPECTED)

    return call


def _flash(message: str) -> None:
    st.session_state.setdefault(_FLASH, []).append(message)


def show_flashes() -> None:
    """Show what callbacks reported, once."""
    # In a place that is kept for them: what stands below moves no place, and the viewer is not built anew.
    with st.container():
        for message in dict.fromkeys(st.session_state.pop(_FLASH, [])):
            st.error(html.as_written(message))
