"""Matting in stages, killed in each of them, ends with the bits of a run that nobody disturbed."""

from random import Random

import pytest

from matting.commands import CREATE_TRAINING_DATA
from nunif import cli
from nunif.models import read_checkpoint
from tests.faults.marks import starts_processes
from tests.faults.processes import (
    Command,
    make_tiny_mattes,
    report_updates_of_stages,
    save_after_every_update,
)
from tests.faults.training import bits
from tests.matting.recipe import shrink_recipe

pytestmark = starts_processes("SIGKILL, process groups and cheap processes")
STAGES = 4
SEED = 17


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """The command, but for its folder."""
    folder = tmp_path_factory.mktemp("stages")
    world = ["world", "-o", folder / "data" / "train", "--num", 2, "--size", "40x64", "--seq", 3]
    assert cli.run(CREATE_TRAINING_DATA, [str(word) for word in [*world, "--people", 1]]) == 0
    recipe = shrink_recipe(folder)
    return [
        "train.py", "matting", "-i", folder / "data", "--curriculum", recipe, "--skip-eval",
        "--arch", "matting.test_tiny", "--gpu", -1, "--num-workers", 0, "--disable-tensorboard",
    ]  # fmt: skip


def start(words, folder, *more, hooks=()):
    log = folder / f"log{len(list(folder.glob('log*')))}"
    return Command([*words, "--model-dir", folder / "m", *more], log, (make_tiny_mattes,), *hooks)


def files_of(folder):
    """All models and checkpoints of a run."""
    return {
        path.relative_to(folder).as_posix(): path for path in sorted((folder / "m").rglob("*.pth"))
    }


def test_killed_in_each_stage_it_ends_with_the_same_bits(words, tmp_path):
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    calm.mkdir()
    killed.mkdir()
    undisturbed = start(words, calm)
    rng = Random(SEED)
    for stage in range(1, STAGES + 1):
        reports = killed / f"reports{stage}"
        reports.mkdir()
        hooks = [(report_updates_of_stages, reports), (save_after_every_update,)]
        more = ["--resume"] if stage > 1 else []
        command = start(words, killed, *more, hooks=hooks)
        update = rng.randint(1, 2)
        command.wait_for_reports(reports / f"stage{stage}", update)
        command.kill()
    last = start(words, killed, "--resume")
    assert last.wait() == 0, last.text
    assert "stage 3 of 4, high resolution: done" in last.text
    assert undisturbed.wait() == 0, undisturbed.text
    wanted, found = files_of(calm), files_of(killed)
    assert list(found) == list(wanted)
    assert [name for name in found if "final" in name] == [
        f"m/stage{number}_final.pth" for number in range(1, STAGES + 1)
    ]
    for name, path in wanted.items():
        contents = [read_checkpoint(each) for each in (path, found[name])]
        for content in contents:
            for key in ("updated_at", "train_kwargs"):
                content.pop(key, None)
        assert bits(contents[0]) == bits(contents[1]), name
