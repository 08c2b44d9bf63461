"""The options of `train.py matting`. Nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path

from nunif.errors import UserError
from nunif.options import option
from nunif.shards.options import CacheOptions
from nunif.training.options import TrainerOptions, check_sources

DEFAULT_ARCH = "efficientnet_lite0"
RECIPES = ("rvm",)  # files of matting/recipes
MIN_SIZE = 128  # of training pictures: half of it is the least that the loss's pyramid takes
MIN_COMPUTED = 32  # pixels of a side: BatchNorm has nothing to average over a single feature


@dataclass(frozen=True)
class TrainOptions(CacheOptions, TrainerOptions):
    """`train.py matting`."""

    UNREMARKABLE = TrainerOptions.UNREMARKABLE | {
        "arch",
        "recurrent",
        "curriculum",
        "activation_checkpointing",
        "cache_dir",
        "cache_bytes",
    }
    WHOLE_RUN = frozenset(
        {"data_dir", "segmentation", "recurrent", "cache_dir", "cache_bytes"}
    )  # what no stage says

    data_dir: Path | None = option(
        "-i",
        "--data-dir",
        default=None,
        help="the dataset: a folder, or an address such as s3://..., with train/ and eval/",
    )
    backgrounds: Path | None = option(
        default=None,
        metavar="DIR",
        help="what people are put before: records of backgrounds in train/ and eval/ of this "
        "folder, beside those of the dataset",
    )
    labelled: Path | None = option(
        default=None,
        metavar="DIR",
        help="learn the matte of real films too: records of frames and their alpha in train/ and "
        "eval/ of this folder, such as label_people makes, are learned from as they are, beside "
        "those of the dataset",
    )
    curriculum: str | None = option(
        default=None,
        metavar="FILE",
        help="train in the stages of this YAML file, or of a recipe that comes along: "
        + ", ".join(RECIPES),
    )
    arch: str | None = option(
        default=None, help=f"the model (default: that of --checkpoint-file, else {DEFAULT_ARCH})"
    )
    recurrent: str | None = option(
        default=None,
        choices=("gru", "ssm", "gate", "none"),
        help="the decoder's memory: gated recurrent units, state-space units, which have half the "
        "parameters, gates that see the frame alone, for training on single frames, or none "
        "(default: that of the file it starts from, or gru)",
    )
    checkpoint_file: str | None = option(
        default=None,
        metavar="FILE",
        help="start from these weights: a model file, also one of Robust Video Matting",
    )
    clip_length: int = option(default=15, minimum=1, help="frames of a training clip")
    size: int = option(
        default=256,
        minimum=MIN_SIZE,
        help="longest side of training pictures; height and width are drawn from half of it on",
    )
    backbone_rate: float = option(
        default=0.5, minimum=0, help="the backbone's learning rate, as a share of the others'"
    )
    freeze_norms: bool = option(
        default=False,
        help="the backbone's BatchNorm keeps the means and variances that it came with, as those "
        "of small batches are poor; with --backbone-rate 0 the backbone stays as it is",
    )
    pool_rate: float = option(
        default=1.0, minimum=0, help="that of the coarsest map's head, as a share of the others'"
    )
    decoder_rate: float = option(
        default=1.0, minimum=0, help="that of decoder and heads, as a share of --learning-rate"
    )
    refiner_rate: float = option(
        default=0.0, minimum=0, help="the refiner's learning rate, as a share of the others'"
    )
    downsample_ratio: float = option(
        default=1.0,
        minimum=0.05,
        maximum=1,
        help="what is computed at, below 1 with the refiner: 0.25 trains it",
    )
    high_size: int | None = option(
        default=None,
        minimum=MIN_SIZE,
        metavar="SIZE",
        help="learn from each clip a second time, at this size and through the refiner",
    )
    high_clip_length: int = option(
        default=6, minimum=1, help="frames of the clip that is seen at --high-size"
    )
    high_ratio: float = option(
        default=0.25, minimum=0.05, maximum=1, help="what is computed at there"
    )
    segmentation: Path | None = option(
        default=None,
        metavar="DIR",
        help="learn where persons are too, from the records in this folder, or in train/ in it: "
        "frames and what their alpha covers by more than half",
    )
    segmentation_pass: bool = option(
        default=False, help="learn that too; without --segmentation from the clips themselves"
    )
    composition_weight: float = option(
        default=0.0, minimum=0, help="weight of the error of the frame put together again"
    )
    gradient_weight: float = option(
        default=0.0, minimum=0, help="weight of the error of alpha's gradient"
    )
    perceptual_weight: float = option(
        default=0.0,
        minimum=0,
        help="weight of how different that frame looks to a network that knows photographs",
    )
    batch_size: int = option(default=1, minimum=1, help="clips per forward pass")
    backward_step: int = option(
        default=4, minimum=1, help="batches whose gradients are gathered for one update"
    )
    max_epoch: int = option(default=20, minimum=1, help="epochs of the whole run")
    learning_rate: float = option(default=2e-4, minimum=0, help="learning rate at its peak")
    learning_rate_cycles: int = option(
        default=1, minimum=1, help="cosine: how often it falls from the peak to the minimum"
    )
    activation_checkpointing: bool = option(
        default=False, help="compute parts of the model again in the backward pass: less memory"
    )

    def check(self) -> None:
        super().check()
        check_sources(self.data_dir, self.curriculum, reset_state=self.reset_state)
        if self.high_size is not None and self.high_clip_length > self.clip_length:
            raise UserError(
                f"--high-clip-length {self.high_clip_length} is more than --clip-length "
                f"{self.clip_length}: it is a part of that clip"
            )
        if self.high_size is not None:
            least = int(self.high_size / 2 * self.high_ratio)
            if least < MIN_COMPUTED:
                raise UserError(
                    f"--high-size {self.high_size} is seen at half of it, too, and computed at "
                    f"--high-ratio {self.high_ratio:g} of that, which are {least} pixels: "
                    f"{MIN_COMPUTED} are needed, choose more"
                )

    def _without_effect(self, on_cpu: bool) -> list[tuple[bool, tuple[str, ...], str]]:
        low_only = self.high_size is None
        return [
            *super()._without_effect(on_cpu),
            (low_only, ("high_clip_length", "high_ratio"), "without --high-size"),
            (
                low_only and self.downsample_ratio == 1,
                ("refiner_rate",),
                "without --high-size or a --downsample-ratio below 1",
            ),
        ]
