"""What mixed decisions of latents begin with, learned from other pictures (FORMAT.md section 13.5).

Whoever trains a network gives the latents of pictures, and puts what comes back into the dictionary.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from triptych_kernels import rangecoder

from triptych.fit.networkbook import LatentModel, Tensors, build_state
from triptych.modes.latents import mix_set, walk_set

__all__ = ["learn_state"]

I32 = npt.NDArray[np.int32]

LEAST_RATE = 400
"""Counters go on learning at least so fast in a new picture (of 4096)."""
MAX_BYTES = 40
"""More than a latent takes: a decision of at most 16 bits, 16 of at most 12, and 30 raw bits."""


def learn_state(frames: Iterable[tuple[int, I32]], model: LatentModel) -> Tensors:
    """Give the tensors of the state after coding these frames one after the other.

    A frame is a quality, 0 to 100, and latents i32 (images, channels, rows, columns); best are frames of one
    picture, of all qualities, in random order. Where the model has a state, learning goes on from it.
    """
    mixer = model.new_mixer()
    for quality, latents in frames:
        mixer.channels[:] = 0
        sink = np.empty(latents.size * MAX_BYTES + 8, np.uint8)
        mix_set(walk_set(latents, quality, model), mixer, model, rangecoder.new_coder(), sink)
    counters = mixer.counters[1:]
    rates = np.maximum(counters & 4095, LEAST_RATE)
    return build_state(counters >> 12 << 12 | rates, mixer.weights)
