"""Files mapped into memory, as sources: read as bytes are, and free to be closed."""

import mmap
import os

import numpy as np
import pytest
import triptych as tp
from strategies import BOOK, same_images, small_records, write_stream

RECORDS = small_records(9)
STREAM = write_stream(RECORDS, frame_images=2)


@pytest.fixture(params=["read", "copy", "anonymous"])
def mapped(request, tmp_path):
    """Give a map of bytes, in each way that there is."""
    maps = []

    def make(data):
        if request.param == "anonymous":
            result = mmap.mmap(-1, len(data))
            result.write(data)  # it stands at its end now
        else:
            path = tmp_path / f"{len(maps)}.tych"
            path.write_bytes(data)
            access = mmap.ACCESS_READ if request.param == "read" else mmap.ACCESS_COPY
            with path.open("rb") as file:
                result = mmap.mmap(file.fileno(), 0, access=access)
        maps.append(result)
        return result

    yield make
    for each in maps:
        each.close()


def test_a_map_is_read_from_its_beginning_and_stays_where_it_stands(mapped):
    source = mapped(STREAM)
    source.seek(7)
    with tp.Reader(source) as reader:
        assert same_images(list(reader), RECORDS)
        assert same_images([reader[8], reader[0]], [RECORDS[8], RECORDS[0]])
        assert len(reader.read_batch(range(9))) == 9
    assert source.tell() == 7


def test_a_map_can_be_closed_after_its_reader_or_before(mapped):
    source = mapped(STREAM)
    reader = tp.Reader(source)
    kept = reader[:]
    reader.close()
    source.close()
    assert same_images(kept, RECORDS)
    source = mapped(STREAM)
    with tp.Reader(source) as reader:
        assert same_images([reader[3]], RECORDS[3:4])
        source.close()
        with pytest.raises(ValueError, match="closed"):
            reader[8]


def test_every_function_takes_maps(mapped):
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert (tp.decode(mapped(tp.encode(image))) == image).all()
    assert tp.verify(mapped(STREAM)).images == 9
    assert tp.load_dictionary(mapped(BOOK.to_bytes())) == BOOK


def test_concatenate_takes_maps(mapped, tmp_path):
    tp.concatenate([mapped(STREAM), mapped(STREAM)], tmp_path / "both.tych")
    with tp.Reader(tmp_path / "both.tych") as reader:
        assert same_images(reader[:], RECORDS * 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_map_is_read_in_a_forked_child(mapped):
    with tp.Reader(mapped(STREAM)) as reader:
        child = os.fork()
        if child == 0:
            os._exit(not same_images([reader[5]], RECORDS[5:6]))
        assert os.waitpid(child, 0)[1] == 0
