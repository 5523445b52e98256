"""Who drew a clinic's contours and dose: what a model made is not to be learned from as if a clinician had made it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from hnvlm.imaging import nifti
from hnvlm.imaging.overlay import load
from hnvlm.imaging.persons import persons_in, replaced
from hnvlm.imaging.rt import structure_files
from hnvlm.imaging.structure_set import of_one_set
from hnvlm.imaging.tg263 import to_tg263
from hnvlm.imaging.write import AI_DRAFT

_ABOUT = ("SeriesDescription", "StructureSetName", "StructureSetDescription", "ContentDescription", "DoseComment",
          "ImageComments")  # fmt: skip
_LABELS = ("StructureSetLabel", "ContentLabel")
_OUR_LABELS = ("AI DRAFT", "AI_DRAFT")
_WHAT_IF = "what-if"


def drawn_by_model(structures: Path | Sequence[Path], beside: Path | None = None) -> set[str]:
    """TG-263 names of structures that a model drew, of those that ``read_structures`` takes from ``structures``.

    A structure counts as drawn by a model where it carries this program's mark, or where DICOM calls it AUTOMATIC
    (PS3.3 C.8.8.5 ROI Generation Algorithm, C.8.20.2 Segment Algorithm Type) and nobody has approved the set. Where
    two contours mean one structure and one of them is a model's, it counts as well.

    Args:
        structures: RTSTRUCT, SEG or NIfTI file, or a folder or a list of such.
        beside: The RTDOSE that says which of several structure sets was planned on.
    """
    read, others = structure_files(structures)
    chosen, _ = of_one_set(read, [*others, *([beside] if beside is not None else [])])
    names = [name for file in chosen for name in (_in_nifti if nifti.is_nifti(file) else _in_dicom)(file)]
    return {to_tg263(name) or name for name in names}


def made_by_model(file: Path) -> str:
    """What a dose says of itself that tells it is no treatment's: our mark, or a what-if; "" where it says neither."""
    about = [nifti.description(file)] if nifti.is_nifti(file) else _words(load(file))
    if any(AI_DRAFT in text for text in about):
        return AI_DRAFT
    return next((text for text in about if _WHAT_IF in text.lower()), "")


def _in_nifti(file: Path) -> Iterator[str]:
    if AI_DRAFT in nifti.description(file):
        yield nifti.stem(file)


def _in_dicom(file: Path) -> Iterator[str]:
    dataset = load(file)
    approved = str(dataset.get("ApprovalStatus") or "").upper() == "APPROVED"
    parts = dataset.get("StructureSetROISequence") or dataset.get("SegmentSequence") or []
    persons = persons_in(dataset)
    whole = _ours(_words(dataset)) or any(str(dataset.get(key) or "") in _OUR_LABELS for key in _LABELS)
    for part in parts:
        manner = str(part.get("ROIGenerationAlgorithm", part.get("SegmentAlgorithmType")) or "").upper()
        said = [str(part.get("ROIGenerationDescription") or ""), *_algorithms(part)]
        automatic = manner == "AUTOMATIC"
        # Our own sets may hold contours of the clinic, too, which say so.
        if _ours(said) or (automatic and (whole or not approved)):
            name = str(part.get("ROIName", part.get("SegmentLabel")) or "").strip()
            yield replaced(name, int(part.get("ROINumber", part.get("SegmentNumber")) or 0), persons)


def _words(dataset: Dataset) -> list[str]:
    return [str(dataset.get(key) or "") for key in _ABOUT]


def _algorithms(part: Dataset) -> list[str]:
    items = part.get("SegmentationAlgorithmIdentificationSequence") or []
    return [*(str(item.get("AlgorithmName") or "") for item in items), str(part.get("SegmentAlgorithmName") or "")]


def _ours(texts: list[str]) -> bool:
    return any(AI_DRAFT in text for text in texts)
