"""What a memory over time is worth to a matte, and what a backbone is: networks with gated
recurrent units, with state space units and with none, with blocks that scan the picture and without
them (`--arch mamba_s0,mobileone_s0`), trained on equal data for equal steps and judged on records
whose people and backgrounds none of them has seen.

    python create_training_data.py world -i CLIPS -o data/w/train --num 160 --size 96x160 --seed 71
    python create_training_data.py world -i OTHERS -o data/w/eval --num 24 --size 96x160 --seed 1001
    python -m benchmarks.matte_memory -i data/w/train --eval data/w/eval --steps 800 -o FILE

All networks and seeds take turns, update by update, so that figures of an interrupted run compare
too; all networks of a seed see the same clips. The records judged by are run as streams, from
nothing to their end. A share is the error of a matte over that of saying nobody is there: below 1
is better than nothing. Written anew after every judgement.

Axes: B batch, T frames, H W pixels.
"""

import argparse
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.timing import machine
from matting.augment import Layers, to_unit
from matting.dataset import scan_records
from matting.losses import matting_losses
from matting.metrics import flicker_error, mad
from matting.models import MattingNetwork
from matting.pretrained import load_backbone
from nunif.files import make_folder, write_json
from nunif.models import create_model
from nunif.records import Record, read_plane
from nunif.seed import generator_for
from nunif.training.optim import cosine_rates, create_optimizer, set_learning_rate
from scene.planes import ALPHA, BEHIND, COLOUR, FOREGROUND, OCCLUDER

MEMORIES = ("gru", "ssm", "none")
CLIP, BATCH = 4, 2  # frames, clips of an update
BACKBONE = 0.5  # its rate, as a share of the others'
SCORES = {"mad": mad, "dtssd": flicker_error}
STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # t of a 95 % interval, by the number of seeds


@dataclass
class Run:
    """A network in training. cpu: seconds of its updates."""

    arch: str
    memory: str
    seed: int
    model: MattingNetwork
    optimizer: torch.optim.Optimizer
    cpu: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-i", "--train", type=Path, required=True, help="records to train on")
    parser.add_argument("--eval", type=Path, required=True, help="records to judge on")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file")
    parser.add_argument("--arch", default="efficientnet_lite0", help="networks")
    parser.add_argument("--recurrent", default=",".join(MEMORIES), help="memories")
    parser.add_argument("--seeds", default="0,1,2", help="of weights and data")
    parser.add_argument("--steps", type=int, default=800, help="updates of each network")
    parser.add_argument("--judge-every", type=int, default=200, help="updates")
    parser.add_argument("--learning-rate", type=float, default=6e-4, help="at its peak")
    words = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    train, held_out = (
        scan_records(folder, min_frames=CLIP)[0] for folder in (words.train, words.eval)
    )
    seeds = [int(seed) for seed in words.seeds.split(",")]
    runs = [
        start(arch, memory, seed, words.learning_rate)
        for seed in seeds
        for arch in words.arch.split(",")
        for memory in words.recurrent.split(",")
    ]
    rows: list[dict[str, Any]] = []
    about = {
        **machine(torch.device("cpu")),
        "size": list(train[0].size),
        "clip": CLIP,
        "batch": BATCH,
        "steps": words.steps,
        "learning_rate": words.learning_rate,
        "train": len(train),
        "eval": [record.path.name for record in held_out],
    }
    peak = words.learning_rate
    rates = cosine_rates(words.steps, peak=peak, minimum=peak / 100, cycles=1)
    for number, rate in enumerate(tqdm(rates, disable=None), 1):
        for seed in seeds:
            batch = draw_batch(train, generator_for("matte memory", seed, number))
            for run in runs:
                if run.seed == seed:
                    learn(run, batch, rate)
        if number % words.judge_every == 0 or number == words.steps:
            rows += [judged(run, number, held_out) for run in runs]
            make_folder(words.output.parent)
            write_json(words.output, {**about, "rows": rows})
            print(table(rows), flush=True)


def start(arch: str, memory: str, seed: int, rate: float) -> Run:
    """A fresh network, but for what its backbone knows of photographs."""
    torch.manual_seed(seed)
    model = create_model(f"matting.{arch}", recurrent=memory)
    assert isinstance(model, MattingNetwork)
    load_backbone(model)
    model.person_head.requires_grad_(False)
    model.refiner.requires_grad_(False)
    optimizer = create_optimizer(
        "adam",
        model.train(),
        learning_rate=rate,
        weight_decay=0.0,
        betas=(0.9, 0.999),
        momentum=0.9,
        warmup_updates=0,
        rate_factor=lambda name: BACKBONE if name.startswith("encoder.") else 1.0,
    )
    return Run(arch, memory, seed, model, optimizer)


def learn(run: Run, batch: dict[str, Tensor], rate: float) -> None:
    """One update."""
    began = time.process_time()
    set_learning_rate(run.optimizer, rate)
    foreground, alpha, *_ = run.model.train()(batch["frames"])
    parts = matting_losses(foreground, alpha, batch["foreground"], batch["alpha"])
    run.optimizer.zero_grad(set_to_none=True)
    torch.stack(list(parts.values())).sum().backward()
    run.optimizer.step()
    run.cpu.append(time.process_time() - began)


def draw_batch(records: Sequence[Record], rng: np.random.Generator) -> dict[str, Tensor]:
    """Clips as they are in their records, half of them before another record's background, half
    mirrored and half backwards: (B, T, ., H, W)."""
    clips = []
    for _ in range(BATCH):
        record = records[int(rng.integers(len(records)))]
        behind = records[int(rng.integers(len(records)))] if rng.random() < 0.5 else record
        begin = int(rng.integers(min(len(record), len(behind)) - CLIP + 1))
        frames = slice(begin, begin + CLIP)
        read = {
            plane: to_unit(read_plane(source, plane.letter, source.numbers[frames]))
            for plane, source in (
                (FOREGROUND, record), (ALPHA, record), (OCCLUDER, record), (BEHIND, behind),
            )
            if source.has(plane.letter)
        }  # fmt: skip
        mirrored, backwards = (rng.random(2) < 0.5).tolist()
        for plane, x in read.items():
            x = x.flip(0) if backwards else x
            read[plane] = x.flip(-1) if mirrored else x
        layers = Layers(read[FOREGROUND], read[ALPHA], read.get(OCCLUDER), read[BEHIND])
        clips.append((layers.compose(), layers.alpha, layers.foreground))
    return dict(zip(("frames", "alpha", "foreground"), map(torch.stack, zip(*clips))))


@torch.inference_mode()
def judged(run: Run, steps: int, records: Sequence[Record]) -> dict[str, Any]:
    """A row of figures: errors as shares of those of an empty matte, means over the records."""
    run.model.eval()
    errors = {name: [0.0, 0.0] for name in SCORES}
    for record in records:
        frames = to_unit(read_plane(record, COLOUR.letter, record.numbers))
        truth = to_unit(read_plane(record, ALPHA.letter, record.numbers))[:, 0].numpy()
        alpha = run.model(frames[None])[1][0, :, 0].numpy()
        for name, score in SCORES.items():
            for place, matte in enumerate((alpha, np.zeros_like(truth))):
                errors[name][place] += score(matte, truth) / len(records)
    row: dict[str, Any] = {"arch": run.arch, "memory": run.memory}
    row |= {"seed": run.seed, "steps": steps}
    row["parameters"] = run.model.num_parameters
    row["cpu_seconds_per_step"] = round(float(np.median(run.cpu)), 4)
    for name, (mine, empty) in errors.items():
        row[name], row[f"{name}_share"] = mine, mine / empty
    return row


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: for each network and number of steps the mean over seeds and its 95 % interval."""
    names = [f"{name}_share" for name in SCORES]
    heads = ["network", "memory", "steps", "seeds", *names, "CPU s a step", "parameters"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    groups: dict[tuple[int, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["steps"], row["arch"], row["memory"]), []).append(row)
    for (steps, arch, memory), group in groups.items():
        cells = [arch, memory, str(steps), str(len(group))]
        cells += [interval([row[name] for row in group]) for name in names]
        cells.append(f"{np.median([row['cpu_seconds_per_step'] for row in group]):.3f}")
        cells.append(f"{group[0]['parameters']:,}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def interval(values: Sequence[float]) -> str:
    """The mean, and how far its 95 % interval reaches by Student's t; of two values or more."""
    if len(values) < 2:
        return f"{values[0]:.3f}"
    t = STUDENT.get(len(values), 2.0)
    half = t * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return f"{np.mean(values):.3f} ± {half:.3f}"


if __name__ == "__main__":
    main()
