"""`mode="auto"`: which panel serves a picture, or the pictures of a collection, best.

A dictionary says it, or an option that only one panel has. Else it depends on what a picture is (`Kind`):

* of at most 256 colours: exact, in the k-means panel, whatever the other pictures of a collection are. Where
  loss was asked for (a PSNR, a size; for grey pictures of many levels, which are never more than 256, a
  quality too), a lossy stream is taken only if it is clearly smaller than the exact one (`CLEARLY`);
* of more: the PCA panel, or, where a target or a collection has them weighed, the one of the fewest bytes
  that reaches the PSNR, or of the highest PSNR in so many bytes.

A collection is weighed once for each kind, by some of its pictures (`weigh_modes`); a `Chooser` then takes
each picture to the panel of its kind. Panels that need torch are not weighed: their streams are for readers
that have it, and so are asked for by name.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from triptych.dictionary import Dictionary, shipped_dictionary
from triptych.errors import DictionaryMismatch, InvalidImage, TargetUnreachable
from triptych.framing import INLINE_ID_LEN
from triptych.images import MODES, Pixels, Shape, order_hint
from triptych.modes.base import Mode, check_bands
from triptych.modes.registry import get_mode
from triptych.options import Options
from triptych.psnr import psnr_of, squared_error

__all__ = [
    "Choice",
    "Chooser",
    "Kind",
    "Look",
    "Weighed",
    "asks_for_loss",
    "look_at",
    "may_be_drawn",
    "measure_panel",
    "suits_any",
    "weigh_modes",
]

FEW_COLORS = 256
FEW_LEVELS = 32
"""Grey pictures of no more levels are drawn; of more, their 256 are no sign of it."""
CLEARLY = 0.75
"""A lossy stream of no more than this share of the exact one's bytes is clearly smaller."""
SAMPLE = 1 << 14
"""Pixels that are looked at first: a photograph shows itself in these."""
MANY_COLORS = 4
"""A picture with more colours than pixels over this is no palette's, and costs no search for one."""


class Kind(enum.Enum):
    """What a picture is, to those who choose its panel."""

    FEW = "at most 256 colours"
    GREY = f"grey, more than {FEW_LEVELS} levels"
    MANY = "many colours"


@dataclass(frozen=True, eq=False)
class Choice:
    """How a picture is encoded. Pictures of one choice, which is one object, may share a frame.

    dictionary: the one that was asked for, or the shipped one that the mode takes without asking.
    """

    mode: Mode
    options: Options
    dictionary: Dictionary | None


class Weighed(NamedTuple):
    """Which panel serves some pictures best, and why.

    mode: its name. is_exact: whether they are to be kept exactly. psnr: the mean in dB that the panels were
    asked for, None where none was or bytes were. costs: what an image, or the part of it that was looked at,
    takes under each panel that meets that, in bytes (or what PSNR it has, where bytes were asked for); none
    where a rule decided.
    """

    mode: str
    why: str
    psnr: float | None = None
    costs: dict[str, float] = {}  # noqa: RUF012  # never changed
    is_exact: bool = False

    def __str__(self) -> str:
        costs = ", ".join(f"{name} {cost:,.1f}" for name, cost in sorted(self.costs.items()))
        return f"{self.mode}: {self.why}{f' ({costs})' if costs else ''}"


EXACT = Weighed("kmeans", f"exact, {Kind.FEW.value}", is_exact=True)


class Chooser:
    """Chooses for one picture after the other.

    Parameters
    ----------
    options, dictionary
        Those of the stream.
    weighed : mapping of Kind to Weighed
        What `weigh_modes` said of the pictures of a collection; pictures of a kind that is not there are
        weighed one by one.
    is_lenient : bool
        Whether mode auto takes a picture that does not suit the dictionary (one of another size, say) without
        it, and counts it in `n_unsuited`; else it is refused.
    """

    def __init__(
        self,
        options: Options,
        dictionary: Dictionary | None = None,
        weighed: Mapping[Kind, Weighed] | None = None,
        *,
        is_lenient: bool = False,
    ) -> None:
        self._options = options
        self._dictionary = dictionary
        self._weighed = weighed or {}
        self._is_lenient = is_lenient
        self._choices: dict[object, Choice] = {}
        self.n_unsuited = 0

    def choose(self, pixels: Pixels) -> Choice:
        """Choose for a picture, (height, width, channels).

        Raises
        ------
        InvalidImage, DictionaryMismatch
            It has many bands, and the mode or the dictionary is not for them.
        """
        options, dictionary = self._options, self._dictionary
        shape = Shape(*pixels.shape)
        if shape.has_bands:
            _check_bands(shape, options.mode, dictionary)
        if options.mode != "auto":
            return self._choice(options.mode, dictionary)
        if dictionary is not None:
            mode = mode_of(dictionary)
            if not self._is_lenient or shape.has_bands or suits(dictionary, mode, shape, options):
                return self._choice(mode, dictionary)
            self.n_unsuited += 1
        if options.of_palettes is not None:
            return self._choice("kmeans")
        kind = kind_of(pixels, options)
        if kind is not Kind.MANY and not asks_for_loss(kind, options):
            return self._choice(EXACT)
        found = self._weighed.get(kind)
        if found is None and kind is Kind.MANY and options.target_psnr is options.target_size is None:
            return self._choice("pca")
        return self._choice(found or weigh_modes(kind, [look_at(pixels, options)], options))

    def _choice(self, chosen: str | Weighed, dictionary: Dictionary | None = None) -> Choice:
        """Give the one Choice of a mode, or of what was weighed."""
        weighed = chosen if isinstance(chosen, Weighed) else None
        psnr = None if weighed is None else weighed.psnr
        key = (weighed.mode, weighed.is_exact, psnr) if weighed else (chosen, dictionary is None)
        found = self._choices.get(key)
        if found is None:
            options = self._options
            if weighed is not None and weighed.is_exact:
                options = _exact(options)
            elif weighed is not None and weighed.mode == "kmeans" and psnr is not None:
                options = dataclasses.replace(options, quality=None, target_psnr=psnr)
            mode = get_mode(weighed.mode if weighed is not None else str(chosen))
            if dictionary is None and mode.default_dictionary is not None:
                dictionary = shipped_dictionary(mode.default_dictionary)
            found = self._choices[key] = Choice(mode, options, dictionary)
        return found


def mode_of(dictionary: Dictionary) -> str:
    """Give the name of the mode that a dictionary belongs to, if nothing says another."""
    return {"palette": "kmeans", "network": "ae"}.get(dictionary.kind, "pca")


def suits(dictionary: Dictionary, mode: str, shape: Shape, options: Options) -> bool:
    """Say whether a dictionary is for images of a shape."""
    try:
        get_mode(mode).images_per_frame(shape, options, dictionary)
    except DictionaryMismatch:
        return False
    return True


def suits_any(dictionary: Dictionary, shapes: Iterable[tuple[int, ...]], options: Options) -> bool:
    """Say whether a dictionary is for images of one of some shapes."""
    mode = mode_of(dictionary)
    return any(suits(dictionary, mode, Shape(*shape), options) for shape in shapes)


def kind_of(pixels: Pixels, options: Options) -> Kind:
    """Say what kind a picture is of; grey ones are told apart only where it matters."""
    flat = pixels.reshape(-1, pixels.shape[2])
    if flat.shape[1] == 1:
        matters = asks_for_loss(Kind.GREY, options)
        return Kind.GREY if matters and len(np.unique(flat)) > FEW_LEVELS else Kind.FEW
    stride = max(1, len(flat) // SAMPLE)
    if _n_colors(flat[::stride]) > FEW_COLORS or (stride > 1 and _n_colors(flat) > FEW_COLORS):
        return Kind.MANY
    if flat.shape[1] == 2 and len(np.unique(flat[:, 0])) > FEW_LEVELS:
        return Kind.GREY
    return Kind.FEW


def asks_for_loss(kind: Kind, options: Options) -> bool:
    """Say whether options ask for loss in pictures that could be exact.

    A quality says how lossy the lossy ones are; grey pictures, whose levels are never too many to be exact,
    are among them.
    """
    has_target = options.target_psnr is not None or options.target_size is not None
    return has_target or (kind is Kind.GREY and options.quality is not None)


class Look(NamedTuple):
    """What a picture is judged by: its colours, and pixels, (height, width, 1 to 4), to be measured."""

    kind: Kind
    is_plain: bool
    pixels: Pixels


def look_at(pixels: Pixels, options: Options, most: int | None = None) -> Look:
    """Look at a picture; `most`: how many pixels from its middle are measured."""
    height, width = pixels.shape[:2]
    window = pixels
    if most is not None and height * width > most:
        n_rows = min(height, max(math.isqrt(most), most // width))
        n_columns = min(width, most // n_rows)
        top, left = (height - n_rows) // 2, (width - n_columns) // 2
        window = pixels[top : top + n_rows, left : left + n_columns].copy()  # so that the rest is let go
    return Look(kind_of(pixels, options), _is_plain(pixels), window)


def weigh_modes(kind: Kind, sample: Sequence[Look], options: Options) -> Weighed:
    """Choose the panel for pictures of one kind, without a dictionary.

    Pictures of many colours that look drawn are weighed without a target as well: the k-means panel is asked
    for the PSNR that the quality gives under PCA, since icons with soft edges have many colours and are drawn
    all the same.
    """
    if options.of_palettes is not None:
        return Weighed("kmeans", "an option that only k-means has")
    if kind is not Kind.MANY and not asks_for_loss(kind, options):
        return EXACT
    pictures = [look.pixels for look in sample]
    if kind is Kind.MANY and not _are_most([look.is_plain for look in sample]):
        return _of_many_colors(pictures, options)
    if options.target_size is not None:
        return _weigh_at_size(pictures, options)
    found = _weigh_at_psnr(pictures, options, may_be_palettes=kind is Kind.MANY or options.quality is None)
    if kind is Kind.MANY:
        return found
    exact = measure_panel("kmeans", pictures, _exact(options))
    cost = found.costs.get(found.mode, math.inf)
    if exact is not None and cost > CLEARLY * exact[0]:
        return Weighed("kmeans", "exact, no lossy stream is clearly smaller", None, {"exact": exact[0]}, True)
    return found


def _exact(options: Options) -> Options:
    return dataclasses.replace(options, quality=None, target_psnr=None, target_size=None, lossless=True)


def _weigh_at_psnr(pictures: Sequence[Pixels], options: Options, *, may_be_palettes: bool) -> Weighed:
    """Choose the panel of the fewest bytes at the PSNR asked for, or at that of the quality under PCA."""
    psnr, costs = options.target_psnr, {}
    for mode in ("pca", "kmeans") if may_be_palettes else ("pca",):
        tried = measure_panel(mode, pictures, options)
        if tried is not None:
            costs[mode] = tried[0]
            if psnr is None:
                psnr = tried[1]
                options = dataclasses.replace(options, quality=None, target_psnr=psnr)
    best = min(costs, key=costs.__getitem__, default="pca")
    return Weighed(best, f"the fewest bytes an image at {psnr:.2f} dB", psnr, costs)


def _weigh_at_size(pictures: Sequence[Pixels], options: Options) -> Weighed:
    """Choose the panel that shows pictures best in so many bytes for each."""
    shown: dict[str, float] = {}
    for mode in ("kmeans", "pca"):
        each = [measure_panel(mode, [pixels], options) for pixels in pictures]
        reached = [tried[1] for tried in each if tried]
        if len(reached) == len(pictures):
            shown[mode] = sum(reached) / len(reached)
    mode = max(shown, key=shown.__getitem__, default="pca")
    return Weighed(mode, f"the highest PSNR in {options.target_size:,} bytes an image", None, shown)


def _of_many_colors(sample: Sequence[Pixels], options: Options) -> Weighed:
    """Take PCA, unless its finest step (or its coarsest, for a size) misses what a palette meets."""
    psnr, size = options.target_psnr, options.target_size
    if psnr is not None or size is not None:
        end = dataclasses.replace(options, target_psnr=None, target_size=None, quality=100 if psnr else 0)
        for pixels in sample:
            n_bytes, reached = measure_panel("pca", [pixels], end) or (0.0, 0.0)
            misses = reached < psnr if psnr is not None else n_bytes > (size or 0)
            if misses and measure_panel("kmeans", [pixels], options) is not None:
                return Weighed("kmeans", "out of reach of PCA")
    return Weighed("pca", "many colours")


def measure_panel(mode_name: str, sample: Sequence[Pixels], options: Options) -> tuple[float, float] | None:
    """Give bytes an image and the PSNR of them all, at most 99 dB; None: out of the panel's reach."""
    mode = get_mode(mode_name)
    name = mode.default_dictionary
    dictionary = None if name is None else shipped_dictionary(name)
    # One frame names its dictionary; of many images it is next to nothing.
    n_bytes = INLINE_ID_LEN if dictionary is not None and len(sample) == 1 else 0
    error, n_samples, at = 0.0, 0, 0
    while at < len(sample):
        stop = at + mode.images_per_frame(Shape(*sample[at].shape), options, dictionary)
        images, at = sample[at:stop], stop
        shapes = [Shape(*image.shape) for image in images]
        try:
            body = mode.encode_frame(images, options, dictionary)
        except TargetUnreachable:
            return None
        n_bytes += len(body)
        decoded = mode.decode_frame(memoryview(body), shapes, dictionary, 0, len(images))
        error += squared_error(images, decoded)
        n_samples += sum(image.size for image in images)
    return n_bytes / len(sample), min(psnr_of(error, n_samples), 99.0)


def may_be_drawn(sample: Sequence[Pixels]) -> bool:
    """Say whether a palette may serve most pictures."""
    return _are_most([*map(_is_plain, sample)])


def _are_most(flags: Sequence[bool]) -> bool:
    return 2 * sum(flags) >= len(flags)


def _is_plain(pixels: Pixels) -> bool:
    flat = pixels.reshape(-1, pixels.shape[2])
    part = flat[:: max(1, len(flat) // SAMPLE)]
    return _n_colors(part) * MANY_COLORS <= len(part) + FEW_COLORS


def _check_bands(shape: Shape, mode: str, dictionary: Dictionary | None) -> None:
    """Refuse an image of many bands where it cannot be coded."""
    if mode not in ("auto", "pca"):
        raise InvalidImage(
            f"mode {mode!r} is for images of 1 to {len(MODES)} channels, not {shape.channels}: more of them "
            f"are for mode 'pca'{order_hint(shape)}"
        )
    if dictionary is None:
        raise InvalidImage(
            f"an image of {shape.channels} channels needs a dictionary for as many bands, from "
            f"triptych.fit('pca', images){order_hint(shape)}"
        )
    check_bands(shape, dictionary)


def _n_colors(flat: Pixels) -> int:
    packed = np.zeros(len(flat), np.uint32)
    for c in range(flat.shape[1]):
        packed |= flat[:, c].astype(np.uint32) << np.uint32(8 * c)
    return len(np.unique(packed))
