"""Every expected failure is one line that names the file and the cause, with its exit code.

Nothing half written is left.
"""

from __future__ import annotations

import errno
import gc
import shutil
import warnings

import numpy as np
import pytest
import triptych as tp
from PIL import Image
from triptych.cli import failures
from triptych.cli.options import parse_limits
from triptych.limits import Limits


def writing_verbs(folder, stream):
    """Give calls of the verbs that write a stream, all but their output."""
    return ("encode", folder), ("cat", stream), ("extract", stream, "--only=a"), ("fit", "kmeans", folder)


def only_line(result):
    (line,) = [text for text in result.stderr.splitlines() if "compiling kernels" not in text]
    return line


def test_an_input_that_is_no_image(tmp_path, run, folder):
    bad = folder / "bad.png"
    bad.write_text("hello")
    result = run("encode", folder, "-o", tmp_path / "x.tych", code=1)
    assert only_line(result) == f"triptych: {bad}: not an image that Pillow reads"
    assert len(tp.Reader((tmp_path / "x.tych").read_bytes())) == 4


def test_an_input_that_is_cut_off(tmp_path, run, folder):
    cut = folder / "cut.png"
    cut.write_bytes((folder / "b.png").read_bytes()[:90])
    result = run("encode", folder, "-o", tmp_path / "x.tych", code=1)
    assert str(cut) in only_line(result)
    assert len(tp.Reader((tmp_path / "x.tych").read_bytes())) == 4


@pytest.mark.parametrize("name", ["missing.png", "deep"])
def test_an_input_that_is_not_there(tmp_path, run, name):
    (tmp_path / "deep").mkdir()
    result = run("encode", tmp_path / name, "-o", tmp_path / "x.tych", code=1 if "." in name else 2)
    assert name in result.stderr
    assert not (tmp_path / "x.tych").exists()


def test_an_input_that_is_not_exact(tmp_path, run):
    Image.new("CMYK", (3, 3)).save(tmp_path / "x.tiff")
    done = run("encode", tmp_path / "x.tiff", "-o", tmp_path / "x.tych", "--lossless", code=1)
    assert "CMYK" in only_line(done)


@pytest.mark.parametrize(("most", "needed"), [(20, "more than twice that"), (100, "108")])
def test_an_input_over_a_limit(tmp_path, run, folder, most, needed):
    """Pillow itself refuses at twice the limit, and warns of what is nearer to it."""
    before = Image.MAX_IMAGE_PIXELS
    image = folder / "a.png"
    told = f"Limits.pixels_per_image allows {most}, and this needs {needed}; --max-pixels allows more"
    for verb in (("encode",), ("fit", "kmeans")):
        result = run(*verb, image, "-o", tmp_path / "x.tych", "--max-pixels", most, code=5)
        assert only_line(result) == f"triptych: {image}: {told}"
    assert before == Image.MAX_IMAGE_PIXELS


def test_the_limit_of_pillow_is_back_at_once(tmp_path, run, folder):
    """Not whenever the collector finds what a refused command left, while another reads."""
    before, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    gc.disable()
    try:
        run("fit", "pca", folder, "-o", tmp_path / "x.tych", "--max-pixels=1k", code=1)
        assert before == Image.MAX_IMAGE_PIXELS
        assert filters == warnings.filters
    finally:
        gc.enable()


def test_inputs_over_a_limit_leave_the_others_alone(tmp_path, run, folder):
    run("encode", folder, "-o", tmp_path / "x.tych", "--max-pixels=100", code=1)
    assert tp.Reader((tmp_path / "x.tych").read_bytes()).keys() == ["deep/c", "deep/d"]


def test_a_limit_on_pixels_goes_with_every_verb_that_reads(tmp_path, run, stream, folder):
    """The largest image has 256 pixels."""
    out = tmp_path / "out"
    verbs = [
        ("info", stream),
        ("verify", stream),
        ("decode", stream, "-o", out),
        ("extract", stream, "--only=b", "-o", out),
        ("cat", stream, "-o", out),
        ("index", stream, "-o", out),
        ("encode", folder, "--resume", "-o", stream),
    ]
    for verb in verbs:
        refused = run(*verb, "--max-pixels=0.2k", code=5)
        assert "Limits.pixels_per_image allows 200" in refused.stderr
        assert not out.exists()
        run(*verb, "--max-pixels=256")
        if out.is_dir():
            shutil.rmtree(out)
        out.unlink(missing_ok=True)


def test_limits_let_one_image_of_so_many_pixels_be_decoded():
    assert parse_limits("200M") == Limits(pixels_per_image=200_000_000)
    assert parse_limits("1G") == Limits(pixels_per_image=10**9, decoded_bytes=4 * 10**9)


def test_a_stream_over_a_limit(tmp_path, run, monkeypatch):
    with tp.Writer(tmp_path / "x.tych", limits=Limits(metadata_bytes=1 << 21)) as writer:
        writer.write(np.zeros((2, 2), np.uint8), exif=bytes((1 << 20) + 1))
    for verb in (("info",), ("verify",), ("decode", "-o", tmp_path / "y.png")):
        assert "Limits.metadata_bytes" in only_line(run(verb[0], tmp_path / "x.tych", *verb[1:], code=5))


def test_lossless_failures_leave_the_others_of_the_frame_alone(tmp_path, run, folder):
    noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    result = run("encode", folder, "--lossless", "-o", tmp_path / "x.tych", code=1)
    assert "noise.png: the picture has 900 colours" in only_line(result)
    assert len(tp.Reader((tmp_path / "x.tych").read_bytes())) == 4
    result = run("encode", folder / "noise.png", "--lossless", "-k", "16", "-o", tmp_path / "z.tych", code=1)
    assert "noise.png: the picture has 900 colours, exact k-means holds at most 16" in only_line(result)
    book = tmp_path / "book.tych"
    run("fit", "kmeans", folder / "a.png", "-o", book)
    result = run("encode", folder, "--lossless", "-D", book, "-o", tmp_path / "y.tych", code=1)
    assert tp.Reader((tmp_path / "y.tych").read_bytes()).keys() == ["a"]


def test_targets_that_cannot_be_met(tmp_path, run, folder):
    result = run(
        "encode", folder / "a.png", folder / "b.png", "--target-size", 20, "-o", tmp_path / "x", code=1
    )
    assert [line.split(": ")[1] for line in result.stderr.splitlines() if "kernels" not in line] == [
        str(folder / "a.png"),
        str(folder / "b.png"),
    ]
    assert not (tmp_path / "x").exists()
    run("encode", folder, "--target-size", 200, "--frame-images", 2, "-o", tmp_path / "x", code=2)


def test_damage_costs_one_frame(tmp_path, run, folder, pictures):
    path = tmp_path / "x.tych"
    run("encode", folder, "--frame-images", 1, "-o", path)
    data = bytearray(path.read_bytes())
    data[tp.Reader(path.read_bytes()).info("b")["offset"] + 20] ^= 1
    path.write_bytes(data)
    result = run("decode", path, "-o", tmp_path / "out", code=3)
    assert str(path) in only_line(result)
    assert "are lost: payload CRC" in only_line(result)
    assert sorted(found.stem for found in tmp_path.glob("out/**/*.png")) == ["a", "c", "d"]
    run("info", path, code=3)
    assert "are lost" in only_line(run("verify", path, code=3))
    assert "payload CRC" in only_line(run("cat", path, "-o", tmp_path / "y.tych", code=3))
    run("index", path, code=3)
    assert path.read_bytes() == data
    assert not (tmp_path / "y.tych").exists()


def test_a_truncated_stream(tmp_path, run, folder):
    path = tmp_path / "x.tych"
    run("encode", folder, "--frame-images", 1, "-o", path)
    path.write_bytes(path.read_bytes()[: tp.Reader(path.read_bytes()).info("deep/c")["offset"] + 18])
    result = run("decode", path, "-o", tmp_path / "out", code=3)
    assert "the stream ends inside a payload" in only_line(result)
    assert sorted(found.stem for found in tmp_path.glob("out/*.png")) == ["a", "b"]


@pytest.mark.parametrize("verb", ["decode", "info", "verify", "cat", "index", "extract"])
def test_a_file_that_is_no_stream(tmp_path, run, folder, verb):
    more = {
        "decode": ["-o", tmp_path / "x.png"],
        "cat": ["-o", tmp_path / "x"],
        "extract": ["--only", 0, "-o", tmp_path / "x"],
    }
    result = run(verb, folder / "a.png", *more.get(verb, []), code=3)
    assert only_line(result).startswith(f"triptych: {folder / 'a.png'}: not a Triptych stream")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures"]


@pytest.mark.parametrize("verb", ["decode", "info", "verify", "cat", "index", "extract"])
def test_a_stream_that_is_not_there(tmp_path, run, verb):
    more = {"decode": ["-o", "x.png"], "cat": ["-o", tmp_path / "x"], "extract": ["--only=0", "-o", "x"]}
    result = run(verb, tmp_path / "nix", *more.get(verb, []), code=1)
    assert only_line(result) == f"triptych: {tmp_path / 'nix'}: no such file or directory"
    assert not any(tmp_path.iterdir())


def test_a_missing_dictionary(tmp_path, run, folder, pictures):
    book, path = tmp_path / "book.tych", tmp_path / "x.tych"
    run("fit", "kmeans", folder, "-k", 32, "-o", book)
    run("encode", folder, "-D", book, "--no-embed", "-o", path)
    result = run("decode", path, "-o", tmp_path / "out", code=4)
    assert tp.load_dictionary(book).id[:32] in only_line(result)
    assert not (tmp_path / "out").exists()
    run("verify", path, code=4)
    run("verify", path, "--level", "structure")
    run("info", path)
    run("cat", path, "-o", tmp_path / "y.tych")
    run("decode", path, "-D", book, "-o", tmp_path / "out")
    assert len(list((tmp_path / "out").glob("**/*.png"))) == 4


def test_a_dictionary_that_is_none(tmp_path, run, folder):
    for name, code in (("nosuch", 2), (tmp_path / "no.tych", 1), (folder / "a.png", 3), ("0" * 64, 4)):
        result = run("encode", folder, "-D", name, "-o", tmp_path / "x", code=code)
        assert str(name) in only_line(result)
    assert not (tmp_path / "x").exists()


def test_existing_outputs_need_force(tmp_path, run, folder, stream, one):
    before = one.read_bytes()
    for verb in writing_verbs(folder, stream):
        result = run(*verb, "-o", one, code=2)
        assert only_line(result) == f"triptych: {one}: exists; use --force to overwrite it"
        assert one.read_bytes() == before
    run("cat", stream, "-f", "-o", one)
    run("decode", stream, "-o", tmp_path / "out")
    result = run("decode", stream, "-o", tmp_path / "out", code=1)
    assert result.stderr.count("exists; use --force") == 4
    run("decode", stream, "--force", "-o", tmp_path / "out")
    run("encode", folder, "-o", tmp_path, code=2)


def test_unwritable_targets(tmp_path, run, folder, stream, one):
    target = tmp_path / "no" / "x"
    for verb in writing_verbs(folder, stream):
        line = only_line(run(*verb, "-o", target, code=1))
        assert line == f"triptych: {target}: no such file or directory"
    assert str(target) in only_line(run("decode", one, "-o", target, code=1))


def test_full_disk(tmp_path, run, folder, stream, one):
    for verb in (*writing_verbs(folder, stream), ("decode", one)):
        result = run(*verb, "-o", "/dev/full", code=1)
        assert only_line(result) == "triptych: /dev/full: no space left on device"


def test_full_disk_leaves_no_file(tmp_path, run, folder, one, monkeypatch):
    resource = pytest.importorskip("resource")
    from triptych import sink

    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = sorted(tmp_path.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr(sink, "_write_fully", fail)
        result = run("encode", folder, "-o", tmp_path / "x", code=1)
    assert only_line(result).endswith("no space left on device")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))  # bytes of a file
    try:
        result = run("decode", one, "-o", tmp_path / "x.png", code=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert only_line(result).endswith("x.png: file too large")
    assert sorted(tmp_path.rglob("*")) == before


def test_memory_runs_out(tmp_path, run, folder, monkeypatch):
    def fail(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr("triptych.images.as_pixels", fail)
    assert only_line(run("encode", folder / "a.png", "-o", tmp_path / "x", code=1)).endswith(
        "not enough memory"
    )


@pytest.mark.parametrize(
    "args",
    [
        ["nosuchverb"],
        ["encode"],
        ["encode", "a.png", "b.png"],
        ["encode", "-o", "x.tych"],
        ["encode", "a.png", "-o", "x", "-q", "101"],
        ["encode", "a.png", "-o", "x", "-k", "0"],
        ["encode", "a.png", "-o", "x", "--keep", "red"],
        ["encode", "a.png", "-o", "x", "--target-size", "big"],
        ["encode", "a.png", "-o", "x", "--mode", "nosuch"],
        ["encode", "a.png", "-o", "x", "-q", "5", "--target-psnr", "30"],
        ["encode", "a.png", "-o", "-", "--json"],
        ["encode", "-", "-", "-o", "x"],
        ["encode", "a.png", "-o", "-", "--append"],
        ["decode", "one.tych"],
        ["decode", "one.tych", "-o", "x", "--format", "nosuch"],
        ["decode", "all.tych", "-o", "x.png"],
        ["decode", "all.tych", "-o", "-"],
        ["extract", "all.tych", "-o", "x"],
        ["verify", "all.tych", "--level", "quantum"],
        ["fit", "nosuch", "a.png", "-o", "x"],
        ["cat", "-o", "x"],
    ],
    ids=" ".join,
)
def test_usage(tmp_path, run, folder, stream, one, monkeypatch, args):
    monkeypatch.chdir(tmp_path)
    (folder / "a.png").rename("a.png")
    before = sorted(tmp_path.rglob("*"))
    assert run(*args, code=2).stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("verb", ["decode", "extract"])
def test_images_that_are_not_there(tmp_path, run, stream, verb):
    result = run(verb, stream, "--only=nix", "--only=99", "--only=b", "-o", f"{tmp_path}/x", code=1)
    assert [line.split(": ")[1] for line in result.stderr.splitlines() if "kernels" not in line] == [
        "--only nix",
        "--only 99",
    ]
    assert (tmp_path / "x").exists()
    run(verb, stream, "--only=nix", "-o", f"{tmp_path}/y", code=1)
    assert not (tmp_path / "y").exists()


def test_formats_that_cannot_hold_the_pixels(tmp_path, run, stream):
    result = run("decode", stream, "--format", "jpg", "-o", tmp_path / "out", code=1)
    assert "cannot write mode RGBA as JPEG" in result.stderr
    assert (tmp_path / "out" / "a.jpg").exists()


def test_our_own_faults_are_not_hidden(run, folder, monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr("triptych.writer.Writer.write", fail)
    with pytest.raises(ZeroDivisionError):
        run("encode", folder, "-o", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_interrupts_leave_nothing(run, folder, monkeypatch, tmp_path):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("triptych.writer.Writer.write", interrupt)
    assert only_line(run("encode", folder, "-o", tmp_path / "x", code=130)) == "triptych: interrupted"
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_causes_are_one_line():
    assert failures.cause(ValueError("a\n  b")) == "a b"
    assert failures.cause(ValueError()) == "ValueError"
    assert failures.cause(PermissionError(errno.EACCES, "Permission denied")) == "permission denied"
