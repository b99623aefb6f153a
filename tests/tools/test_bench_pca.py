"""The figures of the bench's sections for the second panel, with plain files in the place of our streams."""

import dataclasses
import io
import json
import math
import zipfile
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
from bench import curves, image_sets, lossy, measure, ours_pca, photo_files, plotting, projecting, quality
from bench.pictures import Sample
from bench.results import Section
from bench.setup import Setup
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

bench_extra = pytest.mark.skipif(
    find_spec("scipy") is None or find_spec("sklearn") is None, reason="the bench's own packages are not here"
)

few = settings(deadline=None, max_examples=15)
CURVE = st.lists(
    st.tuples(st.floats(1, 1e6), st.integers(0, 60)), min_size=2, max_size=8, unique_by=lambda point: point[1]
)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def ramp(generator, height, width):
    values = np.linspace(0, 200, height * width * 3).reshape(height, width, 3)
    return (values + generator.integers(0, 50, values.shape)).astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder laid out as the sections want it."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(5)
    for name in ("kodak", "collections", "faces"):
        (folder / name).mkdir()
    with zipfile.ZipFile(folder / "kodak" / "kodak24.zip", "w") as archive:
        archive.writestr("kodim07.png", png(ramp(generator, 176, 180)))
    for name in ("twemoji64_dev_n5", "tuxemon64_dev_n6"):
        (folder / "collections" / f"{name}.png").write_bytes(png(ramp(generator, 128, 192)))
    for name in ("anime64_devtest.png", "anime64_train_00.jpg"):
        (folder / "faces" / name).write_bytes(png(ramp(generator, 128, 192)))
    return folder


@pytest.fixture
def stand_in(monkeypatch):
    """JPEG does what the mode will do, and two peers are enough."""

    def version():
        return "JPEG"

    def encode(images, q):
        return lossy.JPEG.encode(image_sets.make_mosaic(images), q)

    files = {name: getattr(lossy, name) for name in ("JPEG", "WEBP")}
    for name in ("PSNR", "VISUAL", "FAST"):
        photo = dataclasses.replace(
            lossy.JPEG, name=getattr(ours_pca, name).name, version=version, is_ours=True
        )
        monkeypatch.setattr(ours_pca, name, photo)
    collection = dataclasses.replace(lossy.JPEG, name="triptych", encode=encode, is_ours=True)
    monkeypatch.setattr(ours_pca, "COLLECTION", collection)
    palettes = dataclasses.replace(collection, name="triptych k-means", qualities=(70, 80))
    monkeypatch.setattr(ours_pca, "PALETTES", palettes)
    monkeypatch.setattr(ours_pca, "mode_version", version)
    monkeypatch.setattr(ours_pca, "fit_book", lambda images, n_components: None)
    monkeypatch.setattr(
        ours_pca, "with_book", lambda name, settings, book: dataclasses.replace(collection, name=name)
    )
    monkeypatch.setattr(lossy, "FILES", tuple(files.values()))
    monkeypatch.setattr(image_sets, "_MOSAIC_PEERS", (lossy.WEBP,))


def goals_of(section):
    return {goal.what: goal for goal in section.goals}


def table_of(section, start):
    [found] = [table for table in section.to_json()["tables"] if table["title"].startswith(start)]
    return found["rows"]


# Figures.


@bench_extra
@given(CURVE, st.floats(0.1, 10))
def test_a_curve_of_scaled_rates_has_that_bd_rate(curve, factor):
    # Rates that grow with quality, so that no point hides another.
    rates = sorted(rate for rate, _ in curve)
    points = list(zip(rates, sorted(q for _, q in curve), strict=True))
    scaled = [(rate * factor, q) for rate, q in points]
    assert quality.bd_rate(points, scaled) == pytest.approx(100 * (factor - 1), abs=1e-6)
    assert quality.bd_rate(points, points[::-1]) == pytest.approx(0, abs=1e-9)


@bench_extra
def test_straight_curves_have_the_bd_rate_of_the_area_between_them():
    # log rate is q / 10 and q / 5 on [10, 20]: the mean difference is 1.5.
    anchor = [(math.exp(q / 10), q) for q in (0, 10, 20)]
    test = [(math.exp(q / 5), q) for q in (10, 20, 30)]
    assert quality.bd_rate(anchor, test) == pytest.approx(100 * (math.exp(1.5) - 1))


@bench_extra
def test_curves_that_share_no_quality_have_no_bd_rate():
    assert quality.bd_rate([(1, 10), (2, 20)], [(1, 30), (2, 40)]) is None
    assert quality.bd_rate([(1, 10)], [(1, 10), (2, 40)]) is None


@bench_extra
@given(CURVE)
def test_a_curve_passes_through_its_points_and_ends_there(curve):
    for rate, q in curve:
        assert quality.rate_at(curve, q) == pytest.approx(rate)
    assert quality.rate_at(curve, max(q for _, q in curve) + 1) is None


def test_ms_ssim_is_that_of_the_definition_on_one_scale(monkeypatch):
    generator = np.random.default_rng(2)
    a, b = ramp(generator, 14, 13), ramp(generator, 14, 13)
    monkeypatch.setattr(quality, "_SCALE_WEIGHTS", (1.0,))
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(line, line) / line.sum() ** 2
    x, y = (p @ np.array([0.299, 0.587, 0.114]) for p in (a, b))
    values = []
    for i in range(4):
        for j in range(3):
            u, v = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            mu, mv = (window * u).sum(), (window * v).sum()
            su, sv = (window * (u - mu) ** 2).sum(), (window * (v - mv) ** 2).sum()
            suv = (window * (u - mu) * (v - mv)).sum()
            c1, c2 = 2.55**2, 7.65**2
            values.append((2 * mu * mv + c1) * (2 * suv + c2) / ((mu * mu + mv * mv + c1) * (su + sv + c2)))
    assert quality.ms_ssim_db(a, b) == pytest.approx(-10 * math.log10(1 - np.mean(values)))


def test_figures_grow_with_likeness():
    picture = ramp(np.random.default_rng(3), 176, 200)
    shown = [lossy.JPEG.decode(lossy.JPEG.encode(picture, q)) for q in (10, 50, 90)]
    found = [photo_files.judge(picture, each) for each in (*shown, picture)]
    for name in found[0]:
        values = [figures[name] for figures in found]
        assert values == sorted(values)
        assert len(set(values)) == 4


# Files and mosaics.


@few
@given(
    hnp.arrays(
        np.uint8, st.tuples(*[st.integers(1, 9)] * 3) | st.tuples(*[st.integers(1, 9)] * 3, st.just(3))
    )
)
def test_mosaics_give_their_images_back(images):
    assert np.array_equal(image_sets.cut_mosaic(image_sets.make_mosaic(images), images.shape), images)


@pytest.mark.parametrize("file", [lossy.JPEG, lossy.WEBP], ids=lambda file: file.name)
@pytest.mark.parametrize("shape", [(9, 16, 16), (9, 16, 16, 3)])
def test_files_show_grey_and_colour(file, shape):
    images = (np.arange(math.prod(shape)).reshape(shape) % 251 // 4 * 3).astype(np.uint8)
    codec = image_sets.mosaic_codec(file)
    small, large = (codec.encode(images, codec.qualities[i]) for i in (0, -1))
    assert len(small) < len(large)
    bad, good = (image_sets.judge(images, codec.decode(data)) for data in (small, large))
    assert bad["psnr"] < good["psnr"]
    assert bad["mean_psnr"] < good["mean_psnr"]


# Points.


def test_points_of_an_earlier_run_are_taken_where_nothing_changed(data, tmp_path, monkeypatch):
    pictures = [Sample("a", ramp(np.random.default_rng(1), 16, 16))]
    ours = dataclasses.replace(lossy.WEBP, name="ours", is_ours=True)
    judge = partial(_judge_psnr)
    tasks = [(codec, picture) for codec in (ours, lossy.JPEG, lossy.WEBP) for picture in pictures]

    def collect(tasks, *earlier):
        section = Section("s")
        points = curves.collect(Setup(data, peers=earlier), section, tasks, judge)
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        path.write_text(json.dumps({"machine": {"date": "then"}, "sections": [section.to_json()]}))
        return section, points, path

    def is_reused(section):
        return {row["peer"]: row["version"].startswith("REUSED") for row in table_of(section, "peers")}

    _, points, path = collect(tasks)
    assert [p.codec for p in points] == ["ours"] * 7 + ["JPEG"] * 7 + ["WebP"] * 7
    section, again, reused_path = collect(tasks, path)
    assert again == points
    assert is_reused(section) == {"ours": False, "JPEG": True, "WebP": True}
    assert "REUSED" in section.notes[0]
    # Whoever measured is named: what was reused there is not taken from there.
    assert is_reused(collect(tasks, reused_path)[0]) == {"ours": False, "JPEG": False, "WebP": False}
    changed = [
        dataclasses.replace(lossy.JPEG, settings="other"),
        dataclasses.replace(lossy.WEBP, qualities=(10, 20)),
    ]
    tasks = [(codec, pictures[0]) for codec in changed]
    assert is_reused(collect(tasks, path)[0]) == {"JPEG": False, "WebP": False}
    tasks = [(lossy.JPEG, Sample("a", np.zeros((8, 8, 3), np.uint8)))]
    assert is_reused(collect(tasks, path)[0]) == {"JPEG": False}


def _judge_psnr(original, shown):
    return {"psnr": measure.psnr(original, shown)}


def test_the_points_do_not_depend_on_the_number_of_jobs(data):
    tasks = [(lossy.JPEG, Sample(name, ramp(np.random.default_rng(7), 16, 16))) for name in "ab"]
    one, two = (
        curves.collect(Setup(data, jobs=jobs), Section("s"), tasks, image_sets.judge) for jobs in (1, 2)
    )
    assert one == two


# Sections.


def test_photographs_are_compared_on_curves(data, stand_in, tmp_path):
    target = tmp_path / "plot.png"
    pytest.importorskip("matplotlib")
    section = photo_files.photographs(Setup(data, plot=target))
    goals = goals_of(section)
    assert goals["BD-rate, PSNR-RGB, triptych psnr against JPEG, %"].measured == pytest.approx(0)
    assert goals["BD-rate, PSNR-RGB, triptych psnr against mozjpeg, %"].verdict == "not measured"
    picture = photo_files.kodak(data, 1)[0].pixels
    webp = [
        (len(file := lossy.WEBP.encode(picture, q)), measure.psnr(picture, lossy.WEBP.decode(file)))
        for q in lossy.WEBP.qualities
    ]
    jpeg = [
        (len(file := lossy.JPEG.encode(picture, q)), measure.psnr(picture, lossy.JPEG.decode(file)))
        for q in lossy.JPEG.qualities
    ]
    found = goals["BD-rate, PSNR-RGB, triptych psnr against WebP, %"].measured
    assert found == pytest.approx(quality.bd_rate(webp, jpeg))
    assert len(table_of(section, "every point")) == 4 * 7
    assert target.read_bytes().startswith(b"\x89PNG")
    assert "every point" not in str(section)


@bench_extra
def test_a_mode_that_is_not_there_is_a_row(data, monkeypatch):
    def version():
        raise ImportError("no mode pca")

    for name in ("PSNR", "VISUAL", "FAST", "COLLECTION", "PALETTES"):
        codec = dataclasses.replace(getattr(ours_pca, name), version=version)
        monkeypatch.setattr(ours_pca, name, codec)
    monkeypatch.setattr(ours_pca, "mode_version", version)
    monkeypatch.setattr(lossy, "FILES", (lossy.JPEG,))
    monkeypatch.setattr(image_sets, "_MOSAIC_PEERS", (lossy.JPEG,))
    for run in (photo_files.photographs, photo_files.photo_speed, image_sets.pca_collections):
        section = run(Setup(data, quick=True))
        assert {goal.verdict for goal in section.goals} == {"not measured"}
        assert table_of(section, "peers")[0]["version"] == "missing: no mode pca"


def test_speeds_are_medians_at_the_middle_quality(data, stand_in, monkeypatch):
    monkeypatch.setattr(photo_files, "alternate", lambda runs, rounds: dict.fromkeys(runs, 0.5))
    section = photo_files.photo_speed(Setup(data, quick=True))
    assert {goal.measured for goal in section.goals} == {176 * 180 / 1e6 / 0.5}


@bench_extra
def test_collections_are_compared_at_the_psnr_of_our_points(data, stand_in):
    section = image_sets.pca_collections(Setup(data, quick=True))
    rows = table_of(section, "bytes an image, faces x6 of 64x64")
    ratios = [row["ours / best"] for row in rows[:-1] if row["ours / best"] is not None]
    images = image_sets.read_cells(data / "faces" / "anime64_devtest.png")
    file = lossy.JPEG.encode(image_sets.make_mosaic(images), 43)
    [row] = [row for row in rows if row["PCA at"] == "quality 43"]
    assert row["PCA"] == len(file) / 6
    assert row["k-means"] == "n/a"
    assert row["PSNR"] == image_sets.judge(images, lossy.JPEG.decode(file))["psnr"]
    assert row["ours / best"] == row["PCA / best"] == row["PCA"] / row["WebP mosaic"]
    assert goals_of(section)["bytes / best mosaic's, faces, geomean"].measured == pytest.approx(
        measure.geomean(ratios)
    )
    assert table_of(section, "bytes an image, digits x64 of 8x8")
    floats = table_of(section, "bytes an image, digits: scores")
    assert all(
        row["float32"] == 4 * (row["components"] + (row["components"] + 1)) for row in floats
    )  # 64 images of 64 pixels


def test_the_kernel_is_timed_beside_numpy_and_its_memory_counted(data, monkeypatch):
    monkeypatch.setattr(projecting, "_N_IMAGES", 1000)
    monkeypatch.setattr(projecting, "_SIDE", 10)
    monkeypatch.setattr(ours_pca, "find_project", lambda: projecting.numpy_project_folded)
    section = projecting.project_speed(Setup(data, quick=True))
    rows = {row["what"]: row for row in table_of(section, "project and round")}
    goals = goals_of(section)
    assert goals["times as fast as numpy"].measured == rows["numpy"]["time / kernel's"]
    # The images twice in float32 (before there is a result to take off), or once beside scores in float32.
    n_samples, n_scores = 1000 * 100, 1000 * 64
    assert rows["numpy"]["working MB"] == pytest.approx((8 * n_samples - 2 * n_scores) / 1e6, rel=0.1)
    wanted = pytest.approx((4 * n_samples + 2 * n_scores) / 1e6, rel=0.1)
    assert goals["working memory, MB"].measured == wanted


def test_a_kernel_that_is_wrong_is_found_out(data, monkeypatch):
    monkeypatch.setattr(projecting, "_N_IMAGES", 100)
    monkeypatch.setattr(projecting, "_SIDE", 10)
    monkeypatch.setattr(
        ours_pca, "find_project", lambda: lambda x, mean, basis: projecting.numpy_project(x, mean, 2 * basis)
    )
    with pytest.raises(AssertionError, match="kernel gives other scores"):
        projecting.project_speed(Setup(data, quick=True))


def test_means_are_over_pictures():
    points = [
        curves.Point(picture, "c", q, 1, q + i, {"x": 10.0 * i})
        for i, picture in enumerate("ab")
        for q in (1, 2)
    ]
    assert plotting.mean_points(points) == [("c", 1, 1.5, {"x": 5.0}), ("c", 2, 2.5, {"x": 5.0})]
