"""Facts of a counterfactual: what was asked, what is there, what stayed the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from hnvlm.services.agreement import SIZE_TOLERANCE_MM, SIZE_TOLERANCE_SHARE
from hnvlm.services.edit_requests import filled_in, sized_in_words
from hnvlm.ui import html

_ASKED = (("op", "Operation"), ("kind", "Lesion"), ("site", "Site"), ("place", "Place"), ("side", "Side"),
          ("level", "Level"), ("size_mm", "Size, mm"), ("narrowing_pct", "Narrowing, %"),
          ("texture", "Texture"))  # fmt: skip
_WORDS = {
    "changed_ml": "Changed volume",
    "changed_voxels": "Changed voxels",
    "max_abs_change_outside_hu": "Largest change outside the edit",
    "mean_abs_change_inside_hu": "Mean change inside the edit",
    "found": "Lesion found in the result",
    "side_right": "Side as asked",
    "level_right": "Level as asked",
    "edits": "Places changed",
    "drawings": "Drawings made",
    "contoured": "Contoured by the clinic",
    "lesions_before": "Lesions seen before",
    "lesions_after": "Lesions seen after",
    "understood": "Sentences acted on",
}
_FILLED_IN = "not said, chosen by the model"
# A longer text than this (characters) is a report: what was asked for in it is shown, and the whole behind a click.
_SHORT_TEXT = 240


def show(payload: Mapping[str, Any]) -> None:
    """Show asked against measured, the region and the proof that the rest is the original."""
    st.markdown("**Asked**")
    html.facts([("Text", asked_text(payload)), *asked_of(payload["asked"])])
    if asked_text(payload) != payload["text"]:
        with st.expander("Whole text of the request"):
            html.text_block(payload["text"], label="Whole text of the request")
    asked, match = payload["asked"], payload["text_match"]
    notices = [told(asked, match) for told in (removed_otherwise, added_unseen, sized_otherwise)]
    for notice in filter(None, (payload.get("both_ways"), *notices)):  # older ones were stored without it
        st.markdown(f":orange[{notice}]")  # the column is too narrow for a badge beside it
    st.markdown("**Measured in the result**")
    html.facts([*sizes(asked, match), *((name_of(key), measured(key, value)) for key, value in match.items())] or
               [("Nothing", "–")])  # fmt: skip
    st.markdown("**Kept from the original**")
    html.facts([(name_of(key), _hu(key, value)) for key, value in payload["identity"].items()])
    st.markdown("**Edited region**")
    html.facts([*region(payload["edit_box_mm"], payload.get("box")), ("Made in", f"{payload['seconds']:.0f} s"),
                ("Seed", str(payload["seed"])), ("Model", str(payload["model"]))])  # fmt: skip


UNCHANGED = "Unchanged: nothing was drawn or removed. This is the original CT; there is nothing to export."


def unchanged(payload: Mapping[str, Any]) -> bool:
    """Whether an edit left every voxel as it was, as a removal of what is not there does."""
    return payload["identity"].get("changed_voxels") == 0


def asked_text(payload: Mapping[str, Any]) -> str:
    """Return the text of a request; of a whole report only the sentences that were acted on, where they are known."""
    acted_on = " ".join(payload["text_match"].get("understood", ()))
    return acted_on if len(payload["text"]) > _SHORT_TEXT and acted_on else payload["text"]


def asked_of(asked: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was asked in words; of several commands each with its own operation."""
    commands = asked.get("requests") or [asked]
    if len(commands) == 1:
        return [(label, _named(key, asked) + _filled_in(key, commands[0])) for key, label in _ASKED if asked.get(key)]
    return [
        (
            f"Command {number}",
            ", ".join(_pair(key, command[key]) + _filled_in(key, command) for key, _ in _ASKED if command.get(key)),
        )
        for number, command in enumerate(commands, 1)
    ]


def _filled_in(key: str, command: Mapping[str, Any]) -> str:
    return f" ({_FILLED_IN})" if key in filled_in(command) else ""


def removed_otherwise(asked: Mapping[str, Any], match: Mapping[str, Any]) -> str:
    """Say that more or fewer lesions were removed than the commands name; empty when it is as asked."""
    commands = asked.get("requests") or [asked]
    named = [command for command in commands if command.get("op") == "remove"]
    if not named or "edits" not in match:
        return ""
    removed = match["edits"] - sum(command.get("op") == "add" for command in commands)
    if removed < len(named):
        count = "No lesion" if removed == 0 else f"Only {removed} of {len(named)}"
        told = f"{count} to remove was found: nothing was seen on the original where it is said to be."
        chosen = {key: _named(key, command) for command in named for key in sorted(filled_in(command))}
        if not chosen:
            return told
        looked = ", ".join(f"{key}: {value}" for key, value in chosen.items())
        return f"{told} Not said and chosen by the model: {looked}. Name the {' and the '.join(chosen)} to be sure."
    if removed > len(named) and all(command.get("place") for command in named):
        if not all(command.get("side") for command in named):
            return f"{removed} lesions were removed for {len(named)} named: no side is said, so both are meant."
        return (
            f"{removed} lesions were removed for {len(named)} named: one of the same kind and side in the neighbouring "
            "level or site is taken along."
        )
    return ""


def added_unseen(asked: Mapping[str, Any], match: Mapping[str, Any]) -> str:
    """Say which of the lesions to add are not seen in the result at their place; empty when all are."""
    if "lesions_after" not in match:
        return ""
    unseen = [c for c in _of(asked, "add") if c.get("place") and not _there(match["lesions_after"], c)]
    names = "; ".join(", ".join(words(c[key]) for key in ("kind", "place", "side") if c.get(key)) for c in unseen)
    return f"Not seen in the result where it was asked for: {names}. Try another seed or a larger one." if names else ""


def sizes(asked: Mapping[str, Any], match: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the size that was asked of each added lesion against what is measured at its place, where both are known.

    Of several lesions at one place nobody knows which was drawn: all are given.
    """
    return [(f"Size of {_name(command)}", _against(command, found)) for command, found in _sized(asked, match)]


def sized_otherwise(asked: Mapping[str, Any], match: Mapping[str, Any]) -> str:
    """Say which added lesions are measured with another size than asked; empty when all are near enough.

    Near enough is what a report's size may differ from the measured one (``services.agreement``).
    """
    off = [
        (command, found)
        for command, found in _sized(asked, match)
        if all(abs(command["size_mm"] - mm) > max(SIZE_TOLERANCE_MM, SIZE_TOLERANCE_SHARE * mm) for mm in found)
    ]
    if not off:
        return ""
    names = "; ".join(f"{_name(command)}, {_against(command, found)}" for command, found in off)
    told = (
        f"Not the size that was asked for, by more than {SIZE_TOLERANCE_MM:g} mm and {100 * SIZE_TOLERANCE_SHARE:g} % "
        f"of what is measured: {names}."
    )
    before = [*match.get("lesions_before", ()), *match.get("contoured", ())]
    if not _of(asked, "remove") and any(_there(before, command) for command, _ in off):
        return f"{told} A lesion was there on the original, too: that one or both may be what is measured."
    return told


def _sized(asked: Mapping[str, Any], match: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], list[float]]]:
    """The commands that add a lesion of a size in mm, each with the sizes measured at its place."""
    wanted = [c for c in _of(asked, "add") if c.get("place") and c.get("size_mm") and not sized_in_words(c)]
    found = [[a["size_mm"] for a in _there(match.get("lesions_after", ()), c) if a.get("size_mm")] for c in wanted]
    return [(command, measured_mm) for command, measured_mm in zip(wanted, found, strict=True) if measured_mm]


def _against(command: Mapping[str, Any], found_mm: Sequence[float]) -> str:
    return f"{words(command['size_mm'])} mm asked, {' and '.join(map(words, found_mm))} mm measured"


def _of(asked: Mapping[str, Any], op: str) -> list[Mapping[str, Any]]:
    return [command for command in asked.get("requests") or [asked] if command.get("op") == op]


def _there(lesions: Sequence[Mapping[str, Any]], command: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The lesions at the place of a command; a side that was not named is drawn by lot, so either is its own."""
    return [a for a in lesions if a.get("place") == command["place"] and command.get("side") in (None, a.get("side"))]


def _name(command: Mapping[str, Any]) -> str:
    return _lesion({key: command.get(key) for key in ("side", "kind", "place")})


def measured(key: str, value: Any) -> str:
    """Return a fact of the result in words; lesions as a reader names them, with the probability that one is there."""
    if key not in ("contoured", "lesions_before", "lesions_after") or not value:
        return words(value)
    return "; ".join(_lesion(lesion) for lesion in value)


def _lesion(lesion: Mapping[str, Any]) -> str:
    what = " ".join(words(lesion[key]) for key in ("side", "kind") if lesion.get(key))
    size = f"{words(lesion['size_mm'])} mm" if lesion.get("size_mm") is not None else ""
    sure = f"probability {100 * lesion['score']:.0f} %" if lesion.get("score") is not None else ""
    return ", ".join(part for part in (what, _named("place", lesion), size, sure) if part)


def _named(key: str, lesion: Mapping[str, Any]) -> str:
    """Return one of the facts of a lesion; the place of a node is a level."""
    if key == "place" and lesion.get("place") and lesion.get("kind") == "node":
        return f"level {words(lesion['place'])}"
    return words(lesion[key]) if lesion.get(key) else ""


def name_of(key: str) -> str:
    """Return a key of the facts in words."""
    text = _WORDS.get(key) or key.removesuffix("_hu").removesuffix("_mm").replace("_", " ")
    return text[0].upper() + text[1:]


def words(value: Any) -> str:
    """Return a value of the facts in words: lists and records flattened, numbers with few digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "not measured"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Mapping):
        return ", ".join(_pair(k, v) for k, v in value.items() if v not in (None, ""))
    if isinstance(value, list | tuple):
        return "; ".join(words(v) for v in value) or "none"
    return str(value).replace("_", " ")


def _pair(key: str, value: Any) -> str:
    if key == "size_mm":
        return f"{words(value)} mm"
    if key == "narrowing_pct":
        return f"{words(value)} %"
    return f"score {words(value)}" if key == "score" else words(value)


def _hu(key: str, value: Any) -> str:
    text = words(value)
    if key.endswith("_ml") and isinstance(value, int | float):
        return f"{text} ml"
    return f"{text} HU" if "hu" in key.split("_") and isinstance(value, int | float) else text


def region(box: Any, voxels: Sequence[int] | None = None) -> list[tuple[str, str]]:
    """Return the size of the edited region in millimetres along the patient's directions, and its slices.

    Args:
        box: ((z0, y0, x0), (z1, y1, x1)) in LPS millimetres, or None when nothing was changed.
        voxels: (z0, y0, x0, z1, y1, x1), end exclusive.
    """
    if box is None:
        return [("Region", "nothing was changed")]
    (z0, y0, x0), (z1, y1, x1) = box
    size = f"{abs(x1 - x0):.0f} mm across, {abs(y1 - y0):.0f} mm front to back, {abs(z1 - z0):.0f} mm up and down"
    # The viewer counts slices from 1; the voxel box ends exclusive.
    where = [("Axial slices", f"{voxels[0] + 1} to {voxels[3]}")] if voxels else []
    return [("Size", size), *where]
