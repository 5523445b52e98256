"""Do slices form one volume? Checked from headers alone; then stacked, straightened and turned to LPS.

Vectors are LPS millimetres in DICOM's order (x, y, z); arrays are (slice, row, column) until they are LPS (z, y, x).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hnvlm.imaging.dicom import HU_MIN, SliceHeader, number
from hnvlm.imaging.orient import GridMap, orientation_word

MIN_SLICES = 3
# Positions are written with few digits: this share of the spacing off a regular grid is rounding.
REGULAR_FRACTION = 0.15
REGULAR_MM = 0.25
DUPLICATE_MM = 0.01
TILT_DEG = 0.25
SAME_ORIENTATION = 1e-3
LATERAL_MM = 0.5
# Wider gaps hide a node of 1 cm altogether, so they are refused and not filled.
MAX_GAP_MM = 10.0
MULTIPLE_TOLERANCE = 0.15
LISTED = 3  # file names in a message


@dataclass
class StackPlan:
    """How the slices of one series become a volume, or why they do not.

    Attributes:
        order: Indices into the analysed headers, sorted along the normal (duplicates and localizers left out).
        reasons: Why the series is refused; empty when it can be read.
        warnings: What was found and corrected; shown to the user.
        positions_mm: Position of each kept slice along the line through the slice corners.
        step_mm: Distance between slices of the stack after it was made regular.
        regular: False when the stack must be interpolated to even spacing.
        tilt_deg: Angle between slice normal and the line of the slice corners.
        grid: Map from the regular stack to the LPS grid (None when refused).
        orientation: axial, coronal, sagittal or oblique.
    """

    order: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    positions_mm: np.ndarray = field(default_factory=lambda: np.zeros(0))
    step_mm: float = 0.0
    regular: bool = True
    tilt_deg: float = 0.0
    grid: GridMap | None = None
    orientation: str = ""


def analyse(headers: Sequence[SliceHeader]) -> StackPlan:
    """Check the geometry of one series from its headers.

    Args:
        headers: Slices in any order, localizers already taken out.

    Returns:
        The plan; ``reasons`` is not empty when the slices do not form one volume.
    """
    plan = StackPlan()
    _check_same(headers, plan)
    if plan.reasons:
        return plan
    orientation = np.mean([h.orientation for h in headers], axis=0)
    row_dir, col_dir = _unit(orientation[:3]), _unit(orientation[3:])
    if abs(row_dir @ col_dir) > 1e-2 or not np.isfinite(orientation).all():
        plan.reasons.append(f"row and column direction are not perpendicular in {headers[0].label}")
        return plan
    normal = np.cross(row_dir, col_dir)
    plan.orientation = orientation_word(normal)
    points = np.array([h.position for h in headers])
    along = points @ normal
    plan.order = [int(i) for i in np.argsort(along, kind="stable")]
    _drop_copies(headers, along, plan)
    if not plan.reasons and len(plan.order) < MIN_SLICES:
        plan.reasons.append(_too_few(headers, len(plan.order)))
    if plan.reasons:
        return plan
    _check_line(headers, points, normal, plan)
    if not plan.reasons:
        _check_spacing(headers, plan)
    if not plan.reasons:
        _finish(headers, points, row_dir, col_dir, normal, plan)
    return plan


def _too_few(headers: Sequence[SliceHeader], count: int) -> str:
    return (
        f"only {count} slice{'s' if count != 1 else ''} ({headers[0].label}); a volume needs at least {MIN_SLICES}. "
        "Choose the folder with the whole series"
    )


def _unit(vector: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vector)
    return vector / length if length > 0 else vector * np.nan


def _check_same(headers: Sequence[SliceHeader], plan: StackPlan) -> None:
    """Every slice must have a position and share size, pixel spacing and orientation."""
    for what, missing in (
        ("Image Position (Patient)", [h for h in headers if h.position is None]),
        ("Image Orientation (Patient)", [h for h in headers if h.orientation is None]),
        ("Pixel Spacing", [h for h in headers if h.pixel_spacing is None or min(h.pixel_spacing) <= 0]),
    ):
        if missing:
            plan.reasons.append(f"{what} is missing or not valid in {label_list(missing)}")
    if plan.reasons:
        return
    _same(headers, [h.size for h in headers], "image size", plan)
    _same(headers, [tuple(round(v, 4) for v in h.pixel_spacing or ()) for h in headers], "pixel spacing", plan)
    reference = np.array(headers[0].orientation)
    turned = [h for h in headers if np.abs(np.array(h.orientation) - reference).max() > SAME_ORIENTATION]
    if turned:
        plan.reasons.append(f"mixed orientation: {label_list(turned)} differ from {headers[0].label}")


def _same(headers: Sequence[SliceHeader], values: list[tuple], what: str, plan: StackPlan) -> None:
    counts = Counter(values)
    if len(counts) < 2:
        return
    parts = []
    for value, count in counts.most_common(3):
        example = headers[values.index(value)].label
        parts.append(f"{' x '.join(f'{v:g}' for v in value)} in {count} (for example {example})")
    plan.reasons.append(f"mixed {what}: " + "; ".join(parts))


def label_list(headers: Sequence[SliceHeader]) -> str:
    """File names for a message; of many the first ones and how many more."""
    names = ", ".join(h.label for h in headers[:LISTED])
    return names if len(headers) <= LISTED else f"{names} and {len(headers) - LISTED} more"


def _drop_copies(headers: Sequence[SliceHeader], along: np.ndarray, plan: StackPlan) -> None:
    """Leave out second copies of one instance; refuse different images at one position."""
    kept: list[int] = []
    copies: list[SliceHeader] = []
    for index in plan.order:
        twin = next((k for k in reversed(kept[-4:]) if abs(along[k] - along[index]) <= DUPLICATE_MM), None)
        if twin is None:
            kept.append(index)
        elif _same_instance(headers[twin], headers[index]):
            copies.append(headers[index])
        else:
            plan.reasons.append(
                f"duplicate position: {headers[twin].label} and {headers[index].label} are different images "
                f"at the same position ({_mm(headers[index])})"
            )
            if len(plan.reasons) >= 3:
                break
    if copies:
        plan.warnings.append(f"{len(copies)} duplicate file(s) of the same image left out: {label_list(copies)}")
    plan.order = kept


def _same_instance(a: SliceHeader, b: SliceHeader) -> bool:
    uid = a.text("SOPInstanceUID")
    return bool(uid) and a.frame == b.frame and uid == b.text("SOPInstanceUID")


def _mm(header: SliceHeader) -> str:
    x, y, z = header.position or (0.0, 0.0, 0.0)
    return f"x {x:.2f}, y {y:.2f}, z {z:.2f} mm"


def _check_line(headers: Sequence[SliceHeader], points: np.ndarray, normal: np.ndarray, plan: StackPlan) -> None:
    """Slice corners must lie on one line; its angle to the normal is the gantry tilt."""
    ordered = points[plan.order]
    direction = _unit(ordered[-1] - ordered[0])
    offsets = ordered - ordered[0]
    along = offsets @ direction
    lateral = np.linalg.norm(offsets - np.outer(along, direction), axis=1)
    worst = int(lateral.argmax())
    if lateral[worst] > max(LATERAL_MM, 0.5 * min(headers[0].pixel_spacing or (1.0,))):
        plan.reasons.append(
            f"slices are shifted sideways: {headers[plan.order[worst]].label} lies {lateral[worst]:.2f} mm off the "
            f"line from {headers[plan.order[0]].label} to {headers[plan.order[-1]].label}"
        )
    plan.positions_mm = along
    plan.tilt_deg = float(np.degrees(np.arccos(np.clip(direction @ normal, -1.0, 1.0))))
    header_tilt = abs(number(headers[plan.order[0]].dataset.get("GantryDetectorTilt")) or 0.0)
    if plan.tilt_deg > TILT_DEG:
        plan.warnings.append(f"gantry tilt of {plan.tilt_deg:.1f} degrees corrected by resampling")
    elif header_tilt > 0.5 and np.abs(normal).max() > np.cos(np.radians(TILT_DEG)):
        plan.warnings.append(
            f"the header names a gantry tilt of {header_tilt:.1f} degrees but the slice orientation shows none; "
            "check that the anatomy is not sheared"
        )


def _check_spacing(headers: Sequence[SliceHeader], plan: StackPlan) -> None:
    """Even spacing, missing slices or uneven spacing; sets step and regularity."""
    gaps = np.diff(plan.positions_mm)
    mean = float(gaps.mean())
    expected = plan.positions_mm[0] + mean * np.arange(len(plan.positions_mm))
    drift = np.abs(plan.positions_mm - expected).max()
    if drift <= min(REGULAR_FRACTION * mean, REGULAR_MM):
        plan.step_mm = mean
        return
    base = _most_common_gap(gaps)
    multiples = gaps / base
    wide = [i for i in range(len(gaps)) if round(multiples[i]) >= 2 and _near_integer(multiples[i])]
    odd = [i for i in range(len(gaps)) if not _near_integer(multiples[i])]
    if wide and not odd and len(wide) <= max(1, len(gaps) // 2):
        lost = int(sum(round(multiples[i]) - 1 for i in wide))
        plan.reasons.append(
            f"{lost} slice{'s are' if lost != 1 else ' is'} missing: "
            + "; ".join(_gap(headers, plan, i, gaps[i]) for i in wide[:5])
            + f"; the others are {base:.2f} mm apart. Send the complete series"
        )
        return
    widest = int(gaps.argmax())
    if gaps[widest] > MAX_GAP_MM:
        plan.reasons.append(
            f"uneven slice spacing with a gap that is too wide to fill: {_gap(headers, plan, widest, gaps[widest])}"
        )
        return
    plan.regular = False
    # The finer of the common spacings keeps every slice's detail.
    plan.step_mm = float(np.quantile(gaps, 0.25, method="nearest"))
    plan.warnings.append(_uneven_text(headers, plan, gaps))


def _most_common_gap(gaps: np.ndarray) -> float:
    values, counts = np.unique(np.round(gaps, 2), return_counts=True)
    best = values[counts == counts.max()].min()
    return float(gaps[np.abs(gaps - best) <= 0.011].mean())


def _near_integer(ratio: float) -> bool:
    return round(ratio) >= 1 and abs(ratio - round(ratio)) <= MULTIPLE_TOLERANCE


def _gap(headers: Sequence[SliceHeader], plan: StackPlan, index: int, gap: float) -> str:
    below, above = headers[plan.order[index]], headers[plan.order[index + 1]]
    return f"{gap:.2f} mm between {below.label} ({_mm(below)}) and {above.label} ({_mm(above)})"


def _uneven_text(headers: Sequence[SliceHeader], plan: StackPlan, gaps: np.ndarray) -> str:
    rounded = np.round(gaps, 2)
    values, counts = np.unique(rounded, return_counts=True)
    listed = ", ".join(f"{v:.2f} mm ({c}x)" for v, c in list(zip(values, counts, strict=True))[:6])
    changes = [i for i in range(1, len(gaps)) if abs(rounded[i] - rounded[i - 1]) > 0.05][:3]
    where = "; ".join(_gap(headers, plan, i, gaps[i]) for i in changes)
    return (
        f"uneven slice spacing: {listed}" + (f"; it changes at {where}" if where else "")
        + f". Resampled to even spacing of {plan.step_mm:.2f} mm; slices in between are interpolated"
    )  # fmt: skip


def _finish(
    headers: Sequence[SliceHeader], points: np.ndarray, row_dir: np.ndarray, col_dir: np.ndarray,
    normal: np.ndarray, plan: StackPlan,
) -> None:  # fmt: skip
    first, last = points[plan.order[0]], points[plan.order[-1]]
    direction = _unit(last - first) if plan.tilt_deg > TILT_DEG else normal
    row_spacing, col_spacing = headers[0].pixel_spacing or (1.0, 1.0)
    count = len(plan.order)
    if not plan.regular:
        count = int(np.floor((plan.positions_mm[-1] - plan.positions_mm[0]) / plan.step_mm + 1e-6)) + 1
    rows, columns = headers[0].size
    # Columns of the matrix: millimetres per step along (slice, row, column).
    steps = np.stack([direction * plan.step_mm, col_dir * row_spacing, row_dir * col_spacing], axis=1)
    plan.grid = GridMap.build((count, rows, columns), steps, first)
    if not plan.grid.aligned and plan.tilt_deg <= TILT_DEG:
        plan.warnings.append(
            f"oblique acquisition ({plan.grid.angle_deg:.1f} degrees off the body axes) resampled to patient axes"
        )


def regularise(stack: np.ndarray, plan: StackPlan) -> np.ndarray:
    """Interpolate a (slice, row, column) stack linearly to the plan's even spacing (int16 in and out)."""
    if plan.regular or plan.grid is None:
        return stack
    count = plan.grid.source_shape[0]
    wanted = plan.positions_mm[0] + plan.step_mm * np.arange(count)
    fractional = np.interp(wanted, plan.positions_mm, np.arange(len(plan.positions_mm)))
    out = np.empty((count, *stack.shape[1:]), dtype=stack.dtype)
    for i, position in enumerate(fractional):
        below = min(int(position), len(stack) - 2)
        weight = np.float32(position - below)
        mixed = stack[below] * (1 - weight) + stack[below + 1] * weight
        out[i] = np.rint(mixed)
    return out


def to_lps(stack: np.ndarray, plan: StackPlan) -> tuple[np.ndarray, tuple, tuple]:
    """Make a stack of slices an LPS volume: (array (z, y, x), spacing_mm, origin_mm), both (z, y, x)."""
    assert plan.grid is not None
    return plan.grid.apply(regularise(stack, plan), fill=HU_MIN)
