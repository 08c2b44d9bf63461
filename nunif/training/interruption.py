"""Ctrl-C, SIGTERM, SIGUSR1 and SIGUSR2, taken at the next good moment."""

import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

logger = logging.getLogger(__name__)

# SIGTERM ends a job (Slurm, systemd, Docker); Slurm's --signal=USR1@SECONDS comes so long before
# the time limit
SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
]


class Interruption:
    """While the block runs, a signal only sets `requested` and `in_window`; after one, Ctrl-C
    raises KeyboardInterrupt.

    The other signals never do: a cluster sends several of them, and the later ones must not cost
        the checkpoint. The
    handlers from before are put back at the end. Outside the main thread, where Python allows no
    handlers, the block changes nothing.

    requested: stop where the next window ends. in_window: do not wait for its end.
    describe: says what will be stopped after, when a signal comes.
    """

    def __init__(self, describe: Callable[[], str] = lambda: "stopping soon") -> None:
        self.requested = self.in_window = False
        self._describe = describe
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            # None: the handler was not set from Python and can't be put back
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if not self.in_window:
            self.requested = self.in_window = True
            logger.warning(
                "%s; another Ctrl-C stops at once, without a checkpoint", self._describe()
            )
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
