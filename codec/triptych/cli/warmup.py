"""`triptych warmup`: compile all kernels now."""

from __future__ import annotations

import time

import click


@click.command("warmup")
@click.option(
    "-j", "--processes", type=click.IntRange(0), metavar="N", default=0, help="Processes; 0 is all cores."
)
def warmup_command(processes: int) -> None:
    """Compile all kernels ahead of the first use.

    They are kept in a cache on disk, so this is needed once for each version, user and machine.
    """
    from triptych.parallel import count_cores

    begin = time.perf_counter()
    n_compiled = _warm_up(processes or count_cores())
    seconds = time.perf_counter() - begin
    done = f"compiled {n_compiled} functions" if n_compiled else "all kernels were ready"
    click.echo(f"{done} ({seconds:.1f} s)")


def _warm_up(n_processes: int) -> int:
    from triptych.warmup import warmup

    if n_processes == 1:
        return warmup()
    import signal
    from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
    from multiprocessing import get_context

    # An interrupt reaches all processes: let these end without a word, and this one say what it says.
    with ProcessPoolExecutor(
        n_processes,
        get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_DFL),
    ) as executor:
        try:
            return warmup(executor)
        except BrokenExecutor as error:
            raise ChildProcessError("a process that compiled was ended from outside") from error
