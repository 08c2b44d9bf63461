"""Batches of drawn samples, loaded by worker processes, unreadable samples sorted out, and moved to
a device."""

import dataclasses
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

try:
    import resource
except ModuleNotFoundError:  # Windows, which has no such limit
    resource = None  # type: ignore[assignment]

from nunif.errors import UserError
from nunif.seed import seed_everything
from nunif.training.task import BadSample, Draw, Samples

MANY_FILES = 65536


@dataclass
class Batch:
    """The readable samples of a list of draws.

    data: what the task's collate made, None when no sample was readable (or none was drawn).
        indices: the samples in it.
    bad: index, name and reason of the others.
    """

    data: Any = None
    indices: list[int] = field(default_factory=list)
    bad: list[tuple[int, str, str]] = field(default_factory=list)

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory; torch's loader calls this."""
        return Batch(map_tensors(self.data, Tensor.pin_memory), self.indices, self.bad)


class Loader:
    """Loads batches of `samples`. The worker processes live until `close`."""

    def __init__(
        self,
        samples: Samples,
        collate: Callable[[list[Any]], Any],
        *,
        num_workers: int,
        pin_memory: bool,
    ) -> None:
        if num_workers:
            _allow_open_files()
        self.samples = samples
        self._plan: list[Sequence[Draw]] = []  # the torch loader iterates over this very list
        self._loader = DataLoader(
            _Guarded(samples),
            batch_sampler=self._plan,  # type: ignore[arg-type]
            collate_fn=_Collate(collate),
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            worker_init_fn=_start_worker,
            pin_memory=pin_memory,
            generator=torch.Generator().manual_seed(
                0
            ),  # without it, every epoch draws from torch's global generator
        )

    def load(self, batches: Sequence[Sequence[Draw]]) -> Iterator[Batch]:
        """The batches of these draws, in their order. A list without draws gives a batch without
        data.

        Raises:
            UserError: the dataset raised one, or the machine has too little for the worker
                processes.
        """
        self._plan[:] = batches
        try:
            for batch in self._loader:
                if isinstance(batch, UserError):
                    raise batch
                yield batch
        except (RuntimeError, OSError, MemoryError) as error:
            lack = lack_of(error)
            if lack is None:
                raise
            raise UserError(lack) from error

    def close(self) -> None:
        """End the worker processes.

        torch offers only its destructor for this. Run by the garbage collector, that may come after
        the end of the workers' queues, and then waits five seconds for every worker.
        """
        shut_down = getattr(getattr(self._loader, "_iterator", None), "_shutdown_workers", None)
        if shut_down is not None:
            shut_down()


_LACKS = (  # words of torch and the system, and what to say; the first that fits
    (
        r"Too many open files|ancdata",
        "too many files are open: allow more (ulimit -n 65536), or load samples without processes "
        "for it (--num-workers 0)",
    ),
    (
        r"No space left on device|shared memory|Bus error|unable to (open|write|mmap|resize)",
        "the loading processes have too little shared memory (/dev/shm): give them more (docker "
        "run --shm-size 8g), "
        "or load samples without them (--num-workers 0)",
    ),
    (
        r"DataLoader worker .*(killed by signal|exited unexpectedly)|Cannot allocate "
        r"memory|MemoryError",
        "a loading process was ended, as happens where memory runs out: use fewer of them "
        "(--num-workers 1, or 0 for none), "
        "or a smaller --batch-size",
    ),
)


def lack_of(error: BaseException) -> str | None:
    """What the machine has too little of, and what to do, if that is why loading processes failed;
    None for other errors."""
    text = f"{type(error).__name__}: {error}"
    return next((advice for words, advice in _LACKS if re.search(words, text)), None)


def _allow_open_files() -> None:
    """Let this process open as many files as the system lets it, since every tensor on its way
    between processes is one."""
    if resource is not None:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        wanted = MANY_FILES if most == resource.RLIM_INFINITY else min(most, MANY_FILES)
        if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < wanted:
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


class _Guarded(Dataset):
    """Turns the exceptions of a dataset that mean something into values, which cross process
    borders as they are."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __getitem__(self, draw: Draw) -> Any:
        # whatever draws from a global generator (a third party's augmentation) is bound to the draw
        # as well
        seed_everything(draw.seed)
        try:
            return draw.index, self.samples[draw]
        except BadSample as bad:
            return draw.index, bad
        except UserError as error:
            return draw.index, error


class _Collate:
    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, drawn: list[tuple[int, Any]]) -> Batch | UserError:
        for _, sample in drawn:
            if isinstance(sample, UserError):
                return sample
        bad = [
            (index, sample.name, sample.reason)
            for index, sample in drawn
            if isinstance(sample, BadSample)
        ]
        good = [(index, sample) for index, sample in drawn if not isinstance(sample, BadSample)]
        data = self.collate([sample for _, sample in good]) if good else None
        return Batch(data, [index for index, _ in good], bad)


def _start_worker(_: int) -> None:
    _leave_signals_to_the_trainer()
    trainer = multiprocessing.parent_process()
    # torch has a worker end when its parent does; that of a fork server's worker is the fork
    # server, which lives on
    if trainer is not None and trainer.pid != os.getppid():
        threading.Thread(target=_end_after, args=(trainer,), daemon=True).start()


def _end_after(trainer: Any) -> None:
    trainer.join()
    os._exit(1)


def _leave_signals_to_the_trainer() -> None:
    # Ctrl-C reaches every process of a terminal, a cluster's signals every process of a job; a
    # worker that died of one would take the window being finished with it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)

    def only_once(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # torch's way to end a worker that hangs

    signal.signal(signal.SIGTERM, only_once)


def to_device(data: Any, device: torch.device) -> Any:
    """The same batch with all its tensors on `device`."""
    return map_tensors(data, lambda tensor: tensor.to(device, non_blocking=True))


def map_tensors(data: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Apply `function` to every tensor in dicts, lists, tuples and dataclasses; other values stay
    as they are."""
    if isinstance(data, Tensor):
        return function(data)
    if isinstance(data, dict):
        return {key: map_tensors(value, function) for key, value in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(map_tensors(value, function) for value in data))
    if isinstance(data, (list, tuple)):
        return type(data)(map_tensors(value, function) for value in data)
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        values = {
            item.name: map_tensors(getattr(data, item.name), function)
            for item in dataclasses.fields(data)
        }
        return dataclasses.replace(data, **values)
    return data
