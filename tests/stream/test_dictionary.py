"""Dictionaries: ids, files, the search path, and streams that only name them."""

import hashlib
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import triptych as tp
from hypothesis import given
from hypothesis import strategies as st
from strategies import BOOK, json_objects, same_images, small_records, write_stream
from triptych.dictionary import resolve_dictionary
from triptych.framing import STREAM_HEADER, FrameType, build_frame

IMAGE = np.arange(6, dtype=np.uint8).reshape(2, 3)


@given(json_objects, st.binary(max_size=50))
def test_round_trip(params, content):
    book = tp.Dictionary.build("palette", params, content)
    for same in (
        tp.load_dictionary(book.to_bytes()),
        pickle.loads(pickle.dumps(book)),
        tp.Dictionary(book.payload),
    ):
        assert same == book
        assert hash(same) == hash(book)
        assert (same.id, same.kind, same.params, same.content) == (book.id, "palette", params, content)
    assert book.id == hashlib.sha256(book.payload).hexdigest()


def test_params_are_attributes():
    assert BOOK.wcss == 2.5
    assert BOOK.id[:16] in repr(BOOK)
    for name in ("nothing", "_wcss"):
        with pytest.raises(AttributeError, match=name):
            getattr(BOOK, name)


@pytest.mark.parametrize(
    "payload", [b"", b"\x01", b"\x01\x05\x00\x00\x00{}", b"\x01\x02\x00\x00\x00[]", bytes(5)]
)
def test_bad_payloads(payload):
    with pytest.raises(tp.InvalidFrame):
        tp.Dictionary(payload)
    with pytest.raises(tp.InvalidFrame):
        tp.verify(STREAM_HEADER + build_frame(FrameType.DICTIONARY, 1, payload))


def test_unknown_kinds_can_be_carried():
    book = tp.Dictionary(b"\x63\x02\x00\x00\x00{}content")
    assert book.kind == "unknown"
    assert tp.verify(book.to_bytes()).dictionaries == {book.id: True}


def test_files(tmp_path):
    BOOK.save(tmp_path / "book.tych")
    for source in (
        tmp_path / "book.tych",
        str(tmp_path / "book.tych"),
        (tmp_path / "book.tych").read_bytes(),
    ):
        assert tp.load_dictionary(source) == BOOK
    stream = write_stream(small_records(1), dictionary=BOOK)
    assert tp.load_dictionary(stream) == BOOK
    for wrong in (write_stream(small_records(1)), stream + BOOK.to_bytes()):
        with pytest.raises(tp.InvalidFrame, match="DICTIONARY"):
            tp.load_dictionary(wrong)
    with pytest.raises(FileNotFoundError):
        tp.load_dictionary(tmp_path / "nowhere.tych")
    with pytest.raises(FileNotFoundError):
        BOOK.save(tmp_path / "nowhere" / "book.tych")


def test_names_that_are_nothing():
    with pytest.raises(tp.InvalidOption, match=r"'cats'.*shipped: .*'photo'"):
        tp.encode(IMAGE, mode="raw", dictionary="cats")
    with pytest.raises(tp.DictionaryMissing) as caught:
        tp.load_dictionary("0" * 64)
    assert caught.value.id == "0" * 64


def test_shipped_dictionaries(tmp_path, monkeypatch):
    monkeypatch.setattr("triptych.dictionary._SHIPPED", tmp_path)
    BOOK.save(tmp_path / "photo.tych")
    with pytest.raises(tp.InvalidOption, match="shipped: 'photo'"):
        tp.load_dictionary("cats")
    assert tp.load_dictionary("photo") == BOOK
    data = tp.encode(IMAGE, mode="raw", dictionary="photo")
    assert BOOK.payload not in data
    assert np.array_equal(tp.decode(data), IMAGE)
    assert BOOK.payload in tp.encode(IMAGE, mode="raw", dictionary="photo", embed=True)


def other_book(content):
    return tp.Dictionary.build("palette", {}, content)


def test_what_is_written_tells_an_id_a_name_and_a_path(tmp_path, monkeypatch):
    """No file of the current folder is taken for an id or a name, however it is called."""
    shipped, here, beside = other_book(b"shipped"), other_book(b"here"), tmp_path / "here"
    beside.mkdir()
    (tmp_path / "shipped").mkdir()
    shipped.save(tmp_path / "shipped" / "photo.tych")
    shipped.save(tmp_path / "shipped" / "ae-photo.tych")
    monkeypatch.setattr("triptych.dictionary._SHIPPED", tmp_path / "shipped")
    monkeypatch.chdir(beside)
    for name in ("photo", "ae-photo", "own", "own.tych", BOOK.id, BOOK.id.upper()):
        here.save(beside / name)
    assert tp.load_dictionary("photo") == shipped
    for path in ("./photo", "own.tych", f"./{BOOK.id}", str(beside / "own"), Path("photo"), Path("own")):
        assert tp.load_dictionary(path) == here
        assert resolve_dictionary(path, tp.Limits(), "ae") == here
    for name in (BOOK.id, BOOK.id.upper()):
        with pytest.raises(tp.DictionaryMissing):
            tp.load_dictionary(name)
    with pytest.raises(tp.InvalidOption, match=r"'own' is neither .*a path has a separator or a suffix, as"):
        tp.load_dictionary("own")


@pytest.mark.parametrize("keeps_times", [True, False])
def test_a_file_that_is_swapped_is_not_what_it_was(tmp_path, monkeypatch, keeps_times):
    monkeypatch.setenv("TRIPTYCH_PATH", str(tmp_path))
    path = tmp_path / "book.tych"
    first, second = other_book(b"first!"), other_book(b"second")
    first.save(path)
    assert tp.load_dictionary(first.id) == first
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(second.to_bytes())
    if keeps_times:
        os.utime(path, ns=times)
    with pytest.raises(tp.DictionaryMissing):
        tp.load_dictionary(first.id)
    assert tp.load_dictionary(second.id) == second


def test_a_file_that_is_swapped_between_looking_and_loading_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_PATH", str(tmp_path))
    other_book(b"another").save(tmp_path / "a.tych")
    monkeypatch.setattr("triptych.dictionary._file_id", lambda *_: BOOK.id)
    monkeypatch.setattr("triptych.dictionary._SHIPPED", tmp_path / "none")
    data = write_stream(small_records(3), dictionary=BOOK, embed=False)
    for ask in (lambda: tp.load_dictionary(BOOK.id), lambda: list(tp.Reader(data))):
        with pytest.raises(tp.DictionaryMissing):
            ask()
    BOOK.save(tmp_path / "b.tych")
    assert tp.load_dictionary(BOOK.id) == BOOK
    assert same_images(list(tp.Reader(data)), small_records(3))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_the_search_path_waits_for_no_pipe(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_PATH", str(tmp_path))
    os.mkfifo(tmp_path / "a.tych")
    (tmp_path / "b.tych").symlink_to(tmp_path / "nowhere")
    BOOK.save(tmp_path / "c.tych")
    assert tp.load_dictionary(BOOK.id) == BOOK


def test_the_search_path(tmp_path, monkeypatch):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    monkeypatch.setenv("TRIPTYCH_PATH", os.pathsep.join([str(tmp_path / "one"), "", str(tmp_path / "two")]))
    (tmp_path / "one" / f"{BOOK.id}.tych").write_bytes(b"not what its name says")
    (tmp_path / "one" / "a.tych").write_bytes(write_stream(small_records(3)))
    for n_images in (1, 5):
        data = write_stream(small_records(n_images), dictionary=BOOK, embed=False, frame_images=2)
        (tmp_path / "two" / "book.tych").unlink(missing_ok=True)
        with pytest.raises(tp.DictionaryMissing):
            list(tp.Reader(data))
        BOOK.save(tmp_path / "two" / "book.tych")
        assert same_images(list(tp.Reader(data)), small_records(n_images))
        assert tp.load_dictionary(BOOK.id.upper()) == BOOK
        assert tp.Reader(data).info(0)["dictionary"] == BOOK.id


@pytest.mark.parametrize("n_images", [1, 5])
def test_a_missing_dictionary(n_images, monkeypatch):
    monkeypatch.delenv("TRIPTYCH_PATH", raising=False)
    data = write_stream(small_records(n_images), dictionary=BOOK, embed=False, frame_images=2)
    for damage in ("raise", "skip"):
        reader = tp.Reader(data, damage=damage)
        for way in (list, lambda reader: reader[0], lambda _: tp.verify(data)):
            with pytest.raises(tp.DictionaryMissing) as caught:
                way(reader)
            assert BOOK.id.startswith(caught.value.id)
            assert len(caught.value.id) == (32 if n_images == 1 else 64)
            assert caught.value.frame == 0
    # All that needs no pixels works.
    reader = tp.Reader(data)
    assert len(reader) == n_images
    assert BOOK.id.startswith(reader.info(0)["dictionary"])
    assert set(tp.verify(data, level="structure").dictionaries.values()) == {False}
    joined = io.BytesIO()
    tp.concatenate([data, data], joined)
    for books in (BOOK, [tp.Dictionary.build("palette", {}, b"other"), BOOK.to_bytes()]):
        assert same_images(list(tp.Reader(joined.getvalue(), dictionary=books)), small_records(n_images) * 2)
        assert tp.verify(joined.getvalue(), dictionary=books).images == 2 * n_images


def test_an_embedded_dictionary_wins_over_its_name():
    named = write_stream(small_records(3), dictionary=BOOK, embed=False, frame_images=1)
    embedded = write_stream(small_records(3), dictionary=BOOK, frame_images=1)
    for streams in ([named, embedded], [embedded, named]):
        joined = io.BytesIO()
        tp.concatenate(streams, joined)
        assert tp.verify(joined.getvalue(), level="structure").dictionaries == {BOOK.id: True}


def test_dictionaries_of_a_reader():
    data = write_stream(small_records(3), dictionary=BOOK) + write_stream(
        small_records(3), dictionary=tp.Dictionary.build("palette", {}, b"x"), embed=False, frame_images=1
    )
    assert list(tp.Reader(data).dictionaries.values()) == [BOOK, None]


def test_use_frames_have_32_bytes():
    for length in (0, 31, 33):
        with pytest.raises(tp.InvalidFrame, match="USE"):
            tp.verify(STREAM_HEADER + build_frame(FrameType.USE, 1, bytes(length)))
