"""`tools/fuzz.py`: that it finds what is there to be found, and, for two minutes in all, that nothing is."""

import os
import random
import subprocess
import textwrap
from pathlib import Path

import fuzz
import pytest
import triptych as tp
from elsewhere import python
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[1]


def run(path, *arguments):
    job = python(path, *arguments)
    return subprocess.run(
        job.command, env=os.environ | job.environment, capture_output=True, text=True, check=False
    )


def campaign(folder, target):
    """A short one; long ones are run by hand."""
    patience = 60 if target == "costs" else 2  # which bounds them itself
    return python(fuzz.__file__, "--seconds", 10, "--target", target, "--timeout", patience, "--save", folder)


@pytest.mark.slow
@pytest.mark.background(13, campaign)
@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_nothing_is_found_in_ten_seconds(target, background):
    assert background.code == 0, background.output + background.errors
    assert list(background.folder.iterdir()) == []
    assert ", 0 findings" in background.output


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        ("raise IndexError('not ours')", "IndexError: not ours"),
        ("assert False, 'two results'", "AssertionError: two results"),
        ("os.abort()", "Aborted"),
        ("while True: pass", "Timeout"),
        ("bytearray(1 << 42)", "MemoryError"),
    ],
)
def test_faults_are_caught_with_their_input(fault, shown, tmp_path):
    """A target with a fault for inputs that begin with a bad byte."""
    faulty = tmp_path / "faulty.py"
    faulty.write_text(
        textwrap.dedent(
            f"""
            import os, sys, fuzz

            def run(data):
                if data[:1] == b"!":
                    {fault}

            fuzz.TARGETS["faulty"] = fuzz.Target(lambda: iter([b"?seed", b"#!seed"]), run)
            sys.exit(fuzz.main())
            """
        )
    )
    saved = tmp_path / "saved"
    done = run(faulty, "--target", "faulty", "--seconds", 1.5, "--timeout", 0.3, "--save", saved)
    assert done.returncode == 1, done.stdout + done.stderr
    found = [path.read_bytes() for path in saved.iterdir()]
    assert found
    assert all(data.startswith(b"!") for data in found)
    assert shown in done.stdout
    replayed = run(faulty, "--target", "faulty", "--replay", ROOT / "pyproject.toml")
    assert replayed.stdout == "accepted\n"


@given(st.binary(max_size=100), st.lists(st.binary(max_size=100), min_size=1, max_size=3), st.integers())
def test_mutations_are_bounded_and_repeat(data, others, seed):
    once, again = (fuzz.mutate(data, others, random.Random(seed)) for _ in range(2))
    assert once == again
    assert len(once) <= fuzz.MAX_INPUT


@pytest.mark.parametrize("name", sorted(path.name for path in fuzz.CORPUS.iterdir()))
def test_the_corpus_finds_nothing(name):
    inputs = fuzz.corpus_of(name)
    assert inputs
    outcomes = [fuzz.outcome_of(fuzz.TARGETS[name], data) for data in inputs]
    assert len(set(outcomes)) > len(outcomes) / 2  # each is there for an outcome; some have become others


def test_an_input_is_minimised():
    def run(data):
        if b"bad" in data:
            raise tp.InvalidFrame("bad")

    target = fuzz.Target(lambda: iter([]), run)
    assert fuzz.minimise(target, b"x" * 50 + b"bad" + b"y" * 33, "InvalidFrame: bad") == b"bad"


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_some_seeds_are_good(name):
    target = fuzz.TARGETS[name]
    assert any(fuzz.outcome_of(target, data) == "accepted" for data in target.seeds())
