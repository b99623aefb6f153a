"""Threads, executors, processes, pipes, pickles."""

import io
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import fsspec
import numpy as np
import pytest
import triptych as tp
from hypothesis import given
from hypothesis import strategies as st
from strategies import BOOK, Record, records, same_images, small_records, write_stream
from triptych.errors import ReaderClosed
from triptych.parallel import OrderedPool, ordered_map


def test_an_abandoned_map_waits_for_nothing():
    """The cyclic collector may end it in a thread that is just starting, where to wait is to wait for ever.

    Jobs that have not begun are dropped, and threads end with the jobs they are at.
    """
    go, begun = threading.Event(), []

    def job(number):
        begun.append(number)
        return number == 0 or go.wait(60)

    results = ordered_map(job, range(10), 2)
    assert next(results) is True
    thread = threading.Thread(target=results.close)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    go.set()
    for worker in threading.enumerate():
        if worker.name.startswith("triptych"):
            worker.join(30)
    assert len(begun) <= 3


@given(st.lists(records(), max_size=12), st.integers(1, 4), st.booleans())
def test_the_same_bytes_for_any_number_of_threads(some_records, frame_images, embed):
    def write(**arguments):
        return write_stream(
            some_records, dictionary=BOOK, embed=embed, frame_images=frame_images, **arguments
        )

    one = write(threads=1)
    assert write(threads=2) == one
    assert write(threads=8) == one
    with ThreadPoolExecutor(3) as executor:
        assert write(executor=executor) == one
        assert write(executor=executor, threads=1) == one
    for threads in (1, 2, 8):
        reader = tp.Reader(one, dictionary=BOOK, threads=threads)
        assert same_images(list(reader), some_records)
        assert same_images(reader[:], some_records)
        assert tp.verify(one, dictionary=BOOK, threads=threads).images == len(some_records)


def test_another_process_gives_the_same_bytes():
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as executor:
        parallel = write_stream(small_records(20), frame_images=3, dictionary=BOOK, executor=executor)
    assert parallel == write_stream(small_records(20), frame_images=3, dictionary=BOOK)


def test_results_in_order_and_few_jobs_under_way():
    class Lazy(Executor):
        """Runs a job only when its result is asked for."""

        def __init__(self):
            self.under_way = self.most = 0

        def submit(self, function, /, *args, **kwargs):
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            executor = self

            class LazyFuture(Future):
                def result(self, timeout=None):
                    executor.under_way -= 1
                    return function(*args, **kwargs)

            return LazyFuture()

    executor = Lazy()
    pool = OrderedPool(3, executor)
    results = []
    for number in range(50):
        results += pool.submit(lambda number=number: number)
    results += pool.drain()
    assert results == list(range(50))
    assert executor.most <= 7


def test_many_threads_on_one_reader(tmp_path):
    path = tmp_path / "images.tych"
    some_records = [Record(record.image, {"key": f"k{n}"}) for n, record in enumerate(small_records(60))]
    write_stream(some_records, path, frame_images=4)
    for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
        with tp.Reader(source) as reader:
            failures = []

            def work(seed, reader=reader, failures=failures):
                for number in np.random.default_rng(seed).integers(0, 60, 100).tolist():
                    if (reader[number] != number).any() or (reader[f"k{number}"] != number).any():
                        failures.append(number)

            threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert failures == []


def test_reader_pickles(tmp_path):
    path = tmp_path / "images.tych"
    write_stream(small_records(5), path, dictionary=BOOK, embed=False)
    with tp.Reader(path, dictionary=BOOK, damage="skip", threads=2) as reader:
        pickled = pickle.dumps(reader)
    with pickle.loads(pickled) as other:
        assert same_images(list(other), small_records(5))
    for source in (path.read_bytes(), memoryview(path.read_bytes())):
        assert len(pickle.loads(pickle.dumps(tp.Reader(source)))) == 5
    with pytest.raises(TypeError, match="path"):
        pickle.dumps(tp.Reader(io.BytesIO(path.read_bytes())))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_reader_survives_fork(tmp_path):
    path = tmp_path / "images.tych"
    write_stream(small_records(40), path, frame_images=2)
    with tp.Reader(path) as reader:
        assert len(reader) == 40
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=_read_all, args=(reader,)) for _ in range(3)]
        for child in children:
            child.start()
        _read_all(reader)
        for child in children:
            child.join()
        assert [child.exitcode for child in children] == [0, 0, 0]


def _read_all(reader):
    for _ in range(5):
        assert [int(reader[number][0, 0]) for number in range(40)] == list(range(40))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork_while_another_thread_reads(tmp_path):
    """A lock that a thread of the parent held is held for ever in the child, unless it is made anew."""
    path = tmp_path / "images.tych"
    write_stream(small_records(40), path, frame_images=2)
    for source in (path, io.BytesIO(path.read_bytes())):
        with tp.Reader(source) as reader, reader._cache._lock, reader._lock, reader._source._lock:
            child = multiprocessing.get_context("fork").Process(target=_read_all, args=(reader,))
            child.start()
            child.join(60)
            assert child.exitcode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("buffering", [-1, 0])
def test_forked_children_share_a_file_object(tmp_path, buffering):
    path = tmp_path / "images.tych"
    path.write_bytes(b"prefix" + write_stream(small_records(40), frame_images=1))
    with path.open("rb", buffering) as handle:
        handle.seek(6)
        reader = tp.Reader(handle)
        assert len(reader) == 40
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=_read_uncached, args=(reader,)) for _ in range(2)]
        for child in children:
            child.start()
        _read_uncached(reader)
        for child in children:
            child.join(60)
        assert [child.exitcode for child in children] == [0, 0]
        assert handle.tell() == 6


def _read_uncached(reader):
    for _ in range(10):
        reader._cache._after_fork()
        _read_all(reader)


def test_reader_travels_to_a_spawned_process(tmp_path):
    path = tmp_path / "images.tych"
    write_stream(small_records(5), path)
    with tp.Reader(path) as reader:
        assert len(reader) == 5
        script = f"import pickle; assert len(pickle.loads({pickle.dumps(reader)!r})) == 5"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-W", "error", "-c", script], env=environment, check=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_leaves_the_writers_file_alone(tmp_path):
    path = tmp_path / "images.tych"
    with tp.Writer(path, mode="raw", threads=1) as writer:
        writer.write(small_records(1)[0].image)
        child = multiprocessing.get_context("fork").Process(target=_finalize)
        child.start()
        child.join()
    assert tp.verify(path).images == 1


def _finalize():
    import weakref

    weakref.finalize._exitfunc()


class TestPipes:
    """From one thread to another, through a real pipe."""

    def run(self, write, read):
        reading, writing = os.pipe()

        def feed():
            with os.fdopen(writing, "wb", buffering=0) as target:
                write(target)

        thread = threading.Thread(target=feed)
        thread.start()
        try:
            with os.fdopen(reading, "rb", buffering=0) as source:
                return read(source)
        finally:
            thread.join()

    @pytest.mark.parametrize("threads", [1, 2])
    def test_write_and_iterate(self, threads):
        some_records = [Record(np.full((100, 100, 3), n, np.uint8), {"key": f"k{n}"}) for n in range(20)]
        images = self.run(
            lambda target: write_stream(some_records, target, dictionary=BOOK),
            lambda source: list(tp.Reader(source, threads=threads)),
        )
        assert same_images(images, some_records)

    def test_items_and_decode_and_verify(self):
        def write(target):
            write_stream([Record(np.zeros((300, 300), np.uint8), {"key": "one"})], target)

        ((info, pixels),) = self.run(write, lambda source: list(tp.Reader(source).items()))
        assert (info["key"], pixels.shape) == ("one", (300, 300))
        assert self.run(write, tp.decode).shape == (300, 300)
        assert self.run(write, tp.verify).images == 1

    def test_damage_is_skipped_and_the_end_is_seen(self):
        stream = write_stream(small_records(9), frame_images=3)
        damaged = stream[:40] + b"?" * 100_000 + stream[40:]
        images = self.run(
            lambda target: _write_all(target, damaged), lambda source: list(tp.Reader(source, damage="skip"))
        )
        assert [int(image[0, 0]) for image in images] == [3, 4, 5, 6, 7, 8]
        with pytest.raises(tp.Truncated):
            self.run(lambda target: _write_all(target, stream[:50]), lambda source: list(tp.Reader(source)))

    def test_concatenate(self):
        stream = write_stream(small_records(4), frame_images=2)
        joined = io.BytesIO()
        self.run(
            lambda target: _write_all(target, stream), lambda source: tp.concatenate([source, stream], joined)
        )
        assert tp.verify(joined.getvalue()).images == 8

    def test_random_access_is_refused(self):
        def read(source):
            reader = tp.Reader(source)
            for way in (
                len,
                lambda reader: reader[0],
                lambda reader: reader.info(0),
                lambda reader: reader.metadata,
            ):
                with pytest.raises(tp.NotSeekable):
                    way(reader)
            list(reader)
            with pytest.raises(tp.NotSeekable):
                list(reader)

        self.run(lambda target: write_stream(small_records(2), target), read)

    def test_fifo(self, tmp_path):
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        thread = threading.Thread(target=write_stream, args=(small_records(3), fifo))
        thread.start()
        with tp.Reader(fifo) as reader:
            assert same_images(list(reader), small_records(3))
        thread.join()


def _write_all(target, data):
    view = memoryview(data)
    while view:
        view = view[target.write(view) :]


def test_a_file_object_is_read_from_where_it_stands():
    handle = io.BytesIO(b"prefix" + write_stream(small_records(3)))
    handle.seek(6)
    assert len(tp.Reader(handle)) == 3


def test_urls_go_through_fsspec():
    with fsspec.open("memory://images.tych", "wb") as file:
        file.write(write_stream(small_records(3)))
    with tp.Reader("memory://images.tych") as reader:
        assert same_images(reader[:], small_records(3))


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr("triptych.reader.CACHE_BYTES", 20_000)
    some_records = [Record(np.full((40, 40), n, np.uint8)) for n in range(50)]
    reader = tp.Reader(write_stream(some_records, frame_images=2))
    for _ in range(3):
        for number in range(50):
            assert (reader[number] == number).all()
            assert reader._cache._nbytes <= 20_000
            assert reader._cache._nbytes == sum(frame.nbytes for frame in reader._cache._frames.values())


def test_a_closed_reader(tmp_path):
    path = tmp_path / "images.tych"
    write_stream(small_records(4), path, frame_images=1)
    for source in (path, path.read_bytes()):
        reader = tp.Reader(source)
        assert reader[0] is not None
        images = iter(reader)
        next(images)
        reader.close()
        with pytest.raises(ReaderClosed, match="the Reader is closed"):
            next(images)
        for ask in (len, list, tp.Reader.keys, lambda reader: reader[0]):
            with pytest.raises(ReaderClosed, match="the Reader is closed"):
                ask(reader)


def test_a_key_that_no_image_can_have():
    reader = tp.Reader(write_stream([Record(np.zeros((2, 2), np.uint8), {"key": "one"})]))
    assert "\ud800" not in reader
    with pytest.raises(tp.KeyMissing):
        reader["\ud800"]
