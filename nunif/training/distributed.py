"""One process or several (torchrun, or the tasks of a Slurm step): the few exchanges between them
that training needs."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from nunif.device import create_device
from nunif.errors import UserError

if dist.is_available():
    # its functions keep the group of the moment they are imported at as a default, and a group that
    # is kept after it was left aborts the process now and then: gloo's threads live on into the end
    # of Python, and drop tensors there
    import torch.distributed.nn.functional

Value = TypeVar("Value")


@dataclass(frozen=True)
class Group:
    """The processes of a run. rank 0 is the one that writes files."""

    rank: int = 0
    size: int = 1

    def gather(self, value: Value) -> list[Value]:
        """The values of all processes in the order of their ranks, given to all of them."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return any(self.gather(flag))

    def add_up(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in one exchange."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(
            tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True
        ):
            tensor.copy_(part.view_as(tensor))

    def copy_from_first(self, tensors: list[Tensor]) -> None:
        """Give every process the tensors of rank 0."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def ask_first(self, function: Callable[[], Value]) -> Value:
        """Run `function` in rank 0 only and give all processes its result, or its UserError."""
        if self.size == 1:
            return function()
        answer: list[Any] = [None, None]
        if self.rank == 0:
            try:
                answer[0] = function()
            except UserError as error:
                answer[1] = str(error)
        dist.broadcast_object_list(answer, src=0)
        if answer[1] is not None:
            raise UserError(answer[1])
        return answer[0]


@dataclass(frozen=True)
class Place:
    """What the environment tells a process of the run that it belongs to.

    local_rank: among those of its machine; None where that isn't told. meets_at: where the
        processes meet, as torch.distributed takes it; "env://": where MASTER_ADDR and MASTER_PORT
        say.
    """

    rank: int = 0
    size: int = 1
    local_rank: int | None = None
    meets_at: str = "env://"


def place_in_run(environment: Mapping[str, str] = os.environ) -> Place:
    """By what torchrun sets, else by what Slurm sets in a step of several tasks, else alone.

    Raises:
        UserError: a word of it is missing, or no number.
    """
    if "WORLD_SIZE" in environment or "RANK" in environment:
        size = _number(environment, "WORLD_SIZE")
        if size <= 1:
            return Place()
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            _word(environment, name)
        local = _number(environment, "LOCAL_RANK") if "LOCAL_RANK" in environment else None
        return Place(_number(environment, "RANK"), size, local)
    # a batch script's own commands are no step, and srun of one task is one process
    if not {"SLURM_PROCID", "SLURM_STEP_ID"} <= environment.keys():
        return Place()
    size = _number(environment, "SLURM_NTASKS") if "SLURM_NTASKS" in environment else 1
    if size <= 1:
        return Place()
    local = _number(environment, "SLURM_LOCALID")
    return Place(_number(environment, "SLURM_PROCID"), size, local, _meets_at(environment))


def _meets_at(environment: Mapping[str, str]) -> str:
    """The first host of a Slurm step, at a port that follows from the job's number, unless
    MASTER_ADDR and MASTER_PORT are given."""
    host = environment.get("MASTER_ADDR")
    if host is None:
        nodes = environment.get("SLURM_STEP_NODELIST") or _word(environment, "SLURM_JOB_NODELIST")
        host = first_host(nodes)
    port = environment.get("MASTER_PORT")
    if port is None:
        job, step = _number(environment, "SLURM_JOB_ID"), _number(environment, "SLURM_STEP_ID")
        port = str(20000 + (16 * job + step % 16) % 20000)
    return f"tcp://{host}:{port}"


def first_host(nodes: str) -> str:
    """ "gpu[03-05,9],x1" -> "gpu03", as Slurm writes lists of nodes."""
    head = re.match(r"[^,\[]*(\[[^\]]*\][^,\[]*)*", nodes)
    assert head is not None  # nothing matches too
    return re.sub(r"\[([^-,\]]*)[^\]]*\]", r"\1", head[0])


def _word(environment: Mapping[str, str], name: str) -> str:
    if not environment.get(name):
        raise UserError(
            f"{name} isn't set, though others say that this process is one of several: start them "
            "by torchrun or srun, which set it"
        )
    return environment[name]


def _number(environment: Mapping[str, str], name: str) -> int:
    text = _word(environment, name)
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"{name}={text} in the environment is no number: torchrun and srun set it")
    return int(text)


def is_first_process() -> bool:
    """Whether this process is the only one, or the first of several."""
    return place_in_run().rank == 0


@contextmanager
def join_group(gpu: int) -> Iterator[tuple[Group, torch.device]]:
    """The group that torchrun or srun made, or this process alone, and the device to use.

    With several processes each takes the GPU of its place on its machine, unless `gpu` is -1 for
    the CPU. A group that the caller has joined already is used and left as it is.

    Raises:
        UserError: see `place_in_run`; there is no such GPU.
    """
    place = place_in_run()
    if place.size <= 1:
        yield Group(), create_device(gpu)
        return
    joined_before = dist.is_initialized()
    on_gpu = gpu >= 0 and torch.cuda.is_available()
    if on_gpu and place.local_rank is None:
        _word({}, "LOCAL_RANK")
    device = create_device(place.local_rank or 0 if on_gpu else -1)
    if on_gpu:
        torch.cuda.set_device(device)
    if not joined_before:
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            init_method=place.meets_at,
            rank=place.rank,
            world_size=place.size,
        )
    try:
        yield Group(dist.get_rank(), dist.get_world_size()), device
    finally:
        if not joined_before:
            dist.destroy_process_group()
