"""The scripts for clusters, run with stand-ins for what only a cluster has."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nunif.video.writer import write_video
from scene.world import render_scene
from tests.whole_matrix import in_whole_matrix

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "slurm" / "train.sbatch"
DATA_SCRIPT = SCRIPT.with_name("make_data.sbatch")

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def run(
    tmp_path: Path, *words: str, code: int = 0, leaves: str = "", script: Path = SCRIPT
) -> tuple[int, list[str]]:
    """The script's exit code, and the command lines of the cluster's programs. leaves: a file that
    is there at the end of what runs."""
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    for name in ("srun", "scontrol", "python"):
        path = programs / name
        lines = [f'echo {name} "$@" >> "{calls}"']
        if name != "scontrol":
            lines += [f'touch "{leaves}"'] * bool(leaves) + [f"exit {code}"]
        path.write_text("\n".join(["#!/bin/bash", *lines, ""]))
        path.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "SLURM_JOB_ID": "12",
        "SLURM_CPUS_PER_TASK": "8",
    }
    environment["PYTHON"] = "in box python" if script == SCRIPT else "python"
    done = subprocess.run(
        ["bash", script, *words], cwd=tmp_path, env=environment, capture_output=True, timeout=600
    )
    return done.returncode, calls.read_text().splitlines() if calls.exists() else []


STARTED = "srun --kill-on-bad-exit=0 in box python train.py"


def test_a_run_goes_on_where_it_can(tmp_path):
    words = ("matting", "-i", "data/w", "--model-dir", "models/m")
    assert run(tmp_path, *words) == (0, [f"{STARTED} {' '.join(words)} --resume-if-there"])


@pytest.mark.parametrize("folder", [".", "stage2"])
def test_a_run_that_was_stopped_is_queued_again(tmp_path, folder):
    (tmp_path / "m" / folder).mkdir(parents=True)
    stopped = f"m/{folder}/stopped"
    code, calls = run(tmp_path, "inpaint", "--model-dir=m", code=130, leaves=stopped)
    assert code == 130 and calls == [
        f"{STARTED} inpaint --model-dir=m --resume-if-there",
        "scontrol requeue 12",
    ]


def test_what_fails_is_not_queued_again(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "stopped").touch()  # of the time before
    code, calls = run(tmp_path, "inpaint", "--model-dir", "m", code=1)
    assert code == 1 and len(calls) == 1


def test_a_task_of_an_array_makes_its_share(tmp_path):
    words = ("video_inpaint", "-i", "films", "-o", "data/v1/train", "--shard-by", "clip")
    assert run(tmp_path, *words, script=DATA_SCRIPT) == (
        0,
        [
            "python create_training_data.py video_inpaint --shard auto --max-workers 8 -i films "
            "-o data/v1/train --shard-by clip"
        ],
    )


@pytest.mark.parametrize("script", [SCRIPT, DATA_SCRIPT], ids=lambda path: path.name)
def test_the_scripts_are_sound(script):
    subprocess.run(["bash", "-n", script], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", script], check=True)


class Ray:
    """Runs tasks here, again when they fail as often as they allow."""

    def init(self):
        pass

    def remote(self, *, num_cpus, max_retries, retry_exceptions):
        assert retry_exceptions

        def of(function):
            function.remote = lambda *words: (function, words, max_retries)
            return function

        return of

    def get(self, tasks):
        return [self.run(*task) for task in tasks]

    def run(self, function, words, retries):
        try:
            return function(*words)
        except RuntimeError:
            assert retries
            return self.run(function, words, retries - 1)


def test_the_example_for_ray_runs_a_command_for_each_film(tmp_path, monkeypatch, capsys):
    """One that is killed runs again, one that tells why it can't be used does not."""
    films = tmp_path / "films"
    films.mkdir()
    for name in ("a.mp4", "b.mp4", "killed.mp4"):
        (films / name).touch()
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/words\necho "told of $4" >&2\ncase "$4" in\n'
        f"*b.mp4) exit 1;;\n*killed.mp4) [ -e {tmp_path}/once ] || "
        f"{{ touch {tmp_path}/once; kill -9 $$; }};;\nesac\n"
    )
    python.chmod(0o755)
    monkeypatch.setitem(sys.modules, "ray", Ray())
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(sys, "argv", ["example", str(films), "-o", "out", "--seq", "8"])
    runpy.run_path(str(ROOT / "examples" / "ray_make_data.py"))
    told = [f"told of {films / name}" for name in ("a.mp4", "b.mp4", "killed.mp4")]
    assert capsys.readouterr().out.splitlines() == told
    runs = (tmp_path / "words").read_text().splitlines()
    assert [line.split("/")[-1] for line in runs] == [
        f"{name}.mp4 -o out --seq 8" for name in ("a", "b", "killed", "killed")
    ]
    assert all(line.startswith("create_training_data.py video_inpaint -i ") for line in runs)


@in_whole_matrix
def test_ray_itself_makes_the_same_records(tmp_path):
    pytest.importorskip("ray")
    films = tmp_path / "films"
    films.mkdir()
    for number in range(2):
        scene = render_scene(192, 108, 32, seed=number)
        write_video(films / f"{number}.mp4", (frame for frame, _ in scene), fps=30)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = ["--model-type", "MotionParallax", "--size", "96"]

    def run_on(program: list[str], out: str) -> dict[str, bytes]:
        command = [sys.executable, *program, "-o", str(tmp_path / out), *words]
        subprocess.run(command, check=True, cwd=ROOT, env=environment)
        files = (path for path in (tmp_path / out).rglob("*") if path.is_file())
        return {str(path.relative_to(tmp_path / out)): path.read_bytes() for path in files}

    by_ray = run_on(["examples/ray_make_data.py", str(films)], "ray")
    alone = run_on(["create_training_data.py", "video_inpaint", "-i", str(films)], "alone")
    assert by_ray == alone and len(alone) > 40


def test_without_what_is_needed_nothing_starts(tmp_path):
    assert run(tmp_path, "matting", "-i", "data") == (2, [])
    shutil.rmtree(tmp_path / "bin")
    assert run(tmp_path, script=DATA_SCRIPT) == (2, [])
