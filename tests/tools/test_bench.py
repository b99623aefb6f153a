"""The figures of `tools/bench`, on tiny drawn pictures and the peers that are always there."""

import dataclasses
import io
import json
import math
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import triptych
from bench import (
    command,
    index_maps,
    measure,
    mixing,
    ours,
    peers,
    pictures,
    quantizing,
    results,
    whole_streams,
)
from bench.pictures import Sheet
from bench.setup import Setup
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

few = settings(deadline=None, max_examples=15)
PIXELS = hnp.arrays(np.uint8, (5, 7, 3))
POSITIVE = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=9)


def sheets(n_channels):
    """Pictures of at most five colours."""
    colors = hnp.arrays(np.uint8, (5, n_channels))
    return st.builds(
        lambda c, i: Sheet("drawn", c[i]), colors, hnp.arrays(np.uint8, (6, 9), elements=st.integers(0, 4))
    )


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder laid out as the benchmark wants it."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(5)

    def save(image):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        return file.getvalue()

    def pack(path, images):
        path.parent.mkdir()
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("manifest.json", "{}")
            for name, image in images.items():
                archive.writestr(name, save(image))

    ramp = np.linspace(0, 200, 24 * 32 * 3).reshape(24, 32, 3)
    photos = [(ramp + generator.integers(0, 50, ramp.shape)).astype(np.uint8) for _ in range(2)]
    pack(folder / "kodak" / "kodak24.zip", {"kodim02.png": photos[0], "kodim07.png": photos[1]})
    opaque = generator.integers(0, 4, (20, 30, 3), np.uint8) * np.uint8(80)
    clear = np.dstack([opaque, np.where(opaque[:, :, 0] > 80, 255, 0).astype(np.uint8)])
    many = generator.integers(0, 256, (20, 30, 3), np.uint8)
    pack(folder / "palette" / "palette_dev.zip", {"a.png": opaque, "b.png": clear, "c.png": many})
    mosaic = np.repeat(np.repeat(generator.integers(0, 256, (16, 24, 3), np.uint8), 8, 0), 8, 1)
    (folder / "collections").mkdir()
    (folder / "collections" / "tuxemon64_dev_n5.png").write_bytes(save(mosaic))
    return folder


@pytest.fixture
def setup(data):
    return Setup(data)


def missing(peer):
    def version():
        raise ModuleNotFoundError("No module named 'nowhere'")

    return dataclasses.replace(peer, version=version)


def table_of(section, start):
    """The rows of the one table whose title begins so, as dicts."""
    [found] = [table for table in section.to_json()["tables"] if table["title"].startswith(start)]
    return found["rows"]


def goals_of(section):
    return {goal.what: goal for goal in section.goals}


# Figures.


@given(POSITIVE)
def test_geomean_is_the_exponential_of_the_mean_logarithm(values):
    assert measure.geomean(values) == pytest.approx(math.exp(sum(map(math.log, values)) / len(values)))


@given(PIXELS, PIXELS)
def test_errors_are_those_of_the_definition(a, b):
    error = sum((int(x) - int(y)) ** 2 for x, y in zip(a.flat, b.flat, strict=True)) / a.size
    assert measure.mean_squared_error(a, b) == error
    assert measure.psnr(a, b) == (math.inf if error == 0 else pytest.approx(10 * math.log10(65025 / error)))


@given(PIXELS, hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.just(3))))
def test_nearest_colors_are_nearest(pixels, colors):
    shown = measure.show_nearest(pixels, colors).reshape(-1, 3).astype(int)
    points = pixels.reshape(-1, 3).astype(int)
    distances = ((points[:, None] - colors.astype(int)) ** 2).sum(axis=2)
    assert (((points - shown) ** 2).sum(axis=1) == distances.min(axis=1)).all()


def test_medians_are_of_alternating_rounds_after_one_that_does_not_count():
    now, order = [0.0], []
    costs = {"a": iter([100, 1, 5, 3]), "b": iter([100, 10, 30, 20])}

    def run(name):
        order.append(name)
        now[0] += next(costs[name])

    medians = measure.alternate({"a": lambda: run("a"), "b": lambda: run("b")}, 3, lambda: now[0])
    assert medians == {"a": 3, "b": 20}
    assert "".join(order) == "ababbaab"


@given(hnp.arrays(np.uint8, (4, 6, 4)))
def test_distinct_colors_are_counted(pixels):
    assert measure.distinct_colors(pixels) == len({tuple(p) for p in pixels.reshape(-1, 4).tolist()})


# Goals and tables.


@pytest.mark.parametrize(
    ("measured", "at_least", "verdict"),
    [
        (0.5, False, "met"),
        (0.51, False, "missed"),
        (0.5, True, "met"),
        (0.49, True, "missed"),
        (None, True, "not measured"),
        (math.inf, False, "missed"),
    ],
)
def test_goals_are_met_up_to_their_limit(measured, at_least, verdict):
    assert results.Goal("g", measured, 0.5, at_least).verdict == verdict


def test_json_says_what_the_tables_say():
    table = results.Table("t", ("name", "x"), [("a", 1.5), ("b", None), ("c", math.inf)])
    section = results.Section("s", [table], [results.Goal("g", math.inf, 2.0)], ["note"])
    found = json.loads(json.dumps(section.to_json(), allow_nan=False))
    assert found["tables"][0]["rows"] == [
        {"name": "a", "x": 1.5},
        {"name": "b", "x": None},
        {"name": "c", "x": "inf"},
    ]
    assert found["goals"][0]["verdict"] == "missed"
    assert all(word in str(section) for word in ("== s", "note", "-- t", "1.5", "missed"))


# Pictures and peers.


def test_pictures_are_those_of_the_packs(data):
    assert [photo.name for photo in pictures.photographs(data, 9)] == ["kodim07", "kodim02"]
    assert [(s.name, s.pixels.shape[2]) for s in pictures.palette_art(data)] == [("a", 3), ("b", 4)]
    cells = pictures.sprite_cells(data)
    assert len(cells) == 5
    assert {cell.pixels.shape for cell in cells} == {(64, 64, 3)}


@few
@given(sheets(3) | sheets(4))
def test_a_sheet_is_its_palette_and_its_indices(sheet):
    assert (sheet.colors[sheet.indices] == sheet.pixels).all()
    assert len(np.unique(sheet.colors, axis=0)) == len(sheet.colors)


@few
@given(sheets(3) | sheets(4))
@pytest.mark.parametrize("peer", [peers.WEBP, peers.XZ, peers.PNG], ids=lambda peer: peer.name)
def test_lossless_peers_are_checked_and_counted(peer, sheet):
    raw_palette = sheet.colors.size if peer is peers.XZ else 0
    assert peer.nbytes(sheet) == len(peer.encode(sheet)) + raw_palette


def test_a_peer_that_loses_is_found_out():
    sheet = Sheet("drawn", np.zeros((2, 2, 3), np.uint8))
    liar = dataclasses.replace(peers.PNG, decode=lambda data, sheet: sheet.pixels + 1)
    with pytest.raises(AssertionError, match="PNG does not give drawn back"):
        liar.nbytes(sheet)


def test_a_missing_peer_is_a_row():
    present, table = peers.select([peers.WEBP, missing(peers.JXL)])
    assert present == [peers.WEBP]
    assert table.rows[1][:2] == ("JXL", "missing: No module named 'nowhere'")


@pytest.mark.parametrize("quantizer", [peers.MEDIAN_CUT, peers.OCTREE], ids=lambda peer: peer.name)
def test_quantizers_give_palettes_and_labels(quantizer, data):
    photo = pictures.photographs(data, 1)[0]
    colors, labels = quantizer.run(photo.pixels, 8)
    assert len(colors) <= 8
    assert colors[labels].shape == photo.pixels.shape


# Sections.


def test_palette_errors_and_ratios(setup, monkeypatch):
    theirs = dataclasses.replace(peers.OCTREE, name=peers.LIBIMAGEQUANT.name)
    monkeypatch.setattr(peers, "LIBIMAGEQUANT", theirs)
    monkeypatch.setattr(peers, "QUANTIZERS", (missing(peers.SKLEARN), theirs))
    monkeypatch.setattr(quantizing, "SIZES", (16,))
    monkeypatch.setattr(quantizing, "_SCOPES", {"k = 16": (16,)})
    section = quantizing.palette_mse(setup)
    ratios = []
    for photo, row in zip(pictures.photographs(setup.data, 9), table_of(section, "MSE"), strict=False):
        for name, run in (
            ("triptych default", lambda pixels, k: ours.quantize(pixels, k, "default")),
            (theirs.name, theirs.run),
        ):
            colors, labels = run(photo.pixels, 16)
            assert row[name] == ((colors[labels].astype(float) - photo.pixels) ** 2).mean()
        ratios.append(row["triptych default"] / row[theirs.name])
    goals = goals_of(section)
    assert goals["MSE / libimagequant's, k = 16"].measured == pytest.approx(
        math.prod(ratios) ** (1 / len(ratios))
    )
    assert goals["share of pictures at or below KMeans, k = 16"].verdict == "not measured"


def test_dense_art_divides_whole_streams_by_the_best_file(setup, monkeypatch):
    monkeypatch.setattr(peers, "JXLS", (missing(peers.JXL),))
    monkeypatch.setattr(peers, "OXIPNG", missing(peers.OXIPNG))
    section = index_maps.dense_art(setup)
    rows = table_of(section, "bytes")
    ratios = []
    for sheet, row in zip(pictures.palette_art(setup.data), rows, strict=False):
        stream = triptych.encode(sheet.pixels, mode="kmeans", lossless=True)
        sizes = {peer.name: peer.nbytes(sheet) for peer in (peers.WEBP, peers.XZ)}
        assert row["default"] == len(stream)
        assert {name: row[name] for name in sizes} == sizes
        assert row["best"] == min(sizes, key=sizes.get)
        ratios.append(len(stream) / min(sizes.values()))
        assert row["default/best"] == ratios[-1]
    assert rows[-1]["default/best"] == pytest.approx(math.prod(ratios) ** 0.5)
    assert goals_of(section)["bytes / best peer's, default, worst picture"].measured == max(ratios)
    assert "missing" in table_of(section, "peers")[1]["version"]


def test_palettes_alone_are_counted_against_raw_ones(setup):
    section = index_maps.palettes(setup)
    rows = table_of(section, "bytes of palettes, palette art")
    assert [row["raw"] for row in rows[:2]] == [
        sheet.colors.size for sheet in pictures.palette_art(setup.data)
    ]
    assert goals_of(section)["coded / raw, palette art, sums"].measured == rows[2]["coded"] / rows[2]["raw"]


def test_sprites_are_one_stream_for_all(setup):
    section = whole_streams.sprites(setup)
    row, webp, png = table_of(section, "whole stream")
    cells = pictures.sprite_cells(setup.data)
    target = io.BytesIO()
    with triptych.Writer(target, mode="kmeans", lossless=True, frame_images=5, threads=1) as writer:
        for cell in cells:
            writer.write(cell.pixels)
    assert row["bytes an image"] == len(target.getvalue()) / 5
    for peer, found in ((peers.WEBP, webp), (peers.PNG, png)):
        assert found["bytes an image"] == sum(map(peer.nbytes, cells)) / 5


def test_equal_psnr_means_at_least_theirs(setup, monkeypatch):
    def encode(pixels, n_colors):
        file = io.BytesIO()
        Image.fromarray(pixels).quantize(n_colors, dither=Image.Dither.NONE).save(file, "PNG")
        return file.getvalue()

    monkeypatch.setattr(
        peers, "PNGQUANT", dataclasses.replace(peers.PNGQUANT, version=lambda: "-", encode=encode)
    )
    section = whole_streams.rate_aware(dataclasses.replace(setup, quick=True))
    row = table_of(section, "bytes at equal PSNR")[0]
    photo = pictures.photographs(setup.data, 1)[0]
    theirs = encode(photo.pixels, 16)
    shown = np.asarray(Image.open(io.BytesIO(theirs)).convert("RGB"))
    assert row["theirs"] == len(theirs)
    assert row["PSNR"] == measure.psnr(shown, photo.pixels)
    assert row["ours"] == len(triptych.encode(photo.pixels, mode="kmeans", target_psnr=row["PSNR"]))
    assert row["ours / theirs"] == row["ours"] / row["theirs"]
    assert row["best k"] <= row["ours"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")
def test_core_and_c_write_the_same_stream(tmp_path):
    bits = mixing.draw_bits(5000)
    ours_stream = mixing.stream_of(mixing.make_kernel(7), bits, 7)
    assert (ours_stream == mixing.stream_of(mixing.make_c(7, tmp_path), bits, 7)).all()
    assert ours_stream.size < bits.size / 8


# The command.


def test_a_section_that_fails_leaves_the_others(data, tmp_path, capsys):
    shutil.copytree(data / "palette", tmp_path / "palette")
    shutil.copytree(data / "kodak", tmp_path / "kodak")
    target = tmp_path / "out.json"
    code = command.main(
        ["--data", str(tmp_path), "--only", "sprites", "--only", "palettes", "--quick", "--json", str(target)]
    )
    assert code == 1
    failed, worked = json.loads(target.read_text())["sections"]
    assert failed["failed"]
    assert "FAILED" in failed["notes"][0]
    assert {goal["verdict"] for goal in worked["goals"]} <= {"met", "missed"}
    assert "coded / raw, palette art, sums" in capsys.readouterr().out


def test_the_command_runs_from_anywhere(tmp_path):
    folder = Path(command.__file__).parent
    result = subprocess.run(
        [sys.executable, str(folder), "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "--quick" in result.stdout
