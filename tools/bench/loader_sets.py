"""Loaders of one collection: ours, and those of files, tars and chunks of WebP.

A `Loading` is a peer that writes a collection into a folder, and makes loaders of it that give batches of
uint8 tensors (images, 3, height, width), shuffled by a seed. torch is imported with this module; what
workers run is at its top level, so that it also pickles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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


class WebPFolder(Dataset[torch.Tensor]):
    """The WebP files of a folder, by number."""

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(folder.iterdir())

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return as_tensor(stores.decode_image(self._paths[index], "WEBP"))


def _make_folder(folder: Path, n_workers: int, seed: int) -> Iterable[Any]:
    return _map_loader(WebPFolder(folder), n_workers, seed)


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
    Loading(
        "WebP files",
        "files of lossy WebP, quality 75; a plain Dataset with Pillow",
        stores.WEBP.version,
        stores.WEBP.write,
        _make_folder,
    ),
    Loading(
        shards.WEBDATASET.name,
        "4 tars of the same files; shuffle(1000)",
        shards.WEBDATASET.version,
        shards.write_tars,
        _make_webdataset,
    ),
    Loading(
        shards.LITDATA.name,
        "4 chunks of the same files; StreamingDataLoader",
        shards.LITDATA.version,
        shards.write_litdata,
        _make_litdata,
    ),
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
