"""Triptych: learned image codecs in one stream. Fit once, encode millions.

`encode` and `decode` are for one image; `Writer` and `Reader` for streams of many; `fit` learns a
`Dictionary` that many images share. All errors derive from `TriptychError`. Names are loaded when first used:
importing this package imports neither numba nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triptych.dictionary import Dictionary, load_dictionary
    from triptych.errors import (
        ChecksumMismatch,
        DictionaryMismatch,
        DictionaryMissing,
        EncodeError,
        EngineFailed,
        FormatError,
        InvalidFrame,
        InvalidImage,
        InvalidOption,
        KeyMissing,
        LimitExceeded,
        NotIndexed,
        NotOneImage,
        NotSeekable,
        NotTriptych,
        ReaderClosed,
        RemoteDenied,
        RemoteError,
        RemoteTimeout,
        SchemeRefused,
        TargetBusy,
        TargetUnreachable,
        TooManyColors,
        TriptychError,
        Truncated,
        UnsupportedFeature,
        UnsupportedVersion,
    )
    from triptych.fit import fit
    from triptych.limits import Limits
    from triptych.part import concatenate, rebuild_index
    from triptych.reader import Reader, decode
    from triptych.verify import Report, verify
    from triptych.warmup import warmup
    from triptych.writer import Writer, encode

__version__ = "0.1.0"

__all__ = [
    "ChecksumMismatch",
    "Dictionary",
    "DictionaryMismatch",
    "DictionaryMissing",
    "EncodeError",
    "EngineFailed",
    "FormatError",
    "InvalidFrame",
    "InvalidImage",
    "InvalidOption",
    "KeyMissing",
    "LimitExceeded",
    "Limits",
    "NotIndexed",
    "NotOneImage",
    "NotSeekable",
    "NotTriptych",
    "Reader",
    "ReaderClosed",
    "RemoteDenied",
    "RemoteError",
    "RemoteTimeout",
    "Report",
    "SchemeRefused",
    "TargetBusy",
    "TargetUnreachable",
    "TooManyColors",
    "TriptychError",
    "Truncated",
    "UnsupportedFeature",
    "UnsupportedVersion",
    "Writer",
    "__version__",
    "concatenate",
    "decode",
    "encode",
    "fit",
    "load_dictionary",
    "rebuild_index",
    "verify",
    "warmup",
]

_MODULES = {
    "Dictionary": "dictionary",
    "load_dictionary": "dictionary",
    "Limits": "limits",
    "concatenate": "part",
    "rebuild_index": "part",
    "Reader": "reader",
    "decode": "reader",
    "Report": "verify",
    "Writer": "writer",
    "encode": "writer",
}


def __getattr__(name: str) -> Any:
    if name in ("fit", "verify", "warmup", "pillow"):
        # The first three are modules of these names, and importing one sets the name: so they are callable
        # (`callables`).
        return import_module(f"triptych.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'triptych' has no attribute {name!r}")
    # What is not listed is an error class.
    value = getattr(import_module(f"triptych.{_MODULES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
