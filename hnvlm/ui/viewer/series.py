"""What can be shown: series, structures, dose, boxes; and how each becomes bytes for the browser."""

from __future__ import annotations

import hashlib
import json
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import ndimage

from hnvlm.errors import FrameOfReferenceError, UsageError
from hnvlm.imaging.masks import PackedMasks, Part, parts, shapes_of
from hnvlm.imaging.volume import Volume
from hnvlm.services.palette import UPLOADED_PREFIX, structure_colours
from hnvlm.ui.blobs import Blob, BlobStore

Kind = Literal["ct", "synthetic", "difference"]
MAX_STRUCTURES = 32  # in one array of bits; a clinic's set has often more, and takes several
DOSE_STEP_GY = 0.01  # uint16 holds up to 655 Gy
AIR_HU = -1024
BODY_HU = -300  # denser than this is patient (or couch), not air
BODY_SHARE = 0.002  # of a plane's voxels, so that specks of noise do not count
BODY_MARGIN_MM = 6.0
MAX_BODIES = 1000  # remembered boxes, oldest out first
PART_SHARE = 0.1  # of the largest part: what is smaller and apart is not looked at


@dataclass(frozen=True, eq=False)
class Series:
    """One image of the viewer.

    Attributes:
        volume: HU (z, y, x). May be None for a ``difference`` that names two other series.
        name: Shown in the top left corner, e.g. "Original".
        kind: ``ct``; ``synthetic`` gets SYNTHETIC across the picture and the AI state in its corner;
            ``difference`` is drawn in a signed, diverging colour map.
        of: For a difference without own voxels: (a, b), positions in the list of series; the browser
            shows b minus a, which costs no third transfer.
        state: Text of the top right corner; default by kind.
        content_id: Content hash if already known (saves hashing on first show).
    """

    volume: Volume | None
    name: str
    kind: Kind = "ct"
    of: tuple[int, int] | None = None
    state: str | None = None
    content_id: str = ""


@dataclass(frozen=True, eq=False)
class Overlay:
    """Structures on the CT's own grid.

    Attributes:
        masks: Name -> bool array (z, y, x); they may overlap. Packed ones take little memory.
        content_id: Content hash if already known.
        sources: Name -> who drew it, "AI" or "clinic": a short mark beside the name in the list.
    """

    masks: Mapping[str, np.ndarray]
    content_id: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Dose:
    """Dose on the CT's own grid.

    Attributes:
        volume: Gy (z, y, x), the grid of the CT.
        prescription_gy: 100 % of the isodose lines; None takes the maximum.
        state: e.g. "AI draft" for a predicted dose; shown with the legend.
    """

    volume: Volume
    prescription_gy: float | None = None
    state: str = ""


@dataclass(frozen=True)
class Box:
    """A finding drawn as a box.

    Attributes:
        box: (z0, y0, x0, z1, y1, x1) voxels, end exclusive.
        label: Short text, e.g. "Node level II right".
        colour: "#rrggbb".
    """

    box: tuple[int, int, int, int, int, int]
    label: str
    colour: str = "#ffb454"


@dataclass(frozen=True)
class Together:
    """Two viewers of different CTs that follow each other in window, zoom, scale and plane.

    Attributes:
        name: The same for both.
        scroll: Whether they move together, too: by as many mm, from where each stood when this began.
        lead: The other one begins with the window, zoom and plane of this one.
    """

    name: str
    scroll: bool = False
    lead: bool = False


@lru_cache(maxsize=1)
def display_tables() -> dict[str, Any]:
    """Return window presets, isodose levels and structure colours, each with its source."""
    return json.loads((Path(__file__).parent / "data" / "display.json").read_text("utf-8"))


def palette() -> dict[str, Any]:
    """Return the colours of structures and isodose lines, as documents take them too."""
    tables = display_tables()
    return {"structures": tables["structures"]["colours"], "fallback": tables["structures"]["fallback"],
            "isodose": tables["isodose"]["levels"]}  # fmt: skip


class _IdentityCache:
    """Remembers a result as long as the very same arrays are passed: hashing 100 MB on every rerun is slow."""

    def __init__(self) -> None:
        self._entries: dict[tuple[int, ...], tuple[list[weakref.ref], Any]] = {}

    def get(self, arrays: list[Any], extra: tuple, make: Callable[[], Any]) -> Any:
        key = (*map(id, arrays), hash(extra))
        entry = self._entries.get(key)
        if entry is not None and all(ref() is a for ref, a in zip(entry[0], arrays, strict=True)):
            return entry[1]
        value = make()
        for dead in [k for k, (refs, _) in list(self._entries.items()) if any(r() is None for r in refs)]:
            self._entries.pop(dead, None)
        self._entries[key] = ([weakref.ref(a) for a in arrays], value)
        return value


_IDS = _IdentityCache()
_SUMMARIES = _IdentityCache()
_BODIES: OrderedDict[str, list[int]] = OrderedDict()


def to_int16(array: np.ndarray) -> np.ndarray:
    """Return HU rounded to int16; not-a-number becomes air, values beyond the type are clipped."""
    if array.dtype == np.int16:
        return array
    values = np.nan_to_num(array.astype(np.float32), nan=AIR_HU, posinf=32767, neginf=-32768)
    return np.clip(np.rint(values), -32768, 32767).astype(np.int16)


def pack_masks(masks: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return one array (z, y, x) whose bit i is structure i: overlapping targets all survive.

    Raises:
        UsageError: More than 32 structures, or shapes that differ.
    """
    if not 0 < len(masks) <= MAX_STRUCTURES:
        raise UsageError(f"one array takes 1 to {MAX_STRUCTURES} structures, got {len(masks)}")
    shapes = set(shapes_of(masks).values())
    if len(shapes) != 1:
        raise UsageError(f"structures have different shapes: {sorted(shapes)}")
    dtype = np.uint8 if len(masks) <= 8 else np.uint16 if len(masks) <= 16 else np.uint32
    packed = np.zeros(shapes.pop(), dtype)
    for bit, (_, part) in enumerate(parts(masks)):
        if part is not None:
            here = packed[part.place]
            np.bitwise_or(here, dtype(1 << bit), out=here, where=part.inside)
    return packed


def _kept_by(masks: Mapping[str, np.ndarray]) -> list[Any]:
    """Return what a result about structures is remembered by: packed ones never change, others by their arrays."""
    return [masks] if isinstance(masks, PackedMasks) else list(masks.values())


def volume_blob(store: BlobStore, volume: Volume, content_id: str = "") -> Blob:
    """Store a CT (int16 HU) for the browser, once per content."""
    array = volume.array
    blob_id = content_id or _IDS.get([array], (volume.spacing_mm, volume.origin_mm), volume.content_hash)
    return store.put(f"hu:{blob_id}", volume.shape, "int16", lambda: to_int16(array))


def body_box(volume: Volume, content_id: str = "") -> list[int]:
    """Return the patient's extent as (z0, y0, x0, z1, y1, x1) voxels, end exclusive, with a margin.

    The viewer fits this to its panes: a 50 cm field of view is mostly air around a neck.

    Args:
        content_id: Content hash if already known: a CT of the store is another array in every run of a page.
    """
    if content_id and content_id in _BODIES:
        return _BODIES[content_id]

    def measure() -> list[int]:
        step = tuple(max(1, n // 96) for n in volume.shape)
        dense = _large_parts(volume.array[:: step[0], :: step[1], :: step[2]] > BODY_HU)
        low, high = [], []
        for axis in range(3):
            share = dense.mean(axis=tuple(a for a in range(3) if a != axis))
            where = np.flatnonzero(share > BODY_SHARE)
            pad = int(np.ceil(BODY_MARGIN_MM / volume.spacing_mm[axis])) + step[axis]
            first, last = (where[0], where[-1]) if len(where) else (0, len(share) - 1)
            low.append(max(0, int(first) * step[axis] - pad))
            high.append(min(volume.shape[axis], int(last + 1) * step[axis] + pad))
        return low + high

    box = _SUMMARIES.get([volume.array], ("body", volume.spacing_mm), measure)
    if content_id:
        _BODIES[content_id] = box
        while len(_BODIES) > MAX_BODIES:
            _BODIES.popitem(last=False)
    return box


def _large_parts(dense: np.ndarray) -> np.ndarray:
    """Return a bool mask (z, y, x) without its small parts: letters burnt into the picture are no patient."""
    labels, count = ndimage.label(dense, np.ones((3, 3, 3), bool))
    if count == 0:
        return dense
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= PART_SHARE * sizes.max())[labels]


def mask_blobs(store: BlobStore, overlay: Overlay) -> list[Blob]:
    """Store structures as bits for the browser, once per content; 32 a blob, in their order."""
    names = list(overlay.masks)
    return [
        _layer_blob(
            store,
            overlay.masks,
            names[first : first + MAX_STRUCTURES],
            overlay.content_id and f"{overlay.content_id}:{first}",
        )
        for first in range(0, len(names), MAX_STRUCTURES)
    ]


def _layer_blob(store: BlobStore, masks: Mapping[str, np.ndarray], names: list[str], content_id: str) -> Blob:
    packed: list[np.ndarray] = []

    def pack() -> np.ndarray:
        layer = masks.only(names) if isinstance(masks, PackedMasks) else {name: masks[name] for name in names}
        packed.append(pack_masks(layer))
        return packed[0]

    def digest() -> str:
        bits = pack()
        h = hashlib.sha256(repr((tuple(names), bits.shape)).encode())
        h.update(bits.reshape(-1).data)
        return h.hexdigest()

    kept_by = _kept_by(masks) if isinstance(masks, PackedMasks) else [masks[name] for name in names]
    blob_id = "bits:" + (content_id or _IDS.get(kept_by, tuple(names), digest))
    known = store.get(blob_id)
    if known is not None:
        return known
    bits = packed[0] if packed else pack()
    return store.put(blob_id, bits.shape, str(bits.dtype), lambda: bits)


def dose_blob(store: BlobStore, dose: Dose) -> Blob:
    """Store a dose in steps of 0.01 Gy for the browser, once per content."""
    volume = dose.volume
    blob_id = _IDS.get([volume.array], (volume.spacing_mm, volume.origin_mm, "gy"), volume.content_hash)

    def encode() -> np.ndarray:
        out = np.empty(volume.shape, np.uint16)
        for k, plane in enumerate(volume.array):  # as a whole it would be copied five times, 200 MB each
            gy = np.nan_to_num(plane.astype(np.float32))
            out[k] = np.clip(np.rint(gy / DOSE_STEP_GY), 0, 65535)
        return out

    return store.put(f"gy:{blob_id}", volume.shape, "uint16", encode)


def _voxel_inside(found: Part | None) -> list[int] | None:
    """Voxel of a structure nearest to its centre of mass on the slice nearest to it; None for an empty one."""
    if found is None:
        return None
    box, part = found
    # Counts along the axes: a list of the voxels of a whole body takes gigabytes.
    counts = [part.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    z, y, x = (float(np.average(np.arange(len(c)), weights=c)) for c in counts)
    slices = np.flatnonzero(counts[0])
    k = int(slices[np.abs(slices - z).argmin()])
    inside = np.argwhere(part[k])
    row, column = inside[np.abs(inside - (y, x)).sum(axis=1).argmin()]
    return [box[0] + k, box[1] + int(row), box[2] + int(column)]


def structure_list(overlay: Overlay, voxel_ml: float) -> list[dict[str, Any]]:
    """Return name, label, mark, colour, volume in ml and the voxel to jump to for every structure (None if empty).

    The name is the key of ``masks``; the label is the structure's own name, the mark who drew it ("" if not known).

    The voxel is on the slice of the centre of mass, but inside the structure: the middle of a
    horseshoe such as the mandible is not bone.
    """
    colours = structure_colours(overlay.masks, palette())

    def summarise() -> list[dict[str, Any]]:
        out = []
        for name, part in parts(overlay.masks):
            out.append({
                "name": name,
                "label": name.removeprefix(UPLOADED_PREFIX),
                "mark": overlay.sources.get(name, ""),
                "colour": colours[name],
                "ml": round(int(0 if part is None else np.count_nonzero(part.inside)) * voxel_ml, 1),
                "jump": _voxel_inside(part),
            })  # fmt: skip
        return out

    extra = (tuple(overlay.masks), tuple(sorted(overlay.sources.items())), voxel_ml)
    return _SUMMARIES.get(_kept_by(overlay.masks), extra, summarise)


def check_grids(series: list[Series], overlay: Overlay | None, dose: Dose | None) -> Volume:
    """Return the grid that everything shares.

    Raises:
        UsageError: No series, or a difference that names no two images.
        FrameOfReferenceError: Something lies on another grid or in another frame of reference.
    """
    if not series or series[0].volume is None:
        raise UsageError("the viewer needs at least one series with voxels, and it comes first")
    base = series[0].volume
    for n, item in enumerate(series):
        if item.volume is None:
            sources = item.of or ()
            if item.kind != "difference" or len(sources) != 2:
                raise UsageError(f"series {n} ({item.name}) has no voxels and names no two series to subtract")
            if any(not 0 <= i < len(series) or series[i].volume is None for i in sources):
                raise UsageError(f"series {n} ({item.name}) subtracts series that are not there: {sources}")
        elif not base.same_grid(item.volume):
            raise FrameOfReferenceError(f"series {item.name} is not on the grid of {series[0].name}")
    if overlay is not None:
        for name, shape in shapes_of(overlay.masks).items():
            if shape != base.shape:
                raise FrameOfReferenceError(f"structure {name} has shape {shape}, the CT {base.shape}")
    if dose is not None and not base.same_grid(dose.volume):
        raise FrameOfReferenceError("the dose is not on the grid of the CT; resample it first")
    return base
