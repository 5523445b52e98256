"""Requests for edits: banks that do not overlap, labels that fit the words, rules that understand them."""

from __future__ import annotations

import random
import re
import sys

import pytest

from hnvlm.errors import UsageError
from hnvlm.report import labels_of, parse_request, sample_request, sample_spec
from hnvlm.report.requests import OPS
from hnvlm.report.vocabulary import fill, load, slots_of, vocabulary
from hnvlm.types import AIRWAY_LEVELS, MASS_SITES, NODE_LEVELS, TEXTURES, Finding

NODE = Finding("node", level="II", side="left", size_mm=18, attributes={"texture": "necrotic"})
# Least share of requests read with every stated fact right, by bank.
ACCURACY = {"train": 0.99, "mid": 0.98, "held": 0.95}


def _lesion(rng: random.Random) -> Finding:
    kind = rng.choice(("node", "node", "mass", "airway"))
    side, texture = rng.choice(("left", "right")), {"texture": rng.choice(TEXTURES)}
    size = rng.randint(8, 45)
    if kind == "node":
        return Finding("node", level=rng.choice(NODE_LEVELS), side=side, size_mm=size, attributes=texture)
    if kind == "mass":
        return Finding("mass", site=rng.choice(MASS_SITES), side=side, size_mm=size, attributes=texture)
    return Finding(
        "airway", site=rng.choice(AIRWAY_LEVELS), side=side, attributes={"narrowing_pct": rng.choice((30, 50, 70))}
    )


def _templates(bank: str) -> set[str]:
    by_op = load("requests")[bank]
    return {re.sub(r"\W+", " ", t).lower() for kinds in by_op.values() for items in kinds.values() for t in items}


def test_banks_share_no_template():
    train, mid, held = (_templates(bank) for bank in ("train", "mid", "held"))
    assert not train & mid
    assert not train & held
    assert not mid & held


def test_banks_are_large_enough():
    banks = load("requests")
    for op, kind in (("add", "lesion"), ("remove", "lesion"), ("none", "any")):
        assert len(set(banks["train"][op][kind])) >= 30
        for bank in ("mid", "held"):
            assert len(set(banks[bank][op][kind])) >= 8


def test_held_words_were_never_trained_on():
    def entries(table):
        for value in table.values():
            if isinstance(value, dict) and "train" in value:
                yield value
            elif isinstance(value, dict):
                yield from entries(value)

    for entry in entries(vocabulary()):
        train = {word.lower() for word in entry["train"]}
        if entry["train"] != ["midline"]:
            assert not train & {word.lower() for word in entry["held"]}


def test_additions_state_size_and_texture_and_some_training_sentences_leave_them_open():
    """A reader that never saw an addition without a size took "Add a node in left level II" for a removal."""
    said = {bank: [slots_of(t) for t in load("requests")[bank]["add"]["lesion"]] for bank in ("train", "mid", "held")}
    for bank in ("mid", "held"):
        for slots in said[bank]:
            assert slots & {"size", "mm"}
            assert slots & {"tex", "texp", "texw", "abbr"}
    sized = [bool(slots & {"size", "mm"}) for slots in said["train"]]
    textured = [bool(slots & {"tex", "texp", "texw"}) for slots in said["train"]]
    assert sum(sized) >= 30
    assert sum(not a and not b for a, b in zip(sized, textured, strict=True)) >= 3
    assert sum(a and not b for a, b in zip(sized, textured, strict=True)) >= 1
    assert sum(b and not a for a, b in zip(sized, textured, strict=True)) >= 1


@pytest.mark.parametrize("bank", ["train", "mid", "held"])
def test_rules_understand_the_bank(bank, capsys):
    rng = random.Random(11)
    right, wrong = 0, []
    for op in OPS:
        for _ in range(120):
            spec = sample_spec(op, _lesion(rng), rng, bank)
            stated, request = spec.labels(), parse_request(spec.text, "en")
            found = request.finding
            read = {"op": request.op}
            if found is not None:
                read |= {"kind": found.kind, "side": found.side, "place": found.place, "size_mm": found.size_mm}
                read |= {key: found.attributes.get(key) for key in ("texture", "narrowing_pct")}
            facts = ("op", "kind", "side", "place", "size_mm", "texture", "narrowing_pct")
            bad = [key for key in facts if stated[key] is not None and read.get(key) != stated[key]]
            right += not bad
            wrong += [(spec.text, bad)] if bad else []
    share = right / (3 * 120)
    with capsys.disabled():
        sys.stdout.write(f"\nrequests understood, {bank}: {share:.3f}\n")
    assert share >= ACCURACY[bank], wrong[:10]


def test_labels():
    labels = labels_of("add", NODE)
    assert labels["op"] == "add"
    assert (labels["kind"], labels["side"], labels["place"]) == ("node", "left", "II")
    assert (labels["size_mm"], labels["texture"]) == (18, "necrotic")
    assert set(labels_of("none", None).values()) == {"none", None}


def test_one_seed_one_sentence():
    assert sample_request("add", NODE, random.Random(4)) == sample_request("add", NODE, random.Random(4))
    assert len({sample_request("add", NODE, random.Random(seed)) for seed in range(60)}) > 50


@pytest.mark.parametrize(
    ("text", "op", "missing"),
    [
        ("12 mm necrotic node in right level III", "add", []),
        ("remove the left level II node", "remove", []),
        ("add a small node on the left", "add", ["level"]),
        ("add a 12 mm node in level II", "add", ["side"]),
        ("node in left level II", "add", ["size"]),
        ("No mass. No adenopathy.", "none", []),
        ("no left level II node", "remove", []),
        ("remove the node", "remove", ["side", "level"]),
        ("remove the left level II node and the right level III node", "remove", ["one lesion at a time"]),
        ("hello there", "unknown", ["op", "lesion"]),
        ("shrink the left level II node", "unknown", ["op"]),
        ("get rid of that necrotic thing at left level 3", "remove", []),
        ("left level II node 2cm remove it", "remove", []),
        ("make the right tonsil tumour go away", "remove", []),
        ("what if there was no tumor in the left tonsil", "remove", []),
        ("add a 2 cm solid mass in the left pyriform sinus, keep the node in right level II", "add", []),
        ("Leave everything else unchanged.", "unknown", ["op", "lesion"]),
        ("Could you put a big cystic lymph node, right side, level 2a", "add", []),
        ("", "unknown", ["op", "lesion"]),
        ("moderate narrowing of the laryngeal airway", "add", []),
    ],
)
def test_what_is_missing_is_told(text, op, missing):
    request = parse_request(text)
    assert (request.op, request.missing) == (op, missing)


def test_a_request_fills_nothing_in():
    request = parse_request("add a small solid node in right level II")
    assert request.finding.size_mm is None
    assert request.finding.attributes == {"texture": "solid", "size_word": "small"}


def test_articles_and_optional_parts():
    assert fill("a(n) {size} node[, {tex}]", {"size": "8 mm"}) == "An 8 mm node"
    assert fill("a(n) {size} node[, {tex}]", {"size": "12 mm", "tex": "solid"}) == "A 12 mm node, solid"
    assert fill("a(n) 18 mm and a(n) 80 mm and a(n) 1.8 cm", {}) == "An 18 mm and an 80 mm and a 1.8 cm"


@pytest.mark.parametrize(
    ("op", "finding", "bank", "said"),
    [
        ("shrink", NODE, "train", "Unknown request"),
        ("add", NODE, "test", "Unknown bank"),
        ("add", None, "train", "no finding"),
        ("add", Finding("target"), "train", "not target"),
        ("add", Finding("node", level="VI", side="left"), "train", "VI"),
    ],
)
def test_refuses(op, finding, bank, said):
    with pytest.raises(UsageError, match=said):
        sample_request(op, finding, random.Random(0), bank)
