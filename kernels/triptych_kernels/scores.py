"""The coder of quantized scores: a frame's images, component by component.

All images' scores of component 0 come first, then those of component 1, and so on, so a reader may stop
after any component. What is known of a score: its component's level (the standard deviation in steps, from
the dictionary), this image's activity (magnitudes so far, against the mean of their components), its scores
before, the image before, and what similar images have. FORMAT.md section 8 is the law.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int32, int64, uint64

from triptych_kernels._jit import inline, kernel
from triptych_kernels.arrays import I32, I64, U8, U64
from triptych_kernels.contextmix import clamp
from triptych_kernels.mapmodel import K1, K2
from triptych_kernels.rangecoder import overrun
from triptych_kernels.signednumber import (
    SIGN,
    NumberModel,
    coarse,
    code_magnitude,
    code_node,
    new_numbers,
)
from triptych_kernels.similar import LAST_COMPONENT, Similar, add_distances, find_nearest, foretell, renewed
from triptych_kernels.status import OK

HASH_BITS = 12
# Where the contexts of each input begin, in contexts.
_FAST, _BEFORE, _SLOW = 1, 1 + 512, 1 + 1024
_HINT = _SLOW + 2048
_CLUSTER = _HINT + 2048
_PAIR = _CLUSTER + (1 << HASH_BITS)
_ABOVE = _PAIR + (1 << HASH_BITS)
N_CONTEXTS = _ABOVE + 512
ACTIVITY = 256
"""An image whose magnitudes are as expected."""
FIRST_MEAN = 4096
"""A mean magnitude of one step."""


class ScoreModel(NamedTuple):
    """Adaptive state over a frame of n images: numbers; activity i64 (2, n): fast and slow; clusters i64 (n).

    clusters: of the first four scores, which are beyond the mean magnitude and on which side, in base 3.
    mean i64 (1): the running mean magnitude, 1/4096 of a step, from component to component.
    """

    numbers: NumberModel
    activity: I64
    clusters: I64
    mean: I64


def new_scores(n_images: int) -> ScoreModel:
    """Return the model before the first score of a frame."""
    return ScoreModel(
        new_numbers(N_CONTEXTS),
        np.full((2, n_images), ACTIVITY, np.int64),
        np.zeros(n_images, np.int64),
        np.full(1, FIRST_MEAN, np.int64),
    )


@inline
def _busy(activity: int) -> int:
    """Return the class of an activity, 0 to 15: two an octave; 10 is as expected."""
    length, rest = 0, int64(activity)
    while rest >= 2:
        rest >>= 1
        length += 1
    half = (int64(activity) >> int64(max(0, length - 1))) & 1 if length > 0 else int64(0)
    return clamp(2 * length + half - 6, 0, 15)


@inline
def _hash(j: int, what: int) -> int:
    """Return a context of HASH_BITS bits for component j."""
    h = (uint64(j) * K1) ^ (uint64(what) * K2 + K1)
    h = (h ^ (h >> uint64(29))) * K2
    return int64(h >> uint64(64 - HASH_BITS))


@inline
def _side(score: int) -> int:
    return int64(score > 0) + 2 * int64(score < 0)


@inline
def _set_bases(bases: I64, a: int, b: int, c: int, d: int, e: int, f: int, g: int) -> None:
    """Say which contexts the next decisions have, the seven inputs in order."""
    bases[0], bases[1], bases[2], bases[3] = a * 64, b * 64, c * 64, d * 64
    bases[4], bases[5], bases[6] = e * 64, f * 64, g * 64


@inline
def _code_component(
    scores: I32,
    j: int,
    level: int,
    with_similar: bool,
    model: ScoreModel,
    similar: Similar,
    coder: U64,
    sink: U8 | None,
    source: U8 | None,
) -> int:
    """Code component j of all images; return OK or a status."""
    low, high, code, pos = coder[0], coder[1], coder[2], coder[3]
    numbers, activity, clusters = model.numbers, model.activity, model.clusters
    bases, place = numbers.bases, numbers.place
    mean = int64(model.mean[0])
    seen = int64(8)
    renew = with_similar and renewed(j)
    for i in range(scores.shape[1]):
        if renew:
            find_nearest(i, similar)
        quick, slow = activity[0, i], activity[1, i]
        busy, calm = _busy(quick), _busy(slow)
        s1 = int64(scores[j - 1, i]) if j > 0 else int64(0)
        s2 = int64(scores[j - 2, i]) if j > 1 else int64(0)
        s3 = int64(scores[j - 3, i]) if j > 2 else int64(0)
        above = int64(scores[j, i - 1]) if i > 0 else int64(0)
        m1, m2, m_above = abs(s1), abs(s2), abs(above)
        cluster = clusters[i]
        hint, spread = int64(0), int64(0)
        if with_similar:
            hint, spread = foretell(scores, j, i, similar)
            spread = min(spread // 4, int64(7))
        # Without similar images the slow activity takes the place of what they foretell.
        expected = coarse(abs(hint)) if with_similar else calm
        fast = _FAST + level * 16 + busy
        before = _BEFORE + level * 16 + min(m1, int64(3)) * 4 + min(m2, int64(3))
        slow_at = _SLOW + (calm * 16 + busy) * 8 + (level >> 2)
        pair = min(m1, int64(2)) * 9 + min(m2, int64(2)) * 3 + min(m_above, int64(2))
        pair = _PAIR + _hash(j, 1000 + pair)
        over = _ABOVE + level * 16 + min(m_above, int64(3)) * 4 + min(m1 + m2, int64(3))
        hinted = _HINT + (expected * 8 + spread) * 8 + (level >> 2)
        known = _CLUSTER + _hash(j, (expected >> 1) if with_similar else cluster)
        place[0], place[1] = level, expected
        _set_bases(bases, 0, fast, before, hinted, known, pair, over if with_similar else slow_at)
        score = int64(0)
        if sink is not None:
            score = int64(scores[j, i])
        magnitude = abs(score)
        low, high, code, pos, bit = code_node(
            0, numbers, low, high, code, pos, int64(magnitude > 0), sink, source
        )
        if bit == 1:
            t1, t2, t3 = _side(s1), _side(s2), _side(s3)
            place[1] = coarse(-hint)
            _set_bases(
                bases,
                _CLUSTER + _hash(j, 5000),
                _CLUSTER + _hash(j, 6000 + cluster),
                _PAIR + _hash(j, 7000 + t1 * 9 + t2 * 3 + t3),
                _HINT + (coarse(-hint) * 8 + spread) * 8 + (level >> 2),
                _PAIR + _hash(j, 8000 + _side(above)),
                _PAIR + _hash(j, 9000 + cluster // 9),
                _CLUSTER + _hash(j, 10000 + (coarse(-hint) >> 1)),
            )
            low, high, code, pos, negative = code_node(
                SIGN, numbers, low, high, code, pos, int64(score < 0), sink, source
            )
            if with_similar:
                expected = coarse(-hint if negative == 1 else hint)
                hinted = _HINT + (expected * 8 + spread) * 8 + (level >> 2)
                known = _CLUSTER + _hash(j, expected >> 1)
            place[1] = expected
            _set_bases(bases, 0, fast, before, hinted, known, pair, over if with_similar else slow_at)
            low, high, code, pos, magnitude = code_magnitude(
                magnitude, numbers, low, high, code, pos, sink, source
            )
            if source is not None:
                score = -magnitude if negative == 1 else magnitude
                scores[j, i] = int32(score)
        scaled = min((magnitude << int64(20)) // mean, int64(1) << 14)
        activity[0, i] = quick + ((scaled - quick) >> 2)
        activity[1, i] = slow + ((scaled - slow) >> 4)
        if j < 4:
            beyond = int64((magnitude << int64(12)) > mean)
            clusters[i] = cluster * 3 + beyond * _side(score)
        mean = max(mean + ((magnitude << int64(12)) - mean) // seen, int64(16))
        seen = min(seen + 1, int64(200))
    if with_similar and j < LAST_COMPONENT - 1:
        add_distances(scores, j, similar)
    model.mean[0] = mean
    coder[0], coder[1], coder[2], coder[3] = low, high, code, pos
    return overrun(pos, sink, source)


@kernel
def code_scores(
    scores: I32,
    levels: I64,
    with_similar: bool,
    model: ScoreModel,
    similar: Similar,
    coder: U64,
    sink: U8 | None,
    source: U8 | None,
) -> int:
    """Code the first components of all images; return OK or a status.

    IN/OUT scores i32 (K, n), for the encoder within +-MAX_NUMBER, for the decoder zeros; model, similar,
    coder. IN levels i64 (at most K), 0 to 31: of as many components as are coded.
    """
    for j in range(len(levels)):
        status = _code_component(scores, j, levels[j], with_similar, model, similar, coder, sink, source)
        if status != OK:
            return status
    return OK
