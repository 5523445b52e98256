"""Masks as DICOM SEG (through highdicom, imported on demand: it takes a second)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hnvlm.imaging.masks import part_of
from hnvlm.imaging.volume import Volume
from hnvlm.imaging.whole import whole_file
from hnvlm.imaging.write import AI_DRAFT, MARK, content_uid, ct_headers, mask_digest

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

# TG-263 base name -> keyword of the SNOMED CT code in pydicom's code dictionary (PS3.16).
_CODES = {
    "Brainstem": "BrainStem", "SpinalCord": "SpinalCord", "Parotid": "ParotidGland", "Esophagus": "Esophagus",
    "Larynx": "Larynx", "Bone_Mandible": "Mandible", "Cavity_Oral": "OralCavity", "Brain": "Brain",
    "Glnd_Submand": "SubmandibularGland",
}  # fmt: skip
_TARGETS = {"PTV": "PlanningTargetVolume", "CTV": "ClinicalTargetVolume", "GTV": "GrossTumorVolume"}
_SIDES = {"_L": "Left", "_R": "Right"}


def write_seg(
    masks: Mapping[str, np.ndarray],
    volume: Volume,
    path: Path | str,
    *,
    synthetic: bool = False,
    meta: Mapping[str, Any] | None = None,
    version: str = "not stated",
) -> Path:
    """Write structures as a binary DICOM SEG that refers to the CT ``write_dicom_series`` writes of ``volume``.

    Args:
        masks: Name -> bool (z, y, x) on the volume's grid; empty ones are left out.
        volume: The CT.
        path: File to write.
        synthetic, meta: As they were given to ``write_dicom_series``.
        version: Version of the model that made the masks.

    Raises:
        ValueError: No mask has a voxel, or a mask is not on the volume's grid.
    """
    import highdicom as hd

    drawn = [name for name in masks if part_of(masks, name) is not None]
    if not drawn:
        raise ValueError("there is no structure to write")
    # Segment by segment in memory: what lies outside a segment's box is never touched and takes no memory.
    stack = np.zeros((len(drawn), *volume.shape), np.uint8)
    # Another content under the same UID would be taken for the same object, and an archive keeps the first.
    content = []
    for segment, name in zip(stack, drawn, strict=True):
        mask = np.asarray(masks[name], bool)
        if mask.shape != volume.shape:
            raise ValueError(f"mask {name} {mask.shape} is not on the grid {volume.shape}")
        content.append(f"{name}{mask_digest(mask)}")
        part = part_of(masks, name)
        assert part is not None
        segment[part.place] = part.inside
    sources = ct_headers(volume, "", synthetic, meta)
    uid = content_uid(sources[0].SeriesInstanceUID, "seg", version, *content)
    seg = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=np.moveaxis(stack, 0, -1),
        segmentation_type="BINARY",
        segment_descriptions=[_description(n, name, version) for n, name in enumerate(drawn, 1)],
        series_instance_uid=content_uid(uid, "series"),
        series_number=3,
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer="hnvlm",
        manufacturer_model_name="research use only",
        software_versions=version,
        device_serial_number="0",
        content_description=AI_DRAFT,
        content_label="AI_DRAFT",
        series_description=f"{MARK} CT: {AI_DRAFT}"[:64] if synthetic else AI_DRAFT,
    )
    path = Path(path)
    with whole_file(path) as partial:
        seg.save_as(partial)
    return path


def _description(number: int, name: str, version: str) -> SegmentDescription:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    keyword, target = _CODES.get(name.removesuffix("_L").removesuffix("_R")), _TARGETS.get(name[:3])
    if target:
        category, kind = codes.SCT.SpatialAndRelationalConcept, getattr(codes.SCT, target)
    elif keyword:
        category, kind = codes.SCT.AnatomicalStructure, getattr(codes.SCT, keyword)
    else:
        category, kind = codes.SCT.AnatomicalStructure, codes.SCT.BodyStructure
    described = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=f"hnvlm segmenter ({AI_DRAFT})"[:64], family=codes.DCM.ArtificialIntelligence, version=version
        ),
    )
    # One code for both glands of a pair: who goes by codes and not by labels would take left and right for the same.
    if (side := _SIDES.get(name[-2:])) and not target:
        modifier = hd.sr.CodedConcept.from_code(getattr(codes.SCT, side))
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
    return described
