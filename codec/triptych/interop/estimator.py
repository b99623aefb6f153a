"""What the estimators of `triptych.interop.sklearn` have in common: samples of 8 bits, and a dictionary.

X of scikit-learn becomes samples and back; `Estimator` keeps the range that says how, the `Dictionary` that
was fitted, and what `partial_fit` goes on from. What is learned, and what codes are, is the business of its
subclasses.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from triptych.dictionary import Dictionary
from triptych.errors import InvalidImage, InvalidOption
from triptych.images import Pixels

__all__ = ["Estimator"]

_FULL = (0.0, 255.0)


# scikit-learn states no types.
class Estimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """An estimator whose result is a dictionary.

    Attributes
    ----------
    range_ : (float, float)
        What became 0 and 255.
    n_features_in_ : int
    """

    value_range: tuple[float, float] | None
    range_: tuple[float, float]
    n_features_in_: int
    _dictionary: Dictionary

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # codes are integers
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_dictionary")

    def to_dictionary(self) -> Dictionary:
        """Give what was fitted, for `Writer` or a file; its `params` say the range of X, unless X was uint8.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Nothing was fitted.
        """
        check_is_fitted(self)
        return self._dictionary

    def begin(self, X: Any) -> Pixels:
        """Forget everything, and give the samples of the first X, uint8 (n, n_features).

        Raises
        ------
        InvalidOption
            `value_range` is no range.
        InvalidImage
            The range of X is wider than floats are, or too narrow to be divided.
        """
        for name in ("_dictionary", "_statistics"):
            if hasattr(self, name):
                delattr(self, name)
        X = validate_data(self, X)
        if self.value_range is not None:
            self.range_ = _checked_range(self.value_range)
        else:
            low, high = _FULL if X.dtype == np.uint8 else (float(X.min()), float(X.max()))
            if low < high and not _has_scale(low, high):
                raise InvalidImage(f"values from {low:g} to {high:g} cannot be scaled to 0 to 255")
            self.range_ = low, high
        return self._samples(X)

    def go_on(self, X: Any) -> Pixels:
        """Give the samples of further X, or of a first one.

        Raises
        ------
        InvalidOption
            What there is came from a dictionary; or X has values beyond those of the first part, by which
            samples were made of it, and no `value_range` said what to expect.
        """
        if not hasattr(self, "_dictionary"):
            return self.begin(X)
        if not hasattr(self, "_statistics"):
            raise InvalidOption("partial_fit cannot go on from a dictionary, which holds no statistics")
        X = validate_data(self, X, reset=False)
        low, high = self.range_
        if self.value_range is None and (X.min() < low or X.max() > high):
            raise InvalidOption(
                f"values from {X.min():g} to {X.max():g} after a first part of {low:g} to {high:g}: give the "
                "range of all parts as value_range"
            )
        return self._samples(X)

    def check(self, X: Any) -> Pixels:
        """Give the samples of X for a fitted estimator."""
        check_is_fitted(self)
        return self._samples(validate_data(self, X, reset=False))

    def values(self, samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Give samples as X has them: as they are where the range is 0 to 255, else float64."""
        low, high = self.range_
        return samples if self.range_ == _FULL else low + samples * ((high - low) / 255)

    def keep(self, dictionary: Dictionary) -> Self:
        """Take what was fitted."""
        if self.range_ != _FULL:
            params = dictionary.params | {"range": list(self.range_)}
            dictionary = Dictionary.build(dictionary.kind, params, dictionary.content, dictionary.report)
        self._dictionary = dictionary
        return self

    def restore(self, dictionary: Dictionary, n_features: int) -> Self:
        """Take what another estimator fitted."""
        named = dictionary.params.get("range")
        self.range_ = _FULL if named is None else _checked_range(named, or_one_value=True)
        is_given = named is not None and self.range_[0] < self.range_[1]
        self.value_range = self.range_ if is_given else None
        self.n_features_in_ = n_features
        self._dictionary = dictionary
        return self

    def _samples(self, X: npt.NDArray[Any]) -> Pixels:
        low, high = self.range_
        if X.dtype == np.uint8 and self.range_ == _FULL:
            return np.require(X, requirements=["C", "W"])
        scale = 255 / (high - low) if high > low else 0.0
        wide = X.astype(np.float64)  # narrower floats may not hold how far apart two of them are
        samples: Pixels = np.rint((np.clip(wide, low, high) - low) * scale).astype(np.uint8, order="C")
        return samples


def _checked_range(given: Any, *, or_one_value: bool = False) -> tuple[float, float]:
    try:
        low, high = map(float, given)
    except (TypeError, ValueError):
        low = high = np.nan
    is_one_value = or_one_value and -np.inf < low == high < np.inf
    if not (is_one_value or (-np.inf < low < high < np.inf and _has_scale(low, high))):
        raise InvalidOption(f"value_range must be two numbers, the lower first, not {given!r}")
    return low, high


def _has_scale(low: float, high: float) -> bool:
    """Say whether floats hold how many samples there are to a unit of X."""
    return 0 < 255 / (high - low) < np.inf
