"""Sentences that leave things open: they say what their labels say and no more."""

from __future__ import annotations

import random

import pytest

from hnvlm.report.general import general_sentence
from hnvlm.report.requests import labels_of
from hnvlm.types import Finding

NODE = Finding("node", side="left", level="II", size_mm=22.0, attributes={"texture": "necrotic"})
MASS = Finding("mass", side="right", site="base of tongue", size_mm=31.0, attributes={"texture": "solid"})
WORDS = {
    "side": {"left": ("left",), "right": ("right",)},
    "texture": {"necrotic": ("necrotic", "cystic"), "solid": ("solid", "homogeneous")},
}


@pytest.mark.parametrize("finding", [NODE, MASS])
def test_text_says_what_the_labels_say(finding):
    rng = random.Random(3)
    seen = set()
    for _ in range(200):
        text, labels = general_sentence(finding, rng)
        seen.add(tuple(k for k in ("kind", "side", "texture") if labels[k]))
        assert set(labels) == set(labels_of("add", finding))
        assert labels["op"] == "add"
        assert labels["place"] is None
        assert labels["size_mm"] is None
        for fact, words in WORDS.items():
            said = [value for value, forms in words.items() if any(w in text.lower() for w in forms)]
            assert said == ([labels[fact]] if labels[fact] else [])
        assert not any(w in text for w in ("level", "II", "tongue", "mm"))
        assert "{" not in text
    assert seen == {(), ("kind",), ("kind", "side"), ("kind", "texture")}


def test_a_lesion_in_general_is_not_called_by_one_kind():
    rng = random.Random(5)
    for _ in range(300):
        text, labels = general_sentence(MASS, rng)
        if labels["kind"]:
            assert "node" not in text.lower()
            assert "lesion" not in text.lower()
