import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from reference.crc import crc32c as twin
from triptych_kernels.crc32c import extend

BYTES = st.binary(max_size=70)


def crc(data, start=0):
    return int(extend(start, np.frombuffer(memoryview(data), np.uint8)))


def test_the_crc_is_castagnoli():
    """The vectors of RFC 3720, appendix B.4."""
    assert crc(b"123456789") == 0xE3069283
    assert crc(bytes(32)) == 0x8A9136AA
    assert crc(b"\xff" * 32) == 0x62A8AB43
    assert crc(bytes(range(32))) == 0x46DD794E


@given(BYTES, st.integers(0, 2**32 - 1))
def test_it_agrees_with_the_twin(data, start):
    assert crc(data, start) == twin(data, start)


@given(BYTES, BYTES)
def test_it_goes_on(one, other):
    assert crc(other, crc(one)) == crc(one + other)
