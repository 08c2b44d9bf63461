"""The options of a training run (no torch). Names and meaning are those of nagadomi/nunif where it
has them."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from nunif.errors import UserError
from nunif.options import flag_of, option, share_option
from nunif.place import num_cpus, num_sharing

SCHEDULE_FREE = ("adamw_schedulefree", "radam_schedulefree", "sgd_schedulefree")
OPTIMIZERS = ("adamw", "adam", "sgd", *SCHEDULE_FREE)
SCHEDULERS = ("cosine", "step")


def check_sources(data_dir: Path | None, curriculum: str | None, *, reset_state: bool) -> None:
    """For tasks that train on a folder, or in stages.

    Raises:
        UserError: there is neither, or the stages can't be done so.
    """
    if data_dir is None and curriculum is None:
        raise UserError("-i is missing: give the folder that holds train/ and eval/")
    if curriculum is not None and reset_state:
        raise UserError(
            "--reset-state does not go with --curriculum: give --checkpoint-file to start "
            "from weights"
        )


@dataclass(frozen=True)
class TrainerOptions:
    """What the trainer needs to know. A task's options add to it and may declare a field again for
    another default."""

    # those that may differ between a run and its resumption without a word
    UNREMARKABLE: ClassVar[frozenset[str]] = frozenset(
        {
            "model_dir",
            "resume",
            "resume_if_there",
            "reset_state",
            "exchange_timeout",
            "checkpoint_file",
            "gpu",
            "num_workers",
            "disable_tensorboard",
            "keep_checkpoints",
            "max_epoch",
            "max_bad_share",
        }
    )

    model_dir: Path = option(help="folder for the model, checkpoint, loss.csv, previews and logs")
    batch_size: int = option(default=8, minimum=1, help="samples per forward pass")
    backward_step: int = option(
        default=4, minimum=1, help="batches whose gradients are gathered for one update"
    )
    global_batch: int | None = option(
        default=None,
        minimum=1,
        metavar="N",
        excludes="backward_step",
        help="samples of an update in all processes together, however many there are; "
        "--backward-step follows from it",
    )
    num_samples: int | None = option(
        default=None,
        minimum=1,
        help="samples drawn per epoch (without it, as many as the training set has)",
    )
    max_epoch: int = option(
        default=200, minimum=1, help="epochs of the whole run; the schedule spans them"
    )

    optimizer: str = option(default="adamw", choices=OPTIMIZERS, help="how weights are updated")
    learning_rate: float = option(default=1e-4, minimum=0, help="learning rate at its peak")
    scheduler: str = option(
        default="cosine", choices=SCHEDULERS, help="how the learning rate changes over the epochs"
    )
    learning_rate_cycles: int = option(
        default=5, minimum=1, help="cosine: how often it falls from the peak to the minimum"
    )
    learning_rate_cosine_min: float = option(
        default=1e-8, minimum=0, help="cosine: learning rate in the last epoch of a cycle"
    )
    learning_rate_decay: float = share_option(default=0.995, help="step: factor of each decay")
    learning_rate_decay_step: int = option(default=1, minimum=1, help="step: decay every N epochs")
    warmup_epoch: int = option(
        default=0,
        minimum=0,
        help="epochs over which the rate rises to the schedule, update by update",
    )
    weight_decay: float = option(
        default=0.001, minimum=0, help="weight decay (not for biases and norms)"
    )
    adam_beta1: float = option(
        default=0.9,
        minimum=0,
        maximum=0.9999,
        help="Adam's beta1; momentum of the Schedule-Free ones",
    )
    adam_beta2: float = option(default=0.999, minimum=0, maximum=0.999999, help="Adam's beta2")
    momentum: float = option(
        default=0.9, minimum=0, maximum=0.9999, help="momentum of sgd and sgd_schedulefree"
    )
    clip_grad_norm: float | None = option(
        default=None, minimum=1e-12, help="largest norm of the gradient of an update"
    )
    ema_model: bool = option(
        default=False, help="evaluate and save the exponential moving average of the weights"
    )
    ema_decay: float = share_option(default=0.999, help="decay of that average per update")

    disable_amp: bool = option(
        default=False, help="full precision on the GPU (the CPU always uses it)"
    )
    amp_float: str | None = option(
        default=None,
        choices=("fp16", "bf16"),
        help="half precision on the GPU (without it bf16 where the GPU has that, else fp16)",
    )
    gpu: int = option("--gpu", "-g", default=0, minimum=-1, help="number of the GPU; -1 is the CPU")
    num_workers: int | None = option(
        default=None,
        minimum=0,
        help="processes that load samples for each process that trains (without it, its CPUs less "
        "2, at most 8)",
    )
    exchange_timeout: float = option(
        default=600.0,
        minimum=1,
        metavar="SECONDS",
        help="several processes: how long one that does not answer is waited for, from the first "
        "update on",
    )
    seed: int = option(default=71, minimum=0, help="every random draw follows from it")

    eval_step: int = option(
        default=1, minimum=1, help="evaluate every N epochs, and after the last"
    )
    save_eval_step: int = option(
        default=10, minimum=1, help="keep the preview of every N-th evaluation batch"
    )
    skip_eval: bool = option(
        default=False, help="never evaluate; the model file is the newest instead of the best"
    )
    save_epoch: bool = option(default=False, help="keep the model of each epoch under epoch/N/")
    keep_checkpoints: int = option(
        default=0,
        minimum=0,
        metavar="N",
        help="keep the checkpoints of the last N epochs beside the one for --resume",
    )
    disable_hard_example: bool = option(
        default=False, help="draw all samples equally often instead of hard ones more"
    )
    ignore_nan: bool = option(
        default=False,
        help="go on however many losses are not finite (they never reach the weights)",
    )
    max_bad_share: float = share_option(
        default=0.5,
        help="go on as long as no larger share of the samples can't be read; they are left out",
    )
    disable_tensorboard: bool = option(
        default=False, help="write no TensorBoard events under runs/"
    )

    resume: bool = option(
        default=False, help="continue from the checkpoint in --model-dir, exactly"
    )
    resume_if_there: bool = option(
        default=False, help="as --resume, where --model-dir holds a checkpoint; else start anew"
    )
    reset_state: bool = option(
        default=False, help="with --resume: keep the weights, forget everything else"
    )
    # text and no Path, which would take a slash out of an address that a task's command accepts
    # here
    checkpoint_file: str | None = option(
        default=None, metavar="FILE", help="start from the weights of this model file"
    )

    def check(self) -> None:
        """What concerns more than one option; `nunif.options.check` calls it.

        Raises:
            UserError: the minimum of the cosine lies above its peak, Schedule-Free has no momentum,
                the records of an update are said twice, or a run would forget at every start.
        """
        if self.global_batch is not None and self.backward_step != self._default("backward_step"):
            raise UserError(
                f"--global-batch {self.global_batch} and --backward-step {self.backward_step} say "
                "the same: leave one of them out"
            )
        if self.resume_if_there and self.reset_state:
            raise UserError(
                "--reset-state does not go with --resume-if-there, which would forget at every "
                "start: give --resume --reset-state once"
            )
        if (
            self.uses_schedule
            and self.scheduler == "cosine"
            and self.learning_rate_cosine_min > self.learning_rate
        ):
            raise UserError(
                f"--learning-rate-cosine-min {self.learning_rate_cosine_min} is above "
                f"--learning-rate {self.learning_rate}: give a smaller one"
            )
        flag, momentum = (
            ("--momentum", self.momentum)
            if self.optimizer == "sgd_schedulefree"
            else ("--adam-beta1", self.adam_beta1)
        )
        if self.optimizer in SCHEDULE_FREE and momentum == 0:
            raise UserError(
                f"{flag} 0 does not work with --optimizer {self.optimizer}: give a number above "
                "0, usually 0.9"
            )

    @property
    def uses_schedule(self) -> bool:
        """Whether the learning rate follows a schedule: Schedule-Free optimizers have none."""
        return self.optimizer not in SCHEDULE_FREE

    def draws_per_epoch(self, num_train_samples: int) -> int:
        """How many samples an epoch draws from a training set. A task whose --num-samples counts
        something else (frames, say) overrides this."""
        return self.num_samples or num_train_samples

    def batches_per_update(self, num_processes: int) -> int:
        """How many batches of each process make an update.

        Raises:
            UserError: --global-batch can't be shared out evenly.
        """
        if self.global_batch is None:
            return self.backward_step
        at_once = self.batch_size * num_processes
        if self.global_batch % at_once == 0:
            return self.global_batch // at_once
        below = self.global_batch // at_once * at_once
        nearest = f"{below} or {below + at_once}" if below else str(at_once)
        raise UserError(
            f"--global-batch {self.global_batch} can't be shared out evenly, {at_once} at once "
            f"({num_processes} x --batch-size {self.batch_size}): give {nearest}"
        )

    def records_per_update(self, num_processes: int) -> int:
        """Samples of an update, in all processes together. Raises as `batches_per_update`."""
        return self.batch_size * self.batches_per_update(num_processes) * num_processes

    def loader_processes(self) -> int:
        """How many processes load samples for this one; 0 loads them in the training process."""
        if self.num_workers is not None:
            return self.num_workers
        sharing = num_sharing()
        own = num_cpus() // sharing
        # GPUs that share a machine are better off with one loading process than with none
        return min(max(own - 2, int(sharing > 1 and own > 1)), 8)

    def _default(self, name: str) -> Any:
        return next(field.default for field in fields(self) if field.name == name)

    def no_effect(self, *, on_cpu: bool | None = None) -> list[str]:
        """One sentence for every option that was changed from its default and does nothing in the
        chosen mode.

        on_cpu: where the run ends up; without it, as --gpu says.
        """
        on_cpu = self.gpu < 0 if on_cpu is None else on_cpu
        table = {field.name: field for field in fields(self)}
        return [
            f"{flag_of(table[name])} has no effect {why}"
            for applies, names, why in self._without_effect(on_cpu)
            if applies
            for name in names
            if getattr(self, name) != table[name].default
        ]

    def _without_effect(self, on_cpu: bool) -> list[tuple[bool, tuple[str, ...], str]]:
        """Whether it is so, which options have no effect then, and why."""
        schedule_free = not self.uses_schedule
        sgd = self.optimizer in ("sgd", "sgd_schedulefree")
        optimizer = f"with --optimizer {self.optimizer}"
        return [
            (
                schedule_free,
                (
                    "scheduler",
                    "learning_rate_cycles",
                    "learning_rate_cosine_min",
                    "learning_rate_decay",
                    "learning_rate_decay_step",
                ),
                f"{optimizer}, which has no schedule",
            ),
            (
                not schedule_free and self.scheduler != "cosine",
                ("learning_rate_cycles", "learning_rate_cosine_min"),
                f"with --scheduler {self.scheduler}",
            ),
            (
                not schedule_free and self.scheduler != "step",
                ("learning_rate_decay", "learning_rate_decay_step"),
                f"with --scheduler {self.scheduler}",
            ),
            (
                self.optimizer == "radam_schedulefree",
                ("warmup_epoch",),
                f"{optimizer}, which warms up by itself",
            ),
            (
                schedule_free,
                ("ema_model", "ema_decay"),
                f"{optimizer}, whose evaluation weights are an average already",
            ),
            (not schedule_free and not self.ema_model, ("ema_decay",), "without --ema-model"),
            (not sgd, ("momentum",), optimizer),
            (sgd, ("adam_beta1", "adam_beta2"), optimizer),
            (
                on_cpu,
                ("amp_float", "disable_amp"),
                "on the CPU, which always computes in full precision",
            ),
            (not on_cpu and self.disable_amp, ("amp_float",), "with --disable-amp"),
            (self.skip_eval, ("eval_step", "save_eval_step"), "with --skip-eval"),
            (
                self.resume,
                ("checkpoint_file",),
                "with --resume, which takes the weights of the checkpoint in --model-dir",
            ),
            (not self.resume, ("reset_state",), "without --resume"),
        ]
