"""What makes the memory earn its place: variants trained on equal data for equal steps, judged on
clips never seen.

    python -m benchmarks.ablation -i RECORDS --eval RECORDS --steps 300 --seeds 1,2 -o
    benchmarks/results/NAME.json

Both folders hold records of 12 frames or more (`create_training_data.py frames` makes them; masks
are not needed, the holes are made here). All variants of a seed see the same clips, tiles and holes
in the same order. After the training every eval record is run frame by frame as a stream, once with
the memory carried and once with it zeroed before every frame. The score is hole-PSNR. Finished runs
are kept in the output file and not done again.

Axes: B batch, T frames, H W pixels, N tokens, C size of a token.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.timing import machine
from inpaint.dataset import scan_records
from inpaint.hole_shapes import moving_shape, strokes
from inpaint.losses import hole_valid_l1, temporal_l1
from inpaint.models.blocks import MemoryBlock, join_zones, split_zones
from inpaint.models.memory_dstt import MemoryDSTT
from nunif.files import make_folder, write_json
from nunif.models import Model, create_model
from nunif.records import Record, read_plane
from nunif.seed import generator_for
from nunif.training.optim import create_optimizer
from scene.masks import compose
from scene.metrics import hole_psnr
from scene.planes import COLOUR

TINY, OFFLINE = "inpaint.memory_dstt_v1_tiny", "inpaint.dstt_v1"
TILE, CLIP, BATCH = 96, 6, 2  # pixels, frames, clips of a training step
EVAL_FRAMES = 12
EVAL_HOLES: dict[str, Callable[..., np.ndarray]] = {"moving": moving_shape, "static": strokes}

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


class PublishedBlock(MemoryBlock):
    """The block wiring of the published real-time variant (c1h1r1i1s1/Real-Time-Inpainting), in our
    block's clothes.

    Its spatial blocks lay memory beside the frame along the batch, so that a frame attends to
    itself alone. Its temporal blocks ask with the oldest remembered frame instead of the current
    one, project neither queries nor keys nor values, let the heads of a token attend to each other,
    and give every zone the mean over the zones.
    """

    def __init__(self, hidden: int, num_heads: int, zones: int) -> None:
        super().__init__(hidden, num_heads, zones)
        self.zones, self.num_heads = zones, num_heads

    def forward(
        self, tokens: Tensor, memory: Tensor, grid: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        slots, t = memory.shape[1], tokens.shape[1]
        history = torch.cat([memory, tokens], dim=1).detach()
        x = self.norm1(tokens)
        if self.zones == 1:
            own = self.attention.project(x)
            # keys that stand there twice change nothing
            attended = self.attention(x, own, own, grid)
        else:
            oldest, current = (
                split_zones(y, grid, zones=2, num_heads=self.num_heads).transpose(
                    3, 4
                )  # (B, T, Z, n, heads, d)
                for y in (self.norm1(history[:, :t]), x)
            )
            mixed = nn.functional.scaled_dot_product_attention(oldest, current, current)
            mixed = mixed.mean(dim=2, keepdim=True).expand_as(mixed)
            attended = self.attention.out(
                join_zones(mixed.transpose(3, 4).contiguous(), grid, zones=2)
            )
        tokens = tokens + attended
        return tokens + self.feed_forward(self.norm2(tokens)), history[:, -slots:]


def published_wiring(**kwargs: Any) -> Model:
    model = create_model(TINY, picture_memory=False, **kwargs)
    hidden = model.hidden
    model.blocks = nn.ModuleList(
        PublishedBlock(hidden, 2, zones=2 if i % 2 == 0 else 1) for i in range(model.num_blocks)
    )
    return model


def hole_and_change(prediction: Tensor, target: Tensor, holes: Tensor) -> Tensor:
    return hole_valid_l1(prediction, target, holes) + 0.5 * temporal_l1(prediction, target, holes)


def over_the_whole_picture(prediction: Tensor, target: Tensor, holes: Tensor) -> Tensor:
    """The published loss: hole and valid errors as means over all pixels, so that a small hole
    weighs little."""
    error = (prediction - target).abs()
    return ((error * holes).flatten(1).mean(1) + (error * (1 - holes)).flatten(1).mean(1)).float()


@dataclass(frozen=True)
class Variant:
    """How a model is built and trained. memory: False trains it on every frame by itself."""

    build: Callable[[], Model]
    memory: bool = True
    loss: Loss = hole_and_change
    optimizer: dict[str, Any] = field(
        default_factory=lambda: dict(name="adamw", learning_rate=1e-3)
    )
    holes: tuple[str, ...] = ("moving", "static")


def tiny(**kwargs: Any) -> Callable[[], Model]:
    return lambda: create_model(TINY, **kwargs)


VARIANTS = {
    "memory DSTT": Variant(tiny()),
    "trained with memory off": Variant(tiny(), memory=False),
    "tokens only": Variant(tiny(picture_memory=False)),
    "tokens only with memory off": Variant(tiny(picture_memory=False), memory=False),
    "published wiring": Variant(published_wiring),
    "DSTT offline": Variant(
        lambda: create_model(OFFLINE, channels=64, hidden=64, num_blocks=4, num_heads=2)
    ),
    "1 slot": Variant(tiny(memory_slots=1)),
    "4 slots": Variant(tiny(memory_slots=4)),
    "loss: hole and valid only": Variant(tiny(), loss=hole_valid_l1),
    "loss: means over the picture": Variant(tiny(), loss=over_the_whole_picture),
    "Adam 1e-4 (published)": Variant(
        tiny(), optimizer=dict(name="adam", learning_rate=1e-4, betas=(0.0, 0.99))
    ),
    "Schedule-Free 2e-3": Variant(
        tiny(), optimizer=dict(name="adamw_schedulefree", learning_rate=2e-3)
    ),
    "moving holes only": Variant(tiny(), holes=("moving",)),
    "still holes only": Variant(tiny(), holes=("static",)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "-i", "--train", type=Path, required=True, help="folder of records to train on"
    )
    parser.add_argument("--eval", type=Path, required=True, help="folder of records to judge on")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="JSON file for the figures; it is added to"
    )
    parser.add_argument("--variants", default=",".join(VARIANTS), help="names, separated by commas")
    parser.add_argument("--seeds", default="1,2", help="of weights and data")
    parser.add_argument("--steps", type=int, default=300, help="updates of every variant")
    words = parser.parse_args()
    train, held_out = (
        scan_records(folder, min_frames=EVAL_FRAMES)[0] for folder in (words.train, words.eval)
    )
    results: dict[str, Any] = (
        json.loads(words.output.read_text(encoding="utf-8"))
        if words.output.exists()
        else {"runs": {}}
    )
    for seed in map(int, words.seeds.split(",")):
        for name in words.variants.split(","):
            key = f"{name} | {words.steps} | {seed}"
            if key in results["runs"]:
                continue
            begin = time.monotonic()
            model = train_variant(VARIANTS[name], train, words.steps, seed)
            seconds = time.monotonic() - begin
            scores = judge(model, held_out)
            results["runs"][key] = {
                "variant": name,
                "steps": words.steps,
                "seed": seed,
                "parameters": model.num_parameters,
                "seconds": round(seconds),
                "hole_psnr": scores,
            }
            results |= {
                **machine(torch.device("cpu")),
                "eval": [record.path.name for record in held_out],
            }
            make_folder(words.output.parent)
            write_json(words.output, results)
            print(
                key,
                {
                    kind: round(float(np.mean(list(score.values()))), 2)
                    for kind, score in scores.items()
                },
                flush=True,
            )
    print(table(results["runs"].values()))


def train_variant(variant: Variant, records: list[Record], steps: int, seed: int) -> Model:
    """A model after `steps` updates; everything random follows from the seed."""
    torch.manual_seed(seed)
    model = variant.build().train()
    options = {"betas": (0.9, 0.999), **variant.optimizer}
    optimizer = create_optimizer(
        options.pop("name"), model, weight_decay=0.001, momentum=0.9, warmup_updates=0, **options
    )
    for step in tqdm(range(steps), desc=f"seed {seed}", disable=None):
        frames, holes = draw_batch(records, variant.holes, generator_for("ablation", seed, step))
        if not variant.memory:
            frames, holes = (x.flatten(0, 1).unsqueeze(1) for x in (frames, holes))
        prediction, _ = model(frames, holes)
        optimizer.zero_grad()
        if not variant.memory:  # the loss looks at the clips all the same
            prediction, frames, holes = (
                x.squeeze(1).unflatten(0, (BATCH, CLIP)) for x in (prediction, frames, holes)
            )
        variant.loss(prediction, frames, holes).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    if hasattr(optimizer, "eval"):
        optimizer.eval()
    return model.eval()


def draw_batch(
    records: list[Record], kinds: tuple[str, ...], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Frames (B, T, 3, H, W) in [-1, 1] and holes (B, T, 1, H, W) of random records, times, tiles
    and shapes."""
    clips, masks = [], []
    for _ in range(BATCH):
        record = records[int(rng.integers(len(records)))]
        start = int(rng.integers(len(record) - CLIP + 1))
        top, left = (int(rng.integers(side - TILE + 1)) for side in record.size)
        numbers = record.numbers[start : start + CLIP]
        if rng.random() < 0.5:
            numbers = numbers[::-1]
        rows, columns = slice(top, top + TILE), slice(left, left + TILE)
        clips.append(read_plane(record, COLOUR.letter, numbers, rows, columns))
        both = [
            EVAL_HOLES[kind](CLIP, (TILE, TILE), rng, still=kind == "static")
            for kind in ("moving", "static")
        ]
        wanted = kinds[int(rng.integers(2)) % len(kinds)]
        masks.append(both[wanted == "static"])
    return to_tensors(np.stack(clips), np.stack(masks))


def to_tensors(frames: np.ndarray, holes: np.ndarray) -> tuple[Tensor, Tensor]:
    pictures = torch.from_numpy(frames).movedim(-1, -3).float().div(127.5).sub(1)
    return pictures, torch.from_numpy(holes).unsqueeze(-3).float()


def judged_clips(records: list[Record]) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """Every record with each kind of holes: name, kind, frames (1, T, 3, H, W), holes; the same in
    every run."""
    for record in records:
        frames = read_plane(record, COLOUR.letter, record.numbers[:EVAL_FRAMES])
        for kind, shape in EVAL_HOLES.items():
            rng = generator_for("ablation-eval", record.path.name, kind)
            holes = shape(EVAL_FRAMES, record.size, rng, still=kind == "static")
            yield record.path.name, kind, *to_tensors(frames[None], holes[None])


@torch.inference_mode()
def judge(model: Model, records: list[Record]) -> dict[str, dict[str, float]]:
    """Hole-PSNR in dB by kind of holes ("moving", and "moving, memory zeroed"), then by record."""
    scores: dict[str, dict[str, float]] = {}
    for name, kind, frames, holes in judged_clips(records):
        outputs = {kind: model(frames, holes)[0]}
        if isinstance(model, MemoryDSTT):
            alone, _ = model(frames.transpose(0, 1), holes.transpose(0, 1))
            outputs[f"{kind}, memory zeroed"] = alone.transpose(0, 1)
        for key, output in outputs.items():
            filled = compose(frames, holes, output.clamp(-1, 1))[0].add(1).div(2)
            scores.setdefault(key, {})[name] = hole_psnr(filled, frames[0].add(1).div(2), holes[0])
    return scores


def table(runs: Any) -> str:
    """Markdown: for each variant and number of steps the mean over clips, and over seeds with the
    spread between them."""
    kinds = [f"{kind}{off}" for kind in EVAL_HOLES for off in ("", ", memory zeroed")]
    lines = [
        "| variant | steps | seeds | " + " | ".join(kinds) + " |",
        "|---" * (len(kinds) + 3) + "|",
    ]
    groups: dict[tuple[str, int], list[dict]] = {}
    for run in runs:
        groups.setdefault((run["variant"], run["steps"]), []).append(run)
    for (name, steps), group in groups.items():
        cells = []
        for kind in kinds:
            means = [
                float(np.mean(list(run["hole_psnr"][kind].values())))
                for run in group
                if kind in run["hole_psnr"]
            ]
            spread = f" ± {np.std(means, ddof=1):.2f}" if len(means) > 1 else ""
            cells.append(f"{np.mean(means):.2f}{spread}" if means else "")
        lines.append(f"| {name} | {steps} | {len(group)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
