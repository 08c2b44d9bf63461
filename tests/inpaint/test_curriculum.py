"""Training in stages: what a file may say, and that an interrupted run ends with the bits of an
uninterrupted one."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from inpaint.commands import TRAIN
from inpaint.curriculum import DataFolder, read_arch, read_stages
from inpaint.options_holes import MADE_MASKS, parse_masks
from inpaint.options_train import RECIPES, TrainOptions
from inpaint.task import share_out
from inpaint.train import choose_arch, count_later_epochs
from nunif.errors import UserError
from nunif.models import load_model
from nunif.record_list import FolderTable, Part, Records
from nunif.records import Layout
from nunif.training.trainer import WindowDone
from scene.planes import COLOUR
from tests.records import make_records
from tests.watching import train_stopped_after

pytestmark = pytest.mark.usefixtures("small_networks", "no_curves")
MODEL = "inpaint.memory_dstt_v1_tiny"
STAGES = """
common: {tile_size: 32, clip_length: 3, backward_step: 1, mask: {object: 1, strokes: 1}}
stages:
  - name: first
    data: DATA/a
    epochs: 1
    num_samples: 9
  - name: second
    data: [{path: DATA/a, weight: 2}, {path: DATA/b, weight: 1}]
    mask: occlusion=1,object=1
    learning_rate: 5e-4
    epochs: 2
    num_samples: 18
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for i, name in enumerate("ab"):
        make_records(folder / name / "train", 2, seed=10 * i)
        make_records(folder / name / "eval", 1, seed=50 + i)
    return folder


@pytest.fixture
def stages(data, tmp_path):
    path = tmp_path / "stages.yaml"
    path.write_text(STAGES.replace("DATA", data.as_posix()))
    return path


def words(stages, model_dir, *more):
    base = [
        "inpaint",
        "--curriculum",
        stages,
        "--model-dir",
        model_dir,
        "--video",
        "--arch",
        "memory_dstt_v1_tiny",
    ]
    return [*base, "--gpu", "-1", *more]


def weights_of(path):
    return torch.load(path, weights_only=True)["state_dict"]


def assert_equal(a, b):
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_resumed_in_the_middle_of_stage_two_equals_uninterrupted(
    run, stages, tmp_path, monkeypatch
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    code, _, lines = run(TRAIN, *words(stages, whole))
    assert code == 0
    assert f"stage 1 of 2, first: done, {whole / 'stage1_final.pth'}" in lines
    assert sorted(path.name for path in whole.iterdir()) == [
        "stage1",
        "stage1_final.pth",
        "stage2",
        "stage2_final.pth",
    ]
    model, metadata = load_model(whole / "stage1_final.pth")
    assert (
        metadata["name"] == MODEL
        and metadata["stage"] == 1
        and metadata["train_kwargs"]["tile_size"] == "32"
    )
    # the third update of the second stage's second epoch comes next
    monkeypatch.setattr("inpaint.train.train", train_stopped_after(3 + 6 + 2, WindowDone))
    assert run(TRAIN, *words(stages, parts))[0] == 130
    assert (parts / "stage1_final.pth").exists() and not (parts / "stage2_final.pth").exists()
    before = (parts / "stage1_final.pth").stat().st_mtime_ns
    code, _, lines = run(TRAIN, *words(stages, parts, "--resume"))
    assert code == 0
    assert any("resuming in epoch 2 after 3 of 6 samples" in line for line in lines)
    assert (
        parts / "stage1_final.pth"
    ).stat().st_mtime_ns == before  # finished work is not done again
    for name in ("stage1_final.pth", "stage2_final.pth"):
        assert_equal(weights_of(whole / name), weights_of(parts / name))


@pytest.mark.slow
def test_a_stage_starts_from_the_last_weights_of_the_one_before(run, stages, data, tmp_path):
    code, _, lines = run(TRAIN, *words(stages, tmp_path / "m"))
    assert code == 0 and any(
        line == f"weights from {tmp_path / 'm' / 'stage1_final.pth'}" for line in lines
    )
    first = torch.load(tmp_path / "m" / "stage1" / f"{MODEL}.checkpoint.pth", weights_only=True)
    assert_equal(weights_of(tmp_path / "m" / "stage1_final.pth"), first["state_dict"])
    # the two records of the heavier folder of the second stage come twice
    assert any("6 samples to train on" in line for line in lines)


@pytest.mark.slow
def test_a_finished_run_has_nothing_left_to_do(run, stages, tmp_path):
    assert run(TRAIN, *words(stages, tmp_path / "m"))[0] == 0
    weights = weights_of(tmp_path / "m" / "stage2_final.pth")
    code, _, lines = run(TRAIN, *words(stages, tmp_path / "m", "--resume"))
    assert code == 0 and any(line.startswith("all 2 epochs are done") for line in lines)
    assert_equal(weights_of(tmp_path / "m" / "stage2_final.pth"), weights)


@pytest.mark.slow
def test_a_stage_that_is_done_and_has_changed_is_named(run, stages, tmp_path):
    assert run(TRAIN, *words(stages, tmp_path / "m"))[0] == 0
    stages.write_text(
        stages.read_text()
        .replace("epochs: 1", "epochs: 3")
        .replace("num_samples: 9", "num_samples: 12")
    )
    code, _, lines = run(TRAIN, *words(stages, tmp_path / "m", "--resume"))
    assert code == 0
    assert [line for line in lines if "not trained again" in line] == [
        "stage 1 of 2, first was trained with --num-samples 9, not 12: it is not trained again",
        "stage 1 of 2, first was trained with --max-epoch 1, not 3: it is not trained again",
    ]


def test_a_folder_that_a_later_stage_misses_is_said_before_the_first(run, stages, data, tmp_path):
    stages.write_text(stages.read_text().replace("/b, weight", "/c, weight"))
    code, _, lines = run(TRAIN, *words(stages, tmp_path / "m"))
    assert code == 1 and lines[-1] == (
        f"error: {stages}, stage 2: {data / 'c'} does not exist: give the folder that holds train/ "
        "and eval/"
    )
    assert not (tmp_path / "m").exists()


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Records as `create_training_data.py frames` makes them: without masks."""
    folder = tmp_path_factory.mktemp("bare")
    for name in ("train", "eval"):
        for record in make_records(folder / name, 1):
            for mask in record.glob("*_M.png"):
                mask.unlink()
    return folder


@pytest.mark.parametrize(
    "words_of_stage, message",
    [
        (
            "mask: {occlusion: 1}",
            "BARE/train: none of its 1 records can be used, they have no masks, and --mask makes "
            "none up: add --mask rectangle,strokes,object,strips",
        ),
        ("tile_size: 96", "BARE/train: none of its 1 records can be used, the first: "),
        (
            "clip_length: 15",
            "BARE/train: none of its 1 records can be used, the first: ",
        ),
        (
            "stream_length: 2",
            "--stream-length 2 is less than the 3 frames of a training clip: give more",
        ),
    ],
)
def test_what_does_not_fit_a_later_stage_is_said_before_the_first(
    run, stages, bare, tmp_path, words_of_stage, message
):
    more = f"  - {{data: {bare.as_posix()}, {words_of_stage}}}\n"
    stages.write_text(stages.read_text() + more)
    code, _, lines = run(TRAIN, *words(stages, tmp_path / "m"))
    message = message.replace("BARE", str(bare))
    assert code == 1 and lines[-1].startswith(f"error: {stages}, stage 3: {message}")
    assert not (tmp_path / "m").exists()


def test_recipes_and_the_example_make_up_holes_so_that_records_need_no_masks(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "stages.yaml"
    path.write_text(example)
    for name in (path, *RECIPES):
        for stage in read_stages(options(name, data_dir=Path("d"))):
            assert parse_masks(stage.options.mask).keys() & set(MADE_MASKS), (name, stage.where)


def test_a_stage_knows_what_comes_after_it(run, stages, tmp_path, monkeypatch):
    told = []

    def train(task, options, *, later_epochs):
        told.append(later_epochs)
        raise KeyboardInterrupt

    monkeypatch.setattr("inpaint.train.train", train)
    assert run(TRAIN, *words(stages, tmp_path / "m"))[0] == 130
    assert told == [4.0]  # two epochs of 18 frames, beside one of 9


def test_what_later_stages_take_is_counted_in_epochs_by_their_pixels(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(
        "common: {data: d, clip_length: 5, tile_size: 64, num_samples: 100}\n"
        "stages: [{epochs: 3}, {epochs: 2, tile_size: 64x128}, {epochs: 4, num_samples: 50}]"
    )
    stages = read_stages(options(path))
    assert [count_later_epochs(stages, stage) for stage in stages] == [2 * 2 + 4 / 2, 1.0, 0.0]


@pytest.mark.parametrize(
    "counts, weights, copies",
    [
        ((2, 2), (2, 1), (2, 1)),
        ((10, 7), (1, 1), (5, 7)),  # 50 beside 49, not 10 beside 7
        ((100, 3), (1, 1), (1, 33)),
        ((4, 5, 6), (1, 1, 1), (6, 5, 4)),
        ((4, 5), (None, None), (1, 1)),
    ],
)
def test_datasets_are_drawn_as_their_weights_say(counts, weights, copies):
    layout = Layout(("0000",), (COLOUR,), ("C",))
    folders = []
    for letter, count, weight in zip("abc", counts, weights):
        columns = np.zeros(count, np.int32), np.full((count, 2), 32)
        table = FolderTable(Path(letter), [letter] * count, *columns)
        folders.append((Records([Part(table, [layout])]), weight))
    shared = [record.path.name for record in share_out(folders)]
    assert tuple(shared.count(x) // count for x, count in zip("abc", counts)) == copies


def options(path, **more):
    return TrainOptions(model_dir=Path("m"), curriculum=str(path), video=True, **more)


def test_the_published_recipe_says_what_it_says():
    stages = read_stages(options("realtime_memory"))
    assert [stage.name for stage in stages] == [
        "game footage and indoor stills", "RGB-D walks", "sports and action video"
    ]  # fmt: skip
    assert [stage.options.max_epoch for stage in stages] == [20, 5, 5]
    assert [[folder.path.as_posix() for folder in stage.data] for stage in stages] == [
        ["data/gta_im", "data/mit_indoor"], ["data/sun3d"], ["data/thumos14"]
    ]  # fmt: skip
    for stage in stages:
        o = stage.options
        assert (o.optimizer, o.learning_rate, o.adam_beta1, o.adam_beta2) == (
            "adam",
            1e-4,
            0.0,
            0.99,
        )
        assert (o.clip_length, o.tile_size, o.batch_size) == (5, "360x640", 2)
        assert (o.disable_amp, o.amp_float, o.mask) == (
            False,
            "fp16",
            "rectangle=1,strokes=1,object=1",
        )
        assert (o.scheduler, o.learning_rate_decay) == ("step", 1.0)


def test_the_recipe_of_fusion_says_what_it_says():
    wanted = TrainOptions(
        model_dir=Path("m"),
        data_dir=Path("d"),
        curriculum="fusion",
        video=True,
        clip_length=12,
        tile_size="192x320",
        mask="object=3,strips=3,strokes=2",
        brightness="0.25,1.15",
        loss="psnr",
        max_epoch=30,
        num_samples=1200,
        batch_size=2,
        backward_step=1,
        learning_rate=1e-3,
        learning_rate_cycles=1,
        learning_rate_cosine_min=1e-5,
        clip_grad_norm=1.0,
        ema_model=True,
        ema_decay=0.99,
        disable_hard_example=True,
        eval_step=5,
    )
    # without --video too
    bare = TrainOptions(model_dir=Path("m"), data_dir=Path("d"), curriculum="fusion")
    (stage,) = read_stages(bare)
    assert (stage.name, stage.data, stage.options) == ("fusion", [DataFolder(Path("d"))], wanted)
    assert wanted.max_epoch * wanted.draws_per_epoch(1000) // wanted.batch_size == 1500  # updates
    assert read_arch(bare) == "fusion_v1"


def test_the_file_s_model_stands_behind_what_the_command_line_says(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("arch: memory_dstt_v1_tiny\nstages: [{data: d}]")
    assert (
        read_arch(options(path)) == "memory_dstt_v1_tiny"
        and read_arch(options("realtime_memory")) is None
    )
    assert choose_arch(None, None, default="memory_dstt_v1_tiny") == MODEL
    assert choose_arch("fusion_v1", None, default="memory_dstt_v1_tiny") == "inpaint.fusion_v1"
    path.write_text("arch: [a, b]\nstages: [{data: d}]")
    with pytest.raises(UserError, match=r"s.yaml: arch is \['a', 'b'\]: write text"):
        read_arch(options(path))


def test_a_run_takes_the_file_s_model(run, stages, data, tmp_path):
    stages.write_text(
        "arch: memory_dstt_v1_tiny\n" + stages.read_text().partition("  - name: second")[0]
    )
    code, _, lines = run(
        TRAIN,
        "inpaint",
        "--curriculum",
        stages,
        "--model-dir",
        tmp_path / "m",
        "--video",
        "--gpu",
        "-1",
    )
    assert code == 0, lines
    assert torch.load(tmp_path / "m" / "stage1_final.pth", weights_only=True)["name"] == MODEL


def test_what_a_stage_does_not_say_is_as_on_the_command_line(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("stages: [{epochs: 3}, {data: [x, y], seed: 5}]")
    first, second = read_stages(options(path, data_dir=Path("d"), learning_rate=3e-4))
    assert first.data == [DataFolder(Path("d"))] and second.data == [
        DataFolder(Path("x")),
        DataFolder(Path("y")),
    ]
    assert (first.options.learning_rate, first.options.max_epoch, first.options.seed) == (
        3e-4,
        3,
        71,
    )
    assert (second.options.max_epoch, second.options.seed) == (200, 5)


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "stages: []",
            "s.yaml: there must be a list `stages:` with one block of keys for each stage",
        ),
        ("- a", "s.yaml: there must be a list `stages:`"),
        (
            "stages: [{data: d, epoch: 3}]",
            "s.yaml, stage 1: 'epoch' is not known: choose from activation_checkpointing, "
            "adam_beta1, ",
        ),
        (
            "stages: [{data: d, epochs: many}]",
            "s.yaml, stage 1: epochs is 'many': write a whole number",
        ),
        ("stages: [{data: d, video: 1}]", "s.yaml, stage 1: video is 1: write true or false"),
        (
            "stages: [{data: d}, {data: d, learning_rate: fast}]",
            "s.yaml, stage 2: learning_rate is 'fast': write a number",
        ),
        (
            "stages: [{data: d, mask: {ring: 1}}]",
            "s.yaml, stage 1: --mask ring=1: 'ring' is not known: choose from",
        ),
        ("stages: [{data: d, epochs: 0}]", "s.yaml, stage 1: --max-epoch 0 is out of bounds"),
        (
            "stages: [{epochs: 1}]",
            "s.yaml, stage 1: there is no `data`, and no -i on the command line",
        ),
        (
            "stages: [{data: [{path: d, weight: 0}]}]",
            "s.yaml, stage 1: data is {'path': 'd', 'weight': 0}: write a path",
        ),
        (
            "stages: [{data: [{path: d, weight: 2}, e]}]",
            "s.yaml, stage 1: some of the data folders have a weight and some not",
        ),
        ("stages: [{data: d, model_dir: x}]", "s.yaml, stage 1: 'model_dir' is not known"),
        ("stages: [", "s.yaml can't be read as YAML: while parsing a flow node"),
        (
            "!!python/object/apply:os.system [ls]",
            "s.yaml can't be read as YAML: could not determine a constructor",
        ),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, text, message):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_stages(options(path))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_names_the_recipes(tmp_path):
    with pytest.raises(
        UserError,
        match="none.yaml does not exist: .* or one of the recipes realtime_memory, fusion",
    ):
        read_stages(options(tmp_path / "none.yaml"))


def test_what_a_later_stage_needs_is_missed_before_the_first_starts(
    run, data, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "lpips", None)
    path = tmp_path / "s.yaml"
    path.write_text(STAGES.replace("DATA", data.as_posix()) + "    loss: l1lpips\n")
    code, _, lines = run(TRAIN, *words(path, tmp_path / "m"))
    assert code == 1 and lines[-1].startswith(
        f"error: {path}, stage 2: LPIPS needs the package lpips"
    )
    assert not (tmp_path / "m").exists()


@pytest.mark.slow
def test_what_an_earlier_run_left_is_not_taken_for_this_one(run, stages, tmp_path, monkeypatch):
    """A second run over the folder of a finished one, interrupted in its first stage, goes on
    there."""
    folder = tmp_path / "m"
    assert run(TRAIN, *words(stages, folder))[0] == 0
    monkeypatch.setattr("inpaint.train.train", train_stopped_after(1, WindowDone))
    assert run(TRAIN, *words(stages, folder, "--seed", "5"))[0] == 130
    monkeypatch.undo()
    assert run(TRAIN, *words(stages, folder, "--seed", "5", "--resume"))[0] == 0
    assert run(TRAIN, *words(stages, tmp_path / "calm", "--seed", "5"))[0] == 0
    for name in ("stage1_final.pth", "stage2_final.pth"):
        assert_equal(weights_of(folder / name), weights_of(tmp_path / "calm" / name))
    code, _, lines = run(
        TRAIN, *words(stages, folder, "--checkpoint-file", folder / "stage1_final.pth")
    )
    assert code == 1 and lines[-1].endswith(
        "would be replaced by this run: choose another --model-dir"
    )
