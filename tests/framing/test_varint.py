import pytest
from hypothesis import given
from hypothesis import strategies as st
from triptych.errors import InvalidFrame
from triptych.varint import MAX, build_varint, parse_varint


@given(st.integers(0, MAX), st.binary(max_size=3), st.binary(max_size=3))
def test_round_trip(value, before, after):
    data = before + build_varint(value) + after
    assert parse_varint(memoryview(data), len(before)) == (value, len(data) - len(after))


@given(st.binary(max_size=12))
def test_any_bytes_are_the_canonical_form_or_an_error(data):
    try:
        value, position = parse_varint(memoryview(data), 0)
    except InvalidFrame:
        return
    assert data[:position] == build_varint(value)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x00", b"\xff" * 9 + b"\x01", b"\x80" * 10])
def test_refused(data):
    with pytest.raises(InvalidFrame):
        parse_varint(memoryview(data), 0)
