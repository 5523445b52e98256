"""Blinded comparison of two texts of one case, the AI draft and the clinician's own, who wrote which hidden.

Which of both is Text A is a rater's own and stays so. Answers are kept as given, of A and B, each in the store at once;
whose text that was is said only where they are evaluated.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hnvlm import __version__
from hnvlm.errors import UsageError
from hnvlm.intervals import wilson
from hnvlm.services import blinding, rating
from hnvlm.services.context import App
from hnvlm.services.documents import UNNAMED
from hnvlm.services.text_origin import EARLIER, NONE, THIS, edited_from, same_words, words_changed
from hnvlm.store import CaseRecord, ResultRecord, dumps

# No share is told of fewer cases than these.
FEWEST_CASES = rating.FEWEST_FOR_INTERVAL
# Answers by whose text they favour.
BETTER = {"ai": "AI better", "equal": "equal", "clinician": "clinician better"}
FEWER = {"ai": "AI draft", "same": "same", "clinician": "clinician"}
GUESSED = {"right": "right", "unsure": "cannot tell", "wrong": "wrong"}
# How the results take together what clinicians' texts were written from.
ORIGINS = {"independent": (NONE,), "edited": (THIS, EARLIER)}


@dataclass(frozen=True)
class Item:
    """Two texts of one case to compare, and what this rater answered so far.

    Attributes:
        id: Tells it from the other comparisons of the session, and nothing about who wrote what.
        texts: Text A and Text B as they are shown.
        draft_is_a: Text A is the AI draft; for the store, never for the page.
        newer: The case has a newer AI draft or a newer clinician's text, which says something else.
    """

    id: str
    task: str
    rater: str
    case: CaseRecord
    draft: ResultRecord
    clinician: ResultRecord
    texts: tuple[str, str]
    draft_is_a: bool
    answers: Mapping[str, Any]
    seconds: float
    complete: bool
    newer: bool


@dataclass
class Pairs:
    """What there is to compare for one rater, and ids of the cases where there is nothing, by the reason.

    Attributes:
        unnamed: Nobody knows who wrote the clinician's text, and it may have been the rater.
        own: The rater wrote or signed the clinician's text.
        rated: The rater has rated the AI draft by name, knowing that it is one.
        telling: A sentence of one text tells who wrote it.
        same: The clinician's text is the draft's but for white space.
    """

    items: list[Item] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    rated: list[str] = field(default_factory=list)
    telling: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    only_draft: list[str] = field(default_factory=list)
    only_clinician: list[str] = field(default_factory=list)


def compares(task: str) -> bool:
    """Whether in this task two texts are compared."""
    return "compares" in rating.table()["tasks"].get(task, {})


def pairs(app: App, task: str, rater: str, *, on_screen: str | None = None) -> Pairs:
    """One AI draft and one clinician's text of each case (``rating.due``), in an order of this rater's own.

    The order stays the same when others are added.

    Args:
        on_screen: Id of the comparison that this rater has before them, which stays there.

    Raises:
        UsageError: In this task nothing is compared.
    """
    if not compares(task):
        raise UsageError(f"{task!r} is no comparison.")
    out = Pairs()
    for case in app.store.list_cases():
        versions = app.store.history(case.id, *rating.chain(task))
        drafts = rating.ai_drafts(versions)
        written = [v for v in versions if v.payload.get("author") == "clinician"]
        if not drafts or not written:
            if versions:
                (out.only_draft if drafts else out.only_clinician).append(case.id)
            continue
        offered = list(itertools.product(drafts, written))
        at = next((both for both in offered if _id(task, rater, *both) == on_screen), None)
        (draft, text), kept, newer = rating.due(app, task, rater, offered, at)
        names, shown = _shown(draft, [v for v in written if v.id <= text.id])
        if same_words(*shown):
            out.same.append(case.id)
        elif UNNAMED in _people(written):
            out.unnamed.append(case.id)
        elif rating.person(rater) in {rating.person(name) for name in _people(written)}:
            out.own.append(case.id)
        elif rating.person(rater) in _rated_by_name(app, task, case.id, draft.id, rating.sha256(draft.payload["text"])):
            out.rated.append(case.id)
        elif blinding.tells(*shown, names):
            out.telling.append(case.id)
        else:
            is_a = kept["text_a"] == draft.id if kept else _draft_is_a(task, rater, draft, text)
            out.items.append(
                Item(
                    _id(task, rater, draft, text), task, rater, case, draft, text,
                    (shown[0], shown[1]) if is_a else (shown[1], shown[0]), is_a, kept.get("answers", {}),
                    kept.get("seconds", 0.0), bool(kept.get("complete")), newer,
                )
            )  # fmt: skip
    out.items.sort(key=lambda item: item.id)
    return out


def answer(app: App, item: Item, question_id: str, value: Any, *, seconds: float) -> None:
    """Store one answer beside those given before; None takes it back.

    Args:
        seconds: How long this rater has had both texts before them, all sittings together.

    Raises:
        UsageError: No name was given, or the question or its answer does not exist.
    """
    if not item.rater.strip():
        raise UsageError("Give your name first: every rating has one.")
    both = (item.draft, item.clinician)
    answers = rating.changed(rating.stored(app, item.task, item.rater, *both), item.task, question_id, value)
    a, b = both if item.draft_is_a else both[::-1]
    payload = {
        "task": item.task, "draft": item.draft.id, "draft_version": item.draft.version,
        "clinician_text": item.clinician.id, "clinician_version": item.clinician.version, "text_a": a.id,
        "text_b": b.id, "rater": item.rater.strip(), "person": rating.person(item.rater), "folding": rating.FOLDING,
        "answers": answers, "seconds": round(float(seconds), 1), "complete": not rating.missing(item.task, answers),
        "app_version": __version__, "draft_sha256": rating.sha256(item.draft.payload["text"]),
        "clinician_sha256": rating.sha256(item.clinician.payload["text"]), "made_by": item.draft.provenance,
        "written_by": item.clinician.who,
    }  # fmt: skip
    where = rating.slot(item.task, item.rater, *both)
    app.store.save_result(item.case.id, rating.KIND, payload, slot=where, who=item.rater.strip())


# ---- the two texts ------------------------------------------------------------------------------


def _people(written: Sequence[ResultRecord]) -> list[str]:
    """Who saved or signed a clinician's text of this chain: each is built on those before."""
    return list(dict.fromkeys(name for v in written for name in (v.who, *(s.clinician for s in v.signoffs)) if name))


def _shown(draft: ResultRecord, written: Sequence[ResultRecord]) -> tuple[tuple[re.Pattern[str], ...], list[str]]:
    """Return the names to look for, and the AI draft and the last text that clinicians wrote as a rater sees them."""
    names = blinding.names_in(_people(written), str(draft.payload["text"]))
    return names, [blinding.blinded(str(r.payload["text"]), names) for r in (draft, written[-1])]


def _rated_by_name(app: App, task: str, case_id: str, draft: int, text_sha256: str) -> dict[str, int]:
    """Who rated a draft as the AI's in the task whose drafts are compared here: ``rating.first_rated``."""
    return rating.first_rated(app, case_id, rating.table()["tasks"][task]["compares"], draft, text_sha256)


# ---- results ----------------------------------------------------------------------------------


def comparisons(app: App, task: str) -> list[dict[str, Any]]:
    """Every comparison of a task as it stands, of all raters and all pairs, with whose text each answer favours.

    ``blind`` is False where the rater had rated the AI draft by name before, ``edited_from`` says what the clinician's
    text was written from, and ``words_changed`` how far it differs from the AI draft, both as they are shown.
    """
    rows = rating.ratings(app, task)
    chains = {case: app.store.history(case, *rating.chain(task)) for case in {row["case"] for row in rows}}
    drafts = {row["draft"]: (row["case"], row["draft"], row["draft_sha256"]) for row in rows}
    rated = {draft: _rated_by_name(app, task, *which) for draft, which in drafts.items()}
    out = []
    for row in rows:
        blind = rated[row["draft"]].get(rating.person(row["rater"]), row["result"]) >= row["result"]
        out.append(row | _unblinded(row) | {"blind": blind} | _texts(row, chains[row["case"]]))
    return out


def _texts(row: Mapping[str, Any], versions: Sequence[ResultRecord]) -> dict[str, Any]:
    known = {v.id: v for v in versions}
    draft, text = known[row["draft"]], known[row["clinician_text"]]
    written = [v for v in versions if v.payload.get("author") == "clinician" and v.id <= text.id]
    changed = words_changed(*_shown(draft, written)[1])
    return {"edited_from": edited_from(versions, draft, text), "words_changed": round(changed, 3)}


def as_csv(app: App, task: str) -> str:
    """All comparisons of a task as a table: one row for each pair of texts and rater."""
    asked = [q.id for q in rating.questions(task)]
    head = ["case", "task", "rater", "complete", "rated", "seconds", "better", "how_much", "fewer_significant_errors",
            "author_guessed", "blind", "edited_from", "words_changed", "draft", "draft_version", "draft_sha256",
            "made_by", "clinician_text", "clinician_version", "clinician_sha256", "written_by", "text_a", "text_b",
            *asked, "comment", "app_version"]  # fmt: skip
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(head)
    for row in comparisons(app, task):
        cells = {**row, **row["answers"], "made_by": dumps(row["made_by"])}
        table.writerow([rating.cell(cells.get(name, "")) for name in head])
    return out.getvalue()


def as_json(app: App, task: str) -> str:
    """All comparisons of a task with the questions that were asked, and what they say together."""
    asked = [vars(q) | {"choices": dict(q.choices)} for q in rating.questions(task)]
    told = {"task": task, "questions": asked, "summary": summary(app, task), "comparisons": comparisons(app, task)}
    return dumps(told)


def summary(app: App, task: str) -> dict[str, Any]:
    """What the complete comparisons say: of each rater and case the one of the newest texts.

    Returns:
        ``n`` (comparisons), ``cases``, ``raters``, ``begun`` (not complete), ``older`` (of texts that this rater
        compared newer ones of since), ``not_blind`` (of raters who had rated the AI draft by name, not counted) and
        ``rows``: for each answer ``question``, ``answer``, ``k`` of ``n`` and ``cases``, ``value`` (the share) with its
        95 % interval ``low`` to ``high``; None of fewer cases than FEWEST_CASES. ``by_origin`` holds the same of texts
        that were written without an AI draft (``independent``) and of edited drafts (``edited``), apart, each with
        ``words_changed``: median, least and most of its cases, None without any.
    """
    every = comparisons(app, task)
    complete = [row for row in every if row["complete"]]
    blind = [row for row in complete if row["blind"]]
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for row in blind:
        key = (row["case"], rating.person(row["rater"]))
        if key not in newest or _age(row) > _age(newest[key]):
            newest[key] = row
    done = list(newest.values())
    origins = {name: [row for row in done if row["edited_from"] in origin] for name, origin in ORIGINS.items()}
    return _counted(done) | {
        "begun": len(every) - len(complete), "older": len(blind) - len(done), "not_blind": len(complete) - len(blind),
        "by_origin": {
            name: _counted(rows) | {"words_changed": _spread(rows)} for name, rows in origins.items()
        },
    }  # fmt: skip


def _counted(done: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    guesses = [row for row in done if row["author_guessed"] != GUESSED["unsure"]]
    rows = [
        *_rows("better", "Rather put one's name to", BETTER.values(), done),
        *_rows("fewer_significant_errors", "Fewer clinically significant errors", FEWER.values(), done),
        *_rows("author_guessed", "Author guessed", GUESSED.values(), done),
        *_rows("author_guessed", "Author guessed, of those who told (by chance 0.50)", ["right"], guesses),
    ]
    raters = {rating.person(row["rater"]) for row in done}
    return {"n": len(done), "cases": len({row["case"] for row in done}), "raters": len(raters), "rows": rows}


def _spread(done: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """Median and range of the share of words changed, of each pair of texts once."""
    pairs_of_texts = {(row["draft"], row["clinician_text"]): row["words_changed"] for row in done}
    values = sorted(pairs_of_texts.values())
    return {"median": float(np.median(values)), "least": values[0], "most": values[-1]} if values else None


def share(values: Sequence[bool], cases: Sequence[str]) -> dict[str, Any]:
    """Share of yes/no values with its 95 % interval.

    One value a case: Wilson's (1927). Several raters a case: cases are drawn with replacement with all their values,
    and the interval is never narrower than Wilson's over the values; where all values are the same, resampling can
    tell nothing and Wilson's over the cases stands.

    Args:
        cases: Which case each value is of.

    Returns:
        ``k``, ``n``, ``cases``, ``value``, ``low``, ``high``; the last three None of fewer cases than FEWEST_CASES.
    """
    hits, count, several = sum(map(bool, values)), len(values), len(set(cases))
    told: dict[str, Any] = {"k": hits, "n": count, "cases": several}
    if several < FEWEST_CASES:
        return told | {"value": None, "low": None, "high": None}
    if hits in (0, count):
        low, high = wilson(hits / count, several)
    else:
        low, high = wilson(hits / count, count)
        if several < count:
            drawn = _resampled(values, cases)
            low, high = min(low, drawn[0]), max(high, drawn[1])
    return told | {"value": hits / count, "low": low, "high": high}


def _resampled(values: Sequence[bool], cases: Sequence[str]) -> tuple[float, float]:
    names, owner = np.unique(np.asarray(cases, str), return_inverse=True)
    counts, hits = np.bincount(owner), np.bincount(owner, weights=np.asarray(values, float))
    draws = np.random.default_rng(rating.SEED).integers(len(names), size=(rating.DRAWS, len(names)))
    low, high = np.percentile(hits[draws].sum(1) / counts[draws].sum(1), [2.5, 97.5])
    return float(low), float(high)


def _rows(key: str, label: str, answers: Iterable[str], done: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    cases = [row["case"] for row in done]
    return [{"question": label, "answer": a, **share([row[key] == a for row in done], cases)} for a in answers]


def _unblinded(row: Mapping[str, Any]) -> dict[str, str]:
    ai, given = "a" if row["text_a"] == row["draft"] else "b", row["answers"]
    whose = {ai: "ai", "b" if ai == "a" else "a": "clinician"}
    side, _, much = given.get("preference", "").partition("_")
    fewer, person = given.get("fewer_errors", ""), given.get("person", "")
    guessed = {"": "", "unsure": "unsure"}.get(person, "wrong" if whose.get(person) == "ai" else "right")
    return {
        "better": BETTER.get(whose.get(side, side), ""), "how_much": much,
        "fewer_significant_errors": FEWER.get(whose.get(fewer, fewer), ""), "author_guessed": GUESSED.get(guessed, ""),
    }  # fmt: skip


def _age(row: Mapping[str, Any]) -> tuple[int, int]:
    return row["draft"], row["clinician_text"]


def _name(task: str, rater: str, draft: ResultRecord, clinician: ResultRecord) -> str:
    return f"{rating.person(rater)}|{task}|{draft.id}|{clinician.id}"


def _id(task: str, rater: str, draft: ResultRecord, clinician: ResultRecord) -> str:
    return rating.sha256(f"order|{_name(task, rater, draft, clinician)}")[:12]


def _draft_is_a(task: str, rater: str, draft: ResultRecord, clinician: ResultRecord) -> bool:
    """On which side a draft stands at first: hashed apart from the id, by which the page knows a comparison."""
    return hashlib.sha256(f"sides|{_name(task, rater, draft, clinician)}".encode()).digest()[0] % 2 == 0
