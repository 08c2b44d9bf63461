"""Options as frozen dataclasses: one definition gives the command line, its checks and what a file
records.

A field is declared with `option(...)`; its type comes from the annotation (bool, int, float, str,
Path, one of these `| None`, or `tuple[one of these, ...]` for a flag that may be given several
times). This module does not import torch.
"""

import argparse
import dataclasses
import logging
import types
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from nunif.errors import UserError

logger = logging.getLogger(__name__)

Options = TypeVar("Options")


def option(
    *flags: str,
    default: Any = dataclasses.MISSING,
    help: str,
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    metavar: str | None = None,
    excludes: str | None = None,
) -> Any:
    """A field of an options dataclass.

    flags: the words of the command line; without any, `--field-name`. One word without a dash makes
        the field an argument without a flag, shown by that word; with a default it may be left out.
    default: without one the option is required. A bool is a switch that turns the default around.
    excludes: the field of an option that is not to be given beside it, not even with its default.
    choices: the values a string may take; minimum, maximum: the bounds of a number, both included.
    """
    metadata = dict(
        flags=flags,
        help=help,
        choices=choices,
        minimum=minimum,
        maximum=maximum,
        metavar=metavar,
        excludes=excludes,
    )
    return dataclasses.field(default=default, kw_only=True, metadata=metadata)


def share_option(*, default: float, help: str) -> float:
    """The option of a number from 0 to 1."""
    return option(default=default, minimum=0, maximum=1, help=help)


def flag_of(field: dataclasses.Field) -> str:
    """The word by which messages name an option: its first long flag."""
    flags = field.metadata["flags"]
    return next(
        (flag for flag in flags if flag.startswith("--")), f"--{field.name.replace('_', '-')}"
    )


def add_arguments(parser: argparse.ArgumentParser, options_type: type) -> None:
    """Add one argument to `parser` for every field of the dataclass."""
    hints = get_type_hints(options_type)
    told = {field.metadata["excludes"] for field in dataclasses.fields(options_type)}
    for field in dataclasses.fields(options_type):
        meta = field.metadata
        flags = meta["flags"] or (flag_of(field),)
        value_type = _value_type(hints[field.name])
        required = field.default is dataclasses.MISSING
        if not flags[0].startswith("-"):
            parser.add_argument(
                field.name,
                type=value_type,
                metavar=flags[0],
                help=meta["help"].replace("%", "%%"),
                **_may_be_left_out(field),
            )
            continue
        help_text = meta["help"].replace("%", "%%")
        if value_type is bool:
            parser.add_argument(
                *flags,
                dest=field.name,
                action="store_false" if field.default else "store_true",
                help=help_text,
            )
            continue
        if not required and field.default not in (None, "", ()):
            help_text += f" (default: {field.default})"
        default = None if required else field.default
        # a value out of `choices` is reported by check(), like every other wrong value
        choices = "{" + ",".join(meta["choices"]) + "}" if meta["choices"] else None
        parser.add_argument(
            *flags,
            dest=field.name,
            type=value_type,
            required=required,
            default=list(default) if isinstance(default, tuple) else default,
            metavar=meta["metavar"] or choices or value_type.__name__.upper(),
            help=help_text,
            **_action_of(hints[field.name], is_told=field.name in told),
        )


def _action_of(hint: Any, *, is_told: bool) -> dict[str, Any]:
    """How a value is stored. is_told: another option needs to know whether it was given."""
    if get_origin(hint) is tuple:
        return {"action": "append"}
    return {"action": _Given} if is_told else {}


class _Given(argparse.Action):
    """Stores a value, and that it was given."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, values)
        setattr(namespace, f"given_{self.dest}", True)


def _may_be_left_out(field: dataclasses.Field) -> dict[str, Any]:
    """What tells a parser so of an argument without a flag."""
    if field.default is dataclasses.MISSING:
        return {}
    return {"nargs": "?", "default": field.default}


def from_namespace(options_type: type[Options], namespace: argparse.Namespace) -> Options:
    """The checked options of a parsed command line."""
    names = [field.name for field in dataclasses.fields(options_type)]  # type: ignore[arg-type]
    values = {name: getattr(namespace, name) for name in names}
    options = options_type(
        **{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    )
    table = {field.name: field for field in dataclasses.fields(options_type)}  # type: ignore[arg-type]
    for field in table.values():
        other = field.metadata["excludes"]
        if other and values[field.name] is not None and hasattr(namespace, f"given_{other}"):
            raise UserError(
                f"{flag_of(field)} {values[field.name]} and {flag_of(table[other])} "
                f"{values[other]} say the same: leave one of them out"
            )
    check(options)
    return options


def check(options: Any) -> None:
    """Check every value against its field's choices and bounds, then call the options' own `check`,
    if there is one.

    Raises:
        UserError: names the flag, the value and what is allowed.
    """
    for field in dataclasses.fields(options):
        value, meta = getattr(options, field.name), field.metadata
        if value is None:
            continue
        if meta["choices"] and value not in meta["choices"]:
            raise UserError(
                f"{flag_of(field)} {value} is not known: choose one of {', '.join(meta['choices'])}"
            )
        low, high = meta["minimum"], meta["maximum"]
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            bounds = f"from {low} to {high}"
            if low is None or high is None:
                bounds = f"at least {low}" if high is None else f"at most {high}"
            raise UserError(f"{flag_of(field)} {value} is out of bounds: give a number {bounds}")
    if hasattr(options, "check"):
        options.check()


def to_dict(options: Any) -> dict[str, Any]:
    """The options as plain values for JSON or a model file; paths become text."""
    values = dataclasses.asdict(options)
    return {
        name: str(value) if isinstance(value, Path) else value for name, value in values.items()
    }


def changed(options: Any) -> list[str]:
    """The flags of all fields whose value is not the default, in the order of declaration."""
    return [
        flag_of(field)
        for field in dataclasses.fields(options)
        if field.default is not dataclasses.MISSING
        and getattr(options, field.name) != field.default
    ]


def tell_no_effect(options: Any, flags: tuple[str, ...], where: str) -> None:
    """A line for each of the flags that was given and does nothing there."""
    for flag in changed(options):
        if flag in flags:
            logger.warning("%s has no effect %s", flag, where)


def parse_size(text: str) -> tuple[int, int]:
    """ "360x640" -> (360, 640), height before width as in the tensors.

    Raises:
        UserError: not two numbers of 8 or more.
    """
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(
        side.isascii() and side.isdigit() and int(side) >= 8 for side in sides
    ):
        raise UserError(
            f"--size {text} is no size: write height x width in pixels, such as 360x640"
        )
    return int(sides[0]), int(sides[1])


def parse_names(flag: str, text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """ "static,moving" -> ("static", "moving"); "none" alone is no name.

    Raises:
        UserError: a name that is not in `known`.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(","))) if text != "none" else ()
    for name in names:
        if name not in known:
            raise UserError(f"{flag} {text}: {name!r} is not known: choose from {', '.join(known)}")
    return names


def _value_type(hint: Any) -> type:
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = [part for part in get_args(hint) if part is not type(None)]
    if get_origin(hint) is tuple:
        hint = get_args(hint)[0]
    if hint not in (bool, int, float, str, Path):
        raise TypeError(f"an option can't have the type {hint}")
    return hint
