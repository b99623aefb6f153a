"""Test modules run as scripts in a process of their own, also where numba compiles for another CPU."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run_script(script, **environment):
    """Give what a script prints as JSON."""
    folders = [str(ROOT / name) for name in ("codec", "kernels", "tools", "tests")]
    finished = subprocess.run(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-4000:]
    return json.loads(finished.stdout)


def plain_cpu(cache):
    """Give the environment in which kernels are compiled anew, for a plain CPU, and check every index."""
    return {
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_BOUNDSCHECK": "1",
        "NUMBA_CACHE_DIR": str(cache),
    }


def lines_with_floats(code):
    """Give the lines of LLVM IR that name a float."""
    return [line for line in code.splitlines() if re.search(r"\b(half|float|double|fp128)\b", line)]


def floats_of(kernel):
    """Give the lines of a kernel's compiled code that name a float; nothing is to be seen of a cached one."""
    codes = [kernel.inspect_llvm(signature) for signature in kernel.signatures]
    assert any("\ndefine " in code for code in codes), "nothing to look at"
    return [line for code in codes for line in lines_with_floats(code)]
