"""Where networks run, and the way there and back: on a GPU copies overlap with work, a CPU needs none."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn


def choose_device() -> torch.device:
    """Give the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def settle(module: nn.Module, device: torch.device) -> None:
    """Move a network to its device, laid out as convolutions there like it."""
    module.to(device)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this form


def put(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Send an array to the device; the call does not wait for a GPU."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type == "cpu":
        return tensor
    # Copies from pageable memory would wait for what the GPU is doing.
    return tensor.pin_memory().to(device, non_blocking=True)


class Flight:
    """A tensor on its way to the CPU: begun at once, waited for in `land`.

    Whoever begins the next piece of work before landing the last one keeps a GPU and the CPU busy together.
    """

    def __init__(self, tensor: Tensor) -> None:
        event: Any = torch.cuda.Event  # torch gives its constructor no types
        self._landed = event() if tensor.is_cuda else None
        if self._landed is None:
            self._host = tensor
            return
        self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._host.copy_(tensor, non_blocking=True)
        self._landed.record()

    def land(self) -> npt.NDArray[Any]:
        """Wait, and give the array."""
        if self._landed is not None:
            self._landed.synchronize()
        array: npt.NDArray[Any] = self._host.numpy()
        return array
