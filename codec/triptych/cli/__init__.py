"""The command line: `triptych VERB ...`.

Each verb is a module here, imported when it is called; none imports numba, numpy or Pillow before it has work
for it. Exit codes: 0 ok, 1 some inputs failed, 2 usage, 3 corrupt, 4 dictionary missing, 5 limit, 130
interrupted, 143 terminated. Every expected failure is one line on stderr (`failures`).
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from triptych import __version__
from triptych.cli.failures import CommandError, UsageFailure, is_expected
from triptych.cli.usage import explain, note_call
from triptych.interrupts import orderly_end, settle

__all__ = ["group", "main"]

_VERBS = {
    "encode": ("encode", "Encode images into a stream."),
    "decode": ("decode", "Decode a stream into image files."),
    "info": ("info", "Say what a stream holds, without decoding pixels."),
    "verify": ("verify", "Check that streams are whole."),
    "cat": ("streams", "Join streams, without decoding them."),
    "index": ("streams", "Write the index of a stream anew."),
    "extract": ("extract", "Copy some images of a stream into another."),
    "fit": ("fit", "Learn a dictionary that many images share."),
    "demo": ("demo", "Measure Triptych against PNG, WebP and JPEG, here and now."),
    "warmup": ("warmup", "Compile all kernels ahead of the first use."),
}


class _Verbs(click.Group):
    """Imports a verb when it is called; lists them without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        module = import_module(f"triptych.cli.{_VERBS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in _VERBS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except (click.NoSuchOption, click.BadOptionUsage) as error:
            raise UsageFailure(explain(error)) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _VERBS and not args[0].startswith("-"):
            raise UsageFailure(f"there is no verb {args[0]!r}; the verbs are {', '.join(_VERBS)}")
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            note_call(ctx, command, rest)
        return name, command, rest

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise UsageFailure(explain(error)) from error
        except (Exception, KeyboardInterrupt) as error:
            if (status := settle(error)) is not None:
                ctx.exit(status)
            if isinstance(error, BrokenPipeError) or not is_expected(error):
                raise  # a broken pipe is click's, which ends silently
            raise CommandError(None, error) from error


@click.group(
    "triptych",
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`-` is stdin or stdout. Exit codes: 0 ok, 1 some inputs failed, 2 usage, 3 corrupt, "
    "4 dictionary missing, 5 limit.",
)
@click.version_option(__version__, "-V", "--version", prog_name="triptych", message="%(prog)s %(version)s")
def group() -> None:
    """Triptych: learned image codecs in one stream. Fit once, encode millions."""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # keys may be in any script
    with orderly_end():
        group.main(args=args, prog_name="triptych")
