"""Tables into words: conditions, tokens and fields as a clinician would say them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from hnvlm.plan.form import FORM_FIELDS

# Bare fact names of the staging tables -> (words, unit).
_FACT_WORDS = {
    "size_cm": ("greatest dimension", "cm"), "doi_mm": ("depth of invasion", "mm"), "invaded": ("invasion", ""),
    "n_subsites": ("subsites involved", ""), "cord_mobility": ("cord mobility", ""), "in_situ": ("in situ", ""),
    "cords_involved": ("cords involved", ""), "primary_found": ("primary found", ""), "assessable": ("assessable", ""),
    "n_pos": ("involved nodes", ""), "laterality": ("side", ""), "max_node_cm": ("largest node", "cm"),
    "ene_clinical": ("clinically overt extranodal extension", ""), "ene_path": ("extranodal extension in specimen", ""),
    "below_cricoid": ("node below the cricoid", ""), "retropharyngeal_only": ("retropharyngeal nodes only", ""),
    "distant": ("distant metastasis", ""),
}  # fmt: skip
_SPECIAL_TOKENS = {
    "oropharynx_p16_neg": "oropharynx, p16-negative", "oropharynx_p16_pos": "oropharynx, p16-positive",
    "unknown_primary_neck": "unknown primary (table for p16- and EBV-negative disease)",
    "larynx_supraglottis": "larynx, supraglottis",
    "larynx_glottis": "larynx, glottis", "larynx_subglottis": "larynx, subglottis",
    "other_site": "another site (paranasal sinus, skin, ear, thyroid)",
    "thyroid_cartilage_outer": "outer cortex of the thyroid cartilage",
    "thyroid_cartilage_inner": "inner cortex of the thyroid cartilage",
    "esophagus_mucosa": "oesophageal mucosa", "esophagus_muscle": "oesophageal muscle",
    "medial_pyriform": "medial wall of the pyriform sinus", "sublingual_or_fom_mucosa": "floor of mouth mucosa",
    "major_salivary": "major salivary gland", "squamous_cell_carcinoma": "squamous cell carcinoma",
}  # fmt: skip
# What the status of a drug and the strength of an option mean, wherever the words stand alone.
STATUS_MEANING = {
    "drafted": "goes with the treatment drafted",
    "to_choose": "one of several, of which the treatment drafted takes one",
    "alternative": "belongs to another way to treat, instead of the one drafted and not added to it",
    "addition": "belongs to a treatment named here that adds a drug to surgery or to radiotherapy",
    "conditional": "given only if what is said beside it is found",
    "not_eligible": "belongs to a treatment named here, and the form speaks against it",
    "avoid": "named only because the evidence speaks against it",
}  # fmt: skip
STRENGTH_MEANING = {
    "standard": "backed by a guideline or a phase III trial", "option": "acceptable beside the standard",
    "selected": "for selected patients only",
}  # fmt: skip
_OPERATORS = {
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": ":", "ne": "other than", "in": ":", "not_in": "none of",
    "has_any": ":", "has_none": ": none of", "is_true": "", "is_false": "", "missing": "not stated",
    "present": "stated",
}  # fmt: skip
# Staging facts whose question in the form has another id.
_FORM_ID_OF_FACT = {
    "size_cm": "tumour_size_mm", "n_pos": "nodes_n_pos", "laterality": "nodes_laterality",
    "max_node_cm": "nodes_max_mm", "ene_path": "ene_path",
    "tumour.size_cm": "tumour_size_mm", "nodes.max_node_cm": "nodes_max_mm",
}  # fmt: skip


@lru_cache(maxsize=1)
def _labels() -> dict[str, tuple[str, str, str]]:
    """Return form path and bare fact name -> (id, label, unit)."""
    return {f.path: (f.id, f.label, f.unit) for f in FORM_FIELDS}


def question_id(fact: str) -> str:
    """Return the form field that answers a missing fact (``doi_mm``, ``patient.ecog``), else the fact itself."""
    if fact in _FORM_ID_OF_FACT:
        return _FORM_ID_OF_FACT[fact]
    if fact in _labels():
        return _labels()[fact][0]
    last = fact.rsplit(".", 1)[-1]
    return next((f.id for f in FORM_FIELDS if f.path.rsplit(".", 1)[-1] == last), fact)


def sentence(text: str) -> str:
    """Return the text with a capital first letter."""
    # p16 and its like keep their small letter.
    return text if text[1:2].isdigit() else text[:1].upper() + text[1:]


def label(fact: str) -> str:
    """Return a fact's question in the middle of a sentence: small first letter, abbreviations kept."""
    key = question_id(fact)
    if fact == "patient.cisplatin_eligible":
        return "whether cisplatin can be given"
    text = next((f.label for f in FORM_FIELDS if f.id == key), fact)
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def words(token: str) -> str:
    """Return a table token as words: ``oropharynx_p16_neg`` becomes ``oropharynx, p16-negative``."""
    return _SPECIAL_TOKENS.get(token, str(token).replace("_", " "))


def describe_facts(condition: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Return the measured values that a staging condition was judged on: ``greatest dimension 3.1 cm``."""
    found: dict[str, str] = {}
    for part in _leaves(condition):
        value = facts.get(part["f"])
        if part["op"] != "eq" and isinstance(value, (int, float)) and not isinstance(value, bool):
            name, unit = _FACT_WORDS.get(part["f"], (part["f"], ""))
            found[name] = f"{name} {value:g} {unit}".strip()
    return ", ".join(found.values())


def _without_repeated_name(conditions: list[Mapping[str, Any]], parts: list[str]) -> list[str]:
    """``greatest dimension > 2 cm``, ``greatest dimension <= 4 cm``: the second keeps only ``<= 4 cm``."""
    out = parts[:1]
    for before, here, part in zip(conditions, conditions[1:], parts[1:], strict=False):
        name = _name_and_unit(str(here.get("f", "")))[0]
        same = name and here.get("f") == before.get("f")
        out.append(part.removeprefix(name).strip() if same else part)
    return out


def _name_and_unit(fact: str) -> tuple[str, str]:
    """A fact of a condition in words: its question on the form, else the staging tables' name of it."""
    return _labels()[fact][1:] if fact in _labels() else _FACT_WORDS.get(fact, (fact, ""))


def _leaves(condition: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    parts = [condition["not"]] if "not" in condition else condition.get("all") or condition.get("any")
    if parts is None:
        return [condition] if "f" in condition else []
    return [leaf for part in parts for leaf in _leaves(part)]


def describe(condition: Mapping[str, Any]) -> str:
    """Put a condition into words: ``greatest dimension > 2 cm and greatest dimension <= 4 cm``."""
    for word, joint in (("all", " and "), ("any", " or ")):
        if word in condition:
            parts = [describe(c) for c in condition[word]]
            if word == "all":
                parts = _without_repeated_name(condition["all"], parts)
            return joint.join(f"({p})" if word == "all" and " or " in p else p for p in parts)
    if "not" in condition:
        return f"not ({describe(condition['not'])})"
    fact, op = str(condition["f"]), condition["op"]
    name, unit = _name_and_unit(fact)
    value = condition.get("v", "")
    text = ", ".join(words(v) for v in value) if isinstance(value, list) else words(str(value))
    if op == "is_false":
        return f"no {name}"
    joined = " ".join(part for part in (name, _OPERATORS[op], text, unit if text else "") if part)
    return joined.replace(" : ", ": ")
