"""Typed words are kept in one line, without marks that nobody sees."""

from __future__ import annotations

import pytest

from hnvlm.imaging.write import write_dicom_series
from hnvlm.services import intake
from hnvlm.services.plain import one_line


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("before\n RT\x07", "before RT"),
        # Whatever stands behind it in a list, the number of the case too, would be turned around.
        ("\N{RIGHT-TO-LEFT OVERRIDE}tfel\N{POP DIRECTIONAL FORMATTING}", "tfel"),
        ("רקמה left \N{RIGHT-TO-LEFT ISOLATE}x", "רקמה left x"),
        ('<b>"x"</b> $y$ =1+1 \N{GRINNING FACE}', '<b>"x"</b> $y$ =1+1 \N{GRINNING FACE}'),
        ("żółć", "żółć"),
    ],
)
def test_what_nobody_sees_is_left_out_and_the_rest_stays(typed, kept):
    assert one_line(typed) == kept


@pytest.mark.parametrize(("typed", "kept"), [("a\N{RIGHT-TO-LEFT OVERRIDE}b", "ab"), ("\N{ZERO WIDTH SPACE}", None)])
def test_a_description_is_kept_so(app, phantom, tmp_path, typed, kept):
    write_dicom_series(phantom, tmp_path / "ct", "neck", synthetic=False)
    case = intake.create_case(app, intake.open_path(tmp_path / "ct"), description=typed)
    assert case.description == (kept or intake.default_description(phantom))
