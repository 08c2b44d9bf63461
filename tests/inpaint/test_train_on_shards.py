"""Training reads shards and folders to the same bits, with any number of processes."""

import pickle
import shutil
from importlib.util import find_spec

import pytest
import torch

from inpaint.commands import TRAIN
from inpaint.dataset import TrainSet, scan_records, unpack
from matting.backgrounds import split
from matting.commands import CREATE_TRAINING_DATA as MATTING_DATA
from matting.dataset import TrainSet as MattingSet
from matting.dataset import scan_records as scan_mattes
from nunif.models import read_checkpoint
from nunif.shards import commands
from nunif.training.task import Draw
from tests.records import make_dataset

pytest.importorskip("pyarrow", reason="shards need pyarrow: pip install -e .[shards]")
pytestmark = pytest.mark.usefixtures("no_curves", "small_networks")
TABLE = commands.CREATE_TRAINING_DATA
KINDS = 1 + bool(find_spec("imagecodecs"))  # of shards
CHECKPOINT = "inpaint.memory_dstt_v1_tiny.checkpoint.pth"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The same records in folders and in shards, also as JPEG XL where that can be read."""
    from nunif.cli import run

    place = tmp_path_factory.mktemp("data")
    make_dataset(place / "folders", train=4, eval=1, frames=5, size=128)
    for half in ("train", "eval"):
        words = ("pack", "-i", place / "folders" / half, "--shard-bytes", "150kB", "-o")
        for more in ([place / "shards" / half], [place / "jxl" / half, "--codec", "jxl"])[:KINDS]:
            assert run(TABLE, [str(word) for word in (*words, *more)]) == 0
    return place


def words(data, model_dir, *more):
    base = "inpaint --video --arch memory_dstt_v1_tiny --gpu -1 --disable-tensorboard --seed 3 \
        --num-samples 9 --clip-length 3 --tile-size 32 --learning-rate-cycles 1".split()
    return [*base, "-i", data, "--model-dir", model_dir, *more]


def bits_of(model_dir):
    content = read_checkpoint(model_dir / CHECKPOINT, package="inpaint")
    return content["state_dict"], content["training"]["history"]


def equal(one, other):
    pairs = [(one[key].nan_to_num(), other[key].nan_to_num()) for key in one]
    return all(torch.equal(*pair) for pair in pairs) and one.keys() == other.keys()


def test_the_same_bits_also_where_the_rest_is_read_from_elsewhere(run, data, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    far = (f"file://{data / 'shards'}", "--cache-dir", tmp_path / "copies", "--cache-bytes", "1MB")
    more = ("--num-workers", 0, "--max-epoch", 1)
    assert run(TRAIN, *words(data / "folders", one, *more))[0] == 0
    assert run(TRAIN, *words(data / "shards", other, "--num-workers", 2, "--max-epoch", 1))[0] == 0
    (weights, history), (others, other_history) = bits_of(one), bits_of(other)
    assert equal(weights, others) and equal(history, other_history)
    if KINDS == 2:
        assert b".0000_C.jxl" in (data / "jxl" / "train" / "train-000000.tar").read_bytes()
        assert run(TRAIN, *words(data / "jxl", tmp_path / "third", *more))[0] == 0
        assert all(map(equal, bits_of(tmp_path / "third"), (weights, history)))
    more = ("--num-workers", 0, "--max-epoch", 2, "--resume")
    assert run(TRAIN, *words(data / "folders", one, *more))[0] == 0
    assert run(TRAIN, *words(far[0], other, *more, *far[1:]))[0] == 0
    assert equal(bits_of(one)[0], bits_of(other)[0]) and not equal(bits_of(one)[0], weights)
    assert list((tmp_path / "copies").glob("*/train-000000.tar"))


def test_samples_are_drawn_by_processes_that_were_told_no_more_than_names(data):
    sets = []
    for name in ("folders", "shards", "jxl")[: 1 + KINDS]:
        records, _ = scan_records(data / name / "train", min_frames=3, min_size=32, quick=True)
        train_set = TrainSet(records, 3, (32, 32), {"occlusion": 1.0})
        sets.append(pickle.loads(pickle.dumps(train_set)))
    for index in range(4):
        one, *others = (unpack(each[Draw(index, seed=7 * index)]) for each in sets)
        assert all(equal(one, other) for other in others)


def test_matting_draws_the_same(tmp_path):
    from nunif.cli import run

    make = ["world", "-o", tmp_path / "f", "--num", 2, "--size", "40x64", "--seq", 3, "--people", 1]
    assert run(MATTING_DATA, [str(word) for word in make]) == 0
    pack = ["pack", "-i", tmp_path / "f", "-o", tmp_path / "s"]
    assert run(TABLE, [str(word) for word in pack]) == 0
    sets = []
    for name in ("f", "s"):
        found, bad = scan_mattes(tmp_path / name, min_frames=2, quick=True)
        people, behind = split(tmp_path / name, found, found[:0])
        assert bad == [] and len(people) == 2 and people.name(1) == people[1].path.name
        sets.append(MattingSet(people, 2, 64, backgrounds=behind))
    for index in range(4):
        one, other = (each[Draw(index % 2, seed=index)]["low"] for each in sets)
        assert equal(one, other)


def test_what_is_missing_is_told_and_counted(run, data, tmp_path):
    place = tmp_path / "spoilt"
    shutil.copytree(data / "shards", place)
    shard = sorted((place / "train").glob("*.tar"))[-1]
    shard.unlink()
    more = ("--num-workers", 0, "--max-epoch", 1)
    code, _, lines = run(TRAIN, *words(place, tmp_path / "m", *more))
    (line,) = [line for line in lines if "this shard is missing" in line]
    assert code == 0 and line.startswith(f"left out: {shard}: this shard is missing, and with it ")
    code, _, lines = run(TRAIN, *words(place, tmp_path / "m", *more, "--max-bad-share", "0"))
    assert code == 1 and "of 4 records can't be used" in lines[-1]
