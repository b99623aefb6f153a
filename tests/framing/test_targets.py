"""Sources and sinks: paths, file objects, pipes; names, temporary files and permissions."""

import io
import os
import stat
import threading

import pytest
import triptych as tp
from hypothesis import given
from hypothesis import strategies as st
from strategies import BOOK, small_records, write_stream
from triptych.errors import LimitExceeded, NotSeekable
from triptych.framing import build_frame_header
from triptych.sink import HandleSink, PathSink, open_sink
from triptych.source import PipeSource, open_source


class Chunks(io.RawIOBase):
    """A pipe that gives a few bytes at a time."""

    def __init__(self, data, sizes):
        super().__init__()
        self._data = io.BytesIO(data)
        self._sizes = sizes
        self._turn = 0

    def readable(self):
        return True

    def seekable(self):
        return False

    def read(self, size=-1):
        self._turn += 1
        return self._data.read(min(size, self._sizes[self._turn % len(self._sizes)]))


@given(st.binary(max_size=300), st.lists(st.integers(1, 50), min_size=1, max_size=5), st.data())
def test_all_sources_read_the_same(data, sizes, draw):
    places = sorted(draw.draw(st.lists(st.integers(0, 320), max_size=8)))
    sources = [
        open_source(data),
        open_source(bytearray(data)),
        open_source(io.BytesIO(data)),
        open_source(Chunks(data, sizes)),
    ]
    for offset in places:
        length = draw.draw(st.integers(0, 100))
        assert {bytes(source.read_at(offset, length)) for source in sources} == {
            data[offset : offset + length]
        }
    for source in sources:
        source.close()


def test_a_path_source(tmp_path):
    (tmp_path / "data").write_bytes(b"0123456789")
    for name in (tmp_path / "data", str(tmp_path / "data")):
        source = open_source(name)
        assert source.size == 10
        assert source.read_at(8, 100) == b"89"
        assert source.read_at(20, 1) == b""
        source.close()


def test_a_pipe_keeps_only_what_it_was_last_asked_for():
    source = PipeSource(io.BytesIO(bytes(10_000_000)))
    source.read_at(9_000_000, 10)
    assert len(source._kept) < 2_000_000
    with pytest.raises(NotSeekable):
        source.read_at(8_000_000, 1)


def test_file_objects_without_seekable():
    class Minimal:
        def __init__(self, data):
            self._data = io.BytesIO(data)

        def read(self, size):
            return self._data.read(size)

    assert len(list(tp.Reader(Minimal(write_stream(small_records(3)))).items())) == 3


def test_urls_without_fsspec(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ImportError, match="fsspec"):
        tp.Reader("https://example.org/images.tych")


def test_a_path_has_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "out"
    sink = PathSink(path)
    sink.write(b"abc")
    assert not path.exists()
    assert len(list(tmp_path.iterdir())) == 1
    sink.flush()
    assert path.read_bytes() == b"abc"
    sink.write(b"def")
    sink.abort()
    assert path.read_bytes() == b"abc"
    sink = PathSink(path)
    sink.write(b"new")
    del sink  # dropped without a word
    assert [item.read_bytes() for item in tmp_path.iterdir()] == [b"abc"]
    sink = PathSink(path, append=True)
    sink.go_on_at(2)
    sink.write(b"z")
    sink.close()
    assert path.read_bytes() == b"abz"


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_permissions_and_links(tmp_path):
    mask = os.umask(0o022)
    try:
        (tmp_path / "link").symlink_to(tmp_path / "target")
        sink = open_sink(tmp_path / "link")
        sink.close()
    finally:
        os.umask(mask)
    assert (tmp_path / "link").is_symlink()
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o644


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_fifo_is_closed_on_abort(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    got = []
    thread = threading.Thread(target=lambda: got.append((tmp_path / "fifo").read_bytes()))
    thread.start()
    sink = open_sink(tmp_path / "fifo")
    sink.write(b"abc")
    sink.abort()
    thread.join()
    assert got == [b"abc"]


def test_file_objects_stay_open():
    target = io.BytesIO()
    for end in ("close", "abort"):
        sink = HandleSink(target)
        sink.write(b"abc")
        getattr(sink, end)()
    assert target.getvalue() == b"abcabc"


def test_targets_that_can_only_be_written():
    class Minimal:
        data = b""

        def write(self, data):
            self.data += bytes(data)
            return len(data)

    target = Minimal()
    write_stream(small_records(3), target)
    assert len(tp.Reader(target.data)) == 3


def test_a_dictionary_that_cannot_be_saved_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("injected")

    monkeypatch.setattr("triptych.sink.os.replace", fail)
    with pytest.raises(OSError, match="injected"):
        BOOK.save(tmp_path / "book.tych")
    assert list(tmp_path.iterdir()) == []


def test_frames_of_4_gib_are_refused():
    class Huge(bytes):
        def __len__(self):
            return 1 << 32

    with pytest.raises(LimitExceeded, match="4 GiB"):
        build_frame_header(3, 0, Huge())
