"""Structure names of clinics -> TG-263 names (AAPM TG-263, Mayo et al. 2018, doi 10.1016/j.ijrobp.2017.12.013)."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

# Organ as ASCII letters only, lower case, without side -> TG-263 base name. German, Polish and Latin words that
# clinics write are included; anything not listed stays unmapped and is reported as such.
_ORGANS = {
    "Brainstem": "brainstem brstem brainstm bstem truncus truncuscerebri hirnstamm stammhirn pienmozgu pienmozg stem",
    "SpinalCord": "spinalcord cord spinal myelon spcord sc scord medullaspinalis rueckenmark rdzen rdzenkregowy "
    "rdzenkr",
    # Wider than the cord: its limits are not the cord's.
    "SpinalCanal": "spinalcanal canalspinal vertebralcanal kanalkregowy spinalkanal wirbelkanal",
    "Esophagus": "esophagus oesophagus esoph oesoph esophag eso przelyk speiseroehre",
    "Larynx": "larynx laryngx krtan kehlkopf",
    "Bone_Mandible": "mandible bonemandible mandibula mand jaw lowerjaw unterkiefer zuchwa bonemand",
    "Cavity_Oral": "cavityoral oralcavity oral oralcav mouth jamaustna mundhoehle",
    "Musc_Constrict": "muscconstrict pharynxconst pharyngealconstrictor pharynxconstrictor pcm constrictor "
    "constrictors musconstrict zwieraczegardla zwieraczgardla",
    "Brain": "brain cerebrum mozg gehirn",
    "Glnd_Thyroid": "thyroid glndthyroid thyroidgland tarczyca schilddruese",
    "Trachea": "trachea tchawica luftroehre",
    "OpticChiasm": "opticchiasm chiasm chiasma opticchiasma skrzyzowaniewzrokowe skrzyzowanienerwowwzrokowych "
    "skrzyzowanie skrzyzowanienwzrokowych skrzyzowanienwzrok skrzyznwzrok",
    "Pituitary": "pituitary hypophysis pituitarygland przysadka",
    "Lips": "lips lip wargi",
    # The skin is a shell within it and an organ with limits of its own.
    "External": "external body outline patient cialo obrys obrysciala",
}
_PAIRED = {
    "Parotid": "parotid parotis glndparotid parotidgland parotidglnd par ohrspeicheldruese "
    "glparotis glandparotis glandulaparotis glparotidea glandulaparotidea",
    "Glnd_Submand": "submandibular submand glndsubmand submandibulargland smg submandib submandibula glandsubmand "
    "submandibularis glsubmandibularis glandulasubmandibularis unterkieferspeicheldruese",
    "Eye": "eye globe bulbus eyeball auge",
    "Lens": "lens lense linse augenlinse",
    "OpticNrv": "opticnrv opticnerve optnerve nopticus optic sehnerv",
    "Cochlea": "cochlea innerear innenohr",
    "Lung": "lung pulmo lunge",
    "BrachialPlex": "brachialplex brachialplexus plexus",
    "Lobe_Temporal": "lobetemporal temporallobe templobe",
}
# Here a P is the right side (prawa); in other languages it is none.
_POLISH_PAIRED = {
    "Parotid": "przyusznica slinianka sliniankaprzyuszna slinankaprzyuszna slprzyuszna przyuszna",
    "Glnd_Submand": "sliniankapodzuchwowa podzuchwowa slpodzuchwowa",
    "Eye": "oko galkaoczna",
    "Lens": "soczewka",
    "OpticNrv": "nerwwzrokowy nwzrokowy nwzrok",
    "Cochlea": "slimak uchowewnetrzne uchowewn",
    "Lung": "pluco",
    "BrachialPlex": "splotbarkowy splotramienny",
    "Lobe_Temporal": "platskroniowy",
}
_TABLES = (_ORGANS, _PAIRED, _POLISH_PAIRED)
_KEYS = {word: name for table in _TABLES for name, words in table.items() for word in words.split()}
_POLISH = {word for words in _POLISH_PAIRED.values() for word in words.split()}
_SIDES = {
    "l": "L", "lt": "L", "left": "L", "li": "L", "links": "L", "sin": "L", "sinistra": "L", "lewa": "L", "lewy": "L",
    "lewe": "L",
    "r": "R", "rt": "R", "right": "R", "re": "R", "rechts": "R", "dex": "R", "dextra": "R", "prawa": "R", "prawy": "R",
    "prawe": "R",
}  # fmt: skip
_LETTERS = str.maketrans(
    {"ł": "l", "Ł": "L", "ä": "ae", "ö": "oe", "ü": "ue", "Ä": "AE", "Ö": "OE", "Ü": "UE", "ß": "ss"}
)
# Parts of the constrictor muscle, each with limits of its own: the word for the part stands first or last.
_CONSTRICTOR = "Musc_Constrict"
_PARTS = {
    "s": "S", "sup": "S", "superior": "S", "m": "M", "mid": "M", "middle": "M", "medius": "M",
    "i": "I", "inf": "I", "inferior": "I",
}  # fmt: skip
# An organ with a margin that is stated in mm: PRV5, PRV05, PRV_5mm. One without a stated margin is of any.
_PRV = re.compile(r"(.+?)[\s_-]*(?<![a-z])prv[\s_-]*(0?\d|10)\s*(?:mm)?", re.IGNORECASE)
_LEAST_MARGIN_MM = 3  # below, a number counts volumes
# A structure made from an organ is another structure: it must never be taken for the organ itself.
_DERIVED = re.compile(
    r"prv|(?:^|[^a-z])(?:opt|avoid|ring|minus|sub|eval|exp|help|dummy|old|test)(?:$|[^a-z])|[+]|\bexpand|\d\s*mm|[-]\s*ptv",
    re.IGNORECASE,
)
# Type, classifier of TG-263 (p primary, n nodal) with its number, dose, and a side, which clinics put last.
_TARGET = re.compile(
    r"^(ptv|ctv|gtv|itv)(?:[\s_-]*([pn](?:\d(?=[\s_-]))?))?[\s_-]*(?:dp[\s_-]*)?(\d{2,4})(?:[.,](\d{1,2}))?"
    r"[\s_-]*(c?gy)?(?:[\s_-]*(" + "|".join(sorted(_SIDES, key=len, reverse=True)) + r"))?$",
    re.IGNORECASE,
)
# Without a unit the number in a target's name is a dose from here on and a count below: clinics number their targets
# PTV 01, PTV 02 ..., and who means a dose as low as that had better say so.
LOWEST_CGY, LOWEST_GY = 1000, 20
# GTV, GTVp, GTV-1, iGTV, GTV_7000: nobody but the clinic says where the tumour is.
_GROSS_TUMOUR = re.compile(r"^i?gtv", re.IGNORECASE)
# What follows GTV in the name of a primary, and of nodes; German and Polish words included.
_PRIMARY = re.compile(r"^i?gtv[\s_-]*(?:p|t|prim[a-z]*|tumou?r|guz[a-z]*)(?![a-z])", re.IGNORECASE)
_NODES = re.compile(
    r"^i?gtv[\s_-]*(?:n|ln|lns|lk|nd|node|nodes|nodal|lymph[a-z]*|wezl?[a-z]*|wez)(?![a-z])", re.IGNORECASE
)
NOT_STRUCTURES = ("ct", "dose", "possible_dose_mask")


def to_tg263(name: str) -> str | None:
    """TG-263 name of a clinic's structure name, or None when it is not surely one of the known ones.

    Case, separators and side words do not matter: "Lt Parotid", "parotid_l" and "LeftParotid" are Parotid_L.
    Targets with a dose become e.g. PTV_7000 (cGy), PTVn_6300 or PTV_7000_L, cord and brainstem with a margin in mm
    e.g. SpinalCord_PRV05; numbered targets (PTV_01) and helpers (PRV of any margin, rings, opt) are not mapped.
    """
    name = _in_ascii(name.strip())
    target = _TARGET.match(name)
    if target:
        return _target_name(*target.groups())
    if margin := _PRV.fullmatch(name):
        return _with_margin(*margin.groups())
    if _DERIVED.search(name):
        return None
    tokens = [t.lower() for t in re.findall(r"[A-Z]+(?=[A-Z][a-z]|$|[^A-Za-z])|[A-Z]?[a-z]+|\d+", name)]
    if not tokens or any(t.isdigit() for t in tokens):
        return None
    sides = {_SIDES[t] for t in tokens if t in _SIDES}
    key = "".join(t for t in tokens if t not in _SIDES)
    if len(sides) > 1:
        return None
    side = sides.pop() if sides else None
    if part := _constrictor_part(tokens):
        return part
    if side is None and (polish := _without_polish_right(tokens)):
        key, side = polish, "R"
    if key not in _KEYS and side is None:
        key, side = _glued_side(key)
    base = _KEYS.get(key)
    if base is None:
        return None
    if base in _PAIRED:
        return f"{base}_{side}" if side else None
    return None if side else base


def is_gross_tumour(name: str) -> bool:
    """Whether a clinic's structure of this name holds gross disease itself, and is no helper made from it (a ring)."""
    return _GROSS_TUMOUR.match(name.strip()) is not None and not _DERIVED.search(_in_ascii(name.strip()))


def gross_kind(name: str) -> Literal["mass", "node"] | None:
    """Whether a gross tumour volume is the primary's (GTVp, GTV-T) or of nodes (GTVn), or None when its name is silent.

    TG-263's classifiers of targets are p (primary) and n (nodal).
    """
    name = _in_ascii(name.strip())
    if _PRIMARY.match(name):
        return "mass"
    return "node" if _NODES.match(name) else None


def _with_margin(organ: str, margin_mm: str) -> str | None:
    """SpinalCord_PRV05 of "Cord" and "5"; None where the organ is not surely known or of a pair."""
    base = to_tg263(organ)
    return f"{base}_PRV{int(margin_mm):02d}" if base in _ORGANS and int(margin_mm) >= _LEAST_MARGIN_MM else None


def _constrictor_part(tokens: list[str]) -> str:
    """Musc_Constrict_S of a constrictor muscle that is called superior, middle or inferior; "" for any other name."""
    for part, rest in ((tokens[-1], tokens[:-1]), (tokens[0], tokens[1:])):
        if part in _PARTS and _KEYS.get("".join(rest)) == _CONSTRICTOR:
            return f"{_CONSTRICTOR}_{_PARTS[part]}"
    return ""


def _without_polish_right(tokens: list[str]) -> str:
    """A paired organ in Polish whose side is said by a P, without it; "" for any other name."""
    key = "".join(tokens)
    for rest in ("".join(t for t in tokens if t != "p"), key.removesuffix("p")):
        if rest != key and rest in _POLISH:
            return rest
    return ""


def _in_ascii(name: str) -> str:
    """Letters without marks, as they are written where a keyboard has none: Rdzen, Rueckenmark."""
    composed = unicodedata.normalize("NFC", name).translate(_LETTERS)
    return "".join(c for c in unicodedata.normalize("NFD", composed) if not unicodedata.combining(c))


def _glued_side(key: str) -> tuple[str, str | None]:
    """Side letters without a separator: "parotidl", "ltparotid"."""
    for word in sorted(_SIDES, key=len, reverse=True):
        if key.endswith(word) and _KEYS.get(key[: -len(word)]) in _PAIRED:
            return key[: -len(word)], _SIDES[word]
        if key.startswith(word) and _KEYS.get(key[len(word) :]) in _PAIRED:
            return key[len(word) :], _SIDES[word]
    return key, None


def _target_name(
    kind: str, classifier: str | None, digits: str, decimals: str | None, unit: str | None, side: str | None
) -> str | None:
    """Dose digits to TG-263's cGy: 70 -> 7000, 5940 -> 5940, 59.4 -> 5940; 700 is nobody's dose in Gy or cGy.

    Small numbers count targets: PTV_01 is the first of them, not one of 1 Gy. With a unit any number is a dose.
    """
    if len(digits) == 4 or (unit or "").lower() == "cgy":
        if int(decimals or 0):  # nobody prescribes parts of a cGy
            return None
        dose = int(digits)
    elif len(digits) == 2:
        dose = round(float(f"{digits}.{decimals or 0}") * 100)
    else:
        return None
    if not unit and dose < (LOWEST_CGY if len(digits) == 4 else LOWEST_GY * 100):
        return None
    suffix = f"_{_SIDES[side.lower()]}" if side else ""
    return f"{kind.upper()}{(classifier or '').lower()}_{dose:04d}{suffix}"
