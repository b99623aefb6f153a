"""What `encode` says when it is done, and where it writes to when nothing says it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import triptych as tp
from PIL import Image
from smallbook import photograph
from triptych.cli import encode as verb


@pytest.fixture
def mixed(tmp_path):
    """A folder of two drawings and a photograph, and its bytes."""
    (tmp_path / "in").mkdir()
    for name, pixels in {
        "a": photograph(9, 9, 3) // 99,
        "b": photograph(40, 50, 3),
        "c": np.eye(9) > 0,
    }.items():
        Image.fromarray(pixels).save(tmp_path / "in" / f"{name}.png")
    return tmp_path / "in"


def size_of(*paths):
    return sum(path.stat().st_size for path in paths)


def test_a_mixed_folder(tmp_path, run, mixed):
    out = tmp_path / "x.tych"
    lines = run("encode", mixed, "-o", out, "-v").stderr.splitlines()
    with tp.Reader(out) as reader:
        difference = photograph(40, 50, 3).astype(float) - reader["b"]
    psnr = 10 * np.log10(255**2 / (difference**2).mean())
    told = [line for line in lines if not line.startswith("triptych: ")]
    assert told[:3] == [
        f"{mixed / 'a.png'}: kmeans, exact",
        f"{mixed / 'b.png'}: pca, {psnr:.2f} dB",
        f"{mixed / 'c.png'}: kmeans, exact",
    ]
    ratio = size_of(out) / size_of(*mixed.iterdir())
    assert told[3:] == [
        f"{out}: 3 images, {size_of(out):,} bytes, {ratio:.3f} of the inputs; "
        f"2 exact, 1 at {psnr:.1f} dB (b.png)"
    ]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a"], "kmeans, exact"),
        (["a", "c"], "all exact"),
        (["b"], "pca, "),
        (["b"] * 5, "none exact, 5 at "),
        (["a", *["b"] * 5], "1 exact, 5 at "),
    ],
)
def test_the_last_words(tmp_path, run, mixed, names, said):
    paths = []
    for number, name in enumerate(names):
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes((mixed / f"{name}.png").read_bytes())
    last = run("encode", *paths, "-o", tmp_path / "x.tych", "-v").stderr.splitlines()[-1]
    assert f"; {said}" in last
    assert ("(1.png, 2.png, 3.png and 2 more)" in last) == (len(names) == 6)


def test_what_was_converted_is_not_called_exact(tmp_path, run):
    Image.linear_gradient("L").convert("CMYK").save(tmp_path / "c.jpg")
    last = run("encode", tmp_path / "c.jpg", "-o", tmp_path / "x.tych", "-v").stderr.splitlines()[-1]
    assert not last.endswith(", exact")


def test_colours_that_no_alpha_shows_are_told_of(tmp_path, run):
    shown = photograph(40, 50, 4)
    shown[:, :40, :3] //= 64
    shown[:, :, 3] = np.where(np.arange(50) < 40, 255, 0)
    for name in "ab":
        Image.fromarray(shown).save(tmp_path / f"{name}.png")
    for inputs, said in ((["a"], "kmeans, exact"), (["a", "b"], "none exact, 2 exact")):
        names = [tmp_path / f"{name}.png" for name in inputs]
        options = ("-o", tmp_path / "x.tych", "-fv", "--json", "--mode", "kmeans", "-k", 64)
        told = run("encode", *names, *options)
        assert f"; {said} but for hidden colours" in told.stderr.splitlines()[-1]
        report = json.loads(told.stdout)
        assert (report["exact"], set(report["lossy"].values())) == (0, {None})


def test_only_a_terminal_is_told(tmp_path, run, mixed, monkeypatch):
    assert run("encode", mixed, "-o", tmp_path / "1.tych").stderr.replace("\n", "") in (
        "",
        "triptych: compiling kernels, once; `triptych warmup` does it ahead",
    )

    monkeypatch.setattr(verb, "sys", SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: True)))
    for options, is_told in (((), True), (("--quiet",), False)):
        told = run("encode", mixed, "-o", tmp_path / "2.tych", "-f", *options).stderr
        assert ("of the inputs; " in told) == is_told


def test_json_with_each_image(tmp_path, run, mixed):
    plain = json.loads(run("encode", mixed, "-o", tmp_path / "1.tych", "--json").stdout)
    assert "exact" not in plain
    told = json.loads(run("encode", mixed, "-o", tmp_path / "2.tych", "--json", "-v").stdout)
    assert told["exact"] == 2
    assert list(told["lossy"]) == [str(mixed / "b.png")]
    assert told["input_bytes"] == size_of(*mixed.iterdir())


def test_images_that_are_left_out_shift_nothing(tmp_path, run, mixed):
    """Those that fail in a frame come before others of it."""
    lines = run("encode", mixed, "-o", tmp_path / "x.tych", "--lossless", "-v", code=1).stderr.splitlines()
    assert [line for line in lines if line.endswith("exact")][:2] == [
        f"{mixed / name}: kmeans, exact" for name in ("a.png", "c.png")
    ]


def test_the_output_is_the_last_name_or_beside_the_input(tmp_path, run, mixed, monkeypatch):
    def count(name):
        with tp.Reader(tmp_path / name) as reader:
            return len(reader)

    run("encode", mixed / "a.png", mixed / "b.png", tmp_path / "two.TYCH")
    assert count("two.TYCH") == 2
    run("encode", mixed / "a.png")
    assert tp.decode(mixed / "a.tych").shape == (9, 9, 3)
    (mixed / "a.tych").write_bytes(b"mine")
    run("encode", mixed / "a.png", code=2)
    assert (mixed / "a.tych").read_bytes() == b"mine"
    run("encode", mixed / "a.png", "-f")
    run("encode", f"{mixed}/")
    assert count("in.tych") == 3
    monkeypatch.chdir(mixed)
    run("encode", ".", "-f")
    assert count("in.tych") == 3
    for names in (["a.png", "b.png"], ["-"], ["*.png"]):
        assert "-o OUT.tych" in run("encode", *names, code=2).stderr
    assert "gone.png: no such file or directory" in run("encode", "gone.png", code=1).stderr
    assert "IMAGE is missing" in run("encode", code=2).stderr
