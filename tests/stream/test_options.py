"""Options: one clear error for each way to be wrong."""

import io

import numpy as np
import pytest
import triptych as tp
from rawmode import RAW, register_for_one_test
from triptych.options import Options, make_options

IMAGE = np.zeros((2, 2), np.uint8)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("mode", 3, "string"),
        ("mode", "jpeg", "'kmeans'"),
        ("quality", 101, "0 to 100"),
        ("quality", -1, "0 to 100"),
        ("quality", True, "0 to 100"),
        ("quality", 85.5, "an integer from 0 to 100, not 85.5"),
        ("quality", np.float64("inf"), "0 to 100"),
        ("quality", np.True_, "0 to 100"),
        ("target_size", 0, "at least 1"),
        ("target_psnr", 0, "above 0"),
        ("target_psnr", float("nan"), "above 0"),
        ("target_psnr", float("inf"), "above 0"),
        ("target_psnr", "40", "above 0"),
        ("target_psnr", True, "above 0"),
        ("effort", "slow", "'fast', 'default', 'max'"),
        ("n_colors", 0, "'auto' or an integer from 1 to 256"),
        ("n_colors", 257, "'auto' or an integer from 1 to 256"),
        ("n_colors", "many", "'auto' or an integer from 1 to 256"),
        ("keep", 3, "R, G, B"),
        ("keep", [(1, 2)], "R, G, B"),
        ("keep", [(1, 2, 256)], "R, G, B"),
        ("keep", ["red"], "R, G, B"),
        ("keep", [(1.0, 0.0, 0.0)], "R, G, B"),
        ("dither", 1, "False, True"),
        ("lossless", None, "False, True"),
        ("variance", 0, "above 0"),
        ("variance", 1.01, "at most 1"),
        ("n_components", 0, "at least 1"),
        ("tune", "ssim", "'visual', 'psnr'"),
        ("embed", "yes", "False, True"),
        ("frame_images", 0, "at least 1"),
        ("threads", -1, "at least 0"),
        ("executor", 3, "Executor"),
        ("seed", -1, "at least 0"),
        ("limits", {}, "Limits"),
    ],
)
def test_wrong_values(name, value, allowed):
    with pytest.raises(tp.InvalidOption, match=allowed) as caught:
        tp.encode(IMAGE, **({"mode": "raw"} | {name: value}))
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "together",
    [
        {"quality": 3, "target_size": 3},
        {"quality": 3, "target_psnr": 3},
        {"target_size": 3, "target_psnr": 3},
        {"lossless": True, "quality": 100},
        {"lossless": True, "dither": True},
        {"variance": 0.9, "n_components": 3},
    ],
)
def test_contradictions(together):
    with pytest.raises(tp.InvalidOption) as caught:
        make_options(together)
    assert any(name in str(caught.value) for name in together)


def test_unknown_names_are_told_the_known_ones():
    with pytest.raises(tp.InvalidOption, match=r"'colours'.*n_colors"):
        tp.encode(IMAGE, colours=3)


WRAPPED = {
    str: [np.str_],
    bool: [np.bool_, np.array],
    int: [float, np.uint8, np.int16, np.int64, np.float16, np.float32, np.float64, np.array],
    float: [np.float16, np.float32, np.float64, np.longdouble, np.array],
}
"""What a value of each type may come as, out of an array, a table or a file of settings."""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("mode", "kmeans"), ("effort", "fast"), ("tune", "psnr"), ("n_colors", "auto"), ("n_colors", 4)),
        *(("dither", True), ("lossless", False), ("embed", True), ("quality", 85), ("target_size", 100)),
        *(("target_psnr", 40.0), ("variance", 0.5), ("n_components", 3), ("frame_images", 2), ("threads", 2)),
        ("seed", 7),
    ],
)
def test_scalars_of_numpy_and_whole_floats(name, value):
    for wrap in WRAPPED[type(value)]:
        found = getattr(Options(**{name: wrap(value)}), name)
        assert found == value
        assert type(found) is type(value), wrap


def test_scalars_of_numpy_elsewhere():
    assert type(tp.Limits(pixels_per_image=np.int32(9)).pixels_per_image) is int
    assert tp.decode(tp.encode(IMAGE, mode="raw"), realism=np.float32(0.5)).shape == (2, 2)
    with pytest.raises(tp.InvalidOption, match="pixels_per_image"):
        tp.Limits(pixels_per_image=np.True_)


def test_values_are_made_plain():
    options = Options(
        quality=np.int64(30), keep=[np.array([1, 2, 3]), (1, 2, 3, 4)], target_size=None, variance=1
    )
    assert type(options.quality) is int
    assert options.keep == ((1, 2, 3, 255), (1, 2, 3, 4))
    assert make_options({"limits": None}) == Options()


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"key": ""}, "key"),
        ({"key": "k" * 4097}, "key"),
        ({"key": b"k"}, "key"),
        ({"key": "\ud800"}, "key"),
        ({"label": 1 << 62}, "label"),
        ({"label": True}, "label"),
        ({"label": 1.0}, "label"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": float("nan")}}, "metadata"),
        ({"metadata": {"a": b""}}, "metadata"),
        ({"metadata": {"a": "\ud800"}}, "metadata"),
        ({"exif": "text"}, "exif"),
        ({"icc_profile": 3}, "icc_profile"),
        *(
            ({"dpi": dpi}, "dpi")
            for dpi in (72, (72,), (72, 0), (-1, 72), (72, float("nan")), (1e39, 1), (1e-60, 1), "ab")
        ),
        *(
            ({"duration": duration}, "duration: expected milliseconds")
            for duration in (-1, 65_535_001, float("nan"), float("inf"), "40", True, [40], 1j)
        ),
        *(({"duration": 40, "loop": loop}, "loop") for loop in (-1, 1 << 32, 1.5, "2", True)),
        ({"loop": 0}, "loop belongs to frames that have a duration"),
    ],
)
def test_what_is_said_of_an_image(about, message):
    target = io.BytesIO()
    with tp.Writer(target, mode="raw") as writer:
        with pytest.raises(tp.InvalidOption, match=message):
            writer.write(IMAGE, **about)
        writer.write(IMAGE, key="k" * 4096, label=(1 << 62) - 1)  # the writer goes on
    assert len(tp.Reader(target.getvalue())) == 1


def test_target_size_is_what_the_body_may_have(monkeypatch):
    seen = []

    class Spy(type(RAW)):
        name, code = "spy", 12

        def encode_frame(self, images, options, dictionary):
            seen.append(options.target_size)
            return bytes(options.target_size)

    register_for_one_test(Spy(), monkeypatch)
    assert len(tp.encode(IMAGE, mode="spy", target_size=500)) == 500
    target = io.BytesIO()
    book = tp.Dictionary.build("palette", {}, b"abcd")
    with tp.Writer(target, book, mode="spy", target_size=500, threads=1) as writer:
        for _ in range(3):
            writer.write(IMAGE)
    assert len(target.getvalue()) - tp.Reader(target.getvalue()).info(2)["offset"] > 500
    assert [tp.Reader(target.getvalue()).info(n)["frame_bytes"] for n in (1, 2)] == [500, 500]
    assert seen[0] > seen[1]
    with pytest.raises(tp.TargetUnreachable):
        tp.encode(IMAGE, mode="spy", target_size=30)


def test_reader_and_verify_arguments():
    with pytest.raises(tp.InvalidOption, match="damage"):
        tp.Reader(b"", damage="ignore")
    with pytest.raises(tp.InvalidOption, match="level"):
        tp.verify(b"", level="full")
    with pytest.raises(tp.InvalidOption, match="dictionary"):
        tp.encode(IMAGE, mode="raw", dictionary=3)
    with pytest.raises(tp.InvalidOption, match="threads"):
        list(tp.Reader(tp.encode(IMAGE, mode="raw"), threads=-1))
    with pytest.raises(tp.InvalidOption, match="'auto'"):
        tp.encode(IMAGE, mode="svd")


def test_keep_takes_no_half_colours():
    with pytest.raises(tp.InvalidOption, match="keep"):
        Options(keep=[("a", 1, 2)])
