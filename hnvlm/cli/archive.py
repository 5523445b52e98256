"""Commands for many cases or for the program itself: serve, batch, bench, store check, backup, audit and erase."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from hnvlm.cli import inputs
from hnvlm.cli.reading import Json, Out
from hnvlm.cli.runtime import Session, session
from hnvlm.errors import HnvlmError, UsageError
from hnvlm.imaging.archive import passed_over
from hnvlm.services import batch as batches
from hnvlm.services import bench as benches
from hnvlm.services import upkeep

store = typer.Typer(no_args_is_help=True, help="The case store on disk (HNVLM_DATA_DIR).")


def serve(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="TCP port.")] = 8501,
    address: Annotated[str, typer.Option("--address", help="Address to listen on.")] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser", help="Open a browser window.")] = False,
    json_: Json = False,
) -> None:
    """Start the app and serve it until stopped."""
    with session(json_, server=True):
        _require_free(address, port)
        from hnvlm.ui.launch import serve as run

        run(port, not browser, address=address)


def _require_free(address: str, port: int) -> None:
    """Say before the start that nobody can listen there: the server's own words go to no JSON and name no way out."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":  # a server that ended a moment ago holds nothing
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            raise HnvlmError(
                f"Port {port} is taken, perhaps by this program. Stop what uses it, or choose another with --port.",
                code="port",
            ) from error
        if number == errno.EACCES:
            raise HnvlmError(
                f"Port {port} may not be used by this user. Choose one from 1024 up with --port.", code="port"
            ) from error
        raise UsageError(
            f"--address {address}: no address of this machine. 127.0.0.1, the default, serves this machine alone."
        ) from error


def batch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Archive: any tree of DICOM or NIfTI.")],
    out_dir: Out,
    engine: Annotated[str, typer.Option("--engine", help="local or ray.")] = "local",
    language: Annotated[str, typer.Option("--language", help="en or pl.")] = "en",
    json_: Json = False,
) -> None:
    """Write report, plan and findings of every CT series of an archive.

    Finished ones are passed over; those made in another language or by other models are made anew in their place, so
    give each language a folder of its own. Structures that lie with a CT are planned on.
    """
    with session(json_) as out:
        if engine not in ("local", "ray"):
            raise UsageError(f"There is no engine '{engine}'; choose local or ray.")
        if engine == "ray":
            raise HnvlmError("The ray engine is not part of this version; use --engine local.", code="engine")
        inputs.require_folder(folder, "DIR")
        payload = batches.run_batch(inputs.load_models, folder, out_dir, language=language, progress=out.progress)
        payload["warnings"] = [links] if (links := passed_over(folder)) else []
        for warning in payload["warnings"]:
            out.warn(warning)
        rows = [[c["folder"], c["state"], c.get("error", c.get("because", ""))] for c in payload["cases"]]
        out.emit(payload, lambda: out.table(["case", "state", "reason"], rows))


def bench(
    data: Annotated[
        Path | None, typer.Option("--data", help="DICOM folder to measure on; default: a generated series.")
    ] = None,
    models: Annotated[bool, typer.Option("--models/--no-models", help="Also time the models.")] = False,
    repeats: Annotated[int, typer.Option("--repeats", min=1, max=50, help="Best of this many.")] = 3,
    json_: Json = False,
) -> None:
    """Measure reading, storing and (with --models) inference on this machine, each against a reference."""
    with session(json_) as out:
        if data is not None:
            inputs.require_folder(data, "--data")
        loader = inputs.load_models if models else None
        rows = benches.run_bench(data, loader, repeats=repeats, progress=out.progress)
        table = [
            [m.name, f"{m.value:.4g} {m.unit}", m.compared_with, "" if m.ratio is None else f"{m.ratio:.2f}"]
            for m in rows
        ]
        out.emit({"measurements": rows}, lambda: out.table(["measurement", "value", "compared with", "ratio"], table))


@store.command("check")
def check(
    repair: Annotated[
        bool, typer.Option("--repair", help="Also remove files that belong to no case (older than an hour).")
    ] = False,
    json_: Json = False,
) -> None:
    """Compare every stored file with what was saved. Safe while the app runs; exit code 3 when something is damaged."""
    with session(json_) as out:
        with closing(inputs.open_app()) as app:
            report = app.store.verify(out.progress)
            if not report.ok:  # what belongs to no case cannot be told while rows or files are lost
                raise HnvlmError(_damage(report.lost(), app.store.path), code="store_damaged")
            removed = app.store.remove_orphans() if repair else []
        payload = {
            "folder": str(app.store.path), "ok": True, "checked_arrays": report.checked_arrays,
            "orphans": report.orphans, "removed": removed,
        }  # fmt: skip
        out.emit(payload, lambda: _print_check(out, payload, repair))


@store.command("backup")
def backup(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the copy, new or empty.")],
    json_: Json = False,
) -> None:
    """Copy the store into DIR and check the copy. Safe while the app runs. With HNVLM_DATA_DIR=DIR it is restored."""
    with session(json_) as out:
        with closing(inputs.open_app()) as app:
            counts, report = upkeep.back_up(app, target, progress=out.progress)
        if not report.ok:
            raise HnvlmError(
                f"{target} holds all of {app.store.path} that could be read. Lost is: {_listed(report.lost())}. "
                "Restore it from an older backup, and make this one again in another folder.",
                code="store_damaged",
            )
        payload = counts | {"ok": True}
        words = f"{payload['cases']} case(s), {payload['results']} result(s) and {payload['arrays']} array file(s)"
        out.emit(payload, f"{words} were copied to {target} and are as they were saved.")


@store.command("audit")
def audit(
    case: Annotated[str | None, typer.Argument(metavar="[CASE]", help="Of this case alone.")] = None,
    json_: Json = False,
) -> None:
    """Print who did what and when, oldest first: added, saved, signed, exported, deleted. Names are as typed."""
    with session(json_) as out:
        with closing(inputs.open_app()) as app:
            found = app.store.audit(app.store.get_case(case.upper()).id if case else None)
        rows = [[e.created[:19], e.case_id or "-", e.who or "nobody named", e.action] for e in found]
        out.emit({"events": [vars(e) for e in found]}, lambda: out.table(["UTC", "case", "who", "what"], rows))


@store.command("erase")
def erase(
    case: Annotated[str, typer.Argument(metavar="CASE", help="Id of a case that was deleted in the app.")],
    yes: Annotated[bool, typer.Option("--yes", help="Erase it; nothing brings it back but a backup.")] = False,
    json_: Json = False,
) -> None:
    """Erase a deleted CASE for good: CT, results, texts, signatures, audit trail, exports. One line says it was."""
    with session(json_) as out:
        if not yes:
            raise UsageError(f"Nothing was erased. {case} cannot be brought back afterwards; add --yes to erase it.")
        with closing(inputs.open_app()) as app:
            payload = upkeep.erase(app, case.upper(), who="command line")
        out.emit(payload, lambda: _print_erased(out, payload))


def _print_erased(out: Session, payload: dict[str, Any]) -> None:
    out.line(
        f"{payload['case_id']} was erased: {payload['results']} result(s), {payload['arrays']} array file(s), "
        f"{payload['exports']} export(s). Backups of before still hold it."
    )
    if payload["arrays_left"]:
        out.line(
            f"{payload['arrays_left']} array file(s) are being stored anew and stay; hnvlm store check --repair "
            "removes them in an hour if no case names them by then."
        )
    if not payload["vacuumed"]:
        out.line(
            "The database is in use and could not be written anew: zeros stand where the case was, and its journal may "
            "hold pages of before until the app is next stopped."
        )


def _damage(lost: list[str], folder: Path) -> str:
    """What is lost, and what to do."""
    return f"{folder}: {_listed(lost)}. Restore what is named from a backup of this folder; nothing of it was changed."


def _listed(lost: list[str]) -> str:
    return "; ".join(lost[:20]) + (f"; and {len(lost) - 20} more" if len(lost) > 20 else "")


def _print_check(out: Session, payload: dict[str, Any], repair: bool) -> None:
    out.line(f"{payload['folder']}: {payload['checked_arrays']} file(s) and the database are as they were saved.")
    removed = len(payload["removed"])
    left = len(payload["orphans"]) - removed
    if removed:
        out.line(f"{removed} file(s) that belong to no case were removed.")
    if left > 0 and repair:
        out.line(f"{left} file(s) belong to no case yet; they are younger than an hour, and may be about to.")
    elif left > 0:
        out.line(f"{left} file(s) belong to no case. They do no harm; --repair removes those older than an hour.")
