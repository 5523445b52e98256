"""INPUT of the commands: a DICOM folder, zip or file, a NIfTI file, or the id of a stored case."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from hnvlm.cli.runtime import Session
from hnvlm.errors import HnvlmError, InputRefusedError, UnreadableFileError, UsageError
from hnvlm.imaging import intake as reader
from hnvlm.imaging.volume import Volume
from hnvlm.models.base import Models
from hnvlm.services import analysis, context, intake, rt_objects
from hnvlm.services.context import App

CASE_ID = re.compile(r"HN-\d{4,}", re.IGNORECASE)


def load_models() -> Models:
    """Load the model pack; tests replace this function."""
    return context.load_model_pack()


def open_app() -> App:
    """Open the case store of this user (``HNVLM_DATA_DIR``)."""
    return App(models=load_models, uses_pack=True)


@dataclass
class Subject:
    """The CT a command works on.

    Attributes:
        case_id: Set when INPUT is a stored case; then ``app`` is set too and results are stored.
        volume: HU on the CT's own grid.
        warnings: What intake noticed.
        synthetic: No patient's CT: the demo case, or a series that says so itself.
        upload: What INPUT held besides, where it is no stored case. series: What of it is this CT.
    """

    session: Session
    volume: Volume
    case_id: str | None = None
    app: App | None = None
    warnings: list[str] = field(default_factory=list)
    synthetic: bool = False
    upload: intake.Upload | None = None
    series: reader.SeriesInfo | None = None

    @cached_property
    def models(self) -> Models:
        """The models, loaded on first use."""
        self.session.progress(0.0, "loading the models")
        return self.app.models if self.app is not None else load_models()

    def load(self) -> None:
        """Have the models in memory, and say so meanwhile."""
        _ = self.models

    def analyse(self, structures: Mapping[str, Any] | None = None) -> analysis.Analysis:
        """Segment, judge the scope, find; a stored case keeps the results.

        Args:
            structures: The clinic's masks that were named with the command; they count instead of stored ones.
        """
        models, progress = self.models, self.session.progress
        known = None
        if self.app is not None and self.case_id is not None:
            found = analysis.analyse_case(self.app, self.case_id, who="command line", progress=progress)
            if not structures:
                return found
            known = found.segmentation
        return analysis.analyse(
            models, self.volume, segmentation=known, structures=structures, of_patient=not self.synthetic,
            progress=progress,
        )  # fmt: skip


def is_case_id(text: str) -> bool:
    """Whether INPUT is meant as a case id: it looks like one and there is no such file."""
    return bool(CASE_ID.fullmatch(text)) and not Path(text).exists()


@contextmanager
def open_subject(text: str, session: Session, series_uid: str | None = None) -> Iterator[Subject]:
    """Open INPUT: read it, or load the stored case.

    Raises:
        UnreadableFileError: No such file, or nothing readable in it.
        NotFoundError: No such case.
        InputRefusedError: No series can be read as a CT.
    """
    if is_case_id(text):
        with closing(open_app()) as app:
            case = app.store.get_case(text.upper())
            volume = app.store.load_volume(case.id)
            yield Subject(session, volume, case.id, app, list(case.meta.get("warnings", [])), case.synthetic)
        return
    with tempfile.TemporaryDirectory(prefix="hnvlm-") as workdir:
        upload = open_upload(text, Path(workdir))
        planned = rt_objects.drawn_on(upload.series) if series_uid is None and len(upload.accepted) > 1 else None
        series = planned or upload.find(series_uid)
        result = reader.read(series, session.progress)
        warnings = list(result.warnings)
        if series_uid is None and len(upload.accepted) > 1:
            others = ", ".join(s.series_uid for s in [s for s in upload.accepted if s is not series][:3])
            several = f" of {upload.patients} patients" if upload.patients > 1 else ""
            why = "most slices" if planned is None else "structures or dose that lie with it were made on it"
            warnings.append(
                f"{len(upload.accepted)} CT series{several} found; {series.series_uid} was taken ({why}). "
                f"Choose another with --series, e.g. {others}"
            )
        for warning in warnings:
            session.warn(warning)
        yield Subject(
            session, result.volume, warnings=warnings, synthetic=bool(result.meta.get("synthetic")), upload=upload,
            series=series,
        )  # fmt: skip


def open_upload(text: str, workdir: Path) -> intake.Upload:
    """List the series of a file or folder."""
    if not text.strip():
        raise UsageError("INPUT is empty; name a file, a folder or a case.")
    path = Path(text).expanduser()
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        # The NIfTI reader would end the whole process.
        raise UnreadableFileError(f"{text!a}: the name is not valid UTF-8; rename the file.") from error
    if not path.exists():
        raise UnreadableFileError(
            f"{text}: no such file or folder, and not the id of a case (those look like HN-0007).", code="no_such_input"
        )
    return intake.open_path(path, workdir)


def read_text(path: Path, encoding: str, needed: str, not_text: str) -> str:
    """Read a file of options.

    Args:
        needed: Sentence that says what file is needed, where there is none to read.
        not_text: What to say of one in another encoding.

    Raises:
        UsageError: It cannot be read, or is in another encoding.
    """
    try:
        return path.read_text(encoding=encoding)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}). {needed}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: {not_text}") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """Read ``--clinical FILE``: one JSON or YAML mapping.

    Raises:
        UsageError: No such file, or no mapping in it.
    """
    needed = "Give a JSON or YAML file."
    text = read_text(path, "utf-8", needed, f"not a text file. {needed}")
    try:
        value = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: neither valid JSON nor YAML ({str(error).splitlines()[0]}).") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f'{path}: a mapping of field to answer is needed, such as {{"ecog": 1}}.')
    return value


def require_folder(path: Path, option: str) -> Path:
    """Return an existing folder.

    Raises:
        InputRefusedError: There is none.
    """
    if not path.is_dir():
        raise InputRefusedError(f"{option} {path}: no such folder.", code="no_such_folder")
    return path


def require_place(path: Path) -> Path:
    """Return where something will be written, which is made later; said before the work, not after it.

    Args:
        path: A folder.

    Raises:
        HnvlmError: Code ``output``: it cannot be made or written.
    """
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not there.is_dir():
        raise HnvlmError(f"{path}: the output folder cannot be created ({there} is a file).", code="output")
    if not os.access(there, os.W_OK):
        raise HnvlmError(f"{path}: the output folder cannot be written ({there}).", code="output")
    return path
