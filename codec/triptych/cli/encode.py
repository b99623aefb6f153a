"""`triptych encode`: images in, a stream out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from triptych.cli import options as opt
from triptych.cli.console import cold_kernel_notice, print_json, progress
from triptych.cli.failures import Failures, UsageFailure, naming
from triptych.cli.inputs import Input, Picture, collect_images, load_all
from triptych.cli.outputs import STDOUT, stream_target
from triptych.errors import (
    EncodeError,
    InvalidImage,
    LimitExceeded,
    TargetUnreachable,
    TooManyColors,
)
from triptych.options import make_options

if TYPE_CHECKING:
    from triptych.dictionary import Dictionary
    from triptych.interop.pictures import Metadata
    from triptych.writer import Writer

_OF_ONE_IMAGE = (InvalidImage, LimitExceeded, TargetUnreachable, TooManyColors)
"""Errors that concern an image, and leave the others alone."""


@click.command("encode")
@click.argument("images", nargs=-1, metavar="IMAGE...")
@click.option("-o", "--output", required=True, metavar="OUT.tych", help="The stream; - is stdout.")
@opt.filelist_option
@opt.force_option
@click.option("--append", is_flag=True, help="Continue the stream at OUT.")
@click.option("--mode", metavar="MODE", help="kmeans, pca, or auto (the default).")
@opt.shared_options
@click.option("--tune", type=click.Choice(["visual", "psnr"]), help="PCA: for eyes (the default), or PSNR.")
@click.option("--dither", is_flag=True, default=None, help="k-means: Floyd-Steinberg.")
@click.option("--lossless", is_flag=True, default=None, help="Exact (k-means), or the image fails.")
@click.option(
    "--target-size", type=opt.parse_size, metavar="BYTES", help="Bytes for each image: 20k, 1M, 64Ki."
)
@click.option("-D", "--dictionary", metavar="DICT", help="What the images share: file, id or name.")
@click.option("--embed/--no-embed", default=None, help="Put the dictionary into the stream, or only name it.")
@click.option("--frame-images", type=click.IntRange(1), metavar="N", help="Images in one frame.")
@opt.threads_option
@click.option("--metadata/--no-metadata", default=True, help="Carry EXIF, ICC and XMP over (the default).")
@opt.json_option
def encode_command(
    images: tuple[str, ...],
    output: str,
    filelist: str | None,
    force: bool,
    append: bool,
    dictionary: str | None,
    metadata: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Encode images into a stream.

    IMAGE is a file, a directory (the image files in it and below, sorted), a pattern, or - for stdin. Keys
    are file names without suffix, paths below a directory where one is given. A single image gets no key,
    unless it is appended.
    """
    if as_json and output == STDOUT:
        raise UsageFailure("--json and -o - both write to stdout")
    inputs = collect_images(images, filelist)
    if len(inputs) == 1 and not append and not os.path.isdir(images[0] if images else ""):
        inputs = [Input(inputs[0].path, "")]
    target = stream_target(output, force, append=append)
    searched = options["target_size"] is not None or options["target_psnr"] is not None
    if searched and len(inputs) > 1:
        # So that an image that misses its target fails at once and alone.
        if options["frame_images"] is not None:
            raise UsageFailure("--frame-images: with a target, each image has a frame of its own")
        options |= {"frame_images": 1, "threads": 1}
    from triptych.writer import Writer

    failures = Failures()
    with cold_kernel_notice(), naming("stdout" if output == STDOUT else output):
        job = _Job(opt.given_options(**options), dictionary, metadata, failures)
        writer: Writer | None = None
        try:
            for each, picture in progress(load_all(inputs, failures), "images", len(inputs)):
                if not job.accepts(each, picture):
                    continue
                if writer is None:  # only now, so that nothing is written where no image can be read
                    writer = Writer(target, job.dictionary, append=append, **job.options)
                job.write(writer, each, picture)
            if writer is not None and job.n_written:
                writer.close()
        finally:
            if writer is not None:
                writer.abort()  # does nothing after close
    if as_json:
        report = {"output": output, "images": job.n_written, "failed": failures.names}
        if job.n_written and Path(output).is_file():
            report["bytes"] = Path(output).stat().st_size
        print_json(report)
    failures.exit(job.n_written)


class _Job:
    """What is the same for all images."""

    def __init__(
        self, options: dict[str, Any], dictionary: str | None, metadata: bool, failures: Failures
    ) -> None:
        from triptych.options import make_options

        make_options(options)  # usage errors come before work
        self.options = options
        self.dictionary = _load(dictionary)
        self.n_written = 0
        self._metadata = metadata
        self._failures = failures

    def accepts(self, each: Input, picture: Picture) -> bool:
        """Say whether an image can be encoded losslessly, if it has to be; if not, it fails by its name.

        The Writer would find that out only with the whole frame, and leave out the other images with it.
        """
        if not self.options.get("lossless"):
            return True
        from triptych.modes.kmeans import check_lossless

        try:
            check_lossless(picture.pixels, make_options(self.options), self.dictionary)
        except EncodeError as error:
            self._failures.add(each.name, error)
            return False
        return True

    def write(self, writer: Writer, each: Input, picture: Picture) -> None:
        """Write an image; count it, or the failure that is its own."""
        metadata: Metadata = picture.metadata if self._metadata else {}
        try:
            writer.write(picture.pixels, key=each.key or None, **metadata)
        except _OF_ONE_IMAGE as error:
            self._failures.add(each.name, error)
        else:
            self.n_written += 1


def _load(dictionary: str | None) -> Dictionary | None:
    from triptych.dictionary import load_dictionary

    if dictionary is None:
        return None
    with naming(f"dictionary {dictionary}"):
        return load_dictionary(dictionary)
