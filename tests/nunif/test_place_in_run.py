"""What a process learns from its environment about the run that it belongs to, and joining it."""

import subprocess
import sys
from pathlib import Path

import pytest

from nunif.errors import UserError
from nunif.training.distributed import Place, first_host, place_in_run
from tests.nunif.test_training_processes import as_tasks_of_a_step

ROOT = Path(__file__).parents[2]
STEP = {
    "SLURM_PROCID": "3",
    "SLURM_NTASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_ID": "0",
    "SLURM_JOB_ID": "1234567",
    "SLURM_JOB_NODELIST": "gpu[03-05,9],x1",
}
TOLD = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "9"}
JOIN = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from nunif.training.distributed import is_first_process, join_group
with join_group(-1) as (group, device):
    total = [torch.tensor(float(group.rank + 1))]
    group.add_up(total)
    line = f"{group.rank} of {group.size}, {is_first_process()}, {total[0]:g}"
    print(*group.gather(line), sep="; ")
"""


@pytest.mark.parametrize(
    "environment, place",
    [
        ({}, Place()),
        (TOLD, Place(1, 2, 1)),
        ({**TOLD, "WORLD_SIZE": "1"}, Place()),
        ({**STEP, **TOLD}, Place(1, 2, 1)),
        (STEP, Place(3, 8, 1, f"tcp://gpu03:{20000 + 16 * 1234567 % 20000}")),
        ({**STEP, "SLURM_STEP_NODELIST": "b7"}, Place(3, 8, 1, "tcp://b7:33072")),
        ({**STEP, "MASTER_ADDR": "h", "MASTER_PORT": "5"}, Place(3, 8, 1, "tcp://h:5")),
        ({**STEP, "SLURM_NTASKS": "1"}, Place()),
        ({name: STEP[name] for name in STEP if name != "SLURM_STEP_ID"}, Place()),
        ({name: STEP[name] for name in STEP if name != "SLURM_PROCID"}, Place()),
    ],
)
def test_the_place_of_a_process(environment, place):
    assert place_in_run(environment) == place


@pytest.mark.parametrize(
    "environment, message",
    [
        ({"RANK": "0"}, "WORLD_SIZE isn't set, though others say"),
        ({**TOLD, "MASTER_ADDR": ""}, "MASTER_ADDR isn't set"),
        ({**TOLD, "RANK": "x"}, "RANK=x in the environment is no number"),
        ({**STEP, "SLURM_JOB_NODELIST": ""}, "SLURM_JOB_NODELIST isn't set"),
    ],
)
def test_an_environment_that_says_half_is_refused(environment, message):
    with pytest.raises(UserError, match=message):
        place_in_run(environment)


@pytest.mark.parametrize(
    "nodes, host",
    [("node1", "node1"), ("a,b", "a"), ("n[7,9]", "n7"), ("r[1-2]c[03-04]x", "r1c03x")],
)
def test_the_first_host_of_a_list(nodes, host):
    assert first_host(nodes) == host


def test_two_tasks_of_a_step_are_one_group(tmp_path):
    script = tmp_path / "join.py"
    script.write_text(JOIN, encoding="utf-8")
    tasks = as_tasks_of_a_step([sys.executable, script, ROOT], stdout=subprocess.PIPE)
    outputs = [task.communicate(timeout=1500)[0] for task in tasks]
    assert outputs == ["0 of 2, True, 3; 1 of 2, False, 3\n"] * 2
