"""What type checkers find in programs of users: all mistakes, and nothing in what is right."""

import inspect
import re
import sys
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import triptych as tp
from background import Job
from triptych import keywords
from triptych.modes.registry import _MODULES
from triptych.options import Options

HERE = Path(__file__).parent
PROGRAMS = ["program.py", "wrong.py"]


def check_programs(folder):
    """Let mypy see the package as it is installed: no settings of ours, which make it see our sources."""
    check = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={folder}"]
    return Job([*check, "--no-pretty", *(str(HERE / name) for name in PROGRAMS)])


@pytest.mark.slow
@pytest.mark.background(20, check_programs)
def test_mypy_finds_the_mistakes_and_nothing_else(background):
    found = Counter(re.findall(r"(\w+\.py):(\d+): error: .*\[([\w-]+)\]", background.output))
    expected = {
        (name, str(number), line.rpartition("# ")[2])
        for name in PROGRAMS
        for number, line in enumerate((HERE / name).read_text().splitlines(), 1)
        if re.search(r"  # [a-z]+-[a-z]+$", line)
    }
    assert len(expected) > 20
    assert set(found) == expected, background.output + background.errors


def test_keywords_are_the_options():
    names = [item.name for item in fields(Options)]
    assert sorted(keywords.EncodeOptions.__annotations__) == sorted(names)
    assert set(keywords.FitOptions.__annotations__) < set(names)
    assert set(get_args(keywords.ModeName)) == {"auto", *_MODULES}


@pytest.mark.parametrize("name", ["mode", "effort", "tune"])
def test_what_may_be_given_is_what_is_taken(name):
    kinds = {"mode": keywords.ModeName, "effort": keywords.Effort, "tune": keywords.Tune}
    with pytest.raises(tp.InvalidOption) as caught:
        tp.encode(np.zeros((2, 2), np.uint8), **{name: "none of them"})
    allowed = re.findall(r"'([^']+)'", str(caught.value).rpartition(", not ")[0])
    known = set(get_args(kinds[name]))
    # Tests register modes of their own.
    assert known <= set(allowed) if name == "mode" else known == set(allowed)


@pytest.mark.parametrize(
    ("documented", "options", "others"),
    [
        (tp.encode, keywords.EncodeOptions, {"threads": 1}),
        (tp.Writer, keywords.EncodeOptions, {}),
        (tp.fit.fit, keywords.FitOptions, {}),
    ],
    ids=["encode", "Writer", "fit"],
)
def test_help_tells_the_options(documented, options, others):
    """Each with its default, and with words on what it means, where `help` shows it."""
    told = inspect.getdoc(documented)
    for item in fields(Options):
        found = re.search(rf"^    {item.name} : .*, default (.*)\n        (.*)", told, flags=re.M)
        if item.name not in options.__annotations__:
            assert found is None
        else:
            default = others.get(item.name, getattr(Options(), item.name))
            assert found[1] == ("Limits()" if item.name == "limits" else repr(default))
            assert len(found[2]) > 10
    assert told.index("    limits : ") < told.index("\nReturns" if documented is not tp.Writer else "\nNotes")
