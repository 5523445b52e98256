"""A model is a folder: config.json, model.safetensors (fp16), metrics.json, README.md. Loading is strict."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hnvlm.errors import ModelPackError


def save_model(folder: Path, network: nn.Module, config: dict[str, Any], *, dtype: torch.dtype = torch.float16) -> None:
    """Write weights and config; metrics.json is written by ``hnvlm evaluate``, the README by a person.

    The config names the weights it was written for (``weights_sha256``). Both lie complete beside the old
    ones before either takes its place: a full disk or a kill costs no weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, value in network.state_dict().items():
        tensors[name] = (value.to(dtype) if value.is_floating_point() else value).contiguous().cpu().clone()
    weights, settings = folder / "model.safetensors.part", folder / "config.json.part"
    try:
        save_file(tensors, str(weights))
        named = config | {"weights_sha256": sha256(weights)}
        settings.write_text(json.dumps(named, indent=1) + "\n", encoding="utf-8")
        weights.replace(weights.with_suffix(""))
        settings.replace(settings.with_suffix(""))
    finally:
        weights.unlink(missing_ok=True)
        settings.unlink(missing_ok=True)


def read_config(folder: Path) -> dict[str, Any]:
    """Return a model's config.

    Raises:
        ModelPackError: The folder or its config is missing or damaged.
    """
    path = folder / "config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelPackError(
            f"The model in {folder} has no readable config.json ({error}). Restore the model pack."
        ) from error


def load_weights(folder: Path, network: nn.Module) -> nn.Module:
    """Load ``model.safetensors`` strictly into ``network`` (fp32, eval mode) and return it.

    Raises:
        ModelPackError: The file is not the one that its config names, or a tensor is missing, unexpected or of another
            shape; nothing is left random.
    """
    path = folder / "model.safetensors"
    try:
        tensors = load_file(str(path))
    except Exception as error:
        raise ModelPackError(f"{path} cannot be read ({error}). Restore the model pack.") from error
    named = read_config(folder).get("weights_sha256")
    if named is not None and sha256(path) != named:
        raise ModelPackError(
            f"{path} is damaged, or was replaced without its config.json: it is not the file that was measured. "
            "Restore the model pack."
        )
    expected = network.state_dict()
    missing = sorted(set(expected) - set(tensors))
    unexpected = sorted(set(tensors) - set(expected))
    shapes = sorted(k for k in set(expected) & set(tensors) if expected[k].shape != tensors[k].shape)
    if missing or unexpected or shapes:
        raise ModelPackError(
            f"{path} does not fit this version of hnvlm: missing {missing[:3]}, unexpected {unexpected[:3]}, "
            f"other shape {shapes[:3]}. Use the model pack of this release."
        )
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, strict=True)
    return network.eval()


def weights_sha256(folder: Path) -> str:
    """SHA-256 of the weights file, for provenance."""
    return sha256(folder / "model.safetensors")


def sha256(file: Path) -> str:
    """SHA-256 of a file as hex digits."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
