"""`python -m layers evaluate`, and the scores by themselves."""

import json
import math

import cv2
import numpy as np
import pytest

from layers.commands import LAYERS
from layers.evaluation.methods import last_seen, median_telea
from layers.evaluation.plates import Plates, find_visits, person_in
from layers.evaluation.truth import MAX_PSNR, Masks, Removal, Scene
from nunif.records import write_record
from nunif.video.clips import BadClip
from scene.people.clip import make_clip
from tests.layers.test_remove import LOSSLESS, NOBODY, is_person, walk
from tests.videos import write_clip

H, W = 72, 128


def box(top, left, bottom, right, *, size=(96, 96)):
    marked = np.zeros(size, bool)
    marked[top:bottom, left:right] = True
    return marked


def test_ring_inside_and_outside_of_a_person():
    alpha = np.zeros((2, 96, 96), np.uint8)
    alpha[:, 40:60, 40:60] = 255
    alpha[:, 40:60, 60] = 100  # a soft edge
    room = np.full((2, 96, 96, 3), 100, np.uint8)
    result = room.copy()
    result[:, 45, 45] = 120  # inside: 1 of 400 pixels, 20 levels
    result[:, 50, 60] = 110  # ring
    result[:, 41, 62] = 110  # still in the ring, 2 pixels around
    result[1, 10, 10] = 150  # outside
    hole = np.stack([box(40, 40, 60, 61)] * 2)
    hole[1, 40:50, 40:60] = False
    truth = Scene(alpha, room)
    scores, curve = truth.score(room, Removal(hole, hole, result))
    inside = 10 * math.log10(255**2 / (20**2 / 400))
    assert scores["inside"] == pytest.approx(inside) and curve == pytest.approx([inside] * 2)
    # a disc of 2 pixels around 20x21
    radius_2 = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    near = cv2.dilate((alpha[0] > 0).astype(np.uint8), radius_2) > 0
    ring, outside = near.sum() - 400, (~near).sum()
    assert scores["ring"] == pytest.approx(10 * math.log10(255**2 / (2 * 10**2 / ring)))
    assert scores["outside"] == pytest.approx(10 * math.log10(255**2 / (50**2 / (2 * outside))))
    assert scores["flicker"] == 0.0  # all that is wrong nearby stays
    assert scores["recall"] == pytest.approx(0.75) and scores["recall_min"] == 0.5
    assert scores["hole_area"] == pytest.approx((420 + 220 - 10) / 800, abs=0.02)
    assert scores["touched"] == 2 + 1 + 1  # (41, 62) twice, (10, 10), and in the second (45, 45)


def test_a_perfect_removal():
    alpha = np.full((2, 48, 48), 0, np.uint8)
    alpha[:, 10:20, 10:20] = 255
    room = np.full((2, 48, 48, 3), 90, np.uint8)
    hole = alpha > 0
    scores, _ = Scene(alpha, room).score(room, Removal(hole, hole, room))
    assert {scores[name] for name in ("inside", "ring", "outside")} == {MAX_PSNR}
    assert scores["flicker"] == 0 and scores["hole_area"] == scores["recall"] == 1


def test_masks_by_others():
    marked = np.stack([box(0, 0, 10, 10), box(0, 0, 0, 0), box(0, 0, 10, 20)])
    found = np.stack([box(0, 0, 10, 5), box(0, 0, 9, 9), box(0, 0, 10, 20)])
    scores, curve = Masks(marked).score(np.zeros(()), Removal(found, found, None))
    assert scores["recall"] == scores["iou"] == 0.75
    assert scores["recall_min"] == scores["iou_min"] == 0.5
    assert scores["hole_area"] == pytest.approx(250 / 300)
    assert curve[0] == 0.5 and math.isnan(curve[1]) and curve[2] == 1


def visited(*places, light=None):
    """Frames of an empty room, grey with a pattern, and a dark box of 20 columns at each place."""
    room = np.full((60, 80, 3), 120, np.uint8) + (np.arange(80) % 8 * 4).astype(np.uint8)[:, None]
    frames = []
    for i, place in enumerate(places):
        frame = room + np.uint8(light[i] if light else 0)
        if place is not None:
            frame[20:50, place : place + 20] = 10
        frames.append(frame)
    return np.stack(frames)


def test_a_room_in_the_light_of_the_frame_is_the_truth_of_it():
    """A camera that gets brighter by a tenth while somebody is there."""
    frames = visited(*[None] * 15, *[20] * 8, *[None] * 17)
    frames[15:23] = np.rint(frames[15:23] * 1.1)
    (visit,) = find_visits(frames)
    hole = np.zeros(frames.shape[:3], bool)
    hole[15:23, 18:52, 18:52] = True
    truth, scores = Plates(frames, [visit]), {}
    for name, gain in (("brighter", 1.1), ("as before", 1.0)):
        filled = np.rint(frames[0] * gain).astype(np.uint8)
        result = np.where(hole[..., None], filled, frames)
        scores[name] = truth.score(frames, Removal(hole, hole, result))[0]
    assert scores["brighter"]["lit"] > 50 and scores["as before"]["hole"] == MAX_PSNR
    assert scores["brighter"]["hole"] == pytest.approx(scores["as before"]["lit"], abs=0.5)
    assert scores["as before"]["lit"] < 28


def test_a_visit_and_the_empty_room_before_and_after():
    light = [0] * 20 + [4] * 20
    frames = visited(*[None] * 15, *[20] * 4, *[30] * 4, *[None] * 17, light=light)
    (visit,) = find_visits(frames)
    assert (visit.start, visit.stop) == (15, 23)
    assert np.abs(visit.before - frames[0]).max() < 1e-3
    assert np.abs(visit.after - frames[39]).max() < 1e-3
    assert visit.nearest(15) is visit.before and visit.nearest(22) is visit.after
    truth = Plates(frames, [visit])
    person = person_in(frames[16], visit.before)
    assert person[20:50, 20:40].mean() > 0.98 and 580 < person.sum() <= 600
    assert not truth.persons()[14].any()
    hole = np.zeros(frames.shape[:3], bool)
    hole[15:23, 18:52, 18:52] = True
    result = np.where(hole[..., None], truth.shown(), frames)
    removal = Removal(hole, hole, result)
    scores, curve = truth.score(frames, removal)
    assert scores["hole"] == MAX_PSNR and scores["residue"] == 0 and scores["fade"] == 0
    assert scores["before"] == scores["after"] == pytest.approx(10 * math.log10(255**2 / 8))
    assert math.isnan(curve[0]) and curve[15] == MAX_PSNR
    assert scores["recall"] == scores["empty_equal"] == 1 and scores["touched"] == 0
    assert scores["flicker"] == pytest.approx(4 / 7)  # once the light changes, of 7 changes
    # it fades, is seen, and touches what is empty
    result = result.copy()
    result[21:23, 20:30, 20:30] = 250
    result[3, 0, 0] = 0
    scores, _ = truth.score(frames, Removal(hole, hole, result))
    assert scores["residue"] == pytest.approx(2 * 100 / hole.sum())
    assert scores["fade"] > 60 and scores["touched"] == 1
    assert scores["empty_equal"] == pytest.approx(31 / 32)


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        (visited(*[None] * 10), "nobody comes"),
        (
            np.random.default_rng(0).integers(0, 255, (10, 20, 20, 3), np.uint8),
            "is never seen for long enough",
        ),
    ],
)
def test_films_without_such_a_truth(frames, text):
    with pytest.raises(BadClip, match=text):
        find_visits(frames)


def test_the_empty_room_is_what_comes_again_not_what_lasts():
    """Somebody who stands in the picture most of the time is no part of it."""
    places = [*[None] * 8, *[30] * 40, *[None] * 8, *[32] * 40, *[None] * 8]
    visits = find_visits(visited(*places))
    assert [(visit.start, visit.stop) for visit in visits] == [(8, 48), (56, 96)]


def test_the_empty_room_is_one_that_nobody_stands_in():
    """Of one visit the film comes back to nothing; somebody stands still for most of it."""
    frames = visited(*[None] * 4, *[30] * 40, *[None] * 4, light=[0] * 44 + [40] * 4)
    wrong, right = (find_visits(frames, *taken) for taken in ([], [lambda room: room.min() < 20]))
    assert [(visit.start, visit.stop) for visit in right] == [(4, 48)]
    assert right[0].before is not None and right[0].after is None
    assert (wrong[0].start, wrong[0].stop) != (4, 48)


def test_what_needs_no_model():
    frames = visited(None, 20, 40, None)
    hole = np.stack([(frame < 50).all(axis=2) for frame in frames])
    empty = visited(None)[0]
    assert np.array_equal(last_seen(frames, hole)[2], empty)
    assert np.array_equal(median_telea(frames, hole), [empty] * 4)
    # what is never seen comes from around
    never = visited(20, 20)
    hole = np.stack([(frame < 50).all(axis=2) for frame in never])
    for fill in (last_seen, median_telea):
        filled = fill(never, hole)
        assert np.abs(filled[1].astype(int) - empty).max() < 40
        assert np.array_equal(filled[~hole], never[~hole])


@pytest.fixture
def evaluate(run, tmp_path):
    def evaluate(*words):
        code, text, lines = run(LAYERS, "evaluate", "-o", tmp_path / "o", "--gpu", -1, *words)
        return code, text, lines

    return evaluate


def scores_of(folder):
    scores = json.loads((folder / "o" / "scores.json").read_text())
    return scores["mean"]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    places = [NOBODY] * 6 + [50, 60] + [NOBODY] * 5
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    return write_clip(path, walk(*places), **LOSSLESS)


def test_a_still_camera_from_film_to_page(evaluate, film, tmp_path):
    code, text, lines = evaluate("-i", film, "--look-ahead", "0", "--baselines", "nothing")
    assert code == 0, lines
    means = scores_of(tmp_path)
    model, nothing = means["picture_memory_v1, live"], means["nothing"]
    assert nothing["hole"] < 16 < 25 < model["hole"]
    assert model["recall"] > 0.95 and model["touched"] == 0 and model["residue"] < 0.05
    assert "picture_memory_v1, live" in text
    page = (tmp_path / "o" / "report.html").read_text()
    assert "Removal scores" in page and "empty room" in page


def test_masks_score_the_finder_alone(evaluate, film, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    places = [NOBODY] * 6 + [50, 60] + [NOBODY] * 5
    for i, place in enumerate(places):
        marked = is_person(place).astype(np.uint8) * 255
        cv2.imwrite(str(masks / f"{i:05d}.png"), marked)
    words = ("-i", film, "--masks", masks, "--look-ahead", "4")
    code, _, lines = evaluate(*words, "--start", 5, "--frames", 4)
    assert code == 0 and "--look-ahead has no effect with --masks: nothing is filled" in lines
    means = scores_of(tmp_path)["person finder"]
    assert means["recall"] > 0.95 and means["iou"] > 0.8 and 1 < means["hole_area"] < 2
    code, _, lines = evaluate("-i", film, "--masks", tmp_path / "missing")
    assert code == 1 and "missing" in lines[-1]


def test_rendered_people_with_true_holes_too(evaluate, tmp_path):
    rng = np.random.default_rng(3)
    behind = np.stack([walk(NOBODY)[0]] * 3)
    clip = make_clip(rng, behind, num_people=1)
    write_record(tmp_path / "world" / "w_world_01234567_000000", clip.planes, clip.info)
    # of a real film, which was filled in where nobody knows what is there
    hole = clip.planes["A"] > 0
    write_record(tmp_path / "world" / "w_layers_01234567_000000", clip.planes | {"H": hole}, {})
    words = ("--look-ahead", "0", "--baselines", "nothing,median", "--no-gate")
    code, _, lines = evaluate("-i", tmp_path / "world", *words)
    assert code == 0, lines
    text = "left out: 1 records in which what is behind people isn't known"
    assert f"{text} (_C _A _B _O, without _H)" in lines
    clips = json.loads((tmp_path / "o" / "scores.json").read_text())["clips"]
    assert {row["clip"] for row in clips} == {"w_world_01234567_000000"}
    means = scores_of(tmp_path)
    assert list(means) == [
        "nothing",
        "median",
        "picture_memory_v1, live",
        "picture_memory_v1, live, true holes",
    ]
    true = means["picture_memory_v1, live, true holes"]
    assert true["recall"] == 1 and true["outside"] > 45 and true["touched"] == 0
    assert true["inside"] > means["nothing"]["inside"]
    code, _, lines = evaluate("-i", tmp_path / "world", "--masks", tmp_path)
    assert code == 1 and "holds records, which have alpha of their own" in lines[-1]


def test_a_film_that_others_made(evaluate, film, tmp_path):
    other = write_clip(tmp_path / "other.mkv", walk(*[NOBODY] * 13), **LOSSLESS)
    code, _, lines = evaluate("-i", film, "-m", f"theirs={other}", "--baselines", "none")
    assert code == 0, lines
    theirs = scores_of(tmp_path)["theirs"]
    assert theirs["hole"] == MAX_PSNR and theirs["empty_equal"] == 1 and theirs["recall"] > 0.9


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--baselines", "best"], "best"),
        (["--look-ahead", "0,soon"], "--look-ahead soon: give a number of frames up to 999"),
        (["--size", "8"], "--size 8 is no size"),
        (["--keep", "top"], "--keep top"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(evaluate, film, words, text):
    code, _, lines = evaluate("-i", film, *words)
    assert code == 1 and text in lines[-1]
