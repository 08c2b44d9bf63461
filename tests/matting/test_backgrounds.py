"""People before backgrounds that come in records of their own."""

import pickle

import numpy as np
import pytest
import torch

from matting.backgrounds import Backgrounds, split
from matting.commands import TRAIN
from matting.dataset import EvalSet, TrainSet, scan_labelled, scan_records
from matting.models import MattingNetwork
from nunif.errors import UserError
from nunif.models import register_model
from nunif.record_list import Records, join
from nunif.records import write_record
from nunif.training.task import Draw

pytestmark = pytest.mark.usefixtures("no_curves")

TINY = "matting.test_backgrounds"
H, W, T = 40, 48, 3


@pytest.fixture(scope="module", autouse=True)
def tiny():
    register_model(TINY, MattingNetwork, variant="mobilenetv3", widths=[4, 4, 4, 4], pooled=8)


def write(folder, name, num_frames, planes):
    """A record: reddish people in the middle, backgrounds that are blue and get brighter."""
    alpha = np.zeros((num_frames, H, W), np.uint8)
    alpha[:, 10:30, 14:34] = 255
    red = np.full((num_frames, H, W, 3), (200, 0, 0), np.uint8)
    blue = np.zeros((num_frames, H, W, 3), np.uint8)
    blue[..., 2] = 100 + 10 * np.arange(num_frames)[:, None, None]
    green = blue[..., [0, 2, 1]]
    mixed = np.where(alpha[..., None] > 0, red, green)
    pictures = {"A": alpha, "F": red, "B": blue, "G": green, "C": mixed}
    kept = {letter: pictures[letter] for letter in planes}
    write_record(folder / name, {"B" if k == "G" else k: v for k, v in kept.items()}, {})


def dataset(folder):
    found, bad = scan_records(folder, min_frames=T)
    return *split(folder, found, Records()), bad


def test_what_records_are_for(tmp_path):
    write(tmp_path, "clip", 5, "AF")
    write(tmp_path, "still", 1, "AF")
    write(tmp_path, "world", 4, "CAFG")
    write(tmp_path, "short", 2, "AF")
    write(tmp_path, "marked", 4, "CA")
    write(tmp_path, "picture", 1, "B")
    write(tmp_path, "film", 4, "B")
    write(tmp_path, "torn", 4, "CAFB")
    (tmp_path / "torn" / "0002_F.png").write_bytes(b"")
    people, behind, bad = dataset(tmp_path)
    assert [record.path.name for record in people] == ["clip", "still", "world"]
    assert [record.path.name for record in behind.stills] == ["picture"]
    assert [record.path.name for record in behind.films] == ["film"]
    # a torn record of a person is no background
    assert {problem.record.name: problem.reason[:40] for problem in bad} == {
        "marked": "it has no foregrounds and no backgrounds",
        "short": "2 frames, 3 are needed",
        "torn": "0002_F.png can't be read (not a PNG pict",
    }


def test_samples_are_put_together_while_loading(tmp_path):
    write(tmp_path, "clip", 5, "AF")
    write(tmp_path, "still", 1, "AF")
    write(tmp_path, "picture", 1, "B")
    write(tmp_path, "film", 6, "B")
    people, behind, _ = dataset(tmp_path)
    train_set = TrainSet(people, T, 64, backgrounds=behind)
    there = pickle.loads(pickle.dumps(train_set))  # as a process of its own gets it
    for index in range(2):
        for seed in range(6):
            sample = train_set[Draw(index, seed)]["low"]
            mixed = sample["alpha"] * sample["foreground"]
            mixed = mixed + (1 - sample["alpha"]) * sample["background"]
            assert torch.allclose(mixed, sample["frames"], atol=1e-6)
            assert sample["frames"].shape == (T, 3, 64, 64) and sample["alpha"].max() > 0.5
            again = there[Draw(index, seed)]["low"]
            assert all(torch.equal(sample[name], again[name]) for name in sample)
    first, again = (EvalSet(people, T, 64, backgrounds=behind)[Draw(0, seed)] for seed in (1, 2))
    assert torch.equal(first["frames"], again["frames"])
    blue = first["background"][:, :, 0, 0]
    assert (blue[:, 2] > 0.3).all() and blue[:, :2].max() == 0


def test_what_a_teacher_has_marked_is_learned_from_as_it_is(tmp_path):
    write(tmp_path / "people", "clip", 5, "AF")
    write(tmp_path / "people", "picture", 1, "B")
    for name, length in (("film", 4), ("photo", 1), ("short", 2)):
        write(tmp_path / "labelled", name, length, "CAG")
    people, behind = split(tmp_path, scan_records(tmp_path / "people")[0], Records())
    found, bad = scan_labelled(tmp_path / "labelled", min_frames=T)
    assert [record.path.name for record in found] == ["film", "photo"]
    named = [(problem.record.name, problem.reason) for problem in bad]
    assert named == [("short", "2 frames, 3 are needed")]
    sets = join([people, found]), T, 64
    for samples in (TrainSet(*sets, backgrounds=behind), EvalSet(*sets, backgrounds=behind)):
        for index, seed in ((1, 0), (1, 1), (2, 2), (2, 3)):
            sample = samples[Draw(index, seed)]
            sample = sample.get("low", sample)
            # the frame stays together, and where it ends people are mirrored with it
            assert torch.equal(sample["frames"], sample["foreground"])
            assert torch.equal(sample["frames"], sample["background"])
            red = sample["frames"][:, 0] > sample["frames"][:, 1:].amax(1)
            assert ((sample["alpha"][:, 0] > 0.5) == red).float().mean() > 0.97
    sample = TrainSet(*sets, backgrounds=behind)[Draw(0, 0)]["low"]
    assert not torch.equal(sample["foreground"], sample["background"])


def test_half_of_the_backgrounds_stand_still(tmp_path):
    for name, length in (("p0", 1), ("p1", 1), ("p2", 1), ("film", 30)):
        write(tmp_path, name, length, "B")
    found, _ = scan_records(tmp_path, min_frames=T)
    behind = Backgrounds([r for r in found if len(r) == 1], [r for r in found if len(r) > 1])
    rng = np.random.default_rng(0)
    draws = [behind.draw(T, rng) for _ in range(200)]
    moving = [numbers for record, numbers in draws if len(record) > 1]
    assert 80 <= len(moving) <= 120
    assert all(len(set(numbers)) == T for numbers in moving)
    steps = {int(numbers[1]) - int(numbers[0]) for numbers in moving}
    assert steps == {-5, -4, -3, -2, -1, 1, 2, 3, 4, 5}
    assert {numbers for record, numbers in draws if len(record) == 1} == {("0000",) * T}


def test_people_without_any_background_are_named(tmp_path):
    write(tmp_path, "clip", 5, "AF")
    with pytest.raises(UserError, match="1 records have no background, clip the first: make"):
        dataset(tmp_path)
    write(tmp_path, "world", 5, "CAFG")  # what is behind others will do
    people, behind, _ = dataset(tmp_path)
    assert len(people) == 2 and [record.path.name for record in behind.films] == ["world"]
    write(tmp_path / "other", "film", 5, "B")
    with pytest.raises(UserError, match="holds backgrounds and nobody: make records of people"):
        dataset(tmp_path / "other")


def test_training_on_foregrounds_and_a_folder_of_backgrounds(run, tmp_path):
    for half in ("train", "eval"):
        write(tmp_path / "people" / half, "clip", 4, "AF")
        write(tmp_path / "behind" / half, "picture", 1, "B")
    words = ("matting", "-i", tmp_path / "people", "--model-dir", tmp_path / "m", "--arch", TINY)
    words += ("--size", 128, "--clip-length", 2, "--max-epoch", 1, "--gpu", -1)
    code, _, lines = run(TRAIN, *words)
    assert code == 1 and "name a folder of them with --backgrounds" in lines[-1]
    code, _, lines = run(TRAIN, *words, "--backgrounds", tmp_path / "behind")
    assert code == 0, lines
    assert (tmp_path / "m" / f"{TINY}.pth").exists()
