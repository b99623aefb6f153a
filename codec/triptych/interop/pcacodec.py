"""`PCACodec`: the PCA panel for collections as an estimator of scikit-learn.

Rows of X are images of one shape, codes are their quantised scores; what is fitted is a dictionary of kind
"components".
"""

from __future__ import annotations

import copy
import operator
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_array

from triptych.dictionary import DictionaryLike, resolve_dictionary
from triptych.errors import InvalidImage, InvalidOption
from triptych.fit.basis import Basis, load_basis, step_size
from triptych.fit.components import ComponentStatistics
from triptych.fit.statistics import F64
from triptych.images import MODES, Pixels, Shape
from triptych.interop.estimator import Estimator
from triptych.limits import Limits
from triptych.modes import components
from triptych.modes.scoring import MAX_SUM, Projection
from triptych.options import Options, make_options

__all__ = ["PCACodec"]


class PCACodec(Estimator):
    """Code images of one shape as quantised scores of principal components: the PCA panel for collections.

    The first images are kept for `partial_fit`, and of more than those the covariance: they are pickled with
    the codec, and not in its dictionary. Of a collection that is its own mirror image, the mean and each
    component is even or odd, and half of it is stored.

    `transform` gives the integers that `Writer(dictionary=codec.to_dictionary(), effort="fast")` stores, and
    `inverse_transform` the pixels that `Reader` gives.

    Parameters
    ----------
    n_components : int or float
        How many components, or the share of the variance that they have at least. By default as many as pay
        at this quality.
    image_shape : (height, width) or (height, width, channels)
        Of the images that are the rows of X; by default one line of grey samples.
    quality : int
        0 to 100: how finely scores are quantised; 50 by default.
    value_range : (low, high)
        As in `PaletteQuantizer`.

    Attributes
    ----------
    n_components_ : int
    components_ : float64 (n_components_, n_features)
        Directions of the components, of length 1 but for the rounding of the dictionary.
    mean_ : (n_features,)
        As X has it.
    explained_variance_ratio_ : float64 (n_components_,)
        Of a codec from a file: to an accuracy of 5 %.
    step_ : float
        How far along its component a code of 1 is, in units of X.
    range_ : (float, float)
        What became 0 and 255.
    n_features_in_ : int
    feature_names_in_ : array of str
        The columns, where X had names.

    Examples
    --------
    >>> images = np.add.outer(np.arange(0, 80, 5), [1, 2, 3, 4]).astype(np.uint8)
    >>> codec = PCACodec(n_components=1, image_shape=(2, 2), quality=100).fit(images)
    >>> codec.transform(images).shape
    (16, 1)
    >>> codec.inverse_transform(codec.transform(images[:2]))
    array([[1, 2, 3, 4],
           [6, 7, 8, 9]], dtype=uint8)
    """

    _statistics: ComponentStatistics

    def __init__(
        self,
        n_components: float | None = None,
        image_shape: tuple[int, ...] | None = None,
        *,
        quality: int | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        self.n_components = n_components
        self.image_shape = image_shape
        self.quality = quality
        self.value_range = value_range

    @classmethod
    def from_dictionary(cls, dictionary: DictionaryLike) -> Self:
        """Make a fitted codec of a dictionary of kind "components", its file, its id or its name.

        Raises
        ------
        DictionaryMismatch
            It is of another kind.
        """
        book = resolve_dictionary(dictionary, Limits())
        basis = load_basis(book)
        return cls(basis.n_components, tuple(basis.shape)).restore(book, basis.shape.nbytes)

    def fit(self, X: Any, y: None = None) -> Self:
        """Fit components to images, X (n_images, n_features), as `triptych.fit("pca", images)` does.

        Raises
        ------
        InvalidImage
            `image_shape` is not that of the rows, or there are fewer images than components.
        InvalidOption
            A parameter has a value that is not allowed.
        LimitExceeded
            More images than are held, of more samples than a covariance is held for.
        """
        return self._fit_images(self._images(self.begin(X)))

    def partial_fit(self, X: Any, y: None = None) -> Self:
        """Fit components to these images and all before them: the same as one `fit`, in whatever parts.

        The first part has as many images as `n_components`, or more. Of parts of floats, `value_range` gives
        the range; else it is that of the first. A call that raises changes nothing:
        its images are not counted.

        Raises
        ------
        InvalidImage, LimitExceeded
            As in `fit`.
        InvalidOption
            As in `fit`; or what there is came from a dictionary, which does not know its images; or X has
            values beyond the range.
        """
        return self._fit_images(self._images(self.go_on(X)))

    def _fit_images(self, images: Pixels) -> Self:
        options = self._make_options()
        # A copy, as the fit may fail. It costs less than the decomposition that follows.
        known = copy.deepcopy(getattr(self, "_statistics", None))
        statistics = known or ComponentStatistics(Shape(*images.shape[1:]))
        statistics.check(options)
        statistics.update(images, options)
        self.keep(statistics.fit(options))
        self._statistics = statistics
        return self

    def _make_options(self) -> Options:
        is_share = isinstance(self.n_components, (float, np.floating))
        given = {"variance" if is_share else "n_components": self.n_components}
        return make_options(given | {"quality": self.quality, "threads": 1})

    def _images(self, samples: Pixels) -> Pixels:
        return samples.reshape(-1, *_parse_shape(self.image_shape, samples.shape[1]))

    def transform(self, X: Any) -> npt.NDArray[np.int32]:
        """Give the codes of images, int32 (n_images, n_components_)."""
        samples, basis = self.check(X), self._basis
        projection = Projection(samples.reshape(-1, *basis.shape), basis, basis.n_components, "fast")
        return np.ascontiguousarray(projection.scores(basis.step).T)

    def inverse_transform(self, X: Any) -> npt.NDArray[Any]:
        """Give the images of codes.

        Parameters
        ----------
        X : (n_images, at most n_components_)
            Fewer columns show what the first components say. Floats are rounded to the nearest code.

        Returns
        -------
        (n_images, n_features)
            uint8 where the range is 0 to 255, else float64.

        Raises
        ------
        InvalidImage
            More columns than components, or codes that no image has.
        """
        basis = self._basis
        # In floats: a code may be anything, and its magnitude times a peak leave 64 bits.
        codes = np.rint(check_array(X, dtype=np.float64, ensure_min_features=0))
        n_columns = codes.shape[1]
        if n_columns > basis.n_components:
            raise InvalidImage("columns of codes", expected=f"at most {basis.n_components}", got=n_columns)
        reach = np.abs(codes) @ np.maximum(basis.peaks[:n_columns], 1).astype(np.float64)
        if reach.max() > MAX_SUM:
            raise InvalidImage(f"row {int(reach.argmax())} holds codes that no image has")
        coded = components.Coded(basis.step, np.ascontiguousarray(codes.T.astype(np.int32)))
        shown = np.stack(components.show_images(coded, basis, 0, len(codes)))
        return self.values(shown.reshape(len(codes), -1))

    @property
    def _basis(self) -> Basis:
        return load_basis(self.to_dictionary())

    @property
    def n_components_(self) -> int:
        """How many components there are."""
        return self._basis.n_components

    @property
    def components_(self) -> F64:
        """Directions of the components, float64 (n_components_, n_features)."""
        return self.to_dictionary().components

    @property
    def mean_(self) -> npt.NDArray[Any]:
        """The mean of the images, (n_features,)."""
        return self.values(self.to_dictionary().mean)

    @property
    def step_(self) -> float:
        """How far along its component a code of 1 is, in units of X."""
        low, high = self.range_
        return step_size(self._basis.step) * (high - low) / 255

    @property
    def explained_variance_ratio_(self) -> F64:
        """The share of the variance that each component has, float64 (n_components_,)."""
        return self.to_dictionary().explained_variance_ratio_

    @property
    def _n_features_out(self) -> int:
        return self.n_components_


def _parse_shape(given: Any, n_features: int) -> Shape:
    if given is None:
        return Shape(1, n_features, 1)
    try:
        sides = [operator.index(side) for side in given]
    except TypeError:
        sides = []
    if len(sides) == 2:
        sides.append(1)
    if len(sides) != 3 or min(sides) < 1 or sides[2] > len(MODES):
        raise InvalidOption(
            f"image_shape must be (height, width) or (height, width, 1 to {len(MODES)}), not {given!r}"
        )
    shape = Shape(*sides)
    if shape.nbytes != n_features:
        raise InvalidImage(f"columns of X for images {tuple(shape)}", expected=shape.nbytes, got=n_features)
    return shape
