"""DVHs against the tables of Eclipse and CERR for the same phantom: contours, dose and answers made by others."""

from __future__ import annotations

import base64
import csv
import itertools
import struct
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import SimpleITK as sitk

from hnvlm.imaging.contours import mask_from_contours
from hnvlm.imaging.dvh import Dvh, dose_volume
from hnvlm.imaging.volume import Volume

STEP_MM = 1.0
# Contour file, columns of the tables (dose in the even one, percent after it).
STRUCTURES = {"BRSTEM": (2, 2), "CTV": (3, 3), "GTV": (5, 5), "OpticChiasm": (8, 8), "OrbitLeft": (11, 11),
              "OrbitRight": (12, 12), "PTV1": (13, 13)}  # fmt: skip


def vtk_array(node: ElementTree.Element) -> np.ndarray:
    """Decode an inline, zlib-compressed VTK array: block count, block size, last size, compressed sizes, blocks."""
    kinds = {"Float32": "<f4", "Float64": "<f8", "Int64": "<i8", "Int32": "<i4", "UInt8": "u1"}
    text = "".join((node.text or "").split())
    blocks = struct.unpack("<I", base64.b64decode(text[:8])[:4])[0]
    head_bytes = 4 * (3 + blocks)
    head_chars = (head_bytes + 2) // 3 * 4
    sizes = struct.unpack(f"<{3 + blocks}I", base64.b64decode(text[:head_chars])[:head_bytes])[3:]
    body, out, start = base64.b64decode(text[head_chars:]), b"", 0
    for size in sizes:
        out += zlib.decompress(body[start : start + size])
        start += size
    return np.frombuffer(out, kinds[node.attrib["type"]])


def read_contours(path: Path) -> list[np.ndarray]:
    """Closed planar contours, each (n, 3) LPS x, y, z in mm; the VTK files of 3D Slicer are RAS."""
    piece = ElementTree.parse(path).getroot().find("PolyData/Piece")
    points = vtk_array(piece.find("Points/DataArray")).reshape(-1, 3).astype(float) * (-1, -1, 1)
    lines = {a.attrib["Name"]: vtk_array(a) for a in piece.findall("Lines/DataArray")}
    bounds = np.concatenate([[0], lines["offsets"]])
    contours = [points[lines["connectivity"][a:b]] for a, b in itertools.pairwise(bounds)]
    return [c[:-1] if np.allclose(c[0], c[-1]) else c for c in contours]


def voxelise(contours: list[np.ndarray]) -> Volume:
    """Mask with slices on the planes of the contours and 1 mm in plane, by the reader of RTSTRUCT."""
    low, high = np.min([c.min(0) for c in contours], 0), np.max([c.max(0) for c in contours], 0)
    heights = np.unique(np.round([c[0, 2] for c in contours], 3))
    step = float(np.diff(heights).min()) if len(heights) > 1 else 3.0
    size = np.ceil((high - low)[:2] / STEP_MM).astype(int) + 3
    shape = (round((heights[-1] - heights[0]) / step) + 3, size[1], size[0])
    # Off the round millimetres on which clinical contours lie.
    origin = (heights[0] - step, low[1] - STEP_MM + 0.137, low[0] - STEP_MM + 0.241)
    grid = Volume(np.zeros(shape, bool), (step, STEP_MM, STEP_MM), origin)
    mask, _ = mask_from_contours(contours, grid)
    return grid.with_array(mask)


def read_table(path: Path, column: int) -> tuple[float, np.ndarray, np.ndarray]:
    """(volume in cc, dose in Gy, percent) of one structure of a table."""
    with path.open(newline="") as handle:
        rows = list(csv.reader(handle))
    pairs = np.array([[float(r[2 * column]), float(r[2 * column + 1])] for r in rows[1:] if r[2 * column + 1].strip()])
    return float(rows[0][2 * column + 1].split("of ")[1].split()[0]), pairs[:, 0], pairs[:, 1]


@pytest.fixture(scope="module")
def folder(shared_dir: Path) -> Path:
    path = shared_dir / "data" / "dicom" / "slicerrt_ent"
    if not path.is_dir():
        pytest.skip(f"{path} is not there")
    return path


@pytest.fixture(scope="module")
def dose(folder: Path) -> Volume:
    image = sitk.ReadImage(str(folder / "EclipseEnt_Dose.nrrd"))
    return Volume(sitk.GetArrayFromImage(image), image.GetSpacing()[::-1], image.GetOrigin()[::-1])


@pytest.fixture(scope="module")
def histograms(folder: Path, dose: Volume) -> dict[str, Dvh]:
    out = {}
    for name, (file, _) in STRUCTURES.items():
        contours = read_contours(folder / "EclipseEnt_Structures.seg" / f"EclipseEnt_Structures.seg_{file}.vtp")
        out[name] = dose_volume(dose, voxelise(contours), max_step_mm=1.0)
    return out


def agreement(found: Dvh, doses: np.ndarray, percent: np.ndarray) -> float:
    """Share of the table's points that lie within 1 % of volume and 1 % of the maximum dose of our curve."""
    reach, good = 0.01 * found.max_gy, 0
    for dose_gy, volume in zip(doses, percent, strict=True):
        high, low = found.percent_at_gy(dose_gy - reach), found.percent_at_gy(dose_gy + reach)
        good += low - 1.0 <= volume <= high + 1.0
    return good / len(doses)


@pytest.mark.parametrize("program", ["Eclipse", "CERR"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_agrees_with_other_programs(folder: Path, histograms: dict[str, Dvh], program: str, name: str) -> None:
    volume_cc, doses, percent = read_table(folder / f"EclipseEnt_DvhTable_{program}.csv", STRUCTURES[name][1])
    found = histograms[name]
    if program == "CERR":  # Eclipse rounds the ends of structures off, which takes a third of a small one's volume
        assert found.volume_cc == pytest.approx(volume_cc, rel=0.01)
    assert agreement(found, doses[::4], percent[::4]) >= (0.93 if volume_cc < 1 else 0.98)
