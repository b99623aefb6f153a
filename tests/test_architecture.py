"""The rules of the code's structure: layers, lazy imports, one decorator for kernels, what a wheel holds."""

import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODEC, KERNELS = ROOT / "codec" / "triptych", ROOT / "kernels" / "triptych_kernels"
MODULES = sorted(path for folder in (CODEC, KERNELS) for path in folder.rglob("*.py"))
KERNEL_MODULES = [path for path in MODULES if KERNELS in path.parents]
JIT_NAMES = {"njit", "jit", "vectorize", "guvectorize", "cfunc", "stencil", "jitclass", "prange"}
HEAVY = {"numba", "llvmlite", "torch", "sklearn", "scipy", "matplotlib", "dask", "zarr", "fsspec"}
IDENTITY = os.environ | {"PYTHONPATH": os.pathsep.join([str(CODEC.parent), str(KERNELS.parent)])}


def tree_of(path):
    return ast.parse(path.read_text(), str(path))


def name_of(path):
    return str(path.relative_to(ROOT))


def imported_modules(path):
    """All that a module imports anywhere, by its full name."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import in {name_of(path)}"
            yield node.module


def run(*command, **options):
    finished = subprocess.run(
        [sys.executable, *command],
        env=IDENTITY,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is_for(path):
    docstring = ast.get_docstring(tree_of(path))
    assert docstring
    assert len(docstring.splitlines()[0]) > 10 or path.name == "__main__.py"


@pytest.mark.parametrize("path", KERNEL_MODULES, ids=name_of)
def test_kernels_import_little(path):
    ours = {"numpy", "numba", "llvmlite", "triptych_kernels"}
    assert {name.partition(".")[0] for name in imported_modules(path)} <= ours | sys.stdlib_module_names


@pytest.mark.parametrize("path", [path for path in KERNEL_MODULES if path.name != "_jit.py"], ids=name_of)
def test_no_kernel_goes_around_the_decorator(path):
    for node in ast.walk(tree_of(path)):
        used = {node.attr} if isinstance(node, ast.Attribute) else set()
        used |= {node.id} if isinstance(node, ast.Name) else set()
        used |= (
            {alias.name for alias in node.names} if isinstance(node, (ast.Import, ast.ImportFrom)) else set()
        )
        assert not used & JIT_NAMES, f"{name_of(path)}:{node.lineno}"
        if isinstance(node, ast.keyword):
            assert node.arg not in ("parallel", "fastmath"), f"{name_of(path)}:{node.value.lineno}"


def test_the_decorator_states_its_flags():
    """Each call of njit: GIL released, strict floats, numpy's division; and never in parallel."""
    found = []
    tree = tree_of(KERNELS / "_jit.py")
    tables = {
        target.id: ast.literal_eval(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
        for target in node.targets
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "njit":
            flags = {}
            for keyword in node.keywords:
                flags |= (
                    tables[keyword.value.id]
                    if keyword.arg is None
                    else {keyword.arg: ast.literal_eval(keyword.value)}
                )
            found.append(flags)
    assert len(found) == 3
    for flags in found:
        assert flags["nogil"] is True
        assert flags["fastmath"] is False
        assert flags["error_model"] == "numpy"
        assert "parallel" not in flags


def test_only_modes_fit_and_checksums_call_kernels():
    for path in MODULES:
        if CODEC in path.parents and any(
            name.startswith("triptych_kernels") for name in imported_modules(path)
        ):
            others = CODEC / "checksum.py", CODEC / "warmup.py"  # which asks what became of them
            may = path.parent in (CODEC / "modes", CODEC / "fit") or path in others
            assert may, name_of(path)


def test_layers():
    """The contracts of import-linter in pyproject.toml."""
    pytest.importorskip("importlinter")
    run("-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))")


@pytest.mark.parametrize(
    "script",
    [
        "import triptych",
        "import triptych; [getattr(triptych, name) for name in triptych.__all__ if name not in %r]",
        "import triptych.cli; triptych.cli.main(['--help'])",
        "import triptych.cli; triptych.cli.main(['encode', '--help'])",
        "import triptych.cli; triptych.cli.main(['--version'])",
    ],
)
def test_heavy_modules_are_imported_when_needed(script):
    # What learns and compiles brings numba in.
    script = script.replace("%r", repr(["fit", "warmup"]))
    out = run("-c", f"import sys\ntry:\n    {script}\nexcept SystemExit: pass\nprint('|', *sys.modules)")
    loaded = {name.partition(".")[0] for name in out.rpartition("|")[2].split()}
    assert "triptych" in loaded
    assert not loaded & (HEAVY | {"triptych_kernels"})


@pytest.mark.parametrize("name", ["kernels", "codec"])
def test_source_roots_are_no_packages(name):
    """Neither may be imported from a checkout: packages of these names are other projects'."""
    assert not (ROOT / name / "__init__.py").exists()
    script = f"import importlib.util as u; s = u.find_spec({name!r}); print(s if s is None else s.origin)"
    assert run("-c", script).strip() == "None"


@pytest.mark.slow
def test_a_wheel_holds_two_packages_and_nothing_else(tmp_path):
    build = pytest.importorskip("hatchling.builders.wheel")
    (wheel,) = build.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"triptych", "triptych_kernels"}
    in_wheel = {name for name in names if name.endswith(".py")}
    assert in_wheel == {
        str(path.relative_to(base))
        for base in (CODEC.parent, KERNELS.parent)
        for path in MODULES
        if base in path.parents
    }
    assert "triptych/py.typed" in names
