"""A long piece of work as a process of its own: it can be cancelled, and if it crashes the page
stays."""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import IO

from nunif.errors import UserError, first_line

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]  # where `layers` can be imported from
PATIENCE = 5.0  # seconds that a cancelled process gets to tidy up
MARK = "@bar"
# how tqdm shows its bars there, and how often at most, in seconds
BARS = {"TQDM_BAR_FORMAT": f"{MARK} {{n}} {{desc}}", "TQDM_MININTERVAL": "0.4"}
_BAR = re.compile(rf"{MARK} (\d+) ?(.*)")

RUNNING, DONE, FAILED, CANCELLED = "running", "done", "failed", "cancelled"


@dataclass(frozen=True)
class Progress:
    """done, total: frames of all passes over the film."""

    status: str
    done: int
    total: int
    seconds_left: float | None = None
    message: str = ""


class Job:
    """A command of `python -m layers` that runs.

    kind: what it does, for the page.
    """

    def __init__(
        self,
        kind: str,
        words: Sequence[str],
        *,
        total: int,
        finish: Callable[[], None],
        program: Sequence[str] = ("-m", "layers.studio.job_process"),
    ) -> None:
        """
        Args:
            words: behind `python -m layers`.
            total: frames of all its passes.
            finish: called when it has ended well, before anybody is told.
            program: what Python runs with these words.
        """
        self.kind = kind
        self._finish = finish
        self._lock = Lock()
        self._status = RUNNING
        self._message = ""
        self._total = total
        self._done: dict[str, int] = {}  # frames, by the names of the bars
        self._began = time.monotonic()
        is_posix = os.name == "posix"
        logger.info("python -m layers %s", " ".join(words))
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, *program, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={
                **os.environ,
                **BARS,
                "PYTHONPATH": os.pathsep.join(
                    [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
                ),
            },
            # Ctrl-C in the terminal is for the page, which then ends its jobs
            start_new_session=is_posix,
            creationflags=0 if is_posix else subprocess.CREATE_NEW_PROCESS_GROUP,  # type: ignore[attr-defined]
        )
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        return self._status == RUNNING

    def progress(self) -> Progress:
        with self._lock:
            done = min(sum(self._done.values()), self._total)
            left = None
            if done:
                left = (time.monotonic() - self._began) * (self._total - done) / done
            return Progress(self._status, done, self._total, left, self._message)

    def cancel(self) -> None:
        """End it, and wait until it has gone."""
        with self._lock:
            if self._status == RUNNING:
                self._status = CANCELLED
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))
            self._process.wait()
        self._thread.join(PATIENCE)

    def _signal(self, number: int) -> None:
        if self._process.poll() is not None:
            return
        if os.name == "posix":
            os.killpg(self._process.pid, number)
        else:
            self._process.terminate()

    def _watch(self) -> None:
        """Follow what the process says, to its end."""
        assert self._process.stderr is not None
        last, error = "", ""
        for line in lines_of(self._process.stderr):
            if bar := _BAR.match(line):
                with self._lock:
                    self._done[bar[2]] = int(bar[1])
                continue
            logger.info("%s", line)
            last = line
            if line.startswith("error: "):
                error = line.removeprefix("error: ")
        code = self._process.wait()
        if code == 0 and self.is_running:
            try:
                self._finish()
            except (OSError, UserError) as problem:
                code, error = 1, first_line(problem)
        with self._lock:
            if self._status == CANCELLED:
                return
            if code and not error:
                error = f"it ended unexpectedly ({last or code}); the terminal says more"
            self._status, self._message = (FAILED, error) if code else (DONE, last)


def lines_of(stream: IO[bytes]) -> Iterator[str]:
    """The lines of a terminal's output as they come, each way to begin one taken as an end, without
    blank ones."""
    rest = b""
    while chunk := os.read(stream.fileno(), 1 << 16):
        *whole, rest = re.split(rb"[\r\n]+", rest + chunk)
        yield from filter(None, (line.decode("utf-8", "replace").strip() for line in whole))
    if text := rest.decode("utf-8", "replace").strip():
        yield text
