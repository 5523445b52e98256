"""Names of structures that hold the name or the number of a person whom their own file names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from contextlib import suppress

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from hnvlm.imaging.dicom import DAMAGED
from hnvlm.imaging.tg263 import is_gross_tumour, to_tg263

_PERSONS = (
    "PatientName", "PatientID", "OtherPatientNames", "OtherPatientIDs", "PatientBirthName", "PatientMotherBirthName",
    "ResponsiblePerson", "ReferringPhysicianName", "RequestingPhysician", "ConsultingPhysicianName",
    "PhysiciansOfRecord", "PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "OperatorsName", "ReviewerName",
    "ContentCreatorName",
)  # fmt: skip
# Sequence -> the tag of its items that names somebody.
_IN_SEQUENCES = (("OtherPatientIDsSequence", "PatientID"), ("RTROIObservationsSequence", "ROIInterpreter"))
# Words that are a person's name, too, or that stand where one was taken out; in the name of a structure they mean the
# body, or what planning does with it.
_WORD_LIST = """
    air airway anal anonym anonymized anonymous ant anterior artery artifact avoid avoidance axilla base block body
    bolus bone boost bowel brachial brain brainstem breast bronchus buccal canal carina carotid cartilage case
    cavity cervical cheek chiasm chin clavicle clinic clinical cochlea combined constrict constrictor contour cord
    cornea couch cricoid cricopharyngeus ctv demo dens dental doctor dose dosimetry dummy ear esophagus eval
    external eye face fat filling fix foramen fossa gland glnd globe glottis gross gtv gum hard head heart high hip
    hippocampus hot humerus hyoid hypopharynx implant inf inferior inner insertion int iso itv jaw joint kidney
    laryngeal larynx lat lateral left lens level lip lips liver lobe local low lower lumen lung lymph mandible
    marker mask mass mastoid maxilla med medial median metal mid middle min minus mouth mri musc muscle nasal
    nasopharynx neck nerve nodal node nodes none nose nrv old opt optic oral orbit organ oropharynx outer palate pan
    parotid patient pet phantom pharynx physician physicist physics pituitary plan plexus point post posterior pre
    primary prof proximal prv ptv pulmonary radiation retina ridge right ring sella shell shoulder sinus skin skull
    small soft spinal spine stem sternum sub sublingual submand submandibular sum sup superior supraglottis table
    target teeth temp temporal test therapist thyroid tissue tmj tongue tonsil tooth total trachea tumor tumour
    unknown upper user uvula vein vertebra vessel virtual vocal volume wall whole
"""
_NO_NAMES = frozenset(_WORD_LIST.split())
_SHORTEST_WORD, _SHORTEST_NUMBER = 3, 5
# A name that planning systems cut off after so many letters is still one.
_SHORTEST_PART = 5
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
_BARRED = str.maketrans({"ł": "l", "ø": "o", "đ": "d"})
# What the kind of a target is told by; it stays, for a gross tumour is one whatever else its name says.
_KIND = re.compile(r"i?gtv[pn](?![a-z])|i?gtv|[cip]tv", re.IGNORECASE)
_REPLACED = re.compile(r"([A-Za-z]{3,5} )?structure \d+")


def persons_in(dataset: Dataset) -> set[str]:
    """Words and long numbers by which a file names persons, folded; words that structures are called by are none."""
    found: list[object] = []
    for keyword in _PERSONS:
        with suppress(*DAMAGED):  # what cannot be read of the header does not end the reading of the structures
            found.append(dataset.get(keyword))
    for sequence, keyword in _IN_SEQUENCES:
        with suppress(*DAMAGED):
            found += [item.get(keyword) for item in dataset.get(sequence) or []]
    texts = [str(v) for value in found if value for v in (value if isinstance(value, MultiValue) else [value])]
    words = {run for text in texts for run in _runs(text)}
    return {w for w in words if len(w) >= (_SHORTEST_NUMBER if w.isdigit() else _SHORTEST_WORD) and w not in _NO_NAMES}


def speaks_of_patient(text: str, dataset: Dataset) -> bool | None:
    """Whether a text holds the name or the number of the patient of a file; None where the file gives neither."""
    patient = Dataset()
    for keyword in ("PatientName", "PatientID"):
        with suppress(*DAMAGED):
            setattr(patient, keyword, dataset.get(keyword))
    known = persons_in(patient)
    return bool(known & _runs(text)) if known else None


def without_persons(names: dict[int, str], dataset: Dataset, warnings: list[str]) -> dict[int, str]:
    """Call structures "structure 3" by their number whose name holds a person's, and say so without repeating it.

    A name that is surely a known structure's stays. So does what somebody typed that the file names nowhere.
    """
    persons = persons_in(dataset)
    out = {number: replaced(name, number, persons) for number, name in names.items()}
    changed = [out[number] for number, name in names.items() if out[number] != name]
    if changed:
        warnings.append(f"the name or number of a person was left out of the names of: {', '.join(changed)}")
    return out


def replaced(name: str, number: int, persons: Iterable[str]) -> str:
    """The name of a structure, or "structure 3" where it holds a person's; the kind of a target stays before it."""
    runs = _runs(name) - _NO_NAMES
    if not any(_holds(run, person) for person in persons for run in runs) or to_tg263(name) is not None:
        return name
    kind = _KIND.match(name.strip())
    # Not of a helper made from a target (a ring), which would be taken for the target itself.
    if kind and is_gross_tumour("GTV" + name.strip()[kind.end() :]):
        return f"{kind[0]} structure {number}"
    return f"structure {number}"


def is_replaced(name: str) -> bool:
    """Whether a structure is called by its number here."""
    return _REPLACED.match(name) is not None


def _holds(run: str, person: str) -> bool:
    return person in run or (len(run) >= _SHORTEST_PART and person.startswith(run))


def _runs(text: str) -> set[str]:
    """Runs of letters and of digits in lower case, without marks: of umlauts both as they are written without them."""
    lower = text.casefold()
    forms = (lower.translate(_BARRED), lower.translate(_UMLAUTS).translate(_BARRED))
    plain = ("".join(c for c in unicodedata.normalize("NFD", form) if not unicodedata.combining(c)) for form in forms)
    return {run for form in plain for run in re.findall(r"[^\W\d_]+|\d+", form)}
