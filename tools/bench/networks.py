"""Sections of the third panel: faces and photographs coded by networks, their speed, and their integers.

Streams are those of a batch, with its frames; the dictionary is not counted, and rows say so.
"""

from __future__ import annotations

import dataclasses
import io
import statistics
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import triptych
from PIL import Image
from triptych.dictionary import NEURAL_PREFIX, Dictionary, load_dictionary, shipped_dictionaries

from bench import features, lossy, ours_pca
from bench.curves import collect, curve
from bench.image_sets import Collection, cut_mosaic, judge, mosaic_codec
from bench.lossy import LossyFile
from bench.measure import Pixels, alternate, psnr
from bench.pictures import photographs
from bench.plotting import mean_points
from bench.quality import rate_at
from bench.results import Goal, Row, Section, Table
from bench.setup import Setup

QUALITIES = (0, 12, 25, 37, 50, 62, 75, 87, 100)
_PCA_POINTS = ((75, 20.3), (102, 21.2), (135, 22.1), (181, 23.2))
"""Bytes a face and dB of entropy-coded global PCA, as the goals name them."""
_AVIF_POINTS = ((115, 21.3), (180, 22.9), (272, 24.75))
"""Bytes a face and dB of the AVIF mosaic, likewise."""
_SHARE = 0.65
_BEST_FACES = (23.2, 118.0)
_WEBP_LOW = dataclasses.replace(lossy.WEBP, qualities=(0, 1, 2, 4, 7, 12, 20, 30))
_PHOTO_RATE, _PHOTO_SHARE = 0.15, 0.8
_GAN_QUALITY = 40
_SMALLEST_WEBP = 0


def _version(name: str | None) -> str:
    import_module("torch")
    import_module("safetensors")
    if name is not None and NEURAL_PREFIX + name not in shipped_dictionaries():
        raise ImportError(f"triptych {triptych.__version__}: no dictionary {name!r} of networks is shipped")
    return f"triptych {triptych.__version__}"


def _book(path: Path | None, name: str) -> Dictionary:
    return load_dictionary(path if path is not None else NEURAL_PREFIX + name)


def encode(path: Path | None, name: str, effort: str, images: Pixels, quality: float) -> bytes:
    """Give a stream of a picture, or of a batch of them in the frames that the mode chooses."""
    target = io.BytesIO()
    options: dict[str, Any] = {"mode": "ae", "effort": effort, "quality": round(quality), "embed": False}
    with triptych.Writer(target, _book(path, name), threads=1, **options) as writer:
        for image in images if images.ndim == 4 else images[None]:
            writer.write(image)
    return target.getvalue()


def decode(path: Path | None, name: str, realism: float, data: bytes) -> Pixels:
    """Give its images, or its one image."""
    with triptych.Reader(data, dictionary=_book(path, name), realism=realism) as reader:
        shown = np.stack(list(reader))
    return shown if len(shown) > 1 else shown[0]


def codec(name: str, effort: str, path: Path | None, realism: float = 0.0) -> LossyFile:
    """Give mode ae with a shipped dictionary, or one from a path."""
    where = f"dictionary {path or name!r}, not counted; effort {effort}; realism {realism:g}"
    version = partial(_version, name if path is None else None)
    return LossyFile(
        f"triptych ae {effort}",
        where,
        version,
        partial(encode, path, name, effort),
        partial(decode, path, name, realism),
        QUALITIES,
        is_ours=True,
    )


def _faces(setup: Setup) -> Collection:
    path = next(iter(sorted((setup.data / "faces").glob("anime64_devtest.png"))), None)
    if path is None:
        raise FileNotFoundError(f"no anime64_devtest.png in {setup.data / 'faces'}")
    mosaic = np.asarray(Image.open(path).convert("RGB"))
    n = mosaic.shape[0] // 64 * (mosaic.shape[1] // 64)
    return Collection.of("faces", cut_mosaic(mosaic, (n, 64, 64, 3))[: setup.some(1_000_000, 64)])


def ae_faces(setup: Setup) -> Section:
    """Measure faces at equal mean PSNR beside PCA's and AVIF's figures and an AVIF mosaic of this run."""
    note = "bytes a face of whole streams and of one mosaic file; PSNR is the mean of each face's"
    section = Section("ae-faces", notes=[note])
    faces = _faces(setup)
    mosaic = mosaic_codec(lossy.AVIF_PSNR)
    efforts = ("fast", "default", "max")
    ours = [codec("faces", effort, setup.ae_faces) for effort in efforts]
    points = collect(setup, section, [(c, faces) for c in (*ours, mosaic)], judge)
    n = len(faces.pixels)
    rows: list[Row] = [
        (p.codec, p.quality, p.nbytes / n, p.figures["mean_psnr"]) for p in points if p.picture == faces.name
    ]
    section.tables.append(Table(f"{faces.name}, each quality", ("codec", "quality", "bytes", "PSNR"), rows))

    def at(name: str, wanted: float) -> float | None:
        """Give bytes at a PSNR; where the coarsest is finer than that, its bytes, which are more than due."""
        measured = curve(points, name, faces.name, "mean_psnr")
        found = rate_at(measured, wanted)
        if found is None and measured and wanted < min(value for _, value in measured):
            found = min(rate for rate, _ in measured)
        return None if found is None else found / n

    rows = []
    for peer, references in (("PCA", _PCA_POINTS), ("AVIF mosaic", _AVIF_POINTS)):
        for theirs, reached in references:
            sizes = [at(c.name, reached) for c in ours]
            here = at(mosaic.name, reached)
            rows.append((f"{peer} {theirs} B, {reached} dB", *sizes, here))
            ratio = None if sizes[1] is None else sizes[1] / theirs
            what = f"bytes, ae default / {peer}'s {theirs} at {reached} dB"
            section.goals.append(Goal(what, ratio, _SHARE))
    columns = ("reference", *(c.name for c in ours), f"{mosaic.name}, this run")
    section.tables.append(Table("bytes a face at the references' PSNR", columns, rows))
    reached, limit = _BEST_FACES
    what = f"bytes a face, ae max at {reached} dB"
    section.goals.append(Goal(what, at(ours[2].name, reached), limit))
    return section


def ae_photos(setup: Setup) -> Section:
    """Measure photographs beside WebP at a low rate."""
    section = Section("ae-photos", notes=["means of pictures at each setting, pchip of log bpp over PSNR"])
    pictures = photographs(setup.data, setup.some(24, 2))
    ours = [codec("photo", effort, setup.ae_photo) for effort in ("default", "max")]
    peers = (_WEBP_LOW, lossy.AVIF_PSNR)
    tasks = [(c, picture) for c in (*ours, *peers) for picture in pictures]
    points = collect(setup, section, tasks, _judge_photo)
    means = mean_points(points)
    rows: list[Row] = [(name, quality, bpp, figures["psnr"]) for name, quality, bpp, figures in means]
    section.tables.append(
        Table(f"means of {len(pictures)} pictures", ("codec", "quality", "bpp", "PSNR"), rows)
    )
    curves = {
        name: [(bpp, figures["psnr"]) for other, _, bpp, figures in means if other == name]
        for name in dict.fromkeys(name for name, *_ in means)
    }
    webp = curves.get(_WEBP_LOW.name)
    reached = _value_at(webp, _PHOTO_RATE) if webp else None
    for c in ours:
        rate = None if reached is None or c.name not in curves else rate_at(curves[c.name], reached)
        what = f"bpp / WebP's {_PHOTO_RATE} at equal PSNR, {c.name}"
        section.goals.append(Goal(what, None if rate is None else rate / _PHOTO_RATE, _PHOTO_SHARE))
    return section


def _judge_photo(original: Pixels, shown: Pixels) -> dict[str, float]:
    return {"psnr": psnr(original, shown)}


def _value_at(points: Sequence[tuple[float, float]], rate: float) -> float | None:
    """Give the quality that a curve has at a rate."""
    ordered = sorted(points)
    if not ordered[0][0] <= rate <= ordered[-1][0]:
        return None
    rates, values = zip(*ordered, strict=True)
    return float(np.interp(np.log(rate), np.log(rates), values))


def ae_speed(setup: Setup) -> Section:
    """Measure speed on one thread, warm."""
    section = Section("ae-speed", notes=["CPU time, one thread of torch, warm, quality 50"])
    import_module("torch").set_num_threads(1)
    rows: list[Row] = []
    faces = _faces(setup)
    face = codec("faces", "default", setup.ae_faces)
    fast = codec("faces", "fast", setup.ae_faces)
    picture = photographs(setup.data, 1)[0]
    photo = codec("photo", "default", setup.ae_photo)
    face_data, photo_data = face.encode(faces.pixels, 50), photo.encode(picture.pixels, 50)
    seconds = alternate(
        {
            "faces decode": partial(face.decode, face_data),
            "faces encode": partial(face.encode, faces.pixels, 50),
            "faces encode fast": partial(fast.encode, faces.pixels, 50),
            "Kodak decode": partial(photo.decode, photo_data),
            "Kodak encode": partial(photo.encode, picture.pixels, 50),
        },
        setup.some(5, 1),
    )
    for what, spent in seconds.items():
        n = len(faces.pixels) if what.startswith("faces") else 1
        rows.append((what, spent / n, n / spent))
    section.tables.append(Table("speed", ("what", "seconds an image", "images a second"), rows))
    n_faces = len(faces.pixels)
    section.goals += [
        Goal("64x64 faces decoded a second", n_faces / seconds["faces decode"], 500.0, at_least=True),
        Goal("seconds to decode a Kodak picture", seconds["Kodak decode"], 0.25),
        Goal("seconds to encode a Kodak picture", seconds["Kodak encode"], 0.5),
    ]
    return section


def ae_prior(setup: Setup) -> Section:
    """Measure the integer context network and its coding against the same network in floats."""
    note = "bits of whole bodies, over -log2 p of the float network that the integers stand for"
    section = Section("ae-prior", notes=[note])
    torch: Any = import_module("torch")
    layers = import_module("triptych.networks.layers")
    panels = import_module("triptych.modes.panel")
    latents = import_module("triptych.modes.latents")
    rows: list[Row] = []
    for name, path, images in (
        ("faces", setup.ae_faces, _faces(setup).pixels),
        ("photo", setup.ae_photo, photographs(setup.data, 1)[0].pixels[None]),
    ):
        panel = panels.Panel(_book(path, name))
        for quality in (25, 50, 75):
            symbols = panel.latents([images], quality, "fast")
            tables, body = (
                latents.build_body(symbols, quality, panel.book.latents, effort)
                for effort in ("fast", "default")
            )
            level = torch.full((len(images),), quality * (panel.book.n_levels - 1) / 100)
            with torch.no_grad():
                values = torch.from_numpy(symbols[0].astype(np.float32))
                mean, log_scale = panel.loaded.codec.context(values, level)
                bits = float(layers.logistic_bits(values, mean, log_scale).sum())
            ratios = (8 * len(tables) / bits, 8 * len(body) / bits)
            rows.append((f"{name}, quality {quality}", bits / 8, len(tables), len(body), *ratios))
    columns = ("what", "float network", "tables (fast)", "default", "ratio", "ratio, default")
    section.tables.append(Table("bytes", columns, rows))
    worst = max(float(row[5]) for row in rows if isinstance(row[5], float))
    section.goals.append(Goal("integers + coding / float network, the worst", worst, 1.003))
    return section


def gan_faces(setup: Setup) -> Section:
    """Measure what two networks that see make of realism, at about 100 bytes a face; draw the sheet."""
    note = (
        "seen: EfficientNet-Lite0's distance, part of the training loss; judged: cosine distance of"
        " open_nsfw, which had no part in it; hatch: energy at the diagonal Nyquist frequency over the"
        " originals'"
    )
    section = Section("gan-faces", notes=[note])
    faces = _faces(setup).pixels[: setup.some(256, 16)]
    path = setup.ae_faces
    data = encode(path, "faces", "default", faces, _GAN_QUALITY)
    shown: dict[str, tuple[float, Pixels]] = {}
    for realism in (0.0, 0.25, 0.5, 0.75, 1.0):
        shown[f"realism {realism:g}"] = (len(data) / len(faces), decode(path, "faces", realism, data))
    pca = _pca_beside(_book(path, "faces"), faces, len(data))
    shown["PCA, the same basis"] = (len(pca[0]) / len(faces), pca[1])
    files = [lossy.WEBP.encode(face, _SMALLEST_WEBP) for face in faces]
    shown["WebP files, quality 0"] = (
        statistics.mean(map(len, files)),
        np.stack([lossy.WEBP.decode(file) for file in files]),
    )
    mosaic = mosaic_codec(lossy.AVIF_PSNR)
    avif = mosaic.encode(faces, 2)
    shown["AVIF mosaic, quality 2"] = (len(avif) / len(faces), cut_mosaic(mosaic.decode(avif), faces.shape))
    original = features.hatch(faces)
    rows: list[Row] = []
    figures: dict[str, tuple[float, float, float]] = {}
    for name, (size, images) in shown.items():
        figures[name] = (
            features.seen_distance(faces, images),
            features.judged_distance(faces, images),
            features.hatch(images) / original,
        )
        rows.append((name, size, judge(faces, images)["mean_psnr"], *figures[name]))
    columns = ("what", "bytes", "PSNR", "seen", "judged", "hatch")
    section.tables.append(Table(f"{len(faces)} faces", columns, rows))
    for peer in ("WebP files, quality 0", "AVIF mosaic, quality 2"):
        for i, figure in enumerate(("seen", "judged")):
            ratio = figures["realism 1"][i] / figures[peer][i]
            section.goals.append(Goal(f"gan, {figure}, over {peer}", ratio, 1.0))
    section.goals.append(Goal("hatch of gan over the originals'", figures["realism 1"][2], 2.0))
    best = min((name for name in figures if name.startswith("realism")), key=lambda name: figures[name][1])
    section.notes.append(f"open_nsfw likes {best} best")
    if setup.plot:
        _draw_sheet(setup.plot, faces, shown)
        section.notes.append(f"sheet: {setup.plot}")
    return section


def _pca_beside(book: Dictionary, faces: Pixels, n_bytes: int) -> tuple[bytes, Pixels]:
    """Give the finest stream of the PCA panel with the networks' basis that is no larger; its images."""
    tensors = import_module("triptych.fit.networkbook").load_network(book).tensors
    components = Dictionary.build("components", {"total_variance": 1.0}, tensors["basis"].tobytes())
    low, high, best = 0, 100, b""
    while low <= high:
        quality = (low + high) // 2
        data = ours_pca.encode_with_book(components, faces, quality)
        if len(data) <= n_bytes:
            best, low = data, quality + 1
        else:
            high = quality - 1
    return best, ours_pca.decode_collection(components, best)


def _draw_sheet(target: Path, faces: Pixels, shown: dict[str, tuple[float, Pixels]]) -> None:
    """Draw twelve faces, a column for each way to show them, twice as large."""
    from PIL import ImageDraw

    rows, side = min(12, len(faces)), 128
    columns = {"original": (0.0, faces), **shown}
    sheet = Image.new("RGB", (len(columns) * side, rows * side + 28), "white")
    pen = ImageDraw.Draw(sheet)
    for x, (name, (size, images)) in enumerate(columns.items()):
        pen.text((x * side + 3, 1), f"{name}\n{size:.0f} B" if size else name, fill="black")
        for y in range(rows):
            face = Image.fromarray(images[y]).resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(face, (x * side, y * side + 28))
    sheet.save(target, quality=88)
