"""The model pack: everything the app asks of its models, each loaded from its folder on first use."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hnvlm.config import settings
from hnvlm.errors import ModelPackError, ScopeError, UsageError
from hnvlm.imaging.atlas import sample_neck
from hnvlm.imaging.volume import Volume
from hnvlm.models import edit
from hnvlm.models.base import ReportWords
from hnvlm.models.checkpoint import load_weights, read_config, weights_sha256
from hnvlm.models.clip import ClipNetwork, load_clip
from hnvlm.models.ct_encoder import cut
from hnvlm.models.detect import PEAK, Detection, apart_from, detect, evidence
from hnvlm.models.diffusion import LesionDenoiser, step_gflops
from hnvlm.models.dose import DosePredictor
from hnvlm.models.facts import measured_findings
from hnvlm.models.gross import gross_lesions, on_crop
from hnvlm.models.layout import Layout, lay_out_addition, lay_out_removals, sentences_of, tries_of
from hnvlm.models.lesion_net import lesion_probability
from hnvlm.models.neck import Neck, build_neck, judge_scope
from hnvlm.models.precision import mixed_precision
from hnvlm.models.registry import model_cards
from hnvlm.models.report_model import ReportModel, load_tokenizer
from hnvlm.models.report_writing import ReportWriting
from hnvlm.models.segmenter import Segmenter
from hnvlm.models.text_tower import TextReader, read_facts, token_features
from hnvlm.models.tumour import TumourDetector, suspicion
from hnvlm.types import (
    TARGET_NAMES,
    Counterfactual,
    DosePrediction,
    Finding,
    Progress,
    Provenance,
    ScopeVerdict,
    Segmentation,
    no_progress,
)

# A lesion is drawn with its texture, step by step; a removal asks for the likeliest tissue, which few steps give.
DIFFUSION_STEPS = {"add": 12, "remove": 2}
# Drawings of an addition at most, and what lies between the seeds of two.
TRIES, OTHER_SEED = 3, 1000


class ModelPack(ReportWriting):
    """The models of one folder; see ``hnvlm.models.base.Models`` for what each method returns.

    Args:
        folder: Holds one folder per model.
        threads: CPU threads of every network.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder = folder
        self.threads = threads
        self._necks: dict[str, Neck | None] = {}
        # Rules (sentence -> facts or None) that services and evaluations may put in front of the learned reader: where
        # they are sure they win, what they leave open the reader fills in.
        self.rules: Callable[[str], dict[str, Any] | None] | None = None
        # The words of a report; without them the model writes every line by itself.
        self.words: ReportWords | None = None

    # ---- parts, loaded once -------------------------------------------------------------------------------------
    @cached_property
    def segmenter(self) -> Segmenter:
        """Segmenter pipeline."""
        return Segmenter(self.folder / "segmenter")

    @cached_property
    def clip(self) -> ClipNetwork:
        """CT encoder and CT-text space."""
        return load_clip(self.folder / "clip").to(memory_format=torch.channels_last_3d)

    @cached_property
    def reader(self) -> TextReader:
        """Text reader."""
        return load_weights(self.folder / "text", TextReader())  # type: ignore[return-value]

    @cached_property
    def report_model(self) -> tuple[ReportModel, Any, dict[str, Any]]:
        """Report model, its tokenizer and its config."""
        folder = self.folder / "report"
        config = read_config(folder)
        model = ReportModel(config["vocabulary"], config["token_width"], config["width"], config["layers"])
        return load_weights(folder, model), load_tokenizer(folder), config  # type: ignore[return-value]

    @cached_property
    def denoiser(self) -> LesionDenoiser:
        """Diffusion model."""
        config = read_config(self.folder / "diffusion")
        return load_weights(self.folder / "diffusion", LesionDenoiser(widths=tuple(config["widths"]))).to(  # type: ignore[return-value]
            memory_format=torch.channels_last_3d
        )

    @cached_property
    def tumour_detector(self) -> TumourDetector | None:
        """Tumour detector; None in a pack without one."""
        folder = self.folder / "tumour"
        return TumourDetector(folder, self.segmenter.treated) if (folder / "model.safetensors").exists() else None

    @cached_property
    def dose_predictor(self) -> DosePredictor:
        """Dose pipeline."""
        folder = self.folder / "dose"
        if not (folder / "model.safetensors").exists():
            raise ModelPackError(
                "There is no dose model in this pack yet, so no dose can be predicted (hnvlm train dose makes one). "
                "A dose of your planning system can be opened together with its CT."
            )
        return DosePredictor(folder)

    def provenance(self, name: str, seed: int, **options: Any) -> Provenance:
        """Provenance of a result of model ``name``."""
        folder = self.folder / name
        return Provenance(name, read_config(folder)["version"], weights_sha256(folder), seed, options)

    # ---- shared steps -------------------------------------------------------------------------------------------
    def neck(self, volume: Volume, segmentation: Segmentation) -> Neck:
        """Landmarks and crop of a CT, kept for the last few.

        Raises:
            ScopeError: The landmarks are not in the scan.
        """
        # Corrected or imported contours move the landmarks, so they belong to the key.
        key = volume.content_hash() + str(sorted((name, int(mask.sum())) for name, mask in segmentation.masks.items()))
        if key not in self._necks:
            while len(self._necks) >= 4:
                self._necks.pop(next(iter(self._necks)))
            self._necks[key] = build_neck(volume, segmentation.masks)
        neck = self._necks[key]
        if neck is None:
            raise ScopeError(
                "The landmarks of the neck (cervical cord with mandible or brainstem) could not be found in this CT: "
                "the models will not draft on it. The viewer works as usual."
            )
        return neck

    def encode(self, neck: Neck) -> tuple[np.ndarray, Tensor]:
        """Lesion probabilities (3, 64, 64, 64) and CT tokens (1, 512, W) of a neck."""
        return self.encode_crop(neck.crop)

    def encode_crop(self, crop: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """Lesion probabilities and tokens of one crop (64, 64, 64) of HU."""
        torch.set_num_threads(self.threads)
        with torch.inference_mode(), mixed_precision():
            logits, tokens = self.clip.encoder(torch.from_numpy(np.ascontiguousarray(crop, np.float32))[None])
        lesions = logits[0, self.clip.encoder.n_structures :].float().sigmoid().numpy()
        return lesions, tokens.float().clone()

    def embed_text(self, text: str) -> Tensor:
        """Text embedding (1, W)."""
        features, mask = token_features([text])
        with torch.inference_mode():
            return self.reader(features, mask).clone()

    def threshold(self, question: str) -> float:
        """Evidence from which the encoder's answer is yes, set on training patients it did not train on.

        Args:
            question: ``threshold``: is this a finding? ``place_threshold``: is a lesion named at a place there?
                ``clear_threshold``: is it surely a lesion (higher than anything in a lesion-free neck)?
        """
        return float(read_config(self.folder / "clip").get("kept_aside", {}).get(question, PEAK))

    @cached_property
    def detection_peak(self) -> float:
        """Evidence from which a peak of the lesion maps is called a finding."""
        return self.threshold("threshold")

    def detections(self, neck: Neck, *peaks: float) -> list[list[Detection]]:
        """Lesions the encoder's dense maps show, from each of these thresholds on."""
        probability, _ = self.encode(neck)
        return [detect(probability, neck.crop, neck.start, neck.anatomy, peak=peak) for peak in peaks]

    # ---- what the app asks --------------------------------------------------------------------------------------
    def segment(self, volume: Volume, *, progress: Progress = no_progress) -> Segmentation:
        """Contour organs at risk and targets."""
        torch.set_num_threads(self.threads)
        found = self.segmenter(volume, progress=progress)
        if not judge_scope(volume, found.masks).in_scope:
            # Where there is no neck there is no target of a neck either.
            found = replace(found, masks={k: m for k, m in found.masks.items() if k not in TARGET_NAMES})
        return found

    def scope(self, volume: Volume, segmentation: Segmentation) -> ScopeVerdict:
        """Say whether this is a head-and-neck CT."""
        verdict = judge_scope(volume, segmentation.masks)
        if verdict.in_scope:
            try:
                self.neck(volume, segmentation)
            except ScopeError as error:
                return ScopeVerdict(False, error.message, verdict.evidence)
        return verdict

    def findings(
        self, volume: Volume, segmentation: Segmentation, *, progress: Progress = no_progress
    ) -> list[Finding]:
        """Measured facts and detected lesions with slice, box and score."""
        progress(0.1, "Measuring")
        neck = self.neck(volume, segmentation)
        facts = measured_findings(neck.anatomy)
        progress(0.5, "Looking for lesions")
        drawn = gross_lesions(segmentation.gross, volume, neck)
        detected = apart_from(self.detections(neck, self.detection_peak)[0], on_crop(drawn))
        lesions = [d.finding(volume, neck.start, neck.working) for d in detected]
        lesions += [suspicion(d, volume, neck) for d in self.suspicions(neck, segmentation, detected)]
        if any(f.kind == "airway" for f in lesions):
            facts = [f for f in facts if f.kind != "airway"]
        progress(1.0, "Findings measured")
        return [*(lesion.finding for lesion in drawn), *lesions, *facts]

    def suspicions(self, neck: Neck, segmentation: Segmentation, known: Sequence[Detection]) -> list[Detection]:
        """Where a patient's disease may be besides what is known; none where the clinic says itself where it is."""
        if segmentation.gross or not segmentation.of_patient or self.tumour_detector is None:
            return []
        torch.set_num_threads(self.threads)
        return self.tumour_detector.look(neck, known)

    def look_first(self, volume: Volume, segmentation: Segmentation) -> Finding | None:
        """Where a patient's disease is likeliest, were there any; None where the clinic says itself where it is."""
        if segmentation.gross or not segmentation.of_patient or self.tumour_detector is None:
            return None
        torch.set_num_threads(self.threads)
        return self.tumour_detector.look_first(volume, self.neck(volume, segmentation))

    def zeroshot(self, volume: Volume, labels: Sequence[str], *, segmentation: Segmentation) -> dict[str, float]:
        """Probability of each label text."""
        labels = [text.strip() for text in labels if text.strip()]
        if not labels:
            raise UsageError("Give at least one label, for example 'necrotic node in left level II'.")
        _, tokens = self.encode(self.neck(volume, segmentation))
        return dict(zip(labels, self.score(tokens, labels), strict=True))

    def score(self, tokens: Tensor, labels: Sequence[str]) -> list[float]:
        """Probability that the CT of ``tokens`` shows what each text says."""
        features, mask = token_features(labels)
        with torch.inference_mode():
            logits = self.clip.space.logits(self.clip.space.project(tokens), self.reader(features, mask))[0]
        return [round(float(p), 4) for p in logits.sigmoid()]

    def embed(self, volume: Volume, *, segmentation: Segmentation) -> np.ndarray:
        """Unit vector of a CT for the search of similar cases."""
        _, tokens = self.encode(self.neck(volume, segmentation))
        with torch.inference_mode():
            return self.clip.space.image_embedding(self.clip.space.project(tokens))[0].numpy().copy()

    def counterfactual(
        self, volume: Volume, text: str, *, segmentation: Segmentation, seed: int = 0, progress: Progress = no_progress
    ) -> Counterfactual:
        """Draw what the text says into the patient's CT."""
        started = time.perf_counter()
        progress(0.02, "Reading the request")
        neck = self.neck(volume, segmentation)
        requests = self.understand(text)
        # A removal names its lesion, so weaker evidence at that place is believed.
        weak = min(self.detection_peak, self.threshold("place_threshold"))
        before, seen = self.detections(neck, weak, self.detection_peak)
        contoured = gross_lesions(segmentation.gross, volume, neck)
        before = [*on_crop(contoured), *apart_from(seen if contoured else before, on_crop(contoured))]
        working = neck.working.array.copy()
        pieces = []
        rng = np.random.default_rng(seed)
        steps_taken = drawings = 0
        jobs = [(r, layout) for r in requests for layout in self._layouts(r, before, neck, rng)]
        for k, (request, layout) in enumerate(jobs):

            def on_step(share: float, text: str, k: int = k) -> None:
                progress(0.1 + 0.8 * (k + share) / len(jobs), text)

            drawn, made = self._draw(request, layout, neck, working, seed + k, on_step)
            drawings += made
            steps_taken += made * DIFFUSION_STEPS[layout.op]
            edit.add_patch(working, drawn)
            piece = edit.onto_grid(volume, neck.working, drawn)
            if piece is not None:
                pieces.append(piece)
        progress(0.92, "Putting the change back into the CT")
        after, mask = edit.apply_differences(volume, pieces)
        asked = {"requests": requests, **{k: v for k, v in requests[0].items() if k != "text"}}
        match = {
            "edits": len(jobs),
            "drawings": drawings,
            **({"contoured": [lesion.brief() for lesion in contoured]} if contoured else {}),
            **self._text_match(requests, seen, replace(neck, working=neck.working.with_array(working))),
        }
        progress(1.0, "Counterfactual ready")
        return Counterfactual(
            after, mask, edit.box_mm(volume, mask), asked, edit.identity_of(volume, after, mask, pieces), match,
            round(self.denoiser_gflops * steps_taken, 1),
            self.provenance("diffusion", seed, steps=dict(DIFFUSION_STEPS)), time.perf_counter() - started,
        )  # fmt: skip

    def _draw(
        self, request: dict[str, Any], layout: Layout, neck: Neck, working: np.ndarray, seed: int,
        on_step: Progress,
    ) -> tuple[edit.Drawn, int]:  # fmt: skip
        """Draw a layout into the working grid; an addition that would not be found is laid out and drawn anew."""
        text = self.embed_text(request["text"])

        def draw_one(one: Layout, attempt: int) -> edit.Drawn:
            word = "the change" if attempt == 0 else "it anew, for the last was hardly seen"
            return edit.draw(
                self.denoiser, working, one, text, seed=seed + OTHER_SEED * attempt, steps=DIFFUSION_STEPS[one.op],
                on_step=lambda step, of: on_step((attempt + step / of) / TRIES, f"Drawing {word}: step {step} of {of}"),
            )  # fmt: skip

        if layout.op != "add":
            return draw_one(layout, 0), 1

        def evidence_of(one: Layout, drawn: edit.Drawn) -> float:
            after = working.copy()
            edit.add_patch(after, drawn)
            return self._evidence_at(one, neck, after)

        return edit.draw_until_seen(
            tries_of(request, layout, neck, seed, TRIES), draw_one, evidence_of, self.detection_peak
        )

    def _evidence_at(self, layout: Layout, neck: Neck, working: np.ndarray) -> float:
        """Greatest evidence of the encoder for such a lesion where it was laid out; 1 where the encoder cannot look."""
        inside = cut(layout.mask, neck.start - layout.start, neck.crop.shape, 0.0) > 0.3
        if not inside.any():
            return 1.0
        torch.set_num_threads(self.threads)
        maps = lesion_probability(self.clip.encoder.lesion_net, neck.crop_of(working))
        node, mass, airway = (float(evidence(m)[inside].max()) for m in maps)
        return airway if layout.kind == "airway" else max(node, mass)

    def understand(self, text: str) -> list[dict[str, Any]]:
        """What each sentence of a request asks; background statements are left out when there is a request."""
        if not text.strip():
            raise UsageError("Write what the CT should show, for example 'necrotic node in left level II, 22 mm'.")
        parts = sentences_of(text)
        facts = [self._merged(part, f) for part, f in zip(parts, read_facts(self.reader, parts), strict=True)]
        asks = [f for f in facts if f["op"] in ("add", "remove") and (f["place"] or f["op"] == "remove")]
        return asks or facts[:1]

    def _merged(self, sentence: str, learned: dict[str, Any]) -> dict[str, Any]:
        """What a sentence asks: by the rules where they are sure, by the learned reader where they leave it open."""
        ruled = (self.rules(sentence) if self.rules is not None else None) or {}
        # A removal means all that is there of what it leaves open: with a guessed side the lesion may stay.
        unsaid = ("side", "place") if ruled.get("op") == "remove" else ()
        return {"text": sentence, **learned, **{k: v for k, v in ruled.items() if v is not None or k in unsaid}}

    def _layouts(
        self, request: dict[str, Any], before: list[Detection], neck: Neck, rng: np.random.Generator
    ) -> list[Layout]:
        if request["op"] == "add":
            return [lay_out_addition(request, neck, rng)]
        if request["op"] == "none":
            # "No mass" is a statement about the whole neck: only what is surely a lesion is taken away.
            before = [d for d in before if d.score >= self.threshold("clear_threshold")]
        return lay_out_removals(request, before, neck)

    def _text_match(self, requests: list[dict[str, Any]], seen: list[Detection], neck: Neck) -> dict[str, Any]:
        """What the encoder's own detector sees in the edited CT (the published numbers use an independent judge)."""
        crop = neck.crop_of(neck.working.array)
        probability, _ = self.encode_crop(crop)
        after = detect(probability, crop, neck.start, neck.anatomy, peak=self.detection_peak)
        return {
            "lesions_before": [d.brief() for d in seen],
            "lesions_after": [d.brief() for d in after],
            "understood": [r["text"] for r in requests],
        }

    @cached_property
    def denoiser_gflops(self) -> float:
        """Billions of floating-point operations of one denoising step."""
        return step_gflops(self.denoiser)

    def generate(self, text: str, *, seed: int = 0, progress: Progress = no_progress) -> Counterfactual:
        """Draw what the text says into a synthetic neck (cohort atlas, no patient)."""
        neck = sample_neck(seed)
        own = Segmentation(neck.masks, {}, Provenance("atlas", "1", "", seed), 0.0)
        return self.counterfactual(neck.volume, text, segmentation=own, seed=seed, progress=progress)

    def dose(
        self, volume: Volume, masks: Mapping[str, np.ndarray], *, prescriptions: Mapping[str, float] | None = None,
        possible_dose: np.ndarray | None = None, use_ct: bool = True, progress: Progress = no_progress,
    ) -> DosePrediction:  # fmt: skip
        """Predict the achievable dose of nine equispaced fields."""
        torch.set_num_threads(self.threads)
        return self.dose_predictor(
            volume, masks, prescriptions=prescriptions, possible_dose=possible_dose, use_ct=use_ct, progress=progress
        )

    def cards(self) -> list[dict[str, Any]]:
        """Model cards with their measured numbers."""
        return model_cards(self.folder)


def load() -> ModelPack:
    """Return the pack of the configured assets folder; its networks are read when first needed."""
    config = settings()
    return ModelPack(config.models_dir, config.threads)
