"""What documents show is true: examples in docstrings and in the README run."""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
import triptych
import triptych_kernels
from click.testing import CliRunner
from triptych.cli import group

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MODULES = sorted(
    info.name
    for package in (triptych, triptych_kernels)
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    if not info.name.endswith("__main__")
)


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


@pytest.mark.parametrize("name", ["README.md", "codec/docs/choosing.md"])
def test_python_of_documents(tmp_path, name):
    script = tmp_path / "document.py"
    script.write_text("\n".join(blocks("python", (ROOT / name).read_text())))
    subprocess.run([sys.executable, script], cwd=tmp_path, check=True, timeout=300)


def test_shell_of_the_readme_uses_options_that_exist():
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    for line in lines:
        if line.startswith("triptych "):
            command, *words = line.split("#")[0].split()[1:]
            shown = CliRunner().invoke(group, [command, "--help"]).output
            for word in words:
                if word.startswith("-"):
                    assert re.search(rf"(?<!\S){word}\b", shown), f"{word} of `{line}`"


def test_links_of_the_readme():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
