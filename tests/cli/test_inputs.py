"""Inputs that are not plain: odd names, links, what is left out, lists of names, damaged files."""

from __future__ import annotations

import glob
import inspect
import json
import os
import struct
import sys
from pathlib import Path

import pytest
import triptych as tp
from PIL import Image
from triptych.cli.inputs import Inputs, collect_images


def test_names_that_are_not_utf8_have_keys_of_their_own(tmp_path, run):
    names = [b"\xfe.png", b"\xff.png"]
    try:
        for value, name in enumerate(names):
            Image.new("L", (1, 1), value).save(tmp_path / os.fsdecode(name))
    except OSError:
        pytest.skip("this file system has no such names")
    inputs = collect_images([str(tmp_path)], None)
    assert [each.key for each in inputs] == ["\\udcfe", "\\udcff"]
    run("encode", tmp_path, "-o", tmp_path / "all.tych")
    run("decode", tmp_path / "all.tych", "-o", tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.png"))) == 2


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_only_the_end_of_a_line_divides_names(tmp_path, monkeypatch, end):
    names = ["a\x0bb.png", "c\x85d\u2028e.png", "f\rg.png", os.fsdecode(b"\xff.png")]
    data = end.join([names[0], "", "  ", *names[1:], ""]).encode("utf-8", "surrogateescape")
    (tmp_path / "list").write_bytes(data)
    assert [each.path for each in collect_images([], str(tmp_path / "list"))] == names
    with open(tmp_path / "list") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert [each.path for each in collect_images([], "-")] == names


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-be", "utf-32-be"])
@pytest.mark.parametrize("options", [{}, {"is_null_separated": True}], ids=["lines", "null"])
def test_lists_with_a_byte_order_mark(tmp_path, encoding, options):
    """As PowerShell and Notepad write them."""
    names = ["a.png", "\u00e9\U0001f600.png"]
    end = "\0" if options else "\r\n"
    mark = "\ufeff" if encoding.endswith("-be") else ""
    (tmp_path / "list").write_bytes((mark + end.join([*names, ""])).encode(encoding))
    assert [each.path for each in collect_images([], str(tmp_path / "list"), **options)] == names


def test_lists_that_nul_bytes_divide(tmp_path, run):
    """As `find -print0` writes them: names hold ends of lines, spaces, and bytes that are no UTF-8."""
    names = ["two\nlines.png", " ", "cr\r", os.fsdecode(b"\xff\xfe.png")]
    (tmp_path / "list").write_bytes("\0".join([*names, ""]).encode("utf-8", "surrogateescape"))
    found = collect_images([], str(tmp_path / "list"), is_null_separated=True)
    assert [each.path for each in found] == names
    path = tmp_path / "two\nlines.png"
    Image.new("L", (1, 1)).save(path)
    for verb in (("encode",), ("fit", "kmeans")):
        run(*verb, "--filelist", "-", "-0", "-o", tmp_path / "x.tych", "-f", stdin=os.fsencode(path) + b"\0")


def test_lists_that_are_neither(tmp_path, run):
    output = ("-o", tmp_path / "x.tych")
    (tmp_path / "list").write_bytes(b"a.png\0b.png\0")
    result = run("encode", "--filelist", tmp_path / "list", *output, code=2)
    assert "-0 reads names that NUL bytes divide, and UTF-16 needs a byte order mark" in result.stderr
    (tmp_path / "list").write_bytes(b"\xff\xfea")
    result = run("encode", "--filelist", tmp_path / "list", *output, code=2)
    assert "list: is no UTF-16, and begins with its mark" in result.stderr
    assert "-0: only with --filelist" in run("encode", tmp_path, "-0", *output, code=2).stderr
    assert "and no -0" in run("fit", "pca", "--merge", "x", "-0", *output, code=2).stderr


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (1, 1), 7).save(path, "PNG")


def found_in(*arguments):
    inputs = collect_images([str(each) for each in arguments], None)
    return [each.path for each in inputs], inputs.left_out.counts()


def test_names_with_ends_of_lines_are_taken(tmp_path, run):
    touch(tmp_path / "d" / "two\nlines.png")
    touch(tmp_path / "d" / "ok.png")
    run("encode", tmp_path / "d", "-o", tmp_path / "x.tych")
    with tp.Reader(tmp_path / "x.tych") as reader:
        assert reader.keys() == ["ok", "two\nlines"]


def test_links_to_folders_and_files_are_followed(tmp_path):
    root = tmp_path / "root"
    touch(tmp_path / "far" / "deep" / "a.png")
    touch(root / "b.png")
    (root / "a").symlink_to("../far")
    (root / "c.png").symlink_to("b.png")
    (root / "d").symlink_to(tmp_path / "far" / "deep")
    paths, left_out = found_in(root)
    assert paths == [str(root / name) for name in ("a/deep/a.png", "b.png", "c.png", "d/a.png")]
    assert left_out == {}


@pytest.mark.parametrize("pattern", ["", "**/*.png"])
def test_no_image_comes_twice_by_a_circle(tmp_path, pattern, capsys):
    root = tmp_path / "root"
    for name in ("a.png", "x/b.png", "x/y/c.png"):
        touch(root / name)
    for name, target in (("self", "."), ("x/up", ".."), ("x/y/root", root), ("knot", "knot")):
        (root / name).symlink_to(target)
    paths, left_out = found_in(root / pattern)
    assert paths == [str(root / name) for name in ("a.png", "x/b.png", "x/y/c.png")]
    if not pattern:
        assert left_out == {"circular link": 3, "dangling link": 1}
        assert capsys.readouterr().err == "triptych: 4 left out: 1 dangling link, 3 circular links\n"


def test_circles_end_where_the_file_system_numbers_no_files(tmp_path, monkeypatch):
    touch(tmp_path / "a" / "b.png")
    (tmp_path / "a" / "up").symlink_to("..")
    stat = os.stat

    def without_inodes(path, **options):
        facts = stat(path, **options)
        return os.stat_result((facts.st_mode, 0, *facts[2:]))

    monkeypatch.setattr(os, "stat", without_inodes)
    assert found_in(tmp_path) == ([str(tmp_path / "a" / "b.png")], {"circular link": 1})


def test_a_tree_is_walked_deeper_than_calls_can_be_nested(tmp_path, monkeypatch):
    path = Path(*"a" * 150, "x.png")
    touch(tmp_path / path)
    monkeypatch.chdir(tmp_path)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        found = found_in(".")
    finally:
        sys.setrecursionlimit(limit)
    assert found == ([str(path)], {})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_left_out_is_told_in_one_line(tmp_path, run):
    root = tmp_path / "root"
    for name in ("a.png", ".b.png", ".c.jpg"):
        touch(root / name)
    for name in ("notes.txt", "labels.CSV", "README", "more.txt", ".DS_Store"):
        (root / name).write_text("no image")
    os.mkfifo(root / "pipe.png")
    (root / "gone.png").symlink_to("nowhere.png")
    line = (
        "triptych: 8 left out: 4 of other types (.txt, no suffix, .csv), 2 hidden, 1 dangling link, "
        "1 special file; name them to encode them"
    )
    counts = {".txt": 2, "no suffix": 1, ".csv": 1, "hidden": 2, "dangling link": 1, "special file": 1}
    for verb in (("encode", "--quiet"), ("fit", "kmeans")):
        result = run(*verb, root, "-o", tmp_path / f"{verb[0]}.tych", "--json")
        assert [each for each in result.stderr.splitlines() if "compiling" not in each] == [line]
        assert json.loads(result.stdout)["left_out"] == counts
    result = run("encode", root / ".b.png", "-o", tmp_path / "b.tych")
    assert "left out" not in result.stderr


def test_what_two_stars_mean(tmp_path, monkeypatch):
    """As `glob` has it, where no link goes in a circle."""
    for name in ("a.png", "x/b.png", "x/y/c.png", "x/.h/d.png", "x/y/z/.e.png", "[w]/x/f.png", "x/n.txt"):
        touch(tmp_path / name)
    (tmp_path / "l").symlink_to("x/y")
    monkeypatch.chdir(tmp_path)
    for pattern in ("**", "**/*.png", "x/**/*", "**/x/**/*.png", "*/**/?.png", "x/**", "**/y/*", "**/**/c*"):
        for prefix in ("", "./", f"{tmp_path}/"):
            expected = filter(os.path.isfile, glob.glob(prefix + pattern, recursive=True))
            assert found_in(prefix + pattern)[0] == sorted(set(expected)), pattern


def test_what_a_pattern_means_beside_files_is_told(tmp_path, capsys):
    touch(tmp_path / "a.png")
    touch(tmp_path / "folder" / "b.png")
    (tmp_path / "c.png").symlink_to("nowhere")
    assert found_in(tmp_path / "*") == ([str(tmp_path / "a.png")], {"dangling link": 1, "folder": 1})
    assert capsys.readouterr().err == (
        "triptych: 2 left out: 1 dangling link, 1 folder; name them to encode them\n"
    )


def test_a_file_that_a_plugin_of_pillow_gives_up_on_fails_alone(tmp_path, run, folder):
    sizes = struct.pack("<7I44x2I", 124, 0x1007, 4, 4, 16, 0, 0, 32, 4)
    (folder / "unknown.dds").write_bytes(b"DDS " + sizes + b"NONE" + bytes(40))
    result = run("encode", folder, "-o", tmp_path / "x.tych", code=1)
    assert "unknown.dds: cannot be read: Unimplemented" in result.stderr
    with tp.Reader(tmp_path / "x.tych") as reader:
        assert len(reader) == 4


def test_inputs_are_found_by_key_from_a_place_on():
    inputs = Inputs(["p", "q", "r", "s"], ["a", "b", "a", "c"])
    assert [inputs.find("a", start) for start in (0, 1, 3)] == [0, 2, 0]
    with pytest.raises(ValueError, match="not in list"):
        inputs.find("d")
