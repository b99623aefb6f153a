"""`Reader` and `decode`: a stream in, images out.

Iteration reads a stream once from front to back, so it works on pipes and needs no index. Everything else
looks images up in a `Table`, made at the first use. Frames are decoded in threads if asked for. A Reader may
be used by several threads at once, survives fork, and pickles if its source is a path or bytes.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Literal, Self, SupportsIndex, TypeVar, overload

import numpy as np
import numpy.typing as npt

from triptych.cache import FrameCache
from triptych.describe import describe_images, reference_id
from triptych.dictionary import Dictionary, Shelf, iterate_dictionaries
from triptych.errors import (
    FormatError,
    InvalidOption,
    KeyMissing,
    NotIndexed,
    NotOneImage,
    ReaderClosed,
    UnsupportedFeature,
)
from triptych.forking import renew_after_fork
from triptych.framing import Damage
from triptych.images import Pixels, drop_grey_axis
from triptych.limits import Limits
from triptych.metadata import TAGS
from triptych.modes.base import OpenFrame
from triptych.paletteorder import IndexedPicture, find_indices
from triptych.parallel import ordered_map
from triptych.placing import NewPlaces, PlacesIn, place_one
from triptych.scan import Item, check_shown, decode_all, decode_item, open_item, scan
from triptych.source import SourceLike, open_source
from triptych.table import Table, Wanted, load_table
from triptych.urls import Sealed, StorageOptions, is_url, show_url

T = TypeVar("T")

CACHE_BYTES = 64 << 20
"""Bytes that a Reader keeps of the frames it used last, as coded and as decoded."""


def decode(
    data: SourceLike,
    *,
    dictionary: Any = None,
    limits: Limits | None = None,
    n_components: int | None = None,
    realism: float | None = None,
    out: Pixels | None = None,
    storage_options: StorageOptions | None = None,
) -> Pixels:
    """Decode a stream of one image.

    Parameters
    ----------
    data : bytes, path, URL or file object
        The stream.
    dictionary : Dictionary, path, id or name, or several
        Where the stream names one that it does not hold.
    limits : Limits
        What is refused.
    n_components : int
        Of an image coded with a PCA dictionary of components, or a spectral one: show what the first so many
        say, which is the best image of so many components, and leave the rest unread.
    realism : float
        Of an image coded by networks (modes "ae" and "gan"): 0 shows what is nearest to the original, 1 what
        looks most like one, anything between blends the two. By default as its mode says.
    out : ndarray of uint8, (height, width, channels), or (height, width) for a grey image
        Where the pixels go, and what is given then; by default a new array. Where decoding fails they are not
        what they were.
    storage_options : mapping
        As in `Reader`.

    Returns
    -------
    ndarray of uint8
        (height, width) for a grey image, else (height, width, channels): 2 to 4, or 5 to 512 bands.

    Raises
    ------
    NotOneImage
        The stream holds none or many images: use `Reader`.
    InvalidOption
        `out` is not such an array for this image; nothing was decoded.
    FormatError, LimitExceeded, DictionaryMissing
        As in `Reader`.
    """
    limits = limits or Limits()
    shelf = Shelf(iterate_dictionaries(dictionary, limits), limits)
    source = open_source(data, storage_options)
    try:
        only: Item | None = None
        for item in scan(source, limits):
            if item.images is not None:
                if only is not None or len(item.images.shapes) > 1:
                    raise NotOneImage(
                        "decode is for streams of one image, and this has more: use triptych.Reader"
                    )
                only = item
    finally:
        source.close()
    if only is None:
        raise NotOneImage(
            "decode is for streams of one image, and this has none: triptych.Reader reads it too"
        )
    shown = check_shown(n_components, realism)
    if out is None:
        return drop_grey_axis(decode_item(only, 0, 1, shelf, limits, shown)[0])
    assert only.images is not None
    place = place_one(out, only.images.shapes[0])
    open_item(only, 0, 1, shelf, limits, shown).show([0], [place])
    return out


class Reader:
    """Reads the images of a stream.

    Parameters
    ----------
    source : path, bytes, file object, pipe or URL
        URLs need fsspec, and are of networks (`https`, `s3`, `gs`, `az`, ...). A pipe can be iterated once,
        and nothing else.
    limits : Limits
        What is refused.
    dictionary : Dictionary, path, id or name, or several
        Dictionaries that the stream names and does not hold, before those on the search path.
    damage : {"raise", "skip"}
        What to do about damaged frames in passing: raise, or leave them out and note them in `damage`.
        An image asked for by number or key is given, or raises; with "skip", a key that several images have
        gives the first one that is whole.
    threads : int
        Threads that decode; 0: all cores.
    n_components, realism : int, float
        As in `decode`, of every image.
    storage_options : mapping
        Of a URL: arguments of the fsspec file system, as `{"endpoint_url": ..., "anon": True}` for s3. And
        two of ours: `deadline`, seconds that servers may let us wait (60; what they send at 16 KiB a second
        does not count), and `schemes`, a list of those to be taken besides, as `["zip", "file"]`.

    Examples
    --------
    >>> from triptych.framing import STREAM_HEADER
    >>> with Reader(STREAM_HEADER) as reader:
    ...     len(reader)
    0
    """

    def __init__(
        self,
        source: SourceLike,
        limits: Limits | None = None,
        dictionary: Any = None,
        damage: Literal["raise", "skip"] = "raise",
        *,
        threads: int = 1,
        n_components: int | None = None,
        realism: float | None = None,
        storage_options: StorageOptions | None = None,
    ) -> None:
        if damage not in ("raise", "skip"):
            raise InvalidOption(f"damage must be one of 'raise', 'skip', not {damage!r}")
        self._arguments = (source, limits, dictionary, damage)
        self._threads = threads
        self._storage_options = storage_options
        self._shown = check_shown(n_components, realism)
        self._limits = limits or Limits()
        self._shelf = Shelf(iterate_dictionaries(dictionary, self._limits), self._limits)
        self._damage: dict[tuple[int, int], Damage] = {}
        self._on_damage = self._note_damage if damage == "skip" else None
        self._after_fork()
        renew_after_fork(self)
        self._table: Table | None = None
        self._cache = FrameCache(CACHE_BYTES)
        self._source = open_source(source, storage_options)
        self._closed = False

    def _after_fork(self) -> None:
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        source = self._arguments[0]
        if hasattr(source, "read"):
            raise TypeError("a Reader of a file object does not pickle; open it by its path")
        if isinstance(source, memoryview):
            source = bytes(source)
        arguments = (source, *self._arguments[1:])
        named = {"threads": self._threads, "storage_options": self._storage_options} | self._shown._asdict()
        # A URL and its options may hold credentials, which nothing that is printed shows.
        return _reopen, (Sealed((arguments, named)),)

    def __repr__(self) -> str:
        source = self._arguments[0]
        name = (
            f"{len(source):,} bytes" if isinstance(source, (bytes, bytearray, memoryview)) else repr(source)
        )
        if is_url(source):
            name = repr(show_url(source))
        return f"<Reader of {name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened; a file object of the caller stays open."""
        self._closed = True
        self._source.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ReaderClosed("the Reader is closed")

    def __len__(self) -> int:
        return self._get_table().n_images

    def __iter__(self) -> Iterator[Pixels]:
        for _, pixels in self._iterate():
            yield from map(drop_grey_axis, pixels)

    def items(self) -> Iterator[tuple[dict[str, Any], Pixels]]:
        """Iterate over (what `info` says, pixels); works on pipes."""
        number = 0
        for item, pixels in self._iterate():
            for info, array in zip(describe_images(item, number, self._shelf), pixels, strict=True):
                yield info, drop_grey_axis(array)
            number += len(pixels)

    @overload
    def __getitem__(self, index: int | np.integer[Any] | str) -> Pixels: ...

    @overload
    def __getitem__(self, index: slice | range | list[Any] | npt.NDArray[Any]) -> list[Pixels]: ...

    def __getitem__(
        self, index: int | np.integer[Any] | str | slice | range | list[Any] | npt.NDArray[Any]
    ) -> Pixels | list[Pixels]:
        """Give an image by number or key; a list of images by a slice, or by a list or an array.

        A list or an array holds numbers or keys, or a truth value for each image of the stream, as those that
        index arrays do.

        Examples
        --------
        >>> import io
        >>> import triptych as tp
        >>> stream = io.BytesIO()
        >>> with tp.Writer(stream) as writer:
        ...     for value in range(4):
        ...         writer.write(np.full((1, 1), value, np.uint8))
        >>> reader = tp.Reader(stream.getvalue())
        >>> [int(image[0, 0]) for image in reader[[0, -1]]]
        [0, 3]
        >>> [int(image[0, 0]) for image in reader[np.arange(4) % 2 == 1]]
        [1, 3]
        """
        if isinstance(index, slice):
            return self.read_batch(range(*index.indices(len(self))))
        n_axes: int = getattr(index, "ndim", 0)
        if isinstance(index, (list, range)) or n_axes:
            return self.read_batch(self._listed(index))
        frame, image = self._get_table().frame_of(self._resolve(index))
        return drop_grey_axis(self._show(frame, [image], [0], NewPlaces(self._limits))[0])

    @overload
    def get(self, index: SupportsIndex | str) -> Pixels | None: ...

    @overload
    def get(self, index: SupportsIndex | str, default: T) -> Pixels | T: ...

    def get(self, index: SupportsIndex | str, default: Any = None) -> Any:
        """Give an image by key or number, or the default where there is none; a damaged one raises."""
        try:
            number = self._resolve(index)
        except (KeyMissing, IndexError):
            return default
        return self[number]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._find(key) is not None

    @overload
    def read_batch(self, indices: Iterable[SupportsIndex | str]) -> list[Pixels]: ...

    @overload
    def read_batch(self, indices: Iterable[SupportsIndex | str], out: Pixels) -> Pixels: ...

    def read_batch(
        self, indices: Iterable[SupportsIndex | str], out: Pixels | None = None
    ) -> list[Pixels] | Pixels:
        """Give images by numbers or keys, in the order asked for; each frame is read once.

        Parameters
        ----------
        indices : iterable of int or str
            An image asked for twice comes twice.
        out : ndarray of uint8, (n, height, width) or (n, height, width, channels)
            Where the pixels go, and what is given then, with no array for each image in between; by default
            a list of new arrays.

        Raises
        ------
        InvalidOption
            `out` is not such an array for these images; the message says what it is and should be.
        LimitExceeded
            All together are larger than `Limits.decoded_bytes`.
        """
        table = self._get_table()
        length = table.n_images
        numbers = [
            # What needs no looking up is most of it.
            index if type(index) is int and 0 <= index < length else self._resolve(index)
            for index in indices
        ]
        target: NewPlaces | PlacesIn = NewPlaces(self._limits)
        if out is not None:
            target = PlacesIn(out, len(numbers), self._limits)

        def show(wanted: Wanted) -> tuple[list[int], Sequence[Pixels]]:
            return wanted.ats, self._show(wanted.frame, wanted.images, wanted.ats, target)

        result: list[Any] = [None] * len(numbers)
        wanted = table.group(numbers)
        threads = self._threads if len(wanted) > 1 else 1
        for ats, shown in ordered_map(show, self._read_ahead(wanted), threads):
            if out is None:
                for at, pixels in zip(ats, shown, strict=True):
                    result[at] = drop_grey_axis(pixels)
        return result if out is None else out

    def read_indexed(self, index: SupportsIndex | str) -> IndexedPicture:
        """Give an image as it was indexed: (indices, palette), for masks, tiles and sprites.

        Returns
        -------
        indices : ndarray of uint8, (height, width)
        palette : ndarray of uint8, (n, 3) or (n, 4)
            RGB or RGBA, in the order that the source had, with the entries that no pixel has.

        Raises
        ------
        NotIndexed
            The source had no palette, or the image is not kept exactly; `info` then has no "palette_order".

        Examples
        --------
        >>> import triptych as tp
        >>> mask = np.array([[0, 2], [2, 2]], np.uint8)
        >>> data = tp.encode(mask, palette=[[0, 0, 0], [255, 0, 0], [0, 0, 255]])
        >>> indices, palette = tp.Reader(data).read_indexed(0)
        >>> indices.tolist(), len(palette)
        ([[0, 2], [2, 2]], 3)
        """
        number = self._resolve(index)
        frame, image = self._get_table().frame_of(number)
        images = self._cache.get(frame, self._get_table().read).item.images
        assert images is not None
        order = images.entry(image).attachments.get(TAGS["palette_order"])
        found = None if order is None else find_indices(order, self[number])
        if found is None:
            raise NotIndexed(
                f"image {number} comes with no palette of its own, or what is attached does not fit it; "
                "its colours are there: reader[...]"
            )
        return found

    def _read_ahead(self, wanted: list[Wanted]) -> Iterator[Wanted]:
        """Give what is wanted, frame by frame; the frames of a remote source are read together."""
        table, ahead = self._get_table(), 0
        for at, each in enumerate(wanted):
            if table.is_remote and at >= ahead:
                ahead = at + table.prefetch(later.frame for later in islice(wanted, at, None))
            if table.is_remote:
                self._cache.get(each.frame, table.read)
            yield each

    def info(self, index: SupportsIndex | str) -> dict[str, Any]:
        """Say what is known of an image without decoding it: see `describe.describe_images`."""
        table = self._get_table()
        frame, image = table.frame_of(self._resolve(index))
        item = self._cache.get(frame, table.read).item
        return describe_images(item, table.first_image(frame), self._shelf, [image])[0]

    @property
    def table(self) -> Table:
        """Where images are: their frames, and the numbers of each frame's images."""
        return self._get_table()

    def read_frame(self, frame: int) -> Item:
        """Give a frame as it is coded, with its labels, keys and body; its dictionary is looked up."""
        item = self._cache.get(frame, self._get_table().read).item
        return item._replace(reference=self._shelf.get(item.reference))

    def keys(self) -> list[str]:
        """Give the keys of the images that have one, in order."""
        return [key for item in self._scan() if item.images for key in item.images.keys if key is not None]

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of the stream; where several parts have some, they are joined and later ones win."""
        return self._get_table().metadata()

    @property
    def dictionaries(self) -> dict[str, Dictionary | None]:
        """The dictionaries of the stream by id; None for those that it only names."""
        return {
            reference_id(reference) or "": reference if isinstance(reference, Dictionary) else None
            for reference in self._get_table().references()
        }

    @property
    def damage(self) -> list[Damage]:
        """The byte ranges found damaged up to now (with `damage="skip"`), in order."""
        return [self._damage[place] for place in sorted(self._damage)]

    def _note_damage(self, damage: Damage) -> None:
        self._damage[damage.start, damage.stop] = damage

    def _get_table(self) -> Table:
        self._check_open()
        with self._lock:
            if self._table is None:
                self._table = load_table(self._source, self._limits, self._on_damage)
            return self._table

    def _listed(self, indices: Any) -> list[Any]:
        """Give what a list or an array asks for, one by one; of truth values the numbers of the true ones."""
        listed = indices.tolist() if hasattr(indices, "tolist") else list(indices)
        if not listed or not all(isinstance(each, (bool, np.bool_)) for each in listed):
            return listed
        if len(listed) != len(self):
            raise IndexError(f"{len(listed):,} truth values for a stream of {len(self):,} images")
        return [number for number, is_wanted in enumerate(listed) if is_wanted]

    def _resolve(self, index: SupportsIndex | str) -> int:
        if isinstance(index, str):
            found = self._find(index)
            if found is None:
                raise KeyMissing(f"no image has the key {index!r}")
            return found
        try:
            number = operator.index(index)
        except TypeError:
            raise TypeError(
                "images are asked for by number or key, by a slice, or several by a list of numbers or keys, "
                f"as reader[[0, 2]], not by {type(index).__name__}"
            ) from None
        length = len(self)
        if not -length <= number < length:
            raise IndexError(f"image {number} of a stream of {length}")
        return number % length

    def _find(self, key: str) -> int | None:
        table = self._get_table()
        try:
            candidates = table.images_with_hash(key)
        except UnicodeEncodeError:  # half a surrogate pair: no key holds such a thing
            return None
        lost: FormatError | None = None
        for image in candidates:
            frame, number = table.frame_of(image)
            try:
                images = self._cache.get(frame, table.read).item.images
            except UnsupportedFeature:
                raise
            except FormatError as error:
                if self._on_damage is None:
                    raise
                lost = lost or error
                continue
            if images is not None and images.keys[number] == key:
                return image
        if lost is not None:
            raise lost
        return None

    def _show(
        self, frame: int, images: list[int], ats: list[int], target: NewPlaces | PlacesIn
    ) -> Sequence[Pixels]:
        """Decode images of a frame into their places."""
        cached = self._cache.open(frame, self._get_table().read, images, self._open_item)
        assert cached.item.images is not None
        assert cached.opened is not None
        pixels = target.get(ats, [cached.item.images.shapes[image] for image in images])
        cached.opened.show(images, pixels)
        return pixels  # type: ignore[return-value]  # an array of images is as good as a list of them

    def _open_item(self, item: Item, start: int, stop: int) -> OpenFrame:
        return open_item(item, start, stop, self._shelf, self._limits, self._shown)

    def _scan(self) -> Iterator[Item]:
        self._check_open()
        for item in scan(self._source, self._limits, on_damage=self._on_damage):
            yield item
            self._check_open()

    def _iterate(self) -> Iterator[tuple[Item, list[Pixels]]]:
        items = (item for item in self._scan() if item.images is not None)
        for item, pixels in ordered_map(self._decode_all, items, self._threads):
            if pixels is not None:
                yield item, pixels

    def _decode_all(self, item: Item) -> tuple[Item, list[Pixels] | None]:
        return item, decode_all(item, self._shelf, self._limits, self._on_damage, self._shown)


def _reopen(sealed: Sealed) -> Reader:
    arguments, named = sealed.value
    return Reader(*arguments, **named)
