"""Keys of a frame: what reads them all at once gives what reads them one by one."""

from hypothesis import example, given
from hypothesis import strategies as st
from triptych.errors import InvalidFrame
from triptych.payload import _parse_keys, _parse_long_keys
from triptych.varint import build_varint

keys = st.one_of(st.text(max_size=5), st.text("ab/0", max_size=5), st.text("a", min_size=120, max_size=140))


def build(some_keys):
    return b"".join(build_varint(len(data)) + data for data in (key.encode() for key in some_keys))


def outcome(parse, *arguments):
    try:
        return parse(*arguments)
    except InvalidFrame as error:
        return str(error)


@given(st.lists(keys, min_size=1, max_size=8), st.binary(max_size=3), st.binary(max_size=3))
def test_keys_come_back(some_keys, before, after):
    data = memoryview(before + build(some_keys) + after)
    expected = [key or None for key in some_keys], len(data) - len(after)
    assert _parse_keys(data, len(before), len(some_keys)) == expected
    assert _parse_long_keys(data, len(before), len(some_keys)) == expected


@given(
    st.one_of(st.binary(max_size=40), st.binary(max_size=6).map(lambda d: bytes(b % 6 for b in d))),
    st.integers(1, 6),
)
@example(b"\x01a\x02", 2)
@example(b"\x01a\x02b", 2)
@example(b"\x02\xc3\x01\xa9", 2)
@example(b"\x80\x01", 1)
def test_any_bytes(data, count):
    assert outcome(_parse_keys, memoryview(data), 0, count) == outcome(
        _parse_long_keys, memoryview(data), 0, count
    )
