"""How the pack writes a report: what is told to the report model, and its text, piece by piece."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from hnvlm.errors import UsageError
from hnvlm.imaging.volume import Volume
from hnvlm.models.detect import Detection, apart_from, detect, told_lesions
from hnvlm.models.facts import measured_findings
from hnvlm.models.gross import gross_lesions, on_crop
from hnvlm.models.neck import Neck
from hnvlm.models.report_model import EOS, PROMPTS, decode, told
from hnvlm.models.tumour import suspected
from hnvlm.types import Finding, Progress, ReportDraft, Segmentation, no_progress

if TYPE_CHECKING:
    from hnvlm.models.pack import ModelPack

# Contoured lesions that a draft names, masses and the largest nodes first: a line of more is no report. That the others
# are missing the checks beside the draft say.
MOST_NAMED = 12


class ReportWriting:
    """The part of ``ModelPack`` that writes reports."""

    def draft_report(
        self: ModelPack, volume: Volume, *, segmentation: Segmentation, language: str = "en", seed: int = 0,
        on_text: Callable[[str], None] | None = None, progress: Progress = no_progress,
    ) -> ReportDraft:  # fmt: skip
        """Write the report, piece by piece.

        What the clinic contoured is named, and what the tumour detector suspects is named as indeterminate.
        """
        started = time.perf_counter()
        if language not in PROMPTS:
            raise UsageError(f"Reports are written in {' and '.join(PROMPTS)}, not in '{language}'.")
        progress(0.05, "Encoding the CT")
        neck = self.neck(volume, segmentation)
        probability, tokens = self.encode(neck)
        drawn = gross_lesions(segmentation.gross, volume, neck)
        known = detect(probability, neck.crop, neck.start, neck.anatomy, peak=self.detection_peak)
        suspicions = self.suspicions(neck, segmentation, known)
        text, first, _ = self.write_report(
            *self.to_write_from(neck, probability, tokens, [*on_crop(drawn), *suspicions]), language,
            sure=[*(d.described() for d in drawn[:MOST_NAMED]), *map(suspected, suspicions)],
            started=started, on_text=on_text, progress=progress,
        )  # fmt: skip
        return ReportDraft(
            text, language, self.provenance("report", seed, language=language), time.perf_counter() - started, first
        )

    def to_write_from(
        self: ModelPack, neck: Neck, probability: np.ndarray, tokens: Tensor, named: Sequence[Detection] = ()
    ) -> tuple[Tensor, list[Finding], list[Finding]]:
        """What a report is written from, by what ``encode`` says: tokens, measured facts, lesions that may be there.

        Those touch nothing that is named whatever the model sees (``named``).
        """
        seen = told_lesions(probability, neck.crop, neck.start, neck.anatomy, peak=self.detection_peak)
        return tokens, measured_findings(neck.anatomy), [d.described() for d in apart_from(seen, named)]

    def write_report(
        self: ModelPack, tokens: Tensor, facts: Sequence[Finding], seen: Sequence[Finding], language: str, *,
        sure: Sequence[Finding] = (), started: float | None = None, on_text: Callable[[str], None] | None = None,
        progress: Progress = no_progress,
    ) -> tuple[str, float, list[tuple[Tensor, int]]]:  # fmt: skip
        """Decode a report; a model that learned it is told the measured facts, and keeps them, and what may be there.

        Lesions that are named whatever the model sees (``sure``) are all named. Returns text, seconds to the first
        piece, and (probabilities, id) of every step.
        """
        started = started or time.perf_counter()
        model, tokenizer, config = self.report_model
        prompt, kept = told(tokenizer, config, language, facts, seen, self.words, sure=sure)
        ids: list[int] = []
        steps: list[Any] = []
        shown, first = "", 0.0
        for token in decode(
            model, tokens, prompt, end=tokenizer.token_to_id(EOS), on_step=lambda *s: steps.append(s), **kept
        ):
            ids.append(token)
            text = tokenizer.decode(ids)
            # A multi-byte letter may still be incomplete at the end of the ids.
            if not text.endswith("\ufffd") and text != shown:
                first = first or time.perf_counter() - started
                if on_text is not None:
                    on_text(text[len(shown) :])
                shown = text
            if len(ids) % 8 == 0:
                progress(min(0.99, 0.1 + 0.9 * len(ids) / 160), "Writing the report")
        progress(1.0, "Report written")
        return shown, first, steps
