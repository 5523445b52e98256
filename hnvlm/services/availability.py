"""Which models are installed and what cannot be done without the others; answered without loading any."""

from __future__ import annotations

from typing import Any

from hnvlm.models.registry import missing_models, model_cards
from hnvlm.services.context import App

# Task -> (words for the user, folders of the model pack it needs).
_NEEDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "structures": ("Contouring", ("segmenter",)),
    "report": ("Report drafts", ("segmenter", "clip", "report")),
    "plan": ("Plan drafts", ("segmenter", "clip")),
    "dose": ("Dose prediction", ("segmenter", "clip", "dose")),
    "zeroshot": ("Zero-shot labels", ("segmenter", "text", "clip")),
    "similar": ("Similar cases", ("segmenter", "clip")),
    "counterfactual": ("Counterfactuals", ("segmenter", "text", "clip", "diffusion")),
}


def why_not(app: App, task: str) -> str:
    """Return "" when the models of a task are installed, else the reason to show beside the disabled button."""
    if not app.uses_pack:
        return ""
    label, needed = _NEEDS[task]
    absent = [name for name in missing(app) if name in needed]
    if not absent:
        return ""
    it = "it" if len(absent) == 1 else "them"
    return (
        f"{label} cannot be made here: the model pack lacks {' and '.join(absent)}. Viewing works without. "
        f"Put {it} there (a model pack that has {it}, or hnvlm train) and open this page again."
    )


def cards(app: App) -> list[dict[str, Any]]:
    """Return one dict a model: name, purpose, version, readme, metrics, size_mb, config; no network is loaded."""
    return model_cards(app.settings.models_dir) if app.uses_pack else app.models.cards()


def missing(app: App) -> list[str]:
    """Return the names of models that are not installed."""
    return missing_models(app.settings.models_dir) if app.uses_pack else []
