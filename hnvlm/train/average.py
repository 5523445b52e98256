"""The mean of two sets of weights of one network: often better than either when one was trained on from the other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from hnvlm.errors import InputRefusedError
from hnvlm.evaluate.patients import RECORD, Trained, read_trained, write_trained
from hnvlm.models.checkpoint import read_config, weights_sha256


def average(first: Path, second: Path, out: Path, share: float) -> dict[str, Any]:
    """Write a model folder whose weights and thresholds are ``(1 - share) * first + share * second``.

    Everything else of the config is the second's. Sense of it: M. Wortsman et al., "Model soups", ICML 2022.

    Args:
        share: Of the second model, 0 to 1.

    Returns:
        ``out``, ``share`` and the number of ``tensors``.

    Raises:
        ModelPackError: A folder has no readable config.
        InputRefusedError: ``out`` is there already, a file cannot be read, or the two are not of one network.
    """
    if out.exists():
        raise InputRefusedError(f"{out} is there already; name a new folder.")
    configs = [read_config(folder) for folder in (first, second)]
    tensors = [_weights(folder) for folder in (first, second)]
    shapes = [{name: value.shape for name, value in found.items()} for found in tensors]
    thresholds = [config.get("thresholds", {}) for config in configs]
    if shapes[0] != shapes[1] or thresholds[0].keys() != thresholds[1].keys():
        raise InputRefusedError(f"{first} and {second} are not of one network, so their weights have no mean.")
    mean = {}
    for name, value in tensors[1].items():
        mixed = (1 - share) * tensors[0][name].float() + share * value.float()
        mean[name] = mixed.to(value.dtype) if value.is_floating_point() else value
    config = dict(configs[1])
    if thresholds[1]:
        config["thresholds"] = {
            name: round((1 - share) * thresholds[0][name] + share * value, 3) for name, value in thresholds[1].items()
        }
    # A folder with weights and no config, or the other way round, is never left behind.
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_file(mean, str(part / "model.safetensors"))
    config["weights_sha256"] = weights_sha256(part)
    (part / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    seen = [read_trained(folder / RECORD) for folder in (first, second)]
    if any(seen):
        # The mean saw whom either saw.
        write_trained(part / RECORD, Trained(frozenset(), True).joined(seen[0]).joined(seen[1]))
    part.rename(out)
    return {"out": str(out), "share": share, "tensors": len(mean)}


def _weights(folder: Path) -> dict[str, Any]:
    path = folder / "model.safetensors"
    try:
        return load_file(str(path))
    except Exception as error:
        raise InputRefusedError(f"{path} cannot be read ({error}).") from error
