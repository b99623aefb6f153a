"""The command: options, the order of the stages, and what the user is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import click
from triptych.cli.console import cold_kernel_notice, plural, progress
from triptych.cli.failures import FAILED, Failures, UsageFailure, complain, naming
from triptych.cli.options import given_options, parse_size
from triptych.cli.outputs import refuse_existing

from faces.collecting import Face, Rules, Spool, Tally, collect_faces, keepers_of
from faces.detecting import Detector, DetectorMissing, load_cascade, whole_picture
from faces.duplicates import choose_test
from faces.fetching import Fetcher
from faces.sources import collect_sources
from faces.writing import Part, assign_keys, split_into_packs, write_manifest, write_pack, write_stream

_FILE = click.Path(path_type=Path)


@click.command(context_settings={"max_content_width": 110})
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option(
    "-o", "--output", required=True, type=_FILE, metavar="OUT", help="A stream (.tych) or a pack (.png)."
)
@click.option("-f", "--force", is_flag=True, help="Overwrite.")
@click.option(
    "--urls", multiple=True, type=_FILE, metavar="FILE", help="Fetch these too: a URL a line, # comments."
)
@click.option(
    "--cache",
    metavar="DIR",
    type=_FILE,
    default=Path("faces-cache"),
    show_default=True,
    help="Where fetched files stay.",
)
@click.option(
    "--delay",
    metavar="SECONDS",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="Seconds between requests to a host.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds to wait for a byte.",
)
@click.option(
    "--retries",
    metavar="N",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    help="Further tries on 429, 5xx and timeouts.",
)
@click.option(
    "--max-bytes",
    type=parse_size,
    default="32Mi",
    show_default=True,
    metavar="BYTES",
    help="Of a fetched file.",
)
@click.option("--cascade", type=_FILE, metavar="FILE.xml", help="The cascade file that finds faces.")
@click.option("--whole", is_flag=True, help="Take each picture's central square instead.")
@click.option(
    "--size",
    metavar="PIXELS",
    type=click.IntRange(16, 4096),
    default=64,
    show_default=True,
    help="Width and height of each face.",
)
@click.option(
    "--margin",
    metavar="SHARE",
    type=click.FloatRange(0, 10),
    default=0.15,
    show_default=True,
    help="To cut on each side, a share of the face.",
)
@click.option(
    "--min-face",
    type=click.IntRange(1),
    metavar="PIXELS",
    help="Leave out narrower faces.  [default: half of --size]",
)
@click.option("--drop-grey", is_flag=True, help="Leave out faces without colour.")
@click.option(
    "--distance",
    metavar="BITS",
    type=click.IntRange(0, 64),
    default=24,
    show_default=True,
    help="Bits of 256 in which near-duplicates differ.",
)
@click.option(
    "--test-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Write OUT-train and OUT-test; related faces stay together.",
)
@click.option(
    "--key",
    "key_by",
    type=click.Choice(["hash", "name"]),
    default="hash",
    show_default=True,
    help="Of the pixels, or the source's name.",
)
@click.option("--licence", default="", metavar="TEXT", help="For the manifest's last column.")
@click.option(
    "--columns",
    metavar="N",
    type=click.IntRange(1, 1024),
    default=32,
    show_default=True,
    help="Faces in a row of a pack.",
)
@click.option("--mode", metavar="MODE", help="Of the stream: kmeans, pca, or auto (the default).")
@click.option("-q", "--quality", type=click.IntRange(0, 100), metavar="0..100", help="Of the stream.")
def main(
    inputs: tuple[str, ...],
    output: Path,
    force: bool,
    urls: tuple[Path, ...],
    cache: Path,
    cascade: Path | None,
    whole: bool,
    size: int,
    margin: float,
    min_face: int | None,
    drop_grey: bool,
    distance: int,
    test_share: float | None,
    key_by: str,
    licence: str,
    columns: int,
    max_bytes: int,
    delay: float,
    timeout: float,
    retries: int,
    mode: str | None,
    quality: int | None,
) -> None:
    """Make a set of faces of one size from pictures.

    INPUT is a picture, a pattern, or a folder (the pictures in it and below, sorted). Faces are found with a
    cascade file, cut square, scaled, and freed of near-duplicates, of which the sharpest stays. A manifest,
    OUT.tsv, says where each came from. The exit code is 1 where some pictures failed;
    the set holds the others.
    """
    options = _stream_options(output, given_options(mode=mode, quality=quality))
    planned = [output]
    if test_share is not None:
        planned = [output.with_stem(f"{output.stem}-{name}") for name in ("train", "test")]
    _check_targets([*planned, output.with_suffix(".tsv")], force)
    rules = Rules(size, 0.0 if whole else margin, min_face or -(-size // 2), drop_grey)
    detect = _make_detector(cascade, whole, rules.min_face)
    fetcher = Fetcher(cache, delay, timeout, retries, max_bytes)
    sources = collect_sources(inputs, urls, fetcher.fetch)

    failures = Failures()
    with closing(Spool(size)) as spool:
        faces, tally = collect_faces(
            progress(sources, "pictures", len(sources)), detect, rules, spool, failures.add
        )
        keepers = keepers_of(faces, distance)
        kept = [face for face, keeper in zip(faces, keepers, strict=True) if face is keeper]
        tally.left_out["near-duplicates"] = len(faces) - len(kept)
        told = _tell(len(kept), tally)
        if not kept:
            complain(f"no set is written: {told}")
            click.get_current_context().exit(FAILED)
        parts = [Part(output, kept)]
        if test_share is not None:
            parts = _split(planned, kept, choose_test(_related(faces, keepers), test_share))
        _drop_empty(parts)
        keys = assign_keys([face for part in parts for face in part.faces], key_by == "name")
        if output.suffix == ".png":
            parts = [pack for part in parts for pack in split_into_packs(part, size, columns)]
            _check_targets([part.path for part in parts], force)
        for part in parts:
            images = (spool[face.number] for face in part.faces)
            with naming(str(part.path)):
                if output.suffix == ".png":
                    write_pack(part.path, list(images), columns)
                else:
                    with cold_kernel_notice():
                        write_stream(part, images, keys, options)
    with naming(str(output.with_suffix(".tsv"))):
        write_manifest(output.with_suffix(".tsv"), parts, keys, size, licence)
    click.echo(told)
    failures.exit(len(kept))


def _stream_options(output: Path, options: dict[str, Any]) -> Mapping[str, Any]:
    """Check the output's kind and the options of a stream before any work."""
    from triptych.modes.registry import get_mode
    from triptych.options import make_options

    if output.suffix not in (".tych", ".png"):
        raise UsageFailure(f"{output}: a set is a stream (.tych) or a pack (.png)")
    if output.suffix == ".png" and options:
        raise UsageFailure(f"--{next(iter(options))} is for streams: a pack is lossless")
    with naming(str(output)):
        checked = make_options(options)
        if checked.mode != "auto":
            get_mode(checked.mode)
    return options


def _check_targets(paths: Sequence[Path], force: bool) -> None:
    for path in paths:
        if not path.parent.is_dir():
            raise UsageFailure(f"{path}: there is no folder {path.parent}")
        if not force:
            refuse_existing(path)


def _make_detector(cascade: Path | None, whole: bool, min_face: int) -> Detector:
    if (cascade is None) != whole:
        raise UsageFailure("either --cascade FILE.xml, or --whole")
    if cascade is None:
        return whole_picture
    with naming(str(cascade)):
        try:
            return load_cascade(cascade, min_face)
        except DetectorMissing as error:
            raise UsageFailure(f"--cascade {cascade}: {error}") from error


def _drop_empty(parts: list[Part]) -> None:
    """Leave out parts that got no faces; no file from an earlier run may pass for one."""
    for part in [part for part in parts if not part.faces]:
        parts.remove(part)
        part.path.unlink(missing_ok=True)
        complain(f"{part.path}: not written, since no face fell to it")


def _tell(n_kept: int, tally: Tally) -> str:
    left_out = [f"{count:,} {why}" for why, count in tally.left_out.items() if count]
    return "; ".join([f"{plural(n_kept, 'face')} from {plural(tally.n_pictures, 'picture')}", *left_out])


def _related(faces: Sequence[Face], keepers: Sequence[Face]) -> list[tuple[str, str]]:
    """Give the pairs of sources that must not be told apart: those of a face and of what stands for it."""
    return [(a.source_sha256, b.source_sha256) for a, b in zip(faces, keepers, strict=True)]


def _split(paths: Sequence[Path], faces: Sequence[Face], test: set[str]) -> list[Part]:
    """Give the parts for training and for testing; faces from one source stay together."""
    return [
        Part(path, [face for face in faces if (face.source_sha256 in test) == is_test])
        for path, is_test in zip(paths, (False, True), strict=True)
    ]
