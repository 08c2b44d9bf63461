"""Three toy tasks of other kinds than ours, on the trainer as it is: a recurrent one, a
diffusion-like one, and one that is trained in stages.

Axes: B batch, T steps of a sequence, C channels.
"""

import dataclasses
from contextlib import closing
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nunif.errors import UserError
from nunif.models import Model, create_model, read_checkpoint, register_model
from nunif.options import option
from nunif.training.options import TrainerOptions
from nunif.training.stages import check_stage, read_stage_file, stage_options, train_stages
from nunif.training.task import Draw, EvalOutput, Task, TrainOutput, stack
from nunif.training.trainer import EpochDone, Started, WindowDone, train, watch
from tests.nunif.test_training import assert_same_run, make_options, press_ctrl_c, read_csv
from tests.watching import train_stopped_after

pytestmark = pytest.mark.usefixtures("no_curves")

CHUNK = 3  # steps of a sequence that one graph spans


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Toy(Task):
    """What the three have in common: ten samples of numbers."""

    def __init__(self, model: str) -> None:
        torch.manual_seed(3)
        self.model = create_model(model)
        self.train_set, self.eval_set = self, self
        self.on_step, self.steps = lambda step: None, 0

    def __len__(self) -> int:
        return 10

    def sample_name(self, index: int) -> str:
        return f"sample-{index}"

    def tick(self) -> None:
        self.steps += 1
        self.on_step(self.steps)


# --- recurrent: BatchNorm, two heads, a second kind of sample, a state of its own -----------------


class Recurrent(Model):
    """Sequences (B, T, 2) and a state (B, 4) -> sums (B, T, 1), signs (B, T, 1), the new state."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.cell = nn.BatchNorm1d(2), nn.GRUCell(2, 4)
        self.heads = nn.ModuleDict({"sum": nn.Linear(4, 1), "sign": nn.Linear(4, 1)})

    def forward(self, x, state):
        outputs = []
        for step in self.norm(x.transpose(1, 2)).unbind(2):  # (B, 2)
            state = self.cell(step, state)
            outputs.append(state)
        hidden = torch.stack(outputs, dim=1)  # (B, T, 4)
        return self.heads["sum"](hidden), self.heads["sign"](hidden), state


class SequenceTask(Toy):
    """Samples with an odd number have no sums, only signs. Chunks are weighed by what was seen."""

    def __init__(self) -> None:
        super().__init__("toy.recurrent")
        self.seen = {"sum": 0, "sign": 0}

    def __getitem__(self, draw: Draw):
        x = numbers(draw.index, 2 * CHUNK, 2)
        sums = x.sum(1, keepdim=True).cumsum(0)
        return {"x": x, "sums": sums, "has_sums": draw.index % 2 == 0}

    def train_step(self, model, batch):
        self.tick()
        state = torch.zeros(len(batch["x"]), 4)
        self.seen["sign"] += len(state)
        self.seen["sum"] += int(batch["has_sums"].sum())
        for x, sums in zip(batch["x"].split(CHUNK, 1), batch["sums"].split(CHUNK, 1)):
            losses, parts, state = self.losses(model, x, sums, batch["has_sums"], state)
            parts = {name: value.mean() / 2 for name, value in parts.items()}
            yield TrainOutput(losses.mean() / 2, losses.detach() / 2, parts)
            state = state.detach()

    def losses(self, model, x, sums, has_sums, state):
        guesses, signs, state = model(x, state)
        parts = {
            "sum": (guesses - sums).square().mean((1, 2)) * has_sums,  # (B,)
            "sign": F.binary_cross_entropy_with_logits(
                signs, (sums > 0).float(), reduction="none"
            ).mean((1, 2)),
        }
        rarity = self.seen["sign"] / max(1, self.seen["sum"])
        return rarity * parts["sum"] + parts["sign"], parts, state

    def eval_step(self, model, batch):
        state = torch.zeros(len(batch["x"]), 4)
        losses, *_ = self.losses(model, batch["x"], batch["sums"], batch["has_sums"], state)
        return EvalOutput({"loss": losses.mean().item()})

    def state_dict(self):
        return {"seen": dict(self.seen)}

    def load_state_dict(self, state):
        self.seen = dict(state["seen"])


# --- diffusion-like: a frozen part, and the average of the weights --------------------------------


class Denoiser(Model):
    """Noisy codes (B, 4) and times (B, 1) -> their noise. `encoder` makes codes, and is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(3, 4).requires_grad_(False)
        self.net = nn.Sequential(nn.Linear(5, 16), nn.SiLU(), nn.Linear(16, 4))

    def forward(self, codes, time):
        return self.net(torch.cat([codes, time], dim=1))


class OneLoss(Toy):
    """Tasks whose steps are made of one loss per sample."""

    def losses(self, model, batch):
        """(B,)"""
        raise NotImplementedError

    def train_step(self, model, batch):
        self.tick()
        losses = self.losses(model, batch)
        return TrainOutput(losses.mean(), losses.detach())

    def eval_step(self, model, batch):
        return EvalOutput({"loss": self.losses(model, batch).mean().item()})


class DenoiseTask(OneLoss):
    def __init__(self) -> None:
        super().__init__("toy.denoiser")

    def __getitem__(self, draw: Draw):
        return {"x": numbers(draw.index, 3)}

    def losses(self, model, batch):
        codes = self.model.encoder(batch["x"])  # (B, 4)
        time, noise = torch.rand(len(codes), 1), torch.randn_like(codes)
        noisy = (1 - time) * codes + time * noise
        return (model(noisy, time) - noise).square().mean(1)


# --- three stages, with another rate per group ----------------------------------------------------


class Backbone(Model):
    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x):
        return self.head(torch.tanh(self.backbone(x)))


@dataclasses.dataclass(frozen=True)
class ToyOptions(TrainerOptions):
    curriculum: str | None = option(default=None, help="the stages")
    backbone_rate: float = option(default=1.0, minimum=0, help="factor on the backbone's rate")
    noise: float = option(default=0.0, help="on the samples")


class FineTuneTask(OneLoss):
    def __init__(self, options: ToyOptions) -> None:
        super().__init__("toy.backbone")
        self.noise, self.backbone_rate = options.noise, options.backbone_rate

    def rate_factor(self, name: str) -> float:
        return self.backbone_rate if name.startswith("backbone.") else 1.0

    def __getitem__(self, draw: Draw):
        x = numbers(draw.index, 3)
        return {"x": x + self.noise * numbers(draw.seed % 2**31, 3), "y": x.sum(0, keepdim=True)}

    def losses(self, model, batch):
        return (model(batch["x"]) - batch["y"]).square().mean(1)


register_model("toy.recurrent", Recurrent)
register_model("toy.denoiser", Denoiser)
register_model("toy.backbone", Backbone)


# --- what all of them do --------------------------------------------------------------------------

TASKS = {
    "recurrent": (SequenceTask, dict(learning_rate=0.02)),
    "diffusion": (DenoiseTask, dict(learning_rate=0.02, ema_model=True, ema_decay=0.9)),
    "groups": (lambda: FineTuneTask(ToyOptions(model_dir=Path("m"), backbone_rate=0.1)), {}),
}


def checkpoint_of(folder: Path, name: str) -> dict:
    return read_checkpoint(folder / f"{name}.checkpoint.pth")


@pytest.mark.parametrize("name", TASKS)
def test_they_train_and_resume_exactly(tmp_path, name):
    make, values = TASKS[name]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(make(), make_options(whole, max_epoch=3, num_samples=50, **values))
    losses = [float(row["eval_loss"]) for row in read_csv(whole)]
    assert min(losses[1:]) < 0.9 * losses[0]
    cut = make()
    # 25 steps an epoch: the first of the two of a window, whose traces in layers that normalise and
    # in the task's own state must go
    cut.on_step = press_ctrl_c(at_step=36)
    with pytest.raises(KeyboardInterrupt):
        train(cut, make_options(parts, max_epoch=3, num_samples=50, **values))
    state = checkpoint_of(parts, cut.model.name)["training"]["state"]
    assert (cut.steps, state["epoch"]["position"], state["updates"]) == (36, 20, 13 + 5)
    train(make(), make_options(parts, max_epoch=3, num_samples=50, resume=True, **values))
    assert_same_run(whole, parts, cut.model.name)


def test_the_task_s_own_state_is_in_the_checkpoint_where_there_is_one(tmp_path):
    task = SequenceTask()
    train(task, make_options(tmp_path / "own", max_epoch=2, num_samples=10))
    training = checkpoint_of(tmp_path / "own", "toy.recurrent")["training"]
    assert training["task"] == {"seen": task.seen} and task.seen["sign"] == 20
    train(DenoiseTask(), make_options(tmp_path / "none", max_epoch=1))
    assert "task" not in checkpoint_of(tmp_path / "none", "toy.denoiser")["training"]


def test_a_state_of_the_task_that_is_not_finite_replaces_no_checkpoint(tmp_path):
    task = DenoiseTask()
    scale = torch.ones(2)
    task.state_dict = lambda: {"scale": scale.clone()}
    task.on_step = lambda step: scale.fill_(float("nan")) if step == 5 else None
    with pytest.raises(UserError, match=r"no longer finite \(scale of the task\)"):
        train(task, make_options(tmp_path))
    training = checkpoint_of(tmp_path, "toy.denoiser")["training"]
    assert training["state"]["epochs_done"] == 1 and training["task"]["scale"].isfinite().all()


def test_a_frozen_part_stays_as_it_is_and_needs_no_moments(tmp_path):
    task = DenoiseTask()
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    train(task, make_options(tmp_path, max_epoch=2, ema_model=True))
    moved = {
        name for name, tensor in before.items() if not tensor.equal(task.model.get_parameter(name))
    }
    assert moved == {"net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias"}
    content = checkpoint_of(tmp_path, "toy.denoiser")
    assert len(content["training"]["optimizer"]["state"]) == 4
    assert content["training"]["ema_updates"] == content["training"]["state"]["updates"] == 4
    assert content["state_dict"]["encoder.weight"].equal(before["encoder.weight"])


# --- stages ---------------------------------------------------------------------------------------

STAGES = """
arch: backbone
common: {epochs: 2, batch_size: 2}
stages:
  - {name: all of it}
  - {name: the head, backbone_rate: 0, weight_decay: 0.0}
  - {name: both, backbone_rate: 0.1, noise: 0.1, learning_rate: 3e-3}
"""


@dataclasses.dataclass(frozen=True)
class ToyStage:
    name: str
    options: ToyOptions


def run_stages(folder: Path, path: Path, *, train=train, **values):
    options = ToyOptions(
        model_dir=folder, num_samples=8, learning_rate=0.01, gpu=-1, num_workers=0, backward_step=2,
        disable_tensorboard=True, curriculum=str(path), **values,
    )  # fmt: skip
    file, stages = read_stage_file(str(path), {}), []
    for number, block in enumerate(file.blocks, 1):
        own = stage_options(block, options, file.place(number))
        check_stage(own, file.place(number))
        stages.append(ToyStage(block["name"], own))

    def train_stage(stage, own):
        task = FineTuneTask(own)
        return train(task, own), task.model

    return train_stages(stages, options, f"toy.{file.arch}", train_stage)


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "stages.yaml"
    path.write_text(STAGES)
    return path


def weights_of(folder: Path, stage: int) -> dict:
    return read_checkpoint(folder / f"stage{stage}_final.pth")["state_dict"]


def test_three_stages_with_other_rates_for_their_groups(tmp_path, recipe):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run_stages(whole, recipe)
    moved = [
        {name for name, tensor in weights_of(whole, stage).items()
         if not tensor.equal(weights_of(whole, stage - 1)[name])}
        for stage in (2, 3)
    ]  # fmt: skip
    assert moved[0] == {"head.weight", "head.bias"} and len(moved[1]) == 4
    groups = checkpoint_of(whole / "stage3", "toy.backbone")["training"]["optimizer"][
        "param_groups"
    ]
    assert [group.get("rate_factor") for group in groups] == [0.1, 0.1, None, None]
    assert [group["lr"] for group in groups] == [1e-9, 1e-9, 1e-8, 1e-8]  # of the last epoch
    # in the second stage's second epoch
    with pytest.raises(KeyboardInterrupt):
        run_stages(parts, recipe, train=train_stopped_after(4 + 2, WindowDone))
    assert not (parts / "stage2_final.pth").exists()
    run_stages(parts, recipe, resume=True)
    for stage in (1, 2, 3):
        assert_same_run(whole / f"stage{stage}", parts / f"stage{stage}", "toy.backbone")
        for name, tensor in weights_of(whole, stage).items():
            assert tensor.equal(weights_of(parts, stage)[name])


# --- looking on -----------------------------------------------------------------------------------


def test_events_in_their_order(tmp_path):
    kinds = [type(event).__name__ for event in watch(DenoiseTask(), make_options(tmp_path))]
    epoch = ["WindowDone", "WindowDone", "EpochDone"]
    assert kinds == ["Started", *4 * epoch, "Finished"]
    again = list(watch(DenoiseTask(), make_options(tmp_path, resume=True)))
    assert [type(event).__name__ for event in again] == ["Finished"]
    assert again[0].result.epochs_done == 4


@pytest.mark.parametrize(
    "kind, number", [(Started, 1), (WindowDone, 3), (WindowDone, 4), (EpochDone, 2)]
)
def test_a_loop_that_is_left_leaves_a_checkpoint_to_go_on_from(tmp_path, kind, number):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(SequenceTask(), make_options(whole))
    seen = 0
    with closing(watch(SequenceTask(), make_options(parts))) as events:
        for event in events:
            seen += isinstance(event, kind)
            if seen == number:
                break
    state = checkpoint_of(parts, "toy.recurrent")["training"]["state"]
    assert state["updates"] == event.trainer.state.updates
    assert state["epochs_done"] == event.trainer.state.epochs_done
    log = (parts / "train.log").read_text()
    assert f"stopped in epoch {state['epochs_done'] + 1}" in log
    train(SequenceTask(), make_options(parts, resume=True))
    assert_same_run(whole, parts, "toy.recurrent")


def test_what_looks_on_sees_the_numbers_of_the_run(tmp_path):
    records, metrics = 0, []
    for event in watch(DenoiseTask(), make_options(tmp_path, max_epoch=2, eval_step=2)):
        if isinstance(event, WindowDone):
            records += event.window.records
            assert event.window.updated and event.trainer.engine.model is event.trainer.task.model
        if isinstance(event, EpochDone):
            metrics.append(event.metrics)
    assert records == 14
    assert metrics[0] == {} and f"{metrics[1]['loss']:.9g}" == read_csv(tmp_path)[1]["eval_loss"]


def test_samples_are_stacked_unless_the_task_says_otherwise():
    assert Task.collate is stack
