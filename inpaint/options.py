"""The options of every command of the task. Nothing here imports torch."""

import os
from dataclasses import dataclass
from pathlib import Path

from inpaint.depth_models import MODEL_TYPES, check_model_type
from nunif.errors import UserError
from nunif.options import option
from nunif.training.options import TrainerOptions

FRAMES_PER_DRAW = 12  # of a record in training


@dataclass(frozen=True)
class GenerateOptions:
    """`create_training_data.py video_inpaint`."""

    dataset_dir: Path = option("-i", "--dataset-dir", help="a video, or a folder of videos that are taken one by one")
    data_dir: Path = option("-o", "--data-dir", help="the folder that gets the records, such as data/NAME/train")
    prefix: str = option(default="", help="first word of the records' names")
    model_type: str = option(default="Any_V2_S", metavar="NAME", help=f"depth estimator, one of {', '.join(MODEL_TYPES)}")
    resolution: int | None = option(default=None, minimum=14, help="short side of the depth estimator's input in pixels")
    depth_model_dir: Path | None = option(default=None, help="folder with the depth model, instead of cache and hub")
    depth_normalize: str = option(
        default="clip", choices=("clip", "frame"), help="scale disparity over the clip, or frame by frame as iw3 does"
    )
    allow_third_party_code: bool = option(
        default=False, help="load depth models that come with program code of their own (torch.hub)"
    )
    max_fps: float = option(default=30.0, minimum=0.001, help="leave out frames above this rate")
    seq: int = option(default=16, minimum=1, help="frames of a record")
    skip_first: int = option(default=0, minimum=0, help="frames left out at the beginning")
    skip_interval: int = option(default=16, minimum=0, help="frames left out between records")
    batch_size: int = option(default=2, minimum=1, help="frames that the depth estimator takes at once; divides --seq")
    size: int = option(default=512, minimum=64, maximum=1080, help="width and height of a record in pixels")
    num_samples: int = option(default=1, minimum=1, maximum=100, help="crops of every clip")
    divergence_level: int = option(
        default=1, minimum=1, maximum=3, help="strength of the stereo effect: 1 = 0 to 5, 2 = 3 to 8, 3 = 6 to 11"
    )
    gpu: int = option(default=0, minimum=-1, help="number of the GPU, -1 for the CPU")
    seed: int = option(default=71, help="of all random draws; the same seed makes the same records")
    max_workers: int = option(default=max(1, (os.cpu_count() or 2) // 2), minimum=1, help="threads that make and write records")

    def check(self) -> None:
        check_model_type(self.model_type)
        if self.seq % self.batch_size:
            raise UserError(f"--batch-size {self.batch_size} does not divide --seq {self.seq}: choose a divisor of it")


@dataclass(frozen=True)
class TrainOptions(TrainerOptions):
    """`train.py inpaint`."""

    data_dir: Path = option("-i", "--data-dir", help="the dataset: a folder with train/ and eval/")
    video: bool = option(default=False, help="train on clips, with a model that works on video")
    arch: str | None = option(default=None, help="the model (default: that of --checkpoint-file, else memory_dstt_v1)")
    tile_size: int = option(default=256, minimum=32, help="width and height of the training tiles in pixels")
    batch_size: int = option(default=1, minimum=1, help="clips per forward pass")
    num_samples: int | None = option(
        default=20000, minimum=1, help=f"frames drawn per epoch; a record counts as the {FRAMES_PER_DRAW} that are used of it"
    )

    def check(self) -> None:
        super().check()
        if not self.video:
            raise UserError("train.py inpaint trains on video only: add --video")

    def draws_per_epoch(self, num_train_samples: int) -> int:
        """Records drawn per epoch: as nunif counts, --num-samples is in frames."""
        return max(1, (self.num_samples or 0) // FRAMES_PER_DRAW)


@dataclass(frozen=True)
class EvaluateOptions:
    """`python -m inpaint evaluate`."""

    data_dir: Path = option("-i", "--data-dir", help="a folder of records")
    model: Path | None = option("-m", "--model", default=None, help="model file to be judged beside the classical fills")
    output: Path | None = option("-o", "--output", default=None, help="folder for the table as CSV and JSON, and pictures")
    tile_size: int = option(default=256, minimum=32, help="width and height of the evaluated tiles in pixels")
    gpu: int = option(default=0, minimum=-1, help="number of the GPU, -1 for the CPU")


@dataclass(frozen=True)
class ContactSheetOptions:
    """`python -m inpaint contact-sheet`."""

    data_dir: Path = option("-i", "--data-dir", help="a folder of records")
    output: Path = option("-o", "--output", help="the picture to be written (.png)")
    max_records: int = option(default=16, minimum=1, help="records on the sheet, spread evenly over the folder")


@dataclass(frozen=True)
class SampleVideoOptions:
    """`python -m inpaint sample-video`."""

    output: Path = option("-o", "--output", help="the video to be written (.mp4)")
    width: int = option(default=1920, minimum=64, help="pixels")
    height: int = option(default=1080, minimum=64, help="pixels")
    frames: int = option(default=160, minimum=1, help="length; at 30 frames per second")
    seed: int = option(default=71, help="of the scene")


@dataclass(frozen=True)
class DemoOptions:
    """`python -m inpaint demo`."""

    video: Path | None = option(default=None, help="your own video (default: a rendered sample clip)")
    output: Path = option("-o", "--output", default=Path("demo"), help="folder for all that the demo makes")
