"""Checksums with and without google-crc32c's compiled code."""

import os
import subprocess
import sys
import types

import pytest
from background import ROOT
from hypothesis import given
from hypothesis import strategies as st
from triptych import checksum

FALLBACK = types.SimpleNamespace(implementation="python", extend=None)
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT / 'codec'}{os.pathsep}{ROOT / 'kernels'}"}
DATA = st.binary(max_size=70)


@pytest.mark.parametrize("library", [None, FALLBACK], ids=["none", "python"])
def test_only_compiled_code_is_taken(monkeypatch, library):
    """What is there is either absent or google-crc32c's own Python, which is far too slow."""
    monkeypatch.setitem(sys.modules, "google_crc32c", library)
    assert checksum._find_compiled() is None


@given(DATA, DATA)
def test_both_ways_give_the_same(one, other):
    with pytest.MonkeyPatch.context() as patch:
        expected = checksum.crc32c(memoryview(other), checksum.crc32c(one))
        patch.setattr(checksum, "_compiled", None)
        assert checksum.crc32c(memoryview(other), checksum.crc32c(one)) == expected
        assert checksum.crc32c(memoryview(bytearray(one + other))) == expected


def test_a_stream_is_the_same_without_the_library():
    script = """
import sys, hashlib
if {blocked}: sys.modules["google_crc32c"] = None
import triptych as tp, numpy as np
from triptych import checksum
assert "triptych_kernels" not in sys.modules
[getattr(tp, name) for name in ("Reader", "Writer", "encode", "decode")]
assert "triptych_kernels" not in sys.modules, "an import brought kernels in"
data = tp.encode(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
tp.decode(data)
print(data.hex())
"""
    prints = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", script.format(blocked=blocked)],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for blocked in (False, True)
    ]
    assert prints[0] == prints[1]
