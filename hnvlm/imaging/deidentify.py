"""De-identification of DICOM datasets (PS3.15 annex E, basic profile) and stable replacement of UIDs.

dicognito replaces names, identifiers, dates and UIDs consistently by seed. The basic profile also asks for
removal of free text, private elements, and graphics; that is done here by keeping only what is on a list.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable

from dicognito.anonymizer import Anonymizer
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

# Free-text representations; such an element is removed unless it is kept by name below.
_TEXT_VRS = {"AE", "LO", "LT", "SH", "ST", "UC", "UR", "UT", "UN", "PN"}
# Text that carries the image's meaning and no person's: structure and segment names, codes, units, techniques.
_KEPT_TEXT = {
    "ROIName", "SegmentLabel",
    "RescaleType", "StructureSetLabel", "ContentLabel", "SegmentAlgorithmName",
    "WindowCenterWidthExplanation", "DeidentificationMethod", "PatientID", "PatientName", "AccessionNumber", "StudyID",
    "ReferringPhysicianName", "PositionReferenceIndicator", "LossyImageCompressionMethod",
}  # fmt: skip
# Codes have a meaning inside sequences only.
_CODE_TEXT = {"CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning"}
# Kept because readers need the element, but emptied.
_EMPTIED = {"StudyID", "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator", "StructureSetLabel"}
# Not text, but identifying or able to hide identity (table E.1-1, action X).
_REMOVED = {
    "PatientSex", "PatientAge", "PatientSize", "PatientWeight", "PatientBirthDate", "PatientBirthTime",
    "PregnancyStatus", "SmokingStatus", "LastMenstrualDate", "PatientSexNeutered", "PatientState", "EthnicGroup",
    "IconImageSequence", "OriginalAttributesSequence", "ModifiedAttributesSequence", "DigitalSignaturesSequence",
    "EncapsulatedDocument", "RequestAttributesSequence", "ReferencedPatientSequence", "ReferencedStudySequence",
    "PersonIdentificationCodeSequence", "OperatorIdentificationSequence", "InstitutionCodeSequence",
    "ContentCreatorIdentificationCodeSequence", "RequestingPhysicianIdentificationSequence",
    "GraphicAnnotationSequence",
    "AcquisitionContextSequence", "AdmittingDiagnosesCodeSequence", "PatientInsurancePlanCodeSequence",
    "ResultsDistributionListSequence", "VerifyingObserverSequence", "AuthorObserverSequence", "ParticipantSequence",
    "ContributingEquipmentSequence", "SourceSerialNumber", "DataSetTrailingPadding",
}  # fmt: skip
_OVERLAYS_AND_CURVES = (0x50, 0x60)


def stable_uid(uid: str, salt: str) -> str:
    """Replacement of a UID that is the same for the same salt and cannot be traced back without it.

    Args:
        uid: Original; "" stays "".
        salt: Secret of one case or one store; CT, structures and dose of a case must use the same.
    """
    if not uid:
        return ""
    digest = hashlib.sha256(f"{salt}\x1f{uid}".encode()).digest()
    return "2.25." + str(int.from_bytes(digest[:16], "big"))


def deidentify_datasets(datasets: Iterable[Dataset], seed: str) -> list[Dataset]:
    """De-identified copies of datasets that belong together.

    Args:
        datasets: Of one case: CT, RTSTRUCT, RTDOSE, SEG. They are not changed.
        seed: Secret of the case; the same seed gives the same replacement UIDs, so objects handled in
            different calls still refer to each other.

    Returns:
        Copies with names, identifiers and UIDs replaced, dates shifted, free text (structure names excepted),
        private elements, overlays and curves removed. Pixels are not looked at: burned-in text stays, and
        BurnedInAnnotation is left as it was.
    """
    anonymizer = Anonymizer(seed=seed)
    return [_deidentify(dataset, anonymizer) for dataset in datasets]


def _deidentify(dataset: Dataset, anonymizer: Anonymizer) -> Dataset:
    out = copy.deepcopy(dataset)
    if not hasattr(out, "file_meta"):
        out.ensure_file_meta()
    out.remove_private_tags()
    _strip(out, _KEPT_TEXT)
    anonymizer.anonymize(out)
    for keyword in _EMPTIED & {keyword_for_tag(e.tag) for e in out}:
        out[keyword].value = ""
    out.file_meta.MediaStorageSOPInstanceUID = out.get("SOPInstanceUID") or generate_uid()
    for keyword in ("SourceApplicationEntityTitle", "PrivateInformation", "PrivateInformationCreatorUID"):
        if keyword in out.file_meta:
            del out.file_meta[keyword]
    # The preamble may hold another format's header with names in it.
    out.preamble = b"\0" * 128
    out.PatientIdentityRemoved = "YES"
    out.DeidentificationMethod = ["DICOM PS3.15 basic profile", "DICOGNITO"]
    out.DeidentificationMethodCodeSequence = [_code("113100", "Basic Application Confidentiality Profile")]
    out.LongitudinalTemporalInformationModified = "MODIFIED"
    return out


def _strip(dataset: Dataset, kept: set[str]) -> None:
    """Remove what the basic profile removes, in nested items too."""
    for element in list(dataset):
        if _unwanted(element, kept):
            del dataset[element.tag]
        elif element.VR == "SQ":
            for item in element.value:
                item.remove_private_tags()
                _strip(item, _KEPT_TEXT | _CODE_TEXT)


def _unwanted(element: DataElement, kept: set[str]) -> bool:
    keyword = keyword_for_tag(element.tag)
    if not keyword or keyword in _REMOVED or element.tag.group >> 8 in _OVERLAYS_AND_CURVES:
        return True
    return element.VR in _TEXT_VRS and keyword not in kept


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item
