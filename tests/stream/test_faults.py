"""Files that fail: errors of write, flush and read, full disks, short reads and writes."""

import errno
import io

import numpy as np
import pytest
import triptych as tp
from rawmode import register_for_one_test
from strategies import BOOK, same_images, small_records, write_stream


class FaultyFile(io.BytesIO):
    """A BytesIO whose nth call of a method fails; reads and writes may be short."""

    def __init__(self, data=b"", *, fail="", at=0, error=None, short=0):
        super().__init__(data)
        self.calls = {"read": 0, "write": 0, "flush": 0}
        self.fail, self.at, self.short = fail, at, short
        self.error = error or OSError(errno.EIO, "injected")

    def _count(self, name):
        self.calls[name] += 1
        if name == self.fail and self.calls[name] > self.at:
            raise self.error

    def read(self, size=-1):
        self._count("read")
        return super().read(min(size, self.short) if self.short and size > 0 else size)

    def write(self, data):
        self._count("write")
        return super().write(bytes(data)[: self.short or None])

    def flush(self):
        self._count("flush")
        super().flush()


def write_all(target, **options):
    with tp.Writer(target, mode="raw", frame_images=2, dictionary=BOOK, **options) as writer:
        for record in small_records(8):
            writer.write(record.image)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_every_failing_write(threads, error):
    reference = FaultyFile()
    write_all(reference, threads=threads)
    for at in range(reference.calls["write"]):
        target = FaultyFile(fail="write", at=at, error=error)
        with pytest.raises(type(error)):
            write_all(target, threads=threads)
        assert reference.getvalue().startswith(target.getvalue())


def test_after_a_failed_write_nothing_follows():
    target = FaultyFile(fail="write", at=2)
    writer = tp.Writer(target, mode="raw", frame_images=1, threads=1)
    image = np.zeros((2, 2), np.uint8)
    writer.write(image)
    with pytest.raises(OSError, match="injected"):
        writer.write(image)
    target.fail = ""
    for act in (lambda: writer.write(image), writer.flush, writer.close):
        with pytest.raises(tp.EncodeError, match="earlier write"):
            act()
    assert tp.verify(target.getvalue()).images == 1


def test_failing_flush():
    target = FaultyFile(fail="flush")
    with pytest.raises(OSError, match="injected"):
        write_all(target)


def test_short_writes_and_reads():
    target = FaultyFile(short=3)
    write_all(target)
    expected = io.BytesIO()
    write_all(expected)
    assert target.getvalue() == expected.getvalue()
    reader = tp.Reader(FaultyFile(target.getvalue(), short=3))
    assert same_images(list(reader), small_records(8))
    assert same_images(reader[:], small_records(8))


def test_every_failing_read():
    stream = write_stream(small_records(6), frame_images=2)
    reference = FaultyFile(stream)
    tp.Reader(reference)[:]
    for at in range(reference.calls["read"]):
        reader = tp.Reader(FaultyFile(stream, fail="read", at=at))
        with pytest.raises(OSError, match="injected"):
            reader[:]
        with pytest.raises(OSError, match="injected"):
            list(reader)


def test_non_blocking_files():
    class Busy(io.RawIOBase):
        def readable(self):
            return True

        def writable(self):
            return True

        def seekable(self):
            return False

        def read(self, size=-1):
            return None

        def write(self, data):
            return None

    with pytest.raises(BlockingIOError):
        list(tp.Reader(Busy()))
    with pytest.raises(BlockingIOError):
        tp.Writer(Busy(), mode="raw")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_path_that_cannot_be_finished_leaves_nothing(tmp_path, monkeypatch, step):
    def fail(*_):
        raise OSError(errno.ENOSPC, "injected")

    monkeypatch.setattr(f"triptych.sink.os.{step}", fail)
    with pytest.raises(OSError, match="injected"):
        write_all(tmp_path / "images.tych")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        tp.Writer(tmp_path / "nowhere" / "images.tych", mode="raw")
    with pytest.raises(FileNotFoundError):
        tp.Reader(tmp_path / "nowhere.tych")


class FailingMode:
    name = "failing"
    code = 14
    default_dictionary = None

    def encode_frame(self, images, options, dictionary):
        if any(image[0, 0, 0] == 3 for image in images):
            raise tp.TooManyColors("too many")
        return b""

    def images_per_frame(self, shape, options, dictionary):
        return 1


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("frame_images", [1, 2, 5])
def test_an_image_that_cannot_be_encoded_costs_itself_alone(monkeypatch, threads, frame_images):
    register_for_one_test(FailingMode(), monkeypatch)
    target = io.BytesIO()
    writer = tp.Writer(target, mode="failing", threads=threads, frame_images=frame_images)
    n_errors = 0
    for record in small_records(20):
        try:
            writer.write(record.image)
        except tp.TooManyColors:
            n_errors += 1
    try:
        writer.flush()
    except tp.TooManyColors:
        n_errors += 1
    writer.close()
    assert n_errors == 1
    assert tp.verify(target.getvalue(), level="structure").images == 19


def test_concatenate_that_fails_leaves_nothing(tmp_path):
    (tmp_path / "good.tych").write_bytes(write_stream(small_records(2)))
    for bad in (b"GIF89a", write_stream(small_records(2))[:40]):
        with pytest.raises(tp.FormatError):
            tp.concatenate([tmp_path / "good.tych", bad], tmp_path / "joined.tych")
        assert [path.name for path in tmp_path.iterdir()] == ["good.tych"]


def test_memory_of_a_writer_is_that_of_its_frames():
    import tracemalloc

    class Nothing:
        def write(self, data):
            return len(data)

    image = np.zeros((40, 40, 3), np.uint8)
    peaks = []
    for n_images in (100, 2000):
        tracemalloc.start()
        with tp.Writer(Nothing(), mode="raw", threads=2, frame_images=4) as writer:
            for _ in range(n_images):
                writer.write(image)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000


def test_every_image_that_is_left_out_is_told_one_a_call():
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    target = io.BytesIO()
    writer = tp.Writer(target, mode="kmeans", lossless=True, frame_images=4, threads=1)
    told = []
    for number in range(5):
        image = noise if number in (1, 2) else np.full((20, 20, 3), number, np.uint8)
        try:
            writer.write(image, key=str(number))
        except tp.TooManyColors as error:
            told.append(error.__notes__)
    for _ in range(3):
        try:
            writer.flush()
        except tp.TooManyColors as error:
            told.append(error.__notes__)
    writer.close()
    assert told == [["of the image '1'"], ["of the image '2'"]]
    assert tp.Reader(target.getvalue()).keys() == ["0", "3", "4"]
