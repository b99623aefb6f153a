"""Processes of Python of their own, also where numba compiles for another CPU."""

import os
import re
import sys

from background import ROOT, Job

FOLDERS = [str(ROOT / name) for name in ("codec", "kernels", "tools", "tests")]


def python(*arguments, **environment):
    """Give the command that runs Python with the checkout's modules."""
    return Job(
        [sys.executable, *map(str, arguments)],
        {"PYTHONPATH": os.pathsep.join(FOLDERS)} | environment,
    )


def on_plain_cpu(path):
    """Give the job of a script whose kernels are compiled anew, for a plain CPU, and check every index."""
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_BOUNDSCHECK": "1"}
    return lambda folder: python(path, **plain, NUMBA_CACHE_DIR=str(folder))


def lines_with_floats(code):
    """Give the lines of LLVM IR that name a float."""
    return [line for line in code.splitlines() if re.search(r"\b(half|float|double|fp128)\b", line)]


def floats_of(kernel):
    """Give the lines of a kernel's compiled code that name a float; nothing is to be seen of a cached one."""
    codes = [kernel.inspect_llvm(signature) for signature in kernel.signatures]
    assert any("\ndefine " in code for code in codes), "nothing to look at"
    return [line for code in codes for line in lines_with_floats(code)]
