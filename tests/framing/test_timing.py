"""Times of frames: exact where files have them, and nothing where bytes say nothing."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import durations
from triptych.timing import build_timing, parse_timing
from triptych.varint import build_varint


@given(durations, st.none() | st.integers(0, 2**32 - 1))
def test_what_is_read_is_written_again(duration, loop):
    expected = {"duration": duration} | ({} if loop is None else {"loop": loop})
    assert parse_timing(build_timing(duration, loop)) == expected


@pytest.mark.parametrize("per_second", [100, 1000, 24000, 30000, 65535])
@given(n=st.integers(0, 65535))
def test_times_of_files_are_exact(per_second, n):
    """Hundredths (GIF), milliseconds (WebP), any fraction of two 16-bit numbers (APNG)."""
    found = parse_timing(build_timing(float(n) / float(per_second) * 1000))["duration"]
    assert (Fraction(found) / 1000).limit_denominator(65535) == Fraction(n, per_second)


@pytest.mark.parametrize("value", [np.float32(12.5), np.int16(40), np.array(40), Fraction(25, 2)])
def test_numbers_of_any_kind(value):
    assert parse_timing(build_timing(value)) == {"duration": value}


@pytest.mark.parametrize(
    "numbers",
    [
        *((), (1,), (1, 0), (0, 65536), (65536, 1), (65536 * 65535, 65535), (1, 1, 2**32), (1, 1, 1, 1)),
        *((2**62, 1), (1, 2**62)),
    ],
)
def test_what_says_nothing(numbers):
    assert parse_timing(b"".join(map(build_varint, numbers))) == {}


@given(st.binary(max_size=30))
def test_any_bytes_are_read(data):
    assert set(parse_timing(data)) <= {"duration", "loop"}
