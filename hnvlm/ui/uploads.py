"""Upload, list of series, and opening one as a case."""

from __future__ import annotations

import streamlit as st

from hnvlm.errors import HnvlmError, NotFoundError, UsageError
from hnvlm.services import intake
from hnvlm.services.context import App
from hnvlm.services.intake import SeriesInfo, Upload
from hnvlm.services.jobs import JobStatus
from hnvlm.ui import html, jobs, state
from hnvlm.ui.errors import handled

_ROUND, _UPLOAD, _OPENED, _WORDS = "_upload_round", "_upload", "_upload_opened", "upload-description"
_QUERY = "upload"
# The work that makes a case; its id stands in the address, too, so that a reload still tells how it ended.
MAKES_CASE = ("intake", "demo")
_JOB, _JOB_QUERY = "_intake_job", "reading"
# Browser -> the work that makes a case for it, which is found again after a reload of a page whose address lacks it.
_OF_BROWSERS: dict[str, str] = {}
# Upload and what was typed as its description: outlives the box when another page is shown or the reading is stopped.
_TYPED = "_upload_description"
LONGEST_DESCRIPTION = 120
# Taken in together with the CT they belong to, so their reason is no refusal.
_BESIDE_CT = ("RTSTRUCT", "SEG", "RTDOSE")
FILES, FOLDER = "Files or zip", "Whole folder"


def widget(app: App) -> None:
    """Take files in; they go to disk at once and leave the upload widget (and with it the memory)."""
    number = st.session_state.setdefault(_ROUND, 0)
    how = st.segmented_control("What to upload", [FILES, FOLDER], default=FILES, required=True, key="upload-how",
                               label_visibility="collapsed")  # fmt: skip
    files = st.file_uploader(
        "CT of the head and neck: DICOM files, a zip of them, or NIfTI (.nii, .nii.gz)" if how == FILES
        else "Folder of DICOM files, subfolders included",
        accept_multiple_files=True if how == FILES else "directory",
        key=f"upload-{how}-{number}",
        help="Names, dates and numbers of the patient are removed before anything is stored.",
    )  # fmt: skip
    if not files:
        return
    st.session_state[_ROUND] = number + 1
    with st.spinner("Looking through the files"):
        try:
            _remember(intake.receive(app, [(f.name, f) for f in files]))
        except HnvlmError as error:
            st.session_state["_upload_error"] = error.message
    st.rerun()


def current(app: App) -> Upload | None:
    """Return the upload this session is looking at, also after a reload of the page; say so when it is gone."""
    kept = st.session_state.get(_UPLOAD)
    wanted = st.query_params.get(_QUERY)
    try:
        if kept is not None:
            intake.require_there(app, kept)
        elif wanted:
            kept = intake.open_upload(app, wanted)
            _remember(kept)
    except HnvlmError as error:
        forget()
        st.error(html.as_written(error.message))
        return None
    if kept is not None:
        st.query_params[_QUERY] = kept.id
    return kept


def reads(job_id: str) -> None:
    """Remember the work that makes a case for this session."""
    jobs.started(job_id)
    st.session_state[_JOB] = _OF_BROWSERS[state.browser()] = job_id


def reading(app: App) -> JobStatus | None:
    """Return the work that makes a case for this session, also after a reload of the page, until its end was seen."""
    begun = st.query_params.get(_JOB_QUERY) or _OF_BROWSERS.get(state.browser())
    job_id = st.session_state.setdefault(_JOB, begun)
    status = _status(app, job_id) if job_id else None
    if status is None:
        end_seen()
    else:
        st.query_params[_JOB_QUERY] = status.id
    return status


def _status(app: App, job_id: str) -> JobStatus | None:
    try:
        status = app.jobs.status(job_id)
    except NotFoundError:  # an address from another data folder
        return None
    return status if status.kind in MAKES_CASE else None


def end_seen() -> None:
    """Stop telling how the work ended; an address of before, as after a step back, does not begin it anew."""
    st.session_state[_JOB] = None
    _OF_BROWSERS.pop(state.browser(), None)
    st.query_params.pop(_JOB_QUERY, None)


def take_up_again() -> None:
    """Look once more at the upload whose reading was stopped: another of its series may be wanted."""
    stopped = st.session_state.pop(_OPENED, None)
    if stopped is not None:
        st.session_state.setdefault(_UPLOAD, stopped)


def _remember(upload: Upload) -> None:
    st.session_state[_UPLOAD] = upload


def forget() -> None:
    """Stop looking at the upload."""
    st.session_state.pop(_UPLOAD, None)
    st.query_params.pop(_QUERY, None)


def _discard(app: App, upload: Upload) -> None:
    intake.discard(app, upload)
    forget()


def series_list(app: App, upload: Upload) -> None:
    """List every series with what it is; accepted ones can be opened as a case."""
    beside = [s for s in upload.series if not s.accepted and s.modality in _BESIDE_CT]
    refused = [s for s in upload.series if not s.accepted and s not in beside]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{_count(len(upload.accepted), 'series')} can be opened**")
        st.button("Discard this upload", type="tertiary", key="upload-discard", on_click=handled(_discard),
                  args=(app, upload))  # fmt: skip
    if upload.patients > 1 or upload.studies > 1:
        several = _count(upload.patients, "patient") if upload.patients > 1 else f"{upload.studies} studies"
        st.warning(f"This upload holds CTs of {several}: open the right one.")
    if len(upload.accepted) > 1:
        st.caption(
            "Open one of them. The upload is then removed, for its files may name the patient; for another series, "
            "upload again."
        )
    if upload.accepted:
        # No limit of the box itself: it would drop a text that is pasted and too long without a word.
        words = st.text_input("Description for the worklist (optional, no patient name)", _described(upload),
                              key=_WORDS, on_change=_keep_words, args=(upload.id,))  # fmt: skip
        if len(words) > LONGEST_DESCRIPTION:
            st.caption(f":orange[{_too_long(words)}]")
    for n, series in enumerate(upload.accepted):
        with st.container(border=True):
            _describe(upload, series)
            st.button(
                "Open as case", type="primary", key=f"open-series-{n}", on_click=handled(_open),
                args=(app, upload, series.series_uid), help=f"Series {n + 1}: read it and store it without identity",
            )  # fmt: skip
    if beside and not upload.accepted:
        html.note(
            "Structures and doses are not opened by themselves. For a case of the worklist: open it, go to Treatment "
            "plan, choose Dose there and press Add files. For a new case, upload them together with their CT."
        )
        st.page_link("pages/plan.py", label="Go to Treatment plan", icon=":material/arrow_forward:")
    for title, others, key in (("Structures and doses", beside, "beside"), ("Refused", refused, "refused")):
        if others:
            with st.expander(f"{title} ({len(others)})", expanded=not upload.accepted, key=key):
                for series in others:
                    with st.container(border=True):
                        _describe(upload, series)


def _open(app: App, upload: Upload, uid: str) -> None:
    words = st.session_state.get(_WORDS, "")
    if len(words) > LONGEST_DESCRIPTION:
        raise UsageError(_too_long(words))
    try:
        job_id = intake.start_intake(app, upload, uid, description=words, who=state.who())
    except NotFoundError:
        forget()  # so that it is said once, not also by the list of its series
        raise
    reads(job_id)
    st.session_state[_OPENED] = upload
    forget()


def _described(upload: Upload) -> str:
    upload_id, words = st.session_state.get(_TYPED, ("", ""))
    return words if upload_id == upload.id else ""


def _keep_words(upload_id: str) -> None:
    st.session_state[_TYPED] = (upload_id, st.session_state[_WORDS])


def _too_long(words: str) -> str:
    return f"The description has {len(words)} characters; at most {LONGEST_DESCRIPTION} are kept. Shorten it."


def _describe(upload: Upload, series: SeriesInfo) -> None:
    parts = [series.modality, _count(series.n_slices, "slice" if series.modality == "CT" else "file")]
    if series.spacing_mm is not None:
        dz, dy, dx = series.spacing_mm
        parts.append(f"{dx:.2f} × {dy:.2f} × {dz:.2f} mm")
    if series.orientation:
        parts.append(series.orientation)
    st.text(" · ".join(parts))
    if series.description:
        html.note(f"Named “{series.description}” by the source (not stored)")
    if series.whose is not None and (upload.patients > 1 or upload.studies > 1):
        # Only here, before it is stored: of a case, nobody's letter, date or folder is kept.
        words = series.whose.words(upload.patients)
        html.note(f"{words[0].upper()}{words[1:]} (not stored)")
    for reason in series.reasons:
        st.text(reason if series.modality in _BESIDE_CT else f"Refused: {reason}")
    for warning in series.warnings:
        st.text(f"Warning: {warning}")


def _count(number: int, noun: str) -> str:
    plural = noun if noun == "series" or number == 1 else noun + "s"
    return f"{number} {plural}"
