"""The command line: which sections run, what is printed, what is written."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.results import Section, goal_table
from bench.setup import Setup

SECTIONS = {
    "palette-mse": "quantizing",
    "palette-time": "quantizing",
    "dense-art": "index_maps",
    "dense-photo": "index_maps",
    "palettes": "index_maps",
    "sprites": "whole_streams",
    "rate-aware": "whole_streams",
    "speed-dense": "coding_speed",
    "speed-fast": "coding_speed",
    "core": "mixing",
    "startup": "startup",
    "photographs": "photo_files",
    "photo-speed": "photo_files",
    "pca-collections": "image_sets",
    "bands": "bands",
    "project-speed": "projecting",
    "ae-faces": "networks",
    "ae-photos": "networks",
    "ae-speed": "networks",
    "ae-prior": "networks",
    "gan-faces": "networks",
    "latents": "latents",
    "static-rans": "latents",
    "store-bytes": "store_bytes",
    "store-speed": "store_speed",
    "loader": "loader",
    "scale": "scale",
}
"""The module of each section; its function has the section's name."""


def _measure(name: str, setup: Setup) -> Section:
    """Run one section; where it fails, the section says so and the others still run."""
    try:
        run: Callable[[Setup], Section] = getattr(
            import_module(f"bench.{SECTIONS[name]}"), name.replace("-", "_")
        )
        return run(setup)
    except Exception as error:
        traceback.print_exc()
        return Section(name, notes=[f"FAILED: {type(error).__name__}: {error}"], failed=True)


def _machine() -> dict[str, Any]:
    """Say where and with what this runs."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "cpu": cpu,
        "load": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "numba", "llvmlite", "pillow")},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run sections, print them, write JSON; return 1 where a section failed (a missed goal is no failure)."""
    parser = argparse.ArgumentParser(prog="bench", description="What Triptych achieves beside its peers.")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with kodak/, palette/, collections/ and faces/"
    )
    parser.add_argument("--only", action="append", choices=SECTIONS, help="a section; may be given again")
    parser.add_argument("--quick", action="store_true", help="a few pictures and rounds")
    parser.add_argument("--json", type=Path, help="write everything here as well")
    parser.add_argument("--jobs", type=int, default=1, help="processes that measure curves")
    parser.add_argument(
        "--peers",
        type=Path,
        action="append",
        default=[],
        help="take the points of peers from what --json wrote before; tables say so; may be given again",
    )
    parser.add_argument("--plot", type=Path, help="plot rate against distortion here (.png, .svg)")
    parser.add_argument("--photo", type=Path, help="a dictionary of photographs, not the shipped one")
    parser.add_argument(
        "--faces", type=Path, help="a dictionary of 768 components fitted to the faces; else the run fits it"
    )
    parser.add_argument("--ae-photo", type=Path, help="networks of photographs, not the shipped ones")
    parser.add_argument("--ae-faces", type=Path, help="networks of faces, not the shipped ones")
    parsed = parser.parse_args(arguments)
    setup = Setup(
        parsed.data,
        parsed.quick,
        jobs=parsed.jobs,
        peers=tuple(parsed.peers),
        plot=parsed.plot,
        photo=parsed.photo,
        faces=parsed.faces,
        ae_photo=parsed.ae_photo,
        ae_faces=parsed.ae_faces,
    )
    machine = _machine()
    print(f"triptych benchmark: {machine}" + (" QUICK: no claim rests on this" if setup.quick else ""))
    sections: list[Section] = []
    for name in parsed.only or SECTIONS:
        start = time.perf_counter()
        section = _measure(name, setup)
        section.seconds = time.perf_counter() - start
        sections.append(section)
        print(section, flush=True)
    if len(sections) > 1:
        print(goal_table(sections))
    if parsed.json:
        found = {"machine": machine, "quick": setup.quick, "sections": [s.to_json() for s in sections]}
        parsed.json.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    return int(any(section.failed for section in sections))
