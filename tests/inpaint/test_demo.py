"""What the demo does by itself: splitting off the evaluation records. Its steps are commands with
tests of their own."""

import pytest

from inpaint.demo import split_eval
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
