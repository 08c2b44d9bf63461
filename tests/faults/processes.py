"""Commands in real processes that can be killed. A server that has imported everything forks them,
in milliseconds.

On Windows each is started afresh. The hooks run in such a process before the command does; they
slow it down, report what it does, or stop it where a test wants to kill it, and change nothing of
what it computes.
"""

import hashlib
import importlib
import json
import multiprocessing
import os
import re
import runpy
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 900.0  # only for what hangs: far more than anything takes on a machine with ten others


def busy(seconds: float) -> float:
    """A time on a machine that has nothing else to do, as long as it may be on this one now."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else 1
    return seconds * max(1.0, load)


def draw_moments(seed: int, *kinds: tuple[int, Callable[[Random], tuple]]) -> list[tuple]:
    """So many moments of every kind, in random order."""
    rng = Random(seed)
    moments: list[tuple] = []
    for count, draw in kinds:
        moments += [draw(rng) for _ in range(count)]
    rng.shuffle(moments)
    return moments


FORKS = "forkserver" in multiprocessing.get_all_start_methods()
CONTEXT = multiprocessing.get_context("forkserver" if FORKS else "spawn")
if FORKS:
    modules = (
        "train",
        "generate",
        "generate_frames",
        "generate_images",
        "runtime.apply",
    )
    others = [
        "matting.train",
        "scene.motion_parallax",
        "torch.utils.tensorboard",
        "matplotlib.figure",
        "matplotlib.backends.backend_agg",
        "tests.faults.processes",
    ]
    # which the first optimizer imports, and which takes longer than all else
    others += ["torch._dynamo"]
    CONTEXT.set_forkserver_preload([*(f"inpaint.{name}" for name in modules), *others])

METHOD = multiprocessing.get_start_method()  # by which commands start processes of their own

Hook = tuple[Any, ...]  # a function of this module and its arguments


class Command:
    """A command in a process of its own, which leads a group of processes."""

    running: ClassVar[list["Command"]] = []  # all that have not ended, as far as anybody has looked

    def __init__(self, words: Sequence[object], log: Path, *hooks: Hook) -> None:
        self.log = log
        self._process = CONTEXT.Process(
            target=_run, args=([str(word) for word in words], log, METHOD, hooks)
        )
        self._process.start()
        self.pid = self._process.pid
        self.running.append(self)

    def kill(self) -> None:
        """kill -9; on Windows, TerminateProcess."""
        self._process.kill()
        self._process.join(SECONDS)
        self._forget()

    def send(self, number: int, *, group: bool = False) -> None:
        (os.killpg if group else os.kill)(self.pid, number)

    def wait(self, seconds: float = SECONDS) -> int:
        """The exit code; below zero, the signal that ended it."""
        self._process.join(seconds)
        code = self._process.exitcode
        if code is None:
            self.kill()
            raise AssertionError(f"still running after {seconds} s:\n{self.text}")
        self._forget()
        return code

    def _forget(self) -> None:
        if self in self.running:
            self.running.remove(self)

    def group_is_gone(self, seconds: float) -> bool:
        """Whether all processes that it had started have ended, or do so in time."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return True
            if time.monotonic() > deadline:
                os.killpg(self.pid, signal.SIGKILL)
                return False
            time.sleep(0.05)

    def wait_for_reports(self, path: Path, number: int = 1) -> None:
        """Wait until a hook has reported so often."""
        deadline = time.monotonic() + SECONDS
        while count(path) < number:
            is_over = self._process.exitcode is not None or time.monotonic() > deadline
            assert not is_over or count(path) >= number, (
                f"{path.name} has {count(path)} of {number} reports:\n{self.text}"
            )
            time.sleep(0.002)

    def wait_for_text(self, pattern: re.Pattern[str]) -> None:
        """Wait until it has said something."""
        deadline = time.monotonic() + SECONDS
        while not pattern.search(self.text):
            is_over = self._process.exitcode is not None or time.monotonic() > deadline
            assert not is_over or pattern.search(self.text), (
                f"never said {pattern.pattern!r}:\n{self.text}"
            )
            time.sleep(0.01)

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def lines(self) -> list[str]:
        return self.text.strip().splitlines()


def _run(words: list[str], log: Path, method: str, hooks: Sequence[Hook]) -> None:
    start_processes_by(method)
    if hasattr(os, "setsid"):
        os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(ROOT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import torch

    from tests.models import less_to_trace

    torch.set_num_threads(1)
    less_to_trace(pytest.MonkeyPatch())  # less to compute too, to the end of this process
    for function, *arguments in hooks:
        function(*arguments)
    sys.argv = words
    if words[0].endswith(".py"):
        runpy.run_path(words[0], run_name="__main__")
    else:
        runpy.run_module(words[0], run_name="__main__")


def count(path: Path) -> int:
    """How often a hook has reported."""
    return path.stat().st_size if path.exists() else 0


def _report(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b".")


def _stay() -> None:
    """Stay here until somebody sends a signal. In small steps: one that arrives in the moment
    before a long sleep begins would be heard of only when it ends."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        time.sleep(0.02)


def start_processes_by(method: str) -> None:
    """How the command starts processes of its own: "fork", or "forkserver", Python's way from 3.14
    on."""
    multiprocessing.set_start_method(method, force=True)


def wait_less(seconds: float) -> None:
    """Wait for another training so long only."""
    from nunif.training import start

    start.LOCK_SECONDS = seconds


def report_updates(path: Path) -> None:
    """Report each update of the trainer when it is done, and take a moment."""
    from inpaint import train
    from nunif.training.trainer import WindowDone
    from tests.watching import train_watched_by

    def look(event: Any) -> None:
        if isinstance(event, WindowDone):
            _report(path)
            time.sleep(0.05)

    train.train = train_watched_by(look)


def make_tiny_mattes() -> None:
    """Know a matting network of few channels, `matting.test_tiny`."""
    from matting.models import MattingNetwork
    from nunif.models import register_model

    sizes: dict[str, Any] = {"widths": [4, 4, 4, 4], "pooled": 8}
    register_model("matting.test_tiny", MattingNetwork, variant="mobilenetv3", **sizes)


def report_updates_of_stages(folder: Path) -> None:
    """Report each update of matting when it is done, in a file for each stage, and take a
    moment."""
    from matting import train
    from nunif.training.trainer import WindowDone
    from tests.watching import train_watched_by

    def look(event: Any) -> None:
        if isinstance(event, WindowDone):
            _report(folder / event.trainer.options.model_dir.name)
            time.sleep(0.05)

    train.train = train_watched_by(look)


def save_after_every_update() -> None:
    from nunif.training import trainer

    trainer.CHECKPOINT_SECONDS = -1


def stall_in_save(number: int, num_bytes: int, path: Path) -> None:
    """Write so many bytes of the checkpoint that is saved as the `number`th, report it, and stay
    there."""
    from nunif.models import checkpoint

    real_save, real_write, left = (
        checkpoint._write_torch,
        checkpoint._Sink.write,
        [number, num_bytes],
    )

    def save(content: Any, target: Path) -> None:
        left[0] -= "checkpoint" in target.name
        real_save(content, target)

    def write(sink: Any, data: bytes) -> int:
        if left[0] == 0:
            if left[1] < len(data):
                real_write(sink, data[: left[1]])
                sink.flush()
                _report(path)
                _stay()
            left[1] -= len(data)
        return real_write(sink, data)

    checkpoint._write_torch, checkpoint._Sink.write = save, write


def stall_in_record(number: int, path: Path) -> None:
    """Write a picture that is the `number`th halfway, report it, and stay there."""
    from nunif import records

    real, left = records.encode_rgb, [number]

    def encode(picture: Any) -> bytes:
        left[0] -= 1
        if left[0] < 0:
            _report(path)
            _stay()
        return real(picture)

    records.encode_rgb = encode


def stall_in_folder(number: int, path: Path) -> None:
    """Write the `number`th frame of all folders halfway, report it, and stay there."""
    from nunif.video import folder

    real, left = folder.FolderWriter._write, [number]

    def write(writer: Any, contents: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            real(writer, {name: data[: len(data) // 2] for name, data in contents.items()})
            _report(path)
            _stay()
        real(writer, contents)

    folder.FolderWriter._write = write


def stall_before_command(path: Path) -> None:
    """Report that the command is about to be loaded, and stay there."""
    from nunif import cli

    def load(function: str) -> None:
        _report(path)
        _stay()

    cli._load = load


class Stripes:
    """A depth estimator for the impatient: near posts all over the picture, and a fifth of the
    clips is refused."""

    name, runs_in_workers = "Stripes", True

    def __call__(self, frames: Any) -> Any:
        import torch

        from scene.depth import ClipRejected

        if int(frames.sum()) % 5 == 0:
            raise ClipRejected("too little motion")
        disparity = torch.zeros(len(frames), 90, 160)
        disparity[:, :, torch.arange(160) // 6 % 2 == 1] = 1
        return disparity


def work_fast() -> None:
    """Crop records out of pictures of a few hundred pixels, with a depth that needs no work."""
    from inpaint import generate, generate_views

    generate_views.VIEW_SIZES = {180: 1 / 3, 216: 2 / 3}
    generate.create_estimator = lambda *args, **kwargs: Stripes()


def report_records(path: Path, module: str = "inpaint.generate_crops") -> None:
    """Report each record when it is made, and take a moment."""
    generate: Any = importlib.import_module(module)
    real = generate.write_record

    def write_record(*args: Any) -> None:
        real(*args)
        _report(path)
        time.sleep(0.1)

    generate.write_record = write_record


def watch_records(folder: Path, stop: Path, out: Path) -> None:
    """Until there is a file `stop`, read every record the moment it can be seen. Writes {record:
    {file: hash}} as JSON."""
    seen: dict[str, dict[str, str]] = {}
    is_last = False
    while not is_last:
        is_last = stop.exists()
        for entry in os.scandir(folder):
            if entry.is_dir() and not entry.name.startswith(".") and entry.name not in seen:
                seen[entry.name] = hashes(Path(entry))
        time.sleep(0.0005)
    out.write_text(json.dumps(seen))


def hashes(folder: Path) -> dict[str, str]:
    """The hash of every file below a folder, hidden ones too."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def fill_disk_before(name: str, filler: Path) -> None:
    """When a file of this name is about to be written, take all the space that its disk has
    left."""
    from nunif import files

    real = files.whole_path

    def whole_path(path: Path) -> Any:
        if path.name == name:
            fill(filler)
        return real(path)

    files.whole_path = whole_path


def fill(filler: Path, *, leave: int = 0) -> None:
    """Take all the space of a disk but for some bytes."""
    with open(filler, "wb", buffering=0) as file:
        with suppress(OSError):  # the end of it
            while True:
                file.write(bytes(1 << 16))
        if leave:
            file.truncate(max(0, file.tell() - leave))
