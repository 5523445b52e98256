"""CTs with several lesions, as most patients have them, and whether what is drafted is a report at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hnvlm.errors import HnvlmError, ScopeError
from hnvlm.evaluate.cases import Case, rng_of
from hnvlm.evaluate.common import log
from hnvlm.evaluate.stats import finding_f1, share
from hnvlm.imaging.anatomy import Anatomy
from hnvlm.imaging.lesions import Lesion, apply, insert, random_spec
from hnvlm.models.facts import lesion_finding
from hnvlm.models.pack import ModelPack
from hnvlm.report.compare import compare
from hnvlm.report.parse import parse
from hnvlm.report.render import render

SEVERAL, TRIES = 3, 24
SEED = 20_002


def well_formed(text: str, language: str) -> bool:
    """Whether a report is word for word what would be written of the findings that are read from it.

    One with a line under a wrong heading, twice or missing, a sentence that says nothing the reader knows, a
    contradiction, or an impression that leaves out a lesion is not.
    """
    try:
        return render(parse(text, language), language=language) == text
    except HnvlmError:
        return False


def several_lesions(case: Case, anatomy: Anatomy) -> Case:
    """The case with up to ``SEVERAL`` lesions in its own CT: a mass at most, none touching another or in its place."""
    rng = rng_of(case.patient, SEED)
    chosen: list[Lesion] = []
    taken = np.zeros(case.ct.shape, bool)
    for _ in range(TRIES):
        if len(chosen) == SEVERAL:
            break
        spec = random_spec(rng, kinds=("node", "mass"))
        others = [x.spec for x in chosen if x.spec.kind == spec.kind]
        if any(spec.kind == "mass" or (x.side, x.place) == (spec.side, spec.place) for x in others):
            continue
        lesion = insert(case.ct, anatomy, spec, rng)
        if lesion is not None and not taken[lesion.slices][lesion.mask > 0].any():
            taken[lesion.slices] |= lesion.mask > 0
            chosen.append(lesion)
    return replace(case, ct=apply(case.ct, chosen), lesions=chosen)


class Several:
    """Drafts on CTs with several lesions, and the form of all drafts."""

    def __init__(self) -> None:
        self.form: dict[str, list[tuple[bool, str]]] = {}
        self.rows: list[dict[str, Any]] = []

    def add_form(self, patient: str, texts: dict[str, str]) -> None:
        """Drafts on one CT, by language."""
        for language, text in texts.items():
            right = well_formed(text, language)
            self.form.setdefault(language, []).append((right, patient))
            if not right:
                log(f"{patient}: a draft ({language}) is no report:\n{text}")

    def add(self, pack: ModelPack, case: Case, anatomy: Anatomy) -> None:
        """Insert several lesions into a patient's own CT and draft on it, from contours to text.

        Args:
            anatomy: Of the CT without them.
        """
        case = several_lesions(case, anatomy)
        truth = [lesion_finding(x) for x in case.lesions]
        named = []
        try:
            neck = pack.neck(case.ct, pack.segment(case.ct))
            text = pack.write_report(*pack.to_write_from(neck, *pack.encode(neck)), "en")[0]
            self.add_form(case.patient, {"en": text})
            named = [f for f in parse(text) if f.kind in ("node", "mass")]
        except ScopeError as error:
            # No report at all: lesions that are overlooked.
            log(f"{case.patient} with {len(truth)} lesions: {error.message}")
        self.rows.append({"patient": case.patient, "compare": compare(truth, named)})

    def metrics(self) -> dict[str, Any]:
        """F1 and recall over the lesions of these CTs, and the share of drafts that are well formed, by language."""
        return {
            "several_lesions_finding_f1": finding_f1(self.rows),
            "several_lesions_named": sum(r["compare"]["tp"] for r in self.rows),
            "several_lesions_n": sum(r["compare"]["tp"] + r["compare"]["fn"] for r in self.rows),
            "well_formed": {
                language: share([right for right, _ in rows], [patient for _, patient in rows])
                for language, rows in self.form.items()
            },
        }
