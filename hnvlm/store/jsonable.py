"""Turn results into plain JSON: numpy scalars, tuples, dataclasses, paths; NaN becomes null."""

from __future__ import annotations

import dataclasses
import json
import math
from datetime import date, datetime
from pathlib import PurePath
from typing import Any

import numpy as np


def jsonable(value: Any) -> Any:
    """Return ``value`` as dicts, lists, strings, numbers, booleans and None.

    Args:
        value: Nested result. Dataclasses become dicts; sets become sorted lists; NaN and infinity
            become None, because JSON has no such numbers.

    Raises:
        TypeError: Something has no JSON form (an array of more than 10 000 elements included: arrays
            belong into array files, not into payloads).
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.ndarray):
        if value.size > 10_000:
            raise TypeError(f"an array of shape {value.shape} does not belong into JSON; store it as an array")
        return jsonable(value.tolist())
    if isinstance(value, dict):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((jsonable(v) for v in value), key=str)
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if hasattr(value, "to_json"):
        return jsonable(value.to_json())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form")


def dumps(value: Any) -> str:
    """Serialise ``jsonable(value)`` with sorted keys, so that equal content gives equal text."""
    return json.dumps(jsonable(value), ensure_ascii=False, sort_keys=True, allow_nan=False)
