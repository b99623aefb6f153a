"""Inputs that are not plain: names that are no UTF-8, lists of names, files that Pillow gives up on."""

from __future__ import annotations

import os
import struct
import sys

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
