"""The whole main job on one video: records, training, resuming, scores, and pictures to look at.

Every step is a command that a person could have typed, and is printed as such.
"""

import logging
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from inpaint.options_run import DemoOptions
from nunif.errors import UserError
from nunif.files import explain_os_errors, make_folder
from nunif.records import scan_records
from scene.depth_models import MOTION_PARALLAX
from scene.planes import COLOUR, HOLE

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
ARCH, TILE = "memory_dstt_v1_tiny", "128"
EVAL_SHARE = 5  # every fifth pair of records, from the video's end
FIRST_EPOCHS, ALL_EPOCHS = "3", "6"


def main(options: DemoOptions) -> None:
    """The command `demo`.

    Raises:
        UserError: a step failed; its own message has been printed before.
    """
    begin = time.monotonic()
    out = make_folder(options.output.absolute())
    video = options.video
    if video is None:
        video = out / "sample.mp4"
        if not video.exists():
            run("-m", "inpaint", "sample-video", "-o", video)
    data, models = out / "data", out / "models"
    run(
        *("create_training_data.py", "video_inpaint", "--dataset-dir", video.absolute()),
        *("-o", data / "train", "--prefix", "demo", "--model-type", MOTION_PARALLAX),
        *("--skip-interval", "0", "--max-workers", "2"),
    )
    split_eval(data)
    run("-m", "inpaint", "contact-sheet", "-i", data / "train", "-o", out / "records.png")
    model = train_on(data, models)
    run(
        *("-m", "inpaint", "evaluate", "-i", data / "eval", "-m", model, "-o", out / "scores"),
        *("--tile-size", TILE, "--gpu", "-1"),
    )
    print(f"\nDone in {time.monotonic() - begin:.0f} s. To look at:")
    show_results(out, models, model)
    stereo = [
        *("-i", video, "-o", out / "stereo.mp4", "-m", model),
        *("--model-type", MOTION_PARALLAX, "--max-width", "640"),
    ]
    export = ["-m", model, "-o", out / "engines"]
    print("To use the model next:")
    for name, words in (("stereo", stereo), ("export", export)):
        print("  " + shlex.join(["python", "-m", "inpaint", name, *map(str, words)]))


def train_on(data: Path, models: Path) -> Path:
    """Train in two rounds, the second of which goes on where the first ended. Returns the file of
    the model."""
    words: list[str | Path] = [
        *("train.py", "inpaint", "-i", data, "--model-dir", models, "--video", "--arch", ARCH),
        *("--tile-size", TILE, "--num-samples", "360", "--backward-step", "2"),
        *("--optimizer", "adamw_schedulefree", "--learning-rate", "2e-3"),
        *("--save-eval-step", "1", "--gpu", "-1"),
    ]
    if not (models / f"inpaint.{ARCH}.checkpoint.pth").exists():
        run(*words, "--max-epoch", FIRST_EPOCHS)
    run(*words, "--max-epoch", ALL_EPOCHS, "--resume")
    return models / f"inpaint.{ARCH}.pth"


def show_results(out: Path, models: Path, model: Path) -> None:
    """Print what there is to look at."""
    previews = sorted((models / "eval").glob("*.png"))
    files = [
        ("the training records, holes in magenta", out / "records.png"),
        ("holes, output and truth while training", previews[0] if previews else models / "eval"),
        ("the loss over the epochs", models / "loss.png"),
        ("the model beside fills that need no training", out / "scores" / "clips.png"),
        ("the trained model", model),
    ]
    for text, path in files:
        print(f"  {path}  ({text})")


def run(*words: str | Path) -> None:
    """Print a command of this program and run it from the project's folder."""
    command = [sys.executable, *map(str, words)]
    print("\n$ " + shlex.join(["python", *command[1:]]), flush=True)
    # this program, and no shell between
    if subprocess.run(command, cwd=ROOT).returncode != 0:  # noqa: S603
        raise UserError(f"the demo stopped at: python {shlex.join(command[1:])}")


def split_eval(data: Path) -> None:
    """Move the last fifth of the records, both views of a clip together, from train/ to eval/,
    unless eval/ is there."""
    if (data / "eval").is_dir():
        return
    records, _ = scan_records(data / "train", (COLOUR, HOLE))
    clips = sorted({_clip_of(record.path) for record in records})
    if len(clips) < 2:
        raise UserError(
            "the video gave fewer than two clips with holes: choose a longer one, with things "
            "that move"
        )
    held_out = set(clips[-max(1, len(clips) // EVAL_SHARE) :])
    aside = make_folder(data / ".partial-eval")
    with explain_os_errors(aside):
        for record in records:
            if _clip_of(record.path) in held_out:
                shutil.move(record.path, aside / record.path.name)
        aside.rename(data / "eval")
    print(f"\nmoved {len(held_out)} of {len(clips)} clips from {data / 'train'} to {data / 'eval'}")


def _clip_of(record: Path) -> int:
    return int(record.name.rpartition("_")[2]) // 2
