"""`tools/faces`: on drawn faces, an injected detector and a server of our own; with OpenCV where it is."""

import contextlib
import csv
import doctest
import hashlib
import http.server
import io
import socket
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import triptych
from click.testing import CliRunner
from faces import collecting, command, cropping, detecting, duplicates, fetching, sources, writing
from faces.cropping import BadPicture, Box
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, PngImagePlugin
from rawmode import RAW

ROOT = Path(__file__).parents[2]
SIDES = st.integers(1, 300)
MARGINS = st.floats(0, 3)


# ---- Fixtures -------------------------------------------------------------------------------------


def draw_face(number=0, side=96):
    """Draw a frontal face; each number has colours, hair and surroundings of its own.

    The bands of light and dark are those that a cascade for frontal faces looks for.
    """
    generator = np.random.default_rng(number)
    shades = generator.integers(-25, 26, (4, 3))
    n = side * 4

    def shade(index, *color):
        return tuple(int(v) for v in np.clip(np.array(color) + shades[index], 0, 255))

    ground = generator.integers(100, 220, (4, 4, 3), np.uint8)
    image = Image.fromarray(ground).resize((n, n), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    dx, dy = generator.uniform(-0.03, 0.03, 2)

    def ellipse(x, y, rx, ry, color):
        x, y = x + dx, y + dy
        draw.ellipse([n * (x - rx), n * (y - ry), n * (x + rx), n * (y + ry)], fill=color)

    hair, skin = shade(0, 60, 40, 30), shade(1, 224, 172, 140)
    ellipse(0.5, 0.45, 0.36, 0.42, hair)
    ellipse(0.5, 0.53, 0.3, 0.4, skin)
    for x in (0.37, 0.63):
        ellipse(x, 0.4, 0.085, 0.015, hair)
        ellipse(x, 0.46, 0.085, 0.055, shade(2, 110, 70, 55))
        ellipse(x, 0.47, 0.06, 0.032, (245, 245, 245))
        ellipse(x, 0.47, 0.03, 0.032, (30, 25, 20))
    ellipse(0.5, 0.6, 0.05, 0.05, shade(1, 205, 150, 120))
    ellipse(0.5, 0.75, 0.11, 0.03, shade(3, 150, 50, 50))
    return image.resize((side, side), Image.Resampling.LANCZOS)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder of four faces and two near-duplicates; it is below the current one."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "in"
    (folder / "more").mkdir(parents=True)
    for number in (3, 1, 0):
        draw_face(number).save(folder / f"{number}.png")
    draw_face(2).save(folder / "more" / "2.png")
    draw_face(1).resize((50, 50)).save(folder / "more" / "1-again.jpg", quality=80)
    draw_face(3).resize((60, 60)).save(folder / "3-small.png")
    return folder


def run(*arguments, code=0):
    """Run the command; give stdout and stderr, or fail where the exit code is another."""
    done = CliRunner().invoke(command.main, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


def manifest(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file, dialect="excel-tab"))


def source_of(image, name="drawn.png"):
    return sources.Source(name, "drawn", lambda: image if isinstance(image, bytes) else encoded(image))


@contextlib.contextmanager
def collected(pictures, detect, **rules):
    """Collect from pictures: faces, tally, spool and failures."""
    failed = []
    rules = {"size": 16, "margin": 0.0, "min_face": 8, "drop_grey": False} | rules
    with contextlib.closing(collecting.Spool(rules["size"])) as spool:
        faces, tally = collecting.collect_faces(
            [source_of(picture, str(n)) for n, picture in enumerate(pictures)],
            detect,
            collecting.Rules(**rules),
            spool,
            lambda name, error: failed.append((name, str(error))),
        )
        yield faces, tally, spool, failed


# ---- Cutting --------------------------------------------------------------------------------------


@st.composite
def boxes_in_pictures(draw):
    width, height = draw(SIDES), draw(SIDES)
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return (
        Box(left, top, draw(st.integers(1, width - left)), draw(st.integers(1, height - top))),
        width,
        height,
    )


@given(boxes_in_pictures(), MARGINS)
def test_a_cut_is_a_square_in_the_picture_and_moved_not_shrunk(given_box, margin):
    face, width, height = given_box
    box = cropping.square_around(face, margin, width, height)
    wanted = round(max(face.width, face.height) * (1 + 2 * margin))
    assert box.width == box.height == min(wanted, width, height)
    assert 0 <= box.left <= width - box.width
    assert 0 <= box.top <= height - box.height
    for start, length, face_start, face_length in (
        (box.left, box.width, face.left, face.width),
        (box.top, box.height, face.top, face.height),
    ):
        if length >= face_length:
            assert start <= face_start
            assert start + length >= face_start + face_length


@given(boxes_in_pictures(), MARGINS)
def test_a_cut_with_room_has_the_middle_of_the_face(given_box, margin):
    face, _, _ = given_box
    box = cropping.square_around(Box(face.left + 1200, face.top + 1200, *face[2:]), margin, 4000, 4000)
    assert abs((2 * box.left + box.width) - (2 * (face.left + 1200) + face.width)) <= 1
    assert abs((2 * box.top + box.height) - (2 * (face.top + 1200) + face.height)) <= 1


@given(SIDES, SIDES)
def test_central_square(width, height):
    box = cropping.central_square(width, height)
    assert box.width == box.height == min(width, height)
    assert 0 <= width - box.width - 2 * box.left <= 1
    assert 0 <= height - box.height - 2 * box.top <= 1


def test_pixels_outside_a_cut_have_no_influence():
    pixels = np.full((40, 40, 3), 255, np.uint8)
    pixels[10:30, 10:30] = 7
    assert (np.asarray(cropping.cut(Image.fromarray(pixels), Box(10, 10, 20, 20), 16)) == 7).all()


# ---- Opening --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_pictures_of_every_kind_become_rgb(mode):
    face = draw_face(1, 32).convert("L" if mode == "I;16" else "RGB")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(face).astype(np.uint16) * 257)
    else:
        image = face.convert(mode)
    opened = cropping.open_picture(encoded(image, "TIFF"))
    assert opened.mode == "RGB"
    if mode not in ("1", "P"):
        expected = np.asarray(image.convert("RGB") if mode != "I;16" else face.convert("RGB"))
        assert np.abs(np.asarray(opened).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_transparency_becomes_white(mode):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    data = (
        encoded(image.convert("RGB").convert("P"), transparency=0)
        if mode == "P"
        else encoded(image.convert(mode))
    )
    assert (np.asarray(cropping.open_picture(data)) == 255).all()


def test_pictures_are_turned_as_exif_says():
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn to the right
    assert cropping.open_picture(encoded(Image.new("RGB", (30, 10)), "JPEG", exif=exif)).size == (10, 30)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
@given(st.data())
@settings(max_examples=25)
def test_damaged_files_are_bad_pictures_or_pictures(kind, data):
    good = encoded(draw_face(0, 24), kind)
    bad = bytearray(good[: data.draw(st.integers(0, len(good)))])
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)), max_size=4)
    ):
        if at < len(bad):
            bad[at] = value
    with contextlib.suppress(BadPicture):
        assert cropping.open_picture(bytes(bad)).mode == "RGB"


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "not an image"),
        (b"<html>not found</html>", "not an image"),
        (encoded(draw_face())[:-400], "cannot be read"),
        (encoded(draw_face(), "JPEG")[:-400], "truncated"),
        (encoded(Image.new("F", (9, 9)), "TIFF"), "floating-point"),
    ],
)
def test_bad_pictures_say_why(data, cause):
    with pytest.raises(BadPicture, match=cause):
        cropping.open_picture(data)


@pytest.mark.parametrize("limit", [9000, 4000])  # where Pillow warns, and where it refuses
def test_bombs_are_refused(monkeypatch, limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(BadPicture, match=f"more than {limit:,} pixels"):
        cropping.open_picture(encoded(draw_face(0, 96)))


def test_text_bombs_are_refused():
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "a" * (2 << 20), zip=True)
    with pytest.raises(BadPicture):
        cropping.open_picture(encoded(draw_face(), pnginfo=info))


# ---- Near-duplicates ------------------------------------------------------------------------------


@st.composite
def related_hashes(draw):
    """Hashes near some of a few, at all distances up to 80, and colours near some of a few."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(1, 40))
    hashes = (generator.random((4, 256)) < generator.random())[generator.integers(0, 4, n)]
    for row in hashes:
        row[generator.choice(256, generator.integers(0, 41), replace=False)] ^= True
    colors = generator.integers(0, 256, (2, 3), np.uint8)[generator.integers(0, 2, n)]
    return hashes, colors


def is_near(hashes, colors, a, b, distance):
    apart = np.linalg.norm(colors[a].astype(float) - colors[b])
    return np.count_nonzero(hashes[a] != hashes[b]) <= distance and apart <= duplicates.MAX_COLOR_DISTANCE


def all_pairs(hashes, colors, distance):
    n = len(hashes)
    return [[a, b] for a in range(n) for b in range(a + 1, n) if is_near(hashes, colors, a, b, distance)]


@given(related_hashes(), st.integers(0, 64))
@example((np.zeros((3, 256), bool), np.zeros((3, 3), np.uint8)), 0)
def test_bands_find_every_near_pair(images, distance):
    assert duplicates.near_pairs(*images, distance).tolist() == all_pairs(*images, distance)


@given(st.integers(0, 64), st.data())
def test_a_pair_at_the_distance_is_found_wherever_its_bits_differ(distance, data):
    bits = data.draw(st.sets(st.integers(0, 255), min_size=distance, max_size=distance + 1))
    hashes = np.zeros((2, 256), bool)
    hashes[1, list(bits)] = True
    found = duplicates.near_pairs(hashes, np.zeros((2, 3), np.uint8), distance)
    assert len(found) == (len(bits) <= distance)


@pytest.mark.parametrize("distance", [1, 2, 5, 16, 24, 33, 64])
def test_a_pair_that_differs_in_every_band_but_one_is_found(distance):
    """With one band fewer, a difference would lie in each."""
    spread = np.arange(256) * duplicates._STRIDE % 256
    hashes = np.zeros((2, 256), bool)
    hashes[1, [band[-1] for band in np.array_split(spread, distance)]] = True
    assert len(duplicates.near_pairs(hashes, np.zeros((2, 3), np.uint8), distance)) == 1


def test_large_buckets_are_compared_in_blocks():
    generator = np.random.default_rng(0)
    hashes = generator.random((700, 256)) < 0.02
    colors = np.zeros((700, 3), np.uint8)
    apart = (hashes[:, None] != hashes[None]).sum(axis=2)
    expected = np.argwhere(np.triu(apart <= 8, 1))
    assert len(expected) > 1000
    assert np.array_equal(duplicates.near_pairs(hashes, colors, 8), expected)


@given(related_hashes(), st.integers(0, 40), st.randoms())
def test_keepers_are_far_apart_and_near_and_better_than_what_they_stand_for(images, distance, random):
    order = list(range(len(images[0])))
    random.shuffle(order)
    rank = {number: place for place, number in enumerate(order)}
    keepers = duplicates.find_keepers(*images, order, distance)
    kept = [number for number, keeper in enumerate(keepers) if number == keeper]
    assert not any(is_near(*images, a, b, distance) for a in kept for b in kept if a < b)
    for number, keeper in enumerate(keepers):
        assert keepers[keeper] == keeper
        assert rank[keeper] <= rank[number]
        assert is_near(*images, number, keeper, distance)


def test_many_copies_cost_little():
    hashes = np.zeros((20_000, 256), bool)
    keepers = duplicates.find_keepers(hashes, np.zeros((20_000, 3), np.uint8), range(19_999, -1, -1), 24)
    assert set(keepers) == {19_999}
    assert duplicates.find_keepers(hashes[:0], np.zeros((0, 3), np.uint8), [], 24) == []


def test_hashes_survive_what_makes_near_duplicates():
    for number in range(8):
        face = draw_face(number, 64)
        again = [
            Image.open(io.BytesIO(encoded(face, "JPEG", quality=75))),
            face.resize((40, 40)).resize((64, 64)),
            face.point(lambda value: min(255, value * 9 // 8)),
        ]
        own = duplicates.difference_hash(face)
        assert all(np.count_nonzero(duplicates.difference_hash(image) != own) <= 24 for image in again)
        other = duplicates.difference_hash(draw_face(number + 100, 64))
        assert np.count_nonzero(other != own) > 24


NAMES = st.lists(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=3), max_size=8)


@given(NAMES, st.floats(0.1, 0.9), st.randoms())
def test_related_sources_are_never_told_apart(groups, share, random):
    test = duplicates.choose_test(groups, share)
    for names in groups:
        assert test >= set(names) or not test & set(names)
    random.shuffle(groups)
    assert duplicates.choose_test(groups, share) == test


def test_the_share_for_testing_is_about_kept():
    assert 150 < len(duplicates.choose_test([[str(n)] for n in range(1000)], 0.2)) < 250


# ---- Collecting -----------------------------------------------------------------------------------


def test_several_faces_of_a_picture():
    picture = Image.new("RGB", (120, 60), "white")
    picture.paste(draw_face(1, 40), (5, 10))
    picture.paste(draw_face(2, 50), (65, 5))
    boxes = [Box(5, 10, 40, 40), Box(65, 5, 50, 50), Box(0, 0, 7, 20)]
    with collected([picture], lambda pixels: boxes) as (faces, tally, spool, failed):
        assert [face.box for face in faces] == boxes[:2]
        assert [face.face_width for face in faces] == [40, 50]
        assert tally.left_out["too small"] == 1
        for face in faces:
            expected = np.asarray(cropping.cut(picture, face.box, 16))
            assert np.array_equal(spool[face.number], expected)
            assert face.source_sha256 == hashlib.sha256(encoded(picture)).hexdigest()
    assert not failed


def test_detectors_see_rgb_pixels():
    seen = []
    with collected([draw_face(1, 32).convert("P")], lambda pixels: seen.append(pixels) or []) as found:
        assert found[1].left_out["without a face"] == 1
    assert (seen[0].shape, seen[0].dtype) == ((32, 32, 3), np.uint8)


def test_grey_faces_are_dropped_on_request():
    grey = Image.open(io.BytesIO(encoded(draw_face(2).convert("L").convert("RGB"), "JPEG")))
    for drop_grey in (False, True):
        with collected([draw_face(1), grey], detecting.whole_picture, drop_grey=drop_grey) as (
            faces,
            tally,
            *_,
        ):
            assert len(faces) == 2 - drop_grey
            assert tally.left_out["grey"] == drop_grey


def test_pictures_that_fail_are_told_and_the_others_go_on():
    def detect(pixels):
        if pixels.shape[0] == 50:
            raise detecting.DetectionFailed("no")
        return detecting.whole_picture(pixels)

    with collected([b"junk", draw_face(1), draw_face(1, 50), draw_face(2)], detect) as (
        faces,
        tally,
        _,
        failed,
    ):
        assert [face.source.name for face in faces] == ["1", "3"]
        assert tally.n_pictures == 2
    assert failed == [("0", "not an image that Pillow reads"), ("2", "no")]


def test_the_sharpest_stays():
    face = draw_face(1)
    blurred = face.resize((30, 30)).resize((96, 96))
    with collected([blurred, face, draw_face(2), blurred], detecting.whole_picture) as (faces, *_):
        keepers = collecting.keepers_of(faces, 24)
    assert [face.number for face in keepers] == [1, 1, 2, 1]


# ---- Writing --------------------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(1, 5))
def test_packs_hold_the_pixels_row_by_row(tmp_path, n, columns):
    images = [np.random.default_rng(k).integers(0, 256, (4, 4, 3), np.uint8) for k in range(n)]
    writing.write_pack(tmp_path / "pack.png", images, columns)
    mosaic = np.asarray(Image.open(tmp_path / "pack.png"))
    rows = -(-n // columns)
    assert mosaic.shape == (rows * 4, columns * 4, 3)
    for k in range(rows * columns):
        cell = mosaic[k // columns * 4 :, k % columns * 4 :][:4, :4]
        assert np.array_equal(cell, images[k] if k < n else np.zeros((4, 4, 3)))


def test_large_sets_have_several_packs(monkeypatch):
    monkeypatch.setattr(writing, "MAX_PACK_PIXELS", 64 * 64 * 10)
    packs = writing.split_into_packs(writing.Part(Path("a/set.png"), range(19)), 64, 4)
    assert packs == [
        (Path("a/set.png"), range(8)),
        (Path("a/set-2.png"), range(8, 16)),
        (Path("a/set-3.png"), range(16, 19)),
    ]


# ---- The command ----------------------------------------------------------------------------------


def test_a_pack_and_its_manifest(pictures):
    told, _ = run(pictures.name, "--whole", "-o", "set.png", "--columns", 3, "--licence", "CC0")
    assert told == "4 faces from 6 pictures; 2 near-duplicates\n"
    rows = manifest("set.tsv")
    assert [row["source"] for row in rows] == ["in/0.png", "in/1.png", "in/3.png", "in/more/2.png"]
    mosaic = np.asarray(Image.open("set.png"))
    assert mosaic.shape == (128, 192, 3)
    for number, row in enumerate(rows):
        data = Path(row["source"]).read_bytes()
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
        box = Box(*map(int, row["box"].split(",")))
        expected = np.asarray(cropping.cut(cropping.open_picture(data), box, int(row["size"])))
        cell = mosaic[number // 3 * 64 :, number % 3 * 64 :][:64, :64]
        assert np.array_equal(cell, expected)
        assert row["key"] == hashlib.sha256(expected.tobytes()).hexdigest()[:16]
        assert (row["file"], row["number"]) == ("set.png", str(number))
        assert (row["face_width"], row["licence"]) == ("96", "CC0")


def test_a_stream_has_keys_and_sources(pictures):
    run(pictures.name, "--whole", "-o", "set.tych", "--size", 32, "--key", "name", "--mode", "raw")
    rows = manifest("set.tsv")
    with triptych.Reader("set.tych") as reader:
        assert reader.keys() == [row["key"] for row in rows] == ["0", "1", "3", "more/2"]
        for number, row in enumerate(rows):
            assert reader.info(number)["metadata"] == {"source": row["source"]}
            expected = cropping.cut(Image.open(row["source"]), Box(0, 0, 96, 96), 32)
            assert np.array_equal(reader[number], np.asarray(expected))


def test_options_of_the_stream_are_passed_on(pictures, monkeypatch):
    seen = []
    encode = RAW.encode_frame

    def encode_frame(images, options, dictionary):
        seen.append((options.mode, options.quality))
        return encode(images, options, dictionary)

    monkeypatch.setattr(RAW, "encode_frame", encode_frame)
    run(pictures / "0.png", "--whole", "-o", "set.tych", "--mode", "raw", "-q", 20)
    assert seen == [("raw", 20)]


def test_the_order_of_the_file_system_has_no_influence(pictures, monkeypatch):
    run(pictures.name, "--whole", "-o", "a.png")
    rglob = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda path, pattern: reversed(list(rglob(path, pattern))))
    run(pictures.name, "--whole", "-o", "b.png")
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    assert Path("a.tsv").read_text() == Path("b.tsv").read_text().replace("b.png", "a.png")


def test_equal_names_get_numbers(pictures):
    (pictures / "x").mkdir()
    draw_face(9).save(pictures / "x" / "0.png")
    face = Image.new("RGB", (200, 96))
    face.paste(draw_face(4), (0, 0))
    face.paste(draw_face(5), (100, 0))
    face.save("two.png")

    def detect(pixels):
        return [Box(x, 0, 96, 96) for x in range(0, pixels.shape[1] - 95, 100)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "load_cascade", lambda path, min_face: detect)
        run("in/0.png", "in/x/0.png", "two.png", "--cascade", "any", "-o", "set.png", "--key", "name")
    assert [row["key"] for row in manifest("set.tsv")] == ["in/0", "in/x/0", "two", "two-2"]


def test_sets_for_training_and_testing(pictures):
    for number in range(20, 40):
        draw_face(number, 40).save(pictures / f"{number}.png")
    run(pictures.name, "--whole", "-o", "set.png", "--test-share", 0.3, "--size", 32)
    rows = manifest("set.tsv")
    files = Counter(row["file"] for row in rows)
    assert set(files) == {"set-train.png", "set-test.png"}
    assert not Path("set.png").exists()
    for file, count in files.items():
        assert [row["number"] for row in rows if row["file"] == file] == [str(n) for n in range(count)]
        assert Path(file).is_file()


def test_related_faces_are_in_one_set(tmp_path, monkeypatch):
    """Each picture has a face of its own and a worse copy of the next picture's: all are related."""
    monkeypatch.chdir(tmp_path)
    for number in range(12):
        picture = Image.new("RGB", (100, 50))
        picture.paste(draw_face(number, 50), (0, 0))
        picture.paste(draw_face(number + 1, 50).resize((42, 42)).resize((50, 50)), (50, 0))
        picture.save(f"{number:02}.png")
        draw_face(number + 50, 50).save(f"{number + 50}.png")

    def detect(pixels):
        return [Box(x, 0, 50, 50) for x in range(0, pixels.shape[1], 50)]

    monkeypatch.setattr(command, "load_cascade", lambda path, min_face: detect)
    run(".", "--cascade", "any", "--margin", 0, "-o", "set.png", "--test-share", 0.5, "--size", 32)
    rows = manifest("set.tsv")
    assert len(rows) == 25
    assert len({row["file"] for row in rows if int(Path(row["source"]).stem) < 50}) == 1
    assert len({row["file"] for row in rows}) == 2


def test_a_part_without_faces_is_told_and_leaves_no_old_file(pictures):
    Path("set-test.png").write_bytes(b"old")
    _, errors = run("in/0.png", "--whole", "-o", "set.png", "--test-share", 0.001, "-f")
    assert errors == "triptych: set-test.png: not written, since no face fell to it\n"
    assert not Path("set-test.png").exists()
    assert [row["file"] for row in manifest("set.tsv")] == ["set-train.png"]


def test_failures_are_named_and_the_exit_code_is_1(pictures):
    (pictures / "broken.png").write_bytes(encoded(draw_face(7))[:-300])
    (pictures / "text.jpg").write_text("hello")
    told, errors = run(pictures.name, "gone.png", "--whole", "-o", "set.png", code=1)
    assert told.startswith("4 faces from 6 pictures")
    assert errors.splitlines() == [
        "triptych: in/broken.png: cannot be read: " + errors.splitlines()[0].rpartition("read: ")[2],
        "triptych: in/text.jpg: not an image that Pillow reads",
        "triptych: gone.png: no such file or directory",
    ]
    assert len(manifest("set.tsv")) == 4


@pytest.mark.parametrize("output", ["set.png", "set.tych"])
def test_no_set_without_a_face(pictures, output):
    _, errors = run(pictures.name, "--whole", "--min-face", 97, "-o", output, code=1)
    assert errors == "triptych: no set is written: 0 faces from 6 pictures; 6 too small\n"
    assert sorted(path.name for path in Path().iterdir()) == ["in"]


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["in", "-o", "set.png"], "either --cascade"),
        (["in", "-o", "set.png", "--whole", "--cascade", "x"], "either --cascade"),
        (["in", "-o", "set.jpg", "--whole"], "a stream (.tych) or a pack (.png)"),
        (["in", "-o", "set.png", "--whole", "-q", "5"], "--quality is for streams"),
        (["in", "-o", "set.tych", "--whole", "--mode", "none"], "none"),
        (["-o", "set.png", "--whole"], "no pictures"),
        (["-", "-o", "set.png", "--whole"], "stdin"),
        (["in", "-o", "in/0.png", "--whole"], "exists; use --force"),
        (["in", "-o", "no/set.png", "--whole"], "there is no folder no"),
    ],
)
def test_wrong_usage_is_one_line(pictures, arguments, cause):
    before = sorted(pictures.rglob("*"))
    _, errors = run(*arguments, code=2)
    assert cause in errors
    assert errors.startswith("triptych: ")
    assert errors.count("\n") == 1
    assert sorted(pictures.rglob("*")) == before


def test_from_a_checkout(pictures):
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "faces", "in/0.png", "--whole", "-o", "set.png"],
        cwd=pictures.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 face from 1 picture\n", "")


# ---- Fetching -------------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves what `routes` says of a path: for each request the next answer, the last one again."""

    def do_GET(self):
        answers = self.server.routes.get(self.path, [(404, {}, b"not here")])
        number = self.server.counts[self.path]
        self.server.counts[self.path] += 1
        self.server.agents.add(self.headers["User-Agent"])
        status, headers, body = answers[min(number, len(answers) - 1)]
        if status == "slow":
            self.server.may_end.wait(5)
            return
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # whoever refuses a large body hangs up
            self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.routes, server.counts, server.agents, server.may_end = {}, Counter(), set(), threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.may_end.set()
        server.shutdown()
        thread.join()


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self):
        self.time, self.sleeps = 1000.0, []

    def __call__(self):
        return self.time

    def sleep(self, seconds):
        assert seconds >= 0
        if seconds:
            self.sleeps.append(round(seconds, 6))
        self.time += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def fetcher(tmp_path, clock):
    return fetching.Fetcher(tmp_path / "cache", clock=clock, sleep=clock.sleep, now=lambda: 0.0, timeout=5)


def files_below(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_files_are_fetched_once(server, fetcher):
    server.routes["/a b%20ä.png"] = []
    server.routes["/a%20b%20%C3%A4.png"] = [(200, {}, b"picture")]
    url = server.url("/a b%20ä.png") + "#part"
    assert fetcher.fetch(url) == fetcher.fetch(url) == b"picture"
    assert server.counts == {"/a%20b%20%C3%A4.png": 1}
    assert server.agents == {fetching.USER_AGENT}
    assert "triptych" in fetching.USER_AGENT
    name = hashlib.sha256(url.encode()).hexdigest()
    assert files_below(fetcher.cache) == [fetcher.cache / name[:2] / name]


def test_a_host_gets_its_pauses(server, fetcher, clock):
    server.routes |= {f"/{n}": [(200, {}, b"x")] for n in range(3)}
    for n in range(3):
        fetcher.fetch(server.url(f"/{n}"))
    assert clock.sleeps == [1, 1]
    clock.time += 0.75
    with pytest.raises(fetching.FetchFailed):
        fetcher.fetch(server.url("/missing"))
    assert clock.sleeps == [1, 1, 0.25]
    fetcher.fetch(server.url("/0").replace("127.0.0.1", "localhost"))  # another name is another host
    assert clock.sleeps == [1, 1, 0.25]


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_pass_is_tried_again_later_and_later(server, fetcher, clock, status):
    server.routes["/x"] = [(status, {}, b"")] * 3 + [(200, {}, b"picture")]
    assert fetcher.fetch(server.url("/x")) == b"picture"
    assert clock.sleeps == [1, 2, 4]


@pytest.mark.parametrize(
    ("value", "sleeps"), [("0", [1]), ("7", [7]), ("Thu, 01 Jan 1970 00:00:09 GMT", [9]), ("soon", [1])]
)
def test_retry_after_is_obeyed(server, fetcher, clock, value, sleeps):
    server.routes["/x"] = [(503, {"Retry-After": value}, b""), (200, {}, b"picture")]
    assert fetcher.fetch(server.url("/x")) == b"picture"
    assert clock.sleeps == sleeps


def test_a_host_that_asks_for_too_long_is_left_alone(server, fetcher, clock):
    server.routes["/x"] = [(429, {"Retry-After": "86400"}, b"")]
    with pytest.raises(fetching.FetchFailed, match="asks to wait 86,400 s"):
        fetcher.fetch(server.url("/x"))
    with pytest.raises(fetching.FetchFailed, match="asks to wait"):
        fetcher.fetch(server.url("/y"))
    assert server.counts == {"/x": 1}
    assert clock.sleeps == []


def test_retries_end(server, fetcher):
    server.routes["/x"] = [(500, {}, b"")]
    with pytest.raises(fetching.FetchFailed, match=r"HTTP 500 .*after 3 more tries"):
        fetcher.fetch(server.url("/x"))
    assert server.counts == {"/x": 4}


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_what_will_not_pass_is_not_tried_again(server, fetcher, status):
    server.routes["/x"] = [(status, {}, b"")]
    with pytest.raises(fetching.FetchFailed, match=f"HTTP {status} "):
        fetcher.fetch(server.url("/x"))
    assert server.counts == {"/x": 1}


def test_truncated_bodies_are_fetched_again(server, fetcher):
    server.routes["/x"] = [(200, {"Content-Length": "9"}, b"half"), (200, {}, b"whole")]
    assert fetcher.fetch(server.url("/x")) == b"whole"
    server.routes["/y"] = [(200, {"Content-Length": "9"}, b"half")]
    with pytest.raises(fetching.FetchFailed, match="ended after 4 of 9 bytes"):
        fetcher.fetch(server.url("/y"))
    assert len(files_below(fetcher.cache)) == 1


@pytest.mark.parametrize("length", ["2000", None])
def test_large_bodies_are_refused(server, fetcher, length):
    fetcher.max_bytes = 1999
    server.routes["/x"] = [(200, {"Content-Length": length}, bytes(2000))]
    server.routes["/y"] = [(200, {"Content-Length": length and "1999"}, bytes(1999))]
    with pytest.raises(fetching.FetchFailed, match="more than 1,999 bytes"):
        fetcher.fetch(server.url("/x"))
    assert server.counts == {"/x": 1}
    assert len(fetcher.fetch(server.url("/y"))) == 1999
    assert len(files_below(fetcher.cache)) == 1


def test_silence_is_tried_again(server, fetcher):
    fetcher.timeout, fetcher.retries = 0.1, 1
    server.routes["/x"] = [("slow", {}, b""), (200, {}, b"picture")]
    assert fetcher.fetch(server.url("/x")) == b"picture"
    server.routes["/y"] = [("slow", {}, b"")]
    with pytest.raises(fetching.FetchFailed, match="timed out"):
        fetcher.fetch(server.url("/y"))


def test_endless_trickles_are_given_up(server, fetcher, clock):
    server.routes["/x"] = [(200, {}, b"picture")]
    fetcher.clock = lambda: (clock.sleep(60), clock.time)[1]
    with pytest.raises(fetching.FetchFailed, match="too slow"):
        fetcher.fetch(server.url("/x"))


def test_redirections_are_followed_to_the_web_only(server, fetcher, tmp_path):
    (tmp_path / "secret").write_text("secret")
    server.routes["/there"] = [(302, {"Location": "/here"}, b"")]
    server.routes["/here"] = [(200, {}, b"picture")]
    assert fetcher.fetch(server.url("/there")) == b"picture"
    for target in ((tmp_path / "secret").as_uri(), "ftp://127.0.0.1/x", "data:,x"):
        server.routes["/away"] = [(302, {"Location": target}, b"")]
        with pytest.raises(fetching.FetchFailed):
            fetcher.fetch(server.url("/away"))


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a/b", "data:,x", "http://", "a.png", "http://[x/"]
)
def test_only_the_web_is_fetched(fetcher, url):
    with pytest.raises(fetching.FetchFailed, match=r"not an http|not a URL"):
        fetcher.fetch(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:port/", "http://a\x01b/", "http://a..b/"])
def test_urls_that_cannot_be_asked(fetcher, url):
    fetcher.retries = 0
    with pytest.raises(fetching.FetchFailed):
        fetcher.fetch(url)


def test_nobody_there(fetcher):
    fetcher.retries = 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and nobody listens
        with pytest.raises(fetching.FetchFailed, match="refused"):
            fetcher.fetch(f"http://127.0.0.1:{free.getsockname()[1]}/")


def test_partial_files_never_have_their_name(server, fetcher, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    server.routes["/x"] = [(200, {}, b"picture")]
    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="No space"):
        fetcher.fetch(server.url("/x"))
    assert files_below(fetcher.cache) == []


def test_a_list_of_urls_to_a_set(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = encoded(draw_face(1))
    server.routes = {
        "/1.png": [(200, {}, good)],
        "/2.jpg": [(503, {"Retry-After": "0"}, b""), (200, {}, encoded(draw_face(2), "JPEG"))],
        "/cut.png": [(200, {}, good[:-300])],
        "/large.png": [(200, {}, bytes(50_000))],
    }
    names = ["1.png", "2.jpg", "404.png", "cut.png", "large.png", "1.png"]
    Path("list").write_text("# faces\n\n" + "".join(f" {server.url('/' + name)} \n" for name in names))
    arguments = ("--urls", "list", "--whole", "--delay", 0, "--max-bytes", "40k")
    _, errors = run(*arguments, "-o", "a.png", code=1)
    lines = errors.splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        server.url(f"/{n}.png") for n in ("404", "cut", "large")
    ]
    assert [line.split(": ", 2)[2][:14] for line in lines] == [
        "HTTP 404 Not F",
        "cannot be read",
        "more than 40,0",
    ]
    assert server.counts == {"/1.png": 1, "/2.jpg": 2, "/404.png": 1, "/cut.png": 1, "/large.png": 1}
    assert [row["source"] for row in manifest("a.tsv")] == [server.url("/1.png"), server.url("/2.jpg")]

    server.counts.clear()
    run(*arguments, "-o", "b.png", code=1)
    assert server.counts == {"/404.png": 1, "/large.png": 1}  # failures are not remembered
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    Path("list").write_text("\n".join(server.url(f"/{name}") for name in ("2.jpg", "1.png")))
    server.counts.clear()
    run(*arguments, "-o", "c.png", "--key", "name")
    assert not server.counts
    assert [row["key"] for row in manifest("c.tsv")] == ["2", "1"]


# ---- OpenCV ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def cascade():
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    if not hasattr(cv2, "CascadeClassifier"):
        pytest.skip(f"OpenCV {cv2.__version__} has no cascade classifier")
    return Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"


def test_a_cascade_finds_drawn_faces(cascade):
    canvas = Image.new("RGB", (400, 240), (150, 170, 190))
    places = [(30, 50, 160), (240, 90, 100)]
    for number, (left, top, side) in enumerate(places):
        canvas.paste(draw_face(number, side), (left, top))
    detect = detecting.load_cascade(cascade, 32)
    boxes = detect(np.asarray(canvas))
    assert boxes == detect(np.asarray(canvas))
    assert len(boxes) == 2
    for box, (left, top, side) in zip(boxes, places, strict=True):
        assert left <= box.left + box.width / 2 - side / 4 <= left + side / 2
        assert top <= box.top + box.height / 2 - side / 4 <= top + side / 2
        assert side / 2 < box.width <= side
    assert [box.width > 100 for box in detecting.load_cascade(cascade, 110)(np.asarray(canvas))] == [True]
    assert detect(np.full((50, 60, 3), 128, np.uint8)) == []


def test_the_command_with_a_cascade(cascade, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (99, 80), "grey").save("nobody.png")
    canvas = Image.new("RGB", (300, 200), "grey")
    canvas.paste(draw_face(0, 150), (80, 20))
    canvas.save("somebody.png")
    told, _ = run("nobody.png", "somebody.png", "--cascade", cascade, "-o", "set.png")
    assert told == "1 face from 2 pictures; 1 without a face\n"
    (row,) = manifest("set.tsv")
    box = Box(*map(int, row["box"].split(",")))
    assert box.width == round(int(row["face_width"]) * 1.3)


def test_files_that_are_no_cascade(cascade, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bad.xml").write_text("<html/>")
    draw_face().save("in.png")
    _, errors = run("in.png", "--cascade", "bad.xml", "-o", "set.png", code=2)
    assert errors == "triptych: --cascade bad.xml: not a cascade file that OpenCV reads\n"
    _, errors = run("in.png", "--cascade", "gone.xml", "-o", "set.png", code=1)
    assert errors == "triptych: gone.xml: no such file or directory\n"


@pytest.mark.parametrize(("module", "cause"), [(None, "needs OpenCV"), (contextlib, "no cascade classifier")])
def test_without_a_cascade_classifier(pictures, monkeypatch, module, cause):
    monkeypatch.setattr(contextlib, "__version__", "5", raising=False)
    monkeypatch.setitem(sys.modules, "cv2", module)
    _, errors = run(pictures.name, "--cascade", "any.xml", "-o", "set.png", code=2)
    assert cause in errors
    assert "pip install 'opencv-python-headless<5'" in errors


@pytest.mark.parametrize("module", [cropping, duplicates, fetching, sources])
def test_docstring_examples(module):
    assert doctest.testmod(module).failed == 0


def test_opencv_is_loaded_for_cascades_only():
    code = "import sys, faces.command; print(sorted({'cv2', 'numba', 'torch'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "tools"
    )
    assert done.stdout == "[]\n"
