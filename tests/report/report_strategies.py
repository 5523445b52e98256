"""Hypothesis strategies for findings that a report can carry."""

from __future__ import annotations

from hypothesis import strategies as st

from hnvlm.report.render import denies
from hnvlm.report.vocabulary import vocabulary
from hnvlm.types import AIRWAY_LEVELS, MASS_SITES, NODE_LEVELS, TEXTURES, Finding

_SIDES = st.sampled_from(("left", "right"))
_SIZE = st.one_of(st.none(), st.floats(3, 90))
_CERTAINTY = st.sampled_from(("definite", "probable", "possible"))
_PRESENT = st.sampled_from(("present", "present", "indeterminate"))
_LANDMARKS = vocabulary()["landmarks"]


def _attributes(**options: st.SearchStrategy) -> st.SearchStrategy:
    return st.fixed_dictionaries({}, optional=options)


_TEXTURE = st.sampled_from(TEXTURES)
node = st.builds(
    Finding, st.just("node"), _PRESENT, level=st.sampled_from(NODE_LEVELS), side=_SIDES, size_mm=_SIZE,
    certainty=_CERTAINTY, attributes=_attributes(texture=_TEXTURE),
)  # fmt: skip
mass = st.builds(
    Finding, st.just("mass"), _PRESENT, site=st.sampled_from(MASS_SITES),
    side=st.sampled_from(("left", "right", "midline")),
    size_mm=_SIZE, certainty=_CERTAINTY, attributes=_attributes(texture=_TEXTURE, crosses_midline=st.just(True)),
)  # fmt: skip
_AREA = st.floats(5, 900)
airway = st.one_of(
    st.builds(
        Finding, st.just("airway"), _PRESENT, site=st.sampled_from(AIRWAY_LEVELS), side=st.one_of(st.none(), _SIDES),
        certainty=_CERTAINTY, attributes=_attributes(narrowing_pct=st.floats(1, 100), min_area_mm2=_AREA),
    ),
    st.builds(
        Finding, st.just("airway"), st.just("absent"), site=st.one_of(st.none(), st.sampled_from(AIRWAY_LEVELS)),
        attributes=_attributes(min_area_mm2=_AREA),
    ),
)  # fmt: skip


@st.composite
def _extents(draw: st.DrawFn, volume: bool) -> dict:
    top, bottom = sorted(draw(st.lists(st.sampled_from(range(len(_LANDMARKS))), min_size=2, max_size=2, unique=True)))
    attributes = {"superior": _LANDMARKS[top], "inferior": _LANDMARKS[bottom]}
    if volume and draw(st.booleans()):
        attributes["volume_ml"] = draw(st.floats(1, 900))
    return attributes


target = st.builds(
    Finding,
    st.just("target"),
    side=st.sampled_from(("left", "right", "midline", "bilateral")),
    attributes=_extents(True),
)
artefact = st.one_of(
    st.just(Finding("artefact", "absent")),
    st.builds(
        Finding, st.just("artefact"), attributes=_attributes(extent=st.sampled_from(("mild", "moderate", "severe")))
    ),
)
coverage = st.builds(Finding, st.just("coverage"), attributes=_extents(False))
absent_lesion = st.one_of(
    st.builds(
        Finding,
        st.just("node"),
        st.just("absent"),
        side=_SIDES,
        level=st.one_of(st.none(), st.sampled_from(NODE_LEVELS)),
    ),
    st.builds(Finding, st.just("mass"), st.just("absent"), side=_SIDES, site=st.sampled_from(MASS_SITES)),
)


@st.composite
def findings(draw: st.DrawFn) -> list[Finding]:
    """Any list without a finding that another one denies."""
    items = draw(st.lists(node, max_size=4)) + draw(st.lists(mass, max_size=2)) + draw(st.lists(airway, max_size=2))
    for one in (target, artefact, coverage):
        items += draw(st.lists(one, max_size=1))
    items += draw(st.lists(absent_lesion, max_size=2))
    absent = [item for item in items if item.presence == "absent"]
    return [item for item in items if item.presence == "absent" or not any(denies(other, item) for other in absent)]
