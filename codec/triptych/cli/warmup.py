"""`triptych warmup`: compile all kernels now."""

from __future__ import annotations

import time

import click


@click.command("warmup")
def warmup_command() -> None:
    """Compile all kernels ahead of the first use.

    They are kept in a cache on disk, so this is needed once for each version, user and machine.
    """
    from triptych.warmup import warmup

    begin = time.perf_counter()
    n_compiled = warmup()
    seconds = time.perf_counter() - begin
    done = f"compiled {n_compiled} functions" if n_compiled else "all kernels were ready"
    click.echo(f"{done} ({seconds:.1f} s)")
