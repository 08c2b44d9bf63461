"""What a GPU makes of this project, by the clock: frames, updates, a training run of the released
recipe and what it earns.

Four parts take their turns and none takes the others' time or results along: a part ends when its
share of `--minutes` is over, what it has measured is written row by row, and one that fails is
named while the rest goes on. What the timings leave of their shares the training gets; the
evaluation's is kept for it.
"""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu.frames import measure_frames
from benchmarks.gpu.scores import score_films
from benchmarks.gpu.training import train_recipe
from benchmarks.gpu.updates import measure_updates
from benchmarks.setting import Setting
from nunif.errors import UserError, first_line
from nunif.video.clips import list_clips

logger = logging.getLogger(__name__)

# when each part ends, as a share of the whole time: the timings take 90 and 75 of 540 seconds, the
# training what is left until 395, the evaluation until 515; what starts and ends the program needs
# the rest
ENDS = {"frames": 0.165, "updates": 0.305, "training": 0.73, "scores": 0.955}
ON_THE_CPU = "Measured on the CPU: nothing here tells of a GPU."


def run(setting: Setting) -> Iterator[dict[str, Any]]:
    """What is known so far, again and again: frames, updates, training and scores, and what failed.

    Raises:
        UserError: `--data` or `--films` holds nothing that can be used; before anything is
            measured.
    """
    begin, total = time.monotonic(), 60 * setting.card.minutes
    _check_folders(setting)
    ends = {name: begin + share * total for name, share in ENDS.items()}
    found: dict[str, Any] = {"minutes": setting.card.minutes, "seconds": {}, "failed": {}}
    if setting.device.type == "cpu":
        found["note"] = ON_THE_CPU
    yield from _part("frames", measure_frames(setting, until=ends["frames"]), found)
    yield from _part("updates", measure_updates(setting, until=ends["updates"]), found)
    yield from _part("training", train_recipe(setting, until=ends["training"]), found)
    weights: Path | None = found.get("training", {}).get("weights")
    if weights is not None:
        yield from _part(
            "scores", score_films(setting, setting.output / weights, until=ends["scores"]), found
        )


def _part(name: str, values: Iterator[Any], found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Everything found so far, with each value of a part under its name, and with how it ended."""
    begin = time.monotonic()
    try:
        for value in values:
            found[name] = value
            yield found
    except (
        Exception
    ) as error:  # whatever a card can't do: it must not cost what the other parts find
        logger.exception("the part %s failed", name)
        found["failed"][name] = f"{type(error).__name__}: {first_line(error)}"
    found["seconds"][name] = round(time.monotonic() - begin, 1)
    print(f"{name}: {found['failed'].get(name, 'done')}, {found['seconds'][name]} s", flush=True)
    yield found


def _check_folders(setting: Setting) -> None:
    data, films = setting.card.data, setting.card.films
    if data is not None and not (data / "train").is_dir():
        raise UserError(
            f"--data {data} has no folder train/: give a dataset folder, whose train/ holds records"
        )
    if films is not None:
        list_clips(films)
