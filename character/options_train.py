"""The options of `train.py character`. Nothing here imports torch."""

from dataclasses import dataclass, replace
from pathlib import Path

from nunif.errors import UserError
from nunif.options import option, share_option
from nunif.shards.options import CacheOptions
from nunif.training.options import TrainerOptions, check_sources

PRESETS = ("tiny", "mimo", "sd15")
TARGETS = ("v", "epsilon", "sample")
MOTIONS = ("codes", "colours", "none")
LEARNERS = ("all", "pictures", "motion")
RECIPES = ("animate_anyone", "mimo")  # files of character/recipes


@dataclass(frozen=True)
class TrainOptions(CacheOptions, TrainerOptions):
    """`train.py character`."""

    UNREMARKABLE = TrainerOptions.UNREMARKABLE | {
        "preset",
        "init",
        "curriculum",
        "latents_dir",
        "activation_checkpointing",
        "cache_dir",
        "cache_bytes",
        "dry_run",
    }
    WHOLE_RUN = frozenset(
        {
            "data_dir", "preset", "init", "target", "no_zero_snr", "motion", "latents_dir",
            "dry_run", "cache_dir", "cache_bytes",
        }
    )  # fmt: skip  # what no stage says

    data_dir: Path | None = option(
        "-i",
        "--data-dir",
        default=None,
        help="the dataset: a folder with train/ and eval/, of records that world or layers made",
    )
    model_dir: Path = option(
        default=Path("models/character"),
        help="folder for the model, checkpoint, loss.csv, previews and logs",
    )
    preset: str = option(
        default="tiny",
        choices=PRESETS,
        help="the networks' sizes: one for a CPU, the published ones of MIMO, or those with codes "
        "on the skin and what is in front as inputs",
    )
    init: Path | None = option(
        default=None,
        metavar="DIR",
        help="a folder with published weights to start from: those of Stable Diffusion 1.5, CLIP "
        "and AnimateDiff, or the four files of MIMO",
    )
    curriculum: str | None = option(
        default=None,
        metavar="FILE",
        help="train in the stages of this YAML file, or of a recipe that comes along: "
        + ", ".join(RECIPES),
    )
    checkpoint_file: str | None = option(
        default=None, metavar="FILE", help="start from the weights of this model file"
    )
    dry_run: bool = option(
        default=False, help="build the networks without weights, print their sizes and stop"
    )

    target: str | None = option(
        default=None,
        choices=TARGETS,
        help="what is predicted (default: that of the file it starts from, or v, tiny: sample)",
    )
    no_zero_snr: bool = option(
        default=False, help="leave a little of the picture in the last step's noise"
    )
    motion: str | None = option(
        default=None,
        choices=MOTIONS,
        help="what the body is painted with: a code for each place of the skin that is learned, "
        "colours, or it is not shown (default: that of the file it starts from, or codes, mimo: "
        "colours)",
    )
    learn: str = option(
        default="all",
        choices=LEARNERS,
        help="all, all without the layers between frames, or these alone",
    )
    size: int | None = option(
        default=None, minimum=16, help="pixels of a side (default: the preset's)"
    )
    frames: int | None = option(
        default=None, minimum=1, help="frames of a clip (default: the preset's)"
    )
    frame_step: int = option(default=1, minimum=1, help="take every N-th frame of a record")
    crops: int = option(
        default=2, minimum=1, help="how many parts are cut out of each record, and kept"
    )
    latents_dir: Path | None = option(
        default=None,
        metavar="DIR",
        help="where latents are kept (default: latents in --model-dir)",
    )
    null_share: float = share_option(
        default=0.1, help="of clips whose identity is not shown, for guidance"
    )
    still_share: float | None = option(
        default=None,
        minimum=0,
        maximum=1,
        help="of the updates that learn from one frame of each clip: layers between frames learn "
        "little from them, but they are soon done, and more people are seen (default: 0, tiny: "
        "0.875)",
    )
    noise_offset: float = option(
        default=0.0, minimum=0, help="spread of noise that a whole frame has in common"
    )
    noise_bias: float | None = option(
        default=None,
        minimum=1,
        help="how much more often strong noise is drawn than weak, 1 for all levels equally often "
        "(default: 1, and 3 with the target sample)",
    )
    snr_gamma: float | None = option(
        default=None,
        minimum=0,
        help="min-SNR's bound of the weights of noise levels, 0 for equal weights (default: 5, "
        "and 0 with the target sample)",
    )

    batch_size: int = option(
        default=0, minimum=0, help="clips per forward pass, 0: 8 with tiny, 3 with the others"
    )
    backward_step: int = option(
        default=1, minimum=1, help="batches whose gradients are gathered for one update"
    )
    max_epoch: int = option(default=4, minimum=1, help="epochs of the whole run")
    learning_rate: float = option(
        default=2e-3, minimum=0, help="learning rate at its peak; published ones: 1e-5"
    )
    learning_rate_cycles: int = option(
        default=1, minimum=1, help="cosine: how often it falls from the peak to the minimum"
    )
    weight_decay: float = option(
        default=0.01, minimum=0, help="weight decay (not for biases and norms)"
    )
    clip_grad_norm: float | None = option(
        default=1.0, minimum=1e-12, help="largest norm of the gradient of an update"
    )
    ema_model: bool = option(
        "--no-ema-model",
        default=True,
        help="evaluate and save the weights as they are, not their moving average",
    )
    ema_decay: float = share_option(default=0.995, help="decay of that average per update")
    disable_hard_example: bool = option(
        "--hard-example",
        default=True,
        help="draw clips with a large loss more often; how much noise a clip had tells more of it",
    )
    activation_checkpointing: bool = option(
        default=False, help="compute parts of the networks again in the backward pass: less memory"
    )

    def check(self) -> None:
        super().check()
        if self.target == "epsilon" and not self.no_zero_snr:
            raise UserError(
                "--target epsilon can't be sampled with a schedule of zero terminal SNR, whose "
                "last step holds nothing but noise: choose --target v or sample, or add "
                "--no-zero-snr"
            )
        if self.preset == "mimo" and self.motion == "codes":
            raise UserError(
                "--motion codes does not go with --preset mimo, whose published weights know "
                "colours: choose --preset sd15, or leave it out"
            )
        if self.preset == "tiny" and self.init is not None:
            raise UserError(
                f"--init {self.init} does not go with --preset tiny, for whose sizes nothing is "
                "published: choose --preset mimo or sd15"
            )
        if self.dry_run:
            return
        check_sources(self.data_dir, self.curriculum, reset_state=self.reset_state)
        if self.data_dir is None:
            raise UserError("-i is missing: give the folder that holds train/ and eval/")
        if self.init is not None and (self.resume or self.checkpoint_file is not None):
            other = "--resume" if self.resume else f"--checkpoint-file {self.checkpoint_file}"
            raise UserError(
                f"--init {self.init} and {other} both say what weights to start from: leave one "
                "of them out"
            )

    def settled(self) -> "TrainOptions":
        """With the preset's numbers where none are given."""
        is_tiny = self.preset == "tiny"
        return replace(
            self,
            batch_size=self.batch_size or (8 if is_tiny else 3),
            still_share=(0.875 if is_tiny else 0.0)
            if self.still_share is None
            else self.still_share,
        )

    @property
    def latents(self) -> Path:
        """Where latents are kept."""
        return self.model_dir / "latents" if self.latents_dir is None else self.latents_dir
