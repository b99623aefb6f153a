"""Streams written to URLs: there when they are whole, and not before."""

from __future__ import annotations

import gc
import os

import fsspec
import numpy as np
import pytest
import triptych as tp
from strategies import BOOK, same_images, small_records, write_stream

RECORDS = small_records(9)
STREAM = write_stream(RECORDS, frame_images=2)


@pytest.fixture
def store():
    """What is in the memory file system."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield fs.store
    fs.store.clear()


def write(target, **options):
    writer = tp.Writer(target, **({"mode": "raw", "threads": 1} | options))
    for record in RECORDS:
        writer.write(record.image, **record.about)
    return writer


def test_an_object_is_there_at_close_and_not_before(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    writer = write("memory://folder/a.tych")
    assert not store
    writer.close()
    assert [*store] == ["/folder/a.tych"]
    with tp.Reader("memory://folder/a.tych") as reader:
        assert same_images(reader[:], RECORDS)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("end", ["abort", "exception", "dropped"])
def test_what_was_there_stays_where_writing_fails(store, end):
    fsspec.filesystem("memory").pipe_file("/a.tych", b"before")
    for name in ("a", "b"):
        writer = write(f"memory://{name}.tych")
        if end == "abort":
            writer.abort()
        elif end == "exception":
            with pytest.raises(ZeroDivisionError), writer:
                1 / 0  # noqa: B018
        else:
            with pytest.warns(ResourceWarning, match="not closed"):
                writer = None
    assert [*store] == ["/a.tych"]
    assert store["/a.tych"].getvalue() == b"before"


def test_nothing_is_continued_or_flushed(store):
    with pytest.raises(tp.InvalidOption, match=r"append=True .* concatenate"):
        tp.Writer("memory://a.tych", append=True)
    writer = write("memory://a.tych")
    with pytest.raises(tp.InvalidOption, match="flush is for files"):
        writer.flush()
    writer.abort()
    assert not store


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_web_is_not_written_to(scheme):
    with pytest.raises(tp.InvalidOption, match="cannot be written to") as caught:
        tp.Writer(f"{scheme}://me:hunter2@example.com/a.tych")
    assert "hunter2" not in str(caught.value)


def test_every_function_that_writes_takes_urls(store):
    fsspec.filesystem("memory").pipe_file("/a.tych", STREAM)
    tp.concatenate(["memory://a.tych"] * 2, "memory://b.tych")
    with tp.Reader("memory://b.tych") as reader:
        assert same_images(reader[:], RECORDS * 2)
    before = store["/b.tych"].getvalue()
    tp.rebuild_index("memory://b.tych", "memory://b.tych")
    assert store["/b.tych"].getvalue() == before
    BOOK.save("memory://book.tych")
    assert tp.load_dictionary("memory://book.tych") == BOOK


def test_a_damaged_source_leaves_no_object(store):
    with pytest.raises(tp.FormatError):
        tp.concatenate([STREAM, STREAM[:-9]], "memory://a.tych")
    assert not store


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_completes_nothing(store):
    writer = write("memory://a.tych")
    child = os.fork()
    if child == 0:
        del writer
        gc.collect()
        os._exit(len(store))
    assert os.waitpid(child, 0)[1] == 0
    writer.close()
    assert store["/a.tych"].getvalue() == write_stream(RECORDS)


def test_storage_options_reach_the_file_system(tmp_path):
    url = f"file://{tmp_path}/a.tych"
    writer = write(url, storage_options={"schemes": ["file"]})
    assert not (tmp_path / "a.tych").exists()
    writer.close()
    with tp.Reader(tmp_path / "a.tych") as reader:
        assert same_images(reader[:], RECORDS)
    write(f"file://{tmp_path}/b.tych", storage_options={"schemes": ["file"]}).abort()
    assert os.listdir(tmp_path) == ["a.tych"]


@pytest.mark.slow
def test_s3(monkeypatch):
    """Large objects go up in parts; of one that is not completed nothing is left."""
    import s3fs
    from moto.server import ThreadedMotoServer

    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "none")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        options = {"endpoint_url": f"http://{host}:{port}", "default_block_size": 5 << 20}
        bucket = s3fs.S3FileSystem(**options)
        bucket.mkdir("targets")  # moto keeps what other tests made
        noise = np.random.default_rng(0).integers(0, 256, (1300, 1300, 4), np.uint8)
        for name, count in (("small", 0), ("large", 2)):
            url = f"s3://targets/{name}.tych"
            for end in ("abort", "close"):
                writer = write(url, storage_options=options)
                for _ in range(count):
                    writer._part.add_other(0x04, 0, noise.tobytes())
                getattr(writer, end)()
                del writer
                gc.collect()
                bucket.invalidate_cache()
                assert bucket.exists(url) == (end == "close")
                uploads = bucket.call_s3("list_multipart_uploads", Bucket="targets")
                assert not uploads.get("Uploads")
            with tp.Reader(url, storage_options=options) as reader:
                assert same_images(reader[:], RECORDS)
    finally:
        for instance in list(s3fs.S3FileSystem._cache.values()):
            s3fs.S3FileSystem.close_session(instance.loop, instance._s3)
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()
