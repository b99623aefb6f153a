"""Statistics of parts of a collection: merged, they are those of the whole, bit for bit; and as bytes."""

import copy
import struct
from functools import cache

import numpy as np
import pytest
import triptych as tp
from hypothesis import given
from hypothesis import strategies as st
from triptych.checksum import crc32c
from triptych.errors import InvalidFrame, InvalidImage, InvalidOption, LimitExceeded, TriptychError
from triptych.fit import CollectionStatistics, components, partfile
from triptych.fit import statistics as statistics_module

SEEDS = st.integers(0, 2**32 - 1)
CUTS = st.lists(st.integers(0, 700), max_size=4).map(sorted)
HEAD = 44


@pytest.fixture(autouse=True, scope="module")
def few_are_many():
    """Let some hundred images be more than are held."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(components, "MIRROR_IMAGES", 80)
        yield


def make_images(seed, n, shape, symmetric=False):
    """Images of few factors and colours; every other one mirrored if symmetric."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(0, 12, (3, *shape)).cumsum(axis=1)
    images = 128 + np.tensordot(rng.normal(0, 1, (n, 3)), factors, 1)
    if symmetric:
        images[::2] = images[::2, :, ::-1]
    return np.clip(np.rint(images / 8) * 8, 0, 255).astype(np.uint8)


def gather(mode, images, **workers):
    statistics = CollectionStatistics(mode)
    statistics.update(images, **{"threads": 1} | workers)
    return statistics


def merge(parts, through_bytes=True):
    total = CollectionStatistics(parts[0].mode)
    for part in parts:
        total.merge(CollectionStatistics.from_bytes(part.to_bytes()) if through_bytes else part)
    return total


def merge_as_tree(parts, draw):
    """Merge neighbours until one is left."""
    parts = [copy.deepcopy(part) for part in parts]
    while len(parts) > 1:
        at = draw(st.integers(0, len(parts) - 2))
        parts[at].merge(parts.pop(at + 1))
    return parts[0]


def cut(images, cuts):
    return [images[a:b] for a, b in zip([0, *cuts], [*cuts, len(images)], strict=True)]


def options_of(mode):
    return {"n_colors": 7, "effort": "fast"} if mode == "kmeans" else {"variance": 0.9}


def check_split(mode, images, cuts, data):
    whole = gather(mode, images)
    parts = [gather(mode, part) for part in cut(images, cuts)]
    assert merge(parts).to_bytes() == whole.to_bytes()
    assert merge_as_tree(parts, data.draw).to_bytes() == whole.to_bytes()
    assert merge(parts).fit(**options_of(mode)) == tp.fit(mode, images, **options_of(mode))
    assert merge(parts).n_images == len(images)
    assert CollectionStatistics.from_bytes(whole.to_bytes()).to_bytes() == whole.to_bytes()


@given(SEEDS, st.integers(1, 700), CUTS, st.data())
def test_components_of_any_parts(seed, n, cuts, data):
    images = make_images(seed, n, (3, 4, 2), symmetric=data.draw(st.booleans()))
    check_split("pca", images, [min(at, n) for at in cuts], data)


@given(SEEDS, st.integers(1, 60), CUTS, st.data())
def test_palettes_of_any_parts(seed, n, cuts, data):
    rng = np.random.default_rng(seed)
    images = [make_images(seed + i, 1, (2, 3, rng.integers(1, 5)))[0] for i in range(n)]
    check_split("kmeans", images, [min(at, n) for at in cuts], data)


@given(SEEDS, st.integers(1, 9), CUTS, st.data())
def test_spectra_of_any_parts(seed, n, cuts, data):
    images = [make_images(seed + i, 1, (2, 1 + i, 6))[0] for i in range(n)]
    check_split("pca", images, [min(at, n) for at in cuts], data)


@given(SEEDS, st.lists(st.integers(0, 400), min_size=1, max_size=4))
def test_update_in_steps_equals_one_update(seed, steps):
    images = make_images(seed, sum(steps), (3, 4, 1))
    for mode in ("kmeans", "pca"):
        statistics = CollectionStatistics(mode)
        at = 0
        for step in steps:
            statistics.update(images[at : at + step])
            at += step
        assert statistics.to_bytes() == gather(mode, images).to_bytes()


@pytest.mark.parametrize("n", [150, 700])
def test_images_whose_statistics_are_held_mirrored_only(n, monkeypatch):
    monkeypatch.setattr(statistics_module, "MAX_SIDE", 20)
    images = make_images(1, n, (4, 6, 1), symmetric=True)
    parts = [gather("pca", part) for part in cut(images, [n // 2])]
    assert merge(parts).fit(variance=0.9) == tp.fit("pca", images, variance=0.9)
    lopsided = make_images(3, 700, (4, 6, 1))
    lopsided[:, :, :3] //= 4
    with pytest.raises(LimitExceeded, match="24 rows"):
        merge([gather("pca", lopsided)]).fit()
    with pytest.raises(LimitExceeded, match="24 rows"):
        tp.fit("pca", lopsided)


@pytest.mark.slow
def test_the_dictionary_that_is_weighed_is_the_same_too():
    images = make_images(4, 300, (8, 8, 1))
    parts = [gather("pca", part) for part in cut(images, [3, 200])]
    merged, whole = merge(parts).fit(), tp.fit("pca", images)
    assert merged == whole
    assert merged.report == whole.report
    assert "weighed" in whole.report


def test_making_a_dictionary_changes_nothing():
    images = make_images(5, 300, (4, 4, 1))
    for mode in ("kmeans", "pca"):
        statistics = gather(mode, images[:270])
        statistics.fit(**options_of(mode))
        statistics.update(images[270:])
        assert statistics.fit(**options_of(mode)) == tp.fit(mode, images, **options_of(mode))


def test_merging_leaves_the_other_as_it_was():
    for mode in ("kmeans", "pca"):
        one, other = (gather(mode, make_images(seed, 300, (2, 2, 1))) for seed in (1, 2))
        before = other.to_bytes()
        merged = merge([one, other], through_bytes=False)
        merged.merge(merged)
        assert merged.n_images == 1200
        assert other.to_bytes() == before


@pytest.mark.parametrize(("mode", "bands"), [("kmeans", 3), ("pca", 3), ("pca", 6)])
def test_a_caller_may_use_an_array_again(mode, bands):
    images = make_images(6, 300, (2, 3, bands))
    array = np.empty_like(images[0])

    def read_into_one_array():
        for image in images:
            array[:] = image
            yield array

    assert gather(mode, read_into_one_array()).to_bytes() == gather(mode, images).to_bytes()


def test_refused():
    pictures, spectra = (
        gather("pca", make_images(1, 2, (2, 3, 1))),
        gather("pca", make_images(1, 2, (2, 3, 7))),
    )
    with pytest.raises(InvalidOption, match="'kmeans', 'pca', not 'svd'"):
        CollectionStatistics("svd")
    with pytest.raises(InvalidOption, match="no statistics for 'gan'"):
        CollectionStatistics("gan")
    with pytest.raises(InvalidOption, match="for 'pca' do not go with those for 'kmeans'"):
        CollectionStatistics("kmeans").merge(pictures)
    with pytest.raises(InvalidImage, match=r"another shape: expected \(2, 3, 1\), got \(3, 2, 1\)"):
        pictures.merge(gather("pca", make_images(1, 2, (3, 2, 1))))
    with pytest.raises(InvalidImage, match="spectra do not go with"):
        pictures.merge(spectra)
    with pytest.raises(InvalidImage, match="another number of bands: expected 7, got 6"):
        spectra.merge(gather("pca", make_images(1, 2, (2, 3, 6))))
    with pytest.raises(InvalidImage, match="at least one image"):
        CollectionStatistics("pca").fit()
    with pytest.raises(InvalidOption, match="n_components is 7, and images"):
        pictures.fit(n_components=7)
    with pytest.raises(InvalidImage, match="image 2 of a collection"):
        pictures.update(make_images(1, 2, (3, 2, 1)))


FILES = {
    "none": ("kmeans", 0, (2, 2, 3)),
    "colors": ("kmeans", 3, (2, 2, 3)),
    "images": ("pca", 3, (2, 2, 1)),
    "scatter": ("pca", 300, (1, 2, 1)),
    "spectra": ("pca", 2, (1, 2, 5)),
}


@cache
def file_of(name):
    mode, n, shape = FILES[name]
    return gather(mode, make_images(1, n, shape)).to_bytes()


def forge(data):
    """Make the checksums right."""
    head, body = data[: HEAD - 4], data[HEAD:-4]
    return head + struct.pack("<I", crc32c(head)) + body + struct.pack("<I", crc32c(body))


@pytest.mark.parametrize("name", FILES)
def test_every_prefix_is_refused(name):
    data = file_of(name)
    CollectionStatistics.from_bytes(data)
    for size in range(len(data)):
        with pytest.raises(tp.FormatError):
            CollectionStatistics.from_bytes(data[:size])
    with pytest.raises(InvalidFrame):
        CollectionStatistics.from_bytes(data + b"\0")


@given(st.sampled_from(sorted(FILES)), st.data())
def test_a_changed_byte_is_found(name, data):
    damaged = bytearray(file_of(name))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(tp.FormatError):
        CollectionStatistics.from_bytes(bytes(damaged))


@given(st.sampled_from(sorted(FILES)), st.data())
def test_forged_bytes_are_refused_or_make_a_dictionary(name, data):
    """Checksums are no protection from malice: whatever passes them raises our errors, or nothing."""
    damaged = bytearray(file_of(name))
    for _ in range(data.draw(st.integers(1, 3))):
        limit = data.draw(st.sampled_from([HEAD - 1, len(damaged) - 1]))
        damaged[data.draw(st.integers(0, limit))] = data.draw(st.integers(0, 255))
    try:
        statistics = CollectionStatistics.from_bytes(forge(bytes(damaged)))
        statistics.fit(**options_of(statistics.mode))
    except TriptychError:
        pass


@pytest.mark.parametrize(
    ("name", "at", "value", "error", "message"),
    [
        ("colors", 0, b"\x88", tp.NotTriptych, "not statistics of a collection"),
        ("colors", 8, b"\2", tp.UnsupportedVersion, "expected 1, got 2"),
        ("colors", 10, b"\3", InvalidFrame, "mode of statistics"),
        ("colors", 12, b"\1", InvalidFrame, r"3 images \(1, 0, 0\)"),
        ("colors", 32, b"\xff\xff", tp.Truncated, "statistics were cut"),
        ("colors", -12, b"\0", InvalidFrame, "counts of colours"),
        ("images", 20, b"\5", InvalidFrame, r"\(2, 2, 5\)"),
        ("scatter", -5, b"\1", InvalidFrame, "sums that no 300 images have"),
        ("spectra", 32, b"\1", InvalidFrame, r"2 images \(0, 0, 5\) with count 1"),
        ("none", 12, b"\1", InvalidFrame, "0 images"),
    ],
)
def test_one_error_for_each_way_to_be_wrong(name, at, value, error, message):
    data = bytearray(file_of(name))
    at %= len(data)
    data[at : at + len(value)] = value
    with pytest.raises(error, match=message):
        CollectionStatistics.from_bytes(forge(bytes(data)))


def test_a_colour_that_is_there_twice():
    data = bytearray(file_of("colors"))
    data[HEAD : HEAD + 4] = data[HEAD + 4 : HEAD + 8]
    with pytest.raises(InvalidFrame, match="twice"):
        CollectionStatistics.from_bytes(forge(bytes(data)))


def test_a_large_shape_costs_nothing():
    data = bytearray(file_of("images"))
    data[12:20] = b"\xff" * 8
    with pytest.raises(tp.Truncated):
        CollectionStatistics.from_bytes(forge(bytes(data)))
    data[24:32] = struct.pack("<Q", partfile.MAX_IMAGES)
    with pytest.raises(LimitExceeded):
        CollectionStatistics.from_bytes(forge(bytes(data)))
