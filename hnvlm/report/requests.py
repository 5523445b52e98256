"""Sentences a clinician types to ask for an edit of the CT: add a lesion, remove one, or a clear neck.

A request is drawn from a bank of templates and synonyms (``data/requests.yaml``, ``data/vocabulary.yaml``).
Every choice depends on one seed and on the name of what is chosen, never on the finding, so the same seed with
one fact changed gives the same sentence with one fact changed.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any, Literal

from hnvlm.errors import UsageError
from hnvlm.report.vocabulary import (
    Bank,
    RandomLike,
    check_bank,
    choose,
    fill,
    load,
    narrowing_word,
    size_word,
    slots_of,
    vocabulary,
    wordings,
)
from hnvlm.types import AIRWAY_LEVELS, Finding

Op = Literal["add", "remove", "none"]
OPS: tuple[Op, ...] = ("add", "remove", "none")
_DISTRACTOR_SHARE = 0.12
# Of the slots that a removal may leave out, this share is said.
_OPTIONAL_SHARE = 0.4
_NO_ARTICLE = re.compile(r"(?:level|lvl|station)\b", re.IGNORECASE)


@dataclass(frozen=True)
class RequestSpec:
    """One request as data: what it asks and the seed of its wording.

    Attributes:
        op: ``add``, ``remove`` or ``none`` (the text says that the neck is clear).
        finding: The lesion; None for ``none``.
        bank: Which templates and synonyms.
        seed: Fixes every choice of words.
    """

    op: Op
    finding: Finding | None
    bank: Bank
    seed: int

    def _rng(self, name: str) -> random.Random:
        # One generator a slot: changing one fact leaves the words of all others as they were.
        return random.Random(f"{self.seed}:{name}")

    @property
    def template(self) -> str:
        """The template this request uses."""
        return choose(self._rng("template"), templates(self.op, self.finding, self.bank))

    @property
    def text(self) -> str:
        """The sentence (with a clause about something else now and then)."""
        sentence = fill(self.template, self._slots())
        rng = self._rng("distractor")
        if rng.random() < _DISTRACTOR_SHARE:
            extra = choose(rng, load("requests")["distractors"]["held" if self.bank == "held" else "train"])
            if not sentence.endswith((".", "?")):
                sentence += "."
            sentence = f"{sentence} {extra}"
        return sentence

    def labels(self) -> dict[str, Any]:
        """Return the facts the text really states: as ``labels_of``, None where the wording left a fact out."""
        labels = labels_of(self.op, self.finding)
        slots = self._slots()
        used = {name for name in slots_of(self.template) if slots.get(name)}
        if not used & {"tex", "texp", "texw"}:
            labels["texture"] = None
        by_word = self._size_style() == "word"
        if not used & {"size", "mm"} or ("size" in used and by_word):
            labels["size_mm"] = None
        if not used & {"pct", "pct_n"} or ("pct" in used and by_word):
            labels["narrowing_pct"] = None
        if labels["kind"] == "airway" and not used & {"side", "S"}:
            labels["side"] = None
        return labels

    def _size_style(self) -> str:
        return choose(self._rng("size style"), ("mm", "mm", "mm", "mm", "mm", "cm", "cm", "two", "word", "word"))

    def _slots(self) -> dict[str, str]:
        finding = self.finding
        words = vocabulary()
        if finding is None:
            return {
                "m": self._word("m", words["plural_nouns"]["mass"]),
                "n": self._word("n", words["plural_nouns"]["node"]),
            }
        slots = self._airway_slots(finding) if finding.kind == "airway" else self._lesion_slots(finding)
        if self.op == "remove":
            slots = {k: v for k, v in slots.items() if k not in _LEAVE_OUT or self._said(k)}
        return slots

    def _said(self, slot: str) -> bool:
        return self._rng(f"say {slot}").random() < _OPTIONAL_SHARE

    def _word(self, slot: str, entry: dict[str, list[str]]) -> str:
        return choose(self._rng(slot), wordings(entry, self.bank))

    def _lesion_slots(self, finding: Finding) -> dict[str, str]:
        words = vocabulary()
        slots = {
            "noun": self._word("noun", words["nouns"][finding.kind]),
            "abbr": self._word("abbr", words["noun_abbreviations"][finding.kind]),
            "size": _size_text(finding.size_mm, self._size_style(), self.bank, self._rng("size")),
        }
        number_style = self._size_style() if self._size_style() != "word" else "mm"
        slots["mm"] = _size_text(finding.size_mm, number_style, self.bank, self._rng("size")).replace("-m", " m")
        texture = finding.attributes.get("texture")
        if texture is not None:
            for slot, form in (("tex", "adj"), ("texp", "post"), ("texw", "word")):
                slots[slot] = self._word("texture", words["textures"][texture][form])
        entry = words["levels"][finding.level] if finding.kind == "node" else words["sites"][finding.site]
        place = self._word("place", entry)
        side = finding.side
        slots["side"] = self._word("side", words["sides"][side]) if side else ""
        slots["S"] = self._word("S", words["side_abbreviations"][side]) if side else ""
        slots["short"] = place
        slots["attr"] = f"{slots['side']} {place}".strip()
        slots["in"] = self._location(finding, place, slots)
        return slots

    def _location(self, finding: Finding, place: str, slots: dict[str, str]) -> str:
        the = "" if _NO_ARTICLE.match(place) else "the "
        plain = finding.side if finding.side in ("left", "right") else None
        style = choose(self._rng("location"), ("side first", "side first", "side last"))
        if plain and style == "side last":
            # "on the left" is a training wording; the held bank says "on the left-hand side" or "sinistral ...".
            tail = f"on the {plain}" if self.bank != "held" else f"on the {slots['side']} side"
            return f"{'at' if finding.kind == 'node' else 'in'} {the}{place} {tail}"
        if finding.kind == "node":
            return f"in {the}{slots['attr']}"
        return f"in the {slots['attr']}"

    def _airway_slots(self, finding: Finding) -> dict[str, str]:
        words = vocabulary()
        pct = finding.attributes.get("narrowing_pct")
        slots = {"airway": self._word("place", words["airways"][finding.site])}
        if finding.side in ("left", "right"):
            # The noun "side" follows in held templates, so a plain word is needed here.
            slots["side"] = finding.side
            slots["S"] = choose(self._rng("S"), wordings(words["side_abbreviations"][finding.side], self.bank))
        if pct is not None:
            number = f"{round(pct)}%" if self.bank != "held" else f"{round(pct)} percent"
            slots["pct_n"] = number
            slots["pct"] = number
            if self._size_style() == "word":
                slots["pct"] = self._word("pct", words["narrowing_words"][narrowing_word(pct)])
        return slots


_LEAVE_OUT = ("size", "mm", "tex", "pct", "side")


def templates(op: str, finding: Finding | None, bank: str) -> list[str]:
    """Return the templates of a bank for an operation on a kind of finding."""
    if op not in OPS:
        raise UsageError(f"Unknown request '{op}'. Use one of {', '.join(OPS)}.")
    by_kind = load("requests")[check_bank(bank)][op]
    if op == "none":
        return by_kind["any"]
    if finding is None or finding.kind not in ("node", "mass", "airway"):
        kind = "no finding" if finding is None else finding.kind
        raise UsageError(f"A request to {op} needs a node, a mass or an airway narrowing, not {kind}.")
    return by_kind["airway" if finding.kind == "airway" else "lesion"]


def _check(op: str, finding: Finding | None) -> None:
    if op == "none" or finding is None:
        return
    words = vocabulary()
    known = {"node": words["levels"], "mass": words["sites"], "airway": dict.fromkeys(AIRWAY_LEVELS)}
    if finding.kind in known and finding.place not in known[finding.kind]:
        choices = ", ".join(known[finding.kind])
        raise UsageError(f"Requests can name a {finding.kind} at {choices}; not at '{finding.place}'.")


def _size_text(size_mm: float | None, style: str, bank: Bank, rng: random.Random) -> str:
    """Write a size: millimetres, centimetres, two axes (the greatest first) or a word."""
    if size_mm is None:
        return ""
    size = round(size_mm)
    if style == "word":
        return choose(rng, wordings(vocabulary()["size_words"][size_word(size)], bank))
    if style == "cm":
        return f"{size / 10:.1f} {'cm' if bank != 'held' else 'centimetre'}"
    if style == "two" and size >= 6:
        other = round(size * (0.6 + 0.35 * rng.random()))
        return f"{size} x {other} mm" if bank != "held" else f"{size} by {other} mm"
    return f"{size} mm" if bank != "held" or rng.random() < 0.5 else f"{size}-millimetre"


def sample_spec(op: Op, finding: Finding | None, rng: RandomLike, bank: str = "train") -> RequestSpec:
    """Draw a request; ``.text`` is the sentence, ``.labels()`` the facts that this wording states.

    Args:
        op: ``add``, ``remove`` or ``none``.
        finding: A node (level, side, size_mm, texture), mass (site, ...) or airway narrowing; ignored for ``none``.
        rng: ``random.Random`` or ``numpy.random.Generator``.
        bank: ``train``, ``mid`` or ``held``.

    Raises:
        UsageError: For an unknown op, bank, level or site.
    """
    _check(op, finding)
    templates(op, finding, bank)
    if op == "none":
        finding = None
    return RequestSpec(op, finding, check_bank(bank), int(rng.random() * 2**48))


def sample_request(op: Op, finding: Finding | None, rng: RandomLike, bank: str = "train") -> str:
    """Draw the sentence of a request; see ``sample_spec`` for arguments and errors."""
    return sample_spec(op, finding, rng, bank).text


def labels_of(op: Op, finding: Finding | None) -> dict[str, Any]:
    """Return the training labels of a request: op, kind, side, place, size, texture, narrowing.

    Every key is always there; a fact that does not apply is None. ``place`` is the nodal level or the site.
    """
    labels: dict[str, Any] = dict.fromkeys(("op", "kind", "side", "place", "size_mm", "texture", "narrowing_pct"))
    labels["op"] = op
    if op == "none" or finding is None:
        return labels
    labels["kind"] = finding.kind
    labels["side"] = finding.side
    labels["place"] = finding.place
    labels["size_mm"] = finding.size_mm
    labels["texture"] = finding.attributes.get("texture")
    labels["narrowing_pct"] = finding.attributes.get("narrowing_pct")
    return labels
