"""The coder of mean and basis images: round trips, what smoothness saves, and decoding whatever comes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from triptych_kernels import basis
from triptych_kernels.rangecoder import finish_decoding, finish_encoding, new_coder, start
from triptych_kernels.status import BAD_SYMBOL, INPUT_EXHAUSTED, OK

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4))
NUMBERS = st.integers(-9, 9) | st.integers(-basis.MAX_ENTRY, basis.MAX_ENTRY)
IMAGES = SHAPES.flatmap(
    lambda shape: st.lists(hnp.arrays(np.int32, shape, elements=NUMBERS), min_size=1, max_size=4)
)


def encode(images):
    """The message of images, each with a fact of its number."""
    coder, model = new_coder(), basis.new_basis(images[0].shape)
    sink = np.zeros(1000 + 64 * sum(image.size for image in images), np.uint8)
    for j, image in enumerate(images):
        assert basis.code_fact(j * j, j % 2, model, coder, sink, None) == j * j
        assert basis.code_image(image.copy(), j % 32, model, coder, sink, None) == OK
    return sink[: finish_encoding(coder, sink)].copy()


def decode(message, shape, n):
    """Give (status, images, status of the end)."""
    # As readers have it: for memory that may be written to, each kernel would be compiled again.
    message = np.frombuffer(bytes(message), np.uint8)
    coder, model, images = new_coder(), basis.new_basis(shape), []
    start(coder, message)
    for j in range(n):
        image = np.zeros(shape, np.int32)
        fact = basis.code_fact(0, j % 2, model, coder, None, message)
        status = basis.code_image(image, j % 32, model, coder, None, message)
        if status != OK:
            return status, images, None
        images.append((fact, image))
    return OK, images, finish_decoding(coder, message)


@given(IMAGES)
def test_round_trip(images):
    status, got, end = decode(encode(images), images[0].shape, len(images))
    assert status == end == OK
    for j, (fact, image) in enumerate(got):
        assert fact == j * j
        assert (image == images[j]).all()


@given(st.binary(max_size=200), SHAPES, st.integers(1, 4))
def test_any_bytes_give_entries_in_range_or_a_status(message, shape, n):
    status, got, _ = decode(message, shape, n)
    assert status in (OK, BAD_SYMBOL, INPUT_EXHAUSTED)
    for _, image in got:
        assert np.abs(image).max() <= basis.MAX_ENTRY


@given(IMAGES, st.data())
def test_what_is_accepted_is_what_an_encoder_writes(images, data):
    message = encode(images)
    if not len(message):
        return
    message[data.draw(st.integers(0, len(message) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    status, got, end = decode(message, images[0].shape, len(images))
    if status == end == OK and [fact for fact, _ in got] == [j * j for j in range(len(images))]:
        again = encode([image for _, image in got])
        assert bytes(again).rstrip(b"\0") == bytes(message).rstrip(b"\0")


def test_smooth_images_cost_less_than_noise():
    rng = np.random.default_rng(1)
    noise = [rng.integers(-60, 61, (24, 24, 1)).astype(np.int32) for _ in range(3)]
    y, x = np.mgrid[:24, :24] / 24
    smooth = [np.rint(60 * np.sin(3 * x + j) * np.cos(2 * y)).astype(np.int32)[:, :, None] for j in range(3)]
    assert len(encode(smooth)) < len(encode(noise)) / 3


def test_channels_that_are_alike_cost_less():
    rng = np.random.default_rng(1)
    grey = rng.integers(-20, 21, (16, 16, 1)).astype(np.int32)
    once, thrice = (len(encode([np.repeat(grey, n, axis=2)] * 3)) for n in (1, 3))
    assert thrice < 2 * once
