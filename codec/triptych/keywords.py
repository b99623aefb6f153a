"""The options of encoding and fitting as keywords, for type checkers: names, and types of what is taken.

`triptych.options.Options` checks them, and tells their defaults and meanings; a test holds both in step.
Integers and numbers of numpy are taken as those of Python.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from typing import Literal, SupportsFloat, SupportsIndex, TypedDict

from triptych.limits import Limits

ModeName = Literal["auto", "kmeans", "pca", "ae", "gan"]
FitMode = Literal["kmeans", "pca", "ae", "gan"]
MergeableMode = Literal["kmeans", "pca"]
Effort = Literal["fast", "default", "max"]
Tune = Literal["visual", "psnr"]


class RunOptions(TypedDict, total=False):
    """What changes no byte."""

    threads: SupportsIndex
    executor: Executor | None
    limits: Limits | None


class SharedOptions(TypedDict, total=False):
    """What every mode has."""

    effort: Effort
    seed: SupportsIndex


class FittedOptions(SharedOptions, total=False):
    """What palettes and components have in common."""

    target_psnr: SupportsFloat | None


class PaletteOptions(FittedOptions, total=False):
    """What a palette is made by."""

    n_colors: SupportsIndex | Literal["auto"]
    keep: Iterable[Iterable[SupportsIndex]]


class ComponentOptions(FittedOptions, total=False):
    """What components are made by."""

    quality: SupportsIndex | None
    variance: SupportsFloat | None
    n_components: SupportsIndex | None
    embed: bool | None


class CodingOptions(PaletteOptions, ComponentOptions, total=False):
    """What changes the bytes of a stream."""

    mode: ModeName
    target_size: SupportsIndex | None
    dither: bool
    lossless: bool
    tune: Tune
    frame_images: SupportsIndex | None


class EncodeOptions(CodingOptions, RunOptions, total=False):
    """The options of `encode` and `Writer`."""


class FitPaletteOptions(PaletteOptions, RunOptions, total=False):
    """The options of `fit("kmeans", ...)`."""


class FitComponentsOptions(ComponentOptions, RunOptions, total=False):
    """The options of `fit("pca", ...)`."""


class FitNetworksOptions(SharedOptions, RunOptions, total=False):
    """The options of `fit("ae", ...)` and `fit("gan", ...)`, besides its own."""


class FitOptions(FitPaletteOptions, FitComponentsOptions, total=False):
    """The options of `fit` for some mode."""
