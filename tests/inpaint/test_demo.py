"""What the demo does by itself: splitting off the evaluation records. Its steps are commands with
tests of their own."""

import shlex
from pathlib import Path

import pytest

from inpaint import demo
from inpaint.demo import split_eval
from inpaint.options_run import DemoOptions
from nunif.errors import UserError
from tests.records import make_records


def rename(folder, numbers):
    for path, number in zip(sorted(folder.iterdir()), numbers):
        path.rename(folder / f"d_Test_00000000_{number:06d}")


def test_split_eval_moves_whole_clips_from_the_end_and_only_once(tmp_path):
    make_records(tmp_path / "train", 7, frames=2, size=32)
    rename(tmp_path / "train", [0, 1, 2, 3, 5, 8, 9])
    split_eval(tmp_path)
    assert sorted(p.name[-2:] for p in (tmp_path / "eval").iterdir()) == ["08", "09"]
    assert len(list((tmp_path / "train").iterdir())) == 5
    split_eval(tmp_path)
    assert len(list((tmp_path / "train").iterdir())) == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["eval", "train"]


def test_split_eval_needs_two_clips(tmp_path):
    make_records(tmp_path / "train", 2, frames=2, size=32)
    rename(tmp_path / "train", [0, 1])
    with pytest.raises(UserError, match="fewer than two clips with holes"):
        split_eval(tmp_path)


def typed(monkeypatch, capsys, options):
    """The commands that the demo would run, and the lines that it prints itself."""
    lines = []
    monkeypatch.setattr(demo, "run", lambda *words: lines.append(shlex.join(map(str, words))))
    monkeypatch.setattr(demo, "split_eval", lambda data: lines.append("split_eval"))
    demo.main(options)
    return lines, capsys.readouterr().out.splitlines()


def test_every_step_is_a_command_that_a_person_could_have_typed(tmp_path, monkeypatch, capsys):
    out = tmp_path / "demo"
    lines, printed = typed(monkeypatch, capsys, DemoOptions(output=out))
    training = (
        f"train.py inpaint -i {out}/data --model-dir {out}/models --video --arch "
        "memory_dstt_v1_tiny --tile-size 128 --num-samples 360 --backward-step 2 --optimizer "
        "adamw_schedulefree --learning-rate 2e-3 --save-eval-step 1 --gpu -1"
    )
    model = f"{out}/models/inpaint.memory_dstt_v1_tiny.pth"
    assert lines == [
        f"-m inpaint sample-video -o {out}/sample.mp4",
        f"create_training_data.py video_inpaint --dataset-dir {out}/sample.mp4 -o {out}/data/train "
        "--prefix demo --model-type MotionParallax --skip-interval 0 --max-workers 2",
        "split_eval",
        f"-m inpaint contact-sheet -i {out}/data/train -o {out}/records.png",
        f"{training} --max-epoch 3",
        f"{training} --max-epoch 6 --resume",
        f"-m inpaint evaluate -i {out}/data/eval -m {model} -o {out}/scores --tile-size 128 "
        "--gpu -1",
    ]
    assert printed[1].startswith("Done in 0 s.")
    assert printed[2:] == [
        f"  {out}/records.png  (the training records, holes in magenta)",
        f"  {out}/models/eval  (holes, output and truth while training)",
        f"  {out}/models/loss.png  (the loss over the epochs)",
        f"  {out}/scores/clips.png  (the model beside fills that need no training)",
        f"  {out}/scores/report.html  (the same as a page, to compare picture by picture)",
        f"  {model}  (the trained model)",
        "To use the model next:",
        f"  python -m inpaint stereo -i {out}/sample.mp4 -o {out}/stereo.mp4 -m {model} "
        "--model-type MotionParallax --max-width 640",
        f"  python -m inpaint export -m {model} -o {out}/engines",
    ]


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch, capsys):
    (tmp_path / "models" / "eval").mkdir(parents=True)
    (tmp_path / "models" / "inpaint.memory_dstt_v1_tiny.checkpoint.pth").touch()
    (tmp_path / "models" / "eval" / "0006.png").touch()
    options = DemoOptions(video=Path("own.mp4"), output=tmp_path)
    lines, printed = typed(monkeypatch, capsys, options)
    assert f"--dataset-dir {Path('own.mp4').absolute()} " in lines[0]
    assert len([line for line in lines if line.startswith("train.py")]) == 1
    assert any("models/eval/0006.png" in line for line in printed)
    assert any(line.startswith("  python -m inpaint stereo -i own.mp4 ") for line in printed)
