"""The options of training. Nothing here imports torch."""

import re
from dataclasses import dataclass
from pathlib import Path

from inpaint.options_holes import MADE_MASKS, OCCLUSION, parse_masks
from inpaint.releases import RELEASES
from nunif.errors import UserError
from nunif.options import changed, option
from nunif.runtime.options import EXPORT_FORMATS, parse_formats
from nunif.shards.options import CacheOptions
from nunif.training.options import TrainerOptions, check_sources

FRAMES_PER_DRAW = 12  # of a record in training


RECIPES = ("realtime_memory", "fusion")  # files of inpaint/recipes


PICTURE_LOSSES = ("l1", "charbonnier", "psnr")


MOTION_LOSSES = ("temporal", "smooth", "warp")  # before the picture loss


DETAIL_LOSSES = ("dct", "fft", "lpips", "lite", "timm")  # behind it


def parse_loss(name: str) -> list[str]:
    """The terms of a loss: "temporal_l1dctlpips" -> ["temporal", "l1", "dct", "lpips"]. Names as in
    nagadomi/nunif.

    Raises:
        UserError: another name.
    """
    before, picture, behind = (
        "|".join(words) for words in (MOTION_LOSSES, PICTURE_LOSSES, DETAIL_LOSSES)
    )
    match = re.fullmatch(f"((?:(?:{before})_)*)({picture})((?:{behind})*)", name)
    terms = match and [*re.findall(before, match[1]), match[2], *re.findall(behind, match[3])]
    if not terms or len(set(terms)) < len(terms):
        raise UserError(
            f"--loss {name} is not known: write any of "
            f"{', '.join(f'{word}_' for word in MOTION_LOSSES)}, then "
            f"one of {', '.join(PICTURE_LOSSES)}, then any of {', '.join(DETAIL_LOSSES)}, each "
            "once, such as temporal_l1dct"
        )
    return terms


def parse_tile(text: str) -> tuple[int, int]:
    """ "256" -> (256, 256), "360x640" -> (360, 640), height before width.

    Raises:
        UserError: not one or two numbers of 32 or more.
    """
    sides = text.lower().split("x")
    if len(sides) not in (1, 2) or not all(
        side.isascii() and side.isdigit() and int(side) >= 32 for side in sides
    ):
        raise UserError(
            f"--tile-size {text} is no size: write one number, or height x width such as 360x640, "
            "from 32 on"
        )
    return int(sides[0]), int(sides[-1])


def parse_brightness(text: str) -> tuple[float, float]:
    """ "0.25,1.15" -> (0.25, 1.15).

    Raises:
        UserError: not two numbers in order, above 0 and up to 4.
    """
    try:
        low, high = (float(word) for word in text.split(","))
    except ValueError:
        low, high = -1.0, -1.0
    if not 0 < low <= high <= 4:
        raise UserError(
            f"--brightness {text}: give two factors in order, above 0 and up to 4, such as "
            "0.25,1.15"
        )
    return low, high


@dataclass(frozen=True)
class TrainOptions(CacheOptions, TrainerOptions):
    """`train.py inpaint`."""

    UNREMARKABLE = TrainerOptions.UNREMARKABLE | {
        "arch", "export", "curriculum", "compile", "activation_checkpointing", "cache_dir",
        "cache_bytes",
    }  # fmt: skip

    data_dir: Path | None = option(
        "-i",
        "--data-dir",
        default=None,
        help="the dataset: a folder, or an address such as s3://..., with train/ and eval/ (or "
        "--curriculum names them)",
    )
    curriculum: str | None = option(
        default=None,
        metavar="FILE",
        help="train in the stages of this YAML file, or of a recipe that comes along: "
        + ", ".join(RECIPES),
    )
    video: bool = option(default=False, help="train on clips; without it on single pictures")
    arch: str | None = option(
        default=None,
        help=(
            "the model (default: that of --checkpoint-file, else of --curriculum, else "
            "memory_dstt_v1)"
        ),
    )
    checkpoint_file: str | None = option(
        default=None,
        metavar="FILE",
        help="start from these weights: a model file, its http(s) address, or a known release: "
        + ", ".join(RELEASES),
    )
    mask: str = option(
        default=OCCLUSION,
        metavar="WEIGHTS",
        help=(
            "holes to train on, as occlusion=2,object=1: how often those of the records "
            "(occlusion), and made-up ones: "
        )
        + ", ".join(MADE_MASKS),
    )
    loss: str = option(
        default="temporal_l1",
        metavar="NAME",
        help="what is made small: any of temporal_, smooth_, warp_, then l1, charbonnier or psnr, "
        "then any of dct, fft, lpips, "
        "lite, timm (warp_ takes optical flow on the CPU; lpips and timm need weights that are "
        "downloaded, lite only packages)",
    )
    discriminator: str | None = option(
        default=None, choices=("t_patch_gan",), help="train against a discriminator of this kind"
    )
    discriminator_weight: float = option(
        default=0.1,
        minimum=0,
        help="its share: the strength of its gradient at the last layer beside that of the loss",
    )
    generator_warmup_iteration: int = option(
        default=500, minimum=0, help="training batches before the discriminator begins to take part"
    )
    clip_length: int | None = option(
        default=None,
        minimum=1,
        help=f"frames of a training clip (default: the model's, {FRAMES_PER_DRAW} for most)",
    )
    stream_length: int | None = option(
        default=None,
        minimum=1,
        help="frames of the stream that a training clip is the end of: what comes before it only "
        "fills the memory, so that "
        "long memories are trained at the cost of short clips (default: that of the clip)",
    )
    tile_size: str = option(
        default="256",
        metavar="N or HxW",
        help="size of the training tiles in pixels: one number, or height x width",
    )
    brightness: str = option(
        default="1,1",
        metavar="LOW,HIGH",
        help="each training clip gets a brightness drawn between these factors, as 0.25,1.15: so "
        "that models are as good "
        "in the dark",
    )
    batch_size: int = option(
        default=1, minimum=1, help="clips, or without --video pictures, per forward pass"
    )
    num_samples: int | None = option(
        default=20000,
        minimum=1,
        help="frames drawn per epoch; a record counts as those that are used of it",
    )
    compile: bool = option(
        default=False, help="torch.compile the model: minutes at the start, faster steps afterwards"
    )
    activation_checkpointing: bool = option(
        default=False,
        help=(
            "compute parts of the model again in the backward pass: much less GPU memory, a "
            "third slower"
        ),
    )
    export: str | None = option(
        default=None,
        metavar="NAMES",
        help=f"at the end, write the best model as {','.join(EXPORT_FORMATS)} or some of them",
    )

    def check(self) -> None:
        super().check()
        parse_masks(self.mask)
        parse_loss(self.loss)
        parse_tile(self.tile_size)
        parse_brightness(self.brightness)
        if self.clip_length not in (None, 1) and not self.video:
            raise UserError(
                f"--clip-length {self.clip_length} is for --video: add it, single pictures have "
                "no length"
            )
        if self.stream_length is not None and not self.video:
            raise UserError(
                f"--stream-length {self.stream_length} is for --video: add it, single pictures "
                "have no length"
            )
        check_sources(self.data_dir, self.curriculum, reset_state=self.reset_state)
        if self.export is not None:
            parse_formats(self.export)

    def no_effect(self, *, on_cpu: bool | None = None) -> list[str]:
        lines = super().no_effect(on_cpu=on_cpu)
        if self.discriminator is None:
            given = [
                flag
                for flag in ("--discriminator-weight", "--generator-warmup-iteration")
                if flag in changed(self)
            ]
            lines += [f"{flag} has no effect without --discriminator" for flag in given]
        return lines

    @property
    def frames_per_draw(self) -> int:
        """Frames that are used of a record at a time."""
        return self.clip_length or (FRAMES_PER_DRAW if self.video else 1)

    def draws_per_epoch(self, num_train_samples: int) -> int:
        """Records drawn per epoch: as nunif counts, --num-samples is in frames."""
        return max(1, (self.num_samples or 0) // self.frames_per_draw)
