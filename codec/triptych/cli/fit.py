"""`triptych fit`: images in, a dictionary out."""

from __future__ import annotations

import math
from typing import Any

import click

from triptych.cli import options as opt
from triptych.cli.console import cold_kernel_notice, plural, print_json, progress
from triptych.cli.failures import Failures, UsageFailure, naming
from triptych.cli.inputs import collect_images, load_all
from triptych.cli.outputs import STDOUT, stream_target


@click.command("fit")
@click.argument("mode", metavar="kmeans")
@click.argument("images", nargs=-1, metavar="IMAGE...")
@click.option("-o", "--output", required=True, metavar="BOOK.tych", help="The dictionary; - is stdout.")
@opt.filelist_option
@opt.force_option
@opt.color_options
@opt.threads_option
@opt.json_option
def fit_command(
    mode: str,
    images: tuple[str, ...],
    output: str,
    filelist: str | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Learn a dictionary that many images share: for kmeans, a palette.

    Prints the WCSS, the sum of squared distances of all pixels to their nearest colour.
    """
    if as_json and output == STDOUT:
        raise UsageFailure("--json and -o - both write to stdout")
    inputs = collect_images(images, filelist)
    target = stream_target(output, force)
    from triptych.fit import fit
    from triptych.options import make_options
    from triptych.sink import open_sink

    given = opt.given_options(**options)
    make_options(given)
    failures = Failures()
    n_good = 0

    def pixels() -> Any:
        nonlocal n_good
        for _, picture in progress(load_all(inputs, failures), "images", len(inputs)):
            n_good += 1
            yield picture.pixels

    with cold_kernel_notice(), naming(output):
        pictures = pixels()
        first = next(pictures, None)
        if first is None:
            failures.exit(0)
        book = fit(mode, _chain(first, pictures), **given)
        sink = open_sink(target)
        try:
            sink.write(book.to_bytes())
            sink.close()
        except BaseException:
            sink.abort()
            raise
    facts = {"output": output, "id": book.id, "kind": book.kind, "bytes": len(book.to_bytes())} | book.params
    if as_json:
        print_json(facts | {"failed": failures.names})
    elif output != STDOUT:
        mean = book.params["wcss"] / book.params["pixels"]
        psnr = f"{10 * math.log10(255**2 * 3 / mean):.2f} dB" if mean else "exact"
        click.echo(
            f"{output}: {plural(book.params['n_colors'], 'colour')} from "
            f"{plural(book.params['images'], 'image')}, "
            f"{book.params['pixels']:,} pixels\n"
            f"  WCSS {book.params['wcss']:,.1f}, {mean:.4g} a pixel ({psnr})\n"
            f"  id {book.id}"
        )
    failures.exit(n_good)


def _chain(first: Any, rest: Any) -> Any:
    yield first
    yield from rest
