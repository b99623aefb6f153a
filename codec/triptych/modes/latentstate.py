"""What mixed decisions of latents begin with, learned from other pictures (FORMAT.md section 13.5).

Whoever has trained a network gives pictures, and gets a dictionary with what they taught.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from triptych_kernels import rangecoder

from triptych.dictionary import Dictionary
from triptych.fit.networkbook import LatentModel, Tensors, build_network, build_state, load_network
from triptych.images import Pixels
from triptych.modes.latents import mix_set, walk_set
from triptych.modes.panel import Panel

__all__ = ["learn_state", "with_state"]

I32 = npt.NDArray[np.int32]

STATE_IMAGES = 480
LEAST_RATE = 400
"""Counters go on learning at least so fast in a new picture (of 4096)."""
MAX_BYTES = 40
"""More than a latent takes: a decision of at most 16 bits, 16 of at most 12, and 30 raw bits."""


def with_state(book: Dictionary, images: Sequence[Pixels], seed: int = 0) -> Dictionary:
    """Give a dictionary of networks in which mixed decisions begin with what some images have taught them."""
    panel, network = Panel(book), load_network(book)
    random = np.random.default_rng(seed)
    frames = []
    for number in random.permutation(len(images))[:STATE_IMAGES]:
        quality = int(random.integers(0, 101))
        frames.append((quality, panel.latents([[images[number]]], quality, "fast")[0]))
    tensors = {**network.tensors, **learn_state(frames, network.latents)}
    content = build_network(network.architecture, network.config, tensors)
    return Dictionary.build(book.kind, book.params, content, book.report, book.encoder)


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
