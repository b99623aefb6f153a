"""`triptych decode`: a stream in, image files out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from triptych.cli import options as opt
from triptych.cli.console import cold_kernel_notice, print_json, progress
from triptych.cli.failures import CORRUPT, CommandError, Failures, UsageFailure, cause, complain, naming
from triptych.cli.folder import Folder
from triptych.cli.grouping import Decoded, each_alone, gather, group_animations, holds_animations
from triptych.cli.outputs import (
    STDOUT,
    binary_stdout,
    names_picture,
    refuse_existing,
    refuse_input,
    write_file,
)
from triptych.cli.streams import select_images, stream_name, stream_source
from triptych.cli.usage import as_typed
from triptych.urls import is_url, show_url

if TYPE_CHECKING:
    from triptych.interop.saving import File
    from triptych.limits import Limits
    from triptych.reader import Reader

_ARRAY_SUFFIX = ".npy"
_STREAM = "TRIPTYCH"
"""What Pillow writes too where our plugin is registered, and is no picture here."""
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    # Where a format is lossy by default, the pixels that were decoded are what matters.
    "WEBP": {"lossless": True, "exact": True},
    "JPEG": {"quality": 95, "subsampling": 0},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
}


@click.command("decode")
@click.argument("stream", metavar="IN.tych")
@click.option("-o", "--output", required=True, metavar="DIR|FILE|-", help="Where to; - is stdout.")
@click.option("--format", "format_name", metavar="FORMAT", help="png (the default), webp, tiff, npy, ...")
@click.option(
    "--components",
    "n_components",
    type=opt.integer(1),
    metavar="N",
    help="Show images by their first N components only (PCA dictionaries of components).",
)
@click.option(
    "--realism",
    type=opt.number("from 0 to 1", lambda value: 0 <= value <= 1),
    metavar="0..1",
    help="Show images of networks nearer to the original (0) or more like one (1).",
)
@opt.only_option
@click.option(
    "--animations", is_flag=True, help="In a directory, one file for each animation, not for each frame."
)
@opt.dictionaries_option
@opt.force_option
@opt.limits_option
@opt.threads_option
@opt.metadata_option
@opt.json_option
def decode_command(
    stream: str,
    output: str,
    format_name: str | None,
    n_components: int | None,
    realism: float | None,
    only: tuple[str, ...],
    animations: bool,
    dictionaries: tuple[str, ...],
    force: bool,
    limits: Limits,
    threads: int,
    metadata: bool,
    as_json: bool,
) -> None:
    """Decode a stream into image files.

    One image becomes the file OUTPUT. More become files in the directory OUTPUT, each named by its key, or
    its number where it has none. Metadata are carried over, as far as the format holds them; where it cannot
    say how a picture is to be turned, its pixels are turned. Of a damaged stream all whole images are
    decoded, and the bytes that are lost are listed (exit code 3).

    An animation becomes one file where OUTPUT ends in .gif, .png or .webp, with its times and loops; pages
    or sizes where it ends in .tiff or .ico. Of a stream of several animations, --only NAME/ picks the one
    whose keys are NAME/0001 and so on, and --animations writes each to a file in the directory OUTPUT (in
    PNG, unless --format is gif or webp). A line tells what a format does not hold.
    """
    if as_json and output == STDOUT:
        raise UsageFailure(f"--json and {as_typed('output')} - both write to stdout")
    if is_url(output):
        raise UsageFailure(f"{show_url(output)}: images are written to folders and files, not to URLs")
    form = _form(output, format_name)
    if animations and not holds_animations(form.suffix):
        raise UsageFailure(f"--animations: {form.suffix} files hold none: use --format png, webp or gif")
    name = stream_name(stream)
    from triptych.reader import Reader

    failures = Failures()
    with (
        cold_kernel_notice(),
        naming(name),
        stream_source(stream, seekable=bool(only)) as source,
        Reader(
            source,
            limits,
            dictionary=dictionaries or None,
            damage="skip",
            threads=threads,
            n_components=n_components,
            realism=realism,
        ) as reader,
    ):
        images = _selected(reader, only, failures) if only else reader.items()
        images = iter(progress(images, "images"))
        inputs = (stream, *dictionaries)
        target = _open_target(output, form, force, images, metadata, animations, limits, inputs)
        try:
            for group in target.groups:
                target.save(group, failures)
        finally:
            failures.notes.say()
        lost = reader.damage
    for damage in lost:
        complain(f"{name}: bytes {damage.start} to {damage.stop - 1} are lost: {cause(damage.error)}")
    if as_json:
        ranges = [[damage.start, damage.stop] for damage in lost]
        print_json({"files": target.written, "failed": failures.names, "lost": ranges})
    if lost:
        click.get_current_context().exit(CORRUPT)
    failures.exit(len(target.written))


def _selected(reader: Reader, only: Sequence[str], failures: Failures) -> Iterator[Decoded]:
    for number in select_images(reader, only, failures):
        yield reader.info(number), reader[number]


class _Form(NamedTuple):
    """The form of the files: their suffix, and whether the output's name or `--format` says it."""

    suffix: str
    is_said: bool = True


def _form(output: str, format_name: str | None) -> _Form:
    """Give the form asked for: that of `--format`, or of the output's name; else PNG."""
    from PIL import Image

    is_folder = output.endswith(("/", os.sep))
    suffix = Path(output).suffix.lower() if not is_folder else ""
    if format_name is not None:
        suffix = "." + format_name.lower().removeprefix(".")
    if suffix == _ARRAY_SUFFIX:
        return _Form(suffix)
    Image.init()
    known = {suffix: name for suffix, name in Image.registered_extensions().items() if name != _STREAM}
    if format_name is not None:
        if suffix not in known:
            suffix = next((s for s, f in known.items() if f == format_name.upper()), suffix)
    elif suffix not in known and (os.path.isdir(output) or not names_picture(output)):
        return _Form(".png", is_said=not suffix)
    if known.get(suffix) not in Image.SAVE:
        asked = f"{as_typed('output')} {output}" if format_name is None else "--format"
        raise _no_such_form(asked, repr(suffix) if format_name is None else format_name)
    return _Form(suffix)


def _no_such_form(asked: str, suffix: str) -> UsageFailure:
    return UsageFailure(
        f"{asked}: Pillow writes no {suffix} here; png, webp, tiff, bmp and npy hold all pixels exactly"
    )


def _open_target(
    output: str,
    form: _Form,
    force: bool,
    images: Iterator[Decoded],
    metadata: bool,
    animations: bool,
    limits: Limits,
    inputs: Sequence[str],
) -> _Target:
    """Look at the first two images: one goes to a file or stdout, more to a directory, or to one file."""
    suffix = form.suffix
    first = list(_take(images, 1))
    is_folder = output != STDOUT and (output.endswith(("/", os.sep)) or os.path.isdir(output))
    if not is_folder:
        first += _take(images, 1)
    images = chain(first, images)
    if is_folder or (len(first) > 1 and output != STDOUT and Path(output).suffix.lower() != suffix):
        groups = group_animations(images, limits) if animations else each_alone(images)
        folder = Folder(Path(output), suffix, force=force, inputs=inputs)
        return _Target(suffix, groups, metadata=metadata, folder=folder)
    if not form.is_said:
        asked = f"{as_typed('output')} {output}"
        raise _no_such_form(asked, repr(Path(output).suffix) + " (--format says what it is)")
    refuse_input(output, inputs)
    handle = binary_stdout(force) if output == STDOUT else None
    if handle is None and first and not force:
        refuse_existing(Path(output))
    if len(first) > 1:
        first = gather(images, suffix, "stdout" if output == STDOUT else output, limits)
    groups = iter([first] if first else [])
    if handle is not None:
        return _Target(suffix, groups, metadata=metadata, handle=handle)
    return _Target(suffix, groups, metadata=metadata, file=Path(output))


def _take(images: Iterator[Decoded], count: int) -> Iterator[Decoded]:
    for _, image in zip(range(count), images, strict=False):
        yield image


class _Target:
    """A file, stdout, or a directory of files."""

    def __init__(
        self,
        suffix: str,
        groups: Iterator[list[Decoded]],
        *,
        metadata: bool,
        handle: Any = None,
        file: Path | None = None,
        folder: Folder | None = None,
    ) -> None:
        self.groups = groups
        self.written: list[str] = []
        self._suffix, self._metadata = suffix, metadata
        self._handle, self._file, self._folder = handle, file, folder

    def save(self, group: list[Decoded], failures: Failures) -> None:
        """Write a file of one image or several; what goes wrong with one of many is its own failure."""
        info = group[0][0]
        if len(group) > 1:
            from triptych.timing import animation_name

            info = info | {"key": animation_name(info.get("key")) or None}
        try:
            file = _build(group, self._suffix, metadata=self._metadata)
            name, is_other = STDOUT, False
            if self._handle is not None:
                self._handle.write(file.data)
            elif self._folder is not None:
                path, is_other = self._folder.write(info.get("key"), info["number"], file.data)
                name = str(path)
            else:
                assert self._file is not None
                write_file(self._file, file.data)
                name = str(self._file)
        except BrokenPipeError:
            raise
        except (OSError, ValueError, MemoryError) as error:
            if self._folder is None:
                raise CommandError("stdout" if self._file is None else str(self._file), error) from error
            failures.add(str(self._folder.path / str(info.get("key") or info["number"])), error)
        else:
            self.written.append(name)
            if is_other:
                failures.notes.add(name, "is named so as an image before it has the name that its key gives")
            if file.left_out and self._metadata:
                why = f"which {self._suffix} files do not take"
                failures.notes.add(self.written[-1], f"written without {', '.join(file.left_out)}, {why}")
            for change in file.changes:
                failures.notes.add(self.written[-1], change)


def _build(group: list[Decoded], suffix: str, *, metadata: bool) -> File:
    import numpy as np
    from PIL import Image

    from triptych.errors import InvalidImage
    from triptych.images import Shape
    from triptych.interop.saving import build_array, build_file

    infos, images = [info for info, _ in group], [pixels for _, pixels in group]
    if suffix == _ARRAY_SUFFIX:
        return build_array(images[0], infos[0])
    if any(Shape(*np.atleast_3d(pixels).shape).has_bands for pixels in images):
        raise InvalidImage(f"{images[0].shape[2]} channels fit into no picture: use --format npy")
    name = Image.registered_extensions()[suffix]
    return build_file(images, infos, name, _SAVE_OPTIONS.get(name, {}), metadata=metadata)
