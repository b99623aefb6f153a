"""Jobs for the workers of `tests/interop/test_engine.py`, which import this module."""

import os
import time


def work_slowly(path, value):
    """Say which process works, and take a while."""
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(0.2)
    return value, [value]
