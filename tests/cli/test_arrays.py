"""Images of many bands on the command line: .npy files in and out."""

import json
from dataclasses import replace

import numpy as np
import pytest
import triptych as tp
from smallbook import small_dictionary
from triptych import keeping
from triptych.fit.spectral import SpectralBasis, build_content


@pytest.fixture
def cube(tmp_path):
    y, x = np.mgrid[:24, :20]
    bands = np.arange(7)
    cube = (60 + 3 * y[:, :, None] + bands * x[:, :, None] // 2).astype(np.uint8)
    np.save(tmp_path / "cube.npy", cube)
    return cube


@pytest.fixture
def coded(tmp_path, cube, run):
    """A stream of the cube, with the dictionary that was fitted to it."""
    run("fit", "pca", tmp_path / "cube.npy", "-o", tmp_path / "book.tych")
    run("encode", tmp_path / "cube.npy", "-D", tmp_path / "book.tych", "-q", 90, "-o", tmp_path / "cube.tych")
    return tmp_path / "cube.tych"


def test_many_bands(tmp_path, run, cube, coded):
    run("decode", coded, "-o", tmp_path / "back.npy")
    back = np.load(tmp_path / "back.npy")
    assert back.shape == cube.shape
    assert np.abs(back.astype(int) - cube).max() < 16
    (tmp_path / "folder").mkdir()
    run("decode", coded, "-o", tmp_path / "folder", "--format", "npy")
    assert np.array_equal(np.load(tmp_path / "folder" / "0.npy"), back)
    (facts,) = json.loads(run("info", coded, "--json").stdout)["images"]
    assert (facts["color"], facts["coder"], facts["shape"]) == ("7 bands", "spectral", [24, 20, 7])
    assert facts["bits_per_pixel"] == pytest.approx(facts["bytes"] * 8 / 480, abs=1e-3)


def test_the_base_of_a_dictionary_is_given_beside(tmp_path, run, cube):
    """Of one that names another base than the shipped one, every verb that takes -D finds it among those."""
    base = small_dictionary()
    rows = np.ones((1, cube.shape[2]), np.int16)
    basis = SpectralBasis(bytes.fromhex(base.id), np.full(cube.shape[2], 100 << 8, np.uint16), rows)
    book = tp.Dictionary.build("spectral", {}, build_content(basis))
    base.save(tmp_path / "base.tych")
    book.save(tmp_path / "book.tych")
    stream = tmp_path / "spectral.tych"
    for embed, beside in ((True, []), (False, ["-D", tmp_path / "book.tych"])):
        stream.write_bytes(tp.encode(cube, dictionary=replace(book, base=base), embed=embed))
        for call in (["verify", stream], ["decode", stream, "-fo", tmp_path / "out.npy"]):
            keeping.forget()
            assert base.id in run(*call, *beside, code=4).stderr
            run(*call, *beside, "-D", tmp_path / "base.tych")


def test_a_picture_from_an_array(tmp_path, run):
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    np.save(tmp_path / "p.npy", picture)
    run("encode", tmp_path / "p.npy", "--lossless", "-o", tmp_path / "p.tych")
    run("decode", tmp_path / "p.tych", "-o", tmp_path / "q.npy")
    assert np.array_equal(np.load(tmp_path / "q.npy"), picture)


def test_bands_fit_into_no_picture(tmp_path, run, coded):
    done = run("decode", coded, "-o", tmp_path / "x.png", code=1)
    assert "7 channels fit into no picture: use --format npy" in done.output


def test_arrays_that_are_no_images(tmp_path, run, cube):
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY nothing")
    np.save(tmp_path / "float.npy", cube.astype(np.float32))
    for name in ("bad.npy", "float.npy"):
        done = run("encode", tmp_path / name, "-o", tmp_path / "o.tych", code=1)
        assert name in done.output
    done = run("encode", tmp_path / "cube.npy", "-o", tmp_path / "o.tych", code=1)
    assert "7 channels needs a dictionary" in done.output


def test_an_array_of_another_number_of_bands_is_named(tmp_path, run, cube):
    np.save(tmp_path / "few.npy", cube[:, :, :6])
    done = run("fit", "pca", tmp_path / "cube.npy", tmp_path / "few.npy", "-o", tmp_path / "x", code=1)
    assert f"{tmp_path / 'few.npy'}: image 1 of a collection for spectral PCA" in done.stderr
