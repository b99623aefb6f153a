"""Datasets under torch's own DataLoader: every image, in a known order, and nothing is left behind."""

import gc
import itertools
import os
import pickle
import threading
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import rawmode
import torch
import triptych as tp
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from smallnet import small_network
from strategies import Record, write_stream
from torch.utils.data import DataLoader, Subset
from triptych.errors import ChecksumMismatch, DictionaryMismatch, FormatError, InvalidOption, LimitExceeded
from triptych.images import MODES
from triptych.interop.colors import convert
from triptych.interop.shards import Plan, Stretch, skip_images, take_turns, walk_windows
from triptych.interop.torch import LatentDataset, TriptychDataset, TriptychIterableDataset
from triptych.networks.device import Replayed, bucket_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # more than there are cores
]
N = 53
BATCH = 4


def loader(dataset, workers=0, **options):
    options = {"batch_size": BATCH, "multiprocessing_context": "fork" if workers else None} | options
    return DataLoader(dataset, num_workers=workers, **options)


@contextmanager
def fails(error, match):
    """Expect an error of a loader, and let its frames go.

    torch's error of a worker holds itself. Where the collector finds it, the loader's queues may go first,
    and workers that hear nothing any more are given five seconds each.
    """
    with pytest.raises(error, match=match) as caught:
        yield
    traceback.clear_frames(caught.tb)


def numbered(n=N):
    """Images of one value each, their number; so is their label."""
    return [Record(np.full((2, 3), i, np.uint8), {"label": i, "key": f"k{i}"}) for i in range(n)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("torch") / "images.tych"
    write_stream(numbered(), path, frame_images=5)
    return path


@pytest.fixture(scope="module")
def palettes(tmp_path_factory):
    """A stream that processes which know nothing of the tests read too."""
    path = tmp_path_factory.mktemp("torch") / "palettes.tych"
    with tp.Writer(path, mode="kmeans", effort="fast", frame_images=5, threads=1) as writer:
        for record in numbered():
            writer.write(record.image, **record.about)
    return path


def numbers_of(batches):
    return [image.unique().item() for batch in batches for image in batch]


class TestShards:
    counts = st.lists(st.integers(1, 9), max_size=12).map(lambda counts: np.array(counts, np.int64))
    plans = st.builds(Plan, st.none() | st.integers(0, 2**40), st.integers(1, 5))

    def images(self, windows, counts):
        """All images, in the order in which they are read."""
        firsts = np.cumsum(counts) - counts
        for window in windows:
            images = [
                firsts[piece.frame] + i for piece in window.pieces for i in range(piece.start, piece.stop)
            ]
            assert sorted(window.order) == list(range(len(images))) or len(window.order) < len(images)
            yield from (int(images[place]) for place in window.order)

    @given(counts, plans, st.integers(0, 3), st.integers(1, 4), st.integers(1, 3))
    def test_every_image_once(self, counts, plan, epoch, ranks, workers):
        whole = Stretch(0, int(counts.sum()))
        shares = [whole.part(rank, ranks) for rank in range(ranks)]
        stretches = [share.part(worker, workers) for share in shares for worker in range(workers)]
        walks = [list(walk_windows(counts, plan, epoch, shard, part)) for shard, part in enumerate(stretches)]
        read = [list(self.images(walk, counts)) for walk in walks]
        assert [len(part) for part in read] == [part.n_images for part in stretches]
        assert sorted(itertools.chain(*read)) == list(range(whole.n_images))
        sizes = [share.n_images for share in shares]
        assert max(sizes) - min(sizes) <= 1
        pieces = [piece for walk in walks for window in walk for piece in window.pieces]
        assert len(pieces) <= len(counts) + len(stretches) - 1
        assert all(len(window.pieces) <= plan.window for walk in walks for window in walk)
        if plan.seed is None:
            assert list(itertools.chain(*read)) == list(range(whole.n_images))

    @given(counts, plans, st.integers(0, 60))
    def test_skipping_is_going_on(self, counts, plan, n):
        def walk():
            return walk_windows(counts, plan, 1, 2, Stretch(int(counts.sum()) // 5, int(counts.sum())))

        assert list(self.images(skip_images(walk(), n), counts)) == list(self.images(walk(), counts))[n:]

    @given(st.integers(0, 40), st.integers(1, 5), st.integers(1, 7), st.booleans(), st.integers(0, 60))
    def test_turns_are_those_of_a_loader(self, n, workers, batch_size, drop_last, n_batches):
        sizes = [Stretch(0, n).part(worker, workers).n_images for worker in range(workers)]
        left, taken, turn, given = list(sizes), [0] * workers, 0, 0
        while given < n_batches and any(size >= (batch_size if drop_last else 1) for size in left):
            batch = min(left[turn], batch_size)
            if batch and not (drop_last and batch < batch_size):
                left[turn] -= batch
                taken[turn] += batch
                given += 1
            turn = (turn + 1) % workers
        got, next_turn = take_turns(sizes, batch_size, drop_last, n_batches)
        assert got == taken
        if given == n_batches and any(size >= (batch_size if drop_last else 1) for size in left):
            assert [*range(next_turn, workers), *range(next_turn)] == [*range(turn, workers), *range(turn)]


class TestMapStyle:
    @pytest.mark.parametrize("workers", [0, 1, 2])
    def test_images_and_labels(self, path, workers):
        dataset = TriptychDataset(path, fields=["image", "label", "key", "number"])  # lists are taken too
        assert len(dataset) == N
        seen = []
        for images, labels, keys, numbers in loader(dataset, workers):
            assert images.dtype == torch.uint8
            assert images.shape[1:] == (1, 2, 3)
            assert images[:, 0, 0, 0].tolist() == labels.tolist() == numbers.tolist()
            assert list(keys) == [f"k{n}" for n in numbers]
            seen += numbers.tolist()
        assert seen == list(range(N))

    @pytest.mark.slow
    @pytest.mark.parametrize("workers", [1, 2])
    def test_spawn(self, palettes, workers):
        dataset = TriptychDataset(palettes)
        assert numbers_of(loader(dataset, workers, multiprocessing_context="spawn")) == list(range(N))

    @pytest.mark.parametrize("persistent", [False, True])
    def test_shuffled_by_torch(self, path, persistent):
        batches = loader(TriptychDataset(path), 2, shuffle=True, persistent_workers=persistent)
        epochs = [numbers_of(batches) for _ in range(2)]
        assert epochs[0] != epochs[1]
        assert all(sorted(epoch) == list(range(N)) for epoch in epochs)

    def test_channels_first_without_a_copy(self):
        image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
        tensor = TriptychDataset(write_stream([Record(image)]))[0]
        assert tensor.shape == (3, 4, 5)
        assert tensor.stride() == (1, 15, 3)
        assert np.array_equal(tensor.permute(1, 2, 0), image)
        tensor.add_(1)

    def test_a_batch_decodes_each_frame_once(self, path, monkeypatch):
        calls = []
        decode = rawmode.RAW.decode_frame
        monkeypatch.setattr(rawmode.RAW, "decode_frame", lambda *job: (calls.append(1), decode(*job))[1])
        assert numbers_of([TriptychDataset(path).__getitems__([3, 11, 0, 12, -1])]) == [3, 11, 0, 12, N - 1]
        assert len(calls) == 3

    def test_torchs_own_wrappers(self, path):
        assert numbers_of(loader(Subset(TriptychDataset(path), [7, 3]))) == [7, 3]
        assert TriptychDataset(path, transform=lambda image: image.float() / 255)[51].max() == 51 / 255

    def test_numbers_out_of_range(self, path):
        dataset = TriptychDataset(path)
        assert dataset[-1].unique().item() == N - 1
        for number in (N, -N - 1):
            with pytest.raises(IndexError):
                dataset[number]

    def test_labels_that_are_not_there(self):
        pixel = np.zeros((1, 1), np.uint8)
        data = write_stream([Record(pixel, {"label": 3}), Record(pixel)])
        assert TriptychDataset(data, fields="label")[0] == 3
        for fields in ("label", ("image", "label")):
            with pytest.raises(InvalidOption, match="image 1 has no label"):
                TriptychDataset(data, fields=fields)[1]
        for fields in ("pixels", ["pixels"], ("image", "size"), 3):
            with pytest.raises(InvalidOption, match="fields must be"):
                TriptychDataset(data, fields=fields)

    def test_options_are_passed_on(self, path):
        with pytest.raises(LimitExceeded):
            TriptychDataset(path, limits=tp.Limits(decoded_bytes=3))[0]
        with pytest.raises(FileNotFoundError):
            TriptychDataset(path.parent / "nothing.tych")
        with path.open("rb") as file, pytest.raises(InvalidOption, match="path"):
            TriptychDataset(file)

    def test_pickles_closed_and_open(self, path):
        dataset = TriptychDataset(path)
        for _ in range(2):
            other = pickle.loads(pickle.dumps(dataset))
            assert other[5].unique().item() == 5
            dataset.close()
            other.close()
        assert dataset[6].unique().item() == 6


class TestDamage:
    @pytest.fixture
    def damaged(self, path, tmp_path):
        data = bytearray(path.read_bytes())
        with tp.Reader(path) as reader:
            data[reader.info(12)["offset"] + 40] ^= 1
        target = tmp_path / "damaged.tych"
        target.write_bytes(data)
        return target

    def test_the_image_is_named(self, damaged):
        dataset = TriptychDataset(damaged)
        assert dataset[9].unique().item() == 9
        with pytest.raises(ChecksumMismatch) as caught:
            dataset[12]
        assert caught.value.frame == 2
        assert caught.value.__notes__ == [f"image 12 of {damaged}"]
        with pytest.raises(ChecksumMismatch) as caught:
            dataset.__getitems__([1, 11, 30, 13])
        assert caught.value.__notes__ == [f"images 11, 13 of {damaged}"]
        with pytest.raises(ChecksumMismatch) as caught:
            list(TriptychIterableDataset(damaged))
        assert caught.value.__notes__ == [f"images 10, 11, 12, 13, 14 of {damaged}"]

    @pytest.mark.parametrize("kind", [TriptychDataset, TriptychIterableDataset])
    def test_in_a_worker_too(self, damaged, kind):
        with fails(ChecksumMismatch, match=r"(?s)worker process 0.*image.* 11"):
            list(loader(kind(damaged), 1))


class TestIterable:
    def make(self, path, **options):
        return TriptychIterableDataset(path, **({"shuffle": True, "seed": 3, "window": 3} | options))

    @pytest.mark.parametrize("workers", [0, 1, 2, 4])
    def test_every_image_once_and_the_same_for_the_same_seed(self, path, workers):
        dataset = self.make(path)
        assert len(dataset) == N
        epochs = []
        for epoch in (0, 1, 0):
            dataset.set_epoch(epoch)
            epochs.append(numbers_of(loader(dataset, workers)))
        assert epochs[0] == epochs[2] == numbers_of(loader(self.make(path), workers))
        assert epochs[0] != epochs[1]
        assert numbers_of(loader(self.make(path, seed=4), workers)) != epochs[0]
        for epoch in epochs:
            assert sorted(epoch) == list(range(N)) != epoch

    def test_in_the_order_of_the_stream(self, path):
        dataset = TriptychIterableDataset(path, fields=("image", "label"))
        assert [label for _, label in dataset] == list(range(N))
        assert [label for _, label in loader(dataset, batch_size=None)] == list(range(N))

    @pytest.mark.slow
    def test_spawn(self, palettes):
        dataset = self.make(palettes)
        expected = numbers_of(loader(dataset, 2))
        got = loader(dataset, 2, multiprocessing_context="spawn", persistent_workers=True)
        assert numbers_of(got) == expected
        dataset.set_epoch(1)
        assert numbers_of(got) == numbers_of(loader(dataset, 2)) != expected

    def test_persistent_workers_hear_of_epochs(self, path):
        dataset, other = self.make(path), self.make(path)
        batches = loader(pickle.loads(pickle.dumps(dataset)), 2, persistent_workers=True)
        for epoch in (0, 1, 5):
            batches.dataset.set_epoch(epoch)
            other.set_epoch(epoch)
            assert numbers_of(batches) == numbers_of(loader(other, 2))

    @pytest.mark.parametrize("even", [False, True])
    @pytest.mark.parametrize("workers", [0, 2])
    def test_ranks_are_disjoint_and_complete(self, path, workers, even):
        ranks = [self.make(path, rank=rank, world_size=3, even=even) for rank in range(3)]
        read = [numbers_of(loader(dataset, workers)) for dataset in ranks]
        assert [len(part) for part in read] == [len(dataset) for dataset in ranks]
        assert sorted(map(len, read)) == ([17, 17, 17] if even else [17, 18, 18])
        together = list(itertools.chain(*read))
        assert len(set(together)) == len(together) == (51 if even else 53)

    def test_ranks_of_torch_distributed(self, path, monkeypatch):
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
        assert list(self.make(path, fields="number")) == list(
            self.make(path, fields="number", rank=1, world_size=2)
        )

    @pytest.mark.parametrize("drop_last", [False, True])
    @pytest.mark.parametrize("workers", [0, 2, 3])
    def test_resumes_after_any_batch(self, path, workers, drop_last):
        dataset = self.make(path, fields="number")
        dataset.set_epoch(2)
        batches = loader(dataset, workers, drop_last=drop_last)
        all_batches = [batch.tolist() for batch in batches]
        for taken in sorted({0, 1, 2, 5, len(all_batches) - 2, len(all_batches)}):
            state = pickle.loads(pickle.dumps(dataset.state_after(batches, taken)))
            other = self.make(path, fields="number")
            other.load_state_dict(state)
            rest = loader(other, workers, drop_last=drop_last)
            assert [batch.tolist() for batch in rest] == all_batches[taken:]
            assert other.state_after(rest, 0) == state
        assert [batch.tolist() for batch in rest] == all_batches, "the next epoch is whole"
        assert other.state_after(rest, 3) == dataset.state_after(batches, 3)

    def test_resumes_twice_with_persistent_workers(self, path):
        dataset = self.make(path, fields="number")
        all_batches = [batch.tolist() for batch in loader(dataset, 2)]
        batches = loader(dataset, 2, persistent_workers=True)
        for stops in ([5, 3], [1, 1, 1, 7]):
            dataset.set_epoch(0)
            got = []
            for stop in stops:
                got += [batch.tolist() for batch in itertools.islice(batches, stop)]
                dataset.load_state_dict(dataset.state_after(batches, stop))
            assert got + [batch.tolist() for batch in batches] == all_batches
        dataset.set_epoch(0)
        assert [batch.tolist() for batch in batches] == all_batches

    def test_the_state_of_this_process(self, path):
        dataset = self.make(path, fields="number")
        expected = list(dataset)
        for stop in (0, 1, 20, N):
            dataset.set_epoch(0)
            list(itertools.islice(iter(dataset), stop))
            state = dataset.state_dict()
            assert state == dataset.state_after(loader(dataset, batch_size=1), stop)
            dataset.load_state_dict(state)
            assert dataset.state_dict() == state
            assert list(dataset) == expected[stop:]

    def test_states_in_workers(self, path):
        """What torchdata's StatefulDataLoader does: each worker saves and loads a state of its own."""
        everything = list(loader(Stateful(path), 2, batch_size=None))
        numbers, states = (
            [number for number, _ in everything],
            dict((state["worker"], state) for _, state in everything[:11]),
        )
        rest = [number for number, _ in loader(Stateful(path, states), 2, batch_size=None)]
        assert len(rest) == N - 11
        assert set(rest) == set(numbers[11:])
        with pytest.raises(InvalidOption, match="worker 1 of 2"):
            Stateful(path).load_state_dict(states[1])

    def test_states_that_do_not_fit(self, path):
        dataset = self.make(path)
        batches = loader(dataset, 2)
        state = dataset.state_after(batches, 3)
        for options in ({"seed": 4}, {"window": 8}, {"shuffle": False}, {"rank": 0, "world_size": 2}):
            with pytest.raises(InvalidOption, match="of a state"):
                self.make(path, **options).load_state_dict(state)
        dataset.load_state_dict(state)
        with pytest.raises(InvalidOption, match="workers of the loader"):
            list(loader(dataset))
        with fails(InvalidOption, match="workers of the loader"):
            list(loader(dataset, 1))
        with pytest.raises(InvalidOption, match="batch size"):
            dataset.state_after(loader(dataset, 2, batch_size=5), 1)
        if hasattr(batches, "in_order"):
            with pytest.raises(InvalidOption, match="in_order"):
                dataset.state_after(loader(dataset, 2, in_order=False), 1)

    @pytest.mark.parametrize(
        "options",
        [
            {"seed": -1},
            {"window": 0},
            {"rank": 0},
            {"world_size": 2},
            {"rank": 2, "world_size": 2},
            {"fields": "nothing"},
        ],
    )
    def test_options_that_are_refused(self, path, options):
        with pytest.raises(InvalidOption):
            self.make(path, **options)
        with pytest.raises(InvalidOption, match="epoch"):
            self.make(path).set_epoch(-1)

    @pytest.mark.parametrize("workers", [0, 2])
    @pytest.mark.parametrize(
        ("n", "frame_images", "told"),
        [(2 * N, 5, "106 images in 22"), (3, 5, "3 images in 1"), (N, 6, "53 images in 9")],
    )
    def test_a_stream_that_changed(self, tmp_path, workers, n, frame_images, told):
        path = tmp_path / "images.tych"
        write_stream(numbered(), path, frame_images=5)
        dataset = self.make(path)
        dataset.close()
        write_stream(numbered(n), path, frame_images=frame_images)
        with fails(FormatError, match=f"expected 53 images in 11 frames .*, got {told} frames"):
            numbers_of(loader(dataset, workers))
        write_stream(numbered(), path, frame_images=5)
        dataset.close()
        assert numbers_of(loader(dataset, workers)) == numbers_of(loader(self.make(path), workers))

    @pytest.mark.parametrize("state", [{}, {"of": 3}, {"of": []}, []])
    def test_what_is_no_state(self, path, state):
        with pytest.raises(InvalidOption, match="no state"):
            self.make(path).load_state_dict(state)

    def test_no_images(self):
        assert list(self.make(write_stream([]))) == []
        assert list(loader(TriptychDataset(write_stream([])))) == []


class TestModes:
    """Collections of several modes, as photographs with some grey ones among them."""

    kinds = pytest.mark.parametrize("kind", [TriptychDataset, TriptychIterableDataset])

    def images(self):
        rng = np.random.default_rng(0)
        shapes = [(4, 5, *((channels,) if channels > 1 else ())) for channels in (3, 1, 4, 2, 3, 1)]
        return [rng.integers(0, 256, shape, np.uint8) for shape in shapes]

    @given(st.sampled_from(MODES), st.sampled_from(MODES), st.integers(0, 2**32 - 1))
    @settings(max_examples=60)
    def test_conversion_is_pillows(self, given_mode, mode, seed):
        channels = MODES.index(given_mode) + 1
        pixels = np.random.default_rng(seed).integers(0, 256, (7, 5, channels), np.uint8)
        pixels = pixels[:, :, 0] if channels == 1 else pixels
        converted = convert(pixels, mode)
        expected = np.asarray(Image.fromarray(pixels, given_mode).convert(mode))
        assert converted.dtype == np.uint8
        assert converted.flags.c_contiguous
        np.testing.assert_array_equal(converted, expected)

    @kinds
    @pytest.mark.parametrize("workers", [0, 2])
    @pytest.mark.parametrize("mode", MODES)
    def test_every_batch_is_stacked(self, kind, mode, workers):
        images = self.images()
        dataset = kind(
            write_stream([Record(image) for image in images]), mode=mode, fields=["image", "number"]
        )
        seen = 0
        for batch, numbers in loader(dataset, workers, batch_size=3):
            assert batch.shape == (3, MODES.index(mode) + 1, 4, 5)
            for image, number in zip(batch, numbers.tolist(), strict=True):
                expected = np.atleast_3d(convert(images[number], mode)).transpose(2, 0, 1)
                np.testing.assert_array_equal(image, expected)
            seen += len(batch)
        assert seen == len(images)

    @kinds
    def test_a_transform_gets_what_was_converted(self, kind):
        dataset = kind(
            write_stream([Record(image) for image in self.images()]),
            mode="L",
            transform=lambda image: image.shape,
        )
        assert (
            list(dataset if kind is TriptychIterableDataset else map(dataset.__getitem__, range(6)))
            == [(1, 4, 5)] * 6
        )

    @kinds
    def test_what_would_not_be_stacked_is_said_before(self, kind):
        dataset = kind(write_stream([Record(image) for image in self.images()]))
        batches = loader(dataset, batch_size=3)
        told = pytest.warns(UserWarning, match="image 0 is RGB and image 1 is L, .*mode='RGB'")
        with told, pytest.raises(RuntimeError, match="stack"):
            list(batches)
        assert len(told) == 1

    @kinds
    def test_who_converts_or_has_one_mode_is_told_nothing(self, kind):
        mixed = write_stream([Record(image) for image in self.images()])
        list(loader(kind(mixed, transform=lambda image: image.sum())))
        list(loader(kind(mixed, fields="number")))
        list(loader(kind(write_stream(numbered()))))

    def test_what_no_mode_converts(self):
        for kind in (TriptychDataset, TriptychIterableDataset):
            for mode in ("CMYK", 3, "rgb"):
                with pytest.raises(
                    InvalidOption, match="mode must be None or one of 'L', 'LA', 'RGB', 'RGBA'"
                ):
                    kind(b"", mode=mode)
        with pytest.raises(InvalidOption, match="not of 7 bands"):
            convert(np.zeros((2, 2, 7), np.uint8), "RGB")


class TestSkipping:
    """Damaged frames: 53 images, 5 to a frame; frames 2 and 3 are damaged, so images 10 to 19 are."""

    lost = range(10, 20)

    @pytest.fixture
    def damaged(self, tmp_path):
        data = bytearray(write_stream(numbered(), frame_images=5))
        with tp.Reader(bytes(data)) as reader:
            for image in (12, 17):
                info = reader.info(image)
                data[info["offset"] + info["frame_bytes"] - 1] ^= 1
        path = tmp_path / "damaged.tych"
        path.write_bytes(data)
        return path

    @pytest.mark.parametrize("kind", [TriptychDataset, TriptychIterableDataset])
    @pytest.mark.parametrize("workers", [0, 2])
    def test_damage_is_raised_unless_told_otherwise(self, damaged, kind, workers):
        dataset = kind(damaged)
        with fails(ChecksumMismatch, match="payload CRC"):
            list(loader(dataset, workers))
        assert dataset.n_skipped == 0

    @pytest.mark.parametrize("workers", [0, 1, 2])
    @pytest.mark.parametrize("shuffle", [False, True])
    def test_frame_by_frame_they_are_left_out(self, damaged, workers, shuffle):
        dataset = TriptychIterableDataset(
            damaged, on_error="skip", shuffle=shuffle, fields=("image", "number")
        )
        for epoch in (1, 2):
            seen = []
            for images, numbers in loader(dataset, workers):
                assert images[:, 0, 0, 0].tolist() == numbers.tolist()
                seen += numbers.tolist()
            assert sorted(seen) == sorted({*range(N)} - {*self.lost})
            assert dataset.n_skipped == epoch * len(self.lost)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_by_number_others_come_in_their_place(self, damaged, workers):
        dataset = TriptychDataset(damaged, on_error="skip", fields=("image", "number"))
        assert len(dataset) == N
        seen = []
        for images, numbers in loader(dataset, workers):
            assert len(images) == BATCH or len(seen) + len(images) == N
            assert images[:, 0, 0, 0].tolist() == numbers.tolist()
            seen += numbers.tolist()
        assert [n for n in range(N) if seen[n] != n] == list(self.lost)
        assert [seen[n] for n in self.lost] == [*range(20, 25)] * 2
        assert dataset.n_skipped == len(self.lost)
        assert dataset[-1][1] == N - 1

    def test_the_last_frame_is_followed_by_the_first(self, damaged):
        data = bytearray(damaged.read_bytes())
        info = tp.Reader(bytes(data)).info(N - 1)
        data[info["offset"] + info["frame_bytes"] - 1] ^= 1
        dataset = TriptychDataset(bytes(data), on_error="skip", fields="number")
        assert dataset.__getitems__([52, 11, 0, 52]) == [2, 21, 0, 2]

    def test_nothing_is_whole(self):
        data = bytearray(write_stream(numbered(2), frame_images=1))
        for image in (0, 1):
            info = tp.Reader(bytes(data)).info(image)
            data[info["offset"] + info["frame_bytes"] - 1] ^= 1
        with pytest.raises(ChecksumMismatch):
            TriptychDataset(bytes(data), on_error="skip")[0]
        assert list(TriptychIterableDataset(bytes(data), on_error="skip")) == []

    @pytest.mark.parametrize("kind", [TriptychDataset, TriptychIterableDataset])
    def test_where_no_index_counts_what_is_lost_that_is_said(self, kind):
        data = bytearray(write_stream(numbered(2), frame_images=5) + write_stream(numbered(5)))
        info = tp.Reader(bytes(data)).info(0)
        data[info["offset"] + info["frame_bytes"] - 1] ^= 1
        with pytest.warns(UserWarning, match="1 damaged range"):
            assert len(kind(bytes(data), on_error="skip")) == 5

    def test_a_state_loses_nothing(self, damaged):
        dataset = TriptychIterableDataset(damaged, on_error="skip", fields="number")
        batches = loader(dataset, 2)
        seen = [numbers.tolist() for numbers, _ in zip(batches, range(6), strict=False)]
        other = TriptychIterableDataset(damaged, on_error="skip", fields="number")
        other.load_state_dict(dataset.state_after(batches, 6))
        rest = [numbers.tolist() for numbers in loader(other, 2)]
        assert {*itertools.chain(*seen), *itertools.chain(*rest)} == {*range(N)} - {*self.lost}

    def test_latents_are_skipped_too(self, tmp_path):
        path = TestLatents().write(tmp_path / "latents.tych", "whole", "ae")
        data = bytearray(path.read_bytes())
        info = tp.Reader(bytes(data)).info(7)
        data[info["offset"] + info["frame_bytes"] - 1] ^= 1
        dataset = LatentDataset(bytes(data), on_error="skip", fields=["number"])
        assert [item["number"] for item in dataset] == [*range(6), *range(12, 23)]
        assert dataset.n_skipped == 6

    def test_only_damage_is_skipped(self, damaged):
        dataset = TriptychDataset(damaged, on_error="skip", limits=tp.Limits(pixels_per_image=2))
        with pytest.raises(LimitExceeded):
            dataset[0]
        with pytest.raises(ZeroDivisionError):
            TriptychDataset(damaged, on_error="skip", transform=lambda image: 1 // 0)[0]

    def test_what_does_not_go_together(self, damaged):
        with pytest.raises(InvalidOption, match="on_error must be one of 'raise', 'skip'"):
            TriptychDataset(damaged, on_error="warn")
        with pytest.raises(InvalidOption, match="even=True"):
            TriptychIterableDataset(damaged, on_error="skip", even=True)


class Stateful(TriptychIterableDataset):
    """Gives the state after each image; begins from those of its workers."""

    def __init__(self, path, states=()):
        super().__init__(path, fields="number", shuffle=True)
        self.states = states

    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        if info.id in self.states:
            self.load_state_dict(self.states[info.id])
        return ((number, self.state_dict()) for number in super().__iter__())


class TestNothingIsLeft:
    def held(self):
        gc.collect()
        for thread in threading.enumerate():
            if thread.name == "QueueFeederThread":  # of a loader's queue: ends soon after its close
                thread.join(5)
        shared = Path("/dev/shm")
        return {
            "handles": len(os.listdir("/proc/self/fd")),
            "shared": set(shared.iterdir()) if shared.exists() else set(),
            "threads": threading.active_count(),
        }

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc to count handles in")
    @pytest.mark.parametrize("kind", [TriptychDataset, TriptychIterableDataset])
    @pytest.mark.parametrize("persistent", [False, True])
    @pytest.mark.parametrize("stop", [None, 3])
    def test_after_epochs_and_after_an_interrupt(self, path, kind, persistent, stop):
        def run():
            dataset = kind(path)
            batches = loader(dataset, 2, persistent_workers=persistent)
            for _ in range(2):
                with suppress(KeyboardInterrupt):
                    for number, _ in enumerate(batches):
                        if number == stop:
                            raise KeyboardInterrupt
            assert numbers_of(loader(dataset))[:2] == [0, 1]

        run()
        before = self.held()
        run()
        # Less is held where something of another test ended meanwhile.
        after = self.held()
        assert {name: (before[name], more) for name, more in after.items() if not more <= before[name]} == {}


class TestLatents:
    @pytest.fixture(autouse=True)
    def one_thread(self):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)

    def write(self, path, architecture, mode, shape=(16, 16, 3), n=23):
        rng = np.random.default_rng(0)
        with tp.Writer(path, small_network(architecture), mode=mode, threads=1, frame_images=6) as writer:
            for i in range(n):
                writer.write(rng.integers(0, 256, shape, np.uint8), label=i)
        return path

    @pytest.mark.parametrize("workers", [0, 2])
    @pytest.mark.parametrize(
        ("architecture", "mode", "shape"),
        [
            ("whole", "ae", (16, 16, 3)),
            ("whole", "gan", (16, 16, 3)),
            ("patches", "gan", (19, 37, 3)),
            ("patches", "ae", (19, 16)),
        ],
    )
    def test_what_is_drawn_is_what_a_reader_gives(self, tmp_path, architecture, mode, shape, workers):
        path = self.write(tmp_path / "latents.tych", architecture, mode, shape)
        dataset = LatentDataset(path, fields=("label",), shuffle=True, window=2)
        labels = []
        for realism in (None, 0.0, 1.0) if mode == "gan" else (None,):
            with tp.Reader(path, realism=realism) as reader:
                for batch in loader(dataset, workers, batch_size=5):
                    assert batch["latents"].dtype == torch.int16
                    images = dataset.draw(batch, realism)
                    assert images.dtype == torch.uint8
                    for image, label in zip(images, batch["label"].tolist(), strict=True):
                        expected = torch.from_numpy(np.atleast_3d(reader[label])).permute(2, 0, 1)
                        assert image.shape == expected.shape
                        assert (image.int() - expected.int()).abs().max() <= 1
                        labels.append(label)
        assert sorted(labels) == sorted([*range(23)] * (len(labels) // 23))
        assert len(labels) >= 23

    def test_batches_of_several_qualities(self, tmp_path):
        image, book = np.full((16, 16, 3), 90, np.uint8), small_network("whole")
        streams = [
            tp.encode(image, mode="ae", quality=quality, dictionary=book, threads=1) for quality in (5, 95)
        ]
        both = b"".join(streams)
        dataset = LatentDataset(both)
        (batch,) = loader(dataset)
        assert batch["quality"].tolist() == [5, 95]
        assert batch["shape"].tolist() == [[16, 16, 3]] * 2
        for image, expected in zip(dataset.draw(batch), tp.Reader(both), strict=True):
            assert (image.permute(1, 2, 0).int() - torch.from_numpy(expected).int()).abs().max() <= 1

    def test_workers_load_no_networks(self, tmp_path, monkeypatch):
        path = self.write(tmp_path / "latents.tych", "whole", "ae")
        monkeypatch.setattr("triptych.modes.panel.load_networks", None)
        assert len(list(LatentDataset(path))) == 23

    def test_resumes_and_pickles(self, tmp_path):
        dataset = LatentDataset(self.write(tmp_path / "latents.tych", "whole", "ae"), shuffle=True)
        batches = list(loader(dataset))
        dataset.draw(batches[0])
        other = pickle.loads(pickle.dumps(dataset))
        other.load_state_dict(dataset.state_after(loader(dataset), 2))
        for one, two in zip(batches[2:], loader(other), strict=True):
            assert torch.equal(one["latents"], two["latents"])

    def test_what_cannot_be_drawn(self, path, tmp_path):
        whole = self.write(tmp_path / "whole.tych", "whole", "ae", n=2).read_bytes()
        gan = self.write(tmp_path / "gan.tych", "whole", "gan", n=2).read_bytes()
        dataset = LatentDataset(whole + gan)
        with pytest.raises(DictionaryMismatch, match="of the first one") as caught:
            list(dataset)
        assert caught.value.__notes__[0].startswith("images 2, 3 of ")
        for source in (path, b"".join([path.read_bytes(), whole])):
            with pytest.raises(DictionaryMismatch, match="ae and gan"):
                LatentDataset(source)
        patches = self.write(tmp_path / "a.tych", "patches", "ae", (20, 20), 1).read_bytes()
        other = self.write(tmp_path / "b.tych", "patches", "ae", (20, 21), 1).read_bytes()
        (batch,) = loader(dataset := LatentDataset(patches + other))
        with pytest.raises(InvalidOption, match="2 shapes"):
            dataset.draw(batch)
        with pytest.raises(InvalidOption, match="realism"):
            dataset.draw(batch | {"shape": batch["shape"][:1]}, realism=2)
        with pytest.raises(LimitExceeded) as caught:
            list(LatentDataset(whole, limits=tp.Limits(decoded_bytes=100)))
        assert caught.value.frame == 0
        for name in ("transform", "mode", "n_components", "realism"):
            with pytest.raises(InvalidOption, match=name):
                LatentDataset(whole, **{name: 1})


class TestReplayed:
    def work(self, values, level, constant):
        self.sizes.append(len(values))
        return values * level[:, None] + constant

    def check(self, device):
        self.sizes = []
        replayed = Replayed(self.work)
        for n in (1, 3, 4, 5, 8, 6):
            for constant in (0.0, 2.0):
                values = torch.arange(2.0 * n, device=device).view(n, 2) + constant
                level = torch.arange(1.0, n + 1, device=device)
                assert torch.equal(replayed(values, level, constant), values * level[:, None] + constant)
        return self.sizes

    def test_batches_are_filled_up(self):
        assert self.check("cpu") == [size for size in (1, 4, 4, 8, 8, 8) for _ in range(2)]

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs are captured on a GPU")
    def test_graphs_are_captured_once(self):
        assert self.check("cuda") == [size for size in (1, 4, 8) for _ in range(4)]

    @given(st.integers(1, 1 << 20))
    @settings(max_examples=20)
    def test_buckets(self, n):
        bucket = bucket_of(n)
        assert n <= bucket < 2 * n
        assert bucket & (bucket - 1) == 0
