"""`triptych fit`: images in, a dictionary out; or statistics of parts, and of these the dictionary."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from triptych.cli import options as opt
from triptych.cli.collection import select_inputs
from triptych.cli.console import cold_kernel_notice, plural, print_json, progress, say
from triptych.cli.failures import CommandError, Failures, UsageFailure, naming
from triptych.cli.inputs import Input, Inputs, collect_images, open_all
from triptych.cli.outputs import STDOUT, stream_target
from triptych.cli.pictures import STDIN, Picture, Reading
from triptych.cli.usage import as_typed
from triptych.errors import InvalidImage

if TYPE_CHECKING:
    from triptych.dictionary import Dictionary
    from triptych.fit import CollectionStatistics
    from triptych.images import Pixels
    from triptych.limits import Limits

_MODES_OF = (
    dict.fromkeys(("n_colors", "keep"), ("kmeans",))
    | dict.fromkeys(("n_components", "variance", "embed"), ("pca",))
    | dict.fromkeys(("dictionary", "core_seconds", "checkpoint"), ("ae", "gan"))
)
"""Options that other modes would not look at."""


@click.command("fit")
@click.argument("mode", metavar="kmeans|pca|ae|gan")
@click.argument("images", nargs=-1, metavar="IMAGE...")
@click.option("-o", "--output", required=True, metavar="BOOK.tych", help="The dictionary; - is stdout.")
@opt.filelist_option
@opt.null_option
@opt.force_option
@opt.all_frames_option
@click.option("--stats-only", is_flag=True, help="kmeans, pca: write statistics of the images, to be merged.")
@click.option("--merge", is_flag=True, help="IMAGE are files that --stats-only wrote, in order.")
@click.option(
    "--shard",
    type=opt.parse_shard,
    metavar="I/N",
    help="With --stats-only: the I-th of N runs of the inputs.",
)
@click.option("--engine", metavar="ADDRESS", help="Count on a cluster: dask://HOST:PORT. -j is for reading.")
@opt.shared_options
@click.option(
    "--variance",
    type=opt.number("above 0 and at most 1", lambda value: 0 < value <= 1),
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
    type=opt.number("above 0", opt.above_zero),
    metavar="S",
    help="ae, gan: how long networks train, in seconds of processor time; 900 if not given.",
)
@click.option(
    "--checkpoint",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="ae, gan: keep the state of training here; the same command goes on from it.",
)
@opt.limits_option
@opt.threads_option
@opt.json_option
def fit_command(
    mode: Any,  # `fit` refuses what is none
    images: tuple[str, ...],
    output: str,
    filelist: str | None,
    is_null_separated: bool,
    force: bool,
    all_frames: bool,
    stats_only: bool,
    merge: bool,
    shard: tuple[int, int] | None,
    engine: str | None,
    dictionary: str | None,
    core_seconds: float | None,
    checkpoint: str | None,
    limits: Limits,
    threads: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Learn a dictionary that many images share.

    For kmeans a palette; prints the WCSS, the sum of squared distances of all pixels to their nearest colour.
    For pca the components of images of one size; prints how much of the variance they hold.
    For ae networks, and for gan a second, more realistic decoder for networks: prints bytes and PSNR of
    images that were held back, every five minutes.

    On N machines without an engine: fit MODE IMAGE... --stats-only --shard 1/N -o 1.stats on the first, and
    so on; then fit MODE --merge 1.stats 2.stats ... -o BOOK.tych makes the dictionary that one run makes, and
    takes the options for it. --merge with --stats-only makes one file of statistics of several.
    """
    if as_json and output == STDOUT:
        raise UsageFailure(f"--json and {as_typed('output')} - both write to stdout")
    given = opt.given_options(**options)
    of_networks = opt.given_options(dictionary=dictionary, core_seconds=core_seconds, checkpoint=checkpoint)
    for option in given | of_networks:
        modes = _MODES_OF.get(option, (mode,))
        if mode not in modes:
            raise UsageFailure(f"{as_typed(option)}: only with {' or '.join(modes)}, not with {mode}")
    for name, is_given in (("--stats-only", stats_only), ("--merge", merge), ("--engine", engine)):
        if is_given and mode in ("ae", "gan"):
            raise UsageFailure(f"{name}: networks are learned from the images themselves, on one machine")
    if stats_only and given:
        raise UsageFailure(
            f"--stats-only: {as_typed(next(iter(given)))} goes with --merge, where they are used"
        )
    if shard is not None and not stats_only:
        raise UsageFailure("--shard: only with --stats-only, as a dictionary is of all images")
    if merge:
        refused = (
            ("--filelist", filelist),
            ("-0", is_null_separated or None),
            ("--engine", engine),
            ("--shard", shard),
        )
        for name, value in refused:
            if value is not None:
                raise UsageFailure(f"--merge: takes files of statistics, and no {name}")
        if not images:
            raise UsageFailure("--merge: name files that --stats-only wrote")
    from triptych.options import make_options

    make_options(given)
    inputs = Inputs([], [])
    if not merge:
        found = collect_images(images, filelist, limits, is_null_separated=is_null_separated)
        inputs, *_ = select_inputs(found, shard, None)
    read = images if merge else inputs.paths
    target = stream_target(output, force, inputs=(*read, filelist, dictionary))
    from triptych.fit import CORE_SECONDS, CollectionStatistics, fit
    from triptych.sink import open_sink

    if mode in ("ae", "gan"):
        given |= of_networks
        given["say"] = _say
        click.echo(
            f"fit {mode}: {core_seconds or CORE_SECONDS:,g} core-seconds in all (--core-seconds); "
            "a line a minute says how far it is",
            err=True,
        )
    failures = Failures()
    n_good = 0
    taken = None  # the image that was asked for last: what does not fit the others is refused at once

    def pixels(loaded: Iterable[tuple[Input, Picture]]) -> Iterator[Pixels]:
        nonlocal n_good, taken
        for each, picture in progress(loaded, "images", None if all_frames else len(inputs)):
            n_good, taken = n_good + 1, each.name
            yield picture.pixels
        taken = None

    with (
        cold_kernel_notice(),
        naming(output),
        _workers(engine, threads) as workers,
        open_all(inputs, failures, threads, Reading(all_frames=all_frames)) as loaded,
    ):
        pictures: Iterator[Pixels] = pixels(loaded)
        if inputs:
            first = next(pictures, None)
            if first is None:
                failures.exit(0)
            else:
                pictures = chain([first], pictures)
        result: CollectionStatistics | Dictionary
        try:
            if merge:
                merged = _merge(mode, images)
                result = merged if stats_only else merged.fit(threads=threads, **given)
            elif stats_only:
                result = CollectionStatistics(mode)
                result.update(pictures, limits=limits, **workers)
            else:
                result = fit(mode, pictures, limits=limits, **given, **workers)
        except InvalidImage as error:
            raise CommandError(output if taken is None else taken, error) from error
        data = result.to_bytes()
        sink = open_sink(target)
        try:
            sink.write(data)
            sink.close()
        except BaseException:
            sink.abort()
            raise
    facts: dict[str, Any] = {"output": output, "bytes": len(data)}
    if isinstance(result, CollectionStatistics):
        facts |= {"mode": mode, "images": result.n_images}
        text = f"statistics for {mode} of {plural(result.n_images, 'image')}, {len(data):,} bytes"
    else:
        facts |= {"id": result.id, "kind": result.kind} | result.params | dict(result.report)
        text = f"{_summary(result)}\n  id {result.id}"
    if as_json:
        left_out = {} if merge else {"left_out": inputs.left_out.counts()}
        print_json(facts | left_out | {"failed": failures.names})
    elif output != STDOUT:
        head, *more = text.split("\n")
        say(f"{output}: {head}", *more)
    failures.exit(n_good)


@contextmanager
def _workers(engine: str | None, threads: int) -> Iterator[dict[str, Any]]:
    """Give what `fit` is told of those who count."""
    if engine is None:
        yield {"threads": threads}
        return
    from triptych.interop.engine import open_engine

    with open_engine(engine) as executor:
        yield {"threads": executor.n_threads, "executor": executor}


def _merge(mode: Any, paths: Sequence[str]) -> CollectionStatistics:
    """Merge files of statistics in order; two are in memory at once."""
    from triptych.fit import CollectionStatistics

    total = CollectionStatistics(mode)
    for path in paths:
        with naming(path):
            data = sys.stdin.buffer.read() if path == STDIN else Path(path).read_bytes()
            part = CollectionStatistics.from_bytes(data)
            if part.mode != mode:
                raise UsageFailure(f"{path}: statistics for {part.mode}, and this is fit {mode}")
            total.merge(part)
    return total


def _say(figures: dict[str, float]) -> None:
    """Print a line of training: how far it is, then what it has come to."""
    spent, steps, images = (round(figures.pop(name)) for name in ("core_seconds", "steps", "images"))
    more = "".join(f", {name} {value:,.6g}" for name, value in figures.items())
    click.echo(f"{spent:,} core-seconds, {steps:,} steps, {images:,} images seen{more}", err=True)


def _summary(book: Dictionary) -> str:
    from triptych.psnr import psnr_of  # which brings numpy

    params, size = book.params, len(book.to_bytes())
    images = plural(params.get("images", 0), "image")
    if book.kind == "palette":
        mean = params["wcss"] / params["pixels"]
        psnr = f"{psnr_of(mean, 3):.2f} dB" if mean else "exact"
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
    costs = {name: cost for name, cost in book.weighed.items() if cost is not None}
    said = ", ".join(f"{name} {cost:,}" for name, cost in costs.items())
    text += f"\n  bytes an image at {book.weighed_psnr} dB, dictionary included: {said}"
    if min(costs, key=costs.__getitem__) == "kmeans":
        text += f"\n  fewest without a dictionary: encode --mode kmeans --target-psnr {book.weighed_psnr}"
    return text
