"""Seeds of a palette: greedy cuts of boxes of points where the variance falls most.

X. Wu, "Efficient statistical computations for optimal color quantization", Graphics Gems II, 1991. Wu cuts
boxes of a grid of 32**3 moments; here a box is a range of an order of the points and is cut at one of 64
places between its own extremes, so that a box of two distinct points can always be cut, and a fourth plane
costs what the third does. Called by `triptych.fit.kmeans`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from triptych_kernels._jit import inline, kernel

_BINS = 64


@inline
def _measure(
    planes: npt.NDArray[np.int32],
    weights: npt.NDArray[np.int64],
    order: npt.NDArray[np.int32],
    first: int,
    last: int,
) -> float:
    """Weighted sum of squared distances from their mean of the points `order[first:last]`."""
    mass = 0.0
    total = 0.0
    for i in range(first, last):
        mass += weights[order[i]]
    for plane in range(4):
        linear = 0.0
        square = 0.0
        for i in range(first, last):
            value = np.float64(planes[plane, order[i]])
            weight = np.float64(weights[order[i]])
            linear += weight * value
            square += weight * value * value
        total += square - linear * linear / mass
    return total


@inline
def _best_cut(
    planes: npt.NDArray[np.int32],
    weights: npt.NDArray[np.int64],
    order: npt.NDArray[np.int32],
    first: int,
    last: int,
    moments: npt.NDArray[np.float64],
) -> tuple[int, np.int64]:
    """Find the plane and the value below which a point goes left; a plane of -1: nothing to cut."""
    best, best_plane, best_value = -1.0, -1, np.int64(0)
    for axis in range(4):
        low = high = np.int64(planes[axis, order[first]])
        for i in range(first, last):
            value = np.int64(planes[axis, order[i]])
            low, high = min(low, value), max(high, value)
        if low == high:
            continue
        shift = 0
        while (high - low) >> shift >= _BINS:
            shift += 1
        moments[:] = 0.0
        for i in range(first, last):
            point = order[i]
            home = (np.int64(planes[axis, point]) - low) >> shift
            weight = np.float64(weights[point])
            moments[home, 4] += weight
            for plane in range(4):
                moments[home, plane] += weight * planes[plane, point]
        for place in range(1, _BINS):
            for plane in range(5):
                moments[place, plane] += moments[place - 1, plane]
        for place in range(_BINS - 1):
            left = moments[place, 4]
            right = moments[_BINS - 1, 4] - left
            if left == 0.0 or right == 0.0:
                continue
            gain = 0.0  # the between-box variance that the cut takes out of the boxes
            for plane in range(4):
                part = moments[place, plane]
                rest = moments[_BINS - 1, plane] - part
                gain += part * part / left + rest * rest / right
            if gain > best:
                best, best_plane, best_value = gain, axis, low + ((place + 1) << shift)
    return best_plane, best_value


@kernel
def cut_boxes(
    planes: npt.NDArray[np.int32],
    weights: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.int64],
    errors: npt.NDArray[np.float64],
    order: npt.NDArray[np.int32],
    moments: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int32],
) -> int:
    """Cut all points into at most k boxes, each time the box with the largest error where it falls most.

    Parameters
    ----------
    planes : int32 (4, n), IN
        Planes of the points.
    weights : int64 (n,), IN
        Positive.
    bounds : int64 (k, 2), OUT
        Box j is the points `order[bounds[j, 0]:bounds[j, 1]]`.
    errors : float64 (k,), scratch
    order : int32 (n,), OUT
        A permutation of the points.
    moments : float64 (64, 5), scratch
    labels : int32 (n,), OUT
        The box of each point.

    Returns
    -------
    n_boxes
        Less than k where there are fewer distinct points.
    """
    n_points = planes.shape[1]
    for i in range(n_points):
        order[i] = i
    bounds[0, 0], bounds[0, 1] = 0, n_points
    errors[0] = _measure(planes, weights, order, 0, n_points)
    n_boxes = 1
    while n_boxes < bounds.shape[0]:
        box = np.argmax(errors[:n_boxes])
        if errors[box] < 0.0:
            break
        first, last = bounds[box, 0], bounds[box, 1]
        plane, value = _best_cut(planes, weights, order, first, last, moments)
        if plane < 0:
            errors[box] = -1.0  # all its points are one
            continue
        i, j = first, last
        while i < j:
            if planes[plane, order[i]] < value:
                i += 1
            else:
                j -= 1
                order[i], order[j] = order[j], order[i]
        bounds[box, 1], bounds[n_boxes, 0], bounds[n_boxes, 1] = i, i, last
        errors[box] = _measure(planes, weights, order, first, i)
        errors[n_boxes] = _measure(planes, weights, order, i, last)
        n_boxes += 1
    for number in range(n_boxes):
        for place in range(bounds[number, 0], bounds[number, 1]):
            labels[order[place]] = number
    return n_boxes
