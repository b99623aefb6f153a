"""The decorator of kernels: what happens to their disk cache in hard places."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import triptych as tp

PLAIN = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
SOURCE = Path(__file__).resolve().parents[2] / "kernels" / "triptych_kernels"


@pytest.fixture
def package(tmp_path):
    """A copy of the package, without its cache."""
    copy = tmp_path / "triptych_kernels"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def run(package, script, **environment):
    """Run a script beside the package; give what it prints."""
    preamble = """
        import numpy as np
        from triptych_kernels import _jit, rangecoder

        def finish(room=4):
            # The tail of a coder whose interval is [0x12000000, 0x12ffffff]: one byte.
            state = np.array([0x12000000, 0x12FFFFFF, 0, 0], np.uint64)
            return int(rangecoder.finish_encoding(state, np.zeros(room, np.uint8)))

        def cache_hits():
            return sum(rangecoder.finish_encoding.stats.cache_hits.values())
    """
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(preamble) + textwrap.dedent(script)],
        env=PLAIN | {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.split()


ONCE = "print(finish(), cache_hits())"


def test_the_second_process_finds_the_first_ones_kernel(package):
    assert run(package, ONCE) == ["1", "0"]
    assert run(package, ONCE) == ["1", "1"]


def test_damaged_cache_files_are_as_good_as_none(package):
    assert run(package, ONCE) == ["1", "0"]
    script = """
        import importlib, pathlib
        good = {path: path.read_bytes() for path in pathlib.Path(FOLDER).glob("rangecoder.finish_enc*")}
        assert {path.suffix for path in good} == {".nbi", ".nbc"}
        for broken in good:
            whole = good[broken]
            middle = len(whole) // 2
            for bytes_now in (b"", whole[:1], whole[:middle], whole[:-1], b"?" * 99, whole[:9] + bytes(999),
                              whole[:middle].ljust(len(whole), b"."), b"(lp0\\nI1\\na."):
                for path, content in good.items():
                    path.write_bytes(content)
                broken.write_bytes(bytes_now)
                importlib.reload(rangecoder)
                assert finish() == 1
                importlib.reload(rangecoder)
                assert finish() == 1
                assert cache_hits() == 1, "the cache was not written again"
        print("ok")
    """
    script = script.replace("FOLDER", repr(str(package / "__pycache__")))
    assert run(package, script) == ["ok"]


def test_no_place_for_a_cache(package, tmp_path):
    """A file stands where each of numba's folders would be, which stops even a superuser."""
    (package / "__pycache__").write_bytes(b"")
    nowhere = tmp_path / "file"
    nowhere.write_bytes(b"")
    homes = {name: str(nowhere) for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA")}
    script = 'print(finish(), cache_hits(), str(_jit.cache_fault()).replace(" ", "_"))'
    said = ["1", "0", "no_folder_for_them_can_be_written"]
    assert run(package, script, **homes) == said
    assert run(package, script, **homes, NUMBA_CACHE_DIR=str(nowhere)) == said
    assert run(package, script, **homes, NUMBA_CACHE_DIR=str(tmp_path / "own")) == ["1", "0", "None"]


def test_a_cache_that_vanishes_while_we_compile(package):
    script = f"""
        import pathlib, shutil
        cache = pathlib.Path({str(package / "__pycache__")!r})
        shutil.rmtree(cache)
        cache.write_bytes(b"")
        print(finish(), cache_hits(), _jit.cache_fault().startswith(str(cache)))
    """
    assert run(package, script) == ["1", "0", "True"]


def test_a_read_only_cache_is_read(package, tmp_path):
    assert run(package, ONCE) == ["1", "0"]
    for path in (package / "__pycache__").iterdir():
        path.chmod(0o444)
    (package / "__pycache__").chmod(0o555)
    try:
        assert run(package, ONCE)[0] == "1"
    finally:
        (package / "__pycache__").chmod(0o755)


def test_an_edit_in_the_kernels_own_file_is_seen(package):
    assert run(package, ONCE) == ["1", "0"]
    with (package / "rangecoder.py").open("a") as file:
        file.write("\n# edited\n")
    assert run(package, ONCE) == ["1", "0"]


def test_an_edit_in_a_file_it_imports_a_constant_from_is_seen(package):
    print_full = "print(finish(room=0))"
    assert run(package, print_full) == ["-1"]
    status = package / "status.py"
    status.write_text(status.read_text().replace("OUTPUT_FULL = -1", "OUTPUT_FULL = -9"))
    assert run(package, print_full) == ["-9"]


@pytest.mark.parametrize(
    ("kernel", "imported"), [("paletteset.code_size", "contextmix"), ("wu.cut_boxes", "_jit")]
)
def test_an_edit_in_a_file_it_imports_a_function_from_is_seen(package, kernel, imported):
    """The stamp covers files that the kernel's file reaches through others, too."""
    module, function = kernel.split(".")
    script = f"""
        from triptych_kernels import {module}
        print({module}.{function}._cache._cache_file._source_stamp)
    """
    before = run(package, script)
    assert run(package, script) == before
    with (package / f"{imported}.py").open("a") as file:
        file.write("\n# edited\n")
    assert run(package, script) != before


@pytest.mark.slow
def test_a_run_says_that_kernels_are_not_kept(package, tmp_path):
    stream, nowhere = tmp_path / "x.tych", tmp_path / "file"
    stream.write_bytes(tp.encode(np.eye(9, dtype=np.uint8)))
    nowhere.write_bytes(b"")
    (package / "__pycache__").write_bytes(b"")
    homes = {name: str(nowhere) for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "NUMBA_CACHE_DIR")}
    done = subprocess.run(
        [sys.executable, "-m", "triptych", "verify", stream],
        env=os.environ | homes | {"PYTHONPATH": os.pathsep.join([str(package.parent), *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == (
        "triptych: compiling kernels, for this run alone (no folder for them can be written): "
        "set NUMBA_CACHE_DIR to a folder where they can be kept\n"
    )
