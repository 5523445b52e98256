"""The clinical form: what CT cannot show. Declared in data, validated here, never inferred."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hnvlm.errors import UsageError
from hnvlm.plan.kb import load_kb, read_table

UNKNOWN = "unknown"
_YES = frozenset({"yes", "y", "true", "1", "present"})
_NO = frozenset({"no", "n", "false", "0", "absent"})
_EMPTY = frozenset({"", UNKNOWN, "not known", "n/a", "na", "none stated", "not stated", "?"})
_SIGNS = {
    "pos": "positive",
    "+": "positive",
    "p16+": "positive",
    "neg": "negative",
    "-": "negative",
    "p16-": "negative",
}


@dataclass(frozen=True)
class FormField:
    """One question of the form.

    Attributes:
        id: Key in the form's dict.
        path: Dotted place of the answer in the case that the tables' conditions read.
        type: ``choice``, ``multi`` (list of choices), ``number``, ``integer``, ``yes_no`` or ``text``.
        choices: Allowed answers of ``choice``, ``multi`` and ``yes_no``, ``unknown`` included.
        unit: Unit of a number, "" for a count or grade.
        minimum: Smallest answer that is accepted, in ``unit``.
        maximum: Largest one.
        pattern: Regular expression of a text answer.
        help: One line for the user.
        group: Heading under which the form shows it.
        changes: What the plan would do differently if the answer were known.
        ct: Whether CT findings fill it when the form does not.
        aliases: Other keys that mean this field in a clinical file.
        sites: Primary sites at which it is asked; empty: at every one.
        asked_until_age: Years up to which the plan asks for an answer that is missing (an answer counts at every age).
    """

    id: str
    path: str
    label: str
    type: str
    group: str
    choices: tuple[str, ...] = ()
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    pattern: str = ""
    help: str = ""
    changes: str = ""
    ct: bool = False
    aliases: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    asked_until_age: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()}


def _load_fields() -> tuple[FormField, ...]:
    fields = []
    for raw in read_table("form")["fields"]:
        raw = dict(raw)
        kind, choices = raw["type"], tuple(raw.pop("choices", ()))
        if raw.pop("choices_from", None) == "structures":
            choices = ("none", *load_kb()["staging"]["structures"], UNKNOWN)
        if kind == "yes_no":
            choices = ("yes", "no", UNKNOWN)
        aliases, sites = (tuple(raw.pop(key, ())) for key in ("aliases", "sites"))
        minimum, maximum = raw.pop("min", None), raw.pop("max", None)
        fields.append(FormField(choices=choices, minimum=minimum, maximum=maximum, aliases=aliases, sites=sites, **raw))
    return tuple(fields)


FORM_FIELDS: tuple[FormField, ...] = _load_fields()
_BY_ID = {f.id: f for f in FORM_FIELDS}
_BY_PATH = {f.path: f for f in FORM_FIELDS}
# `patient.ecog` -> also `ecog`: people write clinical files by hand.
_BY_LAST = {f.path.rsplit(".", 1)[-1]: f for f in reversed(FORM_FIELDS)}
_BY_ALIAS = {alias: f for f in FORM_FIELDS for alias in f.aliases}


def questions_asked(form: Mapping[str, Any]) -> tuple[FormField, ...]:
    """Return the questions that a case is asked: those of its stated site, and whatever was answered already.

    Args:
        form: Answers in the shape of ``validate_form``. Without a site every question may matter.
    """
    site = form.get("site")
    return tuple(f for f in FORM_FIELDS if site is None or not f.sites or site in f.sites or f.id in form)


def form_field(key: str) -> FormField:
    """Return the field a key means: id, case path, alias or the path's last word. UsageError suggests near names."""
    found = _BY_ID.get(key) or _BY_PATH.get(key) or _BY_ALIAS.get(key) or _BY_LAST.get(key)
    if found is None:
        near = difflib.get_close_matches(key, list(_BY_ID), n=3)
        hint = f" Did you mean {', '.join(near)}?" if near else f" Known fields: {', '.join(_BY_ID)}."
        raise UsageError(f"The clinical form has no field {key!r}.{hint}")
    return found


def validate_form(form: Mapping[str, Any] | None) -> dict[str, Any]:
    """Check a filled-in form and bring it to one shape.

    Args:
        form: Field id (or case path, flat or nested) to answer. Absent, None, "" and "unknown" all mean unknown.
            Yes/no questions take booleans or yes/no; numbers may be text ("62"), without their unit.

    Returns:
        Field id to answer, answered fields only: str, float, int, bool, or a list of str (``["none"]`` where the
        answer is that there is none). Validating it again changes nothing.

    Raises:
        UsageError: Unknown field, two answers to one field, or an answer outside its choices or bounds. The
            message names the field and says what is accepted.
    """
    if form is None:
        return {}
    if not isinstance(form, Mapping):
        raise UsageError('The clinical form must be a mapping of field to answer, such as {"ecog": 1}.')
    answers: dict[str, Any] = {}
    for key, value in _flatten(form):
        question = form_field(key)
        answer = _answer(question, value)
        if answer is None:
            continue
        if question.id in answers and answers[question.id] != answer:
            raise UsageError(
                f"{question.label} ({question.id}) is answered twice: {answers[question.id]} and {answer}."
            )
        answers[question.id] = answer
    return answers


def _flatten(form: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in form.items():
        name = f"{prefix}{key}"
        flat.extend(_flatten(value, f"{name}.") if isinstance(value, Mapping) else [(name, value)])
    return flat


def _answer(question: FormField, value: Any) -> Any:
    """Return the validated answer, or None when it is unknown."""
    if value is None or (isinstance(value, str) and value.strip().lower() in _EMPTY):
        return None
    if question.type == "multi":
        return _multi(question, value)
    if question.type in ("number", "integer"):
        return _number(question, value)
    if isinstance(value, bool):
        value = "yes" if value else "no"
    text = str(value).strip()
    if question.type == "text":
        if not re.fullmatch(question.pattern, text):
            raise UsageError(f"{question.label} ({question.id}): {text!r} is not valid. {question.help}.")
        return text
    if question.type == "yes_no":
        if text.lower() in _YES:
            return True
        if text.lower() in _NO:
            return False
        raise UsageError(f"{question.label} ({question.id}): answer yes, no or unknown, not {text!r}.")
    return _choice(question, text)


def _choice(question: FormField, text: str) -> str | None:
    wanted = _SIGNS.get(text.lower(), text).lower().replace(" ", "_").replace("-", "_")
    for choice in question.choices:
        if choice.lower() == wanted or choice.lower().replace("_", "") == wanted.replace("_", ""):
            return None if choice == UNKNOWN else choice
    raise UsageError(
        f"{question.label} ({question.id}): {text!r} is not one of the choices. Choose {', '.join(question.choices)}."
    )


def _multi(question: FormField, value: Any) -> list[str] | None:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple, set, frozenset)):
        raise UsageError(f"{question.label} ({question.id}): give a list of choices, not {value!r}.")
    chosen = [_choice(question, str(item).strip()) for item in items]
    known = [c for c in dict.fromkeys(chosen) if c is not None]
    if "none" in known and len(known) > 1:
        others = ", ".join(c.replace("_", " ") for c in known if c != "none")
        raise UsageError(f"{question.label} ({question.id}): none cannot stand beside {others}; take one of them out.")
    return known or None


def _number(question: FormField, value: Any) -> float | int:
    where = f"{question.label} ({question.id})"
    unit = f" {question.unit}" if question.unit else ""
    if isinstance(value, bool):
        raise UsageError(f"{where}: give a number{' in' + unit if unit else ''}, not yes or no.")
    try:
        number = float(str(value).strip().replace(",", "."))
    except ValueError:
        raise UsageError(f"{where}: {value!r} is not a number{' in' + unit if unit else ''}.") from None
    low, high = question.minimum, question.maximum
    if not (low is None or number >= low) or not (high is None or number <= high):
        raise UsageError(f"{where}: {value} is outside {low} to {high}{unit}; check the value and its unit.")
    if question.type == "integer":
        if number != int(number):
            raise UsageError(f"{where}: give a whole number, not {value}.")
        return int(number)
    return number
