"""Appending, flushing, aborting: what was flushed stays, what was written never changes."""

import io
import os
import signal
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
import triptych as tp
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from strategies import BOOK, Record, records, same_images, small_records, write_stream
from triptych.errors import TargetBusy
from triptych.framing import STREAM_HEADER, FrameType, build_frame
from triptych.source import PathSource

OTHER = tp.Dictionary.build("palette", {}, b"\x77")


def append(path, some_records, **arguments):
    with tp.Writer(path, append=True, **({"mode": "raw", "threads": 1} | arguments)) as writer:
        for record in some_records:
            writer.write(record.image, **record.about)


class StreamMachine(RuleBasedStateMachine):
    """A file written, appended to, flushed, torn, aborted, concatenated; and the images it must hold."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "images.tych"
        self.path.write_bytes(STREAM_HEADER)
        self.expected = []
        self.pending = []
        self.writer = None

    def teardown(self):
        if self.writer is not None:
            self.writer.abort()
        self.folder.cleanup()

    closed = precondition(lambda self: self.writer is None)
    opened = precondition(lambda self: self.writer is not None)

    @closed
    @rule(book=st.sampled_from([None, BOOK, OTHER]), embed=st.booleans(), frame_images=st.integers(1, 3))
    def open(self, book, embed, frame_images):
        self.writer = tp.Writer(
            self.path, book, append=True, mode="raw", threads=1, embed=embed, frame_images=frame_images
        )

    @opened
    @rule(record=records(max_side=3))
    def write(self, record):
        self.writer.write(record.image, **record.about)
        self.pending.append(record)

    @opened
    @rule()
    def flush(self):
        self.writer.flush()
        self.expected += self.pending
        self.pending = []

    @opened
    @rule()
    def close(self):
        self.writer.close()
        self.expected += self.pending
        self.pending = []
        self.writer = None

    @opened
    @rule()
    def abort(self):
        self.writer.abort()
        self.pending = []
        self.writer = None

    @closed
    @rule(more=st.lists(records(max_side=3), max_size=3), book=st.sampled_from([None, OTHER]))
    def concatenate(self, more, book):
        with self.path.open("ab") as file:
            file.write(write_stream(more, dictionary=book, frame_images=2))
        self.expected += more

    @closed
    @rule(share=st.floats(0.01, 0.99))
    def tear(self, share):
        """Half a frame is at the end, as after a crash."""
        torn = write_stream(small_records(1))[16:]
        with self.path.open("ab") as file:
            file.write(torn[: max(1, int(share * len(torn)))])
        with pytest.warns(RuntimeWarning, match="cut short"):
            tp.Writer(self.path, append=True, mode="raw").close()

    @closed
    @rule()
    def rebuild(self):
        tp.rebuild_index(self.path, self.path)

    @invariant()
    def everything_flushed_is_there(self):
        if self.pending:
            return  # frames that were not flushed may be in the file
        with tp.Reader(self.path, dictionary=[BOOK, OTHER]) as reader:
            assert same_images(list(reader), self.expected)
            assert len(reader) == len(self.expected)
            assert same_images(reader[:], self.expected)
            for number, record in enumerate(self.expected):
                info = reader.info(number)
                assert {name: info[name] for name in record.about} == record.about
        tp.verify(self.path, level="structure")


TestStreamMachine = StreamMachine.TestCase
TestStreamMachine.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)


def test_written_bytes_never_change(tmp_path):
    path = tmp_path / "images.tych"
    before = b""
    for n in range(4):
        append(path, small_records(n + 1), frame_images=1, dictionary=BOOK)
        after = path.read_bytes()
        assert after.startswith(before)
        before = after
    report = tp.verify(path)
    assert report.images == 10
    assert report.frames == {"DICTIONARY": 1, "IMAGES": 10, "INDEX": 3}


def test_appending_to_an_indexed_stream_reads_little(tmp_path, monkeypatch):
    path = tmp_path / "images.tych"
    append(path, small_records(100), frame_images=1)

    reads = []
    read_at = PathSource.read_at
    monkeypatch.setattr(PathSource, "read_at", lambda self, *at: reads.append(at) or read_at(self, *at))
    append(path, small_records(1))
    # All headers are looked at, and what the index is in.
    assert len([length for _, length in reads if length > 16]) < 5
    assert path.read_bytes().count(STREAM_HEADER) == 1


def test_append_with_another_dictionary(tmp_path):
    path = tmp_path / "images.tych"
    for book in (BOOK, OTHER, None, BOOK):
        append(path, small_records(2), dictionary=book)
    assert tp.verify(path).frames["DICTIONARY"] == 2
    with tp.Reader(path) as reader:
        assert same_images(reader[:], small_records(2) * 4)


def test_append_to_what_is_not_there_or_empty(tmp_path):
    for path in (tmp_path / "new.tych", tmp_path / "empty.tych"):
        if path.stem == "empty":
            path.touch()
        append(path, small_records(2))
        assert tp.verify(path).images == 2
    append(tmp_path / "new.tych", [])
    assert tp.verify(tmp_path / "new.tych").images == 2


def test_append_to_a_file_object():
    target = io.BytesIO(write_stream(small_records(2)))
    append(target, small_records(3))
    assert same_images(list(tp.Reader(target.getvalue())), small_records(2) + small_records(3))


@pytest.mark.parametrize("n_parts", [1, 2])
@pytest.mark.filterwarnings("ignore:the stream was cut short:RuntimeWarning")
def test_every_torn_tail(n_parts):
    stream = write_stream(small_records(3), frame_images=1, dictionary=BOOK) * n_parts
    for cut in range(1, len(stream)):
        whole = list(_whole_images(stream[:cut]))
        target = io.BytesIO(stream[:cut])
        append(target, small_records(1), dictionary=BOOK)
        assert same_images(list(tp.Reader(target.getvalue())), [*whole, small_records(1)[0]])
        assert tp.verify(target.getvalue()).images == len(whole) + 1


def _whole_images(stream):
    try:
        for image in tp.Reader(stream):
            yield Record(image)
    except tp.Truncated:
        pass


def test_damage_in_the_middle_is_not_appended_to(tmp_path):
    path = tmp_path / "images.tych"
    stream = bytearray(write_stream(small_records(3), frame_images=1)[:-100])
    stream[40] ^= 1
    path.write_bytes(stream)
    with pytest.raises(tp.ChecksumMismatch):
        tp.Writer(path, append=True, mode="raw")
    assert path.read_bytes() == stream


def test_a_torn_frame_before_a_whole_stream_is_not_cut(tmp_path):
    path = tmp_path / "images.tych"
    image = np.zeros((50, 50), np.uint8)
    stream = write_stream([Record(image)])[:60] + write_stream(small_records(1))
    path.write_bytes(stream)
    with pytest.raises(tp.FormatError):
        tp.Writer(path, append=True, mode="raw")
    assert path.read_bytes() == stream


def test_append_needs_a_stream_and_a_target_to_read(tmp_path):
    (tmp_path / "other").write_bytes(b"GIF89a" + bytes(100))
    with pytest.raises(tp.NotTriptych):
        tp.Writer(tmp_path / "other", append=True, mode="raw")
    assert (tmp_path / "other").read_bytes() == b"GIF89a" + bytes(100)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as pipe, pytest.raises(tp.InvalidOption, match="append"):
        tp.Writer(pipe, append=True, mode="raw")


def write_and_fail(path, error, **arguments):
    """Write and flush image 2, write image 3, and fail."""
    with tp.Writer(path, mode="raw", frame_images=1, **arguments) as writer:
        if arguments:
            writer.write(np.full((2, 3), 2, np.uint8))
            writer.flush()
        writer.write(np.full((2, 3), 3, np.uint8))
        raise error


def test_an_exception_leaves_no_file(tmp_path):
    path = tmp_path / "images.tych"
    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error):
            write_and_fail(path, error)
        assert list(tmp_path.iterdir()) == []


def test_an_exception_after_a_flush_leaves_what_was_flushed(tmp_path):
    path = tmp_path / "images.tych"
    with pytest.raises(ZeroDivisionError):
        write_and_fail(path, ZeroDivisionError, append=False)
    assert [int(image[0, 0]) for image in tp.Reader(path.read_bytes())] == [2]


def test_an_exception_keeps_the_file_that_was_there(tmp_path):
    path = tmp_path / "images.tych"
    path.write_bytes(b"precious")
    with pytest.raises(ZeroDivisionError), tp.Writer(path, mode="raw"):
        raise ZeroDivisionError
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_an_exception_while_appending_leaves_what_was_flushed(tmp_path):
    path = tmp_path / "images.tych"
    append(path, small_records(2))
    with pytest.raises(ZeroDivisionError):
        write_and_fail(path, ZeroDivisionError, append=True)
    with tp.Reader(path) as reader:
        assert same_images(list(reader), small_records(3))


def test_flush_makes_images_readable_by_others(tmp_path):
    path = tmp_path / "images.tych"
    with tp.Writer(path, mode="raw", frame_images=100) as writer:
        for n, record in enumerate(small_records(3)):
            writer.write(record.image)
            assert path.exists() == (n > 0)
            writer.flush()
            with tp.Reader(path) as reader:
                assert same_images(reader[:], small_records(n + 1))
    assert tp.verify(path).frames == {"IMAGES": 3, "INDEX": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_was_not_closed_warns_and_leaves_nothing(tmp_path):
    writer = tp.Writer(tmp_path / "images.tych", mode="raw")
    with pytest.warns(ResourceWarning, match="not closed"):
        del writer
    assert list(tmp_path.iterdir()) == []


def test_a_closed_writer():
    target = io.BytesIO()
    writer = tp.Writer(target, mode="raw")
    writer.close()
    writer.close()
    writer.abort()
    for act in (writer.flush, lambda: writer.write(np.zeros((1, 1), np.uint8))):
        with pytest.raises(tp.EncodeError, match="closed"):
            act()
    assert target.getvalue() == STREAM_HEADER


def test_a_stream_whose_payload_ends_like_an_index(tmp_path):
    nested = write_stream(small_records(4), frame_images=1)
    path = tmp_path / "images.tych"
    path.write_bytes(write_stream(small_records(2)) + build_frame(4, 0, bytes(16) + nested))
    with pytest.raises(tp.InvalidFrame, match="ends as that of an INDEX frame"):
        append(path, small_records(1))
    for end in (nested + b"\0", STREAM_HEADER):
        path.write_bytes(write_stream(small_records(2)) + build_frame(4, 0, bytes(16) + end))
        append(path, small_records(1), dictionary=BOOK)
        assert tp.verify(path).images == 3
        with tp.Reader(path) as reader:
            assert same_images(reader[:], small_records(2) + small_records(1))
            assert same_images(list(reader), small_records(2) + small_records(1))


def test_a_stream_whose_index_lies():
    """It names the first frame twice as long as it is."""
    stream = write_stream(small_records(3), frame_images=1)
    (length,) = struct.unpack("<I", stream[-20:-16])
    payload = bytearray(stream[-length + 16 :])
    del payload[12 + 16 : 12 + 32]
    payload[:4] = struct.pack("<I", 2)
    payload[-20:-16] = struct.pack("<I", length - 16)
    lying = stream[:-length] + build_frame(FrameType.INDEX, 0, bytes(payload))
    assert same_images(tp.Reader(lying)[:], small_records(3))
    for call in (lambda: append(io.BytesIO(lying), small_records(1)), lambda: tp.verify(lying)):
        with pytest.raises(tp.InvalidFrame, match="is not that of the frames before it"):
            call()
    again = io.BytesIO()
    tp.rebuild_index(lying, again)
    assert again.getvalue() == stream


@pytest.mark.skipif(os.name == "nt", reason="no flock here")
class TestTwoWriters:
    """One path is written by one Writer at a time, and the second one is told."""

    def test_a_stream_that_is_appended_to(self, tmp_path):
        path = tmp_path / "images.tych"
        append(path, small_records(1))
        with tp.Writer(path, append=True, mode="raw") as first:
            for arguments in ({"append": True}, {}):
                with (
                    pytest.raises(TargetBusy, match="is being written by another Writer"),
                    tp.Writer(path, mode="raw", **arguments),
                ):
                    pass
            first.write(small_records(2)[1].image)
        append(path, small_records(3)[2:])
        with tp.Reader(path) as reader:
            assert same_images(list(reader), small_records(3))
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("save", ["flush", "checkpoint"])
    def test_a_new_stream_that_has_its_name(self, tmp_path, save):
        path = tmp_path / "images.tych"
        with tp.Writer(path, mode="raw", frame_images=1) as first:
            first.write(small_records(1)[0].image)
            getattr(first, save)()
            with pytest.raises(TargetBusy):
                tp.Writer(path, append=True, mode="raw")
        assert tp.verify(path).images == 1
        append(path, small_records(1))
        assert tp.verify(path).images == 2

    def test_two_that_find_nothing_to_append_to(self, tmp_path):
        path = tmp_path / "images.tych"
        second = tp.Writer(path, append=True, mode="raw")
        append(path, small_records(2))
        second.write(small_records(1)[0].image)
        with pytest.raises(TargetBusy):
            second.close()
        assert tp.verify(path).images == 2
        assert list(tmp_path.iterdir()) == [path]

    def test_a_forked_child_does_not_keep_the_lock(self, tmp_path):
        path = tmp_path / "images.tych"
        append(path, small_records(1))
        reading, writing = os.pipe()
        with tp.Writer(path, append=True, mode="raw"):
            child = os.fork()
            if child == 0:
                os.close(writing)
                os.read(reading, 1)  # until the parent is done
                os._exit(0)
        append(path, small_records(1))
        os.close(writing)
        os.close(reading)
        os.waitpid(child, 0)
        assert tp.verify(path).images == 2

    def test_a_kill_lifts_the_lock_though_a_child_lives_on(self, tmp_path):
        path = tmp_path / "images.tych"
        append(path, small_records(1))
        reading, writing = os.pipe()
        ready, begun = os.pipe()
        parent = os.fork()
        if parent == 0:
            writer = tp.Writer(path, append=True, mode="raw")
            if os.fork() == 0:
                os.close(writing)
                writer.abort()  # it is not this process's: nothing is cut
            os.write(begun, b"?")
            os.read(reading, 1)
            os._exit(0)
        assert len(os.read(ready, 1) + os.read(ready, 1)) == 2
        with pytest.raises(TargetBusy):
            append(path, [])
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        append(path, small_records(1))
        for descriptor in (reading, writing, ready, begun):
            os.close(descriptor)
        assert tp.verify(path).images == 2

    def test_an_error_of_the_stream_lifts_the_lock(self, tmp_path):
        path = tmp_path / "images.tych"
        path.write_bytes(b"GIF89a" + bytes(100))
        for _ in range(2):
            with pytest.raises(tp.NotTriptych):
                tp.Writer(path, append=True, mode="raw")
        assert path.read_bytes() == b"GIF89a" + bytes(100)

    def test_a_fifo(self, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(tp.InvalidOption, match="fifo is none"):
            tp.Writer(tmp_path / "fifo", append=True, mode="raw")


@pytest.mark.skipif(os.name == "nt", reason="no modes of files")
def test_a_file_that_is_replaced_leaves_its_mode(tmp_path):
    """Who may not read it may not read what replaces it, nor while that is written."""
    path = tmp_path / "x.tych"
    path.touch()
    path.chmod(0o600)
    with tp.Writer(path) as writer:
        [part] = tmp_path.glob(".*.part")
        assert part.stat().st_mode & 0o777 == 0o600
        writer.write(np.zeros((2, 2), np.uint8))
    tp.rebuild_index(path, path)
    assert path.stat().st_mode & 0o777 == 0o600
