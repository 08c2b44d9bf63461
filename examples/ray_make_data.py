"""Make records of a folder of films on a Ray cluster, one task a film; run in the project's folder:

python examples/ray_make_data.py films/ -o data/v1/train --model-type Any_V2_S
"""  # what follows the folder goes to the command; all machines must see the films and -o

import subprocess
import sys
from pathlib import Path

import ray


@ray.remote(num_cpus=2, max_retries=3, retry_exceptions=True)  # num_gpus=1 for a depth network
def make(film: str, words: list[str]) -> str:
    command = [sys.executable, "create_training_data.py", "video_inpaint", "-i", film, *words]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)  # noqa: S603
    if done.returncode not in (0, 1):  # 1: it told why, and would again
        raise RuntimeError(f"{film}: {done.stderr[-500:]}")
    return (done.stderr.strip().splitlines() or [film])[-1]


ray.init()
films = sorted(str(path) for path in Path(sys.argv[1]).iterdir())
print(*ray.get([make.remote(film, sys.argv[2:]) for film in films]), sep="\n")
