"""What the environment tells a process of the run that it belongs to (no torch)."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from nunif.errors import UserError


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

    @property
    def is_slurms(self) -> bool:
        """Whether Slurm tells it, and not torchrun."""
        return self.meets_at != "env://"


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
            need_word(environment, name)
        local = _number(environment, "LOCAL_RANK") if "LOCAL_RANK" in environment else None
        rank = _number(environment, "RANK")
        if rank >= size:
            raise UserError(
                f"RANK={rank} in the environment isn't below WORLD_SIZE={size}: the ranks of "
                f"{size} processes are 0 to {size - 1}"
            )
        return Place(rank, size, local)
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
        nodes = environment.get("SLURM_STEP_NODELIST") or need_word(
            environment, "SLURM_JOB_NODELIST"
        )
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


def need_word(environment: Mapping[str, str], name: str) -> str:
    """
    Raises:
        UserError: the environment lacks it.
    """
    if not environment.get(name):
        raise UserError(
            f"{name} isn't set, though others say that this process is one of several: start them "
            "by torchrun or srun, which set it"
        )
    return environment[name]


def _number(environment: Mapping[str, str], name: str) -> int:
    text = need_word(environment, name)
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"{name}={text} in the environment is no number: torchrun and srun set it")
    return int(text)


def is_first_process() -> bool:
    """Whether this process is the only one, or the first of several."""
    return place_in_run().rank == 0


def restarts_allowed(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun starts a run again that fails."""
    return int(environment.get("TORCHELASTIC_MAX_RESTARTS") or 0) > 0


def is_restarted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun has started this run again after an attempt that failed."""
    return int(environment.get("TORCHELASTIC_RESTART_COUNT") or 0) > 0


def run_id(environment: Mapping[str, str] = os.environ) -> str | None:
    """What all attempts of a run under torchrun have in common; None for a run that is started
    once."""
    return environment.get("TORCHELASTIC_RUN_ID") if restarts_allowed(environment) else None


def num_cpus(environment: Mapping[str, str] = os.environ) -> int:
    """The CPUs that the processes of this run on this machine may use together, as far as this
    process is told: for a Slurm task, its own."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    told = environment.get("SLURM_CPUS_PER_TASK", "")
    return min(count, int(told)) if told.isdigit() and int(told) > 0 else count


def num_sharing(environment: Mapping[str, str] = os.environ) -> int:
    """How many processes share `num_cpus`: those of torchrun on this machine. Slurm gives each of
    its tasks its own."""
    return max(1, int(environment.get("LOCAL_WORLD_SIZE") or 1))
