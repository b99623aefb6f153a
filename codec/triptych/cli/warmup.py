"""`triptych warmup`: compile all kernels now, not when they are first needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from triptych.cli import options as opt
from triptych.cli.console import not_kept
from triptych.cli.failures import complain

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

P = ParamSpec("P")
T = TypeVar("T")


@click.command("warmup")
@click.option(
    "-j",
    "--processes",
    type=opt.integer(0),
    metavar="N",
    default=0,
    help="Processes, of which 4 have work; 0 is all cores.",
)
def warmup_command(processes: int) -> None:
    """Compile all kernels ahead of the first use.

    They are kept in a cache on disk, so this is needed once for each version, user and machine: beside the
    package, or in a folder of the user, or in that of NUMBA_CACHE_DIR.
    """
    from triptych.parallel import count_cores
    from triptych.warmup import compile_all

    begin = time.perf_counter()
    n_processes = processes or count_cores()
    if n_processes == 1:
        n_compiled, fault = compile_all(None)
    else:
        with _Processes(n_processes) as executor:
            n_compiled, fault = compile_all(executor)
    seconds = time.perf_counter() - begin
    done = f"compiled {n_compiled} functions" if n_compiled else "all kernels were ready"
    click.echo(f"{done} ({seconds:.1f} s)")
    if n_compiled and fault is not None:
        complain(f"compiled kernels, {not_kept(fault)}")
        click.get_current_context().exit(1)


class _Processes(ThreadPoolExecutor):
    """Runs each job in a process of its own, and ends those that run when it is left.

    A pool of processes (CPython 3.11) waits for ever where one of them dies while another is being started.
    """

    def __init__(self, n_processes: int) -> None:
        super().__init__(n_processes)
        self._running: set[SpawnProcess] = set()

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return super().submit(self._run, function, args, kwargs)

    def _run(self, function: Callable[..., T], args: Sequence[Any], kwargs: dict[str, Any]) -> T:
        from multiprocessing import get_context

        context = get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(sender, function, args, kwargs))
        with receiver:
            with sender:
                process.start()
            self._running.add(process)
            try:
                result: T | Exception = receiver.recv()
            except EOFError:
                raise ChildProcessError("a process that compiled was ended from outside") from None
            finally:
                process.join()
                self._running.discard(process)
        if isinstance(result, Exception):
            raise result
        return result

    def __exit__(self, *error: object) -> None:
        self.shutdown(wait=False, cancel_futures=True)
        for process in [*self._running]:
            process.terminate()
        self.shutdown()


def _work(
    sender: Connection, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> None:
    """Do a job and send its result; runs in a process of its own."""
    import signal

    # An interrupt reaches all processes: let these end without a word, and the first one say what it says.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        sender.send(function(*args, **kwargs))
    except Exception as error:
        sender.send(error)
