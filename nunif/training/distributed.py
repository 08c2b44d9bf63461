"""One process or several (torchrun): the few exchanges between them that training needs."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from nunif.device import create_device
from nunif.errors import UserError

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


def is_first_process() -> bool:
    """Whether this process is the only one, or torchrun's first."""
    return int(os.environ.get("WORLD_SIZE", "1")) <= 1 or os.environ.get("RANK") == "0"


@contextmanager
def join_group(gpu: int) -> Iterator[tuple[Group, torch.device]]:
    """The group that torchrun made (WORLD_SIZE in the environment), or this process alone, and the
    device to use.

    With several processes each takes the GPU of its LOCAL_RANK, unless `gpu` is -1 for the CPU. A
    group that the caller has joined already is used and left as it is.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        yield Group(), create_device(gpu)
        return
    joined_before = dist.is_initialized()
    on_gpu = gpu >= 0 and torch.cuda.is_available()
    device = create_device(int(os.environ["LOCAL_RANK"]) if on_gpu else -1)
    if on_gpu:
        torch.cuda.set_device(device)
    if not joined_before:
        dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Group(dist.get_rank(), dist.get_world_size()), device
    finally:
        if not joined_before:
            dist.destroy_process_group()
