"""The options of encoding: their names, defaults and allowed values.

`Options` is made once for a call of `encode`, `fit` or `Writer` and handed to the modes unchanged (only
`target_size` is lowered by what the stream itself costs). It never touches pixels or files. `mode` and
`dictionary` are names that other modules resolve.
"""

from __future__ import annotations

import inspect
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, TypeVar

from triptych.errors import InvalidOption
from triptych.keywords import Effort, Tune
from triptych.limits import Limits
from triptych.scalars import plain_scalar

Color = tuple[int, int, int, int]
T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to encode. Each value is checked; a wrong one is `InvalidOption`.

    Scalars of numpy are taken, and floats for integers where they are whole: settings may say 85.0.

    Parameters
    ----------
    mode : {"auto", "kmeans", "pca", "ae", "gan"}
        `"auto"`: what serves the picture best.
    quality : int or None
        0 to 100; 100 is the finest the mode has. None: the mode's default.
    target_size : int or None
        Bytes of the stream (of each image's frame, where the stream has many images).
    target_psnr : float or None
        Decibels. PCA and networks count all samples, k-means counts colours as much as their alpha shows.
    effort : {"fast", "default", "max"}
        Time for bytes.
    n_colors : int or "auto"
        1 to 256 colours of the palette.
    keep : colours
        Colours (R, G, B) or (R, G, B, A) that must come out exactly.
    dither : bool
        Floyd-Steinberg.
    lossless : bool
        Exact, or an error.
    variance : float or None
        Share of the variance that PCA keeps, above 0 and up to 1; where a collection is as likely as its
        mirror image, that of both together.
    n_components : int or None
        Number of PCA components.
    tune : {"visual", "psnr"}
        What PCA is tuned for.
    embed : bool or None
        Whether the dictionary travels in the stream. None: yours does, a shipped one does not.
    frame_images : int or None
        Images in one frame, the unit of random access. None: the mode decides.
    threads : int
        0: all cores.
    executor : concurrent.futures.Executor or None
        Where frames are encoded, instead of threads of our own.
    seed : int
        Of everything random.
    limits : Limits
        What is refused; streams beyond the default limits need a reader with higher ones.

    Examples
    --------
    >>> Options(n_colors=16).n_colors
    16
    >>> Options(effort="slow")
    Traceback (most recent call last):
    ...
    triptych.errors.InvalidOption: effort must be one of 'fast', 'default', 'max', not 'slow'
    """

    mode: str = "auto"
    quality: int | None = None
    target_size: int | None = None
    target_psnr: float | None = None
    effort: Effort = "default"
    n_colors: int | Literal["auto"] = "auto"
    keep: tuple[Color, ...] = ()
    dither: bool = False
    lossless: bool = False
    variance: float | None = None
    n_components: int | None = None
    tune: Tune = "visual"
    embed: bool | None = None
    frame_images: int | None = None
    threads: int = 0
    executor: Executor | None = None
    seed: int = 0
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            # Frozen means that callers cannot change it; this is still the making of it.
            object.__setattr__(self, name, check(name, plain_scalar(getattr(self, name))))
        targets = [
            name for name in ("quality", "target_size", "target_psnr") if getattr(self, name) is not None
        ]
        if len(targets) > 1:
            raise InvalidOption(
                f"only one of quality, target_size and target_psnr, not {' and '.join(targets)}",
                options=("quality", "target_size", "target_psnr"),
            )
        if self.lossless and (targets or self.dither):
            other = (targets or ["dither"])[0]
            raise InvalidOption(f"lossless=True does not go with {other}", options=("lossless", other))
        if self.variance is not None and self.n_components is not None:
            given = ("variance", "n_components")
            raise InvalidOption("only one of variance and n_components", options=given)

    @property
    def of_palettes(self) -> str | None:
        """The name of an option that is set and that only mode "kmeans" has."""
        is_set = {
            "n_colors": self.n_colors != "auto",
            "keep": bool(self.keep),
            "dither": self.dither,
            "lossless": self.lossless,
        }
        return next((name for name, here in is_set.items() if here), None)

    def refuse_palettes(self) -> None:
        """Raise InvalidOption where there is an option that only mode "kmeans" has."""
        name = self.of_palettes
        if name is not None:
            raise InvalidOption(f"{name} belongs to mode 'kmeans'", options=(name,))

    def refuse_components(self, why: str = "belongs to mode 'pca', with a dictionary of components") -> None:
        """Raise InvalidOption where there is an option that only components have."""
        for name in ("n_components", "variance"):
            if getattr(self, name) is not None:
                raise InvalidOption(f"{name} {why}", options=(name,))


def explain_options(keywords: type, **defaults: Any) -> Callable[[T], T]:
    """Have a docstring say what its `**options` may be, as `Options` does, with the defaults.

    Parameters
    ----------
    keywords : TypedDict
        Those that there are; see `triptych.keywords`.
    **defaults
        Where they are others than those of `Options`.
    """

    def explain(documented: T) -> T:
        if documented.__doc__ is not None and Options.__doc__ is not None:  # there are none under -OO
            told = _explanations(keywords.__annotations__, defaults)
            documented.__doc__ = re.sub(
                r"^\*\*options\n(?: +.*\n)+", lambda found: found[0] + told, _cleaned(documented), flags=re.M
            )
        return documented

    return explain


def _explanations(names: Iterable[str], defaults: Mapping[str, Any]) -> str:
    """Give what `Options` says of options: a line with the default, and below it the meaning."""
    told = ""
    for item in fields(Options):
        if item.name in names:
            found = re.search(rf"^{item.name} : (.*)\n((?: +.*\n)+)", _cleaned(Options), flags=re.M)
            assert found is not None
            default = "Limits()" if item.default is MISSING else repr(defaults.get(item.name, item.default))
            told += f"    {item.name} : {found[1]}, default {default}\n"
            told += "".join(f"    {line}\n" for line in found[2].splitlines())
    return told


def _cleaned(documented: Any) -> str:
    return inspect.cleandoc(documented.__doc__) + "\n"


OPTION_NAMES = tuple(item.name for item in fields(Options))


def make_options(given: Mapping[str, Any]) -> Options:
    """Build `Options` from keywords; an unknown name is `InvalidOption` and lists the known ones."""
    for name in given:
        if name not in OPTION_NAMES:
            raise InvalidOption(f"there is no option {name!r}; the options are {', '.join(OPTION_NAMES)}")
    return Options(
        **{name: value for name, value in given.items() if not (name == "limits" and value is None)}
    )


_Check = Callable[[str, Any], Any]


def _refused(name: str, allowed: str, value: Any) -> InvalidOption:
    return InvalidOption(f"{name} must be {allowed}, not {value!r}", options=(name,))


def _integer(low: int, high: int | None = None) -> _Check:
    allowed = f"an integer from {low} to {high}" if high is not None else f"an integer of at least {low}"

    def check(name: str, value: Any) -> int:
        try:
            number = operator.index(int(value) if isinstance(value, float) and value.is_integer() else value)
        except TypeError:
            number = low - 1
        if isinstance(value, bool) or number < low or (high is not None and number > high):
            raise _refused(name, allowed, value)
        return number

    return check


def _number_above_zero(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, (bool, str)) or not 0 < number < math.inf:
        raise _refused(name, "a number above 0", value)
    return number


def _share(name: str, value: Any) -> float:
    number = _number_above_zero(name, value)
    if number > 1:
        raise _refused(name, "above 0 and at most 1", value)
    return number


def _one_of(*allowed: Any) -> _Check:
    def check(name: str, value: Any) -> Any:
        # `1 == True`: an identity or type check keeps 1 from passing as True.
        if not any(value == item and type(value) is type(item) for item in allowed):
            raise _refused(name, f"one of {', '.join(map(repr, allowed))}", value)
        return value

    return check


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _refused(name, "a string", value)
    return value


def _optional(check: _Check) -> _Check:
    return lambda name, value: None if value is None else check(name, value)


def _n_colors(name: str, value: Any) -> int | str:
    if isinstance(value, str) and value == "auto":
        return value
    try:
        return int(_integer(1, 256)(name, value))
    except InvalidOption:
        raise _refused(name, "'auto' or an integer from 1 to 256", value) from None


def _colors(name: str, value: Iterable[Iterable[int]]) -> tuple[Color, ...]:
    try:
        # No floats, whole ones neither: they are colours from 0 to 1 more often than not.
        colors = [tuple(operator.index(channel) for channel in color) for color in value]
    except TypeError:
        colors = [()]
    if not all(len(color) in (3, 4) and 0 <= min(color) <= max(color) <= 255 for color in colors):
        raise _refused(name, "colours (R, G, B) or (R, G, B, A) of 0 to 255", value)
    return tuple((color[0], color[1], color[2], color[3] if len(color) == 4 else 255) for color in colors)


def _instance(kind: type) -> _Check:
    def check(name: str, value: Any) -> Any:
        if not isinstance(value, kind):
            raise _refused(name, f"a {kind.__module__}.{kind.__name__}", value)
        return value

    return check


_CHECKS: dict[str, _Check] = {
    "mode": _text,
    "quality": _optional(_integer(0, 100)),
    "target_size": _optional(_integer(1)),
    "target_psnr": _optional(_number_above_zero),
    "effort": _one_of("fast", "default", "max"),
    "n_colors": _n_colors,
    "keep": _colors,
    "dither": _one_of(False, True),
    "lossless": _one_of(False, True),
    "variance": _optional(_share),
    "n_components": _optional(_integer(1)),
    "tune": _one_of("visual", "psnr"),
    "embed": _optional(_one_of(False, True)),
    "frame_images": _optional(_integer(1)),
    "threads": _integer(0),
    "executor": _optional(_instance(Executor)),
    "seed": _integer(0),
    "limits": _instance(Limits),
}
