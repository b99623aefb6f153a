"""Loaders of one collection: ours, and those of files, of tars and chunks of WebP, and of arrays.

A `Loading` is a peer that writes a collection into a folder, and makes loaders of it that give batches of
uint8 tensors (images, 3, height, width), shuffled by a seed. torch is imported with this module; what
workers run is at its top level, so that it also pickles.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from triptych.interop.torch import TriptychDataset, TriptychIterableDataset

from bench import shards, stores
from bench.measure import Pixels
from bench.peers import Peer
from bench.stores import Store

BATCH = 64


@dataclass(frozen=True)
class Loading(Peer):
    """Loads a collection in batches."""

    write: Callable[[Pixels, Path], None]
    make: Callable[[Path, int, int], Iterable[Any]]
    """(folder, workers, seed) to a loader for one epoch."""
    is_ours: bool = False


def as_tensor(pixels: Pixels) -> torch.Tensor:
    """Give an image as loaders want it; Pillow's arrays cannot be written to, so they are copied."""
    return torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy()).permute(2, 0, 1)


def _map_loader(dataset: Dataset[Any], n_workers: int, seed: int) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(dataset, BATCH, shuffle=True, num_workers=n_workers, generator=generator)


# Ours.


def make_ours(folder: Path, n_workers: int, seed: int) -> Iterable[Any]:
    """Make a loader of the map-style dataset."""
    return _map_loader(TriptychDataset(folder / "images.tych"), n_workers, seed)


def make_ours_iterable(folder: Path, n_workers: int, seed: int) -> DataLoader[Any]:
    """Make a loader of the iterable dataset."""
    dataset = TriptychIterableDataset(folder / "images.tych", shuffle=True, seed=seed)
    return DataLoader(dataset, BATCH, num_workers=n_workers)


def ours(kind: str, settings: str, **options: Any) -> list[Loading]:
    """Give both of our datasets for a stream written with these options."""
    store = stores.triptych_store(kind, settings, **options)
    return [
        Loading(f"{kind}, map-style", settings, store.version, store.write, make_ours, is_ours=True),
        Loading(
            f"{kind}, iterable",
            f"{settings}; a window of 8 frames",
            store.version,
            store.write,
            make_ours_iterable,
            is_ours=True,
        ),
    ]


# Peers.


class Numbered(Dataset[torch.Tensor]):
    """The images of a store, by number. Each process opens it when it first reads."""

    def __init__(self, store: Store, folder: Path, n_images: int) -> None:
        self._store, self._folder, self._n_images = store, folder, n_images
        self._open = ExitStack()
        self._read_one: Callable[[int], Pixels] | None = None
        self._process = 0

    def __len__(self) -> int:
        return self._n_images

    def __getitem__(self, index: int) -> torch.Tensor:
        if self._process != os.getpid():
            self._read_one = self._open.enter_context(self._store.open(self._folder)).read_one
            self._process = os.getpid()
        assert self._read_one is not None
        return as_tensor(self._read_one(index))

    def __del__(self) -> None:
        self._open.close()


def _numbered(store: Store) -> Loading:
    def write(images: Pixels, folder: Path) -> None:
        (folder / "store").mkdir(exist_ok=True)
        store.write(images, folder / "store")
        (folder / "count").write_text(str(len(images)))

    def make(folder: Path, n_workers: int, seed: int) -> Iterable[Any]:
        n_images = int((folder / "count").read_text())
        return _map_loader(Numbered(store, folder / "store", n_images), n_workers, seed)

    return Loading(store.name, f"{store.settings}; a plain Dataset", store.version, write, make)


def _decode_bytes(data: bytes) -> torch.Tensor:
    return as_tensor(shards.decode_webp(data))


def _decode_sample(sample: dict[str, bytes]) -> torch.Tensor:
    return _decode_bytes(sample["webp"])


def _make_webdataset(folder: Path, n_workers: int, seed: int) -> Iterable[Any]:
    urls = [str(path) for path in sorted(folder.iterdir())]
    dataset = import_module("webdataset").WebDataset(urls, shardshuffle=len(urls), seed=seed)
    dataset = dataset.shuffle(1000, seed=seed).map(_decode_sample)
    return DataLoader(dataset, BATCH, num_workers=n_workers)


def _make_litdata(folder: Path, n_workers: int, seed: int) -> Iterable[Any]:
    litdata = import_module("litdata")
    dataset = litdata.StreamingDataset(
        str(folder), shuffle=True, seed=seed, drop_last=False, transform=_decode_bytes
    )
    loader: Iterable[Any] = litdata.StreamingDataLoader(dataset, batch_size=BATCH, num_workers=n_workers)
    return loader


PEERS = (
    *map(_numbered, (stores.WEBP, stores.JPEG, stores.PNG)),
    Loading(
        shards.WEBDATASET.name,
        "4 tars of the WebP files; shuffle(1000)",
        shards.WEBDATASET.version,
        shards.write_tars,
        _make_webdataset,
    ),
    Loading(
        shards.LITDATA.name,
        "4 chunks of the WebP files; StreamingDataLoader",
        shards.LITDATA.version,
        shards.write_litdata,
        _make_litdata,
    ),
    *map(_numbered, shards.ARRAYS[::2]),
)


# What an epoch gives.


def load_all(loader: Iterable[Any]) -> int:
    """Run an epoch; give the number of images."""
    return sum(len(batch) for batch in loader)


def load_pixels(loader: Iterable[Any]) -> list[bytes]:
    """Run an epoch; give each image's samples, in the order in which they came."""
    return [np.ascontiguousarray(image).tobytes() for batch in loader for image in batch.numpy()]


def resume(folder: Path, n_workers: int, seed: int) -> bool:
    """Say whether our iterable dataset, stopped within an epoch and made anew, gives what was left."""
    whole = [batch.clone() for batch in make_ours_iterable(folder, n_workers, seed)]
    n_before = len(whole) // 2
    loader, again = (make_ours_iterable(folder, n_workers, seed) for _ in range(2))
    stopped: Any = loader.dataset
    resumed: Any = again.dataset
    batches = iter(loader)
    for _ in range(n_before):
        next(batches)
    state = stopped.state_after(loader, n_before)
    del batches
    resumed.load_state_dict(state)
    rest = list(again)
    return len(rest) == len(whole) - n_before and all(map(torch.equal, rest, whole[n_before:]))
