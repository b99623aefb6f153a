"""Triptych as a codec of zarr: arrays of formats 2 and 3, in memory and on disk, opened elsewhere by name."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import triptych as tp
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from triptych.interop.numcodecs import Triptych
from triptych.interop.zarr import TriptychCodec
from zarr.codecs import TransposeCodec
from zarr.storage import LocalStore, MemoryStore

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
GROUPS = ("numcodecs.codecs", "zarr.codecs")

numcodecs.register_codec(Triptych)
zarr.registry.register_codec("triptych", TriptychCodec)


def create(store, pixels, chunks, codec=None, **options):
    """Store pixels as an array."""
    array = zarr.create_array(
        store,
        shape=pixels.shape,
        dtype=pixels.dtype,
        chunks=chunks,
        serializer=codec or TriptychCodec(lossless=True),
        compressors=None,
        **options,
    )
    array[...] = pixels
    return array


@st.composite
def arrays(draw):
    """Pixels of few colours, the shape of chunks, and that of shards or None."""
    pixels = draw(
        hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=4, max_side=7), elements=st.integers(0, 2))
    )
    chunks = tuple(draw(st.integers(1, side)) for side in pixels.shape)
    shards = tuple(side * draw(st.integers(1, 2)) for side in chunks) if draw(st.booleans()) else None
    return pixels * np.uint8(100), chunks, shards


@settings(max_examples=25)
@given(arrays(), st.data())
def test_lossless_arrays_come_back(parts, data):
    """Whole, and with a part changed: edges that fill no chunk, chunks never written, shards."""
    pixels, chunks, shards = parts
    store = {}
    array = create(store, pixels, chunks, shards=shards, fill_value=100)
    np.testing.assert_array_equal(zarr.open_array(store)[...], pixels)
    part = tuple(slice(*sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2)))) for n in pixels.shape)
    array[part] = pixels[part] = 200
    np.testing.assert_array_equal(zarr.open_array(store, mode="r")[...], pixels)


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_a_photograph(photo, tmp_path, kind):
    """Each chunk is what `encode` gives of it."""
    store = LocalStore(tmp_path / "photo.zarr") if kind == "local" else MemoryStore()
    array = create(store, photo, (48, 64, 3), TriptychCodec(quality=70))
    stored = zarr.open_array(store, mode="r")[:]
    for y, x in np.ndindex(2, 2):
        here = np.s_[48 * y : 48 * y + 48, 64 * x : 64 * x + 64]
        np.testing.assert_array_equal(stored[here], tp.decode(tp.encode(photo[here], quality=70)))
    assert ((stored.astype(float) - photo) ** 2).mean() < 100
    assert array.nbytes_stored() < photo.nbytes / 3


def test_masks_and_depths_are_exact_without_being_asked():
    y, x = np.mgrid[:48, :48]
    depths = np.stack([(np.hypot(x - 9 * i, y) * 3).astype(np.uint8) for i in range(4)])
    np.testing.assert_array_equal(create({}, depths, (2, 48, 48), TriptychCodec())[:], depths)


def test_sprites_in_shards(sprites):
    array = create({}, sprites, (8, 16, 16, 3), shards=(24, 16, 16, 3))
    np.testing.assert_array_equal(array[:], sprites)
    np.testing.assert_array_equal(array[5:30:7], sprites[5:30:7])


def test_chunks_of_the_fill_value_are_not_stored(sprites):
    store = {}
    create(store, np.concatenate([sprites[:8], np.zeros_like(sprites[:8])]), (8, 16, 16, 3))
    assert [name for name in store if "/" in name] == ["c/0/0/0/0"]


def test_channels_first_are_transposed(sprites):
    first = np.ascontiguousarray(sprites.transpose(0, 3, 1, 2))
    array = create({}, first, (16, 3, 16, 16), filters=[TransposeCodec(order=(0, 2, 3, 1))])
    np.testing.assert_array_equal(array[:], first)


@pytest.mark.parametrize("order", ["C", "F"])
def test_format_2(photo, order):
    store = {}
    array = zarr.create_array(
        store,
        shape=photo.shape,
        dtype="uint8",
        chunks=(40, 50, 3),
        order=order,
        zarr_format=2,
        compressors=Triptych(n_colors=256),
    )
    array[:] = photo
    assert json.loads(store[".zarray"].to_bytes())["compressor"] == {"id": "triptych", "n_colors": 256}
    stored = zarr.open_array(store, mode="r")[:]
    assert ((stored.astype(float) - photo) ** 2).mean() < 60


def test_a_dictionary_is_in_the_metadata_once(sprites):
    book = tp.fit("kmeans", sprites, n_colors=32)
    store = {}
    create(store, sprites, (4, 16, 16, 3), TriptychCodec(dictionary=book))
    (codec,) = json.loads(store["zarr.json"].to_bytes())["codecs"]
    assert codec["name"] == "triptych"
    assert codec["configuration"].keys() == {"dictionary"}
    chunk = store["c/0/0/0/0"].to_bytes()
    with pytest.raises(tp.DictionaryMissing):
        list(tp.Reader(chunk))
    assert np.array_equal(list(tp.Reader(chunk, dictionary=book)), zarr.open_array(store, mode="r")[:4])


def test_codecs_are_values():
    codec = TriptychCodec(n_colors=8, channels_last=True)
    assert TriptychCodec.from_dict(json.loads(json.dumps(codec.to_dict()))) == codec
    assert TriptychCodec.from_dict({"name": "triptych"}) == TriptychCodec() != codec
    assert hash(codec) == hash(TriptychCodec(channels_last=True, n_colors=8))
    assert "n_colors=8" in repr(codec)
    with pytest.raises(tp.InvalidOption, match="give a path to the codec's class"):
        TriptychCodec.from_dict({"name": "triptych", "configuration": {"dictionary": "book.tych"}})
    with pytest.raises(NotImplementedError):
        codec.compute_encoded_size(1, None)


@pytest.mark.parametrize("shards", [None, (8, 8)])
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "float32"])
def test_other_dtypes_are_refused_when_an_array_is_made(dtype, shards):
    store = {}
    with pytest.raises(tp.InvalidImage, match=f"is for arrays of uint8, not of {dtype}"):
        create(store, np.zeros((8, 8), dtype), (4, 4), shards=shards)
    assert not store


def test_an_array_of_one_axis_is_refused():
    with pytest.raises(tp.InvalidImage, match="is for arrays of images"):
        create({}, np.zeros(8, np.uint8), (4,))


def test_a_damaged_chunk_is_an_error(sprites):
    store = {}
    array = create(store, sprites, (48, 16, 16, 3))
    whole = store["c/0/0/0/0"].to_bytes()
    prototype = zarr.core.buffer.default_buffer_prototype()
    for wrong in (whole[:-9], whole[:-9] + bytes(9), tp.encode(np.zeros((4, 4), np.uint8))):
        store["c/0/0/0/0"] = prototype.buffer.from_bytes(wrong)
        with pytest.raises(tp.FormatError):
            array[:]


def test_chunks_are_coded_in_threads(sprites, monkeypatch):
    """The event loop goes on while a chunk is coded."""
    array = create({}, sprites[:2], (1, 16, 16, 3))
    used = []
    decode = Triptych.decode_images

    def watched(codec, data):
        used.append(asyncio._get_running_loop())
        return decode(codec, data)

    monkeypatch.setattr(Triptych, "decode_images", watched)
    np.testing.assert_array_equal(array[:], sprites[:2])
    assert used == [None, None]


@pytest.mark.parametrize("group", GROUPS)
def test_entry_points_lead_to_the_codecs(group):
    points = PROJECT["entry-points"][group]
    assert set(points) == {"triptych"}
    loaded = EntryPoint("triptych", points["triptych"], group).load()
    assert loaded is {"numcodecs.codecs": Triptych, "zarr.codecs": TriptychCodec}[group]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_another_process_knows_the_codec_by_name(sprites, tmp_path, zarr_format):
    """It imports zarr alone; the dictionary's file is gone; it reads, and writes more."""
    book = tmp_path / "book.tych"
    tp.fit("kmeans", sprites, n_colors=16).save(book)
    codec = {"serializer": TriptychCodec(dictionary=book), "compressors": None}
    if zarr_format == 2:
        codec = {"compressors": Triptych(dictionary=book)}
    array = zarr.create_array(
        LocalStore(tmp_path / "x.zarr"),
        shape=(96, 16, 16, 3),
        chunks=(48, 16, 16, 3),
        dtype="uint8",
        zarr_format=zarr_format,
        **codec,
    )
    array[:48] = sprites
    book.unlink()
    # What an installation would have told: in a checkout, nobody did.
    installed = tmp_path / "site" / "triptych_entry_points-0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: triptych-entry-points\nVersion: 0\n")
    lines = [
        line
        for group in GROUPS
        for line in (f"[{group}]", *(f"{n} = {v}" for n, v in PROJECT["entry-points"][group].items()))
    ]
    (installed / "entry_points.txt").write_text("\n".join(lines))
    script = (
        "import sys, hashlib, zarr\n"
        f"array = zarr.open_array({str(tmp_path / 'x.zarr')!r}, mode='r+')\n"
        "print(hashlib.sha256(array[:48].tobytes()).hexdigest())\n"
        "array[48:] = array[:48][::-1]\n"
    )
    path = os.pathsep.join([str(installed.parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == hashlib.sha256(array[:48].tobytes()).hexdigest()
    np.testing.assert_array_equal(array[48:], array[:48][::-1])
