"""The public face: its names, and what importing it costs."""

import doctest
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import triptych as tp

HEAVY = ("numba", "torch", "sklearn", "PIL", "scipy", "matplotlib")


def test_names():
    for name in (
        "encode",
        "decode",
        "fit",
        "load_dictionary",
        "Dictionary",
        "Writer",
        "Reader",
        "verify",
        "Limits",
        "warmup",
        "__version__",
    ):
        assert name in dir(tp)
    assert all(getattr(tp, name) is not None for name in dir(tp))
    with pytest.raises(AttributeError, match="nothing"):
        _ = tp.nothing


def test_submodules_do_not_hide_functions():
    code = (
        "import triptych.verify, triptych.fit.kmeans, triptych as tp, triptych.framing as f;"
        "print(tp.verify(f.STREAM_HEADER).images, callable(tp.fit), tp.fit.kmeans.__name__)"
    )
    assert _run(code) == "0 True triptych.fit.kmeans"


def test_importing_loads_nothing_heavy():
    code = f"import sys, triptych; print([name for name in {HEAVY} if name in sys.modules])"
    assert _run(code) == "[]"
    code = (
        f"import sys, triptych as tp; tp.Reader, tp.Writer, tp.verify, tp.load_dictionary;"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    assert _run(code) == "[]"


def _run(code):
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root / "codec"), str(root / "kernels")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    return done.stdout.strip()


# fmt: off
OURS = (
    "cache", "callables", "describe", "dictionary", "errors", "framing", "images", "index", "jobs",
    "limits", "metadata", "options", "parallel", "part", "payload", "reader", "scan", "sink", "source",
    "table", "tail", "varint", "verify", "writer", "modes.base", "modes.registry",
)
# fmt: on


@pytest.mark.parametrize("name", OURS)
def test_examples_in_docstrings(name):
    result = doctest.testmod(importlib.import_module(f"triptych.{name}"))
    assert result.failed == 0
