"""The content of a dictionary of networks: round trips, and each tensor that can be wrong."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="networks are made by torch")
pytest.importorskip("safetensors", reason="networks are kept in safetensors files")

import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import contextnet as twin
from reference import rans
from smallnet import edited, random_tensors, small_codec, small_network
from triptych.dictionary import Dictionary
from triptych.errors import DictionaryMismatch, InvalidFrame
from triptych.fit.networkbook import (
    N_TABLES,
    NetworkBook,
    build_tensors,
    load_network,
    pack_weights,
    parse_network,
    parse_tensors,
    read_weights,
)
from triptych.fit.trained import (
    export_context,
    load_codec,
    load_context,
    logistic_tables,
    replace_generator,
)
from triptych.networks.layers import logistic_bits

BOOK = small_network("patches", short=True)
TENSORS, TEXT = parse_tensors(BOOK.content)


def changed(name, at, value):
    """A tensor with one other value."""
    values = TENSORS[name].copy()
    values[at] = value
    return {name.replace(".", "__"): values}


def wider(name, values=None):
    """A tensor with one more row."""
    rows = TENSORS[name]
    return {name.replace(".", "__"): np.concatenate([rows, rows[-1:] if values is None else values])}


BAD = {
    "context.bounds one": {"context__bounds": np.zeros(1, np.int32)},
    "context.bounds start": changed("context.bounds", 0, 2),
    "context.bounds falling": changed("context.bounds", 1, 8),
    "context.bounds odd": changed("context.bounds", 1, 3),
    "context.bounds negative": {"context__bounds": np.array([0, -4, 4], np.int32)},
    "context.bounds huge": changed("context.bounds", 2, 2**31 - 2),
    "context.units length": wider("context.units"),
    "context.units start": changed("context.units", 0, 16),
    "context.units falling": changed("context.units", 1, 48),
    "context.units lanes": changed("context.units", 1, 15),
    "context.units none": {"context__units": np.zeros(3, np.int32)},
    "context.units many": changed("context.units", 2, 2064),
    "context.norm dtype": {"context__norm": TENSORS["context.norm"].astype(np.int16)},
    "context.norm shape": wider("context.norm"),
    "context.taps ahead": changed("context.taps", 0, (0, -1)),
    "context.taps itself": changed("context.taps", 0, (0, 0)),
    "context.taps up": changed("context.taps", 0, (-1, 1)),
    "context.taps far": changed("context.taps", 0, (9, 1)),
    "context.taps twice": changed("context.taps", 0, (1, 0)),
    "context.taps last": changed("context.taps", 4, (0, 2)),
    "context.taps none": {"context__taps": np.zeros((0, 2), np.int8)},
    "context.taps triples": {"context__taps": np.zeros((5, 3), np.int8)},
    "context.a shape": wider("context.a"),
    "context.a dtype": {"context__a": TENSORS["context.a"].astype(np.float32)},
    "context.b shape": wider("context.b"),
    "context.c shape": wider("context.c"),
    "context.scale_a negative": changed("context.scale_a", 3, -1),
    "context.scale_b negative": changed("context.scale_b", 3, -1),
    "context.scale_c negative": changed("context.scale_c", 3, -(2**31)),
    "context.bias_a levels": wider("context.bias_a"),
    "context.bias_b levels": wider("context.bias_b"),
    "context.bias_c shape": {"context__bias_c": TENSORS["context.bias_c"][:, 1:].copy()},
    "context.bias_a none": {
        f"context__bias_{name}": TENSORS[f"context.bias_{name}"][:0].copy() for name in "abc"
    },
    "context.bias_a 17": {
        f"context__bias_{name}": np.repeat(TENSORS[f"context.bias_{name}"][:1], 17, 0) for name in "abc"
    },
    "tables.offsets shape": wider("tables.offsets"),
    "tables.sizes dtype": {"tables__sizes": TENSORS["tables.sizes"].astype(np.int32)},
    "tables.sizes sum": changed("tables.sizes", 7, 5),
    "tables.sizes one": {
        "tables__sizes": np.append(TENSORS["tables.sizes"][:-2], np.array([1, 7], np.uint16)),
    },
    "tables.frequencies sum": changed("tables.frequencies", 9, 1),
    "tables.frequencies zero": changed(
        "tables.frequencies", slice(0, 2), (0, TENSORS["tables.frequencies"][:2].sum())
    ),
    "tables.frequencies great": changed("tables.frequencies", slice(0, 4), 65535),
    "tables.frequencies shape": wider("tables.frequencies"),
}


WORDS = {
    "context.bounds huge": "tensor context.norm",
    "context.bounds": "groups of a context",
    "context.units length": "groups of a context",
    "context.units none": "hidden units",
    "context.units many": "hidden units",
    "context.units": "groups of a context",
    "context.taps": "tap.? of a context",
    "context.scale": "a multiplier of a context",
    "context.bias": "biases of a context",
    "tables.frequencies shape": "frequencies of tables",
    "tables.sizes sum": "frequencies of tables",
    "tables.frequencies": "table.* sum|table .* not at least 1",
    "tables.sizes one": "table .* sum",
}


@pytest.mark.parametrize("what", BAD)
def test_each_bad_tensor_is_refused_by_its_name(what):
    words = next((text for start, text in WORDS.items() if what.startswith(start)), what.split()[0])
    with pytest.raises(InvalidFrame, match=words):
        load_network(edited(BOOK, **BAD[what]))


@pytest.mark.parametrize("name", [name for name in TENSORS if name.startswith(("context.", "tables."))])
def test_each_missing_tensor_is_refused_by_its_name(name):
    with pytest.raises(InvalidFrame, match=f"without its tensor {name}"):
        load_network(edited(BOOK, **{name: None}))


@pytest.mark.parametrize(
    "name", ["coding.shift", "generator.enter.bias", "generator.enter.weight.unit", "rows.unit"]
)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_floats_that_are_not_finite(name, value):
    with pytest.raises(InvalidFrame, match=f"tensor {name} .* not finite"):
        load_network(edited(BOOK, **changed(name, 0, value)))


@pytest.mark.parametrize("cut", [0, 7, 8, 100, 3000, -1])
def test_truncated_files(cut):
    with pytest.raises(InvalidFrame, match="cannot be read"):
        parse_network(BOOK.content[:cut])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ({}, "without its description"),
        ({"architecture": "patches", "version": "1"}, "without its description"),
        ({"config": "{}", "version": "1"}, "without its description"),
        (TEXT | {"config": "{"}, "without its description"),
        (TEXT | {"config": "[1]"}, "architecture"),
        (TEXT | {"architecture": "other"}, "architecture of a network: .*got other"),
        (TEXT | {"version": "2"}, "version of a network.*expected 1, got 2"),
    ],
)
def test_bad_descriptions(text, what):
    with pytest.raises(InvalidFrame, match=what):
        parse_network(build_tensors(TENSORS, text))


def header(text):
    data = text.encode() if isinstance(text, str) else text
    return len(data).to_bytes(8, "little") + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(8),
        header("{}"),
        header("[]"),
        header("{"),
        header(b"\xff{}"),
        header('{"__metadata__": 5}'),
        header('{"__metadata__": {"config": 5}}'),
        header('{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}') + bytes(3),
        header('{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}') + bytes(5),
        header('{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}') + bytes(4),
        header('{"x":{"dtype":"F32","shape":[1099511627776,1099511627776],"data_offsets":[0,4]}}') + bytes(4),
        header('{"x":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}') + bytes(4),
        header('{"x":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}') + bytes(4),
        header('{"x":{"dtype":"?","shape":[4],"data_offsets":[0,4]}}') + bytes(4),
        (2**63).to_bytes(8, "little") + bytes(40),
    ],
)
def test_files_that_are_none(content):
    with pytest.raises(InvalidFrame):
        parse_network(content)


@given(st.data())
def test_damaged_content_is_refused_or_can_be_used(data):
    content = bytearray(BOOK.content)
    length = int.from_bytes(content[:8], "little")
    # Where damage tells: in the description, and in the tensors that are not tables.
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, length + 8) | st.integers(0, len(content) - 1))] = data.draw(
            st.integers(0, 255)
        )
    try:
        book = parse_network(bytes(content))
        model = book.latents
    except InvalidFrame:
        return
    assert model.n_channels % 2 == 0
    assert len(model.at_quality(100).c) == 2 * model.n_channels


def test_a_file_is_one_that_safetensors_writes_and_always_the_same():
    import safetensors.numpy

    tensors, text = safetensors.numpy.load(BOOK.content), TEXT
    assert tensors.keys() == TENSORS.keys()
    assert all(np.array_equal(tensors[name], TENSORS[name]) for name in tensors)
    other = safetensors.numpy.save({name: tensors[name] for name in reversed(tensors)}, text)
    got, said = parse_tensors(other)
    assert build_tensors(got, dict(reversed(said.items()))) == BOOK.content
    assert [got[name].dtype for name in TENSORS] == [values.dtype for values in TENSORS.values()]


def test_a_dictionary_of_another_kind():
    with pytest.raises(DictionaryMismatch, match="expected network, got palette"):
        load_network(Dictionary.build("palette", {}, b"abcd"))


@given(
    st.dictionaries(
        st.sampled_from("abc"),
        hnp.arrays(
            np.float32, st.sampled_from([(3,), (2, 4), (2, 3, 2)]), elements=st.floats(-100, 100, width=32)
        ),
    )
)
def test_weights_come_back_to_8_bits(weights):
    got = read_weights(pack_weights(weights, "x."), "x.")
    assert got.keys() == weights.keys()
    for name, values in weights.items():
        most = np.abs(values.reshape(len(values), -1)).max(axis=1).reshape(-1, *[1] * (values.ndim - 1))
        tolerance = 0 if values.ndim < 2 else np.maximum(most / 254 * 1.001, 1e-12)
        assert (np.abs(got[name] - values) <= tolerance).all()


def test_weights_without_units():
    tensors = pack_weights({"w": np.ones((2, 3))}, "x.")
    del tensors["x.w.unit"]
    with pytest.raises(InvalidFrame, match=r"x\.w has no units"):
        read_weights(tensors, "x.")


@given(st.integers(0, 100), st.integers(1, 5), st.integers(0, 99))
def test_biases_are_interpolated_and_rounded_half_up(quality, n_levels, seed):
    random = np.random.default_rng(seed)
    tensors = random_tensors(random, (0, 2), (0, 16), ((0, 0),), n_levels)
    model = NetworkBook("patches", {}, tensors).latents
    got = model.at_quality(quality).a
    rows = tensors["context.bias_a"] / 2.0**16
    place = quality * (n_levels - 1) / 100
    expected = [np.interp(place, np.arange(n_levels), column) for column in rows.T]
    assert np.allclose((got - 2**23) / 2.0**24, expected, atol=2.0**-16)


@pytest.mark.parametrize("architecture", ["whole", "patches"])
def test_exporting_what_was_loaded_gives_the_same_integers(architecture):
    codec = small_codec(architecture)
    tensors = export_context(codec.context)
    load_context(codec.context, NetworkBook(architecture, {}, tensors))
    again = export_context(codec.context)
    assert tensors.keys() == again.keys()
    for name, values in tensors.items():
        assert np.array_equal(again[name], values), name


@pytest.mark.parametrize("architecture", ["whole", "patches"])
def test_a_book_that_was_loaded_is_kept_to_the_last_bit(architecture):
    """Stage two replaces the second generator alone; what mixed decisions begin with stays too."""
    learned = {"mixer.counters": np.arange(5, dtype=np.uint16)}
    first = load_network(small_network(architecture))
    book = NetworkBook(first.architecture, first.config, dict(first.tensors) | learned)
    other = load_codec(load_network(small_network(architecture, seed=1)), None).realism
    tensors, _ = parse_tensors(replace_generator(book, other, realism=True))
    assert tensors.keys() == book.tensors.keys()
    changed = {name for name, values in tensors.items() if not np.array_equal(values, book.tensors[name])}
    assert changed
    assert all(name.startswith("realism.") for name in changed)


@pytest.mark.parametrize("architecture", ["whole", "patches"])
def test_networks_that_do_not_fit_their_description(architecture):
    book = load_network(small_network(architecture))
    wrong = [
        {"lambdas": [1.0, 2.0]},
        {"context": 48},
        {"widths": [4, 4, 12]},
        {"widths": [4, 4]},
        {"widths": 4},
        {"unknown": 1},
        {"bounds": [0, 2, 8]},
        {"lambdas": []},
        {"lambdas": ["a"]},
        {"context": -1},
    ]
    for change in wrong:
        other = NetworkBook(architecture, book.config | change, book.tensors)
        with pytest.raises(InvalidFrame, match="do not fit"):
            load_codec(other, None)


@pytest.mark.parametrize("architecture", ["whole", "patches"])
@pytest.mark.parametrize(
    "change",
    [
        {"context": 2**40},
        {"context": 10**6},
        {"widths": [2**20, 2**20, 2**20]},
        {"hidden": 2**30},
        {"channels": 2**28},
        {"depths": [10**9, 1, 1]},
        {"encoder_depths": [1, 1, 10**9]},
        {"encoder_widths": [10**7, 4, 8]},
        {"n_components": 2**33},
        {"shape": [2**20, 2**20, 3]},
        {"radius": 2**20},
        {"radius": -1},
        {"shape": [0, 0, 0]},
        {"shape": 5},
    ],
)
def test_a_description_makes_nothing_large(architecture, change):
    book = load_network(small_network(architecture))
    if not change.keys() <= book.config.keys():
        pytest.skip("not of this architecture")
    with pytest.raises(InvalidFrame, match="do not fit"):
        load_codec(NetworkBook(architecture, book.config | change, book.tensors), None)


def test_tables_are_those_of_a_logistic_distribution():
    """Each costs what the distribution itself would, but for rounding."""
    tables = logistic_tables()
    starts = np.cumsum(tables["tables.sizes"].astype(int)) - tables["tables.sizes"]
    for table in range(0, N_TABLES, 97):
        scale = np.exp(-3.25 + (table // 32) / 8)
        mean = (table % 32 - 16) / 32
        at, size = starts[table], int(tables["tables.sizes"][table])
        frequencies = tables["tables.frequencies"][at : at + size] / 65536
        numbers = tables["tables.offsets"][table] + np.arange(size - 1)
        mass = np.diff(1 / (1 + np.exp(-(np.append(numbers, numbers[-1] + 1) - 0.5 - mean) / scale)))
        cost = -(mass * np.log2(frequencies[:-1])).sum()
        least = -(mass * np.log2(np.maximum(mass, 1e-30))).sum()
        # A number that is all but certain still leaves 1 of 65536 to each of the others.
        assert cost <= least * 1.003 + 0.002


@pytest.mark.parametrize("architecture", ["whole", "patches"])
def test_integers_cost_what_floats_do(architecture):
    """Of latents that the network was not trained on: bits of the tables against those of training."""
    codec = small_codec(architecture, 3)
    tensors = export_context(codec.context) | logistic_tables()
    book = NetworkBook(architecture, {}, tensors)
    load_context(codec.context, book)
    codec.context.faked = True
    random = np.random.default_rng(1)
    grid = (1, 1) if architecture == "whole" else (4, 5)
    n = 12 if architecture == "whole" else 1
    symbols = np.rint(random.laplace(0, 2, (n, codec.channels, *grid))).astype(np.int32)
    quality = 50
    with torch.no_grad():
        level = torch.full((n,), quality * (codec.n_levels - 1) / 100)
        values = torch.from_numpy(symbols.astype(np.float32))
        mean, log_scale = codec.context(values, level)
        bits = float(logistic_bits(values, mean, log_scale).sum())
    spec = twin.Model(tensors, quality)
    tables = twin.tables_of(tensors)
    pairs = twin.walk(spec, symbols)
    coded = [v - base for v, (_, base) in zip(twin.order(spec, symbols), pairs, strict=True)]
    total = rans.table_cost(coded, [table for table, _ in pairs], tables)
    assert abs(total - bits) < 0.003 * bits + 8
