"""What killed processes leave: nothing under a final name, and nothing at all after the next on that path."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import triptych as tp
from PIL import Image
from triptych.sink import write_whole

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT / 'codec'}{os.pathsep}{ROOT / 'kernels'}"}
IMAGE = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")


def run_killed(folder, script):
    """Run a script that kills itself where it would give a file its name."""
    script = (
        "import os, sys\nimport triptych as tp\nos.replace = lambda *_: os.kill(os.getpid(), 9)\n" + script
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, env=ENVIRONMENT, timeout=60)
    assert done.returncode == -signal.SIGKILL


WRITE = "tp.Writer('x.tych').close()"
COMMAND = "sys.argv[1:] = {arguments}\nfrom triptych.cli import main\nmain()"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_a_writer_removes_what_a_killed_one_left(tmp_path, before, append):
    path = tmp_path / "x.tych"
    if before:
        path.write_bytes(tp.encode(IMAGE))
    run_killed(tmp_path, WRITE)
    assert names(tmp_path) == [".x.tych.0.part"] + ["x.tych"] * before
    writer = tp.Writer(path, append=append)
    writer.write(IMAGE)
    writer.close()
    assert names(tmp_path) == ["x.tych"]
    with tp.Reader(path) as reader:
        assert len(reader) == 1 + (before and append)


def test_of_several_killed_at_once(tmp_path):
    for number in range(3):
        (tmp_path / f".x.tych.{number}.part").write_bytes(b"some")
    tp.Writer(tmp_path / "x.tych").close()
    assert names(tmp_path) == ["x.tych"]


def test_what_is_being_written_stays(tmp_path):
    """In this process and another, under either name; so does what belongs to others' paths."""
    others = [".x.tych.part", ".x.tych.0.part.png", ".y.tych.0.part", "x.tych.0.part"]
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
    path = tmp_path / "x.tych"
    script = "w = tp.Writer('x.tych'); print(flush=True); input(); w.close()"
    with subprocess.Popen(
        [sys.executable, "-c", "import triptych as tp\n" + script],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        first, second = tp.Writer(path), tp.Writer(path)
        assert names(tmp_path) == sorted([*others, *(f".x.tych.{number}.part" for number in range(3))])
        first.write(IMAGE)
        first.close()
        second.abort()
        tp.Writer(path).close()
        assert names(tmp_path) == sorted([*others, ".x.tych.0.part", "x.tych"])
        process.communicate(b"\n", timeout=60)
    assert process.returncode == 0
    assert names(tmp_path) == sorted([*others, "x.tych"])


def test_a_name_that_was_taken_over_is_not_removed(tmp_path):
    """Whoever lost its temporary file, as to a superuser's broom, leaves alone who has the name now."""
    writer = tp.Writer(tmp_path / "x.tych")
    (tmp_path / ".x.tych.0.part").unlink()
    other = tp.Writer(tmp_path / "x.tych")
    writer.abort()
    assert names(tmp_path) == [".x.tych.0.part"]
    other.close()
    assert names(tmp_path) == ["x.tych"]


def test_encode_and_decode(tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    for arguments, left in (
        (["encode", "a.png", "-o", "x.tych"], ".x.tych.0.part"),
        (["decode", "x.tych", "-o", "b.png"], ".b.png.0.part"),
    ):
        before = names(tmp_path)
        run_killed(tmp_path, COMMAND.format(arguments=arguments))
        assert names(tmp_path) == sorted([*before, left])
        command = [sys.executable, "-m", "triptych", *arguments]
        subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, check=True, timeout=60)
    assert names(tmp_path) == ["a.png", "b.png", "x.tych"]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="full"):
        write_whole(tmp_path / "x", b"data")
    assert names(tmp_path) == []
