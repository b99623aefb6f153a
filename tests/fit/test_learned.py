"""What dictionaries give of what they learned."""

import numpy as np
import pytest
import triptych as tp
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from smallbook import photograph, small_dictionary

ARRAYS = "palette", "components", "mean", "explained_variance_ratio_"


def gradients():
    """Pictures that are combinations of few, with a little noise, and no mirror images of each other."""
    random = np.random.default_rng(5)
    y, x = np.mgrid[:12, :10]
    bases = np.stack([np.sin((x * a + y * b) / 7 + a) for a, b in random.uniform(-4, 4, (12, 2))])
    weights = random.normal(0, 60 / (1 + np.arange(12)), (500, 12))
    pictures = 128 + np.tensordot(weights, bases, 1) + random.normal(0, 2, (500, 12, 10))
    return np.clip(pictures, 0, 255).astype(np.uint8)


COLLECTIONS = {
    "digits": lambda: (load_digits().images * 15.9375).astype(np.uint8),
    "gradients": gradients,
}


@pytest.mark.parametrize("variance", [0.9, 0.95, 0.98])
@pytest.mark.parametrize("name", COLLECTIONS)
def test_as_many_components_as_in_scikit_learn(name, variance):
    images = COLLECTIONS[name]()
    theirs = PCA(n_components=variance, svd_solver="full").fit(images.reshape(len(images), -1))
    book = tp.fit("pca", images, variance=variance)
    assert book.n_components == theirs.n_components_
    assert book.components.shape == theirs.components_.shape
    cosines = np.abs((book.components * theirs.components_).sum(axis=1))
    assert np.median(cosines) > 0.99
    np.testing.assert_allclose(book.mean, theirs.mean_, atol=1)
    np.testing.assert_allclose(
        book.explained_variance_ratio_, theirs.explained_variance_ratio_, rtol=1e-3, atol=1e-5
    )
    again = tp.load_dictionary(book.to_bytes())
    np.testing.assert_allclose(
        again.explained_variance_ratio_, theirs.explained_variance_ratio_, rtol=0.06, atol=1e-5
    )


def test_digits_take_29_and_37_components():
    images = COLLECTIONS["digits"]()
    assert [tp.fit("pca", images, variance=share).n_components for share in (0.95, 0.98)] == [29, 37]


def test_a_palette():
    images = [photograph(20, 20, 3, seed) for seed in range(3)]
    book = tp.fit("kmeans", images, n_colors=7)
    assert book.palette.shape == (7, 4)
    assert book.palette.dtype == np.uint8
    shown = tp.decode(tp.encode(images[0], mode="kmeans", dictionary=book))
    used = np.unique(shown.reshape(-1, 3), axis=0)
    assert {tuple(color) for color in used.tolist()} <= {
        tuple(color) for color in book.palette[:, :3].tolist()
    }


def test_components_of_spectra():
    cube = np.concatenate([photograph(20, 20, 3, 1), photograph(20, 20, 3, 2)], 2)
    book = tp.fit("pca", [cube], variance=0.999)
    assert book.components.shape == (book.n_components, 6)
    np.testing.assert_allclose(book.components @ book.components.T, np.eye(book.n_components), atol=0.01)
    np.testing.assert_allclose(book.mean, cube.reshape(-1, 6).mean(axis=0), atol=0.01)
    assert book.explained_variance_ratio_.sum() > 0.999
    with pytest.raises(AttributeError, match="right after `fit` alone"):
        tp.load_dictionary(book.to_bytes()).explained_variance_ratio_  # noqa: B018


def test_arrays_are_read_only():
    book = tp.fit("kmeans", [photograph(20, 20, 3)], n_colors=7)
    with pytest.raises(ValueError, match="read-only"):
        book.palette[0] = 0


@pytest.mark.parametrize("name", ARRAYS)
def test_kinds_that_have_none(name):
    with pytest.raises(AttributeError, match=f"of kind 'blocks' has no {name}; one of 'pal|comp"):
        getattr(small_dictionary(), name)
    assert not hasattr(small_dictionary(), name)
