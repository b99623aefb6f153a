"""`triptych encode`: images in, a stream out."""

from __future__ import annotations

import glob
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from triptych.cli import options as opt
from triptych.cli.classes import Classes
from triptych.cli.collection import Collection, select_inputs, weigh_collection
from triptych.cli.console import cold_kernel_notice, print_json, say
from triptych.cli.failures import UsageFailure, naming
from triptych.cli.inputs import collect_images
from triptych.cli.outputs import STDOUT, stream_target
from triptych.cli.pictures import STDIN
from triptych.cli.summary import Summary
from triptych.cli.usage import as_typed

if TYPE_CHECKING:
    from triptych.dictionary import Dictionary
    from triptych.limits import Limits

_STREAM_SUFFIX = ".tych"


@click.command("encode")
@click.argument("images", nargs=-1, metavar="IMAGE...")
@click.option("-o", "--output", metavar="OUT.tych", help="The stream; - is stdout.")
@opt.filelist_option
@opt.null_option
@opt.force_option
@opt.all_frames_option
@click.option("--append", is_flag=True, help="Continue the stream at OUT.")
@click.option("--resume", is_flag=True, help="Continue the stream at OUT, and skip images that it has.")
@click.option("--shard", type=opt.parse_shard, metavar="I/N", help="Only the I-th of N runs of the inputs.")
@click.option("--engine", metavar="ADDRESS", help="Encode on a cluster: dask://HOST:PORT. -j is for reading.")
@click.option("--mode", metavar="MODE", help="kmeans, pca, ae, gan, or auto (the default).")
@click.option(
    "--label-folders", is_flag=True, help="Label each image with the number of its folder, by name from 0."
)
@click.option(
    "--per-image",
    is_flag=True,
    help="Mode auto: weigh each image alone, not by others like it.",
)
@opt.shared_options
@click.option("--tune", type=click.Choice(["visual", "psnr"]), help="PCA: for eyes (the default), or PSNR.")
@click.option("--dither", is_flag=True, default=None, help="k-means: Floyd-Steinberg.")
@click.option("--lossless", is_flag=True, default=None, help="Exact (k-means), or the image fails.")
@click.option(
    "--target-size", type=opt.parse_size, metavar="BYTES", help="Bytes for each image: 20k, 1M, 64Ki."
)
@click.option("-D", "--dictionary", metavar="DICT", help="What the images share: file, id or name.")
@click.option("--embed/--no-embed", default=None, help="Put the dictionary into the stream, or only name it.")
@click.option("--frame-images", type=opt.integer(1), metavar="N", help="Images in one frame.")
@opt.limits_option
@opt.threads_option
@opt.metadata_option
@click.option("--quiet", is_flag=True, help="Say nothing but what was lost, left out or failed.")
@click.option("-v", "--verbose", is_flag=True, help="Say what became of each image, and of all; in JSON too.")
@opt.json_option
def encode_command(
    images: tuple[str, ...],
    output: str | None,
    filelist: str | None,
    is_null_separated: bool,
    force: bool,
    all_frames: bool,
    append: bool,
    resume: bool,
    shard: tuple[int, int] | None,
    engine: str | None,
    dictionary: str | None,
    per_image: bool,
    label_folders: bool,
    limits: Limits,
    threads: int,
    metadata: bool,
    quiet: bool,
    verbose: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Encode images into a stream.

    IMAGE is a file, a directory (the image files in it and below, sorted), a pattern, or - for stdin. Keys
    are file names without suffix, paths below a directory where one is given. A single image gets no key,
    unless with --append, --resume or --all-frames.

    With --all-frames each frame of an animation, page of a TIFF or size of an icon is an image, with the key
    NAME/0001 for the first one of NAME.gif, NAME/0002 for the next; frames are whole pictures, and keep their
    times. `triptych decode` makes animations of them again.

    The stream is OUT.tych, or the last name where that ends in .tych. Of one file or directory that is named
    alone, it is beside it: photo.png becomes photo.tych. A file that is there is not overwritten (--force).

    A run with --resume can be stopped in any way, and called again: images whose keys the stream has are
    skipped. Call it with the same inputs: keys are as short as the inputs allow, so with other inputs an
    image may have another key, and be stored twice. What is written stands under the name OUT from the first
    frame on, each frame as soon as it is encoded, and is synced to the disk every 10 seconds.

    In mode auto an image of at most 256 colours is exact, whatever the others are. Of more, some of the
    images are tried under the panels that could serve them, and the one that meets the target in the fewest
    bytes (without a target: what PCA shows at the quality) takes all of those. --target-psnr and
    --target-size ask for loss in all images, -q in grey ones too: then a lossy stream is taken where it is
    clearly smaller, by a quarter, than the exact one. `triptych info` says what was chosen and why. A
    dictionary is for all images that it suits; the others are chosen for as without it.

    With --shard each of N machines encodes its own part of the same inputs; cat of the N streams, in order,
    holds what one run would.

    With --label-folders, as data for training often lie: the directories in a directory that is given are
    classes, numbered from 0 by name as torchvision's ImageFolder does, and an image's label is the number of
    the one that it lies in or below. Of files that are named, and directories without others, it is the
    directory that they lie in. The names are in the stream's metadata, as "classes".

    Of a directory, files whose names are not those of images, and hidden ones, are left out, and a line says
    how many; links are followed. What is named is read, whatever its name.
    """
    if output is None:
        images, output = _find_output(images, has_list=filelist is not None)
    if as_json and output == STDOUT:
        raise UsageFailure(f"--json and {as_typed('output')} - both write to stdout")
    if quiet and verbose:
        raise UsageFailure(f"--quiet and {as_typed('verbose')} contradict each other")
    if resume:
        for given, name in (
            (append, "--append"),
            (force, as_typed("force")),
            (output == STDOUT, f"{as_typed('output')} -"),
        ):
            if given:
                raise UsageFailure(f"--resume continues the stream at OUT, and does not go with {name}")
    from triptych.options import make_options

    given_options = opt.given_options(limits=limits, **options)
    make_options(given_options)  # usage errors come before work
    inputs = collect_images(images, filelist, limits, is_null_separated=is_null_separated)
    is_named = append or resume or (all_frames and inputs[0].path != STDIN)
    if len(inputs) == 1 and not (is_named or os.path.isdir(images[0] if images else "")):
        inputs = inputs.without_keys()
    target = stream_target(
        output, force, append=append or resume, inputs=(*inputs.paths, filelist, dictionary)
    )
    if len(inputs) > 1 and options["target_size"] is not None and options["frame_images"] is not None:
        raise UsageFailure("--frame-images: with --target-size, each image has a frame of its own")
    is_told = not quiet and (verbose or sys.stderr.isatty())
    summary = Summary(is_verbose=verbose) if is_told else None
    with cold_kernel_notice(is_quiet=quiet), naming("stdout" if output == STDOUT else output):
        book, about = _load(dictionary, limits, options["mode"]), None
        is_auto = given_options.get("mode", "auto") == "auto"
        chooser = None
        if is_auto and len(inputs) > 1 and not per_image:
            chooser, about = weigh_collection(inputs, given_options, book)
        classes = None
        if label_folders:
            if any(each.path == STDIN for each in inputs):
                raise UsageFailure("--label-folders: stdin lies in no folder")
            classes = Classes(inputs)
        inputs, n_skipped, stored = select_inputs(inputs, shard, output if resume else None)
        job = Collection(
            inputs,
            target,
            given_options,
            book,
            threads=threads,
            metadata=metadata,
            all_frames=all_frames,
            append=append,
            resume=resume,
            is_part=shard is not None,
            engine=engine,
            about=about,
            chooser=chooser,
            classes=classes,
            stored=stored,
            summary=summary,
            is_quiet=quiet,
        )
        meter = job.encode()
    if as_json:
        report: dict[str, Any] = {
            "output": output,
            "images": job.n_written,
            "skipped": n_skipped + job.n_skipped,
        }
        report |= {
            "left_out": inputs.left_out.counts(),
            "frames_left_out": job.failures.frames_left_out,
        }
        report |= {"failed": job.failures.names} | meter.figures(job.n_written)
        if Path(output).is_file() and (job.n_written or job.is_part or not job.failures.names):
            report["bytes"] = Path(output).stat().st_size
        print_json(report | (summary.figures() if summary is not None else {}))
    if summary is not None and job.n_written:
        say(summary.line("stdout" if output == STDOUT else output, job.n_bytes), err=True)
    job.failures.exit(job.n_written)


def _find_output(images: tuple[str, ...], *, has_list: bool) -> tuple[tuple[str, ...], str]:
    """Give the inputs and the output where no -o says it."""
    if images and images[-1].lower().endswith(_STREAM_SUFFIX) and (len(images) > 1 or has_list):
        return images[:-1], images[-1]
    if len(images) == 1 and not has_list and os.path.exists(images[0]):
        path = Path(os.path.abspath(images[0]) if os.path.isdir(images[0]) else images[0])
        name = path.name if path.is_dir() else path.stem
        return images, str(path.with_name(name + _STREAM_SUFFIX))
    if not images and not has_list:
        raise UsageFailure("IMAGE is missing; see `triptych encode --help`")
    if len(images) == 1 and not has_list and not glob.has_magic(images[0]) and images[0] != STDIN:
        with naming(images[0]):
            os.stat(images[0])
    raise UsageFailure("name the stream: -o OUT.tych, or OUT.tych as the last name")


def _load(dictionary: str | None, limits: Limits, mode: str | None) -> Dictionary | None:
    from triptych.dictionary import resolve_dictionary

    if dictionary is None:
        return None
    with naming(f"{as_typed('dictionary')} {dictionary}"):
        return resolve_dictionary(dictionary, limits, mode or "auto")
