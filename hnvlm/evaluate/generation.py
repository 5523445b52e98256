"""Text to a synthetic neck without a patient: is what was asked for there, judged by the independent detector."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np

from hnvlm.errors import UsageError
from hnvlm.evaluate.additions import look_for, row_of, summary
from hnvlm.evaluate.common import log
from hnvlm.evaluate.counterfactual import finding_of, stated_request
from hnvlm.imaging.atlas import sample_neck
from hnvlm.imaging.lesions import random_spec
from hnvlm.models.judge import Judge
from hnvlm.models.pack import ModelPack
from hnvlm.types import Provenance, Segmentation


def run(pack: ModelPack, data: Path, *, limit: int | None = None) -> dict[str, Any]:
    """Generate ``limit`` (default 40) necks from unseen sentences; ``data`` is not read (no patient is involved)."""
    judge = Judge(pack.folder / "judge")
    rng, words = np.random.default_rng(5), random.Random(5)
    rows: list[dict[str, Any]] = []
    wanted = limit or 40
    refused = 0  # counted as not present
    for seed in range(wanted):
        spec = random_spec(rng, kinds=("node", "mass"))
        text, labels = stated_request("add", finding_of(spec), words, "mid")
        base = sample_neck(seed)
        neck = pack.neck(base.volume, Segmentation(base.masks, {}, Provenance("atlas", "1", "", seed), 0.0))
        try:
            result = pack.generate(text, seed=seed)
        except UsageError:
            refused += 1
            rows.append(row_of(None, labels, neck))
            continue
        rows.append(row_of(look_for(judge, result.volume, result.edit_mask, neck), labels, neck))
        log(f"{seed + 1}/{wanted} {text}")
    return {"metrics": summary(rows) | {"requests_refused": refused}, "n_cases": wanted, "model": "diffusion"}
