"""Who is kept aside: patients that a model never learns from, so that thresholds and progress are measured on them.

Patients come in while a model is in use. Whom it learned from before must not be among those its next training measures
on, so a training that goes on from a pack keeps aside whom the pack names.
"""

from __future__ import annotations

import hashlib
from itertools import islice
from pathlib import Path

from hnvlm.errors import InputRefusedError
from hnvlm.evaluate.common import log
from hnvlm.evaluate.patients import KEPT_NAMES, RECORD, content_of, read_trained
from hnvlm.models.checkpoint import read_config
from hnvlm.train.bank import BankPatient

# Patients that the lesion networks do not learn from; where there are few patients, a quarter of them.
KEPT_ASIDE = 12
# Fewer patients cannot be shared out.
FEWEST = 4
# Where a model's config names them: contours and dose, and lesion networks.
HELD_OUT, KEPT_PATIENTS = KEPT_NAMES
NAMED = 5


def set_aside(folders: list[Path], n: int, pack: Path | None = None, named: str = HELD_OUT) -> list[Path]:
    """``n`` of these folders, drawn by a hash of each one's own name: whoever is added changes nothing of the others.

    Args:
        pack: Model folder whose weights go on learning. Whom its config names (under ``named``) stays aside; then come
            patients that it did not learn from, as far as its record tells, and only then others, which the log says.
    """
    drawn = sorted(folders, key=lambda f: hashlib.sha256(f.name.encode()).hexdigest())
    if pack is None:
        return drawn[:n]
    names = list(read_config(pack).get(named, []))
    aside = sorted((f for f in drawn if f.name in names), key=lambda f: names.index(f.name))[:n]
    others = [f for f in drawn if f not in aside]
    record = read_trained(pack / RECORD)
    seen = record.content if record is not None else frozenset()
    # Reading a CT takes long, so no more are read than are needed.
    new = list(islice((f for f in others if not seen or content_of(f) not in seen), n - len(aside)))
    if new and (record is None or not record.complete):
        log(f"it is not (fully) recorded whom {pack} learned from: {_some(new)}, kept aside now, may be among them")
    again = [f for f in others if f not in new][: n - len(aside) - len(new)]
    if again:
        log(
            f"too few patients that {pack} did not learn from: {_some(again)} are kept aside though it may have, so "
            "what is measured on those kept aside looks better than it is. Add patients"
        )
    return [*aside, *new, *again]


def kept_aside(banks: list[BankPatient]) -> tuple[list[BankPatient], list[BankPatient]]:
    """Patients to train on and patients kept aside, the last ones (of few patients a quarter).

    Raises:
        InputRefusedError: There are too few to do both.
    """
    if len(banks) < FEWEST:
        raise InputRefusedError(
            f"{len(banks)} patient(s) with landmarks (contours of spinal cord and of mandible or brainstem): at least "
            f"{FEWEST} are needed, because some are kept aside to set the threshold of detection on."
        )
    n = of_few(KEPT_ASIDE, len(banks))
    return banks[:-n], banks[-n:]


def aside_last(banks: list[BankPatient], folders: list[Path], pack: Path | None) -> list[BankPatient]:
    """The patients with those last whom ``kept_aside`` is to keep.

    Args:
        folders: Of the patients.
        pack: Model folder whose weights go on learning; where it names nobody, the order stays: the shipped ones were
            measured on the last of the list.
    """
    if pack is None or not read_config(pack).get(KEPT_PATIENTS):
        return banks
    there = {b.patient.patient_id for b in banks}
    aside = set_aside([f for f in folders if f.name in there], of_few(KEPT_ASIDE, len(banks)), pack, KEPT_PATIENTS)
    names = {f.name for f in aside}
    return sorted(banks, key=lambda b: b.patient.patient_id in names)


def names_aside(banks: list[BankPatient]) -> list[str]:
    """Names of those that ``kept_aside`` keeps, for the model's config."""
    return [b.patient.patient_id for b in kept_aside(banks)[1]]


def of_few(wanted: int, of: int) -> int:
    """How many to keep aside: ``wanted``, but of few patients a quarter (at least one): most are to be learned from."""
    return max(0, min(wanted, max(1, of // FEWEST), of - 1))


def _some(folders: list[Path]) -> str:
    more = len(folders) - NAMED
    return ", ".join(f.name for f in folders[:NAMED]) + (f" and {more} more" if more > 0 else "")
