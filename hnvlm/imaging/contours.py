"""Planar contours to masks by the even-odd rule, and masks to planar contours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.spatial import cKDTree
from skimage.measure import find_contours

from hnvlm.imaging.geometry import MAX_GAP_MM, REGULAR_FRACTION
from hnvlm.imaging.orient import GridMap
from hnvlm.imaging.resample import mask_box
from hnvlm.imaging.volume import Volume

FLAT_MM = 0.05
LEFT_OUT = "it was left out"
_SAME_PLANE_MM = 0.05
_SAME_POINT_MM = 0.01
# Contours of one slice whose z was rounded or carried over from a registration lie apart by this share of a slice's
# thickness at most; what is drawn finer than slices are thick stays what it is (``_rounded_together``).
_ROUNDED = 0.15
# Of two outlines whose bounding boxes share more than this, one is the other once more.
_SAME_OUTLINE = 0.8
# Contours cross where a smaller one has more than this share of itself on either side of a larger one's border.
_CROSSING = 0.1
# A plane exactly midway between two slices goes to the lower one.
_TIE_MM = 1e-4


def fill_even_odd(contours: Sequence[np.ndarray], rows: int, columns: int) -> np.ndarray:
    """Pixels whose centre lies inside an odd number of closed contours.

    One rule serves nested contours (a hole is a contour inside another), keyholes (a slit is crossed twice)
    and islands, as CLOSED_PLANAR and CLOSED_PLANAR_XOR of PS3.3 C.8.8.6.3 ask.

    Args:
        contours: Arrays (n, 2) of (row, column) in pixels, pixel centres at whole numbers.
        rows, columns: Size of the image.

    Returns:
        bool (rows, columns).
    """
    toggles = np.zeros((rows, columns + 1), np.uint8)
    for contour in contours:
        start, end = contour, np.roll(contour, -1, axis=0)
        # Every edge from its upper end: the two edges of a slit must cross a row at the very same place.
        down = (start[:, 0] > end[:, 0])[:, None]
        start, end = np.where(down, end, start), np.where(down, start, end)
        low = np.clip(np.ceil(np.minimum(start[:, 0], end[:, 0])), 0, rows).astype(int)
        high = np.clip(np.ceil(np.maximum(start[:, 0], end[:, 0])), 0, rows).astype(int)
        count = high - low
        edge = np.repeat(np.arange(len(contour)), count)
        if not edge.size:
            continue
        row = np.arange(edge.size) - np.repeat(np.cumsum(count) - count, count) + low[edge]
        share = (row - start[edge, 0]) / (end[edge, 0] - start[edge, 0])
        crossing = start[edge, 1] + share * (end[edge, 1] - start[edge, 1])
        np.bitwise_xor.at(toggles, (row, np.clip(np.ceil(crossing), 0, columns).astype(int)), 1)
    hit = np.flatnonzero(toggles.any(axis=1))
    out = np.zeros((rows, columns), bool)
    if hit.size:
        part = slice(hit[0], hit[-1] + 1)
        out[part] = np.bitwise_xor.accumulate(toggles[part, :columns], axis=1)
    return out


def mask_from_contours(
    points_mm: Sequence[np.ndarray], volume: Volume, slab_mm: float | None = None
) -> tuple[np.ndarray, list[str]]:
    """Mask of one structure on a volume's grid.

    A slice takes the contours of the nearest contour plane within half the distance between planes, so
    contours need not lie exactly on the slices. That distance is not in most files, and is taken from the planes
    themselves: pieces of a single slice each, with a slice or a few between them, look like one piece that was drawn
    on every second or fourth slice, and are filled up to it.

    Args:
        points_mm: One (n, 3) array of LPS (x, y, z) a contour.
        volume: Gives the grid.
        slab_mm: How thick an axial plane surely is; what lies between thicker gaps then stays open.

    Returns:
        (bool mask (z, y, x), warnings).
    """
    # Drawn twice, a contour would be a hole in itself.
    once = {_drawn(p): p for p in points_mm if len(p) >= 3}
    closed = list(once.values())
    bare = sum(len(p) < 3 for p in points_mm)
    warnings = [f"{bare} contour(s) of fewer than three points enclose nothing"] if bare else []
    if not closed:
        return np.zeros(volume.shape, bool), warnings
    twice = len(points_mm) - bare - len(closed)
    warnings += [f"{twice} contour(s) are in the file twice and were taken once"] if twice else []
    if max(float(np.ptp(p[:, 2])) for p in closed) <= max(FLAT_MM, _ROUNDED * volume.spacing_mm[0]):
        mask, notes = _axial_mask(closed, volume, slab_mm)
    else:
        mask, notes = _oblique_mask(closed, volume)
    return mask, warnings + _beside(closed, volume) + notes


def _beside(contours: list[np.ndarray], volume: Volume) -> list[str]:
    """Say how far contours leave the CT to the sides: a smaller field of view than they were drawn on cuts them."""
    spacing, size = (np.array(v[:0:-1]) for v in (volume.spacing_mm, volume.shape))
    first = np.array(volume.origin_mm[:0:-1]) - spacing / 2
    last = first + spacing * size
    beyond = [np.maximum(first - p[:, :2].min(axis=0), p[:, :2].max(axis=0) - last) for p in contours]
    cut = [float(over.max()) for over in beyond if (over > spacing).any()]
    if not cut:
        return []
    return [
        f"{len(cut)} of its contours leave the field of view of this CT, by up to {max(cut):.0f} mm; what lies outside "
        "is missing from its volume"
    ]


def _drawn(points: np.ndarray) -> bytes:
    """The same for the same points, wherever the contour begins and whichever way it runs."""
    rounded = np.unique(np.rint(points / _SAME_POINT_MM).astype(np.int64), axis=0)
    return rounded.tobytes()


def _axial_mask(contours: list[np.ndarray], volume: Volume, slab_mm: float | None) -> tuple[np.ndarray, list[str]]:
    planes = _rounded_together(_group(contours, np.array([p[:, 2].mean() for p in contours])), volume.spacing_mm[0])
    heights = np.array(sorted(planes))
    half = max(slab_mm or _between(heights, volume.spacing_mm[0]), volume.spacing_mm[0]) / 2
    z = volume.origin_mm[0] + volume.spacing_mm[0] * np.arange(volume.shape[0])
    mask = np.zeros(volume.shape, bool)
    used: dict[int, int] = {}
    for k, plane in _nearest(z, heights, half):
        in_pixels = [volume.mm_to_index(p[:, ::-1])[:, 1:] for p in planes[heights[plane]]]
        mask[k] = fill_even_odd(in_pixels, volume.shape[1], volume.shape[2])
        if plane not in used:
            used[plane] = _shared(in_pixels, volume.shape[1], volume.shape[2])
    outside = [h for n, h in enumerate(heights) if n not in used and (h < z[0] - half or h > z[-1] + half)]
    warnings = [f"{len(outside)} contour plane(s) lie above or below the CT"] if outside else []
    if crossed := [n for n in used.values() if n]:
        warnings.append(
            f"on {len(crossed)} of its planes contours cross each other; what two of them share (up to "
            f"{max(crossed)} pixels) was left out, as a hole is. If it is no hole, join them and export again"
        )
    return mask, warnings + ([] if slab_mm else _open_gaps(heights, z, half))


def _group(contours: list[np.ndarray], heights: np.ndarray) -> dict[float, list[np.ndarray]]:
    planes: dict[float, list[np.ndarray]] = {}
    current = None
    for i in np.argsort(heights, kind="stable"):
        if current is None or heights[i] - current > _SAME_PLANE_MM:
            current = float(heights[i])
            planes[current] = []
        planes[current].append(contours[i])
    return planes


def _rounded_together(planes: dict[float, list[np.ndarray]], slice_mm: float) -> dict[float, list[np.ndarray]]:
    """Planes that differ by rounding joined to one: a slice takes one plane, and would lose what lies on the other."""
    within = _ROUNDED * slice_mm
    heights = np.array(sorted(planes))
    clusters = np.split(heights, np.flatnonzero(np.diff(heights) > within) + 1)
    middles = np.array([c.mean() for c in clusters])
    drawn_finely = max(float(np.ptp(c)) for c in clusters) > within or (np.diff(middles) < 3 * within).any()
    if len(clusters) == len(heights) or drawn_finely:
        return planes
    return {float(c.mean()): _outlines([planes[h] for h in c]) for c in clusters}


def _outlines(groups: list[list[np.ndarray]]) -> list[np.ndarray]:
    """Contours of planes that are one; an outline that is there on two of them counts once."""
    out = list(groups[0])
    for more in groups[1:]:
        out += [p for p in more if not any(_alike(p, q) for q in out)]
    return out


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    low, high = np.maximum(one.min(axis=0), other.min(axis=0)), np.minimum(one.max(axis=0), other.max(axis=0))
    shared = float(np.prod(np.maximum(high - low, 0)[:2]))
    return shared > _SAME_OUTLINE * max(float(np.prod(np.ptp(p[:, :2], axis=0))) for p in (one, other))


def _shared(contours: Sequence[np.ndarray], rows: int, columns: int) -> int:
    """Pixels that two crossing contours of one plane share; nested ones (holes, islands in holes) do not cross."""
    if len(contours) < 2:
        return 0
    low, high = (np.array([f(c, axis=0) for c in contours]) for f in (np.min, np.max))
    meet = ((low[:, None] < high[None]) & (low[None] < high[:, None])).all(axis=2)
    within = ((low[:, None] >= low[None]) & (high[:, None] <= high[None])).all(axis=2)
    total = 0
    for i, k in np.argwhere(np.triu(meet & ~within & ~within.T, 1)):
        one, other = (fill_even_odd([contours[n]], rows, columns) for n in (i, k))
        common, smaller = int(np.count_nonzero(one & other)), int(min(one.sum(), other.sum()))
        total += common if _CROSSING * smaller < common < (1 - _CROSSING) * smaller else 0
    return total


def _between(heights: np.ndarray, slice_spacing: float) -> float:
    """Distance (mm) at which the planes of a structure were drawn, by its closer ones.

    A structure of several parts has wide gaps too, and a handful of planes may have nothing but those: nobody draws
    a piece on planes 50 mm apart, so each of them is a piece of its own, of one slice.
    """
    if len(heights) < 2:
        return slice_spacing
    gaps = np.diff(heights)
    close = float(np.quantile(gaps, 0.25, method="lower"))
    drawn = float(gaps[np.abs(gaps - close) <= REGULAR_FRACTION * close].mean())
    return drawn if drawn <= max(MAX_GAP_MM, slice_spacing) else slice_spacing


def _open_gaps(heights: np.ndarray, levels: np.ndarray, half: float) -> list[str]:
    """Say between how many planes a slice stays empty, for a plane may be missing there."""
    filled = [k for k, _ in _nearest(levels, heights, half)]
    within = (levels > heights[0]) & (levels < heights[-1])
    within[filled] = False
    gaps = np.unique(np.searchsorted(heights, levels[within]))
    if not gaps.size:
        return []
    widest = float((heights[gaps] - heights[gaps - 1]).max())
    return [
        f"{len(gaps)} gap(s) between its contour planes (the widest {widest:.1f} mm) were left open; if it is one "
        "piece, contour it on every slice"
    ]


def _nearest(z: np.ndarray, heights: np.ndarray, half: float) -> Iterator[tuple[int, int]]:
    """(slice, plane) pairs; half-open, so that a plane midway between two slices thickens the mask at one end only.

    Between neighbouring planes no slice stays empty, however their heights were rounded.
    """
    gaps = np.diff(heights, prepend=-np.inf, append=np.inf)
    for k, height in enumerate(z):
        off = heights - height - _TIE_MM
        plane = int(np.abs(off).argmin())
        neighbours = gaps[np.searchsorted(heights, height)] <= 2 * half * (1 + REGULAR_FRACTION)
        if neighbours or -half <= off[plane] < half:
            yield k, plane


def _oblique_mask(contours: list[np.ndarray], volume: Volume) -> tuple[np.ndarray, list[str]]:
    """Contours drawn on tilted, sagittal or coronal planes: filled in their own planes, then turned to the grid."""
    largest = max(contours, key=len)
    _, _, axes = np.linalg.svd(largest - largest.mean(axis=0), full_matrices=False)
    normal = axes[2]
    off_plane = max(float(np.ptp(p @ normal)) for p in contours)
    if off_plane > max(0.5, min(volume.spacing_mm)):
        return np.zeros(volume.shape, bool), [
            f"its contours are not drawn on parallel planes (up to {off_plane:.1f} mm off); {LEFT_OUT}"
        ]
    planes = _group(contours, np.array([float((p @ normal).mean()) for p in contours]))
    heights = np.array(sorted(planes))
    in_plane = min(volume.spacing_mm) / 2
    step = max(_between(heights, max(volume.spacing_mm)), in_plane)
    flat = np.concatenate([p @ axes[:2].T for p in contours])
    low = np.floor(flat.min(axis=0)) - in_plane
    rows, columns = (np.ceil((flat.max(axis=0) - low) / in_plane).astype(int) + 2).tolist()
    count = round((heights[-1] - heights[0]) / step) + 1
    stack = np.zeros((count + 2, rows, columns), np.uint8)
    levels = heights[0] + step * np.arange(-1, count + 1)
    for k, plane in _nearest(levels, heights, step / 2):
        own = [((p @ axes[:2].T) - low) / in_plane for p in planes[heights[plane]]]
        stack[k] = fill_even_odd(own, rows, columns)
    origin = axes[0] * low[0] + axes[1] * low[1] + normal * levels[0]
    steps = np.stack([normal * step, axes[0] * in_plane, axes[1] * in_plane], axis=1)
    grid = GridMap.build(stack.shape, steps, origin)
    mask = grid.sample(stack, volume.shape, volume.spacing_mm, volume.origin_mm, fill=0, order=0) > 0
    turned = "its contours lie on planes that are not axial; they were turned to the CT's grid"
    return mask, [turned, *_open_gaps(heights, levels, step / 2)]


def contours_from_mask(mask: np.ndarray, volume: Volume) -> Iterator[tuple[int, np.ndarray]]:
    """Closed contours half-way between inside and outside voxels, slice by slice.

    Args:
        mask: bool (z, y, x) on the volume's grid.
        volume: Gives the positions.

    Yields:
        (slice index, (n, 3) LPS points x, y, z in mm; the last point is not the first one repeated). Holes
        come as contours of their own; ``fill_even_odd`` of all contours of a slice gives the mask back.
    """
    if mask.shape != volume.shape:
        raise ValueError(f"mask {mask.shape} is not on the grid {volume.shape}")
    box = mask_box(mask)
    if box is None:
        return
    part = mask[:, box[1] : box[4], box[2] : box[5]]  # looking through whole slices takes most of the time of an export
    corner = np.array(box[1:3]) - 1.0
    for k in range(box[0], box[3]):
        padded = np.pad(part[k], 1).astype(np.float32)
        for contour in find_contours(padded, 0.5):
            pixels = _corners_only(contour[:-1]) + corner
            index = np.column_stack([np.full(len(pixels), k), pixels])
            yield int(k), volume.index_to_mm(index)[:, ::-1]


def with_keyholes(contours: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Join the holes of one slice to the contours around them by a slit of no width.

    PS3.3 C.8.8.6.3 wants a hole in CLOSED_PLANAR so: programs that follow it fill up a hole that is a contour of its
    own. Which contours of ``contours_from_mask`` are holes is told by the sense in which they run.

    Args:
        contours: (n, 3) LPS points of one axial slice.

    Returns:
        One contour for each outer one, in their order.
    """
    areas = [_signed_area(c) for c in contours]
    outer = sorted((k for k, area in enumerate(areas) if area > 0), key=lambda k: areas[k])
    low, high = (np.array([f(contours[k][:, :2], axis=0) for k in outer]) for f in (np.min, np.max))
    holes: dict[int, list[np.ndarray]] = {k: [] for k in sorted(outer)}
    for hole, area in zip(contours, areas, strict=True):
        if area <= 0:
            near = np.flatnonzero(((low <= hole[0, :2]) & (hole[0, :2] <= high)).all(axis=1))
            holes[next(outer[n] for n in near if _contains(contours[outer[n]], hole[0]))].append(hole)
    return [_slit(contours[k], inside) for k, inside in holes.items()]


def _slit(ring: np.ndarray, holes: list[np.ndarray]) -> np.ndarray:
    """Walk the ring, and at the point nearest to a hole across to it, around it and back."""
    if not holes:
        return ring
    tree = cKDTree(ring[:, :2])
    detours = []
    for hole in holes:
        apart, nearest = tree.query(hole[:, :2])
        start = int(apart.argmin())
        detours.append((int(nearest[start]), np.roll(hole, -start, axis=0)))
    out, done = [], 0
    for i, hole in sorted(detours, key=lambda detour: detour[0]):
        out += [ring[done : i + 1], hole, hole[:1], ring[i : i + 1]]
        done = i + 1
    return np.concatenate([*out, ring[done:]])


def _signed_area(points: np.ndarray) -> float:
    x, y = (points[:, :2] - points[0, :2]).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _contains(contour: np.ndarray, point: np.ndarray) -> bool:
    start, end = contour[:, :2], np.roll(contour[:, :2], -1, axis=0)
    crosses = (start[:, 1] > point[1]) != (end[:, 1] > point[1])
    start, end = start[crosses], end[crosses]
    x = start[:, 0] + (point[1] - start[:, 1]) / (end[:, 1] - start[:, 1]) * (end[:, 0] - start[:, 0])
    return bool(np.count_nonzero(x > point[0]) % 2)


def _corners_only(points: np.ndarray) -> np.ndarray:
    """Drop points on straight runs; the polygon stays the same."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    kept = points[np.abs(cross) > 1e-9]
    return kept if len(kept) >= 3 else points
