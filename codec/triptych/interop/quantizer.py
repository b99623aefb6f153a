"""`PaletteQuantizer`: the k-means panel as an estimator of scikit-learn.

Rows of X are pixels, codes are indices into the palette, and that is a dictionary of kind "palette".
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_array, check_is_fitted

from triptych.dictionary import Dictionary, DictionaryLike, resolve_dictionary
from triptych.errors import InvalidImage, InvalidOption
from triptych.fit.colors import Histogram, count_colors, sort_palette
from triptych.fit.kmeans import fit_palette, map_pixels
from triptych.images import MODES, Pixels
from triptych.interop.estimator import Estimator
from triptych.keywords import Effort
from triptych.limits import Limits
from triptych.modes.reduce import dictionary_colors, from_indices, to_rgba
from triptych.options import make_options

__all__ = ["PaletteQuantizer"]

_ROUNDING = 1e-3
"""How far from an integer a code may be that went through other estimators as a float."""


class PaletteQuantizer(Estimator):
    """Reduce pixels to a palette: the k-means panel.

    `predict` and `cluster_centers_` are what those of `sklearn.cluster.KMeans` are.

    Parameters
    ----------
    n_colors : int
        1 to 256. There are fewer where the pixels have fewer colours.
    effort : {"fast", "default", "max"}
        Time for error.
    value_range : (low, high)
        What becomes 0 and 255; values beyond are cut. By default the range of all values of the first X, and
        0 to 255 where it is uint8.

    Attributes
    ----------
    cluster_centers_ : (n_colors, n_features)
        The colours, as X has them.
    range_ : (float, float)
        What became 0 and 255.
    n_features_in_ : int
        1 to 4: pixels are L, LA, RGB or RGBA, and colours are weighed with their alpha.
    feature_names_in_ : array of str
        The columns, where X had names.

    Examples
    --------
    >>> pixels = np.array([[0, 0, 0], [2, 2, 2], [250, 0, 0]], np.uint8)
    >>> quantizer = PaletteQuantizer(n_colors=2).fit(pixels)
    >>> quantizer.inverse_transform(quantizer.transform(pixels))
    array([[  1,   1,   1],
           [  1,   1,   1],
           [250,   0,   0]], dtype=uint8)
    """

    _statistics: Histogram

    def __init__(
        self,
        n_colors: int = 16,
        *,
        effort: Effort = "default",
        value_range: tuple[float, float] | None = None,
    ) -> None:
        self.n_colors = n_colors
        self.effort = effort
        self.value_range = value_range

    @classmethod
    def from_dictionary(cls, dictionary: DictionaryLike) -> Self:
        """Make a fitted quantizer of a palette: a dictionary, its file, its id or its name.

        Raises
        ------
        DictionaryMismatch
            It is no palette.
        """
        book = resolve_dictionary(dictionary, Limits())
        colors = dictionary_colors(book)
        channels = book.params.get("channels", 3 if (colors[:, 3] == 255).all() else 4)
        return cls(len(colors)).restore(book, channels)

    def fit(self, X: Any, y: None = None) -> Self:
        """Fit a palette to pixels, X (n_pixels, 1 to 4 channels).

        Raises
        ------
        InvalidImage
            X has more than 4 columns.
        InvalidOption
            A parameter has a value that is not allowed.
        """
        return self._fit_palette(_count_pixels(self.begin(X)))

    def partial_fit(self, X: Any, y: None = None) -> Self:
        """Fit a palette to these pixels and all before them: the same as one `fit`, in whatever parts.

        Of parts of floats, `value_range` gives the range; else it is that of the first.

        Raises
        ------
        InvalidOption
            What there is came from a dictionary, which does not know its pixels; or X has values beyond the
            range.
        """
        histogram = _count_pixels(self.go_on(X))
        known = getattr(self, "_statistics", None)
        return self._fit_palette(histogram if known is None else known.merge(histogram))

    def _fit_palette(self, histogram: Histogram) -> Self:
        options = make_options({"n_colors": self.n_colors, "effort": self.effort})
        if options.n_colors == "auto":
            raise InvalidOption("n_colors must be an integer from 1 to 256, not 'auto'")
        palette = fit_palette(histogram, options.n_colors, effort=options.effort)
        colors, _ = sort_palette(palette.colors)
        params = {
            "channels": self.n_features_in_,
            "n_colors": len(colors),
            "pixels": histogram.n_pixels,
            "wcss": palette.wcss,
        }
        self._statistics = histogram
        return self.keep(Dictionary.build("palette", params, colors.tobytes()))

    def predict(self, X: Any) -> npt.NDArray[np.int64]:
        """Give the row of `cluster_centers_` nearest to each pixel, int64 (n_pixels,)."""
        histogram, inverse = count_colors(to_rgba(self.check(X)[None]))
        return map_pixels(histogram.colors, inverse, dictionary_colors(self._dictionary)).astype(np.int64)

    def transform(self, X: Any) -> npt.NDArray[np.int64]:
        """Give what `predict` gives as one column, int64 (n_pixels, 1)."""
        return self.predict(X)[:, None]

    def inverse_transform(self, X: Any) -> npt.NDArray[Any]:
        """Give the colours of codes, X (n_pixels, 1).

        Returns
        -------
        (n_pixels, n_features)
            uint8 where the range is 0 to 255, else float64.

        Raises
        ------
        InvalidImage
            A code has no colour.
        """
        check_is_fitted(self)
        given = check_array(X, dtype="numeric")
        codes = np.rint(given)
        n_colors = len(dictionary_colors(self._dictionary))
        is_whole = np.abs(given - codes).max() <= _ROUNDING
        if codes.shape[1] != 1 or codes.min() < 0 or codes.max() >= n_colors or not is_whole:
            raise InvalidImage(f"codes are one column of integers from 0 to {n_colors - 1}")
        found: npt.NDArray[Any] = self.cluster_centers_[codes[:, 0].astype(np.int64)]
        return found

    @property
    def cluster_centers_(self) -> npt.NDArray[Any]:
        """The colours, as X has them: (n_colors, n_features)."""
        check_is_fitted(self)
        colors = dictionary_colors(self._dictionary)
        every = np.arange(len(colors), dtype=np.uint8)
        return self.values(from_indices(colors, every, self.n_features_in_))

    @property
    def _n_features_out(self) -> int:
        return 1


def _count_pixels(samples: Pixels) -> Histogram:
    if samples.shape[1] > len(MODES):
        raise InvalidImage(f"pixels have 1 to {len(MODES)} channels, and X has {samples.shape[1]} columns")
    return count_colors(to_rgba(samples[None]))[0]
