"""`triptych decode`: a stream in, image files out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from triptych.cli import options as opt
from triptych.cli.console import cold_kernel_notice, print_json, progress
from triptych.cli.failures import CORRUPT, CommandError, Failures, UsageFailure, cause, complain, naming
from triptych.cli.grouping import Decoded, each_alone, gather, group_animations, holds_animations
from triptych.cli.outputs import STDOUT, binary_stdout, refuse_existing, safe_name, write_file
from triptych.cli.streams import select_images, stream_name, stream_source
from triptych.cli.usage import as_typed
from triptych.urls import is_url, show_url

if TYPE_CHECKING:
    from triptych.interop.saving import File
    from triptych.limits import Limits
    from triptych.reader import Reader

_ARRAY_SUFFIX = ".npy"
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
    suffix = _suffix(output, format_name)
    if animations and not holds_animations(suffix):
        raise UsageFailure(f"--animations: {suffix} files hold none: use --format png, webp or gif")
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
        target = _open_target(output, suffix, force, images, metadata, animations, limits)
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


def _suffix(output: str, format_name: str | None) -> str:
    """Give the suffix of the files: that of the format asked for, or of the output file, or .png."""
    from PIL import Image

    wanted = Path(output).suffix if format_name is None else "." + format_name.removeprefix(".")
    if wanted.lower() == _ARRAY_SUFFIX:
        return _ARRAY_SUFFIX
    Image.init()
    known = Image.registered_extensions()
    if format_name is not None:
        suffix = "." + format_name.lower().removeprefix(".")
        if suffix not in known:
            suffix = next((s for s, f in known.items() if f == format_name.upper()), suffix)
    else:
        suffix = Path(output).suffix.lower() if not output.endswith(("/", os.sep)) else ""
        if suffix not in known:
            suffix = ".png"
    if known.get(suffix) not in Image.SAVE:
        raise UsageFailure(
            f"--format: Pillow writes no {format_name or suffix!r} here; "
            "png, webp, tiff, bmp and npy hold all pixels exactly"
        )
    return suffix


def _open_target(
    output: str,
    suffix: str,
    force: bool,
    images: Iterator[Decoded],
    metadata: bool,
    animations: bool,
    limits: Limits,
) -> _Target:
    """Look at the first two images: one goes to a file or stdout, more to a directory, or to one file."""
    if is_url(output):
        raise UsageFailure(f"{show_url(output)}: images are written to folders and files, not to URLs")
    first = list(_take(images, 1))
    is_folder = output != STDOUT and (output.endswith(("/", os.sep)) or os.path.isdir(output))
    if not is_folder:
        first += _take(images, 1)
    images = chain(first, images)
    if is_folder or (len(first) > 1 and output != STDOUT and Path(output).suffix.lower() != suffix):
        groups = group_animations(images, limits) if animations else each_alone(images)
        return _Target(suffix, force, groups, metadata=metadata, folder=Path(output))
    handle = binary_stdout(force) if output == STDOUT else None
    if handle is None and first and not force:
        refuse_existing(Path(output))
    if len(first) > 1:
        first = gather(images, suffix, "stdout" if output == STDOUT else output, limits)
    groups = iter([first] if first else [])
    if handle is not None:
        return _Target(suffix, force, groups, metadata=metadata, handle=handle)
    return _Target(suffix, force, groups, metadata=metadata, file=Path(output))


def _take(images: Iterator[Decoded], count: int) -> Iterator[Decoded]:
    for _, image in zip(range(count), images, strict=False):
        yield image


class _Target:
    """A file, stdout, or a directory of files."""

    def __init__(
        self,
        suffix: str,
        force: bool,
        groups: Iterator[list[Decoded]],
        *,
        metadata: bool = True,
        handle: Any = None,
        file: Path | None = None,
        folder: Path | None = None,
    ) -> None:
        self.groups = groups
        self.written: list[str] = []
        self._suffix, self._force, self._metadata = suffix, force, metadata
        self._handle, self._file, self._folder = handle, file, folder
        self._taken: set[str] = set()
        self._marks: dict[str, count[int]] = {}

    def save(self, group: list[Decoded], failures: Failures) -> None:
        """Write a file of one image or several; what goes wrong with one of many is its own failure."""
        info = group[0][0]
        if len(group) > 1:
            from triptych.timing import animation_name

            info = info | {"key": animation_name(info.get("key")) or None}
        try:
            path = self._file or self._path_in_folder(info)
            file = _build(group, self._suffix, metadata=self._metadata)
            if self._handle is not None:
                self._handle.write(file.data)
            else:
                write_file(path, file.data)
        except BrokenPipeError:
            raise
        except (OSError, ValueError, MemoryError) as error:
            if self._folder is None:
                raise CommandError("stdout" if self._file is None else str(self._file), error) from error
            failures.add(str(self._folder / str(info.get("key") or info["number"])), error)
        else:
            self.written.append(STDOUT if self._handle is not None else str(path))
            if file.left_out and self._metadata:
                why = f"which {self._suffix} files do not take"
                failures.notes.add(self.written[-1], f"written without {', '.join(file.left_out)}, {why}")
            for change in file.changes:
                failures.notes.add(self.written[-1], change)

    def _path_in_folder(self, info: dict[str, Any]) -> Path:
        if self._folder is None:
            return Path()
        name = safe_name(info.get("key"), info["number"])
        if name.suffix.lower() != self._suffix:
            name = name.with_name(name.name + self._suffix)
        stem, wanted, mark = name.stem, name.as_posix().casefold(), info["number"]
        while name.as_posix().casefold() in self._taken:
            name = name.with_name(f"{stem}~{mark}{self._suffix}")
            mark = next(self._marks.setdefault(wanted, count()))  # no mark is tried twice
        self._taken.add(name.as_posix().casefold())
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # A link in the directory must not lead out of it either.
        if not path.parent.resolve().is_relative_to(self._folder.resolve()):
            raise PermissionError(None, f"the key {info.get('key')!r} leads out of the directory")
        if not self._force and path.exists():
            raise FileExistsError(None, "exists; use --force to overwrite it")
        return path


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
