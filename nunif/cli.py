"""The command line: a table of commands, parsed without torch, run by late import, left by one
exit."""

import argparse
import errno
import importlib
import importlib.util
import io
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from nunif import options as options_module
from nunif.errors import Stopped, ToldElsewhere, UserError
from nunif.place import restarts_allowed

logger = logging.getLogger(__name__)

END_SIGNALS = ("SIGTERM", "SIGUSR1", "SIGUSR2")  # beside Ctrl-C; Windows has the first alone
_PLAIN_ERRORS = {  # of the system, which may come up wherever a file is looked at
    errno.ENAMETOOLONG: "the name is too long for this file system, choose a shorter one",
    errno.EMFILE: "too many files are open, allow more (ulimit -n 65536)",
}
EXIT_OK, EXIT_ERROR, EXIT_INTERRUPTED = 0, 1, 130


@dataclass(frozen=True)
class Command:
    """One row of a table of commands.

    name: the word on the command line; options: a frozen dataclass of `nunif.options.option`
        fields;
    function: "package.module:function", imported only when the command runs and called with the
        options.
    """

    name: str
    options: type
    function: str
    help: str


def run(
    commands: Sequence[Command], argv: Sequence[str] | None = None, *, prog: str | None = None
) -> int:
    """Parse `argv`, run the command that it names, and return the exit code.

    0: done; 1: a UserError, printed as one line; 2: a command line that can't be parsed; 130:
    interrupted.
    """
    parser = argparse.ArgumentParser(prog=prog)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="command")
    for command in commands:
        subparser = subparsers.add_parser(command.name, help=command.help, description=command.help)
        options_module.add_arguments(subparser, command.options)
        subparser.set_defaults(row=command)
    namespace = parser.parse_args(argv)
    command = namespace.row
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        values = options_module.from_namespace(command.options, namespace)
        _load(command.function)(values)
    except ToldElsewhere:
        return EXIT_ERROR
    except UserError as error:
        _print_error(str(error))
        return EXIT_ERROR
    except KeyboardInterrupt as interruption:
        print("interrupted", file=sys.stderr)
        # torchrun would start what fails again
        is_done = isinstance(interruption, Stopped) and restarts_allowed()
        return EXIT_OK if is_done else EXIT_INTERRUPTED
    except BrokenPipeError:
        # the reader of our output has gone (`... | head`): nobody is left to read an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except OSError as error:
        if error.errno not in _PLAIN_ERRORS:
            raise
        _print_error(f"{error.filename}: {_PLAIN_ERRORS[error.errno]}")
        return EXIT_ERROR
    return EXIT_OK


def _print_error(text: str) -> None:
    # it may quote names out of a stranger's file, which must not steer the terminal
    print(
        "error: " + "".join(letter if letter.isprintable() else "?" for letter in text),
        file=sys.stderr,
    )


def main(commands: Sequence[Command], *, prog: str | None = None) -> None:
    """`run` for the end of a script: the exit code becomes the process's, and SIGTERM, SIGUSR1 and
    SIGUSR2, by which a cluster asks a job to end in time, are taken like Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if isinstance(sys.stdout, io.TextIOWrapper):
        # for names that the terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    for name in END_SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), interrupt)
    sys.exit(run(commands, prog=prog))


def _load(function: str):
    module_name, _, name = function.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        own = {__name__.partition(".")[0], module_name.partition(".")[0]}
        if not package:
            raise
        if importlib.util.find_spec(package) is None:
            lack = f"this command needs the package {package!r}, which is not installed"
            raise UserError(f"{lack}: pip install -e .") from error
        if package in own:
            raise  # a module of ours is missing: our own code is broken
        lack = f"this command needs {error.name}, which the installed {package!r} lacks"
        raise UserError(f"{lack}: install another version of it") from error
    return getattr(module, name)
