"""Sessions in which clinicians rate AI drafts: which drafts, in which order, what was answered, and how far they agree.

A rating is a result of the case, one chain for each draft and rater, saved with every answer: a closed tab loses
nothing, and a session goes on where it stopped.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hnvlm import __version__
from hnvlm.errors import UsageError
from hnvlm.services.context import App
from hnvlm.services.documents import ai_draft
from hnvlm.store import CaseRecord, ResultRecord, dumps

FORM = Path(__file__).parent / "data" / "rating.yaml"
KIND = "rating"
SCALE = (1, 2, 3, 4, 5)
# Errors of one kind in one draft; more is a slip of the keyboard.
MOST_ERRORS = 50
LONGEST_COMMENT = 4000
# Agreement of fewer drafts than these says nothing.
FEWEST_IN_COMMON = 2
# Resampling the drafts that two raters share; of fewer, an interval tells nothing.
FEWEST_FOR_INTERVAL, DRAWS, SEED = 5, 1000, 9173
# How spellings of a name become one person (``person``): 1 by capitals and spaces, 2 without titles, too. What was
# saved under an earlier one knew nothing of answers that are the same person's now.
FOLDING = 2
# Words before or after a name. Points inside are told: "M.D." is a title, "M.R." and "D.R." are initials.
_DEGREES = (
    r"dr|prof|m\.?d|ph\.?\s?d|d\.?phil|m\.?sc|dsc|mph|mba|mbbs|mbchb|bds|dds|dmd|f\.?r\.?c\.?r|frcs|frcp|frcpc|mrcp|mrcs"
    r"|facr|facs|fastro|dabr"
)
_DEGREE = rf"(?:{_DEGREES})\.?"
# Of these some are surnames: titles before a name only (Susan Dent, Anna Lek).
_TITLE = (
    r"(?:doctor|doktor|professor|profesor|doc|docent|hab|habil|lek|lekarz|mgr|inż|n\.?\s*med|med|dent|mr|mrs|ms|miss"
    rf"|{_DEGREES})\.?"
)
_TITLES = re.compile(rf"^(?:{_TITLE}[\s,]+)+|(?:[\s,]+{_DEGREE})+$", re.IGNORECASE)
_ONLY_TITLES = re.compile(rf"{_TITLE}(?:[\s,]+{_TITLE})*", re.IGNORECASE)
# What is rated in one go: a draft, or the two texts of a comparison.
Rated = tuple[ResultRecord, ...]


@dataclass(frozen=True)
class Question:
    """One question about a draft.

    Attributes:
        type: ``scale`` (1 to 5), ``choice`` or ``count`` (of errors; significant and insignificant are two questions).
        choices: Value to words, in order; of a scale its two ends.
        source: Document that the question or its scale comes from, "" where it is our own.
    """

    id: str
    label: str
    type: str
    choices: Mapping[str, str]
    source: str = ""


@dataclass(frozen=True)
class Item:
    """One draft to rate and what this rater answered so far.

    Attributes:
        newer: The case has a newer AI draft, which says something else.
    """

    case: CaseRecord
    draft: ResultRecord
    answers: Mapping[str, Any]
    seconds: float
    complete: bool
    newer: bool

    @property
    def id(self) -> int:
        """Tells it from the other drafts of the session."""
        return self.draft.id


@cache
def table() -> dict[str, Any]:
    """What is rated, what is asked of it and where the questions come from."""
    return yaml.safe_load(FORM.read_text(encoding="utf-8"))


def tasks() -> dict[str, str]:
    """What can be rated: key to words."""
    return {key: task["label"] for key, task in table()["tasks"].items()}


@cache
def questions(task: str) -> tuple[Question, ...]:
    """The questions of a task, in order.

    Raises:
        UsageError: No such task.
    """
    if task not in table()["tasks"]:
        raise UsageError(f"{task!r} cannot be rated; choose {', '.join(tasks())}.")
    out = []
    for raw in table()["questions"][table()["tasks"][task]["questions"]]:
        source = table()["sources"].get(raw.get("source"), {}).get("document", "")
        if raw["type"] == "scale":
            choices = {str(v): "" for v in SCALE} | dict(zip(("1", "5"), raw["ends"], strict=True))
        else:
            choices = raw.get("choices", {})
        if raw["type"] == "count":
            for weight in ("significant", "insignificant"):
                name = f"{raw['label']}, {weight}"
                out.append(Question(f"{raw['id']}_{weight}", name, "count", {}, source))
        else:
            out.append(Question(raw["id"], raw["label"], raw["type"], choices, source))
    return tuple(out)


def items(app: App, task: str, rater: str, *, on_screen: int | None = None) -> list[Item]:
    """One AI draft of each case (``due``), in an order of this rater's own that stays the same when drafts are added.

    What a clinician edited or wrote is never among them.

    Args:
        on_screen: Id of the draft that this rater has before them, which stays there.
    """
    found = []
    for case in app.store.list_cases():
        drafts = [(draft,) for draft in ai_drafts(app.store.history(case.id, *chain(task)))]
        if drafts:
            shown = next((one for one in drafts if one[0].id == on_screen), None)
            (draft,), kept, newer = due(app, task, rater, drafts, shown)
            found.append(Item(case, draft, kept.get("answers", {}), kept.get("seconds", 0.0),
                              bool(kept.get("complete")), newer))  # fmt: skip
    who = person(rater)
    return sorted(found, key=lambda item: hashlib.sha256(f"{who}|{task}|{item.draft.id}".encode()).digest())


def ai_drafts(versions: Sequence[ResultRecord]) -> list[ResultRecord]:
    """Those of the versions that a model or the rules wrote, without those that also tell what a clinician decided."""
    return [version for version in versions if ai_draft([version]) and not version.payload.get("as_decided")]


def due(
    app: App, task: str, rater: str, offered: Sequence[Rated], shown: Rated | None = None
) -> tuple[Rated, Mapping[str, Any], bool]:
    """Which of the drafts of a case, or of its pairs of texts, this rater has to rate.

    A draft that is made meanwhile takes nothing away: what is on their screen stays there, and what they began last is
    theirs until it is complete. Else it is the newest. Of drafts of the same words it is the one that they rated, at
    first the oldest, so that all raters rate the same one.

    Args:
        offered: All there is of one case, oldest first.
        shown: The one of them that is on the screen.

    Returns:
        Which it is, what this rater answered about it ({} before), and whether the newest one says something else.
    """
    given = _of_person(app, offered[-1][0].case_id, task, rater)
    kept = [given.get(_about(task, *one), {}) for one in offered]
    begun = [n for n, rating in enumerate(kept) if rating.get("answers")]
    same = [n for n, one in enumerate(offered) if _texts(one) == _texts(offered[-1])]
    if shown is not None:
        at = offered.index(shown)
    elif begun and not kept[begun[-1]]["complete"]:
        at = begun[-1]
    else:
        at = max(same, key=lambda n: (bool(kept[n].get("complete")), bool(kept[n].get("answers"))))
    return offered[at], kept[at], at not in same


def _texts(rated: Rated) -> list[str]:
    return [str(result.payload["text"]) for result in rated]


def answer(
    app: App, task: str, draft: ResultRecord, rater: str, question_id: str, value: Any, *, seconds: float
) -> None:
    """Store one answer beside those given before; None takes it back.

    Args:
        seconds: How long this rater has had the draft before them, all sittings together.

    Raises:
        UsageError: No name was given, or the question or its answer does not exist.
    """
    if not rater.strip():
        raise UsageError("Give your name first: every rating has one.")
    answers = changed(stored(app, task, rater, draft), task, question_id, value)
    payload = {
        "task": task, "draft": draft.id, "draft_version": draft.version, "rater": rater.strip(),
        "person": person(rater), "folding": FOLDING, "answers": answers, "seconds": round(float(seconds), 1),
        "complete": not missing(task, answers), "app_version": __version__,
        "text_sha256": sha256(draft.payload["text"]), "made_by": draft.provenance,
    }  # fmt: skip
    app.store.save_result(draft.case_id, KIND, payload, slot=slot(task, rater, draft), who=rater.strip())


def missing(task: str, answers: Mapping[str, Any]) -> list[str]:
    """Labels of the questions that are still to be answered; errors that were not counted are none."""
    return [q.label for q in questions(task) if q.type != "count" and q.id not in answers]


def ratings(app: App, task: str) -> list[dict[str, Any]]:
    """Every rating of a task as it stands, of all raters, with its case: complete ones and begun ones.

    ``result`` is the id of the rating in the store. Of one person there is one rating of a draft, however the name was
    spelled.
    """
    out = []
    for case in app.store.list_cases():
        given = [r for r in app.store.history(case.id, KIND) if r.payload.get("task") == task]
        out += [{"case": case.id, "result": r.id, "rated": r.created, **r.payload} for r in _standing(given)]
    return out


def raters(app: App) -> list[str]:
    """Everybody who rated or compared anything so far, once each, in alphabetical order: names as last spelled."""
    given = (record for case in app.store.list_cases() for record in app.store.history(case.id, KIND))
    names = [record.payload["rater"] for record in sorted(given, key=lambda record: record.id)]
    last = {person(name): name for name in names}
    return [last[who] for who in sorted(last)]


def first_rated(app: App, case_id: str, task: str, draft: int, text_sha256: str) -> dict[str, int]:
    """Return who rated a draft, or another one of the same words: person -> id of their first answer in the store."""
    out: dict[str, int] = {}
    for kept in app.store.history(case_id, KIND):
        rated = kept.payload
        if rated.get("task") == task and (rated["draft"] == draft or rated.get("text_sha256") == text_sha256):
            out.setdefault(person(rated["rater"]), kept.id)
    return out


def as_csv(app: App, task: str) -> str:
    """All ratings of a task as a table: one row for each draft and rater, one column for each question."""
    asked = [q.id for q in questions(task)]
    head = ["case", "task", "draft", "draft_version", "rater", "complete", "rated", "seconds", "app_version",
            "text_sha256", "made_by", *asked, "comment"]  # fmt: skip
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(head)
    counts = {q.id for q in questions(task) if q.type == "count"}
    for row in ratings(app, task):
        answers = {**(dict.fromkeys(counts, 0) if row["complete"] else {}), **row["answers"]}
        cells = {**row, **answers, "made_by": dumps(row["made_by"])}
        table.writerow([cell(cells.get(name, "")) for name in head])
    return out.getvalue()


def as_json(app: App, task: str) -> str:
    """All ratings of a task with the questions that were asked."""
    asked = [vars(q) | {"choices": dict(q.choices)} for q in questions(task)]
    return dumps({"task": task, "questions": asked, "ratings": ratings(app, task)})


def summary(app: App, task: str) -> list[dict[str, Any]]:
    """What the complete ratings say of each question.

    Returns:
        For each scale ``id``, ``label``, ``n`` (ratings), ``raters``, ``mean`` and ``agreement``: for each pair of
        raters who rated the same drafts their names as they last spelled them, their quadratic-weighted kappa
        (Cohen 1968), ``n`` drafts in common and its 95 % interval by resampling the drafts (None of fewer than five).
        Kappa is None where both raters gave one and the same answer throughout: chance agreement is then complete and
        it is undefined.
    """
    done = sorted((row for row in ratings(app, task) if row["complete"]), key=lambda row: row["result"])
    names = {person(row["rater"]): row["rater"] for row in done}
    out = []
    for question in questions(task):
        if question.type != "scale":
            continue
        # Of drafts with the same words each rater may have rated another one.
        given = {
            ((row["case"], row["text_sha256"]), person(row["rater"])): int(row["answers"][question.id]) for row in done
        }
        raters = sorted({rater for _, rater in given})
        pairs = [_pair(given, a, b) | {"raters": [names[a], names[b]]} for a, b in itertools.combinations(raters, 2)]
        out.append(
            {
                "id": question.id, "label": question.label, "n": len(given), "raters": len(raters),
                "mean": float(np.mean(list(given.values()))) if given else None,
                "agreement": [pair for pair in pairs if pair["n"] >= FEWEST_IN_COMMON],
            }
        )  # fmt: skip
    return out


def kappa(first: Sequence[int], second: Sequence[int]) -> float | None:
    """Quadratic-weighted kappa of two raters; None where it is undefined."""
    found = float(kappas(np.array([first], float), np.array([second], float))[0])
    return None if np.isnan(found) else found


def kappas(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Quadratic-weighted kappa of each row of answers (draws, n) of two raters, NaN where all answers are the same.

    One less the mean squared difference over the one that is expected of answers paired by chance (Cohen, Psychological
    Bulletin 70 (1968) 213-220). All draws at once: one after the other they took half a minute of a page.
    """
    by_chance = (first**2).mean(1) + (second**2).mean(1) - 2 * first.mean(1) * second.mean(1)
    same = (first == first[:, :1]).all(1) & (second == first[:, :1]).all(1)
    return 1 - ((first - second) ** 2).mean(1) / np.where(same, np.nan, by_chance)


def _pair(given: Mapping[tuple[tuple[str, str], str], int], a: str, b: str) -> dict[str, Any]:
    common = sorted({draft for draft, rater in given if rater == a} & {draft for draft, rater in given if rater == b})
    first, second = ([given[draft, rater] for draft in common] for rater in (a, b))
    found = kappa(first, second) if len(common) >= FEWEST_IN_COMMON else None
    return {"n": len(common), "kappa": found, "interval": _interval(first, second)}


def _interval(first: Sequence[int], second: Sequence[int]) -> list[float] | None:
    if len(first) < FEWEST_FOR_INTERVAL:
        return None
    rng = np.random.default_rng(SEED)
    draws = np.stack([rng.integers(len(first), size=len(first)) for _ in range(DRAWS)])
    found = kappas(np.array(first, float)[draws], np.array(second, float)[draws])
    defined = found[~np.isnan(found)]
    # Kappa is undefined in draws of equal answers; with many such left out, the rest is no sample of all draws.
    return [float(v) for v in np.percentile(defined, [2.5, 97.5])] if len(defined) >= 0.9 * DRAWS else None


def chain(task: str) -> tuple[str, str]:
    """Kind and slot of the drafts of a task; of a comparison those of the texts compared."""
    questions(task)
    kind, _, of_kind = table()["tasks"][task].get("compares", task).partition("-")
    return kind, of_kind


@lru_cache(maxsize=1024)  # every rating of a case is asked for its own, each time the page runs
def person(name: str) -> str:
    """Whose name this is: titles, upper and lower case and the number of spaces tell nobody apart."""
    return untitled(name).casefold()


def untitled(name: str) -> str:
    """A name without the titles before and after it; one of nothing but titles stays as it is."""
    name = " ".join(name.split()).strip(", ")
    return name if _ONLY_TITLES.fullmatch(name) else _TITLES.sub("", name)


def sha256(text: Any) -> str:
    """The hash by which a text is known again."""
    return hashlib.sha256(str(text).encode()).hexdigest()


def slot(task: str, rater: str, *rated: ResultRecord) -> str:
    """The chain of one rater's answers about one draft, or about several results together."""
    # The name itself stands in the rating.
    return f"{_about(task, *rated)}.{sha256(person(rater))[:12]}"


def stored(app: App, task: str, rater: str, *rated: ResultRecord) -> dict[str, Any]:
    """What this rater answered about a draft so far, with the seconds spent; {} before the first answer."""
    return _of_person(app, rated[0].case_id, task, rater).get(_about(task, *rated), {})


def _of_person(app: App, case_id: str, task: str, rater: str) -> dict[str, dict[str, Any]]:
    """All that one person answered about a case: which draft or texts (``_about``) -> the rating that stands."""
    who, given = person(rater), app.store.history(case_id, KIND)
    own = [r for r in given if r.payload.get("task") == task and person(r.payload["rater"]) == who]
    return {_whose(record)[0]: record.payload for record in _standing(own)}


def _about(task: str, *rated: ResultRecord) -> str:
    return f"{task}.{'-'.join(str(r.id) for r in rated)}"


def _standing(given: Sequence[ResultRecord]) -> list[ResultRecord]:
    """Of answers of all raters and drafts, oldest first, those that stand: of one person one of each draft.

    What is saved now goes on from all that this person answered before, so the newest of it stands. Earlier, two
    spellings of a name that are one person's by now (``FOLDING``) made two chains that knew nothing of each other: of
    such the complete one stands.
    """
    newest = {record.slot: record for record in given}
    out = {_whose(record): record for record in given}  # in the order in which they were begun
    for record in sorted(newest.values(), key=lambda r: (_folding(r), bool(r.payload["complete"]), r.id)):
        out[_whose(record)] = record
    return list(out.values())


def _folding(record: ResultRecord) -> int:
    return record.payload.get("folding", int("person" in record.payload))


def _whose(record: ResultRecord) -> tuple[str, str]:
    return record.slot.rpartition(".")[0], person(record.payload["rater"])


def changed(before: Mapping[str, Any], task: str, question_id: str, value: Any) -> dict[str, Any]:
    """The answers with one more, another one, or with None one less.

    Raises:
        UsageError: The question or its answer does not exist.
    """
    value = checked(task, question_id, value)
    answers = {k: v for k, v in (before.get("answers") or {}).items() if k != question_id}
    return answers if value is None else answers | {question_id: value}


def checked(task: str, question_id: str, value: Any) -> Any:
    """Return an answer as it is kept.

    Raises:
        UsageError: The question or its answer does not exist.
    """
    if question_id == "comment":
        words = str(value or "").strip()
        if len(words) > LONGEST_COMMENT:
            raise UsageError(
                f"The comment has {len(words)} characters; at most {LONGEST_COMMENT} are kept, and nothing of it is "
                "kept until it is shorter."
            )
        return words or None
    question = next((q for q in questions(task) if q.id == question_id), None)
    if question is None:
        raise UsageError(f"There is no question {question_id!r} about {tasks()[task]}.")
    if value is None:
        return None
    if question.type == "count":
        if isinstance(value, bool) or int(value) != value or not 0 <= value <= MOST_ERRORS:
            raise UsageError(f"{question.label}: give a whole number from 0 to {MOST_ERRORS}, not {value}.")
        return int(value)
    if str(value) not in question.choices:
        raise UsageError(f"{question.label}: {value!r} is not one of {', '.join(question.choices)}.")
    return int(value) if question.type == "scale" else str(value)


def cell(value: Any) -> Any:
    """A cell that a spreadsheet reads as text, not as a formula (OWASP, CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
