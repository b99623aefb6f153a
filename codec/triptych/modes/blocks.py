"""The PCA panel for photographs: planes, blocks, bytes. FORMAT.md section 7 is the law.

A frame's pictures go through one adaptive model, which begins as the dictionary says. Alpha is not a colour:
it is coded exactly, as grey pictures of the k-means panel, before the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
from triptych_kernels import blockcoder
from triptych_kernels.blockcoder import (
    EVEN_WEIGHT,
    N_WEIGHTS,
    Plane,
    Search,
    code_plane,
    new_plane,
    new_scratch,
)
from triptych_kernels.blockcost import NO_SIEVE, Sieve, cost_table, magnitude_bits, new_sieve
from triptych_kernels.blockmodel import KINDS, MAX_MAGNITUDE, new_mixer
from triptych_kernels.planes import to_pixels, to_planes
from triptych_kernels.postfilter import filter_plane, pad_plane, padded_taps
from triptych_kernels.rangecoder import finish_decoding, finish_encoding, new_coder, start
from triptych_kernels.status import BAD_SYMBOL, INPUT_EXHAUSTED, OK, OUTPUT_FULL, TAIL_MISMATCH

from triptych.dictionary import Dictionary
from triptych.errors import InvalidFrame
from triptych.fit.blockbook import BlockBook, parse_blocks
from triptych.images import Pixels, Shape
from triptych.keeping import keep
from triptych.modes.alpha import decode_alpha, encode_alpha, has_alpha
from triptych.modes.base import unreachable
from triptych.options import Options
from triptych.psnr import psnr_of, squared_error

SQUARE = 16
LAMBDA = 0.10
"""Squared steps that a bit may save."""
FINEST, COARSEST = 24, 112
"""The steps of quality 100 and 0, in 1/16 octaves."""
DEFAULT_QUALITY = 50
VISUAL_STRENGTH = 4
VISUAL_CHROMA = 4
"""`tune="visual"`: the step follows half the local variance, and chroma's is 2^(4/16) times luma's."""
BATCH_PIXELS = 1 << 14
FRAME_PIXELS = 1 << 20
HAS_FILTER = 8
STEPS_VARY = 128
_TRIES = (64,) * KINDS
_FAST_TRIES = (3, 1, 1, 1)
"""Classes to try for each kind of block, see `blockmodel.KINDS`."""
_WEIGHTS = LAMBDA * 2.0 ** ((np.arange(N_WEIGHTS) - EVEN_WEIGHT) / 2)
_CAUSES = {
    INPUT_EXHAUSTED: "ends before its last block",
    TAIL_MISMATCH: "does not end as an encoder would have ended it",
    BAD_SYMBOL: "holds a block that cannot be",
}

I16 = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Setting:
    """The head of a body: how coarse, and how that varies.

    steps: 1/16 octaves, one for each image. strength: of adaptation to local variance, in eighths. chroma: by
    how much its step is coarser. filtered: decoded planes go through the dictionary's filter.
    """

    steps: tuple[int, ...]
    strength: int = 0
    chroma: int = 0
    filtered: bool = True

    def to_bytes(self) -> bytes:
        """Build the head."""
        plan = self.strength | HAS_FILTER * self.filtered | self.chroma << 4
        if len(set(self.steps)) == 1:
            return bytes([plan, self.steps[0]])
        return bytes([plan, self.steps[0] | STEPS_VARY, *self.steps[1:]])

    @classmethod
    def parse(cls, body: memoryview, n_images: int) -> tuple[Setting, int]:
        """Parse the head; return it and its length."""
        if len(body) < 2:
            raise InvalidFrame("the body of a PCA frame is too short", got=len(body))
        plan, step = body[0], body[1]
        strength, chroma = plan & 7, plan >> 4
        if strength > VISUAL_STRENGTH:
            raise InvalidFrame("unknown plan of a PCA body", got=plan)
        length = 2
        steps = (step,) * n_images
        if step & STEPS_VARY:
            length = 1 + n_images
            steps = (step & ~STEPS_VARY, *body[2:length])
            if len(steps) < n_images or max(steps) >= STEPS_VARY:
                raise InvalidFrame("the steps of a PCA body", expected=n_images, got=len(steps))
        return cls(steps, strength, chroma, bool(plan & HAS_FILTER)), length


class _Loaded:
    """A dictionary as the kernels take it."""

    def __init__(self, book: BlockBook) -> None:
        self.book = book
        self.bases = book.bases()
        self.mixer = new_mixer(book.counters, book.weights)
        self.taps = [[padded_taps(filters) for filters in kinds] for kinds in book.filters]
        color = book.color.astype(np.int64)
        grey = int(color[0].sum())
        self.color, self.color_inverse = color, np.ascontiguousarray(color.T)
        self.grey = np.array([[grey]])
        self.grey_inverse = np.array([[((1 << 28) + grey // 2) // grey]])

    @cached_property
    def sieve(self) -> Sieve:
        """What a quick search chooses classes by; a decoder never asks."""
        basis = self.bases[0]
        return new_sieve(basis.predictor, basis.transform, basis.log_sigma)

    def filter_of(self, step: int, chroma: bool) -> npt.NDArray[np.int16] | None:
        """Give the taps whose step is nearest, the finer among equals."""
        if not len(self.book.filter_steps):
            return None
        return self.taps[int(np.abs(self.book.filter_steps - step).argmin())][int(chroma)]


@keep
def load(dictionary: Dictionary) -> _Loaded:
    """Give a dictionary of kind "blocks" as the kernels take it."""
    return _Loaded(parse_blocks(dictionary.content))


class _Codec:
    """One frame in either direction: its model and its coder."""

    def __init__(self, loaded: _Loaded, sink: Pixels | None, source: Pixels | None) -> None:
        self.loaded = loaded
        self.mixer = new_mixer(loaded.mixer.counters, loaded.mixer.weights)
        self.coder = new_coder()
        self.scratch = new_scratch()
        self.sink, self.source = sink, source
        if source is not None:
            start(self.coder, source)

    def code(self, shape: Shape, setting: Setting, step: int, effort: str, image: I16 | None) -> list[Plane]:
        """Code the planes of one image."""
        height, width = (-(-side // SQUARE) * SQUARE for side in shape[:2])
        planes: list[Plane] = []
        for number in range(n_planes_of(shape)):
            chroma = number > 0
            plane = new_plane(height, width, planes[0] if chroma else None)
            search = None
            if image is not None:
                sieve = self.loaded.sieve if effort == "fast" else NO_SIEVE
                search = _search(image[number], effort, sieve)
            status = code_plane(
                self.mixer,
                self.coder,
                self.loaded.bases[2 * chroma],
                self.loaded.bases[2 * chroma + 1],
                plane,
                self.scratch,
                self.loaded.book.means,
                number,
                min(step + chroma * setting.chroma, blockcoder.N_STEPS - 1),
                0 if chroma else setting.strength,
                search,
                self.sink,
                self.source,
            )
            if status == OUTPUT_FULL:
                raise _SinkFull
            if status != OK:
                raise InvalidFrame(f"the message {_CAUSES[status]}")
            planes.append(plane)
        return planes


class _SinkFull(Exception):
    """The guess of a body's size was too low."""


def n_planes_of(shape: Shape) -> int:
    """Give how many planes an image has, alpha not counted."""
    return 3 if shape.channels >= 3 else 1


def _search(plane: I16, effort: str, sieve: Sieve = NO_SIEVE) -> Search:
    quick = effort == "fast"
    weights = np.rint(_WEIGHTS * 256).astype(np.int64)
    tries = np.array(_FAST_TRIES if quick else _TRIES)
    return Search(plane, _costs(), _bits(), weights, tries, quick, *sieve)


@lru_cache(maxsize=1)
def _costs() -> npt.NDArray[np.int64]:
    tables = np.stack([cost_table(weight).reshape(-1) for weight in _WEIGHTS])
    costs: npt.NDArray[np.int64] = np.rint(tables * 1024).astype(np.int64)
    return costs


@lru_cache(maxsize=1)
def _bits() -> npt.NDArray[np.int64]:
    """Give estimates in 1/256 bit: of magnitudes by level, then of probabilities by their upper 12 bits."""
    p = (np.arange(4096) + 0.5) / 4096
    tables = (magnitude_bits()[:, :MAX_MAGNITUDE].reshape(-1), -np.log2(p))
    bits: npt.NDArray[np.int64] = np.rint(np.concatenate(tables) * 256).astype(np.int64)
    return bits


def _to_planes(pixels: Pixels, loaded: _Loaded) -> I16:
    """Give the padded planes of an image."""
    shape = Shape(*pixels.shape)
    n = n_planes_of(shape)
    planes = np.empty((n, -(-shape.height // SQUARE) * SQUARE, -(-shape.width // SQUARE) * SQUARE), np.int16)
    to_planes(pixels, loaded.color if n == 3 else loaded.grey, planes)
    return planes


def _to_pixels(planes: Sequence[Plane], shape: Shape, setting: Setting, step: int, loaded: _Loaded) -> Pixels:
    """Give the pixels of decoded planes; alpha is left at 255."""
    height, width = planes[0].rec.shape
    final = np.empty((len(planes), height, width), np.int16)
    for number, plane in enumerate(planes):
        chroma = number > 0
        own = min(step + chroma * setting.chroma, blockcoder.N_STEPS - 1)
        taps = loaded.filter_of(own, chroma) if setting.filtered else None
        if taps is None:
            final[number] = plane.rec
            continue
        padded = np.empty((height + 4, width + 8), np.int16)
        pad_plane(plane.rec, padded)
        filter_plane(padded, plane.split, own, taps, final[number])
    pixels = np.full(shape, 255, np.uint8)
    to_pixels(final, loaded.color_inverse if len(planes) == 3 else loaded.grey_inverse, pixels)
    return pixels


def _encode_planes(
    images: Sequence[Pixels], setting: Setting, loaded: _Loaded, effort: str
) -> tuple[bytes, list[list[Plane]]]:
    """Code images; return the message, and the planes of each image as they will be decoded."""
    size = 4096 + sum(image.shape[0] * image.shape[1] for image in images)
    while True:
        sink = np.empty(size, np.uint8)
        codec = _Codec(loaded, sink, None)
        planes = []
        try:
            for image, step in zip(images, setting.steps, strict=True):
                shape = Shape(*image.shape)
                planes.append(codec.code(shape, setting, step, effort, _to_planes(image, loaded)))
            n = finish_encoding(codec.coder, sink)
            if n >= 0:
                return sink[:n].tobytes(), planes
        except _SinkFull:
            pass
        size *= 4


def setting_for(options: Options, n_images: int) -> Setting:
    """Give the setting that options ask for."""
    quality = DEFAULT_QUALITY if options.quality is None else options.quality
    step = round(COARSEST + (FINEST - COARSEST) * quality / 100)
    if options.tune == "visual":
        return Setting((step,) * n_images, VISUAL_STRENGTH, VISUAL_CHROMA)
    return Setting((step,) * n_images)


def encode_at(
    images: Sequence[Pixels], setting: Setting, dictionary: Dictionary, effort: str
) -> tuple[bytes, list[Pixels]]:
    """Give the body of grey pictures with this setting, and the pictures as they will be decoded."""
    loaded = load(dictionary)
    message, planes = _encode_planes(images, setting, loaded, effort)
    return setting.to_bytes() + message, _show(images, planes, setting, loaded)


def _show(
    images: Sequence[Pixels], coded: Sequence[Sequence[Plane]], setting: Setting, loaded: _Loaded
) -> list[Pixels]:
    """Give images as they will be decoded; their alpha is exact."""
    shown = []
    for image, planes, step in zip(images, coded, setting.steps, strict=True):
        shape = Shape(*image.shape)
        pixels = _to_pixels(planes, shape, setting, step, loaded)
        if has_alpha(shape):
            pixels[:, :, -1] = image[:, :, -1]
        shown.append(pixels)
    return shown


def encode_frame(
    images: Sequence[Pixels], options: Options, dictionary: Dictionary
) -> tuple[bytes, list[Pixels]]:
    """Give the body of a frame, and the images as they will be decoded; see `triptych.modes.pca`."""
    loaded = load(dictionary)
    setting = setting_for(options, len(images))
    alpha = encode_alpha(images, options)
    if options.target_size is None and options.target_psnr is None:
        message, planes = _encode_planes(images, setting, loaded, options.effort)
        return setting.to_bytes() + alpha + message, _show(images, planes, setting, loaded)
    room = None if options.target_size is None else options.target_size - len(alpha) - 2
    steps = tuple(_search_step(image, setting, loaded, options, room) for image in images)
    setting = replace(setting, steps=steps)
    message, planes = _encode_planes(images, setting, loaded, options.effort)
    shown = _show(images, planes, setting, loaded)
    while options.target_psnr is not None and len(images) > 1:
        # Each was searched alone, but the model of a frame goes on: make good what that cost.
        finer = tuple(
            step - (step > FINEST and _psnr(image, pixels) < options.target_psnr)
            for image, pixels, step in zip(images, shown, steps, strict=True)
        )
        if finer == steps:
            break
        steps = finer
        setting = replace(setting, steps=steps)
        message, planes = _encode_planes(images, setting, loaded, options.effort)
        shown = _show(images, planes, setting, loaded)
    return setting.to_bytes() + alpha + message, shown


def _search_step(image: Pixels, setting: Setting, loaded: _Loaded, options: Options, room: int | None) -> int:
    """Find the coarsest step that reaches a PSNR, or the finest whose message fits."""
    low, high, found = FINEST, STEPS_VARY - 1, None
    while low <= high:
        middle = (low + high) // 2
        one = replace(setting, steps=(middle,))
        message, planes = _encode_planes([image], one, loaded, options.effort)
        if room is not None:
            good = len(message) <= room
            finer = good
        else:
            good = _psnr(image, _show([image], planes, one, loaded)[0]) >= (options.target_psnr or 0)
            finer = not good
        if good:
            found = middle
        if finer:
            high = middle - 1
        else:
            low = middle + 1
    if found is None:
        raise unreachable("no quality of PCA", options)
    return found


def _psnr(image: Pixels, shown: Pixels) -> float:
    return psnr_of(squared_error([image], [shown]), image.size)


def decode_frame(
    body: memoryview, shapes: Sequence[Shape], dictionary: Dictionary, start_image: int, stop: int
) -> list[Pixels]:
    """Give images start_image to stop - 1; see `triptych.modes.base.Mode.decode_frame`."""
    loaded = load(dictionary)
    setting, at = Setting.parse(body, len(shapes))
    alphas, at = decode_alpha(body, at, shapes, stop)
    source = np.frombuffer(body[at:], np.uint8).copy()
    codec = _Codec(loaded, None, source)
    images: list[Pixels] = []
    for i, (shape, step, alpha) in enumerate(zip(shapes, setting.steps, alphas, strict=False)):
        planes = codec.code(shape, setting, step, "default", None)
        if i < start_image:
            continue
        pixels = _to_pixels(planes, shape, setting, step, loaded)
        if alpha is not None:
            pixels[:, :, -1:] = alpha
        images.append(pixels)
    if stop == len(shapes) and finish_decoding(codec.coder, source) != OK:
        raise InvalidFrame(f"the message {_CAUSES[TAIL_MISMATCH]}")
    return images


def images_per_frame(shape: Shape) -> int:
    """Say how many images like this one share a frame by default."""
    return max(1, min(64, FRAME_PIXELS // shape.pixels)) if shape.pixels <= BATCH_PIXELS else 1


def describe_frame(body: memoryview, shapes: Sequence[Shape]) -> list[dict[str, object]]:
    """Say of each image its step and tuning."""
    setting, _ = Setting.parse(body, len(shapes))
    tune = "visual" if setting.strength or setting.chroma else "psnr"
    return [{"coder": "blocks", "tune": tune, "step": round(2 ** (step / 16), 2)} for step in setting.steps]
