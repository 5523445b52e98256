"""Deterministic stand-in for the model pack: simple geometry instead of networks, same interface."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from hnvlm.imaging.volume import Volume
from hnvlm.types import (
    Counterfactual,
    DosePrediction,
    Finding,
    Progress,
    Provenance,
    ReportDraft,
    ScopeVerdict,
    Segmentation,
    no_progress,
)

FINDINGS = [
    Finding("node", "present", side="left", level="II", size_mm=22.0, slice_index=3, box=(2, 3, 5, 5, 6, 9), score=0.9,
            attributes={"texture": "necrotic"}),
    Finding("mass", "absent", source="measured"),
]  # fmt: skip


class FakeModels:
    """Implements ``hnvlm.models.base.Models``.

    Args:
        in_scope: Scope verdict that every CT gets.
        report: Text of every report; None: rendered from the findings by the report grammar.
        on_step: Called at every progress step (tests block or fail here).
    """

    def __init__(
        self, *, in_scope: bool = True, report: str | None = None, on_step: Callable[[str], None] | None = None
    ) -> None:
        self.in_scope = in_scope
        self.report = report
        self.on_step = on_step or (lambda message: None)
        self.calls: list[str] = []

    def _provenance(self, model: str, seed: int = 0) -> Provenance:
        return Provenance(model, "0", "0" * 64, seed, {"fake": True})

    def _steps(self, name: str, progress: Progress, count: int = 4) -> None:
        self.calls.append(name)
        for i in range(count):
            self.on_step(name)
            progress(i / count, f"{name} {i + 1}/{count}")
        progress(1.0, name)

    def segment(self, volume: Volume, *, progress: Progress = no_progress) -> Segmentation:
        self._steps("segment", progress)
        z, y, x = volume.shape
        cord = np.zeros(volume.shape, bool)
        cord[:, y // 2 : y // 2 + 2, x // 2 : x // 2 + 1] = True
        parotid = np.zeros(volume.shape, bool)
        parotid[z // 2 :, 1:3, x // 2 + 2 : x // 2 + 5] = True
        return Segmentation(
            {"SpinalCord": cord, "Parotid_L": parotid}, {"SpinalCord": 0.1, "Parotid_L": 0.3},
            self._provenance("fake-segmenter"), 0.25,
        )  # fmt: skip

    def scope(self, volume: Volume, segmentation: Segmentation) -> ScopeVerdict:
        self.calls.append("scope")
        reason = "mandible and cord were found" if self.in_scope else "lungs fill half of the field of view"
        return ScopeVerdict(self.in_scope, reason, {"n_structures": len(segmentation.masks)})

    def findings(
        self, volume: Volume, segmentation: Segmentation, *, progress: Progress = no_progress
    ) -> list[Finding]:
        self._steps("findings", progress)
        contoured = [Finding("mass", size_mm=20.0, attributes={"contour": name}) for name in segmentation.gross]
        return [*contoured, *FINDINGS]

    def look_first(self, volume: Volume, segmentation: Segmentation) -> Finding | None:
        self.calls.append("look_first")
        return None

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
        from hnvlm import report as grammar

        self.calls.append("draft_report")
        text = self.report if self.report is not None else grammar.render(FINDINGS, language=language)
        for start in range(0, len(text), 40):
            self.on_step("draft_report")
            progress(start / len(text), "writing")
            if on_text is not None:
                on_text(text[start : start + 40])
        return ReportDraft(text, language, self._provenance("fake-vlm", seed), 1.5, 0.5)

    def zeroshot(self, volume: Volume, labels: Sequence[str], *, segmentation: Segmentation) -> dict[str, float]:
        self.calls.append("zeroshot")
        return {label: int(hashlib.sha256(label.encode()).hexdigest()[:4], 16) / 0xFFFF for label in labels}

    def embed(self, volume: Volume, *, segmentation: Segmentation) -> np.ndarray:
        """Mean HU in six slabs along x: the same CT gives the same vector."""
        self.calls.append("embed")
        profile = np.asarray(volume.array, np.float32).mean(axis=(0, 1))
        return np.array([1000.0, *(slab.mean() for slab in np.array_split(profile, 6))], np.float32)

    def counterfactual(
        self,
        volume: Volume,
        text: str,
        *,
        segmentation: Segmentation,
        seed: int = 0,
        progress: Progress = no_progress,
    ) -> Counterfactual:
        self._steps("counterfactual", progress)
        box = (1, 2, 3, 3, 5, 7)
        mask = np.zeros(volume.shape, bool)
        mask[1:3, 2:5, 3:7] = True
        array = np.array(volume.array, np.float32)
        array[mask] += 60.0 + seed
        low = tuple(float(v) for v in volume.index_to_mm(np.array(box[:3])))
        high = tuple(float(v) for v in volume.index_to_mm(np.array(box[3:]) - 1))
        return Counterfactual(
            Volume(array, volume.spacing_mm, volume.origin_mm, volume.frame_of_reference_uid), mask, (low, high),
            {"op": "insert", "kind": "node", "side": "left", "level": "II", "size_mm": 22.0},
            {"max_abs_change_outside_hu": 0}, {"found": True, "side_right": True}, 12.5,
            self._provenance("fake-diffusion", seed), 2.0,
        )  # fmt: skip

    def generate(self, text: str, *, seed: int = 0, progress: Progress = no_progress) -> Counterfactual:
        self._steps("generate", progress)
        rng = np.random.default_rng(seed)
        volume = Volume(rng.integers(-1000, 1000, (8, 10, 12), dtype=np.int16), (3.0, 1.5, 2.0), (0.0, 0.0, 0.0))
        return Counterfactual(
            volume, np.ones(volume.shape, bool), ((0.0, 0.0, 0.0), (21.0, 13.5, 22.0)), {"op": "insert"}, {},
            {"found": True}, 20.0, self._provenance("fake-diffusion", seed), 3.0,
        )  # fmt: skip

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
        """Prescription inside each target, falling by 3 Gy a millimetre outside: near enough to look at."""
        self._steps("dose", progress)
        wanted = {name: gy for name, gy in (prescriptions or {}).items() if np.any(masks[name])}
        array = np.zeros(volume.shape, np.float32)
        for name, gy in wanted.items():
            away = ndimage.distance_transform_edt(~np.asarray(masks[name], bool), sampling=volume.spacing_mm)
            away = ndimage.gaussian_filter(away, 0.7) if min(volume.shape) > 16 else away
            array = np.maximum(array, gy * np.exp(-away / 25.0, dtype=np.float32))
        if volume.array.min() < -500:
            array[np.asarray(volume.array) < -500] = 0
        return DosePrediction(
            volume.with_array(array), wanted, self._provenance("fake-dose"), 0.3, use_ct, ("fake dose of a test",)
        )

    def cards(self) -> list[dict[str, Any]]:
        return [{"name": "fake", "version": "0", "readme": "# Fake", "metrics": {}, "size_mb": 0.0, "config": {}}]
