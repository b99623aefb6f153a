"""Interrupts of the command line, at any moment: the exit status says so, and no file is there in part."""

from __future__ import annotations

import os
import random
import re
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
NOTICE = b"triptych: compiling kernels, once; `triptych warmup` does it ahead\n"

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no signals here")


def run_script(script):
    """Run a script in which `work` is the command line, and `interrupt` sends a signal."""
    script = f"""
import signal, time
from triptych import cli

{script}

cli.group.main = work
cli.main()
"""
    return subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, timeout=50)


DROPPED = {
    "finalizer": "type('', (), {'__del__': lambda self: signal.raise_signal(signal.SIGINT)})()",
    "handler": """
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException:
        pass""",
    "import": """
    try:
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException as error:
            raise ImportError("a part is missing") from error
    except ImportError:
        pass""",
}


@pytest.mark.parametrize("where", DROPPED)
def test_what_is_dropped_comes_again(where):
    result = run_script(f"""
def work(**_):
    {DROPPED[where]}
    time.sleep(40)
""")
    assert (result.returncode, result.stderr) == (130, b"triptych: interrupted\n")


def test_an_error_in_place_of_an_interrupt_is_one():
    """As of a package whose import was interrupted, and says that it is broken."""
    result = run_script("""
def work(**_):
    try:
        signal.raise_signal(signal.SIGTERM)
    except BaseException as error:
        raise ImportError("a part is missing") from error
""")
    assert (result.returncode, result.stderr) == (143, b"triptych: terminated\n")


TIDYING = """
def work(**_):
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        time.sleep({wait})
        signal.raise_signal(signal.SIGINT)
        print("tidied")
"""


def test_an_echo_does_not_disturb_the_tidying():
    result = run_script(TIDYING.format(wait=0))
    assert (result.returncode, result.stdout, result.stderr) == (130, b"tidied\n", b"triptych: interrupted\n")


def test_a_second_interrupt_ends_at_once():
    result = run_script(TIDYING.format(wait=1.1))
    assert (result.returncode, result.stdout) == (-signal.SIGINT, b"")


def test_an_ignored_signal_stays_ignored():
    """Shells have their background jobs ignore what Ctrl-C sends."""
    script = 'trap "" INT; exec "$@"'
    code = "import signal; from triptych import cli; cli.group.main = lambda **_: signal.raise_signal(2)"
    command = ["sh", "-c", script, "sh", sys.executable, "-c", f"{code}; cli.main()"]
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, timeout=50)
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_at_any_moment(tmp_path):
    assert storm(tmp_path, 24, seed=random.randrange(1 << 32)) >= 12


def storm(place, rounds, seed):
    """Interrupt start, compilation, encoding, decoding and fitting at random moments; count the hits."""
    random_moments = random.Random(seed)
    noise = np.random.default_rng(0).integers(0, 256, (250, 250, 3), np.uint8)
    inputs = place / "in"
    inputs.mkdir()
    for number in range(40):
        Image.fromarray(noise + np.uint8(number)).save(inputs / f"{number}.png", compress_level=1)
    stream = place / "in.tych"
    subprocess.run([*COMMAND, "encode", inputs, "-o", stream, "--quiet"], env=ENVIRONMENT, check=True)
    verbs = {
        "encode": (["encode", inputs, "-o", "x.tych", "-j1"], 2.0),
        "threads": (["encode", inputs, "-o", "x.tych", "-j3", "-k", "32"], 2.0),
        "compile": (["encode", inputs, "-o", "x.tych"], 6.0),
        "decode": (["decode", stream, "-o", "out/"], 1.5),
        "fit": (["fit", "kmeans", inputs, "-k", "16", "-o", "x.tych"], 2.0),
    }
    hits = 0
    for number in range(rounds):
        name = random_moments.choice([*verbs])
        arguments, seconds = verbs[name]
        folder = place / str(number)
        folder.mkdir()
        environment = dict(ENVIRONMENT)
        if name == "compile":
            environment["NUMBA_CACHE_DIR"] = str(place / f"cache{number}")
        moment = random_moments.uniform(0, seconds) * random_moments.choice([0.1, 1])
        process = subprocess.Popen(
            [*COMMAND, *arguments], cwd=folder, env=environment, stderr=subprocess.PIPE
        )
        with process:
            _wait_for_handlers(process)
            time.sleep(moment)
            process.send_signal(signal.SIGINT)
            sent = time.monotonic()
            told = process.stderr.read()
            code = process.wait()
        waited = time.monotonic() - sent
        about = (f"seed {seed}, round {number}: {name} after {moment:.3f} s", code, told, waited)
        left = sorted(path for path in folder.rglob("*") if path.is_file())
        assert not [path for path in left if ".part" in path.name], (*about, left)
        for path in left:
            if path.suffix == ".png":
                Image.open(path).load()
            elif name != "fit":
                assert tp.verify(path).images == 40, about
        if code == 130:
            hits += 1
            assert told.removeprefix(NOTICE).endswith(b"triptych: interrupted\n"), about
            assert b"Traceback" not in told, about
            assert waited < (60 if name == "compile" else 10), about  # threads finish what they compile
        else:
            # The work was done; Python itself was ending, or had ended.
            assert code in (0, -signal.SIGINT), about
            assert waited < 1, about
            assert left, about
    return hits


def _wait_for_handlers(process):
    """Wait until SIGTERM is caught, which it is not before signals are taken over."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        caught = re.search(r"SigCgt:\s*([0-9a-f]+)", status.read_text())
        if caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.001)
