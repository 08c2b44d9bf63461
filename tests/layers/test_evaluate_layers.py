"""`python -m layers evaluate --layers`, and the scores by themselves.

Axes: T frames, H W pixels, P people, J joints.
"""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from layers.commands import LAYERS
from layers.evaluation.layer_truth import (
    LayerTruth,
    TakenApart,
    hidden_joints,
    id_scores,
    occluder_scores,
    scene_scores,
)
from nunif.records import write_record
from scene.people.clip import make_clip
from scene.people.pose import POSE_NAME, encode_pose
from tests.layers.test_remove import NOBODY, walk

T, H, W = 3, 96, 128
NAN = pytest.approx(math.nan, nan_ok=True)


def texture(height, width):
    return np.random.default_rng(3).integers(0, 255, (height, width, 3), np.uint8)


def truth_of(*, thing=(30, 70), people=((20, 40),)):
    """People from one column to another; before the first, in the last two frames, a thing from
    `thing` on, 20 pixels wide, which moves by 2 pixels a frame."""
    alpha = np.zeros((T, H, W), np.uint8)
    joints = np.zeros((T, len(people), 5, 2), np.float32)
    for number, (left, right) in enumerate(people):
        alpha[:, 20:80, left:right] = 255
        joints[:, number, :, 0] = np.linspace(left + 1, right - 1, 5)
        joints[:, number, :, 1] = np.linspace(22, 78, 5)
    occluder = np.zeros((T, H, W, 4), np.uint8)
    picture = texture(40, 20)
    for number in (1, 2):
        left = thing[0] + 2 * number
        occluder[number, 30:70, left : left + 20, :3] = picture
        occluder[number, 30:70, left : left + 20, 3] = 255
        alpha[number, 30:70, left : left + 20] = 0
    behind = np.full((T, H, W, 3), 100, np.uint8)
    return LayerTruth(alpha, behind, occluder, np.zeros((T, H, W), np.float32), joints)


def apart(truth, *, found=None, ids=None):
    found = truth.occluder[..., 3].copy() if found is None else found
    hole = (truth.alpha > 0) | (found > 0)
    ids = np.zeros((T, H, W), np.uint8) if ids is None else ids
    return TakenApart(found, hole, ids, 7.0)


def test_occluders_are_scored_where_they_touch_somebody():
    truth = truth_of()
    right = {"occluder": 1.0, "occluder_false": 0.0, "rule_ms": 7.0}
    right |= {"occluder_change": 0.0, "occluder_change_true": 0.0}
    assert occluder_scores(truth, apart(truth)) == right
    found = truth.occluder[..., 3].copy()
    found[1, 30:50] = 0  # half of it
    found[0, :12, :] = 255  # where none is
    scores = occluder_scores(truth, apart(truth, found=found))
    assert scores["occluder"] == pytest.approx((0.5 + 1) / 2)
    assert scores["occluder_false"] == pytest.approx(12 / 96)
    assert scores["occluder_change"] == pytest.approx(0.5)
    # far from everybody it is no occluder, and taken for one it is no mistake of the picture
    far = truth_of(thing=(80, 100))
    scores = occluder_scores(far, apart(far))
    assert scores["occluder"] == NAN and scores["occluder_false"] == 0.0


def test_the_scene_is_scored_in_the_hole():
    truth = truth_of()
    frames = np.full((T, H, W, 3), 100, np.uint8)
    done = apart(truth)
    scores, curve = scene_scores(truth, done, frames, frames + np.uint8(10) * done.hole[..., None])
    ten = 10 * math.log10(255**2 / 100)
    assert (
        scores == {"scene": pytest.approx(ten), "touched": 0} and curve == [pytest.approx(ten)] * T
    )
    # who isn't taken out of the picture belongs to the scene
    missed = apart(truth, found=np.zeros((T, H, W), np.uint8))
    touching = missed.hole & (truth.occluder[..., 3] > 0)
    assert not touching.any()
    changed = frames.copy()
    changed[1, 0, 0] = 0
    assert scene_scores(truth, missed, frames, changed)[0] == {"scene": 100, "touched": 1}


def test_ids_are_scored_by_the_joints():
    truth = truth_of(people=((5, 25), (70, 100)))
    ids = np.zeros((T, H, W), np.uint8)
    ids[:, :, :50], ids[:, :, 50:] = 1, 2
    good = {"id_switches": 0.0, "id_switches_crossing": NAN, "ids_shared": 0.0}
    assert id_scores(truth, apart(truth, ids=ids)) == good
    ids[2, :, 50:] = 1  # the second one is taken for the first
    wrong = {"id_switches": 1.0, "id_switches_crossing": NAN, "ids_shared": pytest.approx(1 / 3)}
    assert id_scores(truth, apart(truth, ids=ids)) == wrong
    # a hidden joint lies in the layer of who is before it
    depth = np.full((T, H, W), 5.0)
    depth[2, :, 50:] = 3.0
    distance = np.full(truth.joints.shape[:3], 5.2)
    hidden = hidden_joints(truth.joints, distance, depth)
    assert hidden[2, 1].all() and hidden.sum() == 5
    scores = id_scores(replace(truth, hidden=hidden), apart(truth, ids=ids))
    assert scores["id_switches"] == 0.0
    crossing = truth_of(people=((5, 45), (30, 60)))
    scores = id_scores(crossing, apart(crossing, ids=ids))
    assert scores["id_switches"] == NAN and scores["id_switches_crossing"] == 0.0
    alone = truth_of()
    assert all(math.isnan(score) for score in id_scores(alone, apart(alone, ids=ids)).values())


def test_records_from_command_to_page(run, tmp_path):
    clip = make_clip(np.random.default_rng(3), np.stack([walk(NOBODY)[0]] * 2), num_people=1)
    record = tmp_path / "world" / "w_world_01234567_000000"
    write_record(record, clip.planes, clip.info, {POSE_NAME: encode_pose(clip.pose)})
    words = ("evaluate", "--layers", "-i", tmp_path / "world", "-o", tmp_path / "o", "--gpu", -1)
    code, text, lines = run(
        LAYERS, *words, "--look-ahead", "0", "--baselines", "telea", "--hold", "4"
    )
    assert code == 0, lines
    assert any("--hold has no effect with --layers" in line for line in lines)
    scores = json.loads((tmp_path / "o" / "scores.json").read_text())
    rows = {row["method"]: row for row in scores["clips"]}
    judged = rows["picture_memory_v1, live"]
    assert judged["family"] in ("moving", "standing") and judged["touched"] == 0
    assert judged["scene"] > 10 and judged["rule_ms"] > 0
    assert rows["telea"]["occluder"] is None and rows["telea"]["scene"] > 10
    assert rows["masks 2 pixels wider"]["scene"] is None
    assert "Layer scores" in (tmp_path / "o" / "report.html").read_text()
    assert "picture_memory_v1, live" in text
    for path in record.glob("*_D.png"):
        path.unlink()
    code, _, lines = run(LAYERS, *words)
    assert code == 1 and "no record has all of _C, _A, _B, _O, _D" in lines[-1]
