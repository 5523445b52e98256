"""From an upload to a case: spool to disk, list the series, read the picked one, store it without identity."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from hnvlm.errors import CancelledError, HnvlmError, InputRefusedError, NotFoundError, UsageError
from hnvlm.imaging import archive
from hnvlm.imaging import intake as reader
from hnvlm.imaging.intake import SeriesInfo
from hnvlm.imaging.volume import Volume
from hnvlm.services.analysis import part
from hnvlm.services.context import App
from hnvlm.services.identity import map_uid, pseudonym
from hnvlm.services.jobs import JobContext
from hnvlm.services.plain import one_line
from hnvlm.services.rt_objects import (
    coverage_notes,
    dose_result,
    frames_of,
    prescription_notes,
    read_dose,
    read_structures,
)
from hnvlm.store import CaseRecord
from hnvlm.types import Progress, no_progress

_CHUNK = 1 << 20
# Of an uploaded file's name: file systems take 255 bytes, and a letter of UTF-8 has up to four.
_NAME_LETTERS = 60
# Words of messages that files are called by, too; they identify nobody.
_WORD_LIST = """
    above air archive archives atlas axial base beam beams below body brain color colour contour contours copy cord
    damaged data dates dicom dicomdir dose doses draft empty export file files first folder frame frames gantry grid
    head image images kernel large larynx last left level levels localizer lost mandible mask masks missing
    monochrome neck new newest nifti node noise none oblique off old orientation original other outline padding
    parotid part patient patients phase phases pixel pixels plan plans position positions projection report rescale
    right rtdose rtplan rtstruct same scale scanner scout scouts screen secondary seg segment segmentation segments
    series server shot single size slice slices soft source spacing structure structures study sum synthetic target
    test tilt tissue unit unknown value values volume volumes voxel voxels wide window windows zip
"""
_WORDS = frozenset(_WORD_LIST.split())
GONE = "This upload is no longer on the server. Upload the files again."


@dataclass(frozen=True, eq=False)
class Upload:
    """Files a user handed in, on disk, with the series found in them.

    Attributes:
        id: Names the folder below the uploads folder; "" when the files are the user's own and stay.
        source: File or folder that was scanned.
        series: Accepted CT first; ``series_uid``, ``reasons``, ``warnings``, ``to_json()`` for the screen.
    """

    id: str
    source: Path
    workdir: Path | None
    series: list[SeriesInfo] = field(default_factory=list)

    @property
    def accepted(self) -> list[SeriesInfo]:
        """Series that can become a case."""
        return [s for s in self.series if s.accepted]

    @property
    def patients(self) -> int:
        """How many patients the accepted series are of, as far as their headers say."""
        return len({s.whose.patient for s in self.accepted if s.whose})

    @property
    def studies(self) -> int:
        """How many studies the accepted series are of, as far as their headers say."""
        return len({s.whose.study for s in self.accepted if s.whose})

    def find(self, series_uid: str | None) -> SeriesInfo:
        """Return one series; without a UID the first accepted one.

        Raises:
            NotFoundError: No series has this UID.
            InputRefusedError: No series is accepted; the message lists why.
        """
        if series_uid is not None:
            for series in self.series:
                if series.series_uid == series_uid:
                    return series
            raise NotFoundError(f"No series {series_uid} in {self.source.name}.")
        if not self.accepted:
            listed = "; ".join(f"{s.modality} series: {', '.join(s.reasons)}" for s in self.series[:5])
            raise InputRefusedError(f"{self.source.name}: no CT series can be read. {listed}.", code="no_ct_series")
        return self.accepted[0]


def spool(app: App, files: Iterable[tuple[str, BinaryIO]]) -> Path:
    """Write uploaded files to disk in pieces; return the file (if one) or the folder.

    Args:
        files: (name, open binary file); a name may hold folders ("CT/1.dcm").

    Raises:
        UsageError: No file.
        HnvlmError: Code ``storage``: they cannot be written; nothing of them stays.
    """
    folder = app.uploads_dir / uuid.uuid4().hex / "files"
    try:
        return _written(folder, files)
    except OSError as error:
        shutil.rmtree(folder.parent, ignore_errors=True)
        raise HnvlmError(
            f"The files could not be written to the server's disk ({error.strerror or 'unknown reason'}). Nothing of "
            "them was kept. Free some space there, and upload them again.",
            code="storage",
        ) from error
    except BaseException:
        shutil.rmtree(folder.parent, ignore_errors=True)
        raise


def _written(folder: Path, files: Iterable[tuple[str, BinaryIO]]) -> Path:
    folder.mkdir(parents=True)
    os.chmod(folder.parent, 0o700)  # identified data until the case is made
    written: list[Path] = []
    for number, (name, stream) in enumerate(files):
        target = _inside(folder, name, number)
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "wb") as f:
            shutil.copyfileobj(stream, f, _CHUNK)
        written.append(target)
    if not written:
        raise UsageError("No file was uploaded.")
    return written[0] if len(written) == 1 else folder


def _inside(folder: Path, name: str, number: int) -> Path:
    """A path below ``folder`` for an uploaded name: no way out of it, nothing is overwritten."""
    parts = [p for p in PurePosixPath(name.replace("\\", "/")).parts if p not in ("/", "..", ".", "")]
    safe = [re.sub(r'[\x00-\x1f<>:"|?*]', "_", p)[-_NAME_LETTERS:] for p in parts[-6:]] or [f"file{number}"]
    target = folder.joinpath(*safe)
    if target.exists() or any(p.is_file() for p in target.parents if folder in p.parents):
        target = folder / f"again-{number}" / safe[-1]  # files are called by bare numbers, so no such folder name
    return target


def _unpack_each(folder: Path) -> None:
    """Unpack the zips of an upload of several files in their place: CT and structures often come as one zip each."""
    zips = [f for f in archive.list_files(folder) if f.suffix.lower() == ".zip"]
    archive.unpack_all(zips, folder)
    for file in zips:
        file.unlink()


def receive(app: App, files: Iterable[tuple[str, BinaryIO]]) -> Upload:
    """Spool an upload and list its series.

    Raises:
        UnreadableFileError: Nothing in it can be read, or a zip is damaged; the spooled files are removed.
    """
    app.sweep_uploads()
    source = spool(app, files)
    folder = upload_folder(app, source)
    try:
        workdir = folder / "unpacked"
        workdir.mkdir()
        if source.is_dir():
            _unpack_each(source)
        return Upload(folder.name, source, workdir, reader.scan(source, workdir))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def open_upload(app: App, upload_id: str) -> Upload:
    """List the series of an upload that is still on disk (after a reload of the page).

    Raises:
        NotFoundError: It is gone; upload again.
    """
    folder = app.uploads_dir / upload_id
    if not re.fullmatch(r"[0-9a-f]{32}", upload_id) or not _there(app, upload_id):
        raise NotFoundError(GONE)
    files = folder / "files"
    entries = list(files.iterdir())
    source = entries[0] if len(entries) == 1 and entries[0].is_file() else files
    workdir = folder / "unpacked"
    workdir.mkdir(exist_ok=True)
    # A zip is not unpacked anew: another tab may be reading what was unpacked for it.
    return Upload(upload_id, source, workdir, reader.scan(next(workdir.iterdir(), source), workdir))


def open_path(path: Path, workdir: Path | None = None) -> Upload:
    """List the series of the user's own files; nothing is copied or removed."""
    return Upload("", path, workdir, reader.scan(path, workdir))


def discard(app: App, upload: Upload) -> None:
    """Remove the spooled files of an upload (they still hold the patient's identity)."""
    if upload.id:
        shutil.rmtree(app.uploads_dir / upload.id, ignore_errors=True)


def require_there(app: App, upload: Upload) -> None:
    """Check that the files of an upload are still there: another tab may have made a case of them.

    Raises:
        NotFoundError: They are gone; upload again.
    """
    if upload.id and not _there(app, upload.id):
        raise NotFoundError(GONE)


def _there(app: App, upload_id: str) -> bool:
    return (app.uploads_dir / upload_id / "files").is_dir()


def create_case(
    app: App,
    upload: Upload,
    series_uid: str | None = None,
    *,
    description: str = "",
    origin: str = "upload",
    demo: bool = False,
    who: str = "",
    progress: Progress = no_progress,
) -> CaseRecord:
    """Read one series and store it as a case, with structures and dose of the same frame of reference.

    HU, geometry, numbers and defined terms are stored: no dates or file names of the source, no free text but the
    names of structures, and UIDs only as keyed hashes (equal UIDs stay equal within this store); of the patient's
    number and birth date a keyed hash, by which a later CT is proposed as of the same patient. A structure is called by
    its number where its name holds a person's whom its file names, too; what else was typed into one is kept.

    Args:
        series_uid: Which series; default the first accepted one.
        description: The user's words for the worklist; must not identify the patient.
        demo: The app drew and wrote the series itself, just now.

    Raises:
        InputRefusedError: The series cannot be read; the message says why.
        CancelledError: The user pressed Stop; nothing is stored.
    """
    series = upload.find(series_uid)
    result = reader.read(series, part(progress, 0.0, 0.8))
    raw_uid = result.volume.frame_of_reference_uid
    volume = Volume(result.volume.array, result.volume.spacing_mm, result.volume.origin_mm, map_uid(app, raw_uid))
    progress(0.8, "reading structures and dose")
    extras, notes = _rt_objects(upload, series, result.volume)
    warnings = [without_names(w, upload) for w in [*result.warnings, *notes]]
    if demo:  # the word in its pixels is our own SYNTHETIC: it names nobody
        warnings = [w for w in warnings if "burned-in annotation" not in w]
    progress(0.9, "storing")
    meta = {
        **result.meta,
        "warnings": warnings,
        "study_uid": map_uid(app, series.study_uid),
        "series_uid": map_uid(app, series.series_uid),
    }
    case = app.store.add_case(
        volume, origin=origin, description=one_line(description) or default_description(volume), demo=demo, meta=meta,
        who=who, patient=_patient(app, series, demo or bool(result.meta.get("synthetic"))),
    )  # fmt: skip
    _save_extras(app, case.id, volume, extras, who)
    progress(1.0, f"stored as {case.id}")
    return case


def _patient(app: App, series: SeriesInfo, synthetic: bool) -> tuple[str, int | None]:
    """What a CT's patient is recognised by; nothing of what was drawn, nor where the clinic wants none of it."""
    if synthetic or not series.headers or not app.settings.recognise_patients:
        return "", None
    return pseudonym(app, series.headers[0])


def _save_extras(app: App, case_id: str, volume: Volume, extras: dict[str, Any], who: str) -> None:
    """Store what came with the CT."""
    if "structures" in extras:
        masks = extras["structures"]
        rows = [{"name": n, "volume_ml": round(float(m.sum()) * volume.voxel_ml, 3)} for n, m in masks.items()]
        payload = {"structures": rows, "source": "upload"}
        app.store.save_result(case_id, "structures", payload, arrays={"masks": masks}, who=who)
    if "dose" in extras:
        payload, arrays = extras["dose"]
        app.store.save_result(case_id, "dose", payload, arrays=arrays, who=who)


def start_intake(
    app: App, upload: Upload, series_uid: str | None = None, *, description: str = "", who: str = ""
) -> str:
    """Make the case in the background and remove the upload; return the job id. Result: ``case_id``.

    The upload goes however the work ends, for it holds the patient's identity; only after Stop it stays, since another
    of its series may be wanted. Where the server dies, the next one removes it.

    Raises:
        NotFoundError: The upload is gone; upload again.
    """
    require_there(app, upload)
    if upload.id:
        os.utime(app.uploads_dir / upload.id)  # it is in use, so it is not swept as a forgotten one

    def work(job: JobContext) -> dict[str, Any]:
        try:
            case = create_case(app, upload, series_uid, description=description, who=who, progress=job.progress)
        except CancelledError:
            if app.jobs.closing:  # it was not the user who stopped it, and no page of the next server finds the upload
                discard(app, upload)
            raise
        except BaseException as error:
            _require_still_there(app, upload, error)
            if isinstance(error, HnvlmError):  # the message is kept with the job for good
                error.message = without_names(error.message, upload)
            discard(app, upload)
            raise
        discard(app, upload)
        return {"case_id": case.id}

    return app.jobs.submit("intake", work, who=who, needs_models=False, upload=upload.id)


def _require_still_there(app: App, upload: Upload, error: BaseException) -> None:
    """Say that the files went while they were read, rather than which of them was missed first."""
    try:
        require_there(app, upload)
    except NotFoundError as gone:
        raise gone from error


def already_stored(app: App, case: CaseRecord) -> list[CaseRecord]:
    """Return other cases that hold exactly the same CT, so that the page can point at them."""
    return [c for c in app.store.find_by_content(case.content_hash) if c.id != case.id]


def default_description(volume: Volume) -> str:
    """Words for the worklist that identify nobody."""
    z, y, x = volume.shape
    return f"CT {x}×{y}×{z}, {volume.spacing_mm[2]:.2f}×{volume.spacing_mm[1]:.2f}×{volume.spacing_mm[0]:.2f} mm"


def without_names(text: str, upload: Upload) -> str:
    """Remove the names of the upload's files and folders from a message: they often name the patient."""
    files = [f for s in upload.series for f in s.files]
    # Files that belong to no series (damaged ones, zips in zips) are named in warnings, too.
    for folder in (upload.source, upload.workdir):
        files += [f for f in folder.rglob("*") if f.is_file()] if folder is not None and folder.is_dir() else []
    if upload.source.parent.name != upload.id:  # else it is the folder "files" of ours, a word of many messages
        files.append(upload.source)
    names = {name for f in files for name in (str(f), f.name, *_stems(f))}
    found = sorted((n for n in names if len(n) > 2 and n.lower() not in _WORDS and n in text), key=len, reverse=True)
    # Files are often called by bare numbers: the place of a slice, which stands for its file's name, is left as it is.
    places = iter([*reader.PLACE.findall(text), ""])
    parts = reader.PLACE.split(text)
    for name in found:
        parts = [re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "(file)", part) for part in parts]
    text = "".join(part + place for part, place in zip(parts, places, strict=True))
    if upload.id:  # paths of files that belong to no series
        text = re.sub(rf"[^\s'\"]*{upload.id}[^'\":;\n]*", "(file)", text)
    return text


def _stems(file: Path) -> list[str]:
    """A file's name without its suffixes, where that tells anything: of "left.dcm" it is a word like any other."""
    stems = (file.stem, file.name.split(".")[0])
    return [stem for stem in stems if stem == file.name or not (stem.isascii() and stem.isalpha() and stem.islower())]


def upload_folder(app: App, source: Path) -> Path:
    """Return the folder of the upload that ``spool`` wrote to ``source``: it goes with all that is in it."""
    return app.uploads_dir / source.relative_to(app.uploads_dir).parts[0]


def structures_beside(upload: Upload, volume: Volume) -> tuple[Mapping[str, Any], list[str]]:
    """Masks of the clinic's structures that came with a CT, for who keeps no case, and what was odd about them."""
    own = [
        s for s in upload.series if s.modality in ("RTSTRUCT", "SEG") and volume.frame_of_reference_uid in frames_of(s)
    ]
    if not own:
        return {}, _of_no_ct_here(upload)
    beside = [f for s in upload.series if s.modality in ("RTDOSE", "RTPLAN") for f in s.files]
    try:
        return read_structures([f for s in own for f in s.files], volume, beside=beside)
    except HnvlmError as error:
        return {}, [f"{own[0].modality} left out: {error.message}"]


def _of_no_ct_here(upload: Upload) -> list[str]:
    """Say which structures fit no CT that they came with: whoever sent them thinks that they are planned on."""
    frames = {s.frame_of_reference_uid for s in upload.accepted}
    strange = [s for s in upload.series if s.modality in ("RTSTRUCT", "SEG") and not frames & frames_of(s)]
    return [f"{s.modality} left out: it belongs to another frame of reference than the CT" for s in strange]


def _rt_objects(upload: Upload, series: SeriesInfo, volume: Volume) -> tuple[dict[str, Any], list[str]]:
    """Structures and dose of the same frame of reference; what cannot be used is said, never dropped silently."""
    extras: dict[str, Any] = {}
    notes: list[str] = []
    given: dict[str, list[SeriesInfo]] = {"structures": [], "dose": []}
    for other in upload.series:
        if other.modality not in ("RTSTRUCT", "SEG", "RTDOSE"):
            continue
        if volume.frame_of_reference_uid not in frames_of(other):
            notes.append(f"{other.modality} left out: it belongs to another frame of reference than the CT")
            continue
        given["dose" if other.modality == "RTDOSE" else "structures"].append(other)
    beside = sum(other.kind == "nifti" and other is not series for other in upload.series)
    if beside:
        notes.append(f"{beside} other NIfTI file(s) left out; masks and dose: Add files on the page Treatment plan")
    # Every file is looked at: which of them are one treatment does not hang on how they are sorted into series.
    files = {what: [f for s in found for f in s.files] for what, found in given.items()}
    plans = [f for s in upload.series if s.modality == "RTPLAN" for f in s.files]
    readers: dict[str, Callable[[], tuple[Any, list[str]]]] = {
        "structures": lambda: read_structures(files["structures"], volume, beside=[*files["dose"], *plans]),
        "dose": lambda: read_dose(files["dose"], volume),
    }
    heard: dict[str, list[str]] = {}
    for what, read in readers.items():
        if not files[what]:
            continue
        try:
            extras[what], heard[what] = read()
            notes += heard[what]
        except HnvlmError as error:
            notes.append(f"{given[what][0].modality} left out: {error.message}")
    if "dose" in extras:
        dose, masks = extras["dose"], extras.get("structures", {})
        doubts = prescription_notes(dose, masks)
        notes += doubts + coverage_notes(dose, masks)
        extras["dose"] = dose_result(dose, files["dose"], [*heard["dose"], *doubts], plans)
    return extras, notes
