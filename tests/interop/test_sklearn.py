"""The estimators: scikit-learn's own checks; what they fit and code is what dictionaries and streams hold."""

from __future__ import annotations

import io
import itertools
import pickle

import numpy as np
import pandas as pd
import pytest
import triptych as tp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from triptych.interop.sklearn import PaletteQuantizer, PCACodec

PIXELS = "pixels have 1 to 4 channels, and the check has more columns"


def expected_failures(estimator):
    if isinstance(estimator, PCACodec):
        return {}
    return dict.fromkeys(["check_dtype_object", "check_estimators_dtypes", "check_fit2d_1sample"], PIXELS)


@parametrize_with_checks([PaletteQuantizer(), PCACodec()], expected_failed_checks=expected_failures)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


def rows_of(images):
    return images.reshape(len(images), -1)


def in_parts(estimator, rows, cuts):
    """Fit rows in parts, none of them empty."""
    bounds = sorted({0, len(rows), *(cut % len(rows) for cut in cuts)})
    for start, stop in itertools.pairwise(bounds):
        estimator.partial_fit(rows[start:stop])
    return estimator


pixels = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 30), st.integers(1, 4)),
    elements=st.sampled_from([0, 1, 90, 91, 200, 255]),
)
cuts = st.lists(st.integers(0, 100), max_size=3)


@pytest.mark.parametrize("estimator", [PaletteQuantizer(4), PCACodec(1)], ids=lambda e: type(e).__name__)
def test_further_parts_are_in_the_range_of_the_first_or_a_given_one(estimator):
    first, second = np.random.default_rng(0).random((2, 8, 3)) * [[[1]], [[2]]]
    estimator = clone(estimator).partial_fit(first)
    with pytest.raises(tp.InvalidOption, match="give the range of all parts as value_range"):
        estimator.partial_fit(second)
    parts = clone(estimator).set_params(value_range=(0, 2)).partial_fit(first).partial_fit(second)
    whole = clone(estimator).set_params(value_range=(0, 2)).fit(np.concatenate([first, second]))
    assert np.array_equal(parts.transform(second), whole.transform(second))


@given(pixels, st.integers(1, 9), cuts)
def test_a_palette_is_that_of_fit(rows, n_colors, cuts):
    """In whatever parts and order; codes are the nearest colours, and come back as such."""
    image = rows[None] if rows.shape[1] > 1 else rows[None, :, 0]
    book = tp.fit("kmeans", [image], n_colors=n_colors)
    quantizer = PaletteQuantizer(n_colors).fit(rows)
    assert quantizer.to_dictionary().content == book.content
    assert quantizer.to_dictionary().wcss == book.wcss
    parts = in_parts(PaletteQuantizer(n_colors), rows[::-1], cuts)
    assert parts.to_dictionary() == quantizer.to_dictionary()
    codes = quantizer.transform(rows)
    back = quantizer.inverse_transform(codes)
    assert (codes.dtype, codes.shape, back.dtype, back.shape) == (
        np.int64,
        (len(rows), 1),
        np.uint8,
        rows.shape,
    )
    np.testing.assert_array_equal(back, quantizer.cluster_centers_[quantizer.predict(rows)])
    restored = tp.decode(tp.encode(image, dictionary=book)).reshape(rows.shape)
    np.testing.assert_array_equal(back, restored)


@settings(max_examples=20)
@given(cuts, st.sampled_from([3, 0.9, None]), st.randoms(use_true_random=False))
def test_components_are_those_of_fit(sprites, cuts, n_components, random):
    images = sprites[random.sample(range(len(sprites)), 24)]
    codec = PCACodec(n_components, images.shape[1:]).fit(rows_of(images))
    if n_components is not None:
        option = {"variance" if n_components == 0.9 else "n_components": n_components}
        assert codec.to_dictionary() == tp.fit("pca", images, **option)
    first = min((cut % 24 for cut in cuts if cut % 24), default=24)
    if n_components != 3 or first >= 3:
        parts = in_parts(PCACodec(n_components, images.shape[1:]), rows_of(images), cuts)
        assert parts.to_dictionary() == codec.to_dictionary()


def test_codes_are_what_a_stream_holds(sprites):
    codec = PCACodec(20, (16, 16, 3)).fit(rows_of(sprites))
    codes = codec.transform(rows_of(sprites))
    assert (codes.dtype, codes.shape) == (np.int32, (48, 20))
    stream = io.BytesIO()
    with tp.Writer(stream, dictionary=codec.to_dictionary(), effort="fast") as writer:
        for sprite in sprites:
            writer.write(sprite)
    for n_components in (20, 3):
        shown = rows_of(np.stack(list(tp.Reader(stream.getvalue(), n_components=n_components))))
        np.testing.assert_array_equal(codec.inverse_transform(codes[:, :n_components]), shown)


def test_attributes_of_components(photo):
    """They say what codes mean: a code of 1 is a step along a component from the mean."""
    tiles = photo.reshape(12, 8, 16, 8, 3).swapaxes(1, 2).reshape(-1, 8, 8, 3)
    tiles[:, :, :4] //= 3  # not its own mirror image
    images = rows_of(tiles)
    codec = PCACodec(30, (8, 8, 3), quality=90).fit(images)
    assert codec.n_components_ == 30
    assert codec.components_.shape == (30, 192)
    np.testing.assert_allclose(codec.components_ @ codec.components_.T, np.eye(30), atol=0.05)
    np.testing.assert_allclose(codec.mean_, images.mean(axis=0), atol=0.5)
    shares = codec.explained_variance_ratio_
    assert (np.diff(shares) <= 0).all()
    scores = (images - images.mean(axis=0)) @ codec.components_.T
    np.testing.assert_allclose(shares, scores.var(axis=0) / images.var(axis=0).sum(), rtol=0.1)
    assert np.abs(codec.transform(images) * codec.step_ - scores).max() < 2 * codec.step_
    from_file = PCACodec.from_dictionary(codec.to_dictionary().to_bytes())
    np.testing.assert_allclose(from_file.explained_variance_ratio_, shares, rtol=0.05)


@pytest.mark.parametrize("scale", ["uint8", "unit", "given"])
@pytest.mark.parametrize("kind", [PaletteQuantizer, PCACodec])
def test_a_fitted_estimator_is_saved_as_a_dictionary(sprites, tmp_path, kind, scale):
    if kind is PCACodec:
        estimator, rows = PCACodec(12, (16, 16, 3)), rows_of(sprites)
    else:
        estimator, rows = PaletteQuantizer(9), sprites.reshape(-1, 3)
    if scale != "uint8":
        rows = rows / 255
    if scale == "given":
        estimator.set_params(value_range=(-1, 2))
    codes = estimator.fit_transform(rows)
    estimator.to_dictionary().save(tmp_path / "book.tych")
    again = kind.from_dictionary(tmp_path / "book.tych")
    np.testing.assert_array_equal(again.transform(rows), codes)
    np.testing.assert_array_equal(again.inverse_transform(codes), estimator.inverse_transform(codes))
    assert again.range_ == {"uint8": (0, 255), "unit": (0, 1), "given": (-1, 2)}[scale]
    assert ("range" in again.to_dictionary().params) == (scale != "uint8")
    with pytest.raises(tp.InvalidOption, match="partial_fit cannot go on from a dictionary"):
        again.partial_fit(rows)
    refitted = clone(again).fit(rows).to_dictionary()
    assert refitted.content == estimator.to_dictionary().content
    loaded = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(loaded.transform(rows), codes)
    assert loaded.partial_fit(rows).to_dictionary().kind == again.to_dictionary().kind


def test_numbers_are_scaled_as_the_range_says(sprites):
    """Floats from 0 to 1 give the codes of their uint8; values beyond are cut; back come floats."""
    rows = sprites.reshape(-1, 3)
    expected = PaletteQuantizer(9).fit(rows)
    quantizer = PaletteQuantizer(9, value_range=(0, 1)).fit(rows / 255)
    assert quantizer.to_dictionary().content == expected.to_dictionary().content
    np.testing.assert_array_equal(quantizer.predict(rows / 255), expected.predict(rows))
    np.testing.assert_allclose(quantizer.cluster_centers_ * 255, expected.cluster_centers_)
    np.testing.assert_array_equal(quantizer.predict([[-1, 2, 7]]), quantizer.predict([[0, 1, 1]]))
    whole = PaletteQuantizer(9, value_range=(0, 255)).fit(rows.astype(int))
    assert whole.to_dictionary() == expected.to_dictionary()


def test_in_a_pipeline_with_names(sprites):
    frame = pd.DataFrame(rows_of(sprites)[:, :12]).rename(columns="p{}".format)
    codec = PCACodec(2).set_output(transform="pandas")
    pipeline = make_pipeline(FunctionTransformer(feature_names_out="one-to-one"), codec)
    codes = pipeline.fit_transform(frame)
    assert list(codes.columns) == list(pipeline.get_feature_names_out()) == ["pcacodec0", "pcacodec1"]
    assert pipeline.inverse_transform(codes).shape == frame.shape
    assert list(codec.feature_names_in_) == list(frame.columns)
    assert list(PaletteQuantizer().fit(frame.iloc[:, :3]).get_feature_names_out()) == ["palettequantizer0"]


def test_data_without_variance():
    codec = PCACodec().fit(np.full((5, 4), 0.5))
    assert codec.transform(np.full((3, 4), 0.5)).shape == (3, 0)
    np.testing.assert_array_equal(codec.inverse_transform(np.empty((2, 0))), np.full((2, 4), 0.5))
    again = PCACodec.from_dictionary(codec.to_dictionary())
    np.testing.assert_array_equal(again.inverse_transform(np.empty((2, 0))), np.full((2, 4), 0.5))
    quantizer = PaletteQuantizer().fit(np.full((5, 1), -3.0))
    assert quantizer.cluster_centers_.tolist() == [[-3.0]]
    assert PaletteQuantizer.from_dictionary(quantizer.to_dictionary()).cluster_centers_.tolist() == [[-3.0]]


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (PaletteQuantizer(0), "n_colors must be"),
        (PaletteQuantizer("auto"), "n_colors must be an integer"),
        (PaletteQuantizer(effort="slow"), "effort must be one of"),
        (PaletteQuantizer(value_range=(1, 0)), "value_range must be two numbers"),
        (PaletteQuantizer(value_range="full"), "value_range must be two numbers"),
        (PCACodec(0), "n_components must be"),
        (PCACodec(5), "n_components is 5, and images"),
        (PCACodec(1.5), "variance must be above 0 and at most 1"),
        (PCACodec(quality=101), "quality must be"),
        (PCACodec(image_shape=(4,)), "image_shape must be"),
        (PCACodec(image_shape=4), "image_shape must be"),
        (PCACodec(image_shape=(1, 1, 5)), "image_shape must be"),
        (PCACodec(image_shape=(2, 3)), "columns of X for images"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_wrong_parameters(estimator, message, method):
    estimator = clone(estimator)
    with pytest.raises(tp.EncodeError, match=message) as caught:
        getattr(estimator, method)(np.eye(4, dtype=np.uint8)[:, : 4 if "PCA" in repr(estimator) else 3])
    assert isinstance(caught.value, ValueError)
    with pytest.raises(NotFittedError):
        estimator.to_dictionary()


def test_a_collection_that_is_its_own_mirror_image(photo):
    """Half of its basis is stored, as by `triptych.fit`: mean and components are even or odd."""
    tiles = photo.reshape(12, 8, 16, 8, 3).swapaxes(1, 2).reshape(-1, 8, 8, 3)
    codec = PCACodec(5, (8, 8, 3)).fit(rows_of(np.concatenate([tiles, tiles[:, :, ::-1]])))
    assert codec.to_dictionary().mirrored
    mean = codec.mean_.reshape(8, 8, 3)
    np.testing.assert_array_equal(mean, mean[:, ::-1])
    for component in codec.components_.reshape(5, 8, 8, 3):
        assert np.array_equal(component, component[:, ::-1]) or np.array_equal(component, -component[:, ::-1])


def test_codes_that_no_image_has(sprites):
    codec = PCACodec(4, (16, 16, 3)).fit(rows_of(sprites))
    for codes in ([[1 << 29, 0]], [[0, 0, 0, -(1 << 62)]]):
        with pytest.raises(tp.InvalidImage, match="row 0 holds codes that no image has"):
            codec.inverse_transform(codes)
    with pytest.raises(tp.InvalidImage, match="columns of codes: expected at most 4, got 5"):
        codec.inverse_transform([[0] * 5])
    quantizer = PaletteQuantizer(2).fit(np.eye(3, dtype=np.uint8))
    for codes in ([[2]], [[-1]], [[0, 0]], [[0.5]]):
        with pytest.raises(tp.InvalidImage, match="codes are one column of integers from 0 to 1"):
            quantizer.inverse_transform(codes)


def test_codes_may_come_back_as_floats(sprites):
    codec = PCACodec(4, (16, 16, 3)).fit(rows_of(sprites))
    codes = codec.transform(rows_of(sprites))
    noise = np.random.default_rng(0).uniform(-0.4, 0.4, codes.shape)
    np.testing.assert_array_equal(codec.inverse_transform(codes + noise), codec.inverse_transform(codes))
    quantizer = PaletteQuantizer(64).fit(np.random.default_rng(0).integers(0, 256, (500, 3), np.uint8))
    indices = np.arange(64, dtype=np.float32)[:, None]
    scaler = StandardScaler().fit(indices)
    np.testing.assert_array_equal(
        quantizer.inverse_transform(scaler.inverse_transform(scaler.transform(indices))),
        quantizer.inverse_transform(indices),
    )


def test_dictionaries_of_other_kinds(sprites):
    palette = tp.fit("kmeans", sprites, n_colors=4)
    with pytest.raises(tp.DictionaryMismatch):
        PCACodec.from_dictionary(palette)
    with pytest.raises(tp.DictionaryMismatch):
        PaletteQuantizer.from_dictionary("photo")
    assert PaletteQuantizer.from_dictionary(palette).n_features_in_ == 3


@pytest.mark.parametrize("n_first", [30, 1025])
def test_a_part_that_is_refused_is_not_counted(n_first):
    """Whether images are held, or statistics of them."""
    rows = np.random.default_rng(5).integers(0, 256, (n_first + 30, 12)).astype(np.uint8)
    codec = PCACodec(4).fit(rows[:n_first])
    before = codec.to_dictionary()
    for n_components, error in ((999, tp.InvalidOption), ("many", tp.InvalidOption)):
        with pytest.raises(error):
            codec.set_params(n_components=n_components).partial_fit(rows[n_first:])
        assert codec.to_dictionary() == before
    codec.set_params(n_components=4).partial_fit(rows[n_first:])
    assert codec.to_dictionary() == PCACodec(4).fit(rows).to_dictionary()


def test_parts_of_fewer_images_than_components():
    """A first one is refused, as by IncrementalPCA of scikit-learn; later ones may be of any size."""
    rows = np.random.default_rng(6).integers(0, 256, (20, 12)).astype(np.uint8)
    codec = PCACodec(8)
    with pytest.raises(tp.InvalidImage, match="fewer images than components"):
        codec.partial_fit(rows[:7])
    codec.partial_fit(rows[:8])
    with pytest.raises(tp.InvalidImage, match="fewer images than components"):
        codec.set_params(n_components=11).partial_fit(rows[8:10])
    codec.set_params(n_components=8).partial_fit(rows[8:10]).partial_fit(rows[10:])
    assert codec.to_dictionary() == PCACodec(8).fit(rows).to_dictionary()


@pytest.mark.parametrize("kind", [PaletteQuantizer, PCACodec])
@pytest.mark.parametrize("low_high", [(-1e308, 1e308), (0.0, 5e-324)])
def test_a_range_that_floats_do_not_divide(kind, low_high):
    rows = np.array(low_high)[:, None]
    with pytest.raises(tp.InvalidImage, match="cannot be scaled to 0 to 255"):
        kind().fit(rows)
    with pytest.raises(tp.InvalidOption, match="value_range must be two numbers"):
        kind(value_range=low_high).fit(rows)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_whole_range_of_narrow_floats(dtype):
    most = float(np.finfo(dtype).max)
    centers = PaletteQuantizer(3).fit(np.array([[-most], [0], [most]], dtype)).cluster_centers_
    np.testing.assert_allclose(sorted(centers[:, 0]), [-most, 0, most], atol=most / 255)
