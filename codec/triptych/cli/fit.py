"""`triptych fit`: images in, a dictionary out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from triptych.cli import options as opt
from triptych.cli.console import cold_kernel_notice, plural, print_json, progress
from triptych.cli.failures import Failures, UsageFailure, naming
from triptych.cli.inputs import collect_images, load_all
from triptych.cli.outputs import STDOUT, stream_target

if TYPE_CHECKING:
    from triptych.dictionary import Dictionary


@click.command("fit")
@click.argument("mode", metavar="kmeans|pca|ae|gan")
@click.argument("images", nargs=-1, metavar="IMAGE...")
@click.option("-o", "--output", required=True, metavar="BOOK.tych", help="The dictionary; - is stdout.")
@opt.filelist_option
@opt.force_option
@opt.shared_options
@click.option(
    "--variance",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="0.98",
    help="PCA: as many components as hold this share of the variance.",
)
@click.option(
    "--embed/--no-embed", default=None, help="PCA: the dictionary is to travel in a stream, or to serve many."
)
@click.option(
    "-D",
    "--dictionary",
    metavar="DICT",
    help="gan: the networks that get a second decoder. ae: networks to train further.",
)
@click.option(
    "--core-seconds",
    type=click.FloatRange(0, min_open=True),
    default=None,
    metavar="S",
    help="ae, gan: how long networks train, in seconds of processor time; 900 if not given.",
)
@click.option(
    "--checkpoint",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="ae, gan: keep the state of training here; the same command goes on from it.",
)
@opt.threads_option
@opt.json_option
def fit_command(
    mode: str,
    images: tuple[str, ...],
    output: str,
    filelist: str | None,
    force: bool,
    dictionary: str | None,
    core_seconds: float | None,
    checkpoint: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Learn a dictionary that many images share.

    For kmeans a palette; prints the WCSS, the sum of squared distances of all pixels to their nearest colour.
    For pca the components of images of one size; prints how much of the variance they hold.
    For ae networks, and for gan a second, more realistic decoder for networks: prints bytes and PSNR of
    images that were held back, every five minutes.
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
    if mode in ("ae", "gan"):
        given |= opt.given_options(dictionary=dictionary, core_seconds=core_seconds, checkpoint=checkpoint)
        given["say"] = _say
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
        print_json(facts | dict(book.report) | {"failed": failures.names})
    elif output != STDOUT:
        click.echo(f"{output}: {_summary(book)}\n  id {book.id}")
    failures.exit(n_good)


def _say(figures: dict[str, float]) -> None:
    """Print a line of training."""
    click.echo(", ".join(f"{name} {value:,.6g}" for name, value in figures.items()), err=True)


def _summary(book: Dictionary) -> str:
    params, size = book.params, len(book.to_bytes())
    images = plural(params.get("images", 0), "image")
    if book.kind == "palette":
        mean = params["wcss"] / params["pixels"]
        psnr = f"{10 * math.log10(255**2 * 3 / mean):.2f} dB" if mean else "exact"
        return (
            f"{plural(params['n_colors'], 'colour')} from {images}, {params['pixels']:,} pixels\n"
            f"  WCSS {params['wcss']:,.1f}, {mean:.4g} a pixel ({psnr})"
        )
    if book.kind == "network":
        return f"networks from {images}, {params['core_seconds']:,} core-seconds, {size:,} bytes"
    if book.kind == "components":
        symmetry = ", mirror-symmetric" if params["mirrored"] else ""
        curve = ", ".join(f"{share:.1%}" for share in book.explained_variance_ratio_[:6])
        text = (
            f"{plural(params['n_components'], 'component')} from {images}{symmetry}, {size:,} bytes\n"
            f"  {params['variance']:.2%} of the variance (the first: {curve})"
        )
    elif book.kind == "spectral":
        curve = ", ".join(f"{share:.1%}" for share in book.explained_variance_ratio_[:6])
        text = (
            f"{plural(params['n_components'], 'component')} of {params['bands']} bands from {images}, "
            f"{size:,} bytes\n  {params['variance']:.2%} of the variance (the first: {curve})"
        )
    elif book.chosen == "photo":
        text = "the shipped dictionary 'photo' serves best: encode with --mode pca needs no other"
    else:
        text = f"a block basis, {size:,} bytes"
    if "weighed" not in book.report:
        return text
    costs = (f"{name} {cost:,}" for name, cost in book.weighed.items() if cost is not None)
    return f"{text}\n  bytes an image at {book.weighed_psnr} dB, dictionary included: {', '.join(costs)}"


def _chain(first: Any, rest: Any) -> Any:
    yield first
    yield from rest
