"""The clinical tables themselves: sources, references, arithmetic, and words for everything they name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from hnvlm.errors import KnowledgeBaseError
from hnvlm.plan import bed_gy, eqd2_gy, kb, templates
from hnvlm.plan.form import FORM_FIELDS
from hnvlm.plan.kb import DATA_DIR, documents, load_kb

KB = load_kb()


def walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for key, value in node.items():
            if key not in ("source", "_sources", "examples"):
                yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


ENTRIES = [e for table in KB.tables.values() for e in walk(table) if isinstance(e.get("verified"), bool)]


def test_verified_means_a_graded_source_was_read() -> None:
    assert len(ENTRIES) > 600
    for entry in ENTRIES:
        assert entry["source"], entry
        assert all(s.get("document") and s.get("year") for s in entry["source"]), entry
        if entry["verified"]:
            assert documents(entry), entry
        if entry.get("weak_source"):
            assert not entry["verified"], entry


def test_unverified_entry_of_general_knowledge_has_no_document_to_cite() -> None:
    assert documents(KB.entry("ptv_margin")) == ()


def test_references_resolve() -> None:
    for rule in KB["safety"]["rules"]:
        for reference in rule.get("refs", []):
            assert KB.entry(reference)
    for ids in (*templates().values(), KB["templates"]["risk_only"]):
        for constraint_id in ids:
            assert KB.entry(constraint_id)


def test_option_words_are_explained_and_point_to_real_regimens_and_schemes() -> None:
    actions = KB["actions"]["actions"]
    for option in KB["regimens"]["options"]:
        for token in (*option.get("options", ()), *option.get("options_avoid", ())):
            assert token in actions, (option["id"], token)
    for token, entry in actions.items():
        assert not re.search(r"\d+ ?(Gy|mg|%)", entry["label"]), token
        for reference in (*entry.get("agents", ()), *entry.get("schemes", ())):
            assert KB.entry(reference), (token, reference)


@pytest.mark.parametrize("scheme", KB["radiotherapy"]["schemes"], ids=lambda s: s["id"])
def test_scheme_arithmetic(scheme: dict[str, Any]) -> None:
    for target in scheme["targets"]:
        each = target["total_gy"] / target["fractions"]
        assert target["per_fraction_gy"] == pytest.approx(each, abs=0.002)
        assert target["bed10"] == pytest.approx(bed_gy(target["fractions"], each, 10), abs=0.02)
        assert target["eqd2_10"] == pytest.approx(eqd2_gy(target["fractions"], each, 10), abs=0.02)
        assert target["bed3"] == pytest.approx(bed_gy(target["fractions"], each, 3), abs=0.02)
        assert target["eqd2_3"] == pytest.approx(eqd2_gy(target["fractions"], each, 3), abs=0.02)


def test_bed_and_eqd2_by_hand() -> None:
    # 35 x 2 Gy: 70 (1 + 2/10) = 84; in 2 Gy fractions 84 / 1.2 = 70
    assert bed_gy(35, 2.0, 10) == pytest.approx(84.0)
    assert eqd2_gy(35, 2.0, 10) == pytest.approx(70.0)
    # 20 x 2.75 Gy for late tissue: 55 (1 + 2.75/3) = 105.4167; / (1 + 2/3) = 63.25
    assert bed_gy(20, 2.75, 3) == pytest.approx(105.416667)
    assert eqd2_gy(20, 2.75, 3) == pytest.approx(63.25)


def test_conditions_read_facts_that_somebody_can_give() -> None:
    """Every patient fact a condition of options or eligibility reads is a field of the form."""
    paths = {f.path for f in FORM_FIELDS}
    asked = set()

    def collect(condition: Any) -> None:
        if isinstance(condition, dict):
            if isinstance(condition.get("f"), str):
                asked.add(condition["f"])
            for value in condition.values():
                collect(value)
        elif isinstance(condition, list):
            for value in condition:
                collect(value)

    for entry in KB["regimens"]["cisplatin_eligibility"]:
        if entry["class"] in ("absolute", "absolute_per_porceddu", "relative"):
            collect(entry.get("when"))
    assert {a for a in asked if a.startswith(("patient.", "labs."))} <= paths


def test_no_table_names_a_machine_or_how_it_was_written() -> None:
    for path in DATA_DIR.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w./])/(work|home|root)/", text), path
        assert "kb_eval" not in text, path
        assert "stored copy" not in text, path


def test_damaged_and_missing_tables_are_named(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kb, "DATA_DIR", tmp_path)
    with pytest.raises(KnowledgeBaseError, match=r"staging\.yaml"):
        kb.read_table("staging")
    (tmp_path / "staging.yaml").write_text("a: [1, 2")
    with pytest.raises(KnowledgeBaseError, match="damaged"):
        kb.read_table("staging")
    with pytest.raises(KnowledgeBaseError, match="no_such_id"):
        KB.entry("no_such_id")
