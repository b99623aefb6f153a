"""Engines: a cluster gives the same bytes, also when its workers are killed; its loss is one error."""

import io
import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import triptych as tp
from click.testing import CliRunner
from distributed import Client, LocalCluster
from enginejobs import work_slowly
from PIL import Image
from triptych.cli import group
from triptych.errors import EngineFailed, ExtraMissing, InvalidOption
from triptych.fit import palettes, statistics
from triptych.interop import engine as engine_module
from triptych.interop.engine import open_engine

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(5)
IMAGES = RNG.normal(128, 30, (1400, 4, 6, 1)).cumsum(axis=2).clip(0, 255).astype(np.uint8)


@contextmanager
def cluster(n_workers=2, **arguments):
    """Give the address of a cluster of processes, which import Triptych as this process does."""
    path = os.pathsep.join([str(ROOT / "codec"), str(ROOT / "kernels"), str(ROOT / "tests")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        with LocalCluster(
            n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=":0", **arguments
        ) as local:
            yield local


@pytest.fixture(scope="module")
def address():
    with cluster() as local:
        yield f"dask://{local.scheduler_address.removeprefix('tcp://')}"


def wait_for(executor, event):
    """Wait for a job that an event ends."""
    future = executor.submit(time.sleep, 60)
    event()
    future.result()


def write(images, **arguments):
    stream = io.BytesIO()
    with tp.Writer(stream, mode="kmeans", effort="fast", frame_images=50, **arguments) as writer:
        for image in images:
            writer.write(image)
    return stream.getvalue()


@pytest.mark.slow
def test_an_engine_is_an_executor(address, tmp_path):
    with open_engine(address) as executor:
        assert isinstance(executor, Executor)
        assert executor.n_threads == 2
        # Equal jobs are different jobs, and nothing in an argument is taken for a job's name.
        futures = [executor.submit(work_slowly, tmp_path / "log", ("a", ["b"])) for _ in range(4)]
        assert [future.result() for future in futures] == 4 * [(("a", ["b"]), [("a", ["b"])])]
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result()
    assert len((tmp_path / "log").read_text().split()) == 4


@pytest.mark.slow
def test_the_same_bytes_as_here(address, monkeypatch):
    monkeypatch.setattr(palettes, "PIECE_SAMPLES", 1000)
    monkeypatch.setattr(statistics, "PIECE_IMAGES", 300)
    with open_engine(address) as executor:
        assert write(IMAGES[:400], executor=executor) == write(IMAGES[:400])
        for mode, options in (("kmeans", {"n_colors": 16}), ("pca", {"variance": 0.9})):
            assert tp.fit(mode, IMAGES, executor=executor, **options) == tp.fit(mode, IMAGES, **options)


@pytest.mark.slow
def test_errors_of_jobs_come_as_they_are(address):
    noise = RNG.integers(0, 256, (32, 32, 3), np.uint8)
    told = []
    with open_engine(address) as executor:
        for where in ({"threads": 1}, {"executor": executor}):
            with pytest.raises(tp.TooManyColors) as caught:
                tp.encode(noise, mode="kmeans", lossless=True, **where)
            told.append(str(caught.value))
    assert told[0] == told[1]


@pytest.mark.slow
def test_a_scheduler_is_found_by_its_file(address, tmp_path):
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"address": address.replace("dask", "tcp")}))
    with open_engine(f"dask://{path}") as executor:
        assert executor.submit(sum, [1, 2]).result() == 3


@pytest.mark.slow
def test_an_executor_of_a_client_will_do(address):
    with Client(address.replace("dask", "tcp"), set_as_default=False) as client:
        executor = client.get_executor(pure=False)
        assert tp.fit("pca", IMAGES, executor=executor, variance=0.9) == tp.fit("pca", IMAGES, variance=0.9)


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(tmp_path):
    with cluster() as local, open_engine(local.scheduler_address.replace("tcp", "dask")) as executor:
        futures = [executor.submit(work_slowly, tmp_path / "log", number) for number in range(20)]
        futures[3].result()
        os.kill(int((tmp_path / "log").read_text().split()[-1]), signal.SIGKILL)
        assert [future.result()[0] for future in futures] == list(range(20))

        class Killer:
            """Images that come with the death of a worker."""

            def __iter__(self):
                yield from IMAGES[:700]
                victim = executor.submit(os.getpid).result()
                os.kill(victim, signal.SIGKILL)
                yield from IMAGES[700:]

        assert write(Killer(), executor=executor) == write(IMAGES)
        assert tp.fit("kmeans", Killer(), executor=executor, n_colors=8) == tp.fit(
            "kmeans", IMAGES, n_colors=8
        )
        assert tp.fit("pca", Killer(), executor=executor, variance=0.9) == tp.fit("pca", IMAGES, variance=0.9)


@pytest.mark.slow
def test_a_cluster_without_workers(monkeypatch):
    monkeypatch.setattr(engine_module, "PATIENCE_SECONDS", 1.5)
    monkeypatch.setattr(engine_module, "POLL_SECONDS", 0.3)
    monkeypatch.setattr(engine_module, "CONNECT_SECONDS", 3.0)
    with cluster(1) as local:
        address = local.scheduler_address.replace("tcp", "dask")
        with pytest.raises(EngineFailed, match="all its workers are gone"), open_engine(address) as executor:
            wait_for(executor, lambda: local.scale(0))
        with pytest.raises(EngineFailed, match="has no workers"), open_engine(address):
            pass


@pytest.mark.slow
def test_a_cluster_whose_scheduler_goes(monkeypatch):
    monkeypatch.setattr(engine_module, "CONNECT_SECONDS", 3.0)
    with cluster(1) as local:
        address = local.scheduler_address.replace("tcp", "dask")
        with pytest.raises(EngineFailed, match="scheduler is gone"), open_engine(address) as executor:
            wait_for(executor, local.close)
    with pytest.raises(EngineFailed, match=address), open_engine(address):
        pass


@pytest.mark.slow
def test_a_job_that_ends_every_worker():
    with cluster(1) as local:
        address = local.scheduler_address.replace("tcp", "dask")
        with pytest.raises(EngineFailed, match="ended each worker"), open_engine(address) as executor:
            executor.submit(os._exit, 1).result()
        local.wait_for_workers(1, timeout=60)  # a cluster cannot be closed while it starts one anew


@pytest.mark.slow
def test_workers_of_another_version(address, monkeypatch):
    monkeypatch.setattr(engine_module, "__version__", "9.9")
    with pytest.raises(EngineFailed, match=r"another version.*expected 9\.9"), open_engine(address):
        pass


@pytest.mark.slow
def test_the_command_line(address, tmp_path):
    for number, image in enumerate(IMAGES[:90]):
        Image.fromarray(image[:, :, 0]).save(tmp_path / f"{number:03}.png")
    runner = CliRunner()
    for name, engine in (("here", []), ("there", ["--engine", address])):
        for mode in ("kmeans", "pca"):
            done = runner.invoke(
                group, ["fit", mode, str(tmp_path), "-o", str(tmp_path / f"{mode}.{name}"), *engine]
            )
            assert done.exit_code == 0, done.output
    for mode in ("kmeans", "pca"):
        assert (tmp_path / f"{mode}.here").read_bytes() == (tmp_path / f"{mode}.there").read_bytes()


@pytest.mark.parametrize(
    "address", ["", "dask://", "dask://host", "dask://:80", "dask://host:port", "ray://host:1", "host:1"]
)
def test_addresses_that_are_none(address):
    with pytest.raises(InvalidOption, match="dask://HOST:PORT or dask:///PATH"):
        open_engine(address)


def test_a_scheduler_file_that_is_not_there(tmp_path):
    with pytest.raises(EngineFailed, match="there is no file"):
        open_engine(f"dask://{tmp_path}/none.json")


@pytest.mark.parametrize(
    "text", ['{"addr', "{}", "[]", '{"address": 5}', '{"address": "nowhere"}'], ids=range(5)
)
def test_a_file_of_no_scheduler(tmp_path, text):
    path = tmp_path / "scheduler.json"
    path.write_text(text)
    with pytest.raises(EngineFailed, match=str(path)), open_engine(f"dask://{path}"):
        pass


@pytest.mark.parametrize("address", ["5", "tcp://127.0.0.1:1"])
def test_no_thread_is_left_without_a_connection(tmp_path, monkeypatch, address):
    monkeypatch.setattr(engine_module, "CONNECT_SECONDS", 0.5)
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"address": address}))
    before = threading.enumerate()
    with pytest.raises(EngineFailed, match=str(path)), open_engine(f"dask://{path}"):
        pass
    assert [thread for thread in threading.enumerate() if thread not in before] == []


def test_dask_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ExtraMissing, match=r"triptych\[dask\]"):
        open_engine("dask://host:1")
