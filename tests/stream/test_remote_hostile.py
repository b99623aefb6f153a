"""URLs that are not to be trusted: servers that send too much, too slowly or in circles; schemes; secrets."""

from __future__ import annotations

import contextlib
import copy
import pickle
import re
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import numpy as np
import pytest
import triptych as tp
from strategies import Record, same_images, write_stream
from triptych.remote import BLOCK
from triptych.urls import SCHEMES, Location, hide_credentials, is_url, show_url

RECORDS = [
    Record(image, {"key": f"k{number}"})
    for number, image in enumerate(np.random.default_rng(0).integers(0, 256, (90, 64, 64, 3), np.uint8))
]
STREAM = write_stream(RECORDS, frame_images=4)
FLOOD = 1 << 28


class Handler(BaseHTTPRequestHandler):
    """Answers a range as its server's `answer` says; HEAD requests are answered well."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        if self.server.status:
            return self.send(self.server.status, {"Location": "/again"}, 0)
        return self.send(200, {"Accept-Ranges": "bytes"}, len(STREAM))

    def do_GET(self):
        if self.server.status:
            self.send(self.server.status, {"Location": "/again"}, 0)
            return
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        with contextlib.suppress(ConnectionError):
            self.server.answer(self, int(found[1]), int(found[2]) + 1)

    def send(self, status, headers, length):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is None:
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def send_range(self, start, length):
        self.send(206, {"Content-Range": f"bytes {start}-{start + 1}/{len(STREAM)}"}, length)

    def flood(self):
        while self.server.n_sent < FLOOD:
            self.server.n_sent += self.wfile.write(bytes(BLOCK))


def well(handler, start, stop):
    handler.send_range(start, stop - start)
    handler.wfile.write(STREAM[start:stop])


def without_end(handler, start, stop):
    handler.send_range(start, None)
    handler.wfile.write(STREAM[start:stop])
    handler.flood()


def more_than_asked(handler, start, stop):
    handler.send_range(start, FLOOD)
    handler.wfile.write(STREAM[start:stop])
    handler.flood()


def another_range(handler, start, stop):
    handler.send_range(max(0, start - 1), stop - start)
    handler.wfile.write(STREAM[start - 1 : stop - 1])


def drop_by_drop(handler, start, stop):
    handler.send_range(start, stop - start)
    while not handler.server.is_over.wait(0.05):
        handler.wfile.write(b"?")
        handler.wfile.flush()


def silent(handler, start, stop):
    handler.server.is_over.wait(20)


@contextlib.contextmanager
def served(answer=well, status=None):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.answer, server.status, server.n_sent, server.is_over = answer, status, 0, threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}/images.tych"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.is_over.set()
        for instance in list(fsspec.get_filesystem_class("http")._cache.values()):
            if getattr(instance, "_session", None) is not None:
                instance.close_session(instance.loop, instance._session)
                instance._session = None
        fsspec.get_filesystem_class("http").clear_instance_cache()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("answer", [without_end, more_than_asked])
def test_no_more_is_read_than_was_asked_for(answer):
    with served(answer) as server, tp.Reader(server.url) as reader:
        assert same_images([reader[50]], RECORDS[50:51])
        reader.read_batch([3, 80])
    assert server.n_sent < FLOOD // 4


def test_another_range_is_refused():
    with served(another_range) as server, pytest.raises(tp.RemoteError, match="no ranges"):
        tp.Reader(server.url)


@pytest.mark.parametrize("answer", [drop_by_drop, silent])
def test_a_server_that_keeps_us_waiting_is_left(answer):
    with served(answer) as server:
        begin = time.monotonic()
        with pytest.raises(tp.RemoteTimeout, match="deadline"):
            tp.Reader(server.url, storage_options={"deadline": 0.6})
        assert 0.5 < time.monotonic() - begin < 5


def test_the_deadline_is_of_all_requests_together():
    """A server that is slow with each of many small answers cannot take the deadline for each."""

    def slow(handler, start, stop):
        time.sleep(0.25)
        # As many bytes as earn next to nothing.
        well(handler, start, stop)

    import triptych.waiting as waiting

    with pytest.MonkeyPatch.context() as patch, served(slow) as server:
        patch.setattr(waiting, "BYTES_A_SECOND", 1 << 30)
        begin = time.monotonic()
        with (
            tp.Reader(server.url, storage_options={"deadline": 0.9}) as reader,
            pytest.raises(tp.RemoteTimeout),
        ):
            list(map(reader.__getitem__, range(0, 90, 20)))
        assert time.monotonic() - begin < 2


def test_a_slow_server_that_goes_on_sending_is_read_to_the_end():
    def steady(handler, start, stop):
        handler.send_range(start, stop - start)
        for at in range(start, stop, BLOCK):
            time.sleep(0.04)
            handler.wfile.write(STREAM[at : min(at + BLOCK, stop)])

    with served(steady) as server:
        begin = time.monotonic()
        with tp.Reader(server.url, storage_options={"deadline": 0.3}) as reader:
            assert same_images(list(reader), RECORDS)
        assert time.monotonic() - begin > 0.6, "the test shows nothing"


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        (401, tp.RemoteDenied, "401"),
        (403, tp.RemoteDenied, "403"),
        (302, tp.RemoteError, "redirects in a loop"),
        (404, FileNotFoundError, "no such file"),
        (500, tp.RemoteError, "500"),
    ],
)
def test_refusals_have_their_own_names(status, error, text):
    with served(status=status) as server, pytest.raises(error, match=text):
        tp.Reader(server.url)
    assert issubclass(tp.RemoteDenied, PermissionError)
    assert issubclass(tp.RemoteTimeout, TimeoutError)


LOCAL = [
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "local:///etc/passwd",
    "dir:///tmp",
    "zip://a.tych::file:///tmp/a.zip",
    "zip://a.tych::/tmp/a.zip",
    "simplecache::https://example.com/a.tych",
    "filecache::simplecache::s3://bucket/a.tych",
    "tar://a.tych::https://example.com/a.tar",
    "github://me:repository@main/a.tych",
    "reference://a",
    "nosuch://a",
]


@pytest.mark.parametrize("url", LOCAL)
def test_a_string_names_networks_only(url):
    """The error says by which option it would go."""
    for attempt in (tp.Reader, tp.decode, tp.verify, tp.Writer, tp.load_dictionary):
        with pytest.raises(tp.SchemeRefused, match=r"storage_options={'schemes': \['"):
            attempt(url)


def test_an_option_allows_schemes(tmp_path):
    import zipfile

    path = tmp_path / "a.tych"
    path.write_bytes(STREAM)
    with tp.Reader(f"file://{path}", storage_options={"schemes": ["file"]}) as reader:
        assert len(reader) == 90
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "a.tych")
    url = f"zip://a.tych::file://{tmp_path}/a.zip"
    with pytest.raises(tp.SchemeRefused, match="'zip'"):
        tp.Reader(url, storage_options={"schemes": ["file"]})
    with tp.Reader(url, storage_options={"schemes": ["file", "zip"]}) as reader:
        assert same_images([reader[7]], RECORDS[7:8])
        with pickle.loads(pickle.dumps(reader)) as again:
            assert len(again) == 90


def test_two_colons_in_a_networks_path_are_no_chain():
    fsspec.filesystem("memory").pipe_file("a::/etc/b.tych", STREAM)
    with tp.Reader("memory://a::/etc/b.tych") as reader:
        assert len(reader) == 90
    assert Location("https://[::1]:8000/a.tych").connect()[1] == "https://[::1]:8000/a.tych"


@pytest.mark.parametrize(
    "options", [{"deadline": 0}, {"deadline": True}, {"deadline": "1"}, {"schemes": "zip"}, {"schemes": [1]}]
)
def test_wrong_options(options):
    with pytest.raises(tp.InvalidOption, match=next(iter(options))):
        tp.Reader("memory://a", storage_options=options)


def test_paths_are_no_urls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("./a://b", "1a://b", "a:b", "a::b", "https:", "://"):
        assert not is_url(name)
    assert all(is_url(f"{scheme}://a") for scheme in SCHEMES)


class TestSecrets:
    """Whatever fails, and whatever is printed, shows no credentials."""

    SECRET = "hunter2"

    @pytest.mark.parametrize(
        "url",
        [
            "https://me:hunter2@example.com/a.tych",
            "https://hunter2@example.com/a.tych",
            "https://me:hunter2%20@example.com:80/a.tych?signature=hunter2&x=1",
            "https://example.com/a.tych?X-Amz-Signature=hunter2",
            "https://example.com/a.tych#hunter2",
            "https://me:a/hunter2@example.com/a.tych",
            "https://me:a hunter2@example.com/a.tych",
            "https://me:a?hunter2@example.com/a.tych",
            "s3://key:hunter2@bucket/a.tych",
            "abfs://me:hunter2@account/a.tych",
            "zip://a.tych::https://me:hunter2@example.com/a.zip",
            "simplecache::https://me:hunter2@example.com/a.zip",
        ],
    )
    def test_of_a_url(self, url):
        assert self.SECRET not in show_url(url)
        assert repr(Location(url, {"schemes": ["zip", "simplecache"]})).count(self.SECRET) == 0
        if "a " not in url:
            assert self.SECRET not in hide_credentials(f"{url}: lost, of '{url}'")

    @pytest.mark.parametrize(
        "url",
        [
            "s3://bucket/a@b.tych",
            "https://[::1]:80/a.tych",
            "abfs://container@account.net/a.tych",
            "a@b?c.tych",
        ],
    )
    def test_what_is_none_is_shown(self, url):
        assert show_url(url) == url

    @pytest.mark.parametrize("status", [None, 401, 403, 404, 500, 302])
    @pytest.mark.parametrize("answer", [another_range, silent])
    def test_of_errors(self, status, answer):
        headers, cookies = {"Authorization": "Bearer hunter2-b"}, {"c": "hunter2-c"}
        options = {"headers": headers, "client_kwargs": {"cookies": cookies}, "deadline": 0.3}
        with served(answer, status) as server:
            url = server.url.replace("//", "//me:hunter2-a@") + "?token=hunter2-d&e=hunter2-e"
            with pytest.raises((tp.TriptychError, OSError)) as caught:
                tp.Reader(url, storage_options=options)
        told = "".join(traceback.format_exception_only(caught.value)) + repr(caught.value)
        told += "".join(traceback.format_exception(caught.value, chain=True)).replace("tp.Reader(url", "")
        assert self.SECRET not in told
        assert caught.value.__cause__ is caught.value.__context__ is None
        assert "127.0.0.1" in str(caught.value)

    def test_of_what_a_library_says(self):
        """Also where it is not a part of a URL."""
        location = Location(
            "s3://key:hunter2-a@bucket/x?y=hunter2-b", {"secret": "hunter2-c", "a": [("hunter2-d",)]}
        )
        text = "no hunter2-a nor hunter2-b and hunter2-c, or hunter2-d"
        explained = location.explain(ValueError(text), "read")
        assert isinstance(explained, tp.RemoteError)
        assert self.SECRET not in str(explained)

    def test_of_readers_and_datasets(self):
        from triptych.interop.torch import TriptychDataset

        for path in ("/hunter", "/me:hunter2@/hunter"):
            fsspec.filesystem("memory").pipe_file(path, STREAM)
        options = {"secret": "hunter2"}
        with tp.Reader("memory://me:hunter2@/hunter", storage_options=options) as reader:
            assert self.SECRET not in repr(reader) + repr(reader.__reduce__())
        dataset = TriptychDataset("memory://hunter", storage_options=options)
        assert self.SECRET not in repr(dataset) + repr(dataset.__reduce_ex__(4)) + repr(
            vars(copy.copy(dataset))
        )
        dataset.close()
