"""Names of inputs that are not plain: bytes that are no UTF-8, and lists of names."""

from __future__ import annotations

import os
import sys

import pytest
from PIL import Image
from triptych.cli.inputs import collect_images


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
