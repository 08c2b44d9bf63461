"""What a change did: where the time goes in the generator and in a training step, in another
checkout and in this one.

    python -m benchmarks.compare CHECKOUT [--rounds 3]

The other checkout is of this project, older or newer. Both take turns, in processes of their own,
on the same film and clip; the measuring code is this one's. Writes results/compare.json and the
picture compare.png.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
import torch
from torch import Tensor, nn

from benchmarks.timing import ROOT, machine
from nunif import timing
from nunif.files import write_json

RESULT = ROOT / "benchmarks" / "results" / "compare.json"
MARK = "PROFILE "
MODEL = "inpaint.memory_dstt_v1_small"
REST = "recalling, filling, loss"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path, help="the other checkout")
    parser.add_argument("--rounds", type=int, default=3)
    words = parser.parse_args()
    trees = {"before": words.checkout.resolve(), "after": ROOT}
    found: dict[str, list[dict]] = {name: [] for name in trees}
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(words.rounds):
            for name, tree in trees.items():
                found[name].append(in_checkout(tree, scratch))
    commits = {
        name: subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=tree, capture_output=True, text=True
        ).stdout.strip()
        for name, tree in trees.items()
    }
    profiles = {
        what: {
            name: {part: median(run[what][part] for run in runs) for part in runs[0][what]}
            for name, runs in found.items()
        }
        for what in found["after"][0]
    }
    about = machine(torch.device("cpu"))
    write_json(RESULT, {**about, "commits": commits, "rounds": words.rounds, "profiles": profiles})
    draw(profiles, commits, RESULT.parent.parent / "compare.png")


def in_checkout(tree: Path, scratch: str) -> dict[str, dict[str, float]]:
    """Run `child` with the packages of a checkout, and this one's benchmarks and clock, which an
    older one lacks."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import benchmarks; sys.path.insert(0, "
        f"{str(tree)!r}); "
        "import nunif; from importlib import util; name = 'nunif.timing'; "
        f"spec = util.spec_from_file_location(name, {str(Path(timing.__file__))!r}); "
        "sys.modules[name] = util.module_from_spec(spec); "
        "spec.loader.exec_module(sys.modules[name]); "
        f"from benchmarks.compare import child; child({scratch!r})"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=scratch
    )
    line = next((line for line in output.stdout.splitlines() if line.startswith(MARK)), None)
    if line is None:
        raise SystemExit(f"{tree} can't be measured:\n{output.stderr}")
    return json.loads(line.removeprefix(MARK))


def child(scratch: str) -> None:
    """CPU milliseconds of a record by stage, and of a training step by part."""
    from benchmarks import generator
    from benchmarks.inputs import write_film

    torch.set_num_threads(1)
    film = Path(scratch) / "film.mp4"
    if not film.exists():
        write_film(film, generator.FILM_FRAMES, keyframe_every=48)
    generator.make(film, Path(scratch) / "records", workers=1)  # warm
    stages = generator.stages(film, Path(scratch) / "records")
    profile = {
        "generator, a record": {row["stage"]: row["cpu_ms"] for row in stages},
        "training step": step_parts(),
    }
    print(MARK + json.dumps(profile), flush=True)


def step_parts() -> dict[str, float]:
    """CPU milliseconds of each part of the network in a step, forwards and backwards; the rest is
    what is left."""
    from benchmarks import step
    from nunif import device
    from nunif.models import create_model

    torch.manual_seed(0)
    model = create_model(MODEL).train()
    frames, holes = step.clip(torch.device("cpu"))
    inputs: dict[str, list[tuple[nn.Module, tuple]]] = defaultdict(list)
    parts: dict[str, list[Any]] = {
        "encoder": [model.encoder],
        "hierarchy": [model.hierarchy],
        "to and from tokens": [model.to_tokens, model.from_tokens],
        "blocks": list(model.blocks),
        "decoder": [model.decoder],
    }
    handles = [
        module.register_forward_pre_hook(
            lambda module, args, name=name: inputs[name].append((module, args))
        )
        for name, modules in parts.items()
        for module in modules
    ]
    step.step(model, frames, holes)
    for handle in handles:
        handle.remove()
    getattr(device, "keep_freed_memory", lambda: None)()  # as the trainer does, where it does
    spent = {
        name: cpu_ms(lambda name=name: [forth_and_back(*call) for call in inputs[name]])
        for name in parts
    }
    spent[REST] = max(0.0, cpu_ms(lambda: step.step(model, frames, holes)) - sum(spent.values()))
    return spent


def forth_and_back(module: nn.Module, args: tuple) -> None:
    """Run a part on what it was given, and its backward pass."""
    args = tuple(x.detach().requires_grad_() if isinstance(x, Tensor) else x for x in args)
    output = module(*args)
    output = output[0] if isinstance(output, tuple) else output
    output.backward(torch.ones_like(output))
    module.zero_grad(set_to_none=True)


def cpu_ms(run: Callable[[], Any]) -> float:
    run()
    begin = time.process_time()
    run()
    return 1000 * (time.process_time() - begin)


def draw(
    profiles: dict[str, dict[str, dict[str, float]]], commits: dict[str, str], path: Path
) -> None:
    """Bars of the parts, before over after, one picture for each profile."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        len(profiles), 1, figsize=(9, 2.2 * len(profiles)), layout="constrained"
    )
    for axis, (title, runs) in zip(axes, profiles.items(), strict=True):
        for name, parts in runs.items():
            left = 0.0
            for number, (part, value) in enumerate(parts.items()):
                label = part if name == "after" else None
                axis.barh(
                    f"{name} ({commits[name]})", value, left=left, color=f"C{number}", label=label
                )
                left += value
            axis.text(left, f"{name} ({commits[name]})", f" {left:.0f} ms", va="center")
        axis.set_title(title)
        axis.set_xlabel("CPU ms")
        axis.invert_yaxis()
        axis.margins(x=0.2)
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
