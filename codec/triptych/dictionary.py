"""Dictionaries: what was learned once and serves many images (FORMAT.md section 4).

A `Dictionary` is its payload; its id is the SHA-256 of that. Dictionaries are found by path, by id on the
search path (folders in the environment variable TRIPTYCH_PATH), or by name among those shipped with the
package. How it is written tells which: 64 hex digits are an id, a path has a separator or a suffix, anything
else is a name, and no file that lies in the current folder is ever taken for one. What was found by its id is
checked against it when it is loaded. What the content means is the modes' business.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from triptych.errors import DictionaryMissing, FormatError, InvalidFrame, InvalidOption
from triptych.framing import INLINE_ID_LEN, STREAM_HEADER, FrameType, build_frame, walk
from triptych.limits import Budget, Limits
from triptych.metadata import build_json, parse_json
from triptych.sink import open_sink
from triptych.source import open_source

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

KINDS = {"palette": 1, "blocks": 2, "components": 3, "spectral": 4, "network": 5}
ID_LEN = 32
SEARCH_PATH_VARIABLE = "TRIPTYCH_PATH"
NEURAL_PREFIX = "ae-"
"""Shipped dictionaries of networks are named so, as `"photo"` is also one of the PCA panel."""
_SHIPPED = Path(__file__).parent / "dictionaries"
_HEAD = struct.Struct("<BI")

DictionaryLike: TypeAlias = "Dictionary | str | os.PathLike[str] | bytes"


_LEARNED = {
    "palette": ("palette",),
    **dict.fromkeys(("components", "mean", "explained_variance_ratio_"), ("components", "spectral")),
}
"""Attributes of what was learned, and the kinds that have them."""


@dataclass(frozen=True)
class Dictionary:
    """A palette, a basis or a network, named by its content.

    What `params` holds can also be read as attributes: `dictionary.wcss`. What was learned is `palette`, or
    `components`, `mean` and `explained_variance_ratio_`, as arrays.

    Parameters
    ----------
    payload : bytes
        The payload of its DICTIONARY frame.
    report : dict
        What `fit` found out that does not travel with the dictionary; attributes too.
    encoder : bytes
        What only encoding needs, for kinds that have such: it is in dictionary files, after the dictionary,
        not in streams of images, and not in the id.
    base : Dictionary
        The dictionary that the content names, where it names one and a `Shelf` had it.

    Raises
    ------
    InvalidFrame
        The payload breaks FORMAT.md section 4.

    Examples
    --------
    >>> book = Dictionary.build("palette", {"n_colors": 1}, b"abcd")
    >>> book.kind, book.params, book.content
    ('palette', {'n_colors': 1}, b'abcd')
    """

    payload: bytes
    report: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    encoder: bytes = field(default=b"", repr=False)
    base: Dictionary | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.payload) < _HEAD.size or len(self.payload) < self._content_start:
            raise InvalidFrame("the payload of a DICTIONARY frame is too short", got=len(self.payload))
        parse_json(self.payload[_HEAD.size : self._content_start])

    @classmethod
    def build(
        cls,
        kind: str,
        params: Mapping[str, Any],
        content: bytes,
        report: Mapping[str, Any] | None = None,
        encoder: bytes = b"",
    ) -> Dictionary:
        """Make a dictionary of a known kind."""
        text = build_json(params, "params")
        return cls(_HEAD.pack(KINDS[kind], len(text)) + text + content, report or {}, encoder)

    @property
    def _content_start(self) -> int:
        return _HEAD.size + int(_HEAD.unpack_from(self.payload)[1])

    @cached_property
    def id(self) -> str:
        """SHA-256 of the payload, in hex."""
        return hashlib.sha256(self.payload).hexdigest()

    @property
    def kind(self) -> str:
        """What the content is: `"palette"`; `"unknown"` for what a later version brings."""
        return next((name for name, code in KINDS.items() if code == self.payload[0]), "unknown")

    @property
    def params(self) -> dict[str, Any]:
        """How it was learned, for people; a copy."""
        return parse_json(self.payload[_HEAD.size : self._content_start])

    @property
    def content(self) -> bytes:
        """What was learned."""
        return self.payload[self._content_start :]

    @property
    def palette(self) -> npt.NDArray[np.uint8]:
        """The colours of a palette, RGBA: uint8 (n_colors, 4). Read-only, as all arrays here."""
        return self._learned("palette")

    @property
    def components(self) -> npt.NDArray[np.float64]:
        """Directions of unit length, nearly: float64 (n_components, n_features), as in scikit-learn.

        Features are the samples of an image, row by row, or the bands of a pixel.
        """
        return self._learned("components")

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """The mean that components are added to: float64 (n_features,), in samples from 0 to 255."""
        return self._learned("mean")

    @property
    def explained_variance_ratio_(self) -> npt.NDArray[np.float64]:
        """The share of the variance that each component has: float64 (n_components,), as in scikit-learn.

        Of a dictionary that was read from a file it is known to 5 %.
        """
        return self._learned("explained_variance_ratio_")

    def _learned(self, name: str) -> npt.NDArray[Any]:
        if self.kind not in _LEARNED[name]:
            kinds = " or ".join(map(repr, _LEARNED[name]))
            raise AttributeError(f"a dictionary of kind {self.kind!r} has no {name}; one of {kinds} has")
        # By its name, as a dictionary is below what understands it.
        array: npt.NDArray[Any] = getattr(import_module("triptych.modes.learned"), name)(self)
        array.setflags(write=False)
        return array

    def __getattr__(self, name: str) -> Any:
        if name in _LEARNED:  # the property has failed: once more, for its own words
            return self._learned(name)
        if not name.startswith("_"):
            for known in (self.params, self.report):
                if name in known:
                    return known[name]
        raise AttributeError(f"{type(self).__name__} has no attribute or parameter {name!r}")

    def __repr__(self) -> str:
        return f"<Dictionary {self.kind} {self.id[:16]}, {len(self.payload):,} bytes>"

    def to_bytes(self) -> bytes:
        """Give it as a dictionary file: a stream of one DICTIONARY frame, and its encoder if it has one."""
        data = STREAM_HEADER + build_frame(FrameType.DICTIONARY, 1, self.payload)
        return data + build_frame(FrameType.ENCODER, 0, self.encoder) if self.encoder else data

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a dictionary file."""
        sink = open_sink(path)
        try:
            sink.write(self.to_bytes())
            sink.close()
        except BaseException:
            sink.abort()
            raise


def load_dictionary(source: str | os.PathLike[str] | bytes, *, limits: Limits | None = None) -> Dictionary:
    """Load a dictionary.

    Parameters
    ----------
    source : path, bytes or str
        A file, or the bytes of one: any stream with exactly one DICTIONARY frame. A string is the id of one
        if it has 64 hex digits (looked for in the folders of TRIPTYCH_PATH), a path if it has a separator or
        a suffix, and else the name of a shipped dictionary.

    Raises
    ------
    DictionaryMissing
        No dictionary of this id is on the search path.
    InvalidOption
        A name of no shipped dictionary.
    """
    limits = limits or Limits()
    if isinstance(source, str) and not is_path(source):
        if _is_id(source):
            return find_dictionary(bytes.fromhex(source), limits)
        shipped = shipped_dictionaries()
        if source in shipped:
            return shipped_dictionary(source)
        names = ", ".join(map(repr, sorted(shipped))) or "none"
        raise InvalidOption(
            f"dictionary {source!r} is neither an id of 64 hex digits nor shipped (shipped: {names}); "
            f"a path has a separator or a suffix, as {os.path.join(os.curdir, source)!r}",
            options=("dictionary",),
        )
    payloads: list[bytes] = []
    encoder = b""
    opened = open_source(source)
    try:
        for frame in walk(opened, limits):
            if frame.type == FrameType.DICTIONARY:
                payloads.append(bytes(frame.payload))
            elif frame.type == FrameType.ENCODER:
                encoder = bytes(frame.payload)
    finally:
        opened.close()
    if len(payloads) != 1:
        raise InvalidFrame("DICTIONARY frames in a dictionary file", expected=1, got=len(payloads))
    return Dictionary(payloads[0], encoder=encoder)


def is_path(text: str) -> bool:
    """Say whether a string is the path of a dictionary, not an id or a name."""
    has_separator = os.sep in text or bool(os.altsep and os.altsep in text)
    return not _is_id(text) and (has_separator or bool(os.path.splitext(text)[1]))


def _is_id(text: str) -> bool:
    return len(text) == 2 * ID_LEN and not set(text.lower()) - set("0123456789abcdef")


def resolve_dictionary(given: DictionaryLike, limits: Limits, mode: str = "auto") -> Dictionary:
    """Give the dictionary that an option names; shipped ones of the same name differ by mode."""
    if isinstance(given, Dictionary):
        return given
    if mode in ("ae", "gan") and isinstance(given, str) and NEURAL_PREFIX + given in shipped_dictionaries():
        return shipped_dictionary(NEURAL_PREFIX + given)
    if isinstance(given, (str, os.PathLike, bytes)):
        return load_dictionary(given, limits=limits)
    raise InvalidOption(
        f"dictionary must be a Dictionary, a path, an id or a name, not {type(given).__name__}"
    )


def shipped_dictionaries() -> dict[str, Path]:
    """Give the dictionaries that come with the package, by name."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.tych"))}


def shipped_dictionary(name: str) -> Dictionary:
    """Load a dictionary that comes with the package, once."""
    path = shipped_dictionaries().get(name)
    if path is None:
        raise DictionaryMissing(f"this installation came without the dictionary {name!r}")
    return _load_once(path)


@lru_cache(maxsize=8)
def _load_once(path: Path) -> Dictionary:
    return load_dictionary(path)


def is_shipped(dictionary: Dictionary) -> bool:
    """Say whether a dictionary comes with the package, so that a stream need only name it."""
    return name_shipped(dictionary.id) is not None


def name_shipped(id_start: str) -> str | None:
    """Give the name of the shipped dictionary whose id in hex begins so, if there is one."""
    names = (
        name for name, path in shipped_dictionaries().items() if _id_of(path, Limits()).startswith(id_start)
    )
    return next(names, None)


def find_dictionary(id_start: bytes, limits: Limits) -> Dictionary:
    """Give the dictionary on the search path whose id begins so.

    A file named by its id is tried before the others of its folder. One that is another when it is loaded
    than it was when it was looked at is passed over.
    """
    folders = [Path(name) for name in os.environ.get(SEARCH_PATH_VARIABLE, "").split(os.pathsep) if name]
    text = id_start.hex()
    for folder in (*folders, _SHIPPED):
        for path in sorted(
            folder.glob("*.tych"), key=lambda path: (not path.name.startswith(text), path.name)
        ):
            if _id_of(path, limits).startswith(text):
                with suppress(FormatError, OSError):
                    found = _load_once(path) if folder == _SHIPPED else load_dictionary(path, limits=limits)
                    if found.id.startswith(text):
                        return found
    where = f"in {SEARCH_PATH_VARIABLE}={os.environ.get(SEARCH_PATH_VARIABLE, '')!r}"
    raise DictionaryMissing(f"dictionary {text} is not in the stream, not given, and not {where}", id=text)


def _id_of(path: Path, limits: Limits) -> str:
    """Give the id of a dictionary file, empty for whatever else there is."""
    try:
        facts = path.stat()
    except OSError:
        return ""
    if not stat.S_ISREG(facts.st_mode):  # a pipe would be waited for
        return ""
    # Whoever swaps a file can set its times, but not when it was changed.
    seen = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
    return _file_id(path, seen, limits)


@lru_cache(maxsize=4096)
def _file_id(path: Path, seen: tuple[int, ...], limits: Limits) -> str:
    """Give the id of a dictionary file, empty for other files; what was seen tells when to look again."""
    try:
        source = open_source(path)
    except OSError:
        return ""
    try:
        # Only the first frame: a folder may hold large streams of images too.
        frame = next(walk(source, limits), None)
    except (FormatError, OSError):
        return ""
    finally:
        source.close()
    if frame is None or frame.type != FrameType.DICTIONARY:
        return ""
    return hashlib.sha256(frame.payload).hexdigest()


class Shelf:
    """What one call, or a Reader, decodes with: the dictionaries at hand, by id, and what it may spend."""

    def __init__(self, dictionaries: Iterable[Dictionary], limits: Limits) -> None:
        self.limits = limits
        self.budget = Budget(limits)
        self._by_id = {dictionary.id: dictionary for dictionary in dictionaries}

    def get(self, reference: Dictionary | bytes | None) -> Dictionary | None:
        """Give the dictionary of a reference: itself, or an id or the start of one."""
        if not isinstance(reference, bytes):
            return reference
        text = reference.hex()
        for dictionary_id, dictionary in self._by_id.items():
            if dictionary_id.startswith(text):
                return dictionary
        found = find_dictionary(reference, self.limits)
        self._by_id[found.id] = found
        return found

    def with_base(self, dictionary: Dictionary, base: bytes) -> Dictionary:
        """Give a dictionary together with the one that its content names.

        Raises
        ------
        DictionaryMissing
            That one is neither here nor on the search path.
        """
        return dictionary if dictionary.base is not None else replace(dictionary, base=self.get(base))


def short_id(dictionary_id: str) -> bytes:
    """Give the bytes by which an IMAGES frame names a dictionary itself."""
    return bytes.fromhex(dictionary_id)[:INLINE_ID_LEN]


def iterate_dictionaries(given: Any, limits: Limits) -> Iterator[Dictionary]:
    """Give the dictionaries that a caller hands over: none, one or several."""
    if given is None:
        return
    several = isinstance(given, Iterable) and not isinstance(given, (str, bytes, os.PathLike, Dictionary))
    for item in given if several else (given,):
        yield resolve_dictionary(item, limits)
