"""How a verb was called: options in messages as they were typed, and what is wrong with a call in one line.

The library's errors name options as keywords of Python (`TriptychError.options`); whoever typed `-k` is told
of `-k`, not of n_colors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import click

_CALL = "triptych.call"


def note_call(context: click.Context, command: click.Command, args: Sequence[str]) -> None:
    """Keep what was typed after a verb."""
    context.meta[_CALL] = command, tuple(args)


def as_typed(name: str) -> str:
    """Give an option of the verb by its name in Python as it was typed, or in full where it was not.

    What is no option of the verb stays as it is.
    """
    option = _find(name)
    return name if option is None else _typed_form(option) or option.opts[-1]


def if_typed(name: str) -> str | None:
    """Give an option of the verb as it was typed, if it was."""
    option = _find(name)
    return None if option is None else _typed_form(option)


def with_typed(text: str, names: Iterable[str]) -> str:
    """Give a message in which these options are named as they were typed."""
    spelled = {name: as_typed(name) for name in names}
    if not spelled:
        return text
    return re.sub(rf"\b({'|'.join(spelled)})\b(=True)?", lambda found: spelled[found[1]], text)


def explain(error: click.UsageError) -> str:
    """Say in a line what is wrong with a call, and how it is right."""
    context = error.ctx or click.get_current_context(silent=True)
    help_of = "" if context is None else f"; see `{context.command_path} --help`"
    text = error.message.rstrip(".")
    if isinstance(error, click.NoSuchOption):
        meant = " or ".join(error.possibilities or ())
        return f"there is no option {error.option_name}" + (f"; is it {meant}?" if meant else help_of)
    if isinstance(error, click.BadOptionUsage):
        option = _find(error.option_name)
        if option is not None and option.is_flag:
            return f"{error.option_name} takes no value"
        metavar = None if option is None else option.metavar
        return f"a value is missing: {error.option_name} {metavar or 'VALUE'}"
    if isinstance(error, click.MissingParameter) and error.param is not None:
        flag = f"{error.param.opts[0]} " if isinstance(error.param, click.Option) else ""
        return f"{flag}{error.param.metavar or ''} is missing{help_of}"
    if isinstance(error, click.BadParameter) and error.param is not None and error.param.name is not None:
        return f"{as_typed(error.param.name)}: {text}"
    return text[:1].lower() + text[1:] + help_of


def _find(name: str) -> click.Option | None:
    """Give an option of the verb that was called: by the name of its parameter, or by one of its forms."""
    context = click.get_current_context(silent=True)
    call = None if context is None else context.meta.get(_CALL)
    for option in call[0].params if call else ():
        forms = (*option.opts, *option.secondary_opts)
        names = (option.name, *forms, *(form.lstrip("-").replace("-", "_") for form in forms))
        if isinstance(option, click.Option) and name in names:
            return option
    return None


def _typed_form(option: click.Option) -> str | None:
    """Give the first form of an option that was typed: `-k` also in `-k16` and `-fk16`."""
    command, args = click.get_current_context().meta[_CALL]
    flags = [each for each in command.params if isinstance(each, click.Option) and each.is_flag]
    switches = "".join(form[1] for each in flags for form in each.opts if len(form) == 2)
    before = f"-[{switches}]*" if switches else "-"
    for text in args:
        if text == "--":
            break
        for form in (*option.opts, *option.secondary_opts):
            name = re.escape(form.lstrip("-"))
            written = rf"--{name}(=.*)?" if form[:2] == "--" else rf"{before}{name}.*"
            if re.fullmatch(written, text, re.DOTALL):
                return form
    return None
