"""The passes of a train step: the clip, a part of it at high resolution, and where persons are."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from matting.dataset import TrainSet, scan_records
from matting.models import MattingNetwork
from matting.options_train import TrainOptions
from matting.persons import OF_CLIPS, OF_STILLS, PersonSet, change, scan_persons
from matting.task import MattingTask
from nunif.device import autocast
from nunif.errors import UserError
from nunif.records import write_record
from nunif.training.batches import Batch
from nunif.training.distributed import Group
from nunif.training.step import Engine
from nunif.training.task import Draw, stack
from nunif.training.window import Window

pytestmark = pytest.mark.usefixtures("no_curves")

T, SIZE = 2, 128


def write(path: Path, *, frames: int = 3, letters: str = "CAFB") -> None:
    """A disc that moves over noise."""
    rng = np.random.default_rng(len(path.name))
    rows, columns = np.mgrid[:40, :64]
    inside = [(rows - 20) ** 2 + (columns - 20 - 4 * t) ** 2 < 150 for t in range(frames)]
    alpha = np.stack(inside)
    colours = rng.integers(0, 256, (frames, 40, 64, 3), np.uint8)
    planes = {"C": colours, "A": alpha.astype(np.uint8) * 255, "F": colours, "B": colours[::-1]}
    planes = {letter: planes[letter] for letter in letters}
    write_record(path, planes, {})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("passes") / "train"
    for name in ("a", "bb"):
        write(folder / name)
    return folder


@pytest.fixture(scope="module")
def train_set(world):
    found, _ = scan_records(world, min_frames=T)
    persons, _ = scan_persons(world, clip_length=T, size=SIZE)
    return TrainSet(found, T, SIZE, (1, 192), persons)


@pytest.fixture(scope="module")
def options():
    return TrainOptions(
        model_dir=Path("m"), data_dir=Path("d"), clip_length=T, size=SIZE,
        high_size=192, high_clip_length=1, high_ratio=0.5, refiner_rate=1.0,
    )  # fmt: skip


@pytest.fixture
def task(train_set, options):
    torch.manual_seed(0)
    model = MattingNetwork("mobilenetv3", widths=[4, 4, 4, 4], pooled=8)
    return MattingTask(model, train_set, None, options)


def batch_of(train_set, window: int = 0, num_clips: int = 2):
    return stack([train_set[Draw(index, 7 + index, window)] for index in range(num_clips)])


def changed(model, before) -> set[str]:
    """The modules of which a parameter is not what it was, to the bit."""
    now = dict(model.named_parameters())
    return {name.split(".")[0] for name in now if not torch.equal(now[name], before[name])}


def test_each_pass_moves_only_what_it_may(task, train_set):
    """With AdamW's moments and its decay, on the second step, when all have a state."""
    model, batch = task.model.train(), batch_of(train_set, num_clips=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    moved = []
    for _ in range(2):
        moved.clear()
        for number, output in enumerate(task.train_step(model, batch)):
            assert output.update == number
            optimizer.zero_grad(set_to_none=True)
            output.loss.backward()
            before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
            optimizer.step()
            moved.append(changed(model, before))
    trunk = {"encoder", "pool", "decoder"}
    assert moved == [
        trunk | {"matte_head"}, trunk | {"matte_head", "refiner"}, trunk | {"person_head"},
    ]  # fmt: skip


def make_engine(task, **more) -> Engine:
    return Engine(
        model=task.model.train(),
        optimizer=torch.optim.AdamW(task.model.parameters(), lr=1e-3, weight_decay=0.1),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        ema=None,
        group=Group(),
        device=torch.device("cpu"),
        dtype=more.get("dtype"),
        clip_grad_norm=None,
    )


def test_the_trainer_makes_an_update_of_each_pass(task, train_set):
    engine, window = make_engine(task), Window()
    batch = Batch(batch_of(train_set), [0, 1])
    engine.learn(task, batch, window, place=0, seed=3, nominal_records=2)
    parts = dict(window.part_sums)
    assert engine.update(window, nominal_records=2).updated
    steps = {
        name.split(".")[0]: int(engine.optimizer.state[weight]["step"])
        for name, weight in task.model.named_parameters()
    }
    assert steps == {
        "encoder": 3, "pool": 3, "decoder": 3, "matte_head": 2, "person_head": 1, "refiner": 1,
    }  # fmt: skip
    names = ["alpha", "laplacian", "alpha_change", "foreground", "foreground_change"]
    assert list(parts) == [*names, *(f"high_{name}" for name in names), "person"]
    assert parts["high_alpha_change"] == 0 < parts["high_alpha"]  # of one frame
    assert sum(parts.values()) == pytest.approx(window.loss_sum, rel=1e-5)


def test_bf16_on_the_cpu_and_an_inf_in_a_batch(task, train_set):
    """In its second pass. One step is skipped and counted, and leaves no trace; the next one
    learns."""
    engine = make_engine(task, dtype=torch.bfloat16)
    with autocast(engine.device, engine.dtype):
        _, alpha, *_ = task.model(torch.rand(1, 2, 3, 64, 64))
    assert alpha.dtype == torch.bfloat16
    start = {name: x.clone() for name, x in task.model.state_dict().items()}
    batch, window = Batch(batch_of(train_set), [0, 1]), Window()
    hook = task.model.refiner.window.register_forward_hook(lambda *call: call[2] + torch.inf)
    engine.learn(task, batch, window, place=0, seed=3, nominal_records=2)
    hook.remove()
    window = engine.update(window, nominal_records=2)
    assert (window.non_finite, window.skipped, window.updated) == ([[0, 1]], 2, False)
    assert all(torch.equal(x, start[name]) for name, x in task.model.state_dict().items())
    window = Window()
    engine.learn(task, batch, window, place=2, seed=3, nominal_records=2)
    window = engine.update(window, nominal_records=2)
    assert (window.non_finite, window.skipped, window.updated) == ([], 0, True)
    assert window.broken is None and window.loss_sum > 0


def test_clips_and_stills_take_turns_and_stills_have_no_order(task, train_set):
    losses = []
    for window in range(2):
        batch = batch_of(train_set, window)
        assert batch["persons"]["still"].tolist() == [window == 1] * 2
        del batch["low"]["background"]  # neither pass looks at it
        turned = {**batch, "persons": dict(batch["persons"])}
        for name in ("frames", "mask"):
            turned["persons"][name] = batch["persons"][name].flip(1)
        pair = []
        for each in (batch, turned):
            torch.manual_seed(1)
            *_, last = task.train_step(task.model.train(), each)
            pair.append(last.loss.item())
        losses.append(abs(pair[0] - pair[1]))
    assert losses[1] < 1e-5 < 1e-4 < losses[0]


def test_what_is_drawn_for_other_passes_changes_nothing_of_the_first(train_set):
    alone = dataclasses.replace(train_set, high=None, persons=None)[Draw(0, 7)]
    passes = train_set[Draw(0, 7)]
    assert list(alone) == ["low"] and list(passes) == ["low", "high", "persons"]
    assert all(torch.equal(value, passes["low"][name]) for name, value in alone["low"].items())
    assert passes["high"]["frames"].shape == (1, 3, 192, 192)
    assert passes["high"]["alpha"].shape == (1, 1, 192, 192)
    assert passes["persons"]["mask"].shape == (T, 1, SIZE, SIZE)
    again, other = train_set[Draw(0, 7)], train_set[Draw(0, 8)]
    assert torch.equal(again["high"]["frames"], passes["high"]["frames"])
    own = dataclasses.replace(train_set, persons="own")
    for window in (0, 1):
        persons = own[Draw(0, 7, window)]["persons"]
        assert persons["still"].item() == (window == 1)
        assert set(persons["mask"].unique().tolist()) == {0.0, 1.0}
        assert persons["frames"].shape == (T, 3, SIZE, SIZE)
    assert not torch.equal(other["persons"]["frames"], passes["persons"]["frames"])


@pytest.mark.parametrize("ranges", [OF_CLIPS, OF_STILLS])
def test_persons_stay_where_their_pixels_are(ranges):
    mask = torch.zeros(2, 1, 60, 90)
    mask[:, :, 10:40, 30:50] = 1
    frames = 0.2 + 0.6 * mask.expand(-1, 3, -1, -1)
    for seed in range(4):
        seen, where = change(frames, mask, 64, ranges, np.random.default_rng(seed))
        assert set(where.unique().tolist()) == {0.0, 1.0}
        grey = seen.mean(1, keepdim=True)
        middle = (grey.max() + grey.min()) / 2
        assert ((grey > middle) == (where > 0)).float().mean() > 0.97


def test_records_of_persons(tmp_path, caplog):
    write(tmp_path / "train" / "clip", letters="CA")
    write(tmp_path / "train" / "album", letters="CA", frames=2)
    write(tmp_path / "train" / "photo", letters="CA", frames=1)
    colours = np.full((1, 40, 64, 3), 9, np.uint8)
    mask = np.zeros((1, 40, 64), bool)
    mask[:, 10:30, 20:40] = True
    write_record(tmp_path / "train" / "mask", {"C": colours, "A": mask}, {})
    write(tmp_path / "train" / "nobody", letters="C")
    persons, bad = scan_persons(tmp_path, clip_length=3, size=64)
    assert [record.path.name for record in persons.clips] == ["clip"]
    assert [record.path.name for record in persons.stills] == ["album", "mask", "photo"]
    assert [(problem.record.name, problem.reason) for problem in bad] == [
        ("nobody", "it has no alphas")
    ]
    of_mask = PersonSet([], [persons.stills[1]], 2, 64)
    sample = of_mask.draw(np.random.default_rng(0), still=False)
    assert sample["still"].item() and 0.02 < sample["mask"].mean().item() < 0.9
    # what can't be decoded is told of, and another is taken
    broken = tmp_path / "train" / "photo" / "0000_A.png"
    content = bytearray(broken.read_bytes())
    content[60:80] = bytes(20)
    broken.write_bytes(content)
    two = PersonSet([], persons.stills[1:], 1, 64)
    for seed in range(4):
        two.draw(np.random.default_rng(seed), still=True)
    assert "0000_A.png can't be read" in caplog.text


def test_options_that_do_not_go_together(options):
    with pytest.raises(UserError, match="--high-clip-length 3 is more than --clip-length 2: it is"):
        dataclasses.replace(options, high_clip_length=3).check()
    with pytest.raises(UserError, match="--high-size 128 .* are 16 pixels: 32 are needed"):
        dataclasses.replace(options, high_size=128, high_ratio=0.25).check()
    words = dataclasses.replace(options, high_size=None, high_ratio=0.5).no_effect()
    assert "--high-ratio has no effect without --high-size" in words
    assert any(word.startswith("--refiner-rate has no effect without") for word in words)
