"""The shipped text reader on sentences written by hand: what they ask, and what one changed word changes."""

from __future__ import annotations

import pytest
import torch

from hnvlm.config import settings
from hnvlm.models.text_tower import HEADS, NUMBERS, TextReader, read_facts, token_features

SENTENCES = [
    ("Add a 22 mm necrotic node in left level II.", "add", "node", "II", "left", "necrotic", 22),
    ("Add a solid node of 15 mm in right level III.", "add", "node", "III", "right", "solid", 15),
    ("Enlarged left level IV lymph node measuring 18 mm.", "add", "node", "IV", "left", None, 18),
    ("30 mm mass in the right base of tongue.", "add", "mass", "base of tongue", "right", None, 30),
    ("Solid mass of the left parotid gland, 25 mm.", "add", "mass", "parotid gland", "left", "solid", 25),
    ("Add a 20 mm mass in the left palatine tonsil.", "add", "mass", "palatine tonsil", "left", None, 20),
    ("Necrotic right level V node, 28 mm.", "add", "node", "V", "right", "necrotic", 28),
    ("Remove the left level II node.", "remove", "node", "II", "left", None, None),
    ("Remove the mass in the right pyriform sinus.", "remove", "mass", "pyriform sinus", "right", None, None),
    ("No enlarged lymph nodes and no mass.", "none", None, None, None, None, None),
    ("Narrowing of the larynx on the left by 50 %.", "add", "airway", "larynx", "left", None, None),
    ("Add a 16 mm node in right level IB.", "add", "node", "IB", "right", None, 16),
]


@pytest.fixture(scope="module")
def reader():
    folder = settings().models_dir / "text"
    if not (folder / "model.safetensors").exists():
        pytest.skip(f"the text reader is not in the pack: {folder} has no model.safetensors")
    from hnvlm.models.checkpoint import load_weights

    return load_weights(folder, TextReader())


@pytest.mark.parametrize(("text", "op", "kind", "place", "side", "texture", "size"), SENTENCES)
def test_what_a_sentence_asks(reader, text, op, kind, place, side, texture, size):
    (facts,) = read_facts(reader, [text])
    assert facts["op"] == op
    if op == "none":
        return
    assert (facts["kind"], facts["place"], facts["side"]) == (kind, place, side)
    if texture:
        assert facts["texture"] == texture
    if size:
        assert facts["size_mm"] == pytest.approx(size, abs=5)
    elif kind != "airway":
        assert facts["size_mm"] is None
    assert set(facts["confidence"]) == set(HEADS)
    assert all(0 <= v <= 1 for v in facts["confidence"].values())


@pytest.mark.parametrize(
    ("text", "other", "changes"),
    [
        ("Add a 22 mm necrotic node in left level II.", "Add a 22 mm necrotic node in right level II.", "side"),
        ("30 mm mass in the right base of tongue.", "30 mm mass in the left base of tongue.", "side"),
        ("Add a solid node of 15 mm in right level III.", "Add a solid node of 15 mm in right level IV.", "place"),
        ("Add a 22 mm necrotic node in left level II.", "Add a 22 mm solid node in left level II.", "texture"),
        ("Add a 25 mm mass in the left parotid gland.", "Remove the 25 mm mass in the left parotid gland.", "op"),
        ("Add a mass in the left parotid gland.", "Remove the mass in the left parotid gland.", "op"),
    ],
)
def test_one_word_changes_one_fact(reader, text, other, changes):
    a, b = read_facts(reader, [text, other])
    assert a[changes] != b[changes]
    for name in HEADS:
        if name != changes:
            assert a[name] == b[name], name


@pytest.mark.parametrize(
    "text", ["A suspicious lesion is seen.", "a mass or an enlarged lymph node", "Tumour present."]
)
def test_a_lesion_without_a_place_is_not_a_clear_neck(reader, text):
    facts = read_facts(reader, [text])[0]
    assert facts["op"] == "add"
    assert facts["place"] is None
    assert read_facts(reader, [f"No {text.removeprefix('a ')}"])[0]["op"] != "add"


def test_size_follows_the_number(reader):
    sizes = [read_facts(reader, [f"Add a {mm} mm node in left level II."])[0]["size_mm"] for mm in (12, 20, 28, 38)]
    assert sizes == sorted(sizes)
    assert sizes[-1] - sizes[0] > 15


def test_a_batch_reads_as_one_by_one(reader):
    """Padding to the longest sentence changes nothing."""
    texts = [t for t, *_ in SENTENCES[:4]]
    together = read_facts(reader, texts)
    alone = [read_facts(reader, [t])[0] for t in texts]
    for a, b in zip(together, alone, strict=True):
        for name in (*HEADS, "size_mm"):
            assert a[name] == (pytest.approx(b[name], abs=0.2) if name in NUMBERS else b[name])


def test_left_and_right_are_apart_in_the_embedding(reader):
    features, mask = token_features(["node in left level II", "node in right level II"])
    assert features.shape[0] == mask.shape[0] == 2
    assert features.shape[2] == 384
    with torch.inference_mode():
        a, b = reader(features, mask)
    assert a.shape == (192,)
    assert float(torch.nn.functional.cosine_similarity(a, b, dim=0)) < 0.97
