"""Datasets of other libraries as stores: shards and chunks of WebP files, and arrays in chunks."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from bench import stores
from bench.measure import Pixels
from bench.peers import Peer
from bench.stores import Opened, Store, decode_image, encode_webp, fill

# Shards and datasets of WebP files.


def write_tars(images: Pixels, folder: Path) -> None:
    """Write four tar files of WebP files, as WebDataset wants them for as many workers."""
    writer = import_module("webdataset").ShardWriter(
        f"{folder}/%05d.tar", maxcount=-(-len(images) // 4), verbose=0
    )
    with writer:
        for number, image in enumerate(images):
            writer.write({"__key__": f"{number:08}", "webp": encode_webp(image)})


def decode_webp(data: bytes) -> Pixels:
    """Decode a WebP file."""
    return decode_image(io.BytesIO(data), "WEBP")


@contextmanager
def _open_tars(folder: Path) -> Iterator[Opened]:
    urls = [str(path) for path in sorted(folder.iterdir())]
    samples = import_module("webdataset").WebDataset(urls, shardshuffle=False)
    yield Opened(lambda shown: fill((decode_webp(sample["webp"]) for sample in samples), shown), None)


def write_litdata(images: Pixels, folder: Path) -> None:
    """Write litdata's chunks of WebP files, four."""
    writer = import_module("litdata.streaming.writer").BinaryWriter(
        str(folder), chunk_size=-(-len(images) // 4)
    )
    for number, image in enumerate(images):
        writer[number] = encode_webp(image)
    writer.done()
    writer.merge(num_workers=1)


@contextmanager
def _open_litdata(folder: Path) -> Iterator[Opened]:
    dataset = import_module("litdata").StreamingDataset(str(folder))
    yield Opened(
        lambda shown: fill(map(decode_webp, dataset), shown), lambda number: decode_webp(dataset[number])
    )


def _write_mds(images: Pixels, folder: Path) -> None:
    with import_module("streaming").MDSWriter(out=str(folder), columns={"webp": "bytes"}) as writer:
        for image in images:
            writer.write({"webp": encode_webp(image)})


@contextmanager
def _open_mds(folder: Path) -> Iterator[Opened]:
    dataset = import_module("streaming").LocalDataset(str(folder))
    yield Opened(
        lambda shown: fill((decode_webp(sample["webp"]) for sample in dataset), shown),
        lambda number: decode_webp(dataset[number]["webp"]),
    )


def _version_of(module: str, package: str) -> Callable[[], str]:
    """Give the version of a package whose module can be imported: some import what they do not install."""

    def found() -> str:
        import_module(module)
        return f"{package} {version(package)}"

    return found


_OF_WEBP = "of WebP files, lossy, quality 75, decoded with Pillow"
WEBDATASET = Store(
    "WebDataset", f"4 tars {_OF_WEBP}", _version_of("webdataset", "webdataset"), write_tars, _open_tars
)
LITDATA = Store(
    "litdata", f"4 chunks {_OF_WEBP}", _version_of("litdata", "litdata"), write_litdata, _open_litdata
)
MDS = Store(
    "MDS", f"LocalDataset {_OF_WEBP}", _version_of("streaming", "mosaicml-streaming"), _write_mds, _open_mds
)


def _ffcv_version() -> str:
    import_module("ffcv")
    raise ImportError("ffcv is here, but this bench has no code for it")


FFCV = Peer("FFCV", "", _ffcv_version)
"""It could not be installed, so there is no store: a row that says so."""


# Arrays in chunks.


def _write_hdf5(n_chunk: int, images: Pixels, folder: Path) -> None:
    with import_module("h5py").File(folder / "images.h5", "w") as file:
        chunks = (min(n_chunk, len(images)), *images.shape[1:])
        file.create_dataset("images", data=images, chunks=chunks, compression="lzf", shuffle=False)


@contextmanager
def _open_hdf5(folder: Path) -> Iterator[Opened]:
    with import_module("h5py").File(folder / "images.h5") as file:
        yield Opened(file["images"].read_direct, file["images"].__getitem__)


def _write_zarr(n_chunk: int, images: Pixels, folder: Path) -> None:
    zarr = import_module("zarr")
    array = zarr.create_array(
        folder / "images.zarr",
        shape=images.shape,
        dtype="uint8",
        chunks=(min(n_chunk, len(images)), *images.shape[1:]),
        compressors=zarr.codecs.BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle"),
    )
    array[:] = images


@contextmanager
def _open_zarr(folder: Path) -> Iterator[Opened]:
    array = import_module("zarr").open_array(folder / "images.zarr", mode="r")

    def read_all(shown: Pixels) -> None:
        shown[:] = array[:]

    yield Opened(read_all, array.__getitem__)


def _hdf5(n_chunk: int) -> Store:
    return Store(
        f"HDF5, chunks of {n_chunk}",
        "one uint8 dataset, lzf",
        _version_of("h5py", "h5py"),
        partial(_write_hdf5, n_chunk),
        _open_hdf5,
        is_lossless=True,
    )


def _zarr(n_chunk: int) -> Store:
    return Store(
        f"zarr, chunks of {n_chunk}",
        "one uint8 array, blosc zstd 5, bitshuffle",
        _version_of("zarr", "zarr"),
        partial(_write_zarr, n_chunk),
        _open_zarr,
        is_lossless=True,
    )


ARRAYS = (_hdf5(1), _hdf5(64), _zarr(1), _zarr(64))
_FILES = (stores.JPEG, stores.WEBP, stores.WEBP_LOSSLESS_4, stores.PNG)
PEERS = (*_FILES, WEBDATASET, LITDATA, MDS, FFCV, *ARRAYS)
"""What speed is compared with."""
