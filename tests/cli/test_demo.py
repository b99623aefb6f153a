"""`demo` and `warmup`: they do what they say, on a few pictures."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
import triptych as tp
import triptych.demo
from elsewhere import python
from triptych.cli.warmup import _Processes
from triptych.demo import peers
from triptych.warmup import on_compilation, warmup


@pytest.fixture
def quick(monkeypatch):
    """Two of the pictures, each timed once."""
    monkeypatch.setattr(triptych.demo, "_SECONDS", 0.0)
    cases = [case for case in triptych.demo._CASES if case.title.startswith(("icons", "harbour, P"))]
    monkeypatch.setattr(triptych.demo, "_CASES", cases)


def test_table(run, quick, tmp_path):
    text = run("demo", "--save", tmp_path / "out").stdout
    lines = text.splitlines()
    assert max(map(len, lines[:12])) <= 100
    assert "Exact, every decoded pixel compared: icons." in text
    for name in ("icons", "harbour-PCA"):
        pixels = tp.decode(tmp_path / "out" / f"{name}.tych")
        with peers.Image.open(tmp_path / "out" / f"{name}.png") as saved:
            np.testing.assert_array_equal(np.asarray(saved), pixels)


def test_rows_for_machines(run, quick):
    icons, harbour = json.loads(run("demo", "--json").stdout)
    assert (icons["exact"], icons["psnr"], icons["jpeg"]) == (True, None, None)
    assert not harbour["exact"]
    assert harbour["psnr"] > 30
    for row in (icons, harbour):
        assert row["ours"] < row["png"]
        assert row["encode_rate"] > 0


def test_the_shipped_pictures_are_few_and_have_licences():
    folder = triptych.demo._PICTURES
    files = [path for path in folder.iterdir() if path.suffix != ".txt"]
    assert sum(path.stat().st_size for path in files) < 400_000
    text = (folder / "LICENSES.txt").read_text()
    assert all(path.name in text for path in files)
    assert {case.file for case in triptych.demo._CASES} == {path.name for path in files}


def test_peers_are_measured_fairly():
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[2:5, 3:] = (1, 2, 3, 4)
    assert peers.png_bytes(pixels) < 200
    assert peers.lossless_webp_bytes(pixels) < 100
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert peers.bytes_at_psnr("JPEG", noise, 20) < peers.bytes_at_psnr("JPEG", noise, 30)
    assert peers.bytes_at_psnr("WEBP", noise, 90) is None


def test_nothing_is_compiled_after_warmup(run, folder, tmp_path):
    warmup()
    compiled = []
    with on_compilation(lambda: compiled.append(1)):
        for effort in ("fast", "default", "max"):
            run("encode", folder, "-fo", tmp_path / "x.tych", f"--effort={effort}", "-k4")
            run("decode", tmp_path / "x.tych", "-fo", tmp_path / "out")
        run("fit", "kmeans", folder, "-k", 3, "-o", tmp_path / "book.tych")
        run("encode", folder, "-D", tmp_path / "book.tych", "-fo", tmp_path / "x.tych", "-q30", "--dither")
        run("verify", tmp_path / "x.tych")
        noise = np.random.default_rng(1).integers(0, 256, (300, 300, 3), np.uint8)
        peers.Image.fromarray(noise).save(tmp_path / "noise.png")
        run("encode", tmp_path / "noise.png", "-fo", tmp_path / "x.tych")
        run("encode", folder / "a.png", "--target-psnr=20", "-fo", tmp_path / "x.tych")
    assert not compiled
    assert "ready" in run("warmup", "-j1").stdout


def test_a_process_of_warmup_that_is_killed(run):
    before = set(multiprocessing.active_children())

    def kill():
        stop = time.monotonic() + 100
        while time.monotonic() < stop:
            if children := set(multiprocessing.active_children()) - before:
                children.pop().kill()
                break
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        assert "a process that compiled" in run("warmup", "-j2", code=1).stderr
    finally:
        killer.join()
    assert set(multiprocessing.active_children()) <= before


def test_processes_of_warmup_run_jobs():
    with _Processes(2) as executor:
        assert executor.submit(divmod, 7, 2).result() == (3, 1)
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result()


def test_an_interrupt_ends_the_processes_of_warmup():
    begin = time.monotonic()
    with suppress(KeyboardInterrupt), _Processes(2) as executor:
        futures = [executor.submit(time.sleep, 300) for _ in range(3)]
        while len(executor._running) < 2 and time.monotonic() - begin < 100:
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert time.monotonic() - begin < 200
    assert futures[2].cancelled()


@pytest.mark.slow
@pytest.mark.background(75, lambda folder: python("-m", "triptych", "warmup"), before_tests=True)
def test_warmup_in_processes_of_its_own(background):
    """What it compiles no test has to: all of that would come to more than twice the time."""
    assert background.code == 0, background.errors
    assert "compiled" in background.output or "ready" in background.output
