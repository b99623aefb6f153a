"""What dictionaries have learned, as arrays: for `triptych.dictionary.Dictionary`, which knows no kind."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from triptych.dictionary import Dictionary
from triptych.fit import basis as of_images
from triptych.fit import spectral as of_bands
from triptych.fit.basis import step_size
from triptych.modes.components import explained_variance_ratio as ratio_of_levels
from triptych.modes.reduce import dictionary_colors
from triptych.modes.scoring import expand

F64 = npt.NDArray[np.float64]


def palette(dictionary: Dictionary) -> npt.NDArray[np.uint8]:
    """Return the colours of a palette."""
    return dictionary_colors(dictionary)


def components(dictionary: Dictionary) -> F64:
    """Return the directions of components, (n_components, n_features)."""
    if dictionary.kind == of_bands.KIND:
        return of_bands.load_basis(dictionary).rows / of_bands.ONE
    basis = of_images.load_basis(dictionary)
    return expand(basis.rows / (2.0**basis.shift * step_size(basis.step)), basis, basis.odd)


def mean(dictionary: Dictionary) -> F64:
    """Return the mean of the images or spectra, (n_features,), in samples from 0 to 255."""
    if dictionary.kind == of_bands.KIND:
        return of_bands.load_basis(dictionary).mean / (1 << of_bands.MEAN_BITS)
    basis = of_images.load_basis(dictionary)
    means: F64 = expand(basis.center[None] / 2.0**basis.shift, basis, np.zeros(1, np.uint8))
    return means.reshape(-1)


def explained_variance_ratio_(dictionary: Dictionary) -> F64:
    """Return the share of the variance that each component has; known to 5 % where it comes from a file."""
    known = dictionary.report.get("explained_variance_ratio_")
    if known is None:
        if dictionary.kind == of_bands.KIND:
            raise AttributeError(
                "explained_variance_ratio_ of spectral components is known right after `fit` alone"
            )
        known = ratio_of_levels(dictionary)
    return np.array(known, np.float64)
