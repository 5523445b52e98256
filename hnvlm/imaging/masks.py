"""Structures of one CT held small: each cut to its bounding box, as compressed bits, and unpacked when asked for.

Forty structures on a planning CT are gigabytes as bool arrays on the whole grid and a few megabytes like this.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hnvlm.imaging.resample import Box, box_slices, mask_box

__all__ = ["PackedMask", "PackedMasks", "Part", "part_of", "parts", "shapes_of"]

Shape = tuple[int, int, int]
# What the case store has always written; another level would give the same structures another file name.
_LEVEL = 6


class Part(NamedTuple):
    """A structure within its bounding box.

    Attributes:
        box: (z0, y0, x0, z1, y1, x1) on the whole grid, end exclusive.
        inside: bool (z1 - z0, y1 - y0, x1 - x0).
    """

    box: Box
    inside: np.ndarray

    @property
    def place(self) -> tuple[slice, slice, slice]:
        """The box as an index of an array on the whole grid."""
        return box_slices(self.box)


@dataclass(frozen=True)
class PackedMask:
    """One bool mask.

    Attributes:
        shape: Of the whole grid (z, y, x).
        box: (z0, y0, x0, z1, y1, x1) around the true voxels, end exclusive; None for an empty mask.
        data: Bits of the voxels in the box (C order), compressed; empty for an empty mask.
    """

    shape: Shape
    box: Box | None
    data: bytes

    @staticmethod
    def of(mask: np.ndarray) -> PackedMask:
        """Pack a mask (z, y, x); whatever is not zero is inside."""
        mask = np.asarray(mask).astype(bool, copy=False)
        box = mask_box(mask)
        shape: Shape = tuple(int(n) for n in mask.shape)  # type: ignore[assignment]
        if box is None:
            return PackedMask(shape, None, b"")
        bits = np.packbits(mask[box_slices(box)])
        return PackedMask(shape, box, zlib.compress(bits.tobytes(), _LEVEL))

    def part(self) -> Part | None:
        """Return the voxels within the bounding box, None for an empty mask."""
        if self.box is None:
            return None
        size = tuple(self.box[a + 3] - self.box[a] for a in range(3))
        bits = np.frombuffer(zlib.decompress(self.data), np.uint8)
        return Part(self.box, np.unpackbits(bits, count=int(np.prod(size))).view(bool).reshape(size))

    def unpack(self) -> np.ndarray:
        """Return the mask on the whole grid, bool (z, y, x); each call makes an array of its own."""
        out = np.zeros(self.shape, bool)
        part = self.part()
        if part is not None:
            out[part.place] = part.inside
        return out

    @cached_property
    def voxels(self) -> int:
        """Number of voxels inside."""
        part = self.part()
        return 0 if part is None else int(np.count_nonzero(part.inside))


class PackedMasks(Mapping[str, np.ndarray]):
    """Name -> bool mask (z, y, x) of one grid. Reads like a dict of arrays, holds packed ones.

    ``masks[name]`` unpacks, so ask once and keep the array while it is needed. It does not change: ``|`` makes another.

    Args:
        masks: Name -> mask, packed or an array of zero and other values.

    Raises:
        ValueError: The masks are of different grids.
    """

    def __init__(self, masks: Mapping[str, PackedMask | np.ndarray] | None = None) -> None:
        self._packed: dict[str, PackedMask] = {}
        given: Mapping[str, PackedMask | np.ndarray] = masks.packed if isinstance(masks, PackedMasks) else masks or {}
        for name, mask in given.items():
            self._packed[name] = mask if isinstance(mask, PackedMask) else PackedMask.of(mask)
        shapes = {mask.shape for mask in self._packed.values()}
        if len(shapes) > 1:
            raise ValueError(f"masks of one set have one grid, got shapes {sorted(shapes)}")
        self.shape: Shape | None = shapes.pop() if shapes else None

    @property
    def packed(self) -> dict[str, PackedMask]:
        """The packed masks, in their order."""
        return dict(self._packed)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._packed[name].unpack()

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)

    def __contains__(self, name: object) -> bool:
        return name in self._packed  # the one of Mapping would unpack it

    def __repr__(self) -> str:
        return f"PackedMasks({', '.join(self._packed)}; {self.shape})"

    def __or__(self, other: Mapping[str, PackedMask | np.ndarray]) -> PackedMasks:
        more = other.packed if isinstance(other, PackedMasks) else other
        return PackedMasks({**self._packed, **more})

    def __ror__(self, other: Mapping[str, PackedMask | np.ndarray]) -> PackedMasks:
        return PackedMasks(other) | self

    def only(self, names: Iterable[str]) -> PackedMasks:
        """Return those of the names that are there, in the order of the names."""
        return PackedMasks({name: self._packed[name] for name in names if name in self._packed})

    def part(self, name: str) -> Part | None:
        """Return a structure within its bounding box, None where it is empty."""
        return self._packed[name].part()


def part_of(masks: Mapping[str, np.ndarray], name: str) -> Part | None:
    """Return one structure within its bounding box without putting it on the whole grid; None where it is empty.

    Args:
        masks: Packed or name -> mask (z, y, x), of which the part is a view where it is bool.
    """
    if isinstance(masks, PackedMasks):
        return masks.part(name)
    mask = np.asarray(masks[name]).astype(bool, copy=False)
    box = mask_box(mask)
    return None if box is None else Part(box, mask[box[0] : box[3], box[1] : box[4], box[2] : box[5]])


def parts(masks: Mapping[str, np.ndarray]) -> Iterator[tuple[str, Part | None]]:
    """Yield (name, structure within its bounding box or None where it is empty)."""
    for name in masks:
        yield name, part_of(masks, name)


def shapes_of(masks: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of the grid, without unpacking what is packed."""
    if isinstance(masks, PackedMasks):
        return {name: mask.shape for name, mask in masks.packed.items()}
    return {name: np.shape(mask) for name, mask in masks.items()}
