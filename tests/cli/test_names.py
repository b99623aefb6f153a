"""Keys from file names, file names from keys, and how values are written."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

import click
import numpy as np
import pytest
import triptych as tp
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from triptych.cli.inputs import collect_images
from triptych.cli.names import safe_name, show_marks
from triptych.cli.options import parse_color, parse_color_count, parse_size

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


def test_names_with_backslashes_or_of_no_characters_give_one_file_each(tmp_path, run):
    names = [b"back\\slash.png", b"back_slash.png", b"caf\xe9.png", b"caf\xe8.png", b"\\x.png", b"plain.png"]
    (tmp_path / "in").mkdir()
    for number, name in enumerate(names):
        with open(os.fsencode(tmp_path / "in") + b"/" + name, "wb") as handle:
            Image.new("L", (2, 2), number).save(handle, "PNG")
    run("encode", tmp_path / "in", "-o", tmp_path / "x.tych")
    run("decode", tmp_path / "x.tych", "-o", tmp_path / "out")
    shown = [level_of(path) for path in (tmp_path / "out").iterdir()]
    assert sorted(shown) == list(range(len(names)))


def level_of(path):
    with Image.open(path) as image:
        return image.getpixel((0, 0))


def write_keys(path, *keys):
    with tp.Writer(path) as writer:
        for number, key in enumerate(keys):
            writer.write(np.full((2, 2), number, np.uint8), key=key)


def test_names_are_one_on_some_system(tmp_path, run):
    keys = [
        "e\u0301t\u00e9",
        "\u00e9t\u00e9",
        "\u00c9T\u00c9",
        "stra\u00dfe",
        "STRASSE",
        "\u03a3\u03b9\u03b3\u03ac\u03c2",
        "\u03c3\u03b9\u03b3\u03b1\u0301\u03c3",
    ]
    write_keys(tmp_path / "x.tych", *keys)
    said = run("decode", tmp_path / "x.tych", "-o", tmp_path / "out").stderr
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(names) == len(keys)
    assert sorted(level_of(path) for path in (tmp_path / "out").iterdir()) == list(range(len(keys)))
    assert {"\u00e9t\u00e9~1.png", "\u00c9T\u00c9~2.png", "STRASSE~4.png"} <= set(names)
    assert "\u00e9t\u00e9~1.png and 3 more: is named so as an image before it has the name" in said


def test_marks_are_shown_and_not_done():
    text = "a\u202egnp\u2066 \x1b[2J\n\x9b\u2028 \u200f\udcff"
    assert show_marks(text) == "a\\u202egnp\\u2066 \\x1b[2J\\n\\x9b\\u2028 \\u200f\\udcff"
    for plain in (
        "\u05e9\u05dc\u05d5\u05dd",
        "\U0001f469\u200d\U0001f680",
        "\u5bcc\u58eb\u3000\u5c71",
        "e\u0301",
    ):
        assert show_marks(plain) == plain


def test_marks_in_keys_reach_no_terminal_and_no_name(tmp_path, run):
    key = "\x1b[2Jexe\u202egnp.\u2067x"
    with tp.Writer(tmp_path / "x.tych") as writer:
        writer.write(np.zeros((2, 2), np.uint8), key=key, metadata={"by": key})
    shown = run("info", tmp_path / "x.tych").output
    assert "\\x1b[2Jexe\\u202egnp.\\u2067x" in shown
    run("decode", tmp_path / "x.tych", "-o", f"{tmp_path}/out/")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["_[2Jexe_gnp._x.png"]
    said = run("decode", tmp_path / "x.tych", "-o", f"{tmp_path}/out/", code=1).stderr
    assert not {"\x1b", "\u202e", "\u2067"} & set(shown + said)


def test_the_files_of_hostile_names_are_told_plainly(tmp_path, run):
    name = tmp_path / "\x1b[2J\u202egnp"
    for call in (
        ["verify", name],
        ["info", name],
        ["decode", name, "-o", "x.png"],
        ["encode", name, "-o", tmp_path / "x.tych"],
    ):
        assert "\\x1b[2J\\u202egnp: no such file" in run(*call, code=1).stderr
    Image.new("L", (2, 2)).save(name, "PNG")
    for call in (
        ["encode", name, "-v", "-o", f"{name}.tych"],
        ["info", f"{name}.tych"],
        ["verify", f"{name}.tych"],
        ["fit", "kmeans", name, "-o", f"{name}.book"],
    ):
        said = run(*call).output
        assert "\\x1b[2J\\u202egnp" in said
        assert not {"\x1b", "\u202e"} & set(said)


def test_nothing_is_made_outside_of_a_directory(tmp_path, run):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / "dangling").symlink_to(tmp_path / "elsewhere" / "new")
    (tmp_path / "out" / "inside").symlink_to(tmp_path / "out")
    write_keys(tmp_path / "x.tych", "link/new/x", "dangling/x", "inside/x")
    for force in ([], ["-f"]):
        said = run("decode", tmp_path / "x.tych", "-o", tmp_path / "out", *force, code=1).stderr
        assert "link/new/x: link is a link that leads out of the directory" in said
        assert "dangling/x: dangling is a link that leads out" in said
        assert list((tmp_path / "elsewhere").iterdir()) == []
        assert level_of(tmp_path / "out" / "x.png") == 2
        (tmp_path / "out" / "x.png").unlink()


@pytest.mark.parametrize("force", [(), ("-f",)])
@pytest.mark.parametrize("kind", ["pipe", "socket", "directory"])
def test_only_files_are_written_in_a_directory(tmp_path, run, kind, force):
    place = tmp_path / "out" / "x.png"
    place.parent.mkdir()
    server = socket.socket(socket.AF_UNIX)
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
    else:
        server.bind(os.path.relpath(place))
    server.close()
    before = place.lstat()
    write_keys(tmp_path / "x.tych", "x", "y")
    said = run("decode", tmp_path / "x.tych", "-o", tmp_path / "out", *force, code=1).stderr
    assert f"out/x: is there, and is no file but a {kind}" in said
    assert os.path.samestat(place.lstat(), before)
    assert level_of(tmp_path / "out" / "y.png") == 1


@pytest.mark.parametrize("kind", ["file", "pipe", "nothing"])
def test_a_link_in_the_place_of_a_file_is_replaced_itself(tmp_path, run, kind):
    aim, link = tmp_path / "aim", tmp_path / "out" / "x.png"
    link.parent.mkdir()
    link.symlink_to(aim)
    if kind == "file":
        aim.write_bytes(b"mine")
        aim.chmod(0o4755)
    elif kind == "pipe":
        os.mkfifo(aim)
    write_keys(tmp_path / "x.tych", "x", "y")
    said = run("decode", tmp_path / "x.tych", "-o", tmp_path / "out", code=1).stderr
    assert "out/x: exists; use --force" in said
    run("decode", tmp_path / "x.tych", "-fo", tmp_path / "out")
    assert level_of(link) == 0
    assert stat.S_ISREG(link.lstat().st_mode)
    assert not link.stat().st_mode & stat.S_ISUID
    assert aim.exists() == (kind != "nothing")
    assert kind != "file" or aim.read_bytes() == b"mine"
