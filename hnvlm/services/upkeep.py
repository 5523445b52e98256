"""What an administrator does to the case store: copy it while it is in use, erase a case for good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hnvlm import store
from hnvlm.services.context import App
from hnvlm.store import VerifyReport
from hnvlm.types import Progress, no_progress


def back_up(app: App, target: Path, *, progress: Progress = no_progress) -> tuple[dict[str, Any], VerifyReport]:
    """Copy the store into a new or empty folder, and check the copy; see ``hnvlm.store.backup``."""
    return store.back_up(app.store, target, progress)


def erase(app: App, case_id: str, *, who: str) -> dict[str, Any]:
    """Erase a case that was deleted before, and all that is known of it; see ``hnvlm.store.erase``."""
    return store.erase_case(app.store, case_id, who=who)
