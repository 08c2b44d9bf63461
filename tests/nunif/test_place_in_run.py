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
import logging, sys, time, torch
sys.path.insert(0, sys.argv[1])
from nunif.errors import UserError
from nunif.training.distributed import is_first_process, join_group
def open_nothing():
    raise UserError("there is nothing")
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
try:
    with join_group(-1) as (group, device):
        total = [torch.tensor(float(group.rank + 1))]
        group.add_up(total)
        line = f"{group.rank} of {group.size}, {is_first_process()}, {total[0]:g}"
        print(*group.gather(line), sep="; ")
        logging.info("told")
        said = group.any(group.rank == 1), group.any(False)
        print(*said, sep="; ")
        try:
            group.ask_first(lambda: open_nothing())
        except UserError as error:
            print(type(error).__name__, error)
        group.wait_at_most(1)
        if group.rank == 1:
            time.sleep(7)
        group.any(False)
except UserError as error:
    print(type(error).__name__, error)
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
        ({**TOLD, "RANK": "2"}, "RANK=2 in the environment isn't below WORLD_SIZE=2: the ranks"),
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
    """They exchange what they should, one speaks for both, and one that is late ends the run."""
    script = tmp_path / "join.py"
    script.write_text(JOIN, encoding="utf-8")
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    tasks = as_tasks_of_a_step([sys.executable, script, ROOT], **pipes)
    first, second = (
        [line for line in task.communicate(timeout=1500)[0].splitlines() if "[Gloo]" not in line]
        for task in tasks
    )
    both = ["0 of 2, True, 3; 1 of 2, False, 3", "True; False"]
    assert first[:4] == [both[0], "told", both[1], "UserError there is nothing"]
    assert first[4].startswith("UserError rank 1 of 2 did not answer within 2 s or is gone: look")
    assert second[:3] == [*both, "ToldElsewhere there is nothing"]
    # it wakes up when the first has gone
    assert second[3].startswith("[rank 1] error: ") and second[4].startswith("ToldElsewhere ")
    assert (len(first), len(second)) == (5, 5)
