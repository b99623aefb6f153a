"""Train the networks that ship with the package: `triptych/dictionaries/ae-photo.tych` and `ae-faces.tych`.

    python tools/train_neural.py photo|faces|emoji DATA --work DIR [-o OUT.tych] [--core-seconds 30000]
    python tools/train_neural.py faces DATA --work DIR --gan ae-faces.tych [-o OUT.tych]
    python tools/train_neural.py faces DATA --work DIR --start ae-faces.tych --refined 4   # G alone
    torchrun --nproc-per-node 2 tools/train_neural.py ...     # two processes of one thread each, or two GPUs

DATA is the folder of data packs. Training goes on from the work folder, also with a larger budget, and
SIGTERM or Ctrl-C ends it with a checkpoint. `--anneal 0` keeps the learning rate, for a run that will go on;
`--rate` changes it. `--export` writes the averaged weights as they are. `curve.png` in the work folder shows
rate and distortion of images held back, over the core-seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import distributed
from triptych.dictionary import load_dictionary
from triptych.fit import neural
from triptych.images import Pixels
from triptych.modes.latentstate import with_state

PACKS = {
    "photo": ("photos/photos256_clean_*.avif", 256),
    "faces": ("faces/anime64_train_*.jpg", 64),
    "emoji": ("collections/twemoji64_dev_*.png", 64),
}
CORE_SECONDS = {"photo": 30_000, "faces": 15_000, "emoji": 5_000}


def read_pack(folder: Path, name: str) -> list[Pixels]:
    """Give the cells of all mosaics of a pack, but for those that are black."""
    pattern, side = PACKS[name]
    cells: list[Pixels] = []
    for path in sorted(folder.glob(pattern)):
        mosaic = np.asarray(Image.open(path).convert("RGB"))
        rows, columns = mosaic.shape[0] // side, mosaic.shape[1] // side
        parts = mosaic[: rows * side, : columns * side].reshape(rows, side, columns, side, 3)
        cells += [cell for cell in parts.swapaxes(1, 2).reshape(-1, side, side, 3) if cell.any()]
    if not cells:
        raise SystemExit(f"{folder}: no {pattern} here")
    return cells


def plot(folder: Path) -> None:
    """Draw the log of a folder, if matplotlib is there."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    shown = ("cost_", "psnr", "seen", "judge")
    costs = sorted({name for line in lines for name in line if name.startswith(shown)})
    if not costs:
        return
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name in costs:
        some = [(line["core_seconds"], line[name]) for line in lines if name in line]
        axes.plot([x for x, _ in some], [y / some[0][1] for _, y in some], label=name)
    axes.set(xlabel="core-seconds", ylabel="beside the first", title=folder.name)
    axes.legend()
    figure.savefig(folder / "curve.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", choices=PACKS)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--core-seconds", type=float)
    parser.add_argument("--gan", type=Path, help="stage two, for this dictionary")
    parser.add_argument("--start", type=Path, help="stage one goes on from this dictionary")
    parser.add_argument("--refined", type=int, default=0, help="G alone, on latents after so many passes")
    parser.add_argument("--rate", type=float)
    parser.add_argument("--anneal", type=float)
    parser.add_argument("--average", type=float)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", action="store_true", help="teach mixed decisions too (photo alone)")
    parser.add_argument("--export", action="store_true", help="train nothing: write what there is")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if "RANK" in os.environ:
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    schedule = {
        name: getattr(given, name)
        for name in ("rate", "anneal", "average", "batch")
        if getattr(given, name) is not None
    }
    budget = 0.0 if given.export else given.core_seconds or CORE_SECONDS[given.name]
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    book = neural.fit_networks(
        "gan" if given.gan else "ae",
        read_pack(given.data, given.name),
        neural.Training(given.work, budget, say, given.seed, schedule, refined=given.refined, stop=stop),
        load_dictionary(given.gan or given.start) if given.gan or given.start else None,
    )
    if not distributed.is_initialized() or distributed.get_rank() == 0:
        if given.state:
            book = with_state(book, read_pack(given.data, given.name))
        book.save(given.output or given.work / f"ae-{given.name}.tych")
        print(book, book.params, flush=True)
        plot(given.work)


def say(figures: dict[str, float]) -> None:
    """Print a line of training."""
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
