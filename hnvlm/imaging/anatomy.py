"""Neck anatomy read off a CT and its contours: landmarks, body, airway and where a lesion may sit.

Everything is computed once on a coarse isotropic grid (``ANATOMY_MM``), so a 512 x 512 CT costs no more than
a small one. Positions are LPS millimetres in the order (z, y, x).

The frame of the neck: ``w`` = millimetres above the lower border of the mandible (about the hyoid), ``v`` =
millimetres behind the spinal cord's centre (negative: in front), ``u`` = millimetres lateral to it, positive on
the asked side. The boxes below approximate the radiological levels (upper/middle/lower jugular by hyoid and
cricoid, posterior triangle behind the sternocleidomastoid; Som et al. 1999) in that frame; they are an
approximation from bony landmarks, not contours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from scipy import ndimage

from hnvlm.imaging.volume import Volume

ANATOMY_MM = 3.0
Laterality = Literal["left", "right"]
SIDE_SIGN = {"left": 1.0, "right": -1.0}
# Mean height of the brainstem's lower end above the mandible's lower border, measured on the training patients;
# used when the mandible is outside the field of view or has no contour.
BRAINSTEM_ABOVE_MANDIBLE_MM = 47.0

# (w range, u range, v range) in mm: nodal levels.
LEVEL_BOX = {
    "IB": ((-12.0, 12.0), (14.0, 36.0), (-92.0, -50.0)),
    "II": ((3.0, 38.0), (22.0, 56.0), (-42.0, 4.0)),
    "III": ((-30.0, -3.0), (18.0, 48.0), (-42.0, 4.0)),
    "IV": ((-64.0, -36.0), (18.0, 48.0), (-38.0, 4.0)),
    "V": ((-55.0, 8.0), (38.0, 74.0), (12.0, 44.0)),
}
# (w range, u range, range of y behind the reference wall) in mm: primary sites along the airway.
SITE_BOX = {
    "base of tongue": ((2.0, 26.0), (4.0, 16.0), (-16.0, -2.0), "anterior"),
    "oral tongue": ((14.0, 42.0), (5.0, 20.0), (-52.0, -26.0), "anterior"),
    "palatine tonsil": ((8.0, 36.0), (13.0, 25.0), (-8.0, 8.0), "centre"),
    "supraglottis": ((-28.0, -6.0), (3.0, 13.0), (-12.0, 2.0), "centre"),
    "pyriform sinus": ((-38.0, -14.0), (9.0, 19.0), (2.0, 14.0), "centre"),
}
# Sites whose tumours grow from the lining of the airway: a mass there reaches the lumen. (A tonsil lies in its fossa.)
MUCOSAL_SITES = ("base of tongue", "supraglottis", "pyriform sinus")
AIRWAY_RANGE = {"oropharynx": (4.0, 32.0), "hypopharynx": (-26.0, -4.0), "larynx": (-50.0, -30.0)}


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Coarse CT with its landmarks.

    Attributes:
        ct: HU on a grid of ``ANATOMY_MM`` (z, y, x).
        masks: TG-263 name -> bool array on that grid.
        z0_mm: Height of the mandible's lower border, reckoned from the brainstem where the mandible has no contour.
    """

    ct: Volume
    masks: dict[str, np.ndarray]
    z0_mm: float

    @cached_property
    def body(self) -> np.ndarray:
        """Patient without outside air and couch: largest soft component, holes filled slice by slice."""
        return body_mask(self.ct.array)

    @cached_property
    def airway(self) -> np.ndarray:
        """Air inside the body between nasopharynx and lung apex, connected to the pharynx."""
        air = self.body & (self.ct.array < -350)
        w = self.z_mm() - self.z0_mm
        air[(w > 75) | (w < -90)] = False
        cy, cx = self.cord
        u = np.abs(self.x_mm()[None, None, :] - cx[:, None, None])
        v = self.y_mm()[None, :, None] - cy[:, None, None]
        air &= (u < 30) & (v > -80) & (v < -8)
        labels, n = ndimage.label(air)
        if n == 0:
            return air
        # The pharynx is the part that runs furthest along the neck.
        extent = [s[0].stop - s[0].start for s in ndimage.find_objects(labels)]
        keep = [i + 1 for i, e in enumerate(extent) if e >= 0.35 * max(extent)]
        return np.isin(labels, keep)

    @cached_property
    def lumen_mm(self) -> np.ndarray:
        """Distance of every voxel to the airway (mm); infinite without one."""
        if not self.airway.any():
            return np.full(self.ct.shape, np.inf, np.float32)
        return ndimage.distance_transform_edt(~self.airway, self.ct.spacing_mm).astype(np.float32)

    @cached_property
    def bone(self) -> np.ndarray:
        """Cortical bone, teeth and metal."""
        return self.ct.array > 250

    @cached_property
    def cord(self) -> tuple[np.ndarray, np.ndarray]:
        """(y, x) millimetres of the cord's centre for every z index, smoothed and extrapolated."""
        mask = self.masks["SpinalCord"]
        hit = np.flatnonzero(mask.any((1, 2)))
        centres = np.array([ndimage.center_of_mass(mask[k]) for k in hit])
        k = np.arange(mask.shape[0])
        out = []
        for axis in range(2):
            line = np.interp(k, hit, ndimage.uniform_filter1d(centres[:, axis], 5, mode="nearest"))
            out.append(line * self.ct.spacing_mm[axis + 1] + self.ct.origin_mm[axis + 1])
        return out[0], out[1]

    @cached_property
    def airway_lines(self) -> dict[str, np.ndarray]:
        """For every z index: anterior wall and centre of the airway (y, mm) and its centre x; NaN without air."""
        n = self.ct.shape[0]
        lines = {name: np.full(n, np.nan) for name in ("anterior", "centre", "x")}
        y, x = self.y_mm(), self.x_mm()
        for k in np.flatnonzero(self.airway.any((1, 2))):
            ys, xs = np.nonzero(self.airway[k])
            lines["anterior"][k] = np.percentile(y[ys], 10)
            lines["centre"][k] = y[ys].mean()
            lines["x"][k] = x[xs].mean()
        return lines

    def z_mm(self) -> np.ndarray:
        """Heights of the z indices."""
        return np.arange(self.ct.shape[0]) * self.ct.spacing_mm[0] + self.ct.origin_mm[0]

    def y_mm(self) -> np.ndarray:
        """Positions of the y indices (grow backwards)."""
        return np.arange(self.ct.shape[1]) * self.ct.spacing_mm[1] + self.ct.origin_mm[1]

    def x_mm(self) -> np.ndarray:
        """Positions of the x indices (grow to the patient's left)."""
        return np.arange(self.ct.shape[2]) * self.ct.spacing_mm[2] + self.ct.origin_mm[2]

    @cached_property
    def w(self) -> np.ndarray:
        """Millimetres above the mandible's lower border, per z index."""
        return self.z_mm() - self.z0_mm

    def neck_centre_mm(self) -> tuple[float, float, float]:
        """Origin of the neck frame: the cord's centre at the height of the mandible's lower border."""
        k = int(np.argmin(np.abs(self.w)))
        cy, cx = self.cord
        return self.z0_mm, float(cy[k]), float(cx[k])

    def neck_frame(self, point_mm: np.ndarray, side: str = "left") -> tuple[float, float, float]:
        """(w, u, v) of an LPS point (z, y, x)."""
        z, y, x = point_mm
        cy, cx = self.cord
        k = np.clip((z - self.ct.origin_mm[0]) / self.ct.spacing_mm[0], 0, self.ct.shape[0] - 1)
        grid = np.arange(self.ct.shape[0])
        return (
            float(z - self.z0_mm),
            float(SIDE_SIGN[side] * (x - np.interp(k, grid, cx))),
            float(y - np.interp(k, grid, cy)),
        )

    def candidates(self, kind: str, place: str, side: str) -> np.ndarray:
        """Where the centre of a lesion may lie: bool (z, y, x) on the coarse grid.

        Args:
            kind: ``node`` (``place`` is a level), ``mass`` (a site) or ``airway`` (an airway level; the mask is
                the lumen there).
        """
        cy, cx = self.cord
        sign = SIDE_SIGN[side]
        u = sign * (self.x_mm()[None, None, :] - cx[:, None, None])
        w = self.w[:, None, None]
        y = self.y_mm()[None, :, None]
        soft = self.body & ~self.bone
        if kind == "airway":
            lo, hi = AIRWAY_RANGE[place]
            return self.airway & (w >= lo) & (w <= hi)
        if kind == "node":
            (w0, w1), (u0, u1), (v0, v1) = LEVEL_BOX[place]
            v = y - cy[:, None, None]
            return soft & ~self.airway & (w >= w0) & (w <= w1) & (u >= u0) & (u <= u1) & (v >= v0) & (v <= v1)
        if place == "parotid gland":
            return soft & self.masks.get("Parotid_L" if side == "left" else "Parotid_R", np.zeros(self.ct.shape, bool))
        (w0, w1), (u0, u1), (y0, y1), wall = SITE_BOX[place]
        lines = self.airway_lines
        du = sign * (self.x_mm()[None, None, :] - lines["x"][:, None, None])
        dy = y - lines[wall][:, None, None]
        with np.errstate(invalid="ignore"):
            return soft & (w >= w0) & (w <= w1) & (du >= u0) & (du <= u1) & (dy >= y0) & (dy <= y1)

    def place_of(self, kind: str, point_mm: np.ndarray) -> tuple[str | None, Laterality]:
        """Nearest level (node) or site (mass), and the side, of an LPS point (z, y, x)."""
        return self.nearest_place(kind, point_mm)[:2]

    def nearest_place(self, kind: str, point_mm: np.ndarray) -> tuple[str | None, Laterality, float]:
        """Nearest level (node) or site (mass) of an LPS point (z, y, x), the side, and how far away it is (mm)."""
        _, u, _ = self.neck_frame(point_mm, "left")
        side: Laterality = "left" if u >= 0 else "right"
        index = np.round(self.ct.mm_to_index(point_mm)).astype(int)
        best, best_distance = None, np.inf
        places = list(LEVEL_BOX) if kind == "node" else [*SITE_BOX, "parotid gland"]
        for place in places:
            region = self.candidates(kind, place, side)
            hit = np.argwhere(region)
            if not len(hit):
                continue
            distance = float(np.min(((hit - index) ** 2).sum(1)))
            if distance < best_distance:
                best, best_distance = place, distance
        return best, side, float(np.sqrt(best_distance)) * ANATOMY_MM


# Neighbours within an axial slice.
IN_SLICE = np.pad(ndimage.generate_binary_structure(2, 1)[None], ((1, 1), (0, 0), (0, 0)))


def body_mask(hu: np.ndarray) -> np.ndarray:
    """Largest connected part above -400 HU with its holes filled in every axial slice (air inside counts)."""
    soft = hu > -400
    opened = ndimage.binary_opening(soft)
    labels, n = ndimage.label(opened if opened.any() else soft)
    if n == 0:
        return np.zeros(hu.shape, bool)
    biggest = labels == (1 + int(np.argmax(np.bincount(labels.ravel())[1:])))
    biggest = ndimage.binary_dilation(biggest) & (soft | biggest)
    closed = ndimage.binary_closing(biggest, IN_SLICE, iterations=2) | biggest
    # Air that does not reach its slice's border is inside.
    labels, n = ndimage.label(~closed, IN_SLICE)
    outside = np.zeros(n + 1, bool)
    for edge in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        outside[edge] = True
    outside[0] = False
    return ~outside[labels]


def build_anatomy(ct: Volume, masks: dict[str, np.ndarray]) -> Anatomy | None:
    """Read landmarks off a CT that is already on the coarse grid; None when cord or height cannot be found.

    Args:
        ct: HU at ``ANATOMY_MM`` isotropic.
        masks: TG-263 name -> bool on the same grid; needs SpinalCord and Bone_Mandible or Brainstem.
    """
    cord = masks.get("SpinalCord")
    if cord is None or np.count_nonzero(cord.any((1, 2))) < 5:
        return None
    z = np.arange(ct.shape[0]) * ct.spacing_mm[0] + ct.origin_mm[0]
    mandible, brainstem = masks.get("Bone_Mandible"), masks.get("Brainstem")
    if mandible is not None and mandible.sum() * ct.voxel_ml > 8.0:
        z0 = float(np.percentile(np.repeat(z, mandible.sum((1, 2))), 2))
        return Anatomy(ct, masks, z0)
    if brainstem is not None and brainstem.sum() * ct.voxel_ml > 4.0:
        z0 = float(np.percentile(np.repeat(z, brainstem.sum((1, 2))), 2)) - BRAINSTEM_ABOVE_MANDIBLE_MM
        return Anatomy(ct, masks, z0)
    return None
