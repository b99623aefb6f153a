"""Triptych as a codec of numcodecs: chunks of every shape and layout, and configurations in JSON."""

from __future__ import annotations

import json
import pickle

import numcodecs
import numpy as np
import pytest
import triptych as tp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numcodecs.tests.common import check_config, check_encode_decode_array
from triptych.interop.numcodecs import Triptych

numcodecs.register_codec(Triptych)


def reopened(codec):
    """The codec as it is after its configuration was stored."""
    return numcodecs.get_codec(json.loads(json.dumps(codec.get_config())))


@st.composite
def chunks(draw):
    """Chunks of 2 to 5 axes, of few colours, in C order, in Fortran's, or strided."""
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=5, max_side=4))
    levels = draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 2)))
    layout = draw(st.sampled_from([np.ascontiguousarray, np.asfortranarray, lambda array: array[..., ::-1]]))
    return layout(levels * np.uint8(100))


@given(chunks(), st.sampled_from([None, True, False]))
def test_every_chunk_comes_back(chunk, channels_last):
    if channels_last and chunk.ndim < 3:
        return
    codec = Triptych(lossless=True, channels_last=channels_last and chunk.shape[-1] <= 4)
    check_encode_decode_array(chunk, codec)
    data = codec.encode(chunk)
    decoded = reopened(codec).decode(data)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, chunk)
    order = "F" if chunk.flags.f_contiguous and not chunk.flags.c_contiguous else "C"
    out = np.empty(chunk.shape, np.uint8, order=order)
    assert codec.decode(data, out=out) is out
    np.testing.assert_array_equal(out, chunk)
    memory = bytearray(chunk.nbytes)
    codec.decode(memoryview(data), out=memory)
    assert bytes(memory) == chunk.tobytes(order)
    assert len(list(tp.Reader(data))) == len(codec.split_images(chunk))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "mode": st.sampled_from(["auto", "kmeans", "pca"]),
            "n_colors": st.integers(1, 256) | st.just("auto"),
            "quality": st.integers(0, 100),
            "effort": st.sampled_from(["fast", "default", "max"]),
            "keep": st.lists(st.tuples(*[st.integers(0, 255)] * 3), max_size=2),
            "embed": st.sampled_from([None, True, False]),
            "channels_last": st.booleans(),
            "dictionary": st.sampled_from(["photo", "0f" * 32]),
        },
    )
)
def test_every_configuration_comes_back(options):
    codec = Triptych(**options)
    check_config(codec)
    for other in (reopened(codec), pickle.loads(pickle.dumps(codec))):
        assert other == codec
        assert hash(other) == hash(codec)
        assert repr(other) == repr(codec) or "dictionary" in options


def test_a_chunk_is_what_encode_gives(photo):
    """No bytes are spent on what the stream says anyway, and readers of streams read chunks."""
    data = Triptych(quality=60).encode(photo)
    assert data == tp.encode(photo, quality=60)
    assert len(Triptych(quality=20).encode(photo)) < len(data) < photo.nbytes / 5
    np.testing.assert_array_equal(Triptych().decode(data), tp.decode(data))


def test_images_of_a_chunk_share_a_stream(sprites):
    codec = Triptych(lossless=True)
    data = codec.encode(sprites)
    np.testing.assert_array_equal(codec.decode(data), sprites)
    assert len(data) < 0.7 * sum(len(codec.encode(sprite)) for sprite in sprites)


def test_the_last_axis_is_channels_or_width():
    cube = np.zeros((3, 5, 6), np.uint8)
    assert Triptych().split_images(cube).shape == (3, 5, 6, 1)
    assert Triptych(channels_last=True).split_images(cube).shape == (1, 3, 5, 6)
    assert Triptych().split_images(cube[..., :3]).shape == (1, 3, 5, 3)
    assert Triptych(channels_last=False).split_images(cube[..., :3]).shape == (3, 5, 3, 1)


def test_bands():
    cube = np.random.default_rng(0).integers(0, 255, (8, 9, 6)).astype(np.uint8)
    codec = Triptych(dictionary=tp.fit("pca", [cube]), channels_last=True)
    assert codec.decode(codec.encode(cube)).shape == cube.shape


def test_the_configuration_holds_the_dictionary(sprites, tmp_path):
    """The file may be gone; chunks name it and do not repeat it."""
    path = tmp_path / "book.tych"
    tp.fit("kmeans", sprites, n_colors=64).save(path)
    codec = Triptych(dictionary=path)
    embedding = Triptych(dictionary=path, embed=True)
    path.unlink()
    data, other = codec.encode(sprites), reopened(codec)
    assert other.encode(sprites) == data
    np.testing.assert_array_equal(other.decode(data), codec.decode(data))
    assert 64 * 4 < len(embedding.encode(sprites)) - len(data) < 600
    assert reopened(embedding) == embedding
    np.testing.assert_array_equal(Triptych().decode(embedding.encode(sprites)), codec.decode(data))
    with pytest.raises(tp.DictionaryMissing):
        Triptych().decode(data)


def test_a_dictionary_by_id_is_on_the_search_path(sprites, tmp_path, monkeypatch):
    book = tp.fit("kmeans", sprites, n_colors=8)
    codec = Triptych(dictionary=book.id)
    assert codec.get_config()["dictionary"] == book.id
    with pytest.raises(tp.DictionaryMissing):
        codec.encode(sprites)
    book.save(tmp_path / "book.tych")
    monkeypatch.setenv("TRIPTYCH_PATH", str(tmp_path))
    assert codec.encode(sprites) == Triptych(dictionary=book).encode(sprites)
    np.testing.assert_array_equal(
        reopened(codec).decode(codec.encode(sprites)), Triptych().decode(codec.encode(sprites))
    )


@pytest.mark.parametrize("path", ["book.tych", "photo.tych", "../photo", "https://localhost/book.tych"])
def test_a_configuration_opens_no_path(path, tmp_path, monkeypatch):
    """It may come from others, with an array of theirs."""
    tp.fit("kmeans", [np.zeros((2, 2), np.uint8)], n_colors=1).save(tmp_path / "book.tych")
    monkeypatch.chdir(tmp_path)
    assert Triptych(dictionary="book.tych").get_config()["dictionary"].startswith("data:")
    with pytest.raises(tp.InvalidOption, match="give a path to the codec's class"):
        numcodecs.get_codec({"id": "triptych", "dictionary": path})


def test_a_shipped_dictionary_is_named_by_its_id():
    named = Triptych(dictionary="photo").get_config()["dictionary"]
    assert named == tp.load_dictionary("photo").id
    assert Triptych(mode="ae", dictionary="photo").get_config()["dictionary"] != named


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "float32", "complex64"])
def test_other_dtypes(dtype):
    with pytest.raises(tp.InvalidImage, match=f"pixels must be uint8, not {dtype}"):
        Triptych().encode(np.zeros((4, 4), dtype))


@pytest.mark.parametrize("shape", [(), (5,), (0, 4), (4, 0), (0, 4, 4, 3)])
def test_what_is_no_chunk_of_images(shape):
    with pytest.raises(tp.InvalidImage, match="a chunk of images has shape"):
        Triptych().encode(np.zeros(shape, np.uint8))
    with pytest.raises(tp.InvalidImage, match="a chunk of images has shape"):
        Triptych(channels_last=True).encode(np.zeros((4, 4), np.uint8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colors": 3}, "there is no option 'colors'"),
        ({"threads": 2}, "threads is no option of an array codec"),
        ({"channels_last": "yes"}, "channels_last must be one of"),
        ({"channels_last": 1}, "channels_last must be one of"),
        ({"embed": "yes"}, "embed must be one of"),
        ({"dictionary": "data:image/x-triptych;base64,*"}, "base64 is damaged"),
        ({"dictionary": "data:image/x-triptych;base64,é"}, "base64 is damaged"),
        ({"dictionary": 3}, "must be a data URI, an id or the name of a shipped one, not 3"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(tp.TriptychError, match=message) as caught:
        numcodecs.get_codec({"id": "triptych"} | options)
    assert isinstance(caught.value, ValueError)


def test_streams_that_are_no_chunk():
    codec = Triptych()
    damaged = bytearray(codec.encode(np.zeros((4, 4), np.uint8)))
    damaged[-3] ^= 1
    with pytest.raises(tp.FormatError):
        codec.decode(damaged)
    with pytest.raises(tp.NotTriptych):
        codec.decode(b"none at all")
    a, b = tp.encode(np.zeros((4, 4), np.uint8)), tp.encode(np.zeros((4, 5), np.uint8))
    with pytest.raises(tp.InvalidFrame, match="shape of image 1 of a chunk"):
        codec.decode(a + b)
    with pytest.raises(tp.InvalidFrame, match="without images"):
        codec.decode(a[:16])
    with pytest.raises(tp.InvalidFrame, match="shape of a chunk"):
        codec.decode(codec.encode_images(np.zeros((1, 4, 4, 1), np.uint8), {"shape": [3, 5]}))


def test_a_chunk_beyond_the_limits(monkeypatch):
    data = Triptych().encode(np.zeros((5, 10, 10), np.uint8))
    monkeypatch.setattr("triptych.interop.numcodecs.DEFAULT", tp.Limits(decoded_bytes=499))
    with pytest.raises(tp.LimitExceeded, match="decoded_bytes"):
        Triptych().decode(data)


def test_out_of_another_size():
    codec = Triptych()
    with pytest.raises(ValueError, match="reshape"):
        codec.decode(codec.encode(np.zeros((4, 4), np.uint8)), out=bytearray(15))


@pytest.mark.parametrize(
    "shape",
    [[None], [16], [16.0, 1.0], [-1, -16], [True, 16], [1] * 32 + [16], [[4, 4]], [16, 1, {}], "4x4", {}, 16],
)
def test_metadata_that_give_no_shape(shape):
    codec = Triptych()
    data = codec.encode_images(np.zeros((1, 4, 4, 1), np.uint8), {"shape": shape})
    with pytest.raises(tp.InvalidFrame, match="shape of a chunk"):
        codec.decode(data)


def test_no_more_axes_than_any_numpy_has():
    codec = Triptych(lossless=True)
    chunk = np.arange(4, dtype=np.uint8).reshape((1,) * 30 + (2, 2))
    np.testing.assert_array_equal(codec.decode(codec.encode(chunk)), chunk)
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        with pytest.raises(tp.InvalidImage, match="at most 32 axes"):
            codec.encode(chunk[None])


def test_no_chunk_is_encoded_that_decode_refuses(monkeypatch):
    monkeypatch.setattr("triptych.interop.numcodecs.DEFAULT", tp.Limits(decoded_bytes=499))
    with pytest.raises(tp.LimitExceeded, match="decoded_bytes"):
        Triptych().encode(np.zeros((5, 10, 10), np.uint8))
