"""Streams behind URLs: how many requests, which bytes, what happens when something fails."""

from __future__ import annotations

import builtins
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import fsspec
import numpy as np
import pytest
import triptych as tp
from hypothesis import given
from hypothesis import strategies as st
from strategies import BOOK, Record, same_images, small_records, write_stream
from triptych import remote, table
from triptych.errors import ExtraMissing, RemoteError
from triptych.remote import BLOCK, RemoteSource


class Server(ThreadingHTTPServer):
    """Serves one file under any name but /missing; notes the ranges asked for (None: a HEAD request)."""

    daemon_threads = True

    def __init__(self, data):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = data
        self.requests = []
        self.tokens = set()
        self.knows_ranges = True
        self.cut_after = None
        self.n_sent = 0
        self.seconds = 0.0
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}/images.tych"


class Zeros:
    """So many zeros."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.server.tokens.add(self.headers.get("Authorization"))
        self.server.requests.append(None)
        if self.path == "/missing":
            self._send(404, b"")
        else:
            self._send(200, self.server.data, body=False)

    def do_GET(self):
        data = self.server.data
        self.server.tokens.add(self.headers.get("Authorization"))
        self._count(1)
        time.sleep(self.server.seconds)
        self._count(-1)
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if self.path == "/missing":
            self._send(404, b"")
        elif found is None or not self.server.knows_ranges:
            self.server.requests.append((0, len(data)))
            self._send(200, data)
        else:
            start, stop = int(found[1]), min(int(found[2]) + 1, len(data))
            self.server.requests.append((start, stop))
            if start >= len(data):
                self._send(416, b"")
            else:
                self._send(206, data[start:stop], {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"})

    def _count(self, change):
        with self.server.lock:
            self.server.in_flight += change
            self.server.most_in_flight = max(self.server.most_in_flight, self.server.in_flight)

    def _send(self, status, data, headers=(), body=True):
        self.send_response(status)
        for name, value in {"Content-Length": len(data), "Accept-Ranges": "bytes", **dict(headers)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if body and isinstance(data, Zeros):
            self.close_connection = True
            with suppress(ConnectionError):
                while self.server.n_sent < len(data):
                    self.server.n_sent += self.wfile.write(bytes(BLOCK))
        elif body:
            cut = self.server.cut_after
            self.wfile.write(data if cut is None else data[:cut])
            if cut is not None:
                self.close_connection = True


@contextmanager
def served(data):
    server = Server(data)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        # The next test's server may get the same port: no connection may be left over for it.
        for instance in list(fsspec.get_filesystem_class("http")._cache.values()):
            if getattr(instance, "_session", None) is not None:
                instance.close_session(instance.loop, instance._session)
                instance._session = None
        fsspec.get_filesystem_class("http").clear_instance_cache()
        server.shutdown()
        thread.join()
        server.server_close()


def noise(n, side=64, seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), np.uint8)
    return [Record(image, {"key": f"k{number}"}) for number, image in enumerate(images)]


RECORDS = noise(400)
STREAM = write_stream(RECORDS, frame_images=4, dictionary=BOOK)


def test_two_requests_open_a_stream_and_one_gets_neighbours():
    with served(STREAM) as server, tp.Reader(server.url) as reader:
        assert len(reader) == 400
        assert len(server.requests) == 2
        assert server.requests[0] is None
        assert same_images([reader[100]], RECORDS[100:101])
        # The headers of the stream and of the dictionary's frame, and the image's.
        assert len(server.requests) <= 5
        del server.requests[:]
        assert same_images(reader.read_batch(range(120, 160)), RECORDS[120:160])
        assert len(server.requests) == 1
        (start, stop) = server.requests.pop()
        assert stop - start < 41 * 64 * 64 * 3
        assert same_images(reader[120:160], RECORDS[120:160])
        assert server.requests == []


def test_no_byte_is_read_twice():
    with served(STREAM) as server, tp.Reader(server.url) as reader:
        out = np.empty((400, 64, 64, 3), np.uint8)
        order = np.random.default_rng(0).permutation(400).tolist()
        assert reader.read_batch(order, out) is out
        assert same_images(list(out), [RECORDS[number] for number in order])
        ranges = sorted(request for request in server.requests if request)
        assert all(before[1] <= after[0] for before, after in pairwise(ranges))
        assert len(ranges) < 20


def test_what_lies_between_frames_counts_where_they_are_fetched_together(monkeypatch):
    monkeypatch.setattr(remote, "KEPT_BYTES", 1 << 22)
    monkeypatch.setattr(table, "PREFETCH_BYTES", 1 << 21)
    records = noise(1200)
    with served(write_stream(records, frame_images=1)) as server, tp.Reader(server.url) as reader:
        assert len(reader) == 1200
        del server.requests[:]
        order = np.random.default_rng(0).permutation(np.arange(0, 1200, 4)).tolist()
        assert same_images(reader.read_batch(order), [records[number] for number in order])
        assert all(before[1] <= after[0] for before, after in pairwise(sorted(server.requests)))


def test_loaders_fetch_the_frames_of_a_window_at_the_same_time():
    from triptych.interop.torch import TriptychIterableDataset

    with served(STREAM) as server:
        dataset = TriptychIterableDataset(server.url, fields="number", shuffle=True, window=10)
        server.seconds = 0.05
        assert sorted(dataset) == [*range(400)]
        assert server.most_in_flight > 2
        dataset.close()


def test_iteration_reads_ahead():
    with served(STREAM) as server, tp.Reader(server.url) as reader:
        assert same_images(list(reader), RECORDS)
        assert len(server.requests) < 20
        assert sum(stop - start for start, stop in server.requests[1:]) <= len(STREAM)
    with served(STREAM) as server:
        assert tp.verify(server.url).images == 400


@given(st.lists(st.tuples(st.integers(0, 300_000), st.integers(0, 50_000)), max_size=12), st.booleans())
def test_any_reads_give_the_bytes_that_are_there(reads, ahead):
    data = np.random.default_rng(1).bytes(250_000)
    with fsspec.open("memory://bytes", "wb") as file:
        file.write(data)
    source = RemoteSource("memory://bytes")
    assert source.size == len(data)
    if ahead:
        source.prefetch([(at, at + length) for at, length in reads])
    for at, length in reads:
        assert source.read_at(at, length) == data[at : at + length]


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(remote, "KEPT_BYTES", 4 * BLOCK)
    data = bytes(40 * BLOCK)
    fsspec.filesystem("memory").pipe_file("/zeros", data)
    source = RemoteSource("memory://zeros")
    for at in range(0, len(data), BLOCK // 2):
        assert source.read_at(at, 100) == data[at : at + 100]
        assert sum(map(len, source._pieces.values())) <= 4 * BLOCK
        assert sorted(source._pieces) == source._starts == sorted(source._order)


def test_a_remote_reader_pickles_and_survives_fork():
    with served(STREAM) as server:
        with tp.Reader(server.url, threads=2) as reader:
            assert same_images([reader[5]], RECORDS[5:6])
            pickled = pickle.dumps(reader)
            with pickle.loads(pickled) as other:
                assert same_images([other["k7"]], RECORDS[7:8])
            if hasattr(os, "fork"):
                context = multiprocessing.get_context("fork")
                children = [context.Process(target=_read, args=(reader,)) for _ in range(2)]
                for child in children:
                    child.start()
                _read(reader)
                for child in children:
                    child.join(60)
                assert [child.exitcode for child in children] == [0, 0]
        script = f"import pickle; assert len(pickle.loads({pickled!r})) == 400"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-W", "error", "-c", script], env=environment, check=True)


def _read(reader):
    for number in (3, 399, 200):
        assert same_images([reader[number]], RECORDS[number : number + 1])


def test_many_threads_on_one_remote_reader():
    with served(STREAM) as server, tp.Reader(server.url) as reader:
        failures = []

        def work(seed):
            numbers = np.random.default_rng(seed).integers(0, 400, 30).tolist()
            failures.extend(n for n in numbers if not same_images([reader[n]], RECORDS[n : n + 1]))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []


class TestFailures:
    """One clear error each."""

    def test_a_missing_file(self):
        with served(STREAM) as server, pytest.raises(FileNotFoundError):
            tp.Reader(server.url.replace("images.tych", "missing"))
        with pytest.raises(FileNotFoundError):
            tp.Reader("memory://nothing-here")

    def test_no_server(self):
        with served(STREAM) as server:
            url = server.url
        with pytest.raises(RemoteError, match="could not be opened"):
            tp.Reader(url)

    def test_a_server_without_ranges(self):
        with served(STREAM) as server:
            server.knows_ranges = False
            with pytest.raises(RemoteError, match="no ranges"):
                tp.Reader(server.url)

    def test_a_server_without_ranges_is_not_listened_to(self):
        size = 1 << 28  # far more than a connection buffers
        with served(Zeros(size)) as server:
            server.knows_ranges = False
            with pytest.raises(RemoteError, match="no ranges"):
                tp.Reader(server.url)
            assert server.requests == [None, (0, size)]
        assert server.n_sent < size // 4

    def test_a_small_stream_needs_no_ranges(self):
        with served(write_stream(small_records(9), frame_images=2)) as server:
            server.knows_ranges = False
            assert same_images(tp.Reader(server.url)[:], small_records(9))

    def test_a_connection_that_is_lost(self):
        with served(STREAM) as server, tp.Reader(server.url) as reader:
            assert len(reader) == 400
            server.cut_after = 1000
            with pytest.raises(RemoteError, match=re.escape(server.url)):
                reader[100]
            server.cut_after = None
            assert same_images([reader[100]], RECORDS[100:101])

    def test_a_file_that_became_shorter(self):
        with served(STREAM) as server, tp.Reader(server.url) as reader:
            assert len(reader) == 400
            server.data = STREAM[: len(STREAM) // 2]
            with pytest.raises(RemoteError):
                reader.read_batch(range(150, 300))

    def test_a_file_that_was_replaced(self):
        with served(STREAM) as server, tp.Reader(server.url) as reader:
            assert len(reader) == 400
            server.data = STREAM[:100_000] + bytes(len(STREAM) - 100_000)
            with pytest.raises(tp.TriptychError):
                reader[200]

    def test_an_empty_file(self):
        fsspec.filesystem("memory").pipe_file("/empty", b"")
        with tp.Reader("memory://empty") as reader, pytest.raises(tp.FormatError):
            list(reader)

    def test_without_fsspec(self, monkeypatch):
        plain = builtins.__import__
        monkeypatch.setattr(
            remote, "import_module", lambda name: plain("no_such_module_" + name.partition(".")[0])
        )
        with pytest.raises(ExtraMissing, match=r"triptych\[remote\]"):
            tp.Reader("memory://images")

    def test_an_unknown_scheme(self):
        with pytest.raises(RemoteError, match="nosuch"):
            tp.Reader("nosuch://images")


def test_small_streams_take_two_requests_in_all():
    with served(write_stream(small_records(9), frame_images=2)) as server:
        with tp.Reader(server.url) as reader:
            assert same_images(reader[:], small_records(9))
            assert reader.metadata == {}
        assert len(server.requests) == 2


def test_storage_options_go_to_the_file_system_and_with_the_reader():
    from triptych.interop.torch import TriptychDataset

    options = {"headers": {"Authorization": "token"}}
    with served(STREAM) as server:
        with tp.Reader(server.url, storage_options=options) as reader:
            assert same_images([reader[3]], RECORDS[3:4])
            with pickle.loads(pickle.dumps(reader)) as again:
                assert same_images([again[399]], RECORDS[399:])
        dataset = TriptychDataset(server.url, storage_options=options)
        assert len(dataset) == 400
        dataset.close()
        assert server.tokens == {"token"}


@pytest.mark.slow
def test_s3(monkeypatch):
    import s3fs
    from moto.server import ThreadedMotoServer

    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "none")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", f"http://{host}:{port}")
        fsspec.config.set_conf_env(fsspec.config.conf)
        bucket = s3fs.S3FileSystem()
        bucket.mkdir("pictures")
        bucket.pipe_file("pictures/images.tych", STREAM)
        with tp.Reader("s3://pictures/images.tych") as reader:
            assert same_images(reader[100:140], RECORDS[100:140])
            assert same_images([reader["k3"]], RECORDS[3:4])
        with pytest.raises(FileNotFoundError):
            tp.Reader("s3://pictures/nothing.tych")
        fsspec.config.conf.pop("s3", None)
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        options = {"endpoint_url": f"http://{host}:{port}"}
        with tp.Reader("s3://pictures/images.tych", storage_options=options) as reader:
            assert same_images([reader[7]], RECORDS[7:8])
    finally:
        fsspec.config.conf.pop("s3", None)
        for instance in list(s3fs.S3FileSystem._cache.values()):
            s3fs.S3FileSystem.close_session(instance.loop, instance._s3)
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()
