"""Slow and obvious twins of the k-means kernels. Nothing here imports the code it checks."""

from __future__ import annotations

import numpy as np


def metric_planes(colors):
    """Premultiplied planes, in eighths of a level, of RGBA colours: int64 (4, n)."""
    planes = []
    for r, g, b, a in np.asarray(colors).astype(int).tolist():
        planes.append([(8 * c * a * 2 + 255) // 510 for c in (r, g, b)] + [8 * a])
    return np.array(planes, np.int64).reshape(-1, 4).T


def pack(planes):
    """Two planes a word, each times 16."""
    words = planes.astype(np.uint64) * 16
    return (words[0::2] + (words[1::2] << np.uint64(16))).astype(np.uint32)


def distances(points, centers):
    """Squared distances (n, k) of planes (4, n) from planes (4, k)."""
    return ((points[:, :, None].astype(np.int64) - centers[:, None, :].astype(np.int64)) ** 2).sum(axis=0)


def nearest(points, centers):
    """Index of the nearest centre, the lower among equals."""
    return distances(points, centers).argmin(axis=1)


def unique_counts(keys):
    """Distinct keys in order of first appearance, their counts, the number of each key."""
    numbers, counts, inverse = {}, [], []
    for key in keys.tolist():
        if key not in numbers:
            numbers[key] = len(numbers)
            counts.append(0)
        counts[numbers[key]] += 1
        inverse.append(numbers[key])
    return list(numbers), counts, inverse


def lloyd(points, weights, centers, n_fixed, max_iterations):
    """Plain Lloyd with rounded means; gives centres and how many assignments were made."""
    centers = centers.astype(np.int64).copy()
    old = None
    for iteration in range(max_iterations):
        labels = nearest(points, centers)
        if old is not None and (labels == old).all():
            return centers, iteration + 1
        old = labels
        before = centers.copy()
        for j in range(n_fixed, centers.shape[1]):
            weight = int(weights[labels == j].sum())
            if weight:
                total = (points[:, labels == j].astype(np.int64) * weights[labels == j]).sum(axis=1)
                centers[:, j] = (2 * total + weight) // (2 * weight)
        if (centers == before).all():
            return centers, iteration + 1
    return centers, max_iterations


def cluster_measures(points, weights, centers):
    """Weighted error of each cluster, and how much it grows if its centre goes (2 centres or more)."""
    table = distances(points, centers)
    labels = table.argmin(axis=1)
    ordered = np.sort(table, axis=1)
    k = centers.shape[1]
    errors, utilities = [0] * k, [0] * k
    for i, label in enumerate(labels.tolist()):
        errors[label] += int(weights[i]) * int(ordered[i, 0])
        utilities[label] += int(weights[i]) * int(ordered[i, 1] - ordered[i, 0])
    return errors, utilities


def _box_error(points, weights):
    total = 0.0
    mass = float(weights.sum())
    for plane in points.astype(np.int64):
        linear, square = float((weights * plane).sum()), float((weights * plane * plane).sum())
        total += square - linear * linear / mass
    return total


def _box_cut(points, weights):
    """Plane and value of the cut with the largest between-box variance, or None."""
    best, cut = -1.0, None
    points = points.astype(np.int64)
    for axis in range(4):
        low, high = int(points[axis].min()), int(points[axis].max())
        if low == high:
            continue
        shift = 0
        while (high - low) >> shift >= 64:
            shift += 1
        for place in range(63):
            value = low + ((place + 1) << shift)
            left = points[axis] < value
            if left.all() or not left.any():
                continue
            gain = 0.0
            for plane in points:
                part, rest = float((weights * plane)[left].sum()), float((weights * plane)[~left].sum())
                gain += part * part / float(weights[left].sum()) + rest * rest / float(weights[~left].sum())
            if gain > best:
                best, cut = gain, (axis, value)
    return cut


def variance_cuts(points, weights, n_boxes):
    """Wu's greedy cuts: a list of sets of points."""
    boxes, errors = [np.arange(points.shape[1])], [_box_error(points, weights)]
    while len(boxes) < n_boxes and max(errors) >= 0:
        box = errors.index(max(errors))
        members = boxes[box]
        cut = _box_cut(points[:, members], weights[members])
        if cut is None:
            errors[box] = -1.0
            continue
        left = points[cut[0], members] < cut[1]
        boxes[box], boxes_new = members[left], members[~left]
        boxes.append(boxes_new)
        errors[box] = _box_error(points[:, boxes[box]], weights[boxes[box]])
        errors.append(_box_error(points[:, boxes_new], weights[boxes_new]))
    return [set(members.tolist()) for members in boxes]


def floyd_steinberg(points, centers, height, width):
    """Serpentine error diffusion in sixteenths of the metric's unit."""
    value = points.reshape(4, height, width).astype(int)
    carry = np.zeros((4, height + 1, width + 2), int)
    labels = np.zeros((height, width), np.uint8)
    for y in range(height):
        step = 1 if y % 2 == 0 else -1
        for x in range(width) if step == 1 else range(width - 1, -1, -1):
            wanted = np.clip(value[:, y, x] + (carry[:, y, x + 1] + 8) // 16, 0, 2040)
            labels[y, x] = nearest(wanted[:, None], centers)[0]
            error = wanted - centers[:, labels[y, x]]
            carry[:, y, x + 1 + step] += 7 * error
            carry[:, y + 1, x + 1 - step] += 3 * error
            carry[:, y + 1, x + 1] += 5 * error
            carry[:, y + 1, x + 1 + step] += error
    return labels


def neighbor_counts(labels, k):
    """Pairs of (neighbour, pixel) for the west, north and north-east neighbour."""
    counts = np.zeros((3, k, k), int)
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            for n, (dy, dx) in enumerate(((0, -1), (-1, 0), (-1, 1))):
                if y + dy >= 0 and 0 <= x + dx < width:
                    counts[n, labels[y + dy, x + dx], labels[y, x]] += 1
    return counts


def cheapest(points, centers, rates, height, width):
    """Raster scan of the smallest distance / 8 + rates, the lower index among equals."""
    table = distances(points, centers) // 8
    labels = np.zeros((height, width), int)
    for y in range(height):
        for x in range(width):
            if x == 0 and y == 0:
                west = north = corner = 0
            else:
                west = labels[y, x - 1] if x else labels[y - 1, x]
                north = labels[y - 1, x] if y else west
                corner = labels[y - 1, x + 1] if y and x + 1 < width else north
            cost = table[y * width + x] + rates[0][west] + rates[1][north] + rates[2][corner]
            labels[y, x] = cost.argmin()
    return labels
