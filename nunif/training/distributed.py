"""One process or several (torchrun, or the tasks of a Slurm step): the few exchanges between them
that training needs."""

import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from nunif.device import create_device
from nunif.errors import ToldElsewhere, UserError
from nunif.place import Place, first_host, need_word, place_in_run

if dist.is_available():
    # its functions keep the group of the moment they are imported at as a default, and a group that
    # is kept after it was left aborts the process now and then: gloo's threads live on into the end
    # of Python, and drop tensors there
    import torch.distributed.nn.functional
    from torch.distributed.rendezvous import rendezvous

__all__ = ["Group", "Place", "first_host", "first_process_does", "is_first_process", "join_group"]

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

# until the first update, when networks are compiled and disks are cold, and for what the first
# process does alone: files are listed, and written
PATIENCE = 1800.0
GRACE = 2.0  # for the others to say that they are there, once an exchange has failed


@dataclass
class Group:
    """The processes of a run. rank 0 is the one that writes files.

    A process that doesn't come to an exchange within `seconds`, or is gone, is a UserError in all
    others, of which one tells people.
    """

    rank: int = 0
    size: int = 1
    seconds: float = PATIENCE  # see `wait_at_most`
    _buffers: dict[tuple[int, torch.dtype], Tensor] = field(default_factory=dict, repr=False)

    def gather(self, value: Value) -> list[Value]:
        """The values of all processes in the order of their ranks, given to all of them."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self._exchange():
            dist.all_gather_object(values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        flags = torch.tensor([float(flag)])
        with self._exchange():
            dist.all_reduce(flags)
        return flags.item() > 0

    def add_up(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in one exchange."""
        if self.size == 1 or not tensors:
            return
        sizes = [tensor.numel() for tensor in tensors]
        kind = sum(sizes), tensors[0].dtype
        flat = self._buffers.get(kind)  # the same every time: gradients are as large as the model
        if flat is None or flat.device != tensors[0].device:
            flat = self._buffers[kind] = tensors[0].new_empty(sum(sizes))
        torch.cat([tensor.detach().reshape(-1) for tensor in tensors], out=flat)
        with self._exchange():
            dist.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split(sizes), strict=True):
            tensor.copy_(part.view_as(tensor))

    def copy_from_first(self, tensors: list[Tensor]) -> None:
        """Give every process the tensors of rank 0."""
        if self.size > 1:
            with self._exchange():
                for tensor in tensors:
                    dist.broadcast(tensor, src=0)

    def ask_first(self, function: Callable[[], Value]) -> Value:
        """Run `function` in rank 0 only and give all processes its result, or its UserError, which
        rank 0 tells of. The others wait for it patiently."""
        if self.size == 1:
            return function()
        answer: list[Any] = [None, None]
        if self.rank == 0:
            try:
                answer[0] = function()
            except UserError as error:
                answer[1] = error
        seconds = self.seconds
        self.wait_at_most(max(PATIENCE, seconds))
        with self._exchange():
            dist.broadcast_object_list(answer, src=0)
        self.wait_at_most(seconds)
        if answer[1] is not None:
            raise answer[1] if self.rank == 0 else ToldElsewhere(str(answer[1]))
        return answer[0]

    def wait_at_most(self, seconds: float) -> None:
        """From now on, exchanges wait so long for a process that doesn't come."""
        if self.size > 1 and seconds != self.seconds:
            _set_timeout(seconds)
        self.seconds = seconds

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        except RuntimeError as error:  # of torch: the time is up, or somebody's connection is gone
            raise self._lost(time.monotonic() - began) from error

    def _lost(self, seconds: float) -> UserError:
        """What to say of an exchange that failed after so many seconds, or that another process
        says it."""
        answering = _who_answers(self.rank, self.size)
        missing = [rank for rank in range(self.size) if rank not in answering]
        names = ", ".join(map(str, missing[:8])) + (" and others" if len(missing) > 8 else "")
        who = f"rank {names}" if len(missing) == 1 else f"ranks {names}"
        text = (
            f"{who if missing else 'one of the processes'} of {self.size} did not answer within "
            f"{math.ceil(seconds)} s or is gone: look there for the reason; --resume goes on from "
            "the last checkpoint (--exchange-timeout says how long to wait)"
        )
        return UserError(text) if self.rank == min(answering) else ToldElsewhere(text)


def _set_timeout(seconds: float) -> None:
    # older versions of torch have the second name alone
    function = getattr(dist, "set_timeout", None) or dist.distributed_c10d._set_pg_timeout
    function(timedelta(seconds=seconds))


def _who_answers(rank: int, size: int) -> list[int]:
    """The ranks of the processes that find now that an exchange has failed, this one included."""
    answering = [rank]
    keys = [f"answers/{other}" for other in range(size)]
    patience = GRACE if rank else 2 * GRACE  # the first may hold what the others ask

    def ask() -> None:
        store = dist.distributed_c10d._get_default_store()
        if not _is_there(store):
            return
        with suppress(RuntimeError):
            store.set(keys[rank], "here")
            deadline = time.monotonic() + patience
            while len(answering) < size and time.monotonic() < deadline:
                answering[:] = [other for other, key in enumerate(keys) if store.check([key])]
                time.sleep(0.05)

    asking = threading.Thread(target=ask, daemon=True)  # a process that is halted never answers
    asking.start()
    asking.join(3 * GRACE)
    return list(answering)


def _is_there(store: Any) -> bool:
    """Whether a process holds a store; torch tells people of it in many lines where none does."""
    while hasattr(store, "underlying_store"):
        store = store.underlying_store
    try:
        socket.create_connection((store.host, store.port), timeout=GRACE).close()
    except (OSError, AttributeError):
        return False
    return True


def is_first_process() -> bool:
    """Whether this process is the only one, or the first of several."""
    return place_in_run().rank == 0


def first_process_does(function: Callable[[], Value]) -> Value:
    """As `Group.ask_first`, in the group that this process has joined, if it has joined one.

    What the first process lists, all others take: a folder that looks otherwise to them gives bad
    samples there, and no other draws.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return function()
    return Group(dist.get_rank(), dist.get_world_size()).ask_first(function)


@contextmanager
def join_group(gpu: int) -> Iterator[tuple[Group, torch.device]]:
    """The group that torchrun or srun made, or this process alone, and the device to use.

    With several processes each takes the GPU of its place on its machine, unless `gpu` is -1 for
    the CPU. A group that the caller has joined already is used and left as it is. Only the first
    process logs; the others log errors, behind their rank.

    Raises:
        UserError: see `place_in_run`; there is no such GPU, some processes have one and others
            none, or not all of them came.
    """
    place = place_in_run()
    if place.size <= 1:
        yield Group(), create_device(gpu)
        return
    if dist.is_initialized():
        group = Group(dist.get_rank(), dist.get_world_size())
        _set_timeout(group.seconds)
        yield group, _device_of(place, gpu)
        return
    with _speaking_as(place.rank):
        device = _device_of(place, gpu)
        _meet(place, device)
        try:
            yield Group(place.rank, place.size), device
        finally:
            with suppress(RuntimeError):  # the others may be gone
                dist.destroy_process_group()


def _device_of(place: Place, gpu: int) -> torch.device:
    if gpu < 0 or not torch.cuda.is_available():
        return create_device(-1)
    local, count = place.local_rank, torch.cuda.device_count()
    if local is None:
        need_word({}, "LOCAL_RANK")
    if place.is_slurms and count == 1:
        local = 0  # --gpus-per-task shows each task its own one alone
    assert local is not None
    if local >= count:
        raise UserError(
            f"process {local} of this machine has no GPU of its own, torch finds {count}: start as "
            "many processes as there are GPUs, or give --gpu -1"
        )
    device = create_device(local)
    torch.cuda.set_device(device)
    return device


def _meet(place: Place, device: torch.device) -> None:
    """
    Raises:
        UserError: not all came, or not all compute on the same kind of device.
    """
    try:
        limit = timedelta(seconds=PATIENCE)
        meeting = rendezvous(place.meets_at, place.rank, place.size, timeout=limit)
        store, _, _ = next(meeting)
        store.set(f"device/{place.rank}", device.type)
        kinds = [store.get(f"device/{rank}").decode() for rank in range(place.size)]
        if len(set(kinds)) == 1:
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
                store=store,
                rank=place.rank,
                world_size=place.size,
                timeout=limit,
            )
    except RuntimeError as error:
        raise UserError(
            f"the {place.size} processes of this run did not find each other: start all of them, "
            "on machines that reach each other (MASTER_ADDR, MASTER_PORT)"
        ) from error
    if len(set(kinds)) > 1:
        without = [rank for rank, kind in enumerate(kinds) if kind != "cuda"]
        text = (
            f"ranks without a GPU: {', '.join(map(str, without))}; the others have one: all need "
            "one, or --gpu -1"
        )
        raise UserError(text) if place.rank == 0 else ToldElsewhere(text)


@contextmanager
def _speaking_as(rank: int) -> Iterator[None]:
    """While the block runs, every process but the first logs errors alone, with its rank; the
    UserError that ends the block is logged so too."""
    if rank == 0:
        yield
        return
    root, mark = logging.getLogger(), logging.Formatter(f"[rank {rank}] %(message)s")
    level, formatters = root.level, {handler: handler.formatter for handler in root.handlers}
    root.setLevel(logging.ERROR)
    for handler in formatters:
        handler.setFormatter(mark)
    try:
        yield
    except ToldElsewhere:
        raise
    except UserError as error:
        logger.error("error: %s", error)
        raise ToldElsewhere(str(error)) from error
    finally:
        root.setLevel(level)
        for handler, formatter in formatters.items():
            handler.setFormatter(formatter)
