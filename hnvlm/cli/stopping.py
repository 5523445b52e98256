"""Ctrl-C while the program is still being loaded: it ends at once and in words.

Loading takes seconds and runs the code of many libraries, where an exception comes out as a traceback or not at all.
Nothing is open yet that would have to be closed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

EXIT_STOPPED = 130
JSON = b'{"error": {"code": "cancelled", "message": "Stopped."}}\n'


def _end(number: int, frame: FrameType | None) -> None:
    if "--json" in sys.argv:
        os.write(1, JSON)
    os.write(2, b"error: Stopped.\n")
    os._exit(EXIT_STOPPED)


@contextlib.contextmanager
def ends_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process without a traceback while modules are imported, where nobody else looks after it."""
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
