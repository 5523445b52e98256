"""Model cards and the privacy panel."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from hnvlm.ui import html

# Folder of the model pack -> the name a reader knows; the folder's own stands beside it.
_NAMES = {
    "clip": "Image and text (CLIP)", "diffusion": "Counterfactual CT", "dose": "Dose",
    "judge": "Judge of counterfactuals", "report": "Report", "segmenter": "Contours", "text": "Reader of typed text",
    "tumour": "Suspicions",
}  # fmt: skip
# Evaluation -> its heading, where a model has more than one.
_EVALUATIONS = {
    "counterfactual": "Lesions drawn into CTs of patients", "generation": "CTs drawn without a patient",
    "retrieval": "Finding the right report, and the right CT", "zeroshot": "Labels",
}  # fmt: skip
# How a measurement was made, not how good the model is: shown folded, below the numbers.
_COUNTS = frozenset({
    "n", "n_cts", "patients", "patients_out_of_scope", "patients_without_contours", "lesions_wanted",
    "lesions_inserted", "labels", "labels_left_out", "distinct_reports", "requests_not_understood", "requests_refused",
    "edits_compared_outside", "ct_with_lesion_not_drafted_on", "ct_with_lesion_not_scored",
    "mean_dice_core_structures",
    "presence_auroc_15_mm_and_more_n", "presence_auroc_n", "presence_auroc_per_line_n", "several_lesions_n",
})  # fmt: skip
COUNTS = "How it was counted"
# Whole keys that need other words than their own.
_PLAIN = {
    "mean_dice_core": "Mean Dice of brainstem, cord, parotids, mandible",
    "mean_dice_core_structures": "Structures in the mean Dice",
    "patients_without_contours": "Patients left out: no contours",
    "patients_out_of_scope": "Patients left out: not a head-and-neck CT",
    "median_seconds": "Time for one case, median (s)",
    "measured_lines_repeated": "Measured lines repeated word for word",
    "well_formed": "Drafts that are well formed: each line what its heading says, the impression what the lines say",
    "several_lesions_finding_f1": "F1 on CTs with three lesions",
    "several_lesions_named": "Of the lesions of those CTs, named",
    "several_lesions_n": "Lesions of CTs with three",
    "median_writing_seconds": "Time to write one report, median (s)",
    "dose_score": "Dose score: mean error of a voxel (Gy)",
    "dose_score_sd": "Dose score, SD between patients (Gy)",
    "dvh_score": "DVH score: mean error of the DVH points (Gy)",
    "dvh_errors": "Errors of the DVH points (Gy)",
    "max_abs_change_outside_edit_hu": "Largest change outside the edit (HU)",
    "farthest_change_beyond_asked_radius_mm": "Farthest change beyond the asked radius (mm)",
    "removal_median_left": "Removal: share of the lesion left, median",
    "removal_median_hu_left": "Removal: share of its contrast (HU) left, median",
    "size_mae_mm": "Size: mean absolute error (mm)",
    "size_r": "Size asked against size measured: r",
    "patients_with_one_in_target": "Patients with a suspicion inside what is treated to 70 Gy",
    "of_all_in_target": "Of all suspicions, inside it",
    "elsewhere_per_ct": "Suspicions elsewhere, a CT",
    "peak_in_target": "Strongest evidence inside it",
    "usual_place_in_target": "One place, the same in everybody, inside it",
    "look_first_in_target": "Strongest evidence inside it where nothing was found or suspected",
    "usual_place_where_nothing_was_found": "One place, the same in everybody, there",
    "untreated_halves_with_one": "Untreated halves and their mirror images with a suspicion",
    "evidence_auroc_against_untreated_halves": "AUROC of the strongest evidence against those",
    "encoder_alone": "The CT encoder alone",
    "detector_peak_in_real_high_dose_target": "The encoder's strongest evidence inside what is treated to 70 Gy",
    "usual_place_in_that_target": "One place, the same in everybody, inside it",
    "lesion_named_in_patients_treated_to_70_gy": "Patients treated to 70 Gy in whom a lesion is named",
    "mid_side": "Side understood, wordings never seen",
    "mid_place": "Place understood, wordings never seen",
    "held_side": "Side understood, wordings and words never seen",
    "held_place": "Place understood, wordings and words never seen",
    "n_cts": "CTs",
    "n": "Cases",
}
_ABBREVIATIONS = {"auroc": "AUROC", "f1": "F1", "ct": "CT", "cts": "CTs", "hu": "HU", "dvh": "DVH", "sd": "SD",
                  "n": "n"}  # fmt: skip


def show(card: Mapping[str, Any]) -> None:
    """Show one model: what it does, what it learned from, its measured numbers, its card."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{_NAMES.get(card['name'], card['name'].capitalize())}**")
            st.badge(f"{card['name']}, version {card['version']}", color="gray")
            st.badge(f"{card['size_mb']:.1f} MB", color="gray")
        if card.get("purpose"):
            st.text(f"Used for {card['purpose']}.")
        measured = list(evaluations(card["metrics"]))
        for evaluation in measured:
            if len(measured) > 1:
                st.markdown(f"**{_EVALUATIONS.get(evaluation.name, plain(evaluation.name))}**")
            if evaluation.told:
                st.caption(evaluation.told)
            html.table(("Measured", "Value"), evaluation.rows, numeric=(1,))
            for title, rows in evaluation.groups:
                with st.expander(title, key=f"group-{card['name']}-{evaluation.name}-{title}"):
                    html.table(("Measured", "Value"), rows, numeric=(1,))
        if not measured:
            st.caption("No measured numbers are stored with this model.")
        if card["readme"]:
            with st.expander("Model card", key=f"card-{card['name']}"):
                st.markdown(card["readme"])


@dataclass(frozen=True)
class Evaluation:
    """Numbers of one evaluation: by what command, on how many cases, single numbers and groups of them."""

    name: str
    told: str
    rows: list[tuple[str, str]]
    groups: list[tuple[str, list[tuple[str, str]]]]


def evaluations(metrics: Mapping[str, Any]) -> Iterator[Evaluation]:
    """Yield the evaluations of a ``metrics.json``; one of numbers alone counts as a single evaluation."""
    if metrics and not any(isinstance(v, Mapping) and "metrics" in v for v in metrics.values()):
        metrics = {"": {"metrics": metrics}}
    for name, held in metrics.items():
        rows: list[tuple[str, str]] = []
        groups: list[tuple[str, list[tuple[str, str]]]] = []
        counts: list[tuple[str, str]] = []
        for key, value in held["metrics"].items():
            grouped = isinstance(value, Mapping) and in_words(value) is None
            if key in _COUNTS:
                counts += (
                    flat(value, f"{plain(key)}: ") if grouped else [(plain(key), in_words(value) or "not measured")]
                )
            elif grouped:
                groups.append((plain(key), list(flat(value))))
            else:
                rows.append((plain(key), in_words(value) or "not measured"))
        if counts:
            groups.append((COUNTS, counts))
        n = held.get("n_cases")
        counted = f", {n} {held.get('counted', 'cases')}" if n is not None else ""
        told = held.get("command", "") + counted + checked(held.get("patients"))
        yield Evaluation(name, told, rows, groups)


def checked(patients: Mapping[str, Any] | None) -> str:
    """What is known of whom the models learned from; nothing for numbers from before that was kept."""
    if not patients:
        return ""
    known, unknown = (", ".join(patients.get(key, ())) for key in ("trained_on_known_for", "not_known_for"))
    said = f". None of them was trained on, by image: {known}" if known else ""
    return said + (f". Not recorded whom these were trained on: {unknown}" if unknown else "")


def plain(key: str) -> str:
    """A key as a heading: abbreviations in capitals, a unit at the end in brackets."""
    if key in _PLAIN:
        return _PLAIN[key]
    recall = re.fullmatch(r"(?:(image|report)_to_(image|report)|chance)_recall_(\d+)", key)
    if recall:
        asked, found, among = recall.groups()
        sought = f"Right {'CT' if found == 'image' else 'report'}" if asked else "By chance,"
        place = "first" if among == "1" else f"among the first {among}"
        return f"{sought} {place}" + (f", from the {'CT' if asked == 'image' else 'report'}" if asked else "")
    words = [_ABBREVIATIONS.get(word, word) for word in key.replace("_", " ").split()]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def in_words(value: Any) -> str | None:
    """A number with three significant digits, a share with its interval, a mean with its spread; None for a group."""
    if isinstance(value, Mapping):
        if "value" in value:
            if value["value"] is None:
                return "not measured"
            n = f"n {value['n']}" if "n" in value else ""
            n += f" in {value['patients']} patients" if n and "patients" in value else ""
            if "low" in value:
                return f"{value['value']:.2f} (95 % {value['low']:.2f} to {value['high']:.2f}, {n})"
            return f"{value['value']:.3g} ({n})" if n else f"{value['value']:.3g}"
        if "mean" in value and "n" in value:
            middle = f", median {value['median']:.2f}" if "median" in value else ""
            return f"{value['mean']:.2f} (SD {value['sd']:.2f}{middle}, n {value['n']})" if "sd" in value else None
        if "auroc" in value and "n_positive" in value:
            return f"{value['auroc']:.2f} (n {value['n_positive']})"
        return None
    if value is None:
        return "not measured"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def flat(group: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (name, value) of a group and of the groups in it."""
    for key, value in group.items():
        words = in_words(value)
        if words is None:
            yield from flat(value, f"{prefix}{plain(key)}, ")
        else:
            yield f"{prefix}{plain(key)}", words


def privacy(data_dir: str) -> None:
    """Show what left this machine (nothing) and the settings that see to it, as they are right now."""
    address = st.get_option("server.address") or "all addresses"
    with st.container(border=True):
        st.markdown("**What left this machine: nothing**")
        html.facts([
            ("Outbound calls", "none: models, fonts and scripts are local files; the browser may load from here only"),
            ("Model hub", "switched off" if os.environ.get("HF_HUB_OFFLINE") == "1" else "NOT switched off"),
            ("Usage statistics", "NOT switched off" if st.get_option("browser.gatherUsageStats") else "switched off"),
            ("Reachable at", f"{address} (this machine alone)" if address in ("127.0.0.1", "localhost")
             else f"{address}. There is no log-in: whoever reaches it sees all cases"),
            ("Cases are stored in", data_dir),
            ("Identity", "names, dates, numbers and free text of images are removed before anything is stored; names "
                         "of structures stay without those of persons, what people type stays as typed; uploads that "
                         "did not become a case are erased after a day"),
        ])  # fmt: skip
