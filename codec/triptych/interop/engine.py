"""Engines: clusters that run jobs, as a `concurrent.futures.Executor`. The one that is known is Dask.

`open_engine("dask://host:port")` connects to a scheduler that runs, and gives what `Writer`, `encode` and
`fit` take as `executor`. A worker that is killed loses no job, as the scheduler gives what it had to others,
and none is counted twice, as each job has one result. What goes wrong with the cluster comes out of the
`with` block as one `EngineFailed`; errors of the jobs come as they are. Nothing here starts or stops workers.
"""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, ParamSpec, TypeVar, cast

from triptych import __version__
from triptych.errors import EngineFailed, ExtraMissing, InvalidOption

__all__ = ["Engine", "open_engine"]

P = ParamSpec("P")
T = TypeVar("T")

CONNECT_SECONDS = 30.0
"""How long the scheduler, and then a first worker, is waited for."""
PATIENCE_SECONDS = 60.0
"""How long a cluster may be without any worker: one that restarts is back by then."""
POLL_SECONDS = 1.0
_SCHEME = "dask://"
_FORMS = "dask://HOST:PORT or dask:///PATH/OF/scheduler.json"


class Engine(Executor):
    """Runs jobs on the workers of a Dask client.

    Attributes
    ----------
    n_threads : int
        Threads of all workers when it was opened: as many jobs keep it busy.
    """

    def __init__(self, client: Any, n_threads: int) -> None:
        self.n_threads = n_threads
        # Without pure=False, jobs would be hashed, and equal ones taken for one.
        self._executor = client.get_executor(pure=False)

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start a job; functions, arguments and results must be what pickle can send."""
        # Dask looks into lists and tuples for results of other jobs; into bytes it does not look.
        job = pickle.dumps((function, args, kwargs), protocol=5)
        return cast("Future[T]", self._executor.submit(_run, job))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End it; the cluster goes on."""
        self._executor.shutdown(wait=wait and not cancel_futures)


def _failed(address: str, why: object) -> EngineFailed:
    return EngineFailed(f"engine {address}: {why}", options=("engine",))


def _run(job: bytes) -> Any:
    """Do a job; runs on a worker."""
    function, args, kwargs = pickle.loads(job)
    return function(*args, **kwargs)


def open_engine(address: str) -> AbstractContextManager[Engine]:
    """Connect to a cluster, for a `with` block.

    Parameters
    ----------
    address : str
        `dask://HOST:PORT`: of a Dask scheduler. `dask:///PATH/scheduler.json`: the scheduler that wrote this
        file (`dask scheduler --scheduler-file`).

    Returns
    -------
    context manager
        Gives an `Engine`, an Executor. The connection ends with the block; workers and scheduler go on.

    Raises
    ------
    InvalidOption
        The address has another form.
    ExtraMissing
        Dask is not installed here.
    EngineFailed
        The cluster is not there, has no workers, or has workers without this version of Triptych; inside the
        block: its scheduler or all its workers are gone, or a job ended each worker that tried it.

    Examples
    --------
    >>> open_engine("ray://head:10001")
    Traceback (most recent call last):
    ...
    triptych.errors.InvalidOption: engine 'ray://head:10001' is none that is known: dask://HOST:PORT or \
dask:///PATH/OF/scheduler.json
    """
    place = address.removeprefix(_SCHEME)
    host, _, port = place.rpartition(":")
    if place == address or not (place.startswith("/") or (host and port.isdecimal())):
        raise InvalidOption(f"engine {address!r} is none that is known: {_FORMS}", options=("engine",))
    try:
        import distributed
    except ImportError as error:
        raise ExtraMissing("engine dask:// needs Dask: pip install 'triptych[dask]'") from error
    return _open_dask(
        distributed, address, _read_address(place) if place.startswith("/") else f"tcp://{place}"
    )


def _read_address(path: str) -> str:
    """Give the address in a scheduler's file. The client would wait for a file, and take any for one."""
    try:
        address = json.loads(Path(path).read_bytes())["address"]
    except FileNotFoundError:
        raise _failed(_SCHEME + path, f"there is no file {path}") from None
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise _failed(_SCHEME + path, f"{path} is no file of a scheduler ({error})") from error
    return str(address)


@contextmanager
def _open_dask(distributed: Any, address: str, where: str) -> Iterator[Engine]:
    import dask

    with ExitStack() as stack:
        # Jobs carry their pixels: were these put on a worker first, they would be lost with it.
        stack.enter_context(dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}))
        try:
            client = stack.enter_context(_connect(distributed, where))
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
            _check_versions(client)
        except TimeoutError:
            raise _failed(address, "it has no workers") from None
        except (OSError, ValueError) as error:
            raise _failed(address, error) from error
        except EngineFailed as error:
            raise _failed(address, error) from None
        engine = Engine(client, sum(client.nthreads().values()))
        without_workers = threading.Event()
        try:
            with _watching(client, engine, without_workers):
                yield engine
        except distributed.KilledWorker as error:
            cause = f"a job ended each worker that tried it, perhaps for want of memory ({error})"
            raise _failed(address, cause) from error
        except (CancelledError, distributed.client.ClosedClientError, RuntimeError) as error:
            if without_workers.is_set():
                raise _failed(address, "all its workers are gone") from error
            if isinstance(error, RuntimeError):
                raise
            raise _failed(address, "its scheduler is gone") from error
        finally:
            engine.shutdown(cancel_futures=True)


def _connect(distributed: Any, where: str) -> Any:
    """Give a client of a scheduler, or raise and leave nothing behind.

    Dask leaves the event loop of a client that could not connect to the garbage collector. Where that runs in
    the thread of the next client's loop, both wait for one lock until Dask's assertion fails, 10 s later.
    """

    class Client(distributed.Client):  # type: ignore[misc]  # Dask has no types
        def start(self, **kwargs: Any) -> None:
            try:
                super().start(**kwargs)
            except BaseException:
                self.close()
                self._loop_runner.stop()
                raise

    return Client(where, timeout=CONNECT_SECONDS, set_as_default=False)


def _check_versions(client: Any) -> None:
    """Refuse workers whose results could differ."""

    def version() -> str | None:  # sent by value, as a worker may have nothing of ours
        try:
            import triptych
        except ImportError:
            return None
        return triptych.__version__

    for worker, found in client.run(version).items():
        if found != __version__:
            raise EngineFailed(
                f"worker {worker} has another version of Triptych", expected=__version__, got=found
            )


@contextmanager
def _watching(client: Any, engine: Engine, without_workers: threading.Event) -> Iterator[None]:
    """End the jobs under way when there are no workers for too long: Dask itself waits for ever."""
    stop = threading.Event()

    def watch() -> None:
        since = monotonic()
        while not stop.wait(POLL_SECONDS):
            try:
                if client.nthreads():
                    since = monotonic()
            except Exception:  # the scheduler is gone, which ends the jobs too
                continue
            if monotonic() - since > PATIENCE_SECONDS:
                without_workers.set()
                engine.shutdown(cancel_futures=True)
                return

    thread = threading.Thread(target=watch, name="triptych-engine", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(2 * POLL_SECONDS)
