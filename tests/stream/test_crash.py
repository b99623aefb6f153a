"""What a kill leaves of a stream: a small run of `tools/crash.py`, and the tool itself put to the test."""

from __future__ import annotations

import signal

import pytest
from crash import CrashError, check, crash, image_of, key_of
from strategies import Record, write_stream

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_kills(tmp_path, threads):
    options = {"mode": "kmeans", "threads": threads}
    assert crash(tmp_path, 5, seed=threads, longest=0.3, options=options) > 1


def test_the_check_sees_what_is_wrong(tmp_path):
    path = tmp_path / "images.tych"
    assert check(path, 0) == 0
    with pytest.raises(CrashError, match="no file"):
        check(path, 1)
    good = [Record(image_of(number), {"key": key_of(number)}) for number in range(4)]
    write_stream(good, path, frame_images=1)
    assert check(path, 4) == 4
    with pytest.raises(CrashError, match="5 images were flushed"):
        check(path, 5)
    write_stream([*good, good[3]], path, frame_images=1)
    with pytest.raises(CrashError, match="has the key"):
        check(path, 4)
    write_stream([*good[:3], Record(image_of(5), {"key": key_of(3)})], path, frame_images=1)
    with pytest.raises(CrashError, match="other pixels"):
        check(path, 4)
