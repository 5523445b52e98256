"""What somebody adds to the newest version of a result, beside others who do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hnvlm.errors import HnvlmError

Result = TypeVar("Result")
# How often it is tried again when another one is stored at the same moment.
ATTEMPTS = 20


def again_on_conflict(add: Callable[[], Result]) -> Result:
    """Call ``add``, which reads the newest version and saves one based on it, until nobody saved in between.

    Raises:
        HnvlmError: What ``add`` raises; code ``conflict`` only when every attempt met one.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return add()
        except HnvlmError as error:
            if error.code != "conflict":
                raise
    return add()
