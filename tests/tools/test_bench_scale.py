"""The figures of the bench's sections of collections at scale, on tiny drawn pictures."""

import dataclasses
import io
import json
import os
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from bench import (
    command,
    loader,
    loader_sets,
    plotting,
    scale,
    shards,
    store_bytes,
    store_speed,
    stores,
    two_cores,
)
from bench.measure import psnr
from bench.results import Section
from bench.setup import Setup
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

bench_extra = pytest.mark.skipif(
    find_spec("imagequant") is None or find_spec("oxipng") is None or find_spec("scipy") is None,
    reason="the bench's own packages are not here",
)
few = settings(deadline=None, max_examples=10)
IMAGES = hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.just(9), st.just(8), st.just(3)))
OURS = stores.triptych_store("ours", "", mode="kmeans", lossless=True)


def is_here(store):
    try:
        store.version()
    except (ImportError, OSError):
        return False
    return True


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder laid out as the sections want it."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(5)

    def save(name, height, width, n_values):
        coarse = generator.integers(0, n_values, (height // 8, width // 8, 3), np.uint8) * np.uint8(40)
        target = folder / name
        target.parent.mkdir(exist_ok=True)
        Image.fromarray(coarse.repeat(8, 0).repeat(8, 1)).save(target, "PNG")

    save("collections/twemoji64_dev_n3.png", 64, 192, 6)
    save("collections/tuxemon64_dev_n6.png", 128, 192, 3)
    save("faces/anime64_devtest.png", 128, 256, 6)
    return folder


@pytest.fixture
def setup(data):
    return Setup(data, quick=True)


def goals_of(section):
    return {goal.what: goal for goal in section.goals}


def table_of(section, start):
    [found] = [table for table in section.to_json()["tables"] if table["title"].startswith(start)]
    return found["rows"]


# Stores.


@few
@given(images=IMAGES)
def test_our_store_gives_images_back_in_order_and_at_random(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp("store")
    OURS.write(images, folder)
    assert np.array_equal(OURS.check(images, folder), images)
    shown = np.zeros_like(images)
    OURS.read_each(folder, reversed(range(len(images))), shown)
    assert np.array_equal(shown, images)
    assert stores.folder_nbytes(folder) == (folder / "images.tych").stat().st_size


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of tars that WebDataset leaves to the collector
@pytest.mark.parametrize("store", [*shards.PEERS, stores.OXIPNG], ids=lambda store: store.name)
def test_peers_give_images_back(store, tmp_path):
    if not is_here(store):
        pytest.skip(f"{store.name} is not here")
    colors = np.random.default_rng(1).integers(0, 256, (9, 2, 2, 3), np.uint8)
    images = colors.repeat(16, 1).repeat(16, 2)
    store.write(images, tmp_path)
    shown = store.check(images, tmp_path)
    assert psnr(images, shown) > 17
    assert stores.folder_nbytes(tmp_path) > 0
    with store.open(tmp_path) as opened:
        if opened.read_one:
            again = np.zeros_like(shown)
            store.read_each(tmp_path, [3, 1, 8, 0, 2, 4, 5, 6, 7], again)
            assert np.array_equal(again, shown)


def test_a_store_that_is_wrong_is_found_out(tmp_path):
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)

    @contextmanager
    def other_by_number(folder):
        with OURS.open(folder) as opened:
            yield opened._replace(read_one=lambda number: opened.read_one(0))

    OURS.write(images, tmp_path)
    with pytest.raises(AssertionError, match="not give the images back"):
        OURS.check(images + np.uint8(1), tmp_path)
    with pytest.raises(AssertionError, match="by number"):
        dataclasses.replace(OURS, open=other_by_number).check(images, tmp_path)


def test_a_peer_without_its_package_is_a_row():
    present, table = store_speed.select([shards.FFCV])
    assert not present
    assert str(table.rows[0][1]).startswith("missing: ")


# Sections.


@bench_extra
def test_bytes_are_those_of_files(setup, tmp_path):
    section = store_bytes.store_bytes(setup)
    rows = {row["what"]: row for row in table_of(section, "sprites")}
    cells = np.stack([cell.pixels for cell in store_bytes.sprite_cells(setup.data)])
    store_bytes.SPRITES.write(cells, tmp_path)
    ours = (tmp_path / "images.tych").stat().st_size / 6
    assert rows["triptych"]["bytes an image"] == ours
    for peer in ("PNG files, oxipng", "WebP lossless files"):
        goal = goals_of(section)[f"bytes / those of {peer}, sprites"]
        assert goal.measured == ours / rows[peer]["bytes an image"] == rows[peer]["ours / this"]
    emoji = table_of(section, "emoji")
    assert [row["colours"] for row in emoji] == [32, 64, 96, 128, 64, 64]
    assert emoji[-1]["bytes an image"] < emoji[-2]["bytes an image"]


def test_emoji_are_compared_at_our_psnr(setup, monkeypatch):
    pytest.importorskip("scipy")

    def encode(pixels, n_colors):
        file = io.BytesIO()
        Image.fromarray(pixels // n_colors * n_colors).save(file, "PNG")
        return file.getvalue() + bytes(1000 // n_colors)

    version = str
    peer = dataclasses.replace(store_bytes.PNGQUANT, version=version, encode=encode)
    monkeypatch.setattr(store_bytes, "PNGQUANT", peer)
    monkeypatch.setattr(store_bytes, "_PEER_COLORS", (2, 8, 32, 128))
    for name in ("EMOJI", "EMOJI_NO_KEYS"):
        store = stores.triptych_store("triptych", "", mode="kmeans", n_colors=3)
        monkeypatch.setattr(store_bytes, name, store)
    section = Section("s")
    store_bytes._measure_emoji(setup, section)
    *points, ours, _ = table_of(section, "emoji")
    low, high = (
        min((p for p in points if sign * (p["PSNR"] - ours["PSNR"]) >= 0), key=lambda p: sign * p["PSNR"])
        for sign in (-1, 1)
    )
    assert low["bytes an image"] <= ours["theirs at this PSNR"] <= high["bytes an image"]
    [goal] = section.goals
    assert goal.measured == ours["bytes an image"] / ours["theirs at this PSNR"] == ours["ours / theirs"]


def test_speeds_are_images_over_seconds(setup, monkeypatch):
    seconds = iter([2.0, 4.0, 8.0, 2.0, 4.0, 1.0, 1.0, 3.0, 5.0, 2.0, 2.0])

    def alternate(runs, rounds, clock=None):
        for run in runs.values():
            run()
        each = next(seconds)
        return {name: each / {"2": 2, "processes": 4}.get(name.split()[-1], 1) for name in runs}

    monkeypatch.setattr(store_speed, "alternate", alternate)
    monkeypatch.setattr(two_cores, "alternate", alternate)
    monkeypatch.setattr(store_speed, "_N_COMPONENTS", {"triptych PCA collection": 2})
    monkeypatch.setattr(shards, "PEERS", (stores.WEBP, shards.FFCV))
    section = store_speed.store_speed(setup)
    rows = table_of(section, "images/s, 8 faces")
    assert {(row["encode"], row["in order"], row["at random"]) for row in rows} == {(4.0, 2.0, 1.0)}
    goals = goals_of(section)
    assert goals["images/s, triptych k-means fast, in order"].measured == 2.0
    assert goals["times WebP files' rate, triptych PCA collection, at random"].measured == 1.0
    # Packs of three and of six images.
    palettes = {row["what"]: row["images/s"] for row in table_of(section, "images/s of palettes")}
    assert palettes["triptych k-means fast, emoji, 64 colours"] == 3 / 4
    assert goals["images/s, triptych k-means fast, sprites, lossless, in order"].measured == 6 / 2
    threads = [goal.measured for what, goal in goals.items() if "two threads" in what]
    assert threads == [2.0] * 6
    assert {row["processes, times as fast"] for row in table_of(section, "images/s by the clock")} == {4.0}
    command = table_of(section, "images/s of triptych encode")
    assert [(row["images"], row["-j 1"], row["-j 2"]) for row in command] == [(8, 4.0, 8.0)] * 2


@pytest.mark.parametrize("n_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_loaders_leave_nothing_and_come_back(setup, monkeypatch, n_workers):
    monkeypatch.setattr(loader_sets, "PEERS", loader_sets.PEERS[:1])
    monkeypatch.setattr(loader_sets, "BATCH", 3)
    monkeypatch.setattr(loader, "_WORKERS", (n_workers,))
    section = loader.loader(setup)
    assert {goal.verdict for goal in section.goals} == {"met"}
    rows = table_of(section, "epochs of 8 images")
    assert [row["workers"] for row in rows] == [n_workers] * 5
    assert [row["resumes"] for row in rows] == [None, 1, None, 1, None]
    assert {row["same epochs"] for row in rows} == {1}


def test_an_epoch_that_misses_images_is_found_out(setup, monkeypatch):
    [one] = loader_sets.PEERS[:1]
    monkeypatch.setattr(loader_sets, "PEERS", ())
    broken = dataclasses.replace(one, make=lambda folder, n_workers, seed: [[1, 2], [3]])
    monkeypatch.setattr(loader_sets, "ours", lambda *_, **__: [broken])
    with pytest.raises(AssertionError, match="gives 3 images of 8"):
        loader.loader(setup)


def test_each_figure_is_of_a_process_of_its_own():
    assert scale._alone(os.getpid) != os.getpid()
    assert 5 < scale._alone(scale.peak_mb) < 1000


def test_costs_grow_with_the_number_of_images(setup, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(scale, "_alone", lambda function, *args: function(*args))
    monkeypatch.setattr(scale, "_SIZES", (100, 200, 300))
    monkeypatch.setattr(scale, "_BASE", 100)
    monkeypatch.setattr(scale, "_N_RANDOM", 5)
    monkeypatch.setattr(scale, "_N_COMPONENTS", 2)
    section = scale.scale(dataclasses.replace(setup, plot=tmp_path / "plot.png"))
    assert (tmp_path / "plot-scale.png").read_bytes().startswith(b"\x89PNG")
    for kind in ("PCA", "k-means"):
        rows = table_of(section, kind)
        assert [row["images"] for row in rows] == [100, 200, 300]
        assert sorted(row["bytes"] for row in rows) == [row["bytes"] for row in rows]
        assert all(row["reader MB"] > 20 for row in rows)
        goals = goals_of(section)
        assert 4 <= goals[f"bytes of index an image, {kind}, 300 images"].measured < 12
        of_base = rows[2]["writer MB"] / rows[0]["writer MB"]
        assert goals[f"peak memory of the writer, {kind}, 300 images / 100"].measured == of_base
    plain, joined = table_of(section, "joined streams")
    assert plain["images"] == joined["images"] == 2000
    assert joined["bytes"] < plain["bytes"]


def test_sizes_beyond_the_budget_are_left_out_aloud(setup, monkeypatch):
    def cost(kind, tiles, n_images, folder):
        return scale.Cost(n_images, n_images / 100, 9 * n_images, 12.0, 0.1, 1.0, 50.0, 50.0)

    monkeypatch.setattr(scale, "measure_cost", cost)
    monkeypatch.setattr(scale, "_BUDGET_SECONDS", 50.0)
    section = Section("s")
    lines = {}
    scale._measure_kind(setup, section, scale.KMEANS, np.zeros((1, 2, 2, 3), np.uint8), Path(), lines)
    assert section.notes == ["LEFT OUT: k-means, 10,000 images, which take 100 s to write"]
    assert lines["bytes"]["k-means, stream"] == [(100.0, 900), (1000.0, 9000)]
    assert goals_of(section)["peak memory of the writer, k-means, 1,000 images / 10,000"].measured is None


@given(st.integers(1, 2000))
def test_drawn_images_differ_by_their_round(n_images):
    tiles = np.arange(3, dtype=np.uint8)[:, None, None, None].repeat(2, 1)
    drawn = [int(image[0, 0, 0]) for image in scale.draw(tiles, n_images)]
    assert drawn == [(number % 3 + number // 3) % 256 for number in range(n_images)]


def test_charts_show_every_line(tmp_path):
    pytest.importorskip("matplotlib")
    target = tmp_path / "costs.svg"
    flat, steep = [(10.0, 5.0), (100.0, 6.0)], [(10.0, 1.0), (100.0, 50.0)]
    plotting.plot_costs(target, {"memory": {"flat": flat}, "seconds": {"steep": steep, "flat": flat}})
    assert "<svg" in target.read_text()


def test_the_command_knows_the_sections(data, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    target = tmp_path / "out.json"
    command.main(["--data", str(tmp_path), "--only", "loader", "--quick", "--json", str(target)])
    [section] = json.loads(target.read_text())["sections"]
    assert section["failed"]
    assert "FAILED: FileNotFoundError" in capsys.readouterr().out
