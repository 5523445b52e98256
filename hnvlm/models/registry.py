"""What models the pack holds, as data; no torch here."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hnvlm.types import Provenance

# Folder -> what the app does with it.
PACK = {
    "segmenter": "contours of organs and targets, and with them every draft",
    "text": "reading of typed requests and labels",
    "clip": "lesion detection, zero-shot labels and similar cases",
    "report": "report drafts",
    "dose": "dose predictions",
    "tumour": "suspicions of real disease beside the findings",
    "diffusion": "counterfactuals",
    "judge": "the independent measurement of counterfactuals (evaluation only)",
}


def missing_models(models_dir: Path) -> list[str]:
    """Names of pack folders without weights."""
    return [name for name in PACK if not (models_dir / name / "model.safetensors").exists()]


def made_by(models_dir: Path, name: str) -> Provenance:
    """Name, version and weights of a model; the last two are "" where it is not installed."""
    folder = models_dir / name
    try:
        digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    except OSError:
        return Provenance(name, "", "", 0)
    return Provenance(name, str(_json(folder / "config.json").get("version", "")), digest, 0)


def model_cards(models_dir: Path) -> list[dict[str, Any]]:
    """One dict a model folder: name, purpose, version, readme (markdown), metrics, size_mb, config."""
    cards = []
    for name, purpose in PACK.items():
        folder = models_dir / name
        weights = folder / "model.safetensors"
        if not weights.exists():
            continue
        config = _json(folder / "config.json")
        readme = folder / "README.md"
        cards.append(
            {
                "name": name,
                "purpose": purpose,
                "version": str(config.get("version", "")),
                "readme": readme.read_text(encoding="utf-8") if readme.exists() else "",
                "metrics": _json(folder / "metrics.json"),
                "size_mb": round(weights.stat().st_size / 1e6, 1),
                "config": config,
            }
        )
    return cards


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
