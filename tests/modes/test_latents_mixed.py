"""Bodies of mixed decisions, from pictures to pictures, and what they begin with."""

import io

import numpy as np
import pytest

pytest.importorskip("torch", reason="the panel runs in torch")
pytest.importorskip("safetensors", reason="networks are kept in safetensors files")

import minidecode
import torch
import triptych as tp
from smallbook import photograph
from smallnet import edited, small_network
from triptych.errors import InvalidFrame
from triptych.fit.networkbook import load_network, parse_tensors
from triptych.modes import latents, panel
from triptych.modes.latents import Grid, build_body, parse_body, parse_head
from triptych.modes.latentstate import learn_state, with_state
from triptych_kernels import latentmix

QUALITY = 60


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def book():
    return small_network("patches")


@pytest.fixture(scope="module")
def state(book):
    """What is learned from a picture, as tensors."""
    drawn = latents_of(book, photograph(96, 96, 3, 4))
    return learn_state([(QUALITY, drawn)] * 2, load_network(book).latents)


def latents_of(book, image):
    return panel.Panel(book).latents([image[None]], QUALITY, "fast")[0]


def encoded(image, book, effort="max"):
    return tp.encode(image, mode="ae", dictionary=book, embed=False, quality=QUALITY, effort=effort)


def test_effort_max_mixes_and_says_so(book):
    image = photograph(80, 112, 3, 1)
    with tp.Reader(encoded(image, book), dictionary=book) as reader:
        assert reader.info(0)["coder"] == "mixed"
        assert np.array_equal(reader[0], tp.decode(encoded(image, book), dictionary=book))
    with tp.Reader(encoded(image, book, "fast"), dictionary=book) as reader:
        assert reader.info(0)["coder"] == "tables"


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("architecture", ["patches", "whole"])
def test_minidecode_finds_the_same_latents(architecture, learned):
    book = small_network(architecture)
    model = load_network(book).latents
    images = [photograph(16, 16, 3, i) for i in range(3)]
    if architecture == "patches":
        images.insert(1, photograph(40, 70, 3, 9))
    grids = [Grid(-(-image.shape[0] // 16), -(-image.shape[1] // 16)) for image in images]
    sets = [np.stack(images[part]) for part in latents.cut_sets(grids, model)]
    symbols = panel.Panel(book).latents(sets, QUALITY, "fast")
    if learned:
        book = edited(book, **learn_state([(QUALITY, symbols[0])], model))
        model = load_network(book).latents
    parts = [latents.walk_set(part, QUALITY, model) for part in symbols]
    message = latents._build_mixed(parts, model, 1 << 20)
    body = bytes([QUALITY, latents.MIXED]) + latents.build_varint(len(message)) + message
    assert all(map(np.array_equal, parse_body(memoryview(body), grids, model)[1], symbols))
    found = minidecode.decode_latents(body, [image.shape for image in images], book.payload)
    expected = [one for part in symbols for one in part]
    assert all(map(np.array_equal, found, expected))


def test_what_was_learned_makes_bodies_smaller(book, state):
    image = photograph(96, 96, 3, 5)
    learned = edited(book, **state)
    before, after = encoded(image, book), encoded(image, learned)
    assert len(after) < len(before)
    assert np.array_equal(tp.decode(after, dictionary=learned), tp.decode(before, dictionary=book))


def test_learning_goes_on_from_what_was_learned(book, state):
    drawn = latents_of(book, photograph(96, 96, 3, 6))
    learned = load_network(edited(book, **state)).latents
    further = load_network(edited(book, **learn_state([(QUALITY, drawn)], learned))).latents
    sizes = [len(build_body([drawn], QUALITY, model, "max")) for model in (learned, further)]
    assert sizes[1] < sizes[0]


def test_tables_do_not_change_with_what_was_learned(book, state):
    image = photograph(48, 48, 3, 7)
    drawn = latents_of(book, image)
    bodies = [
        build_body([drawn], QUALITY, load_network(one).latents, "fast")
        for one in (book, edited(book, **state))
    ]
    assert bodies[0] == bodies[1]


def test_messages_end_where_they_say(book):
    image = photograph(48, 64, 3, 2)
    model, drawn = load_network(book).latents, latents_of(book, image)
    body = build_body([drawn], QUALITY, model, "max")
    assert parse_head(memoryview(body)).lanes == 0
    for stop in {*range(6), len(body) // 2, len(body) - 2}:
        with pytest.raises(InvalidFrame):
            parse_body(memoryview(body[:stop]), [Grid(3, 4)], model)
    with pytest.raises(InvalidFrame, match="zero"):
        parse_body(memoryview(body + b"\1"), [Grid(3, 4)], model)
    for plan in (3, 5, 255):
        with pytest.raises(InvalidFrame, match="head"):
            parse_head(memoryview(body[:1] + bytes([plan]) + body[2:]))


def test_a_state_of_another_size_or_half_of_one(book, state):
    n = load_network(book).latents.n_channels
    assert state["mixer.counters"].shape == (40368 + 738 * n,) == (latentmix.count_counters(n),)
    assert state["mixer.weights"].shape == (28128 + 96 * n,)
    for name, values in state.items():
        for bad in (values[:-1], values.astype(np.int32), values.reshape(2, -1), None):
            dictionary = edited(edited(book, **state), **{name: bad})
            with pytest.raises(InvalidFrame, match=name):
                load_network(dictionary)
            with pytest.raises(minidecode.Invalid):
                minidecode.Network(dictionary.content)


def test_a_stream_carries_what_was_learned(book, state):
    learned, file = edited(book, **state), io.BytesIO()
    image = photograph(48, 48, 3, 3)
    with tp.Writer(file, dictionary=learned, mode="ae", quality=QUALITY, effort="max") as writer:
        writer.write(image)
    assert np.array_equal(tp.decode(file.getvalue()), tp.decode(encoded(image, learned), dictionary=learned))
    found, _ = parse_tensors(learned.content)
    assert set(state) <= set(found)


def test_a_dictionary_is_taught_by_pictures():
    book = small_network("patches")
    taught = with_state(book, [photograph(40, 60, 3, i) for i in range(12)])
    before, after = load_network(book).tensors, load_network(taught).tensors
    assert after.keys() - before.keys() == {"mixer.counters", "mixer.weights"}
    assert all(np.array_equal(values, after[name]) for name, values in before.items())
    assert taught.encoder == book.encoder
    picture = photograph(48, 64, 3, 99)
    sizes = [len(tp.encode(picture, mode="ae", dictionary=one, embed=False)) for one in (book, taught)]
    assert sizes[1] < sizes[0]
