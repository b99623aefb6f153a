"""The dataset that reads frames one after the other; see `triptych.interop.torch`."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Unpack

import torch
from torch import distributed
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from triptych.errors import FormatError, InvalidOption
from triptych.interop.colors import ColorMode
from triptych.interop.items import (
    FIELDS,
    MAX_WORKERS,
    Builder,
    Fields,
    OnError,
    Opened,
    Raw,
    Reading,
    Skipped,
    SourceName,
    Transform,
    check_fields,
    has_field,
    read_images,
)
from triptych.interop.shards import I64, Piece, Plan, Stretch, skip_images, take_turns, walk_windows


class Start(NamedTuple):
    """Where an iteration begins: after so many batches that a loader took in turns from its workers."""

    epoch: int
    n_batches: int = 0
    batch_size: int = 1
    drop_last: int = 0
    n_workers: int = 0


class TriptychIterableDataset(IterableDataset[Any]):
    """The images of a stream, frame by frame: each image once in an epoch, over all ranks and workers.

    An iteration is a function of seed, epoch, rank and the number of workers, and of the state that was
    loaded. Ranks get equal numbers of images, or one more. Shards are cut at images, so a frame on a border
    is decoded by both sides; every other frame is decoded once.

    Parameters
    ----------
    source, fields, transform, mode, **reading
        As in `TriptychDataset`.
    on_error : {"raise", "skip"}
        What to do about images that are damaged: raise, or leave them out. `n_skipped` counts them.
    shuffle : bool
        Shuffle frames, and images within a window of some frames; by seed and epoch.
    seed : int
        At least 0; the same on all ranks.
    window : int
        Frames that a worker has decoded at a time and shuffles the images of. More shuffle better and take
        more memory.
    rank, world_size : int
        Which share of the images this process reads. By default those of torch.distributed where it is
        initialised when the dataset is made, else everything is read.
    even : bool
        Give all ranks the same number of images, as training in step needs, and leave out the few at the end
        of the epoch's order that do not divide. It does not go with `on_error="skip"`, by which some ranks
        would have fewer: `TriptychDataset` gives others in their place.

    Raises
    ------
    InvalidOption
        An option is not allowed.
    FormatError
        At reading, the stream was changed since the dataset was made: workers would not read the same images.
    TriptychError
        As in `TriptychDataset`.

    Notes
    -----
    `set_epoch` and `load_state_dict` count for the next iteration, in persistent workers too.

    To resume in the middle of an epoch, save `dataset.state_after(loader, n_batches)` after so many batches,
    and give it to `load_state_dict` of a dataset made alike, for a loader with as many workers and the same
    batch size. What the loader read ahead is not lost; of images that were skipped before, as many may come
    twice. torchdata's StatefulDataLoader needs none of this: it
    calls `state_dict` and `load_state_dict` in the workers by itself.

    Examples
    --------
    >>> import numpy as np, triptych as tp
    >>> data = tp.encode(np.zeros((4, 6), np.uint8), threads=1)
    >>> [image.shape for image in TriptychIterableDataset(data, shuffle=True)]
    [torch.Size([1, 4, 6])]
    """

    def __init__(
        self,
        source: SourceName,
        *,
        fields: Fields | list[str] = "image",
        transform: Transform | None = None,
        mode: ColorMode | None = None,
        on_error: OnError = "raise",
        shuffle: bool = False,
        seed: int = 0,
        window: int = 8,
        rank: int | None = None,
        world_size: int | None = None,
        even: bool = False,
        **reading: Unpack[Reading],
    ) -> None:
        self._builder = Builder(self._check_fields(fields), transform, mode)
        if seed < 0 or window < 1:
            raise InvalidOption(f"seed is at least 0 and window at least 1, not {seed} and {window}")
        if even and on_error == "skip":
            raise InvalidOption(
                "even=True does not go with on_error='skip': ranks that skip have fewer images"
            )
        self._plan = Plan(seed if shuffle else None, window)
        self._rank, self._world_size = _find_place(rank, world_size)
        self._stream = Opened(source, reading, on_error)
        self._skipped = Skipped() if on_error == "skip" else None
        self._n_images = n_images = self._stream.count_images()
        self._made_of = _describe(self._stream.image_counts())
        self._mine = Stretch(0, n_images - n_images % self._world_size if even else n_images).part(
            self._rank, self._world_size
        )
        # In shared memory, so that workers see what the main process sets, and it what they do: a `Start`,
        # and how many iterations each worker has begun since it was set.
        self._shared = torch.tensor([*Start(0), *[0] * MAX_WORKERS])
        self._share()
        # What this very process began last: [epoch, images given]; and what was loaded for this very worker.
        self._position: list[int] | None = None
        self._resumed: tuple[int, int] | None = None

    def _check_fields(self, fields: Fields | list[str]) -> Fields:
        return check_fields(fields, FIELDS)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._share()

    def _share(self) -> None:
        self._shared.share_memory_()  # type: ignore[no-untyped-call]  # torch states no types for it

    def __len__(self) -> int:
        """Images of this rank in an epoch."""
        return self._mine.n_images

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker, n_workers = (0, 0) if info is None else (info.id, info.num_workers)
        start = self._get_start(worker)
        epoch = start.epoch
        parts = [self._mine.part(number, max(1, n_workers)) for number in range(max(1, n_workers))]
        if self._resumed is not None:
            (epoch, taken), shard = self._resumed, worker
            self._resumed = None
        else:
            if start.n_batches and start.n_workers != n_workers:
                raise InvalidOption(
                    "workers of the loader that a state is of, and of the loader that goes on from it",
                    expected=start.n_workers,
                    got=n_workers,
                )
            of_all, turn = take_turns(
                [part.n_images for part in parts], start.batch_size, bool(start.drop_last), start.n_batches
            )
            # The loader asks its first worker first: it takes the place of the one whose turn it was.
            shard = (worker + turn) % len(parts)
            taken = of_all[shard]
        self._shared[len(start) + worker] += 1
        self._position = [epoch, taken]
        return self._walk(self._position, self._rank * len(parts) + shard, parts[shard])

    def _walk(self, position: list[int], shard: int, stretch: Stretch) -> Iterator[Any]:
        table, counts = self._stream.reader.table, self._stream.image_counts()
        if _describe(counts) != self._made_of:
            raise FormatError(
                "the stream changed after the dataset was made of it: make the dataset again",
                expected=self._made_of,
                got=_describe(counts),
            )
        epoch, taken = position
        for window in skip_images(walk_windows(counts, self._plan, epoch, shard, stretch), taken):
            raws: list[Raw | None] = []
            if table.is_remote:
                table.prefetch(sorted(piece.frame for piece in window.pieces))
            for piece in window.pieces:
                first = table.first_image(piece.frame)
                numbers = range(first + piece.start, first + piece.stop)
                try:
                    raws += self._read(piece, numbers)
                except FormatError as error:
                    if not self._stream.is_skipped(error):
                        raise
                    raws += [None] * len(numbers)
            for place in window.order.tolist():
                position[1] += 1
                if (raw := raws[place]) is not None:
                    yield self._build(raw)
                elif self._skipped is not None:
                    self._skipped.add(1)

    @property
    def n_skipped(self) -> int:
        """How many damaged images were left out by now, in all workers; again in each epoch."""
        return 0 if self._skipped is None else self._skipped.total

    def _read(self, piece: Piece, numbers: range) -> list[Raw]:
        return read_images(self._stream, numbers, with_pixels=has_field(self._builder.fields, "image"))

    def _build(self, raw: Raw) -> Any:
        return self._builder.build(raw)

    def close(self) -> None:
        """Close the stream in this process; reading opens it again."""
        self._stream.close()

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be this epoch (0 or above), from its beginning."""
        if epoch < 0:
            raise InvalidOption(f"epoch must be at least 0, not {epoch}")
        self._set_start(Start(epoch))

    def _get_start(self, worker: int, begun: int = 0) -> Start:
        """Give where an iteration starts, if so many were begun before: a state counts for the first one."""
        start = Start(*self._shared[: len(Start._fields)].tolist())
        return start if self._shared[len(start) + worker] <= begun else Start(start.epoch)

    def _set_start(self, start: Start) -> None:
        self._shared.zero_()[: len(start)] = torch.tensor(start)
        self._position = self._resumed = None

    def state_dict(self) -> dict[str, Any]:
        """Say where the last iteration of this very process stands, or what was loaded if there was none.

        Of a DataLoader with workers the main process does not know that: use `state_after`.
        """
        if self._position is None:
            return self._state(self._get_start(0))
        start, info = Start(*self._position), get_worker_info()
        if info is None:
            return self._state(start)
        return self._state(start._replace(n_workers=info.num_workers)) | {"worker": info.id}

    def state_after(self, loader: DataLoader[Any], n_batches: int) -> dict[str, Any]:
        """Say where a loader of this dataset stands when it has given so many batches.

        Parameters
        ----------
        loader : DataLoader
            Of this dataset.
        n_batches : int
            Batches that the current iteration of the loader has given. Ask before `set_epoch` or
            `load_state_dict`: from then on a state is of the iteration to come.

        Returns
        -------
        dict
            Integers, for `load_state_dict`.

        Raises
        ------
        InvalidOption
            The loader gives batches out of order, or goes on from a state of a loader with other batches.
        """
        start, size = self._get_start(0, 1), loader.batch_size or 1
        after = Start(start.epoch, n_batches, size, int(loader.drop_last), loader.num_workers)
        if loader.num_workers == 0:  # images are counted one by one
            after = Start(start.epoch, min(n_batches * size, len(self) - start.n_batches))
        if not getattr(loader, "in_order", True):
            raise InvalidOption("in_order=False: where such a loader stands is not known")
        if start.n_batches and start[2:] != after[2:]:
            raise InvalidOption(
                "batch size, drop_last and workers of the loader that a state is of, and of this one",
                expected=start[2:],
                got=after[2:],
            )
        return self._state(after._replace(n_batches=start.n_batches + after.n_batches))

    def _state(self, start: Start) -> dict[str, Any]:
        return start._asdict() | {"of": self._identity()}

    def _identity(self) -> list[int | None]:
        """What must be the same where a state goes on."""
        return [self._n_images, *self._plan, self._rank, self._world_size, self._mine.n_images]

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on from a state; the one after that is of the whole epoch again.

        Raises
        ------
        InvalidOption
            It is no state; or one of another stream, of other options, or of another worker.
        """
        try:
            of, start = list(state["of"]), Start(*(int(state[name]) for name in Start._fields))
        except (LookupError, TypeError, ValueError) as error:
            raise InvalidOption("this is no state that a dataset gave") from error
        if of != self._identity():
            raise InvalidOption(
                "images, seed, window, rank and world size, and images of the rank, of a state",
                expected=self._identity(),
                got=of,
            )
        info = get_worker_info()
        worker = state.get("worker")
        if worker is None:
            self._set_start(start)
        elif info is not None and (info.id, info.num_workers) == (worker, start.n_workers):
            self._resumed = (start.epoch, start.n_batches)
        else:
            raise InvalidOption(f"the state is of worker {worker} of {start.n_workers}, and not for here")


def _describe(counts: I64) -> str:
    """Give what all shares of an epoch follow from, in short."""
    return f"{counts.sum():,} images in {len(counts):,} frames (CRC {zlib.crc32(counts.tobytes()):08x})"


def _find_place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if rank is None and world_size is None:
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return 0, 1
    if rank is None or world_size is None or not 0 <= rank < world_size:
        raise InvalidOption(f"rank is from 0 to world_size - 1, and neither goes alone: {rank}, {world_size}")
    return rank, world_size
