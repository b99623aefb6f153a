"""Where networks run, and the way there and back: on a GPU copies overlap with work, a CPU needs none."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

MAX_GRAPHS = 16
"""Graphs that are kept; each holds the memory of its batch."""


def choose_device() -> torch.device:
    """Give the GPU if there is one, else the CPU; that too in a forked child, which cannot use CUDA."""
    is_lost = torch.cuda._is_in_bad_fork()  # CUDA was in use before the fork; there is no public name for it
    return torch.device("cuda" if not is_lost and torch.cuda.is_available() else "cpu")


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


def bucket_of(n: int) -> int:
    """Give the size that batches of n are filled up to: the next power of two."""
    return 1 << (n - 1).bit_length()


class _Captured(NamedTuple):
    """A graph, and the tensors that it reads and writes."""

    graph: Any  # torch gives torch.cuda.CUDAGraph no types
    values: Tensor
    level: Tensor
    images: Tensor


class Replayed:
    """Work of a network, captured on a GPU as a graph and replayed: one launch in place of hundreds.

    Batches are filled up to a few sizes, and a graph is captured at the first batch of each size, shape and
    constant. On the CPU batches are filled up too, and the work is just called.

    Parameters
    ----------
    work : callable
        Takes float tensors (n, ...) and (n), and a constant; gives a tensor (n, ...). No image of a batch
        may depend on the others, and nothing in it may wait for the GPU.
    """

    def __init__(self, work: Callable[[Tensor, Tensor, float], Tensor]) -> None:
        self._work = work
        self._captured: OrderedDict[tuple[torch.Size, float], _Captured] = OrderedDict()
        # Threads share the tensors of a graph, so they fill and empty them one at a time.
        self._lock = threading.Lock()

    def __call__(self, values: Tensor, level: Tensor, constant: float) -> Tensor:
        """Do the work for a batch."""
        n = len(values)
        values, level = _fill_up(values), _fill_up(level)
        if not values.is_cuda:
            return self._work(values, level, constant)[:n]
        with self._lock:
            key = (values.shape, constant)
            if key not in self._captured:
                self._captured[key] = self._capture(values, level, constant)
                if len(self._captured) > MAX_GRAPHS:
                    self._captured.popitem(last=False)
            self._captured.move_to_end(key)
            captured = self._captured[key]
            captured.values.copy_(values)
            captured.level.copy_(level)
            captured.graph.replay()
            return captured.images[:n].clone()

    def _capture(self, values: Tensor, level: Tensor, constant: float) -> _Captured:
        values, level = values.clone(), level.clone()
        # Libraries choose their algorithms and take their workspaces at the first call, outside of the graph.
        make_stream: Any = torch.cuda.Stream  # torch gives its constructor no types
        stream = make_stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._work(values, level, constant)
        torch.cuda.current_stream().wait_stream(stream)
        graph: Any = torch.cuda.CUDAGraph()
        # Other threads may go on allocating meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            images = self._work(values, level, constant)
        return _Captured(graph, values, level, images)


def _fill_up(batch: Tensor) -> Tensor:
    missing = bucket_of(len(batch)) - len(batch)
    return torch.cat([batch, batch.new_zeros(missing, *batch.shape[1:])]) if missing else batch
