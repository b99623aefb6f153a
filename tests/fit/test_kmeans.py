import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import palette as twin
from triptych.errors import InvalidImage, InvalidOption
from triptych.fit.colors import pack_planes, round_centers
from triptych.fit.kmeans import (
    Histogram,
    Palette,
    assign_rate_aware,
    count_colors,
    dither_pixels,
    fit_auto,
    fit_palette,
    map_pixels,
    palette_psnr,
)

SEEDS = st.integers(0, 2**32 - 1)
EFFORTS = st.sampled_from(["fast", "default", "max"])


def rows_of(colors):
    return [tuple(row) for row in colors.tolist()]


def picture(seed, *, opaque, height=24, width=30):
    """A few smooth gradients with noise, or flat areas; sometimes mostly transparent."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, height)[:, None, None] * rng.integers(-200, 200, 4)
    tilt = np.linspace(0, 1, width)[None, :, None] * rng.integers(-200, 200, 4)
    noise = rng.normal(0, rng.choice([0.0, 2.0, 30.0]), (height, width, 4))
    pixels = np.clip(ramp + tilt + noise + 128, 0, 255).astype(np.uint8)
    if seed % 3 == 0:
        pixels = pixels // 64 * 64
    if opaque:
        pixels[..., 3] = 255
    return pixels


PICTURES = st.builds(lambda seed, opaque: picture(seed, opaque=opaque), SEEDS, st.booleans())


@given(PICTURES)
def test_colors_are_counted(pixels):
    histogram, inverse = count_colors(pixels)
    keys = pixels.reshape(-1, 4).astype(np.int64) @ np.array([1, 256, 65536, 2**24])
    unique, counts, numbers = twin.unique_counts(keys)
    assert (histogram.colors.astype(np.int64) @ np.array([1, 256, 65536, 2**24])).tolist() == unique
    assert histogram.weights.tolist() == counts
    assert inverse.tolist() == numbers


def test_many_distinct_colors_are_counted():
    keys = np.random.default_rng(0).permutation(300_000).astype("<u4")
    pixels = np.concatenate([keys, keys[::-1]]).view(np.uint8).reshape(600, 1000, 4)
    histogram, inverse = count_colors(pixels)
    assert (histogram.weights == 2).all()
    assert (histogram.colors[inverse].reshape(pixels.shape) == pixels).all()


@given(PICTURES, PICTURES)
def test_merging_counts_both(one, other):
    merged = count_colors(one)[0].merge(count_colors(other)[0])
    whole, _ = count_colors(np.concatenate([one.reshape(-1, 4), other.reshape(-1, 4)]))
    assert rows_of(merged.colors) == rows_of(whole.colors)
    assert merged.weights.tolist() == whole.weights.tolist()


@settings(max_examples=40)
@given(PICTURES, st.integers(1, 256), EFFORTS)
def test_wcss_is_the_error_of_the_map_and_the_count_is_as_asked(pixels, n_colors, effort):
    histogram, inverse = count_colors(pixels)
    palette = fit_palette(histogram, n_colors, effort=effort)
    assert len(palette.colors) == min(n_colors, len(histogram.colors))
    assert len(set(rows_of(palette.colors))) == len(palette.colors)
    labels = map_pixels(histogram.colors, inverse, palette.colors)
    points, centers = twin.metric_planes(pixels.reshape(-1, 4)), twin.metric_planes(palette.colors)
    best = twin.distances(points, centers).min(axis=1)
    assert (((points - centers[:, labels]) ** 2).sum(axis=0) == best).all()
    assert palette.wcss == best.sum() / 64
    if histogram.opaque:
        assert (palette.colors[:, 3] == 255).all()
        assert palette.wcss == ((pixels.reshape(-1, 4) - palette.colors[labels].astype(int)) ** 2).sum()


@given(PICTURES, st.integers(0, 3), EFFORTS)
def test_few_colors_are_kept_exactly(pixels, spare, effort):
    pixels = pixels // 86 * 85
    histogram, inverse = count_colors(pixels)
    n_colors = len(histogram.colors) + spare
    palette = fit_palette(histogram, n_colors, effort=effort)
    assert set(rows_of(palette.colors)) == set(rows_of(histogram.colors))
    assert palette.wcss == 0
    labels = map_pixels(histogram.colors, inverse, palette.colors)
    assert (palette.colors[labels].reshape(pixels.shape) == pixels).all()


@settings(max_examples=30)
@given(PICTURES, st.integers(2, 40), st.integers(0, 5), EFFORTS, SEEDS)
def test_kept_colors_come_out_exactly_and_once(pixels, n_colors, n_kept, effort, seed):
    rng = np.random.default_rng(seed)
    histogram, _ = count_colors(pixels)
    foreign = rng.integers(0, 256, (n_kept, 4)).astype(np.uint8)
    keep = np.concatenate([foreign, histogram.colors[: n_kept // 2]])[:n_colors]
    palette = fit_palette(histogram, n_colors, effort=effort, keep=keep)
    rows = rows_of(palette.colors)
    assert len(set(rows)) == len(rows)
    assert set(rows_of(keep)) <= set(rows)
    assert len(rows) == min(n_colors, len(set(rows_of(histogram.colors)) | set(rows_of(keep))))


@settings(max_examples=30)
@given(PICTURES, st.integers(1, 64), EFFORTS, SEEDS)
def test_the_order_of_pixels_does_not_matter(pixels, n_colors, effort, seed):
    histogram, _ = count_colors(pixels)
    order = np.random.default_rng(seed).permutation(len(histogram.colors))
    shuffled = Histogram(histogram.colors[order], histogram.weights[order])
    one = fit_palette(histogram, n_colors, effort=effort, seed=seed)
    other = fit_palette(shuffled, n_colors, effort=effort, seed=seed)
    assert rows_of(one.colors) == rows_of(other.colors)
    assert one.wcss == other.wcss


@settings(max_examples=20)
@given(PICTURES, st.integers(2, 64))
def test_effort_and_colors_do_not_make_it_much_worse(pixels, n_colors):
    histogram, _ = count_colors(pixels)
    fast = fit_palette(histogram, n_colors, effort="fast")
    default = fit_palette(histogram, n_colors)
    most = fit_palette(histogram, n_colors, effort="max")
    more = fit_palette(histogram, 2 * n_colors)
    allowance = 4.0 * histogram.n_pixels  # rounding of the palette to whole levels
    assert default.wcss <= 1.1 * fast.wcss + allowance
    assert most.wcss <= 1.02 * default.wcss + allowance
    assert more.wcss <= default.wcss + allowance


@pytest.mark.parametrize("opaque", [True, False])
def test_a_fit_of_separate_clusters_finds_them(opaque):
    rng = np.random.default_rng(1)
    corners = np.stack(np.meshgrid([20, 80], [20, 80], [20, 80])).reshape(3, -1).T
    means = np.column_stack([corners, np.full(8, 255) if opaque else 90 + corners[:, 0] // 2])
    pixels = np.clip(np.repeat(means, 500, axis=0) + rng.integers(-2, 3, (4000, 4)), 0, 255).astype(np.uint8)
    if opaque:
        pixels[:, 3] = 255
    histogram, _ = count_colors(pixels)
    palette = fit_palette(histogram, 8, effort="fast")
    assert {tuple(row) for row in means.tolist()} == {
        min(rows_of(means), key=lambda mean: sum((a - b) ** 2 for a, b in zip(mean, row, strict=True)))
        for row in rows_of(palette.colors)
    }


def test_transparent_colors_are_one_point_and_still_come_back():
    colors = np.array([[i, 0, 0, 0] for i in range(9)] + [[9, 9, 9, 255]], np.uint8)
    histogram, inverse = count_colors(colors)
    assert fit_palette(histogram, 2).wcss == 0
    assert len(fit_palette(histogram, 5).colors) == 5
    exact = fit_palette(histogram, 10)
    assert (exact.colors[map_pixels(histogram.colors, inverse, exact.colors)] == colors).all()


def test_a_kept_color_attracts_no_free_one():
    pixels = np.zeros((100, 4), np.uint8) + np.array([10, 20, 30, 255], np.uint8)
    pixels[:50] = [200, 200, 200, 255]
    pixels[0] = [199, 200, 200, 255]
    palette = fit_palette(count_colors(pixels)[0], 2, keep=np.array([[200, 200, 200, 255]], np.uint8))
    assert rows_of(palette.colors) == [(200, 200, 200, 255), (10, 20, 30, 255)]
    assert palette.wcss == 1


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 4), min_size=1, max_size=40))
def test_rounded_centers_of_visible_colors_are_those_colors(rows):
    colors = np.array(rows, np.uint8)
    planes = twin.metric_planes(colors)
    back = round_centers(planes.astype(np.int32))
    assert (back[:, 3] == colors[:, 3]).all()
    # A step of a unit of the metric is 255 / (8 alpha) levels: exact from alpha 32 on.
    assert (back[colors[:, 3] >= 32] == colors[colors[:, 3] >= 32]).all()
    assert (pack_planes(planes) == twin.pack(planes)).all()


@pytest.mark.parametrize("n_colors", [0, 257, -1])
def test_wrong_numbers_of_colors_are_refused(n_colors):
    with pytest.raises(InvalidOption, match="n_colors"):
        fit_palette(count_colors(picture(1, opaque=True))[0], n_colors)


def test_more_kept_colors_than_colors_are_refused():
    histogram, _ = count_colors(picture(1, opaque=True))
    with pytest.raises(InvalidOption, match="keep"):
        fit_palette(histogram, 2, keep=np.arange(12, dtype=np.uint8).reshape(3, 4))


def test_an_empty_histogram_is_refused():
    with pytest.raises(InvalidImage):
        fit_palette(Histogram(np.empty((0, 4), np.uint8), np.empty(0, np.int64)), 2)


@settings(max_examples=20)
@given(PICTURES, st.floats(10, 60))
def test_the_smallest_palette_that_meets_a_psnr(pixels, target):
    histogram, _ = count_colors(pixels)
    palette = fit_auto(histogram, target, effort="fast")
    n_colors = len(palette.colors)
    if n_colors < 256:
        assert palette_psnr(histogram, palette) >= target
    if n_colors > 1:
        fewer = fit_palette(histogram, n_colors - 1, effort="fast")
        assert palette_psnr(histogram, fewer) < target


def test_psnr_counts_the_alpha_of_pictures_that_have_one():
    opaque = Histogram(np.array([[0, 0, 0, 255]], np.uint8), np.array([10]))
    clear = Histogram(np.array([[0, 0, 0, 0]], np.uint8), np.array([10]))
    colors = np.zeros((1, 4), np.uint8)
    assert palette_psnr(opaque, Palette(colors, 30.0)) == pytest.approx(20 * np.log10(255))
    assert palette_psnr(clear, Palette(colors, 40.0)) == pytest.approx(20 * np.log10(255))


@settings(max_examples=25)
@given(PICTURES, st.integers(1, 20))
def test_dithering_is_that_of_the_twin(pixels, n_colors):
    palette = fit_palette(count_colors(pixels)[0], n_colors, effort="fast")
    points, centers = twin.metric_planes(pixels.reshape(-1, 4)), twin.metric_planes(palette.colors)
    expected = twin.floyd_steinberg(points, centers, *pixels.shape[:2])
    assert (dither_pixels(pixels, palette.colors) == expected).all()


def test_dithering_keeps_the_mean():
    pixels = np.full((64, 64, 4), 255, np.uint8)
    pixels[..., :3] = 100
    colors = np.array([[0, 0, 0, 255], [255, 255, 255, 255]], np.uint8)
    shown = colors[dither_pixels(pixels, colors)]
    assert shown[..., 0].mean() == pytest.approx(100, abs=2)


def mapped(pixels, n_colors):
    histogram, inverse = count_colors(pixels)
    palette = fit_palette(histogram, n_colors, effort="fast")
    plain = map_pixels(histogram.colors, inverse, palette.colors).reshape(pixels.shape[:2])
    return histogram, inverse, plain, palette.colors


@given(PICTURES, st.integers(1, 40))
def test_rate_aware_without_strength_is_the_plain_map(pixels, n_colors):
    histogram, inverse, plain, colors = mapped(pixels, n_colors)
    labels, same = assign_rate_aware(histogram, inverse, plain, colors, 0.0)
    assert (labels == plain).all()
    assert (same == colors).all()


@given(PICTURES, st.integers(1, 40), st.floats(0.01, 10), st.integers(0, 3))
def test_rate_aware_maps_use_all_colors_and_keep_the_kept(pixels, n_colors, strength, n_kept):
    histogram, inverse, plain, colors = mapped(pixels, n_colors)
    keep = colors[:n_kept]
    labels, moved = assign_rate_aware(histogram, inverse, plain, colors, strength, keep=keep)
    assert labels.shape == plain.shape
    assert labels.dtype == moved.dtype == np.uint8
    rows = rows_of(moved)
    assert len(set(rows)) == len(rows) <= len(colors)
    assert set(rows_of(keep)) <= set(rows)
    assert {row for row in rows if row not in rows_of(keep)} <= {rows[i] for i in np.unique(labels)}


def test_rate_aware_maps_are_cheaper_and_less_exact():
    histogram, inverse, plain, colors = mapped(picture(1, opaque=True, height=100, width=120), 16)

    def changes_and_error(labels, palette):
        pixels = histogram.colors[inverse].reshape(*labels.shape, 4).astype(int)
        return (labels[:, 1:] != labels[:, :-1]).sum(), ((pixels - palette[labels]) ** 2).sum()

    changes, error = changes_and_error(plain, colors)
    for strength in (0.3, 3.0):
        labels, moved = assign_rate_aware(histogram, inverse, plain, colors, strength)
        next_changes, next_error = changes_and_error(labels, moved)
        assert next_changes < changes
        assert next_error > error
        changes, error = next_changes, next_error


@pytest.mark.parametrize("strength", [-1.0, float("nan"), float("inf")])
def test_wrong_strengths_are_refused(strength):
    histogram, inverse, plain, colors = mapped(picture(1, opaque=True), 4)
    with pytest.raises(InvalidOption, match="strength"):
        assign_rate_aware(histogram, inverse, plain, colors, strength)
