"""`fit`: learn a dictionary that many images share.

Palettes and components need no more than statistics of the images, which are streamed: only the first may be
kept. `CollectionStatistics` gathers the statistics anywhere, merges those of parts of a collection, and makes
the same dictionary that `fit` makes of the whole. Networks are trained on all images, held in memory.
"""

from __future__ import annotations

import copy
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

import numpy as np

from triptych.callables import make_callable
from triptych.dictionary import Dictionary, DictionaryLike, resolve_dictionary
from triptych.errors import ExtraMissing, InvalidImage, InvalidOption
from triptych.images import MODES, Pixels, Shape, as_pixels, split_pictures
from triptych.keywords import (
    FitComponentsOptions,
    FitMode,
    FitNetworksOptions,
    FitOptions,
    FitPaletteOptions,
    MergeableMode,
)
from triptych.options import Options, explain_options, make_options

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from triptych.fit.partfile import State
    from triptych.limits import Limits

__all__ = ["CollectionStatistics", "fit"]

_MERGEABLE: tuple[MergeableMode, ...] = ("kmeans", "pca")
_NETWORKS = ("ae", "gan")
CORE_SECONDS = 900.0


@overload
def fit(
    mode: Literal["kmeans"], images: Iterable[Any], **options: Unpack[FitPaletteOptions]
) -> Dictionary: ...


@overload
def fit(
    mode: Literal["pca"], images: Iterable[Any], **options: Unpack[FitComponentsOptions]
) -> Dictionary: ...


@overload
def fit(
    mode: Literal["ae", "gan"],
    images: Iterable[Any],
    *,
    dictionary: DictionaryLike | None = None,
    core_seconds: float = CORE_SECONDS,
    checkpoint: str | os.PathLike[str] | None = None,
    say: Callable[[dict[str, float]], None] | None = None,
    **options: Unpack[FitNetworksOptions],
) -> Dictionary: ...


@explain_options(FitOptions)
def fit(
    mode: FitMode,
    images: Iterable[Any],
    *,
    dictionary: DictionaryLike | None = None,
    core_seconds: float = CORE_SECONDS,
    checkpoint: str | os.PathLike[str] | None = None,
    say: Callable[[dict[str, float]], None] | None = None,
    **options: Any,
) -> Dictionary:
    """Learn a dictionary from images.

    Parameters
    ----------
    mode : str
        `"kmeans"`: a palette. `"pca"`: the components of images of one shape; of images of more than 4
        channels, those of their spectra.
        `"ae"`: networks, trained for the least bits and squared error. `"gan"`: a second, more realistic
        decoder for the networks of `dictionary`.
    images : iterable
        Anything `Writer.write` takes; read once, and for networks held in memory. One picture is one: a
        Pillow image, or an array of shape (height, width) or (height, width, 1 to 4). Other arrays of 3 axes
        are grey pictures (n, height, width), those of 4 axes n pictures (n, height, width, channels). Give
        one picture of many bands as `[cube]`.
    dictionary : Dictionary, path, id or name
        For `"gan"`: what `fit("ae", ...)` gave. For `"ae"`: networks to train further.
    core_seconds : float
        How long networks train, in seconds of processor time.
    checkpoint : path
        A folder where training of networks keeps its state every five minutes: the same call goes on from it,
        also with more `core_seconds`.
    say : callable
        Told the figures of training, a dict, at every checkpoint.
    **options
        For k-means `n_colors` or `target_psnr`, `keep`; for PCA `variance` or `n_components`, `quality`,
        `embed` (False: the dictionary is shared by many streams, can be finer, and its bytes do not count);
        for both `effort`, `seed`, `threads`, `executor`, `limits`:

    Returns
    -------
    Dictionary
        Its `params` (for k-means: `n_colors`, `images`, `pixels`, `wcss`) are attributes too; one of
        components also has `explained_variance_ratio_`.

    Raises
    ------
    InvalidOption
        No such mode, or a wrong option.
    InvalidImage
        No image at all, something that is none, or one array that may be several pictures or one.
    """
    checked = make_options(options)
    if mode == "ae" or mode == "gan":
        return _fit_networks(mode, images, checked, dictionary, core_seconds, checkpoint, say)
    if mode not in _MERGEABLE:
        raise InvalidOption(
            f"mode must be one of {', '.join(map(repr, _MERGEABLE + _NETWORKS))}, not {mode!r}"
        )
    statistics = CollectionStatistics(mode)
    statistics._update(images, checked, checked)
    return statistics._fit(checked)


def _fit_networks(
    mode: str,
    images: Iterable[Any],
    options: Options,
    dictionary: DictionaryLike | None,
    core_seconds: float,
    checkpoint: str | os.PathLike[str] | None,
    say: Callable[[dict[str, float]], None] | None,
) -> Dictionary:
    try:
        from triptych.fit.networkbook import load_network
        from triptych.fit.neural import Training, fit_networks
        from triptych.modes.latentstate import with_state
    except ImportError as error:
        raise ExtraMissing(
            "fitting 'ae' and 'gan' needs torch and safetensors: pip install 'triptych[neural]'"
        ) from error
    began = time.process_time()
    start = None if dictionary is None else resolve_dictionary(dictionary, options.limits, mode)
    pictures = []
    for pixels in _pixels_of(images, options):
        if pixels.shape[2] > len(MODES):
            raise InvalidImage(
                f"networks are for images of 1 to {len(MODES)} channels, not {pixels.shape[2]}"
            )
        pictures.append(np.array(pixels))
    with tempfile.TemporaryDirectory() as folder:
        training = Training(Path(checkpoint or folder), core_seconds, say, options.seed, began=began)
        book = fit_networks(mode, pictures, training, start)
    if mode == "ae" and load_network(book).architecture == "patches":
        # One picture is short: mixed decisions gain by beginning with what others have taught them.
        book = with_state(book, pictures, options.seed)
    return book


class CollectionStatistics:
    """All that `fit` needs to know of a collection, or of a part of it: gathered anywhere, and merged.

    Statistics of parts, merged in the order of the parts, are those of the whole, bit for bit, and so is the
    dictionary. They are as large as the colours (k-means, 12 bytes each), the square of an image's samples
    (PCA, beyond some thousand images, which are kept themselves), or the square of the bands.

    Parameters
    ----------
    mode : {"kmeans", "pca"}
        As in `fit`. Networks are learned from images, not from statistics.

    Raises
    ------
    InvalidOption
        Another mode.

    Notes
    -----
    An error of `update` leaves them worthless. Where plain `fit` finds a collection to be mirror-symmetric,
    it gathers half as much: a part cannot know that of the whole.

    Examples
    --------
    >>> images = np.arange(10 * 4 * 6, dtype=np.uint8).reshape(10, 4, 6)
    >>> one, other = CollectionStatistics("kmeans"), CollectionStatistics("kmeans")
    >>> one.update(images[:5])
    >>> other.update(images[5:])
    >>> one.merge(CollectionStatistics.from_bytes(other.to_bytes()))
    >>> one.n_images, one.fit(n_colors=4) == fit("kmeans", images, n_colors=4)
    (10, True)
    """

    def __init__(self, mode: MergeableMode) -> None:
        if mode in _NETWORKS:
            raise InvalidOption(f"networks are learned from images: there are no statistics for {mode!r}")
        if mode not in _MERGEABLE:
            raise InvalidOption(f"mode must be one of {', '.join(map(repr, _MERGEABLE))}, not {mode!r}")
        self.mode = mode
        self._state: State | None = None

    @property
    def n_images(self) -> int:
        """How many images were seen."""
        return 0 if self._state is None else self._state.n_images

    def update(
        self,
        images: Iterable[Any],
        *,
        threads: int = 0,
        executor: Executor | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Add images.

        Parameters
        ----------
        images : iterable
            As in `triptych.fit`; read once. For PCA of one shape, or of one number of bands.
        threads, executor, limits
            See `triptych.options.Options`.

        Raises
        ------
        InvalidImage, LimitExceeded
            An image does not fit the others, or is too large.
        """
        options = make_options({"threads": threads, "executor": executor, "limits": limits})
        self._update(images, options, None)

    def merge(self, other: CollectionStatistics) -> None:
        """Add what other statistics know; their images come after those that are known here.

        Raises
        ------
        InvalidOption
            They are for another mode.
        InvalidImage
            They are of images of another shape.
        """
        if self.mode != other.mode:
            raise InvalidOption(f"statistics for {other.mode!r} do not go with those for {self.mode!r}")
        if other._state is None:
            return
        if self._state is None:
            self._state = copy.deepcopy(other._state)
            return
        if type(self._state) is not type(other._state):
            raise InvalidImage("statistics of spectra do not go with those of images of up to 4 channels")
        self._state.merge(other._state)  # type: ignore[arg-type]  # of one class

    def fit(self, **options: Unpack[FitOptions]) -> Dictionary:
        """Learn a dictionary; what is known stays, so that images can be added.

        Parameters
        ----------
        **options
            As in `triptych.fit`.

        Raises
        ------
        InvalidOption
            A wrong option, or one that these images cannot meet.
        InvalidImage
            There was no image.
        """
        return self._fit(make_options(options))

    def to_bytes(self) -> bytes:
        """Give them as bytes, under checksums, for `from_bytes` of the same version."""
        from triptych.fit.partfile import build_part

        return build_part(self.mode, self._state)

    @classmethod
    def from_bytes(cls, data: bytes) -> CollectionStatistics:
        """Give statistics back from `to_bytes`.

        Raises
        ------
        FormatError
            These are no statistics, or damaged, or of another version.
        LimitExceeded
            They would not fit in memory.
        """
        from triptych.fit.partfile import parse_part

        mode, state = parse_part(data)
        made = cls(mode)  # type: ignore[arg-type]  # `parse_part` knows no other
        made._state = state
        return made

    def _update(self, images: Iterable[Any], options: Options, whole: Options | None) -> None:
        """Add images; where these are all of them, `whole` are the options of what is made of them."""
        pictures = _pixels_of(images, options)
        first = next(pictures, None)
        if first is None:
            return
        if self._state is None:
            self._state = _begin(self.mode, Shape(*first.shape), whole is not None)
            if whole is not None:
                self._state.check(whole)
        self._state.update(chain([first], pictures), options)

    def _fit(self, options: Options) -> Dictionary:
        from triptych.fit.components import ComponentStatistics

        state = self._state
        if state is None:
            raise InvalidImage("fit needs at least one image")
        book = state.fit(options)
        chosen = options.variance is not None or options.n_components is not None
        if not isinstance(state, ComponentStatistics) or chosen:
            return book
        # Components that nobody asked for are weighed against blocks.
        from triptych.modes.weigh import SAMPLE_IMAGES, SAMPLE_PIXELS, weigh

        height, width, _ = state.shape
        sample = state.sample(min(SAMPLE_IMAGES, SAMPLE_PIXELS // (height * width)))
        return weigh(book, sample, state.n_images, options) if sample else book


def _begin(mode: str, shape: Shape, whole: bool = False) -> State:
    """Make room for statistics of images, of which this is the shape of the first."""
    if mode == "kmeans":
        from triptych.fit.palettes import PaletteStatistics

        return PaletteStatistics()
    if shape.has_bands:
        from triptych.fit.spectral import SpectralStatistics

        return SpectralStatistics(shape.channels)
    from triptych.fit.components import ComponentStatistics

    return ComponentStatistics(shape, whole)


def _pixels_of(images: Iterable[Any], options: Options) -> Iterator[Pixels]:
    for image in split_pictures(images):
        pixels = as_pixels(image)
        options.limits.check("pixels_per_image", Shape(*pixels.shape).pixels)
        yield pixels


make_callable(fit)
