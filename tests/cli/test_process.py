"""What only a real process shows: pipes, signals, exit codes, start-up, the terminal."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import triptych as tp
from PIL import Image

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "triptych")
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT / 'codec'}{os.pathsep}{ROOT / 'kernels'}"}


def run(*args, **kwargs):
    return subprocess.run([*COMMAND, *args], env=ENVIRONMENT, capture_output=True, timeout=120, **kwargs)


def test_help_is_quick_and_light():
    def spent():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    seconds = []
    for _ in range(3):
        begin = spent()
        result = run("--help")
        seconds.append(spent() - begin)
        assert result.returncode == 0
        assert b"encode" in result.stdout
    assert min(seconds) < 0.5  # it takes 0.1
    code = (
        "import sys\n"
        "from triptych.cli import group\n"
        "for args in (['--help'], *([verb, '--help'] for verb in group.list_commands(None))):\n"
        "    group.main(args, standalone_mode=False)\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, check=True)
    for heavy in (b"'numba'", b"'numpy'", b"'PIL'", b"'tqdm'", b"'torch'", b"'sklearn'"):
        assert heavy not in result.stderr


def test_a_checkout_runs_without_installing():
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, str(ROOT / "codec"), "--version"]
    result = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60)
    assert result.stdout.startswith(b"triptych 0.")


def test_a_pipe_from_encode_to_decode(folder, pictures, tmp_path):
    shell = f"{' '.join(COMMAND)} encode {folder} -o - | {' '.join(COMMAND)} decode - -o {tmp_path}/out"
    subprocess.run(shell, shell=True, env=ENVIRONMENT, check=True, timeout=120)
    for key, pixels in pictures.items():
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / f"{key}.png")), pixels)


def test_a_broken_pipe_is_silent(stream):
    command = [*COMMAND, "info", *[str(stream)] * 400]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode != 0


def test_keys_are_told_in_any_encoding(tmp_path):
    with tp.Writer(tmp_path / "x.tych") as writer:
        writer.write(np.zeros((2, 2), np.uint8), key="日本", metadata={"é": "🌍"})
    for encoding in ("latin-1", "utf-8"):
        environment = ENVIRONMENT | {"PYTHONIOENCODING": encoding}
        for verb in (["info"], ["info", "--json"], ["decode", "--json", "-fo", str(tmp_path / "out/")]):
            command = [*COMMAND, *verb, str(tmp_path / "x.tych")]
            result = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60)
            if "--json" in verb:
                assert json.loads(result.stdout.decode(encoding))


def test_exit_codes_reach_the_shell(tmp_path, stream):
    cut = tmp_path / "cut.tych"
    cut.write_bytes(stream.read_bytes()[:-1])
    assert run("verify", str(stream)).returncode == 0
    result = run("verify", str(cut))
    assert result.returncode == 3
    assert result.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("output", "sent", "told"),
    [
        ("x.tych", signal.SIGINT, b"triptych: interrupted\n"),
        ("before.tych", signal.SIGINT, b"triptych: interrupted\n"),
        ("x.tych", signal.SIGTERM, b"triptych: terminated\n"),
    ],
)
def test_a_signal_leaves_no_file(tmp_path, output, sent, told):
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    inputs = tmp_path / "in"
    inputs.mkdir()
    for number in range(60):
        Image.fromarray(noise + np.uint8(number)).save(inputs / f"{number}.png", compress_level=1)
    (tmp_path / "before.tych").write_bytes(b"what was there before")
    command = [*COMMAND, "encode", str(inputs), "-fj1", "-o", str(tmp_path / output)]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE) as process:
        # The temporary file shows that encoding is under way.
        while process.poll() is None and not list(tmp_path.glob(".*.part")):
            time.sleep(0.02)
        time.sleep(0.2)
        process.send_signal(sent)
        message = process.stderr.read()
    # Python itself dies of the signal where it struck during an exec; shells call both the same.
    assert process.returncode in (128 + sent, -sent)
    assert message.endswith(told)
    assert b"Traceback" not in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["before.tych", "in"]
    assert (tmp_path / "before.tych").read_bytes() == b"what was there before"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_is_not_lost_in_a_callback(name):
    """Python ignores what is raised in a callback from C, as llvmlite has when it loads a kernel."""
    script = f"""
import ctypes, signal, time
from triptych import cli

def work(**_):
    ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(signal.{name}))()
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted")

cli.group.main = work
cli.main()
"""
    result = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, timeout=50)
    assert result.stdout == b"interrupted\n"
    assert result.stderr == b""


def test_binary_does_not_go_to_a_terminal(folder):
    pty = pytest.importorskip("pty")
    master, terminal = pty.openpty()
    command = [*COMMAND, "encode", str(folder / "a.png"), "-o", "-"]
    result = subprocess.run(command, env=ENVIRONMENT, stdout=terminal, stderr=subprocess.PIPE, timeout=120)
    os.close(terminal)
    assert result.returncode == 2
    assert b"stdout is a terminal" in result.stderr
    os.close(master)


def test_progress_shows_on_a_terminal_only(folder, tmp_path):
    random = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(random.integers(0, 256, (130, 130, 3), np.uint8)).save(folder / f"n{number}.png")
    pty = pytest.importorskip("pty")
    master, terminal = pty.openpty()
    pytest.importorskip("termios").tcsetwinsize(terminal, (24, 80))
    command = [*COMMAND, "encode", str(folder), "-o", str(tmp_path / "x.tych"), "-j1", "--frame-images=1"]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        try:
            while block := os.read(master, 4096):
                shown += block
        except OSError:  # the terminal was closed
            pass
    os.close(master)
    assert process.returncode == 0
    assert b"images" in shown
    assert run(*command[3:], "-f").stderr == b""
