"""Encoding a collection: images are read, encoded and written in a bounded pipeline, in order.

`weigh_collection` looks at some of them and says which panel serves those of each kind (mode auto).
`select_inputs` leaves out what other machines encode (`--shard`) and what the stream to be continued has
(`--resume`). `Collection.encode` reads the rest in threads and hands them to one `Writer`, which encodes them
in threads or on an engine. The bytes are the same for any number of threads and any engine. What fails is
reported by name; the rest is written.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from triptych.cli.console import plural
from triptych.cli.failures import CommandError, Failures, UsageFailure, complain
from triptych.cli.inputs import Input, Inputs, open_all
from triptych.cli.meter import Meter
from triptych.cli.pictures import UNREADABLE, Picture, Reading, limiting_pillow
from triptych.errors import DictionaryMismatch, FormatError, TriptychError, Truncated

if TYPE_CHECKING:
    from triptych.cli.classes import Classes
    from triptych.cli.summary import Summary
    from triptych.dictionary import Dictionary
    from triptych.interop.engine import Engine
    from triptych.interop.pictures import Metadata
    from triptych.limits import Limits
    from triptych.modes.auto import Chooser
    from triptych.writer import Writer

CHECKPOINT_SECONDS = 10.0
"""With `--resume`, what is written is made durable so often. No byte depends on it."""
SAMPLE_IMAGES, SAMPLE_PIXELS = 32, 1 << 19
"""A collection is judged by so many images, evenly spaced, and measured by so many pixels of all of them."""


def weigh_collection(
    inputs: Inputs, options: dict[str, Any], dictionary: Dictionary | None
) -> tuple[Chooser, dict[str, Any] | None]:
    """Look at some inputs; give who chooses the panel of each, and metadata that say why, if any.

    It is the same for every shard, and when a run is resumed, as it depends on all inputs alone. A dictionary
    that suits none of the inputs that were looked at is the wrong one (DictionaryMismatch, where images of
    the collection are written).
    """
    from triptych.images import MODES
    from triptych.modes.auto import Chooser, Kind, Look, look_at, suits_any, weigh_modes
    from triptych.options import make_options

    made = make_options(options)
    if made.of_palettes is not None:
        return Chooser(made, dictionary), None
    sample: list[Look] = []
    n_pixels, n = 0, min(SAMPLE_IMAGES, len(inputs))
    # So many bytes are for a whole image: some are measured then, and not a part of each.
    most = None if made.target_size is not None else SAMPLE_PIXELS // n
    shapes = set()
    for each in (inputs[i * len(inputs) // n] for i in range(n)):
        with suppress(*UNREADABLE), limiting_pillow(inputs.limits):
            if not os.path.isfile(each.path):  # what can be read once only is left for the encoder
                continue
            pixels = each.load().pixels
            shapes.add(pixels.shape)
            if pixels.shape[2] > len(MODES):
                return Chooser(made, dictionary), None
            n_pixels += pixels[:, :, 0].size
            if most is None and sample and n_pixels > SAMPLE_PIXELS:
                break
            sample.append(look_at(pixels, made, most))
    if dictionary is not None:
        return Chooser(made, dictionary, is_lenient=suits_any(dictionary, shapes, made)), None
    by_kind = {kind: [look for look in sample if look.kind is kind] for kind in Kind}
    weighed = {kind: weigh_modes(kind, looks, made) for kind, looks in by_kind.items() if looks}
    if not weighed:
        return Chooser(made, None, weighed), None
    whys = [
        str(found) if len(weighed) == 1 else f"{found} for {len(by_kind[kind])} images of {kind.value}"
        for kind, found in weighed.items()
    ]
    is_measured = any(found.costs for found in weighed.values()) and most is not None
    parts = f", by up to {most:,} pixels of each" if is_measured else ""
    why = f"{'; '.join(whys)}; {len(sample)} of {len(inputs):,} images tried{parts}"
    return Chooser(made, None, weighed), {"auto": why}


def select_inputs(
    inputs: Inputs, shard: tuple[int, int] | None, resumed: str | None
) -> tuple[Inputs, int, Counter[str]]:
    """Give the inputs of a shard that the stream to be resumed has not, how many it has, and its other keys.

    A shard (i, n) is the i-th of n runs of the inputs, from 1. A key that several inputs share is left out as
    often as the stream has it.
    """
    if shard is not None:
        number, count = shard
        inputs = inputs[len(inputs) * (number - 1) // count : len(inputs) * number // count]
    if resumed is None:
        return inputs, 0, Counter()
    left = Counter(_keys_of(resumed, inputs.limits))

    def is_new(key: str) -> bool:
        if left.get(key, 0) == 0:
            return True
        left[key] -= 1
        return False

    new = inputs.select(is_new)
    return new, len(inputs) - len(new), left


def _keys_of(stream: str, limits: Limits) -> list[str]:
    """Give the keys of a stream that may be torn, or not there; one that is damaged otherwise is refused."""
    from triptych.reader import Reader

    try:
        with Reader(stream, limits, damage="skip") as reader:
            keys = reader.keys()
        size = os.path.getsize(stream)
    except (FileNotFoundError, Truncated):
        return []
    # Where an index is whole the Writer looks at nothing before it, and the lost images would come twice.
    for damage in reader.damage:
        if not isinstance(damage.error, Truncated) or damage.stop < size:
            raise CommandError(
                stream,
                FormatError(
                    f"bytes {damage.start:,} to {damage.stop:,} are damaged ({damage.error}), so nothing is "
                    "added; `triptych decode` gives the images that are whole; encode into another stream"
                ),
            )
    return keys


@dataclass
class Collection:
    """Inputs to be encoded into one stream, and what became of them.

    `target` is a path or stdout, `options` the Writer's without threads and executor, `engine` an address,
    `about` the metadata of the stream, `chooser` what `weigh_collection` gave, if it was asked, `summary` who
    is told what becomes of images, `classes` who labels them, if anyone. A part (`is_part`) that no image
    gets into is an empty stream, so that all parts can be joined; else there is no stream without images.
    With `all_frames` each image of a file has a key of its own, and those that are among `stored` are
    skipped.
    """

    inputs: Inputs
    target: str | IO[bytes]
    options: dict[str, Any]
    dictionary: Dictionary | None
    threads: int = 0
    metadata: bool = True
    all_frames: bool = False
    append: bool = False
    resume: bool = False
    is_part: bool = False
    engine: str | None = None
    about: dict[str, Any] | None = None
    chooser: Chooser | None = None
    classes: Classes | None = None
    summary: Summary | None = None
    is_quiet: bool = False
    failures: Failures = field(default_factory=Failures)
    stored: Counter[str] = field(default_factory=Counter)
    n_written: int = 0
    n_skipped: int = 0
    n_bytes: int = 0
    _next_lost: int = field(default=0, init=False)

    def encode(self) -> Meter:
        """Encode all; give the figures of the run."""
        saved = 0.0
        with ExitStack() as stack:
            engine = None
            if self.engine is not None:
                from triptych.interop.engine import open_engine

                engine = stack.enter_context(open_engine(self.engine))
            total = None if self.all_frames else len(self.inputs)
            meter = stack.enter_context(Meter(total, is_quiet=self.is_quiet))
            reading = Reading(bool(self.options.get("lossless")), self.metadata, self.all_frames)
            pictures = stack.enter_context(open_all(self.inputs, self.failures, self.threads, reading))
            writer: Writer | None = None
            try:
                for each, picture in pictures:
                    if self.stored[each.key] > 0:
                        self.stored[each.key] -= 1
                        self.n_skipped += 1
                        continue
                    # Only now, so that nothing is written where no image can be read.
                    writer = writer or self._open_writer(engine)
                    self._write(writer, each, picture)
                    n_done = self.n_written + len(self.failures.names)
                    meter.add(picture.pixels.nbytes, n_done, writer.size)
                    if self.resume and meter.seconds - saved >= CHECKPOINT_SECONDS:
                        saved = meter.seconds
                        writer.checkpoint()
                if self.is_part or not self.inputs:  # a stream that is resumed may want its index
                    writer = writer or self._open_writer(engine)
                if writer is not None and (self.n_written or self.is_part or not self.inputs):
                    writer.close()
                    self.n_bytes = writer.size
                self._tell_unsuited()
            except BaseException:
                if self.resume and writer is not None:
                    with suppress(TriptychError, OSError):  # the first error counts
                        writer.salvage()
                raise
            finally:
                if writer is not None:
                    writer.abort()  # does nothing after close
        return meter

    def _open_writer(self, engine: Engine | None) -> Writer:
        from triptych.writer import Writer

        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", RuntimeWarning)
            writer = Writer(
                self.target,
                self.dictionary,
                append=self.append or self.resume,
                metadata=self._news(),
                on_failure=self._lose,
                on_encoded=None if self.summary is None else self.summary.add_encoded,
                threads=self.threads if engine is None else engine.n_threads,
                executor=engine,
                chooser=self.chooser,
                **self.options,
            )
        for warning in told:
            complain(f"{self.target}: {warning.message}")
        if self.resume:
            writer.checkpoint()  # from now on, what is written stands under the final name
        return writer

    def _news(self) -> dict[str, Any] | None:
        """Give the metadata that the stream does not have yet."""
        about = dict(self.about or {})
        if self.classes is not None:
            about["classes"] = self.classes.names
        if not about or not (self.append or self.resume):
            return about or None
        from triptych.reader import Reader

        known: dict[str, Any] = {}
        limits = self.inputs.limits
        with suppress(TriptychError, OSError), Reader(self.target, limits, damage="skip") as reader:
            known = reader.metadata
            if len(reader) and self.classes is not None and known.get("classes") != about["classes"]:
                raise UsageFailure(
                    f"--label-folders: {self.target} has labels of other folders, or none, so that numbers "
                    "would mean two things; encode into another stream"
                )
        return None if about.items() <= known.items() else about

    def _write(self, writer: Writer, each: Input, picture: Picture) -> None:
        """Hand over an image; count it, or the failure that is its own."""
        from triptych.jobs import OF_IMAGES

        metadata: Metadata = picture.metadata if self.metadata else {}
        label = None if self.classes is None else self.classes.label(each)
        if self.classes is not None and label is None:
            self.failures.notes.add(each.name, "lies beside the folders of classes, and gets no label")
        if self.summary is not None:  # before it may be written
            self.summary.add_input(each, is_changed=bool(picture.changes))
        image, palette = picture.indexed or (picture.pixels, None)
        key = each.key or None
        try:
            writer.write(image, key, label, palette=palette, **metadata, **picture.timing)
        except OF_IMAGES as error:
            self.failures.add(each.name, error)
        except DictionaryMismatch as error:
            if not self.n_written:  # a dictionary that does not fit the first image is the wrong one
                raise CommandError(each.name, error) from error
            self.failures.add(each.name, error)
        else:
            self.n_written += 1

    def _tell_unsuited(self) -> None:
        n = 0 if self.chooser is None else self.chooser.n_unsuited
        if n:
            complain(
                f"{plural(n, 'image')} did not suit the dictionary and went without it; "
                "with --mode such images fail"
            )

    def _lose(self, keys: list[str | None], error: TriptychError) -> None:
        """Count the images of a frame that was to be written, and is not."""
        self.n_written -= len(keys)
        for key in keys:  # in the order of the inputs, so that none is looked at twice
            number, frame = self._find(key or "")
            self._next_lost = number + (frame == 0)
            self.failures.add(self.inputs[number]._replace(frame=frame).name, error)

    def _find(self, key: str) -> tuple[int, int]:
        """Give the number of the input that has a key, and of its frame, if the key is that of one."""
        with suppress(ValueError):
            return self.inputs.find(key, self._next_lost), 0
        source, _, frame = key.rpartition("/")
        return self.inputs.find(source, self._next_lost), int(frame)
