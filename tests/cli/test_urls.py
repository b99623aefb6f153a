"""URLs on the command line: as inputs and outputs, and without their credentials in any line."""

import fsspec
import pytest
from click.testing import CliRunner
from triptych.cli import group


@pytest.fixture
def store(stream):
    """The memory file system, with a stream at memory://all.tych."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pipe_file("/all.tych", stream.read_bytes())
    yield fs.store
    fs.store.clear()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_streams_are_written_to_urls(store, here, folder, run):
    before = store["/all.tych"].getvalue()
    run("encode", folder, "-o", "memory://new.tych", "-j1")
    run("cat", "memory://all.tych", "memory://new.tych", "-o", "memory://both.tych")
    run("extract", "memory://all.tych", "--only", "a", "-o", "memory://one.tych")
    run("index", "memory://all.tych", "-o", "memory://again.tych")
    run("fit", "kmeans", folder / "a.png", "-k4", "-o", "memory://book.tych")
    assert {*store} == {f"/{name}.tych" for name in ("all", "new", "both", "one", "again", "book")}
    assert store["/new.tych"].getvalue() == before
    run("verify", "memory://both.tych")
    assert not [*here.iterdir()]


def test_an_object_is_overwritten_by_force_only(store, here, folder, run):
    result = run("encode", folder / "a.png", "-o", "memory://all.tych", code=2)
    assert "memory://all.tych: exists; use --force" in result.stderr
    before = store["/all.tych"].getvalue()
    run("encode", folder / "a.png", "-fo", "memory://all.tych")
    assert store["/all.tych"].getvalue() != before


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("encode", "IMAGE", "--append", "-o", "memory://all.tych"), "cannot be continued"),
        (("encode", "IMAGE", "--resume", "-o", "memory://all.tych"), "cannot be continued"),
        (("encode", "IMAGE", "-o", "https://me:hunter2@example.com/a?t=hunter2"), "cannot be written to"),
        (("encode", "IMAGE", "-o", "file:///tmp/a.tych"), "'file' is not taken"),
        (("decode", "memory://all.tych", "-o", "memory://folder/"), "not to URLs"),
    ],
)
def test_what_a_url_cannot_be(store, here, folder, run, args, text):
    args = [folder / "a.png" if arg == "IMAGE" else arg for arg in args]
    result = run(*args, code=1 if "file:" in args[-1] else 2)
    assert text in result.stderr
    assert "hunter2" not in result.stderr
    assert result.stderr.count("\n") == 1
    assert [*store] == ["/all.tych"]
    assert not [*here.iterdir()]


@pytest.mark.parametrize("verb", ["info", "verify", "decode", "cat", "extract", "index"])
def test_no_line_shows_credentials(store, here, stream, run, verb):
    fsspec.filesystem("memory").pipe_file("/me:hunter2@/good.tych", stream.read_bytes())
    fsspec.filesystem("memory").pipe_file("/me:hunter2@/bad.tych", stream.read_bytes()[:-1] + b"?")
    more = {
        "info": ["--json"],
        "verify": ["--json"],
        "decode": ["-o", "out/"],
        "cat": ["-o", "out.tych", "-f"],
        "extract": ["--only", "a", "-o", "out.tych", "-f"],
        "index": ["-o", "out.tych", "-f"],
    }
    for name in ("good", "bad", "missing"):
        result = CliRunner().invoke(group, [verb, f"memory://me:hunter2@/{name}.tych", *more[verb]])
        assert name == "bad" or (result.exit_code == 0) == (name == "good")
        assert "hunter2" not in result.stdout + result.stderr
    result = run(verb, "https://me:hunter2@127.0.0.1:1/a.tych?sig=hunter2", *more[verb], code=1)
    assert "hunter2" not in result.stdout + result.stderr
    assert "127.0.0.1" in result.stderr
