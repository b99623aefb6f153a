"""The gates of style, types and layers, as commands that anyone can run."""

import subprocess
import sys

import pytest
from background import ROOT, Job


@pytest.mark.parametrize("command", [["ruff", "check"], ["ruff", "format", "--check"]], ids=" ".join)
def test_gate(command):
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.background(30, lambda folder: Job([sys.executable, "-m", "mypy"]))
def test_types(background):
    assert background.code == 0, background.output + background.errors
