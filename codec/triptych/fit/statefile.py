"""States of training as files: tensors in safetensors, the rest as JSON in its header; nothing is run.

A state is dicts (of str or int keys), lists, tuples, numbers, strings, bytes, None, tensors and arrays. What
JSON has no word for is an object of one member that says what it is.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triptych.errors import InvalidOption

SUFFIX = ".safetensors"
_FORMAT = "triptych training 1"


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write a state; a process killed in the middle leaves the file that was there."""
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    text = json.dumps(_pack(state, tensors))
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, {"format": _FORMAT, "state": text})
    os.replace(partial, path)


def load_state(path: Path) -> dict[str, Any]:
    """Read a state.

    Raises
    ------
    InvalidOption
        The file is not one that `save_state` wrote.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
            if said.get("format") != _FORMAT:
                raise ValueError("no state of training")
            state = _unpack(json.loads(said["state"]), file.get_tensor)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise not_a_state(path, error) from error
    if not isinstance(state, dict):
        raise not_a_state(path, "it holds no dict")
    return state


def not_a_state(path: Path, cause: object) -> InvalidOption:
    """Give the error of a file that training cannot go on from."""
    return InvalidOption(
        f"{path} is nothing that this training wrote ({cause}): move it away to begin anew",
        options=("checkpoint",),
    )


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (Tensor, np.ndarray)):
        name = str(len(tensors))
        tensor = value if isinstance(value, Tensor) else torch.from_numpy(value)
        # A copy of its own: files hold no tensors that share their memory.
        tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor" if isinstance(value, Tensor) else "array": name}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, (list, tuple)):
        items = [_pack(item, tensors) for item in value]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, dict):
        return {"dict": [[_pack(key, tensors), _pack(item, tensors)] for key, item in value.items()]}
    raise TypeError(f"a state of training holds no {type(value).__name__}")


def _unpack(value: Any, tensor: Any) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensor) for item in value]
    if not isinstance(value, dict):
        return value
    ((what, content),) = value.items()
    if what == "tensor":
        return tensor(content)
    if what == "array":
        return tensor(content).numpy()
    if what == "bytes":
        return bytes.fromhex(content)
    if what == "tuple":
        return tuple(_unpack(item, tensor) for item in content)
    if what == "dict":
        return {_unpack(key, tensor): _unpack(item, tensor) for key, item in content}
    raise ValueError(f"what is a {what!r}?")
