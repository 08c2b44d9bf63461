"""Training samples from records: 12 frames and holes of a tile of 256 pixels, out of 16 frames of
512."""

from typing import Any

import numpy as np

from benchmarks.inputs import write_records
from benchmarks.setting import Setting
from inpaint.dataset import TrainSet, scan_records
from inpaint.options_holes import OCCLUSION
from nunif.image import read_rgb
from nunif.timing import interleave, rows
from nunif.training.task import Draw

RECORDS, CLIP, TILE = 8, 12, (256, 256)


def run(setting: Setting) -> dict[str, Any]:
    """CPU milliseconds of a sample in one process, and samples a second."""
    folder = write_records(setting.scratch / "train", RECORDS)
    records, _ = scan_records(folder, min_frames=CLIP, min_size=TILE)
    samples = TrainSet(records, CLIP, TILE, {OCCLUSION: 1.0})
    made_up = TrainSet(records, CLIP, TILE, {"strokes": 1.0, "rectangle": 1.0})

    def whole_pictures() -> None:
        for record in records:
            np.stack(
                [read_rgb(record.path / f"{number}_C.png") for number in record.numbers[:CLIP]]
            )

    alternatives = {
        "ours": lambda: [samples[Draw(i, seed=i)] for i in range(RECORDS)],
        "ours, made-up holes": lambda: [made_up[Draw(i, seed=i)] for i in range(RECORDS)],
        "only decoding 12 whole pictures with OpenCV": whole_pictures,
    }
    if setting.peer:
        from benchmarks import peer

        alternatives["peer"] = peer.loader(setting.peer, folder, RECORDS)
    timings = interleave(alternatives, rounds=setting.rounds, name="loader")
    table = rows(timings, baseline="peer" if setting.peer else "ours", unit="sample", count=RECORDS)
    for row in table:
        row["per_second"] = 1000 / row["cpu_ms"]["median"]
    return {"rows": table}
