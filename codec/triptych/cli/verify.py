"""`triptych verify`: whether streams are whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from triptych.cli import options as opt
from triptych.cli.console import cold_kernel_notice, plural, print_json, say
from triptych.cli.failures import CORRUPT, Failures, cause, complain, is_expected
from triptych.cli.streams import stream_name, stream_source

if TYPE_CHECKING:
    from triptych.limits import Limits


@click.command("verify")
@click.argument("streams", nargs=-1, required=True, metavar="IN.tych...")
@click.option(
    "--level",
    type=click.Choice(["structure", "decode"]),
    default="decode",
    show_default=True,
    help="structure: checksums and frames, needs no dictionary. decode: each image too.",
)
@opt.dictionaries_option
@opt.limits_option
@opt.threads_option
@opt.json_option
def verify_command(
    streams: tuple[str, ...],
    level: Literal["structure", "decode"],
    dictionaries: tuple[str, ...],
    limits: Limits,
    threads: int,
    as_json: bool,
) -> None:
    """Check that streams are whole. All damage is listed, and the exit code is then 3."""
    failures = Failures()
    n_damaged = 0
    with cold_kernel_notice():
        for stream in streams:
            try:
                facts = _verify(stream, level, dictionaries, limits, threads)
            except Exception as error:
                if not is_expected(error):
                    raise
                failures.add(stream_name(stream), error)
                continue
            n_damaged += bool(facts["lost"])
            for start, stop, why in facts["lost"]:
                complain(f"{facts['stream']}: bytes {start} to {stop - 1} are lost: {why}")
            if as_json:
                print_json(facts)
            elif not facts["lost"]:
                say(f"{facts['stream']}: ok ({level}), {plural(facts['images'], 'image')}")
    if n_damaged:
        click.get_current_context().exit(CORRUPT)
    failures.exit(len(streams) - len(failures.names))


def _verify(
    stream: str,
    level: Literal["structure", "decode"],
    dictionaries: tuple[str, ...],
    limits: Limits,
    threads: int,
) -> dict[str, Any]:
    from triptych.verify import verify

    with stream_source(stream) as source:
        report = verify(
            source, level, damage="skip", dictionary=dictionaries or None, limits=limits, threads=threads
        )
    return {
        "stream": stream_name(stream),
        "level": level,
        "images": report.images,
        "frames": report.frames,
        "dictionaries": report.dictionaries,
        "lost": [[damage.start, damage.stop, cause(damage.error)] for damage in report.damage],
    }
