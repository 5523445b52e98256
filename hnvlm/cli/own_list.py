"""Command that makes the folders of many patients from a list, one row a patient."""

from __future__ import annotations

import csv
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer

from hnvlm.cli import inputs
from hnvlm.cli.own_case import SIDES, Wanted, make_case
from hnvlm.cli.reading import Json
from hnvlm.cli.runtime import Session, session, unexpected
from hnvlm.errors import CancelledError, HnvlmError, UnreadableFileError, UsageError
from hnvlm.imaging import archive, dicom
from hnvlm.imaging.whose import number_of_patient

COLUMNS = ("input", "folder", "structures", "dose", "report", "encoding", "corrected", "series")
NEEDED = ("input", "folder")
_SAID = {"yes": True, "true": True, "1": True, "": False, "no": False, "false": False, "0": False}
_ABOUT = "The list is a CSV file whose first line names its columns: " + ", ".join(COLUMNS) + " (as of import-case)"


@dataclass(frozen=True)
class Row:
    """One line of the list: what is wanted, its number in the file, and the folder as the list names it."""

    line: int
    name: str
    wanted: Wanted


def import_cases(
    list_: Annotated[Path, typer.Argument(metavar="LIST", help="CSV, one line a patient; see below.")],
    data: Annotated[Path, typer.Argument(metavar="DIR", help="Data folder; made when missing.")],
    encoding: Annotated[
        str, typer.Option("--encoding", help="Code page of reports for which the list names none, e.g. cp1250.")
    ] = "utf-8-sig",
    json_: Json = False,
) -> None:
    """Make the folders of many patients, as import-case makes one.

    The first line of LIST names its columns: input and folder (below DIR, such as train/a1), and where you need them
    structures, dose, report, encoding, corrected (yes), series. Paths are relative to LIST. A patient who is refused is
    listed with the reason, and the rest goes on; folders that are there are passed over, so the same command goes on
    where it was stopped, and takes up those that were mended.
    """
    with session(json_) as out:
        rows = read_list(list_, data, encoding)
        inputs.require_place(data)
        cases = _import(rows, out)
        out.progress(1.0, "list done")
        counts = {state: sum(c["state"] == state for c in cases) for state in ("imported", "there already", "refused")}
        payload = {
            "n_rows": len(rows), "n_imported": counts["imported"], "n_there": counts["there already"],
            "n_refused": counts["refused"], "cases": cases,
        }  # fmt: skip
        out.emit(payload, lambda: _print_cases(out, payload))


def _import(rows: list[Row], out: Session) -> list[dict[str, Any]]:
    """Line, folder and state (imported | there already | refused) of every row, and what was made or why not."""
    both = _on_both_sides(rows)
    cases: list[dict[str, Any]] = []
    try:
        for number, row in enumerate(rows):
            step = _Step(out, number, len(rows), row.name)
            step.progress(0.0, "opening")
            entry: dict[str, Any] = {"line": row.line, "folder": row.name}
            if row.wanted.folder.exists():
                entry["state"] = "there already"
            elif row.line in both:
                entry |= _refused("other_side", both[row.line])
            else:
                entry |= _one(row.wanted, step)
            if entry["state"] == "refused":
                step.warn(f"refused: {entry['error']}")
            cases.append(entry)
    except KeyboardInterrupt as error:
        made = sum(c["state"] == "imported" for c in cases)
        raise CancelledError(f"Stopped. {made} imported so far stay; the same command goes on.") from error
    return cases


class _Step(Session):
    """Output of one row's work within the whole list's."""

    def __init__(self, whole: Session, number: int, of: int, name: str) -> None:
        super().__init__(whole.as_json, whole.stdout)
        self._whole, self._number, self._of, self._name = whole, number, of, name

    def progress(self, fraction: float, message: str) -> None:
        share = (self._number + min(1.0, fraction)) / self._of
        self._whole.progress(min(share, 0.999), f"{self._number + 1} of {self._of}, {self._name}: {message}")

    def warn(self, text: str) -> None:
        self._whole.warn(f"{self._name}: {text}")


def _one(wanted: Wanted, step: _Step) -> dict[str, Any]:
    try:
        made, _ = make_case(wanted, step)
    except CancelledError:
        raise
    except HnvlmError as error:
        if error.code in ("output", "disk"):  # the next rows would meet it, too
            raise
        return _refused(error.code, error.message)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - one patient's files must not keep all others from being imported
        return _refused("unexpected", unexpected(error))
    return {"state": "imported"} | {key: value for key, value in made.items() if key != "folder"}


def _refused(code: str, message: str) -> dict[str, Any]:
    return {"state": "refused", "code": code, "error": message}


def read_list(path: Path, data: Path, encoding: str) -> list[Row]:
    """The rows of a list; all of it is checked before the first patient is read.

    Args:
        data: Where the folders are made.
        encoding: Code page of reports for which the list names none.

    Raises:
        UsageError: It is no such list, or a row of it cannot be meant; the message names the line.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a list of its patients. {_ABOUT}.")
    text = inputs.read_text(path, "utf-8-sig", f"{_ABOUT}.", "no UTF-8 text. Save the list as CSV in UTF-8.")
    head = text.partition("\n")[0]
    reader = csv.reader(text.splitlines(keepends=True), delimiter=max(",;\t", key=head.count))
    try:
        lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(c.strip() for c in row)]
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: no CSV ({error}). {_ABOUT}.") from error
    columns = [cell.lower() for cell in lines[0][1]] if lines else []
    wrong = [c or "(no name)" for c in columns if c not in COLUMNS] + [c for c in COLUMNS if columns.count(c) > 1]
    missing = [c for c in NEEDED if c not in columns]
    faults = (("no column", missing), ("not to be used:", wrong))
    if said := [f"{fault} {', '.join(names)}" for fault, names in faults if names]:
        raise UsageError(f"{path}, first line: {'; '.join(said)}. {_ABOUT}.")
    rows = []
    for line, cells in lines[1:]:
        if len(cells) > len(columns) and any(cells[len(columns) :]):
            raise UsageError(f"{path}, line {line}: more cells than columns. Put quotes around what holds a separator.")
        rows.append(_row(path, line, dict(zip(columns, cells, strict=False)), data, encoding))
    if not rows:
        raise UsageError(f"{path}: no patient in it. {_ABOUT}.")
    _require_apart(path, rows)
    return rows


def _row(path: Path, line: int, cells: dict[str, str], data: Path, encoding: str) -> Row:
    where = f"{path}, line {line}"
    for column in NEEDED:
        if not cells.get(column):
            raise UsageError(f"{where}: {column} is empty.")
    name = PurePosixPath(cells["folder"].replace("\\", "/"))
    if name.is_absolute() or any(part.startswith(".") for part in name.parts):
        raise UsageError(f"{where}: folder {cells['folder']} is to be a name below DIR, such as train/a1.")
    said = _SAID.get(cells.get("corrected", "").lower())
    if said is None:
        raise UsageError(f"{where}: corrected is yes or no, not {cells['corrected']}.")

    def file(column: str) -> Path | None:
        return path.parent / Path(cells[column]).expanduser() if cells.get(column) else None

    given = cells["input"] if inputs.is_case_id(cells["input"]) else str(file("input"))
    wanted = Wanted(
        given, data / name, file("structures"), file("dose"), file("report"), cells.get("encoding") or encoding, said,
        cells.get("series") or None,
    )  # fmt: skip
    return Row(line, str(name), wanted)


def _require_apart(path: Path, rows: list[Row]) -> None:
    """Refuse two rows for one folder, and one folder within another."""
    first: dict[PurePosixPath, int] = {}
    for row in rows:
        name = PurePosixPath(row.name.casefold())  # on many disks A1 is a1
        if name in first:
            raise UsageError(f"{path}, line {row.line}: folder {row.name} is that of line {first[name]}, too.")
        first[name] = row.line
    for name, line in first.items():
        if above := next((first[p] for p in name.parents if p in first), None):
            raise UsageError(f"{path}, line {line}: its folder lies within that of line {above}.")


def _on_both_sides(rows: list[Row]) -> dict[int, str]:
    """Line -> why, of rows of one person to be learned from and measured on both."""
    lines: dict[tuple[str, ...], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        side = PurePosixPath(row.name).parts[0]
        if side in SIDES and (person := _person(Path(row.wanted.input))):
            lines[person][side].append(row.line)
    out = {}
    for sides in lines.values():
        if len(sides) > 1:
            told = " and ".join(f"{side} (line {', '.join(map(str, sides[side]))})" for side in SIDES)
            why = f"the DICOM headers call it the same patient in {told}; all CTs of one person belong on one side"
            out |= {line: why for found in sides.values() for line in found}
    return out


def _person(source: Path) -> tuple[str, ...] | None:
    """Whose CT a folder or file holds, by one of its files; None where that is not told (zip, NIfTI, no number)."""
    files = archive.list_files(source) if source.is_dir() else iter([source] if source.is_file() else [])
    with suppress(OSError, UnreadableFileError):
        headers = next((dicom.read_headers(f) for f in files if dicom.looks_like_dicom(f)), [])
        if headers and (number := number_of_patient(headers[0])):
            return number, *(headers[0].text(tag).upper() for tag in ("PatientBirthDate", "PatientName"))
    return None


def _print_cases(out: Session, payload: dict[str, Any]) -> None:
    table = []
    for case in payload["cases"]:
        table.append([case["line"], case["folder"], case["state"], _in_words(case)])
    out.table(["line", "folder", "state", "what, or why not"], table)
    out.line(
        f"{payload['n_imported']} imported, {payload['n_there']} there already, {payload['n_refused']} refused"
        + ("; mend what is refused and run it again" if payload["n_refused"] else "")
    )


def _in_words(case: dict[str, Any]) -> str:
    if case["state"] != "imported":
        return case.get("error", "")
    parts = [f"{len(case['structures'])} contours" if case["structures"] else "no contours"]
    parts += [f"gross tumour {', '.join(case['gross_tumour'])}"] if case["gross_tumour"] else []
    parts += [f"dose to {case['dose_max_gy']:g} Gy"] if case["dose_max_gy"] is not None else []
    report = case["report"]
    if report is not None:
        none = f"not taken, it {report['not_taken']}" if report["not_taken"] else "no lesion"
        parts.append(f"report: {len(report['lesions'])} lesion(s)" if report["lesions"] else f"report: {none}")
    return "; ".join([*parts, *(f"warning: {text}" for text in case["warnings"])])
