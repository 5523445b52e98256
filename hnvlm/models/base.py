"""The protocol between services and the model pack. No torch here: a test double needs none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from hnvlm.imaging.volume import Volume
from hnvlm.types import (
    Counterfactual,
    DosePrediction,
    Finding,
    Progress,
    ReportDraft,
    ScopeVerdict,
    Segmentation,
    no_progress,
)


class ReportWords(Protocol):
    """Words of a report in either language, as ``hnvlm.report.drafting`` has them: models know no grammar."""

    def measured_lines(
        self, facts: Sequence[Finding], language: str, *, firm: bool = False, seen: Sequence[Finding] = ()
    ) -> str:
        """Lines that say what was measured, and a line for each lesion that may be there."""

    def lesion_lines(self, seen: Sequence[Finding], language: str, *, every: bool = False) -> dict[str, list[str]]:
        """Heading of each line with such a lesion (``every``: or without) -> what it may say, "none" first."""

    def headings(self, language: str) -> list[str]:
        """Headings of the lines of a report, in order."""

    def impression_of(self, text: str, language: str) -> str:
        """What follows the heading of the impression in a report that is written up to it; "" elsewhere."""


class Models(Protocol):
    """What the app asks of its models. ``hnvlm.models.pack.ModelPack`` is the real one.

    Every method takes the CT on its own grid and returns results on that grid. ``segmentation`` may be
    passed to save the time of computing it again.
    """

    def segment(self, volume: Volume, *, progress: Progress = no_progress) -> Segmentation:
        """Contour organs at risk and targets."""

    def scope(self, volume: Volume, segmentation: Segmentation) -> ScopeVerdict:
        """Say whether this is a head-and-neck CT the models were made for."""

    def findings(
        self, volume: Volume, segmentation: Segmentation, *, progress: Progress = no_progress
    ) -> list[Finding]:
        """Measured and detected findings with slice, box and score (source measured | zero-shot)."""

    def look_first(self, volume: Volume, segmentation: Segmentation) -> Finding | None:
        """The place to look at first in a patient known to have disease, whatever was found; None where none is told.

        No finding: there is one in every neck.
        """

    def draft_report(
        self,
        volume: Volume,
        *,
        segmentation: Segmentation,
        language: str = "en",
        seed: int = 0,
        on_text: Callable[[str], None] | None = None,
        progress: Progress = no_progress,
    ) -> ReportDraft:
        """Write the report; ``on_text`` receives each new piece of text as it is decoded."""

    def zeroshot(self, volume: Volume, labels: Sequence[str], *, segmentation: Segmentation) -> dict[str, float]:
        """Probability of each label text, from the CT-text space."""

    def embed(self, volume: Volume, *, segmentation: Segmentation) -> np.ndarray:
        """Vector (d,) of the CT in the CT-text space, for the search of similar cases."""

    def counterfactual(
        self,
        volume: Volume,
        text: str,
        *,
        segmentation: Segmentation,
        seed: int = 0,
        progress: Progress = no_progress,
    ) -> Counterfactual:
        """Draw what the text says into the patient's CT."""

    def generate(self, text: str, *, seed: int = 0, progress: Progress = no_progress) -> Counterfactual:
        """Draw what the text says without a patient."""

    def dose(
        self,
        volume: Volume,
        masks: Mapping[str, np.ndarray],
        *,
        prescriptions: Mapping[str, float] | None = None,
        possible_dose: np.ndarray | None = None,
        use_ct: bool = True,
        progress: Progress = no_progress,
    ) -> DosePrediction:
        """Predict the achievable dose of nine equispaced fields.

        Args:
            volume: The CT; the dose comes back on its grid.
            masks: TG-263 name -> bool mask on that grid: targets (PTV_7000, PTV_6300, PTV_5600 or any name that
                ``prescriptions`` has) and the organs at risk there are. Overlapping targets are allowed: the
                higher prescription wins.
            prescriptions: Target name -> Gy, for other levels than the names' own; a target that is left out of a
                given mapping is not treated.
            possible_dose: Where dose can be (bool); the body near the targets by default.
            use_ct: Predict from structures alone when false (the CT then gives only the grid and the body).

        Raises:
            ModelPackError: The pack has no dose model.
            InputRefusedError: No target with a prescription, or a mask on another grid.
        """

    def cards(self) -> list[dict[str, Any]]:
        """One dict a model: name, version, readme (markdown), metrics (dict), size_mb, config (dict)."""
