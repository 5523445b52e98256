"""Commands that draw synthetic CT: counterfactual, generate, demo."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated, Any

import numpy as np
import typer

from hnvlm.cli import inputs
from hnvlm.cli.reading import Input, Json, Out, Seed, Series, Structures, clinic_structures
from hnvlm.cli.runtime import Session, session
from hnvlm.services import counterfactual, demo, edit_requests, export

Text = Annotated[str, typer.Option("--text", help="What the CT should show.")]


def counterfactual_(
    input_: Input, text: Text, out_dir: Out, structures: Structures = None, seed: Seed = 0, series: Series = None,
    json_: Json = False,
) -> None:  # fmt: skip
    """Draw what a text says into the patient's CT; outside the edit every voxel stays the original's."""
    with session(json_) as out:
        text = edit_requests.require_text(text)
        inputs.require_place(out_dir)
        with inputs.open_subject(input_, out, series) as subject:
            masks, notes = clinic_structures(subject, structures)
            found = subject.analyse(masks)
            # Only what the case itself holds is stored with it.
            if subject.app is not None and subject.case_id is not None and not masks:
                result = counterfactual.run_for_case(
                    subject.app, subject.case_id, text, seed=seed, who="command line", progress=out.progress
                )
                payload = result.payload | {"result_id": result.id}
                files = counterfactual.export_result(subject.app, result.id, out_dir, who="command line")
            else:
                edit = counterfactual.run(subject.models, subject.volume, text, found, seed=seed, progress=out.progress)
                payload = counterfactual.describe(edit, text)
                mask = np.asarray(edit.edit_mask, bool)
                files = export.write_counterfactual(subject.volume, edit.volume, mask, out_dir)
            payload |= {"files": files, "warnings": [*subject.warnings, *notes]}
            out.emit(payload, lambda: _print_edit(out, payload))


def generate(text: Text, out_dir: Out, seed: Seed = 0, json_: Json = False) -> None:
    """Draw what a text says without a patient."""
    with session(json_) as out:
        text = edit_requests.require_text(text)
        inputs.require_place(out_dir)
        edit = inputs.load_models().generate(edit_requests.to_draw(text), seed=seed, progress=out.progress)
        files = export.write_counterfactual(None, edit.volume, np.asarray(edit.edit_mask, bool), out_dir)
        payload = counterfactual.describe(edit, text) | {"files": files}
        out.emit(payload, lambda: _print_edit(out, payload))


def demo_(
    if_empty: Annotated[bool, typer.Option("--if-empty", help="Only if the store holds no case at all.")] = False,
    json_: Json = False,
) -> None:
    """Create the synthetic demo case (or find it) and print its id."""
    with session(json_) as out, closing(inputs.open_app()) as app:
        if if_empty and app.store.list_cases(include_deleted=True):
            found = demo.existing_demo(app)
            payload: dict[str, Any] = {"case_id": found.id if found else None, "created": False}
            out.emit(payload, found.id if found else "The store already holds cases; no demo case was made.")
            return
        before = demo.existing_demo(app)
        case = demo.create_demo(app, who="command line", progress=out.progress)
        out.emit({"case_id": case.id, "created": before is None, "description": case.description}, case.id)


def _print_edit(out: Session, payload: dict[str, Any]) -> None:
    out.line(f"asked: {payload['asked']}")
    if payload.get("both_ways"):
        out.line(payload["both_ways"])
    out.line(f"edit box (mm, z y x): {payload['edit_box_mm']}")
    for name, path in payload["files"].items():
        out.line(f"{name}: {path}")
    out.line(f"({payload['notice']}; {payload['model']}, {payload['seconds']:.1f} s)")
