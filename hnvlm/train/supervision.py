"""Contact sheets for a person's eye: what the models are taught, with every sentence that describes it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hnvlm.imaging.lesions import Lesion, apply, insert, random_spec
from hnvlm.imaging.volume import Volume
from hnvlm.models.facts import lesion_finding, measured_findings
from hnvlm.report.render import render_finding
from hnvlm.report.requests import sample_request
from hnvlm.train.bank import anatomy_of
from hnvlm.train.data import load_cached, read_case, training_folders

PANE = 260
WINDOW = (-110.0, 190.0)
SENTENCES = 4
REACH_MM = 75.0  # shown around a lesion


def _pane(hu: np.ndarray, spacing: tuple[float, float], box: tuple[int, int, int, int] | None) -> Image.Image:
    """One slice (rows, columns) as a square picture with an optional box (y0, x0, y1, x1)."""
    lo, hi = WINDOW
    grey = np.uint8(np.clip((hu - lo) / (hi - lo), 0, 1) * 255)
    size = (PANE, max(1, round(PANE * hu.shape[0] * spacing[0] / (hu.shape[1] * spacing[1]))))
    picture = Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    if box is not None:
        sy, sx = size[1] / hu.shape[0], size[0] / hu.shape[1]
        ImageDraw.Draw(picture).rectangle((box[1] * sx, box[0] * sy, box[3] * sx, box[2] * sy), outline=(255, 190, 0))
    return picture


def _views(ct: Volume, lesion: Lesion) -> list[Image.Image]:
    """Axial before, axial after, coronal after around a lesion."""
    z, y, x = (round(float(v)) for v in ct.mm_to_index(np.array(lesion.centre_mm)))
    edited = apply(ct, [lesion])
    r = [max(4, round(REACH_MM / s)) for s in ct.spacing_mm]
    z, y, x = (int(np.clip(v, 0, n - 1)) for v, n in zip((z, y, x), ct.shape, strict=True))
    zs, ys, xs = (slice(max(0, c - q), c + q) for c, q in zip((z, y, x), r, strict=True))
    hit = np.argwhere(lesion.mask > 0.2)
    if not len(hit):
        return []
    lo = hit.min(0) + np.array(lesion.start)
    hi = hit.max(0) + 1 + np.array(lesion.start)
    axial = (lo[1] - ys.start, lo[2] - xs.start, hi[1] - ys.start, hi[2] - xs.start)
    _, sy, sx = ct.spacing_mm
    sz = ct.spacing_mm[0]
    after = edited.array
    return [
        _pane(ct.array[z, ys, xs], (sy, sx), None),
        _pane(after[z, ys, xs], (sy, sx), tuple(int(v) for v in axial)),  # type: ignore[arg-type]
        _pane(after[z, ys, xs], (sy, sx), None),
        _pane(after[zs, y, xs][::-1], (sz, sx), None),
    ]


def contact_sheets(data: Path, out: Path, n: int = 20) -> dict[str, Any]:
    """Write one picture a lesion: source, box, lesion, coronal view, and its sentences; and one text of measured facts.

    Returns:
        ``files``: paths of the pictures and of ``measured.txt``.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    folders = training_folders(Path(data))
    rng, words = np.random.default_rng(0), random.Random(0)
    files: list[str] = []
    lines: list[str] = []
    order = rng.permutation(len(folders))
    font = ImageFont.load_default(size=14)
    for index in order:
        if len(files) >= n:
            break
        folder = folders[int(index)]
        anatomy = anatomy_of(load_cached(folder, out / ".cache"))
        if anatomy is None:
            continue
        ct, _ = read_case(folder)
        lesion = insert(ct, anatomy, random_spec(rng), rng)
        views = _views(ct, lesion) if lesion else []
        if not views:
            continue
        finding = lesion_finding(lesion)
        sentences = [render_finding(finding, "en", None), render_finding(finding, "pl", None)]
        sentences += [f"add: {sample_request('add', finding, words)}" for _ in range(SENTENCES)]
        sentences += [f"remove: {sample_request('remove', finding, words)}" for _ in range(2)]
        height = max(v.height for v in views)
        sheet = Image.new("RGB", (PANE * len(views), height + 22 * (len(sentences) + 1)), (16, 18, 22))
        for k, view in enumerate(views):
            sheet.paste(view, (PANE * k, 0))
        draw = ImageDraw.Draw(sheet)
        for k, text in enumerate([f"{folder.name}: inserted {finding.kind}", *sentences]):
            draw.text((8, height + 22 * k + 2), text, fill=(220, 220, 220), font=font)
        path = out / f"{len(files):03d}-{folder.name}-{finding.kind}.png"
        sheet.save(path)
        files.append(str(path))
        lines.append(f"{folder.name}: " + " ".join(render_finding(f, "en", None) for f in measured_findings(anatomy)))
    (out / "measured.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"files": [*files, str(out / "measured.txt")]}
