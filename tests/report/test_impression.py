"""The impression says of a report's lesions what the findings say, and nothing else."""

from __future__ import annotations

import pytest
import report_strategies as strategies
from hypothesis import HealthCheck, given, settings

from hnvlm.errors import UsageError
from hnvlm.report.impression import impression_of
from hnvlm.report.render import render
from hnvlm.types import Finding

NODE = Finding("node", side="right", level="IB", size_mm=28.0, attributes={"texture": "solid"})
MASS = Finding("mass", side="right", site="parotid gland", size_mm=40.0, attributes={"texture": "necrotic"})


def up_to_impression(findings, language="en") -> tuple[str, str]:
    """A report up to the colon of its last heading, and what follows there."""
    above, _, last = render(findings, language=language).rpartition("\n")
    heading, colon, rest = last.partition(":")
    return f"{above}\n{heading}{colon}", rest


def test_by_hand():
    text, rest = up_to_impression([NODE, MASS])
    assert impression_of(text) == rest
    assert rest == " Right parotid gland mass, 40 mm. Right level IB solid node, 28 mm."
    assert impression_of(text.replace("28 mm", "25 mm")) == rest.replace("28 mm", "25 mm") != rest


@pytest.mark.parametrize("language", ["en", "pl"])
def test_without_a_lesion_it_says_so(language):
    text, rest = up_to_impression([], language)
    assert impression_of(text, language) == rest != ""


@pytest.mark.parametrize("language", ["en", "pl"])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(findings=strategies.findings())
def test_it_is_what_the_grammar_writes(language, findings):
    text, rest = up_to_impression(findings, language)
    assert impression_of(text, language) == rest


@pytest.mark.parametrize(
    "text",
    ["", "IMPRESSION", "IMPRESSION: ", "IMPRESSION: Right", "Nodes right:", "WNIOSKI:\nNodes right:"],
)
def test_elsewhere_it_says_nothing(text):
    assert impression_of(text) == ""


def test_findings_that_contradict_each_other_are_not_summed_up():
    text, _ = up_to_impression([NODE])
    line = "Nodes right: No pathologically enlarged node in the right neck. 28 mm solid node in right level IB."
    lines = [line if x.startswith("Nodes right") else x for x in text.split("\n")]
    assert impression_of("\n".join(lines)) == ""


def test_a_language_nobody_wrote_is_refused():
    with pytest.raises(UsageError):
        impression_of("IMPRESSION:", "de")
