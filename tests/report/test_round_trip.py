"""Reports read back as the findings they were written from, in every wording and both languages."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import report_strategies as strategies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mirrored_text import flip_sides

from hnvlm.errors import UsageError
from hnvlm.report import complete, flip_finding, parse, parse_report, render, render_finding
from hnvlm.report.vocabulary import load
from hnvlm.types import Finding

RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
NODE = Finding("node", level="III", side="right", size_mm=18.4, attributes={"texture": "necrotic"})
MASS = Finding("mass", site="palatine tonsil", side="left", size_mm=25.0, attributes={"texture": "solid"})


def _read(findings: list[Finding]) -> list[Finding]:
    return [replace(finding, source="vlm") for finding in findings]


@pytest.mark.parametrize("language", ["en", "pl"])
@RELAXED
@given(findings=strategies.findings(), seed=st.one_of(st.none(), st.integers(0, 10_000)))
def test_parse_inverts_render(language, findings, seed):
    text = render(findings, language=language, rng=None if seed is None else random.Random(seed))
    report = parse_report(text, language, source="vlm")
    assert report.findings == _read(complete(findings)), text
    assert report.unparsed_sentences == []
    assert report.contradictions == []
    assert parse_report(text, source="vlm").findings == report.findings, "language is detected"


@pytest.mark.parametrize("language", ["en", "pl"])
@RELAXED
@given(finding=st.one_of(strategies.node, strategies.mass, strategies.airway, strategies.target, strategies.artefact))
def test_every_paraphrase_reads_back(language, finding):
    class Fixed:
        """A generator that always picks the n-th wording."""

        def __init__(self, share: float) -> None:
            self.share = share

        def random(self) -> float:
            return self.share

    forms = load(f"report_{language}")["sentences"][finding.kind][
        "absent" if finding.presence == "absent" else "present"
    ]
    label = load(f"report_{language}")["headings"]["target"] + ": " if finding.kind == "target" else ""
    expected = [
        item
        for item in complete([finding])
        if item.kind == finding.kind and (item.side == finding.side or item.kind != "node")
    ]
    for i in range(len(forms)):
        text = label + render_finding(finding, language, Fixed((i + 0.5) / len(forms)))
        assert parse(text, language, source="measured") == expected, text


@RELAXED
@given(findings=strategies.findings(), seed=st.integers(0, 10_000), language=st.sampled_from(["en", "pl"]))
def test_mirrored_words_are_mirrored_findings(findings, seed, language):
    text = render(findings, language=language, rng=random.Random(seed))
    mirrored = flip_sides(text, language)
    assert parse(mirrored, language) == [flip_finding(finding) for finding in parse(text, language)]
    assert flip_sides(mirrored, language) == text


def test_canonical_report_is_compact_and_explicit():
    text = render([NODE, MASS], language="en")
    assert "Nodes right: 18 mm necrotic node in right level III." in text
    assert "Primary site: 25 mm solid mass in the left palatine tonsil." in text
    assert "Nodes left: No pathologically enlarged node in the left neck." in text
    assert "High-dose target region (predicted): Not predicted." in text
    assert 60 <= len(text.split()) <= 150
    assert text == render([MASS, NODE], language="en")


def test_polish_wording():
    text = render([NODE], language="pl")
    assert "Węzeł chłonny 18 mm z centralną martwicą w grupie III po stronie prawej." in text
    assert "Nie stwierdza się powiększonych węzłów chłonnych szyi po stronie lewej." in text


def test_same_generator_state_same_text_and_paraphrases_differ():
    texts = {render([NODE, MASS], rng=random.Random(seed)) for seed in range(30)}
    assert len(texts) > 20
    assert render([NODE], rng=random.Random(5)) == render([NODE], rng=random.Random(5))


def test_numpy_generator_serves_as_well():
    numpy = pytest.importorskip("numpy")
    assert render([NODE], rng=numpy.random.default_rng(5)) == render([NODE], rng=numpy.random.default_rng(5))


@pytest.mark.parametrize(
    ("findings", "options", "said"),
    [
        ([NODE, Finding("node", "absent")], {}, "contradict"),
        ([NODE, Finding("node", "absent", side="right")], {}, "contradict"),
        ([MASS, Finding("mass", "absent", site="palatine tonsil")], {}, "contradict"),
        ([], {"language": "de"}, "not in 'de'"),
        ([replace(MASS, site="vallecula")], {"language": "pl"}, "vallecula"),
        ([Finding("coverage", attributes={"superior": "ear", "inferior": "hyoid"})], {}, "landmark 'ear'"),
    ],
)
def test_refuses(findings, options, said):
    with pytest.raises(UsageError, match=said):
        render(findings, **options)
