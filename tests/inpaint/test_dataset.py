"""Samples out of records: what is cut, turned round and grown, and that a seed decides all of
it."""

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from inpaint.clip_transforms import (
    change_colours,
    draw_colours,
    fixed_hard_tile,
    grow_holes,
    random_hard_tile,
)
from inpaint.dataset import EvalSet, TrainSet, kinds_for, scan_records, unpack
from nunif.records import write_record
from nunif.training.task import BadSample, Draw
from tests.records import make_records

OCCLUSION_ONLY = {"occlusion": 1.0}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    make_records(folder, 2, frames=16)
    return scan_records(folder)[0]


def numbered_record(folder, frames=16, size=40, masks=True):
    """Every frame is a flat grey of 10 times its number; the hole, with `masks`, is in one
    place."""
    pictures = np.broadcast_to(
        (np.arange(frames) * 10).astype(np.uint8)[:, None, None, None], (frames, size, size, 3)
    )
    holes = np.zeros((frames, size, size), bool)
    holes[:, 20:24, 20:24] = True
    planes = {"C": pictures, "M": holes} if masks else {"C": pictures}
    write_record(folder / "n_000000", planes, {})
    return scan_records(folder)[0]


def test_shapes_and_ranges(records):
    packed = TrainSet(records, 12, (32, 32), OCCLUSION_ONLY)[Draw(0, 5)]
    assert packed["pictures"].dtype == torch.uint8 and packed["holes"].dtype == torch.bool
    sample = unpack(packed)
    assert sample["frames"].shape == (12, 3, 32, 32) and sample["holes"].shape == (12, 1, 32, 32)
    assert sample["frames"].dtype == sample["holes"].dtype == torch.float32
    assert -1 <= sample["frames"].min() < -0.2 and 0.2 < sample["frames"].max() <= 1
    assert set(sample["holes"].unique().tolist()) == {0.0, 1.0}


def test_a_seed_decides_everything(records):
    train = TrainSet(records, 12, (32, 32), OCCLUSION_ONLY)
    first, again, other = (unpack(train[Draw(1, seed)]) for seed in (7, 7, 8))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["frames"], other["frames"])


def test_a_batch_is_unpacked_as_its_samples_are(records):
    """To the bit: whether and how each clip's colours change is with it."""
    train = TrainSet(records, 12, (32, 32), OCCLUSION_ONLY, (0.5, 1.5))
    samples = [train[Draw(seed % 2, seed)] for seed in range(8)]
    batch = unpack(default_collate(samples))
    for number, sample in enumerate(map(unpack, samples)):
        assert torch.equal(batch["frames"][number], sample["frames"])
        assert torch.equal(batch["holes"][number], sample["holes"])


def test_twelve_successive_frames_forwards_or_backwards(tmp_path):
    train = TrainSet(numbered_record(tmp_path), 12, (32, 32), OCCLUSION_ONLY)
    steps, starts = set(), set()
    for seed in range(40):
        grey = unpack(train[Draw(0, seed)])["frames"][:, 0, 0, 0].add(1).mul(127.5)
        step = grey.diff()
        assert (step > 0).all() or (step < 0).all()
        assert torch.allclose(step, step[:1].expand(11), atol=0.1)  # none left out
        steps.add(bool(step[0] > 0))
        starts.add(round(float(grey.min())))
    assert steps == {True, False} and len(starts) > 3


def test_evaluation_takes_the_middle_and_never_changes(tmp_path):
    clips = EvalSet(numbered_record(tmp_path), 12, (32, 32), OCCLUSION_ONLY)
    grey = unpack(clips.sample(0))["frames"][:, 0, 0, 0].add(1).mul(127.5).round().tolist()
    assert grey == [20.0 + 10 * i for i in range(12)]
    assert torch.equal(clips.sample(0)["holes"], clips[Draw(0, 99)]["holes"])
    assert clips.sample(0)["holes"].sum() == 12 * 16


def test_hard_tiles_are_preferred():
    holes = np.zeros((2, 64, 64), bool)
    holes[:, 40:50, 40:60] = True
    assert fixed_hard_tile(holes, (32, 32)) == (24, 32)
    found = [random_hard_tile(holes, (32, 32), np.random.default_rng(seed)) for seed in range(200)]
    hits = np.mean([holes[:, y : y + 32, x : x + 32].any() for y, x in found])
    single = np.mean(
        [
            holes[:, y : y + 32, x : x + 32].any()
            for y, x in np.random.default_rng(0).integers(0, 33, (500, 2))
        ]
    )
    assert hits > single + 0.1


def test_holes_grow_to_the_right_by_up_to_20_and_to_the_left_by_up_to_4():
    hole = torch.zeros(1, 1, 80)
    hole[..., 40] = 1
    rights, lefts = [], []
    for seed in range(300):
        columns = grow_holes(hole, np.random.default_rng(seed))[0, 0].nonzero()[:, 0]
        rights.append(int(columns.max()) - 40)
        lefts.append(40 - int(columns.min()))
    assert min(rights) == 0 and max(rights) == 20 and 0.4 < np.mean(np.array(rights) > 0) < 0.6
    assert min(lefts) == 0 and max(lefts) == 4 and 0.15 < np.mean(np.array(lefts) > 0) < 0.35


def test_growth_from_beside_the_tile_comes_in(tmp_path):
    """The hole ends left of some tiles; grown, it must reach in just as it would in the whole
    picture."""
    train = TrainSet(numbered_record(tmp_path), 12, (32, 32), OCCLUSION_ONLY)
    for seed in range(60):
        holes = train[Draw(0, seed)]["holes"][0, 0]
        columns = holes.any(0).nonzero()[:, 0]
        if len(columns):
            assert len(columns) == columns.max() - columns.min() + 1


def test_colour_jitter_stays_in_range_and_is_the_same_for_all_frames():
    frames = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    kinds = {"same": 0, "grey": 0, "scaled": 0}
    for seed in range(400):
        out = change_colours(frames, draw_colours(np.random.default_rng(seed)))
        assert out.min() >= 0 and out.max() <= 1
        if torch.equal(out, frames):
            kinds["same"] += 1
        elif torch.equal(out[:, 0], out[:, 1]):
            kinds["grey"] += 1
        else:
            kinds["scaled"] += 1
            scale = (out[0, 0, 0, 1] - out[0, 0, 0, 0]) / (frames[0, 0, 0, 1] - frames[0, 0, 0, 0])
            assert 0.7 <= scale <= 0.9
    assert 160 < kinds["same"] < 240 and 3 < kinds["grey"] < 25


def test_brightness_is_one_factor_for_a_clip_between_the_two_given(tmp_path):
    frames = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    factors = []
    for seed in range(100):
        drawn = draw_colours(np.random.default_rng(seed), (0.25, 1.25))
        plain = change_colours(frames, drawn._replace(brightness=torch.tensor(1.0)))
        out = change_colours(frames, drawn)
        assert out.max() <= 1
        factors.append(float(drawn.brightness))
        torch.testing.assert_close(out, (plain * factors[-1]).clamp(max=1))
    assert 0.25 <= min(factors) < 0.3 and 1.2 < max(factors) <= 1.25
    records = numbered_record(tmp_path)
    plain, dark = (
        unpack(TrainSet(records, 12, (32, 32), OCCLUSION_ONLY, b)[Draw(0, 5)])["frames"]
        for b in ((1, 1), (0.5, 0.5))
    )
    torch.testing.assert_close(dark + 1, (plain + 1) / 2)


def test_an_unreadable_picture_is_a_bad_sample_with_its_name(tmp_path):
    clips = EvalSet(numbered_record(tmp_path), 12, (32, 32), OCCLUSION_ONLY)
    file = tmp_path / "n_000000" / "0005_C.png"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(BadSample, match="n_000000: 0005_C.png can't be read"):
        clips.sample(0)
    with pytest.raises(BadSample, match="0005_C.png"):
        [TrainSet(clips.records, 12, (32, 32), OCCLUSION_ONLY)[Draw(0, seed)] for seed in range(5)]


def test_the_kinds_of_holes_come_as_often_as_their_weights_say(tmp_path):
    """The recorded hole is 4 pixels high, a rectangle of 5 to 20 % of 32x32 at least 5 in one of
    its sides."""
    train = TrainSet(
        numbered_record(tmp_path), 2, (32, 32), {"occlusion": 3.0, "rectangle": 1.0, "strokes": 0.0}
    )
    sums = [train[Draw(0, seed)]["holes"].sum(dim=(1, 2, 3)).tolist() for seed in range(200)]
    made = np.mean([0.05 * 32 * 32 <= first <= 0.2 * 32 * 32 for first, _ in sums])
    # 4 high, grown by at most 24
    recorded = np.mean([first % 4 == 0 and first <= 4 * 28 for first, _ in sums])
    assert 0.15 < made and 0.6 < recorded


def test_records_without_masks_take_what_is_made_up(tmp_path):
    (record,) = numbered_record(tmp_path, masks=False)
    masks = {"occlusion": 5.0, "object": 2.0, "strokes": 0.0}
    assert (
        kinds_for(record, masks) == {"object": 2.0} and kinds_for(record, {"occlusion": 1.0}) == {}
    )
    train = TrainSet([record], 12, (32, 32), masks)
    shares = [train[Draw(0, seed)]["holes"][0].float().mean().item() for seed in range(50)]
    assert 0.04 <= min(shares) and max(shares) <= 0.12


def test_made_up_holes_of_evaluation_follow_from_the_name(tmp_path):
    masks = {"object": 1.0, "strokes": 1.0}
    (record,) = numbered_record(tmp_path / "a", masks=False)
    first = EvalSet([record], 12, (32, 32), masks).sample(0)["holes"]
    again = EvalSet([record], 12, (32, 32), masks)[Draw(0, 99)]["holes"]
    (tmp_path / "a" / "n_000000").rename(tmp_path / "a" / "n_000001")
    other = EvalSet(scan_records(tmp_path / "a")[0], 12, (32, 32), masks).sample(0)["holes"]
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("masks", [OCCLUSION_ONLY, {"object": 1.0}])
@pytest.mark.parametrize("kind", [TrainSet, EvalSet])
def test_tiles_are_as_high_and_wide_as_asked_for(records, kind, masks):
    sample = unpack(kind(records, 3, (32, 48), masks)[Draw(0, 1)])
    assert sample["frames"].shape == (3, 3, 32, 48) and sample["holes"].shape == (3, 1, 32, 48)


def test_a_clip_of_one_frame_is_any_of_the_record(tmp_path):
    train = TrainSet(numbered_record(tmp_path, frames=4, masks=False), 1, (32, 32), {"object": 1.0})
    # colours are as they were in half of the draws
    greys = {
        round(float(unpack(train[Draw(0, seed)])["frames"][0, 0, 0, 0].add(1).mul(127.5)), 3)
        for seed in range(60)
    }
    assert {0.0, 10.0, 20.0, 30.0} <= greys
