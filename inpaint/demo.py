"""The whole main job on one video: records, training, resuming, scores, and pictures to look at.

Every step is a command that a person could have typed, and is printed as such.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from inpaint.options_run import DemoOptions
from nunif.errors import UserError
from nunif.files import explain_os_errors, make_folder
from nunif.record_scan import scan_records
from scene.planes import COLOUR, HOLE

Words = list[str | Path]  # of a command line

ROOT = Path(__file__).resolve().parents[1]
ARCH, TILE = "memory_dstt_v1_tiny", "128"
EVAL_SHARE = 5  # every fifth pair of records, from the video's end
FIRST_EPOCHS, ALL_EPOCHS = "3", "6"
RECORDS = shlex.split("--prefix demo --model-type MotionParallax --skip-interval 0 --max-workers 2")
TRAINING = shlex.split(
    "--num-samples 360 --backward-step 2 --optimizer adamw_schedulefree --learning-rate 2e-3 "
    "--save-eval-step 1 --gpu -1"
)


def main(options: DemoOptions) -> None:
    """The command `demo`.

    Raises:
        UserError: a step failed; its own message has been printed before.
    """
    begin = time.monotonic()
    out = make_folder(options.output.absolute())
    video = options.video or sample_video(out / "sample.mp4")
    data, models = out / "data", out / "models"
    make_records(video, data / "train")
    split_eval(data)
    run("-m", "inpaint", "contact-sheet", "-i", data / "train", "-o", out / "records.png")
    model = train(data, models)
    score(data / "eval", model, out / "scores")
    print(f"\nDone in {time.monotonic() - begin:.0f} s. To look at:")
    previews = sorted((models / "eval").glob("*.png"))
    files = [
        ("the training records, holes in magenta", out / "records.png"),
        ("holes, output and truth while training", previews[0] if previews else models / "eval"),
        ("the loss over the epochs", models / "loss.png"),
        ("the model beside fills that need no training", out / "scores" / "clips.png"),
        ("the same as a page, to compare picture by picture", out / "scores" / "report.html"),
        ("the trained model", model),
    ]
    for text, path in files:
        print(f"  {path}  ({text})")
    print("To use the model next:")
    for words in next_commands(video, model, out):
        print("  " + shown(["python", "-m", "inpaint", *map(str, words)]))


def sample_video(path: Path) -> Path:
    """A rendered clip, made unless it is there."""
    if not path.exists():
        run("-m", "inpaint", "sample-video", "-o", path)
    return path


def make_records(video: Path, folder: Path) -> None:
    """Records out of a video, without a download."""
    files: Words = ["--dataset-dir", video.absolute(), "-o", folder]
    run("create_training_data.py", "video_inpaint", *files, *RECORDS)


def train(data: Path, models: Path) -> Path:
    """Train in two rounds, the second of which resumes, as far as that isn't done; the model file
    comes back."""
    files: Words = ["-i", data, "--model-dir", models]
    words: Words = ["train.py", "inpaint", *files, "--video", "--arch", ARCH, "--tile-size", TILE]
    name = f"inpaint.{ARCH}"
    if not (models / f"{name}.checkpoint.pth").exists():
        run(*words, *TRAINING, "--max-epoch", FIRST_EPOCHS)
    run(*words, *TRAINING, "--max-epoch", ALL_EPOCHS, "--resume")
    return models / f"{name}.pth"


def score(records: Path, model: Path, folder: Path) -> None:
    """The model beside fills that need no training."""
    files: Words = ["-i", records, "-m", model, "-o", folder]
    run("-m", "inpaint", "evaluate", *files, "--tile-size", TILE, "--gpu", "-1")


def next_commands(video: Path, model: Path, out: Path) -> list[Words]:
    """What can be done with the model, as words behind `python -m inpaint`."""
    files: Words = ["-i", video, "-o", out / "stereo.mp4", "-m", model]
    stereo: Words = ["stereo", *files, "--model-type", "MotionParallax", "--max-width", "640"]
    return [stereo, ["export", "-m", model, "-o", out / "engines"]]


def run(*words: str | Path) -> None:
    """Print a command of this program and run it from the project's folder."""
    command = list(map(str, words))
    line = shown(["python", *command])
    print(f"\n$ {line}", flush=True)
    # this program, and no shell between
    if subprocess.run([sys.executable, *command], cwd=ROOT).returncode != 0:  # noqa: S603
        raise UserError(f"the demo stopped at: {line}")


def shown(words: list[str], *, windows: bool = os.name == "nt") -> str:
    """A command line that can be copied into the terminal."""
    return subprocess.list2cmdline(words) if windows else shlex.join(words)


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
