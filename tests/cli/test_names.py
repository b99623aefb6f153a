"""Keys from file names, file names from keys, and how values are written."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

import click
import numpy as np
import pytest
import triptych as tp
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from triptych.cli.inputs import collect_images
from triptych.cli.options import parse_color, parse_color_count, parse_size
from triptych.cli.outputs import safe_name

PIECES = st.sampled_from(
    ["..", ".", "/", "\\", "a", "C:", "~", "con", "nul.txt", " ", ".hidden", "\0", "é", "*"]
)


@given(st.one_of(st.text(max_size=300), st.lists(PIECES).map("".join)))
def test_no_key_leads_out_of_a_directory(key):
    name = safe_name(key, 7)
    assert not name.is_absolute()
    assert name.parts
    for part in name.parts:
        assert part not in ("", ".", "..")
        assert not set(part) & set('/\\:*?"<>|\0\n')
        assert len(part.encode()) <= 200
        assert not part.startswith(".")
        assert not part.endswith((".", " "))
    windows = PureWindowsPath("C:/out") / PureWindowsPath(*name.parts)
    assert windows.parts[:2] == ("C:\\", "out")
    assert PurePosixPath("/out").joinpath(*name.parts).parts[:2] == ("/", "out")


@given(st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,3}", fullmatch=True))
def test_plain_keys_stay(key):
    reserved = {"con", "prn", "aux", "nul", *(f"{name}{i}" for name in ("com", "lpt") for i in range(10))}
    if not reserved & set(key.split("/")):
        assert safe_name(key, 0) == Path(key)


def test_hostile_keys_stay_in_the_directory(tmp_path, run, pictures):
    keys = ["../../up", "/etc/root", "..\\win", "a/../../b", "con", "same", "same", "SAME", "x" * 999, "."]
    with tp.Writer(tmp_path / "evil.tych") as writer:
        for key in keys:
            writer.write(pictures["a"], key=key)
    run("decode", tmp_path / "evil.tych", "-o", tmp_path / "in" / "out")
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix == ".png"]
    assert len(written) == len(keys)
    assert all(path.is_relative_to(tmp_path / "in" / "out") for path in written)


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_no_image_takes_the_name_that_another_one_got(tmp_path, run, force):
    keys = ["x~2", "X", "x", "x~2~3", "x~2"]
    with tp.Writer(tmp_path / "x.tych") as writer:
        for number, key in enumerate(keys):
            writer.write(np.full((2, 2), number, np.uint8), key=key)
    run("decode", tmp_path / "x.tych", "-o", tmp_path / "out", *force)
    assert (tmp_path / "out" / "x~2~4.png").exists()
    shown = [np.asarray(Image.open(path))[0, 0] for path in (tmp_path / "out").iterdir()]
    assert sorted(shown) == [0, 1, 2, 3, 4]


def test_a_link_does_not_lead_out(tmp_path, run, pictures):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    with tp.Writer(tmp_path / "x.tych") as writer:
        writer.write(pictures["a"], key="link/x")
        writer.write(pictures["a"], key="fine")
    result = run("decode", tmp_path / "x.tych", "-o", tmp_path / "out", code=1)
    assert "leads out" in result.stderr
    assert not any((tmp_path / "elsewhere").iterdir())
    assert (tmp_path / "out" / "fine.png").exists()


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (1, 1)).save(path)
    return str(path)


def test_keys_are_as_short_as_they_can_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "x/a.png",
        "y/a.png",
        "x/b.png",
        "z/c.png",
        "z/c.jpg",
        "z/sub/d.PNG",
        "z/.e.png",
    ):
        touch(Path(name))
    Path("z/note.txt").write_text("no image")
    assert [each.key for each in collect_images(["x/a.png", "x/b.png"], None)] == ["a", "b"]
    assert [each.key for each in collect_images(["x/a.png", "y/a.png"], None)] == ["x/a", "y/a"]
    assert [each.key for each in collect_images(["z"], None)] == ["c.jpg", "c.png", "sub/d"]
    assert [each.key for each in collect_images(["x", "y"], None)] == ["x/a.png", "b", "y/a.png"]
    assert [each.key for each in collect_images(["x/../y/a.png"], None)] == ["a"]


@pytest.mark.parametrize(
    ("text", "size"), [("123", 123), ("20k", 20_000), ("1M", 1_000_000), ("64Ki", 65_536), ("1.5kB", 1500)]
)
def test_sizes(text, size):
    assert parse_size(text) == size


def test_colors():
    assert parse_color("#ff8000") == (255, 128, 0, 255)
    assert parse_color("Ff800010") == (255, 128, 0, 16)
    assert parse_color_count("auto") == "auto"
    assert parse_color_count("256") == 256


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_size, "big"),
        (parse_size, "-1"),
        (parse_size, "1T"),
        (parse_color, "#fff"),
        (parse_color, "red"),
        (parse_color_count, "0"),
        (parse_color_count, "257"),
        (parse_color_count, "many"),
    ],
)
def test_wrong_values(parse, text):
    with pytest.raises(click.BadParameter, match=r"."):
        parse(text)
