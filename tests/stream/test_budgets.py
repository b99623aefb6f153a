"""What streams may cost: attachments that repeat, dictionaries that unpack, budgets of a call or a Reader."""

import io
import json
import time
import tracemalloc

import numpy as np
import pytest
import triptych as tp
from smallbook import photograph, small_dictionary
from strategies import small_records, write_stream
from triptych import keeping
from triptych.fit.basis import expanded_bytes, parse_content
from triptych.fit.components import fit_components
from triptych.keeping import count_nbytes, keep
from triptych.metadata import NamedAttachments
from triptych.modes.pca import MODE as PCA
from triptych.options import Options

FACES = [photograph(9, 8, 3, seed) for seed in range(40)]
BOOK = fit_components(FACES, Options())


def measured(call):
    """Give what a call returns, its seconds of CPU, and the bytes that it had at most."""
    tracemalloc.start()
    began = time.process_time()
    try:
        result = call()
        return result, time.process_time() - began, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_what_is_said_of_one_image_costs_that_of_one():
    """20 kB of JSON that 3,000 images repeat."""
    said = {"a": [[number] for number in range(4000)]}
    frame_images = 3000
    target = io.BytesIO()
    with tp.Writer(target, mode="kmeans", lossless=True, frame_images=frame_images) as writer:
        for _ in range(frame_images):
            writer.write(np.zeros((1, 1), np.uint8), metadata=said)
    with tp.Reader(target.getvalue()) as reader:
        reader.info(0)  # what is imported, or compiled, is not counted
        info, seconds, nbytes = measured(lambda: reader.info(2999))
    assert info["metadata"] == said
    assert seconds < 1
    assert nbytes < 30 << 20


def test_what_repeats_is_parsed_once():
    naming, data = NamedAttachments(), json.dumps({"a": 1}).encode()
    first, second = naming.of({4: data}), naming.of({4: data, 1: b"x"})
    assert (first, second) == ({"metadata": {"a": 1}}, {"metadata": {"a": 1}, "exif": b"x"})
    assert first["metadata"] is second["metadata"]
    assert naming.of({4: b"{}"}) == {"metadata": {}}


@pytest.mark.parametrize("kind", ["components", "blocks"])
def test_a_dictionary_that_unpacks_to_too_much(kind):
    book = {"components": BOOK, "blocks": small_dictionary()}[kind]
    data = tp.encode(FACES[0], mode="pca", dictionary=book)
    needed = PCA.expanded_bytes(book)
    tight = tp.Limits(expanded_bytes=needed - 1)
    for call in (
        lambda: tp.decode(data, limits=tight),
        lambda: tp.Reader(data, limits=tight)[0],
        lambda: tp.Reader(data, limits=tight).info(0),
        lambda: tp.verify(data, limits=tight),
        lambda: tp.encode(FACES[0], mode="pca", dictionary=book, limits=tight),
    ):
        with pytest.raises(tp.LimitExceeded, match="expanded_bytes"):
            call()
    tp.decode(data, limits=tp.Limits(expanded_bytes=needed))


def test_a_basis_takes_what_is_said():
    faces = [photograph(64, 48, 3, seed) for seed in range(20)]
    content = fit_components(faces, Options(variance=0.99)).content
    basis = parse_content(content)
    basis.pairs  # noqa: B018  (it is made on first use)
    assert 0.8 * count_nbytes(basis) <= expanded_bytes(content)


def test_what_is_kept_is_bounded_in_bytes(monkeypatch):
    monkeypatch.setattr(keeping, "MAX_BYTES", 10_000)
    kept = keeping._Kept()
    monkeypatch.setattr(keeping, "_kept", kept)
    made = []

    @keep
    def make(n):
        made.append(n)
        return np.zeros(n, np.uint8)

    for n in (4000, 5000, 4000):
        assert len(make(n)) == n
    assert made == [4000, 5000]
    make(3000)  # 5000 goes, as it was used longest ago
    assert kept.nbytes == 7000
    make(4000)
    make(99_000)  # kept alone
    assert (made, kept.nbytes) == ([4000, 5000, 3000, 99_000], 99_000)


def test_budgets():
    data = write_stream(small_records(6), frame_images=1)
    pixels = [record.image.shape[0] * record.image.shape[1] for record in small_records(6)]
    for call in (
        lambda limits: list(tp.Reader(data, limits=limits)),
        lambda limits: tp.Reader(data, limits=limits)[:],
        lambda limits: tp.verify(data, limits=limits),
    ):
        call(tp.Limits(total_pixels=sum(pixels)))
        with pytest.raises(tp.LimitExceeded, match=r"Limits\.total_pixels allows .* in all"):
            call(tp.Limits(total_pixels=sum(pixels) - 1))
    with tp.Reader(data, limits=tp.Limits(total_seconds=1e-9)) as reader:
        assert reader[0].size
        with pytest.raises(tp.LimitExceeded, match=r"total_seconds allows 1e-09 in all"):
            reader[5]


@pytest.mark.parametrize(
    "wrong", [{"total_seconds": 0}, {"total_seconds": True}, {"total_pixels": 0}, {"payload_bytes": None}]
)
def test_what_is_no_limit(wrong):
    with pytest.raises(tp.InvalidOption, match=next(iter(wrong))):
        tp.Limits(**wrong)
