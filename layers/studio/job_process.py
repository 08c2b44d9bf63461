"""What a job of the page runs in: a command of `python -m layers`, in a process of its own.

Commands show their progress to terminals alone. Here the error output says that it is one, so that
the bars of tqdm come, and the environment that `job.py` sets makes lines for a program of them.
"""

import io
import sys

from layers.commands import LAYERS
from nunif.cli import main


class ForBars(io.TextIOWrapper):
    """An output that bars take for a terminal."""

    def isatty(self) -> bool:
        return True


if __name__ == "__main__":
    sys.stderr = ForBars(
        sys.stderr.buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True
    )
    main(LAYERS, prog="python -m layers")
