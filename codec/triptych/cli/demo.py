"""`triptych demo`: Triptych against PNG, WebP and JPEG, measured here and now."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from triptych.cli import options as opt
from triptych.cli.console import cold_kernel_notice, format_table, print_json, progress
from triptych.cli.failures import naming
from triptych.cli.outputs import write_file

if TYPE_CHECKING:
    from triptych.demo import Row

_NOTES = """\
Bytes of whole files, made just now; Mpx/s on one thread, best of repeated runs. Exact rows: PNG
(optimized) and WebP (lossless, quality 100, method 5) of the same pixels; the tiles as 96 files.
Rows with a PSNR: PNG of our decoded pixels; WebP of them too, or lossy at the same PSNR, whichever
is less; JPEG at the same PSNR."""


@click.command("demo")
@click.option("--save", metavar="DIR", help="Keep the streams and the decoded pictures there.")
@opt.json_option
def demo_command(save: str | None, as_json: bool) -> None:
    """Measure Triptych against PNG, WebP and JPEG, on the pictures that come with it."""
    from triptych.demo import measure

    with cold_kernel_notice():
        rows = list(progress(measure(), "pictures"))
    if as_json:
        print_json([_facts(row) for row in rows])
    else:
        click.echo("\n".join(_lines(rows)))
    if save is not None:
        with naming(save):
            names = [name for row in rows for name in _save(row, Path(save))]
        if not as_json:
            click.echo(f"saved in {save}: {', '.join(names)}")


def _lines(rows: Sequence[Row]) -> list[str]:
    head = ("picture", "pixels", "PNG", "WebP", "JPEG", "ours", "PSNR", "encode", "decode Mpx/s")
    exact = [row for row in rows if row.is_exact]
    ours, png, webp = (sum(column) for column in zip(*((r.ours, r.png, r.webp) for r in exact), strict=True))
    pixels = sum(row.pixels for row in exact)
    total = ("all exact pictures", f"{pixels:,}", f"{png:,}", f"{webp:,}", "-", f"{ours:,}", "exact", "", "")
    table = format_table(head, [*(_cells(row) for row in rows), total])
    rule = "-" * max(map(len, table))
    lines = [table[0], rule, *table[1:-1], rule, table[-1], "", _NOTES, ""]
    names = ", ".join(row.title.split(" (")[0] for row in exact)
    return [
        *lines,
        f"Exact, every decoded pixel compared: {names}.",
        f"There ours is {_share(ours, png)} PNG and {_share(ours, webp)} WebP.",
    ]


def _share(ours: int, theirs: int) -> str:
    change = 100 * (ours / theirs - 1)
    return f"{abs(change):.0f} % {'smaller' if change < 0 else 'larger'} than"


def _cells(row: Row) -> tuple[str, ...]:
    def size(n_bytes: int | None) -> str:
        return "-" if n_bytes is None else f"{n_bytes:,}"

    return (
        row.title,
        f"{row.pixels:,}",
        size(row.png),
        size(row.webp),
        size(row.jpeg),
        size(row.ours),
        "exact" if row.is_exact else f"{row.psnr:.2f}",
        f"{row.encode_rate:.2f}",
        f"{row.decode_rate:.2f}",
    )


def _facts(row: Row) -> dict[str, Any]:
    names = ("title", "pixels", "png", "webp", "jpeg", "ours", "psnr", "encode_rate", "decode_rate")
    facts = {name: getattr(row, name) for name in names}
    if math.isinf(facts["psnr"]):
        facts["psnr"] = None
    return facts | {"exact": row.is_exact}


def _save(row: Row, folder: Path) -> list[str]:
    """Write the stream and PNGs of its pictures; give the names."""
    import io

    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / f"{row.name}.tych", row.stream)
    several = len(row.decoded) > 1
    if several:
        (folder / row.name).mkdir(exist_ok=True)
    for number, pixels in enumerate(row.decoded):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        write_file(
            folder / (f"{row.name}/{number:02}.png" if several else f"{row.name}.png"), buffer.getvalue()
        )
    return [f"{row.name}.tych", f"{row.name}/" if several else f"{row.name}.png"]
