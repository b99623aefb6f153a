"""`triptych info`: what a stream holds, without decoding pixels."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from triptych.cli import options as opt
from triptych.cli.console import format_table, plural, print_json, say
from triptych.cli.failures import CORRUPT, Failures, cause, complain, is_expected
from triptych.cli.streams import stream_name, stream_source

if TYPE_CHECKING:
    from triptych.framing import Damage
    from triptych.limits import Limits
    from triptych.scan import Reference


_MOST_ROWS = 1000


@click.command("info")
@click.argument("streams", nargs=-1, required=True, metavar="IN.tych...")
@opt.dictionaries_option
@opt.limits_option
@click.option("--all", "every", is_flag=True, help=f"List all images, not the first {_MOST_ROWS:,} only.")
@opt.json_option
def info_command(
    streams: tuple[str, ...], dictionaries: tuple[str, ...], limits: Limits, every: bool, as_json: bool
) -> None:
    """Say what a stream holds, without decoding pixels.

    A mode that ends in /P is that of an image which comes with its own palette and indices. ms is how long a
    frame of an animation is shown; plays, with its first frame, how often it is played. bpp is the bits per
    pixel of the image's frame. PSNR is what the encoder noted; exact: no pixel differs.
    """
    failures = Failures()
    n_damaged = 0
    for stream in streams:
        try:
            facts = _describe(stream, dictionaries, limits, None if every or as_json else _MOST_ROWS)
        except Exception as error:
            if not is_expected(error):
                raise
            failures.add(stream_name(stream), error)
            continue
        if as_json:
            print_json(facts)
        else:
            say(*_lines(facts))
        for start, stop, why in facts["lost"]:
            n_damaged += 1
            complain(f"{stream_name(stream)}: bytes {start} to {stop - 1} are lost: {why}")
    if n_damaged:
        click.get_current_context().exit(CORRUPT)
    failures.exit(len(streams) - len(failures.names))


def _describe(stream: str, dictionaries: tuple[str, ...], limits: Limits, most: int | None) -> dict[str, Any]:
    """Give the facts of a stream, and of its images, but not of more than `most` of them if that is given."""
    from triptych.describe import describe_images
    from triptych.dictionary import Shelf, iterate_dictionaries
    from triptych.framing import HEADER_LEN, FrameType
    from triptych.scan import scan
    from triptych.source import open_source

    shelf = Shelf(iterate_dictionaries(dictionaries or None, limits), limits)
    lost: list[Damage] = []
    frames: Counter[str] = Counter()
    known: dict[str, dict[str, Any]] = {}
    metadata: dict[str, Any] = {}
    images: list[dict[str, Any]] = []
    parts = set()
    n_bytes = n_images = n_pixels = 0
    with stream_source(stream) as given:
        source = open_source(given)
        try:
            for item in scan(source, limits, on_damage=lost.append):
                frame = item.frame
                parts.add(frame.part)
                n_bytes = frame.offset + frame.length
                is_known = frame.type in FrameType.__members__.values()
                frames[FrameType(frame.type).name if is_known else f"{frame.type:#04x}"] += 1
                metadata |= item.metadata or {}
                if item.reference is not None:
                    _note_dictionary(known, item.reference)
                if item.images is not None:
                    pixels = sum(shape.height * shape.width for shape in item.images.shapes)
                    if most is None or len(images) < most:
                        described = describe_images(item, n_images, shelf)
                        images += [_plain(info, frame.length * 8 / pixels) for info in described]
                    n_images, n_pixels = n_images + len(item.images.shapes), n_pixels + pixels
        finally:
            source.close()
    return {
        "stream": stream_name(stream),
        "bytes": max([n_bytes, HEADER_LEN, *(damage.stop for damage in lost)]),
        "parts": max(1, len(parts)),
        "frames": dict(frames),
        "n_images": n_images,
        "n_pixels": n_pixels,
        "metadata": metadata,
        "dictionaries": list(known.values()),
        "images": images[:most],
        "lost": [[damage.start, damage.stop, cause(damage.error)] for damage in lost],
    }


def _note_dictionary(known: dict[str, dict[str, Any]], reference: Reference) -> None:
    from triptych.describe import reference_id
    from triptych.dictionary import Dictionary, name_shipped

    name = reference_id(reference) or ""
    if isinstance(reference, Dictionary):
        facts: dict[str, Any] = {
            "kind": reference.kind,
            "bytes": len(reference.payload),
            "params": reference.params,
        }
        known[name] = {"id": name, "embedded": True} | facts
    else:
        shipped = name_shipped(name)
        known.setdefault(name, {"id": name, "embedded": False} | ({"shipped": shipped} if shipped else {}))


def _plain(info: dict[str, Any], bits_per_pixel: float) -> dict[str, Any]:
    """Give what JSON can hold: the length of bytes for bytes, nothing for infinities."""
    plain: dict[str, Any] = {}
    for name, value in info.items():
        if isinstance(value, bytes):
            plain[f"{name}_bytes"] = len(value)
        elif isinstance(value, float) and not math.isfinite(value):
            plain[name] = None
        else:
            plain[name] = value
    return plain | {"bits_per_pixel": round(bits_per_pixel, 4)}


def _lines(facts: dict[str, Any]) -> list[str]:
    images = facts["images"]
    counted = ", ".join(f"{count} {name}" for name, count in facts["frames"].items())
    rate = f", {facts['bytes'] * 8 / facts['n_pixels']:.3f} bits per pixel" if images else ""
    lines = [
        f"{facts['stream']}: {plural(facts['n_images'], 'image')}, {facts['bytes']:,} bytes{rate}; "
        f"{plural(facts['parts'], 'part')}; frames: {counted or 'none'}"
    ]
    for book in facts["dictionaries"]:
        name = book["id"][:16]
        where = f"{book['kind']}, {book['bytes']:,} bytes" if book["embedded"] else "not in the stream"
        if "shipped" in book:
            name, where = f"{book['shipped']} ({name})", "not in the stream, it comes with triptych"
        params = ", ".join(
            f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}"
            for name, value in book.get("params", {}).items()
        )
        lines.append(f"  dictionary {name}: {where}{'; ' * bool(params)}{params}")
    lines += [f"  {name}: {value}" for name, value in facts["metadata"].items()]
    if images:
        head = (
            "  key",
            "#",
            "size",
            "mode",
            "ms",
            "plays",
            "frame",
            "bytes",
            "bpp",
            "coder",
            "colours",
            "wcss",
            "PSNR",
        )
        columns = list(zip(head, *map(_row, images), strict=True))
        head, *rows = zip(*(column for column in columns if any(column[1:])), strict=True)
        lines += format_table(head, rows)
    if len(images) < facts["n_images"]:
        lines.append(f"  and {plural(facts['n_images'] - len(images), 'image')} more: --all lists them")
    return lines


def _row(info: dict[str, Any]) -> tuple[str, ...]:
    height, width = info["shape"][:2]
    wcss, psnr = info.get("wcss"), info.get("psnr")
    exact = "exact" if "psnr" in info else ""
    return (
        "  " + info.get("key", ""),
        str(info["number"]),
        f"{width}x{height}",
        info["color"] + "/P" * ("palette_order_bytes" in info),
        f"{info['duration']:g}" if "duration" in info else "",
        str(info["loop"] or "ever") if "loop" in info else "",
        str(info["frame"]),
        f"{info['bytes']:,}",
        f"{info['bits_per_pixel']:.3f}",
        str(info.get("coder", info["mode"])),
        str(info.get("n_colors", "")),
        f"{wcss:,.0f}" if wcss else "",
        f"{psnr:.2f}" if psnr is not None else exact,
    )
