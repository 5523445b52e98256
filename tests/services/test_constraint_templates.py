"""Templates that the users of an installation share: nobody's work is lost to somebody else's."""

from __future__ import annotations

import pytest

from hnvlm.errors import HnvlmError
from hnvlm.services import constraint_templates


def rows(limit: float) -> list[dict]:
    return [{"organ": "SpinalCord", "metric": "Dmax", "op": "<=", "limit": limit, "unit": "Gy", "priority": 1,
             "endpoint": ""}]  # fmt: skip


def limit(app, name: str) -> float:
    return constraint_templates.rows(app, name)[0]["limit"]


def test_the_second_of_two_who_edit_a_template_is_told(app):
    new = constraint_templates.stamp(app, "Ours")
    assert new == ""
    constraint_templates.save(app, "Ours", rows(46.0), who="Dr A", based_on=new)
    opened = constraint_templates.stamp(app, "Ours")  # by both
    constraint_templates.save(app, "Ours", rows(45.0), who="Dr A", based_on=opened)
    with pytest.raises(
        HnvlmError, match=r"'Ours' was saved by Dr A while you were editing.*under another name"
    ) as told:
        constraint_templates.save(app, "Ours", rows(48.0), who="Dr B", based_on=opened)
    assert told.value.code == "conflict"
    assert limit(app, "Ours") == 45.0
    constraint_templates.save(app, "Ours of Dr B", rows(48.0), who="Dr B", based_on="")
    assert limit(app, "Ours of Dr B") == 48.0


def test_the_same_rows_saved_again_are_a_save_too(app):
    """Who comes back to limits of before has still looked at them."""
    constraint_templates.save(app, "Ours", rows(46.0), who="Dr A")
    opened = constraint_templates.stamp(app, "Ours")
    constraint_templates.save(app, "Ours", rows(46.0), who="Dr A")
    assert constraint_templates.stamp(app, "Ours") != opened


def test_a_copy_does_not_take_the_place_of_a_template_of_that_name(app):
    constraint_templates.save(app, "Ours", rows(46.0), who="Dr A")
    with pytest.raises(HnvlmError, match="was saved by Dr A before"):
        constraint_templates.save(app, " Ours ", rows(48.0), who="Dr B", based_on="")
    assert limit(app, "Ours") == 46.0


def test_a_template_that_was_removed_meanwhile_does_not_come_back_unsaid(app):
    constraint_templates.save(app, "Ours", rows(46.0), who="Dr A")
    opened = constraint_templates.stamp(app, "Ours")
    constraint_templates.remove(app, "Ours", who="Dr A")
    with pytest.raises(HnvlmError, match="was removed while you were editing"):
        constraint_templates.save(app, "Ours", rows(48.0), who="Dr B", based_on=opened)
    assert "Ours" not in constraint_templates.names(app)
