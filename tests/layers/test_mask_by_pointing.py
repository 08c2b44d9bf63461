"""Masks by pointing: what is pointed at is cut out and followed, and what can't be meant is said.

Axes: H W pixels.
"""

from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from inpaint.commands import INPAINT
from layers.commands import LAYERS
from layers.options_mask import MaskFilmOptions
from layers.prompts import Prompt
from layers.runtime.frame_store import FrameStore
from layers.runtime.moving import MovingIn, moving_after, stands_out
from layers.runtime.plate import Plate
from layers.runtime.pointing import find_objects, mask_of_prompts
from layers.runtime.shot import follow_shot
from nunif.video.reader import VideoReader
from tests.videos import write_clip

HEIGHT, WIDTH, SIDE = 64, 96, 16
NUM_FRAMES, CUT = 18, 12
RED, BLUE = (210, 40, 40), (40, 60, 210)
PICTURE_MEMORY = Path(__file__).resolve().parents[2] / "pretrained_models/picture_memory_v1.pth"


def nobody(frame):
    """Stands in for the person finder, which costs more than all else here."""
    return np.zeros(frame.shape[:2], np.float32)


def scene(*, seed=3):
    """A background of soft grey-green spots."""
    spots = np.random.default_rng(seed).random((HEIGHT // 4, WIDTH // 4)).astype(np.float32)
    light = 90 + 80 * cv2.resize(spots, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.stack([light * 0.8, light, light * 0.7], axis=-1).clip(0, 255).astype(np.uint8)


def places(number):
    """Left upper corners (x, y) of the red and the blue square in a frame."""
    return (4 + 3 * number, 8), (70 - 2 * number, 38)


def draw(number, *, hidden=False):
    frame = scene()
    for colour, (x, y) in zip((RED, BLUE), places(number)):
        frame[y : y + SIDE, x : x + SIDE] = colour
    if hidden:  # something stands before the red one's way
        frame[:34, 30:56] = (235, 225, 120)
    return frame


def square(number, which):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    x, y = places(number)[which]
    mask[y : y + SIDE, x : x + SIDE] = True
    return mask


def overlap(found, truth):
    return (found & truth).sum() / (found | truth).sum()


def click(number, which, *, frame, kind="point", object=1):
    x, y = places(number)[which]
    return Prompt(kind, ((x + SIDE // 2, y + SIDE // 2),), frame=frame, number=object)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """12 frames with the squares, a cut, 6 frames of something else."""
    frames = [draw(number) for number in range(CUT)]
    frames += [255 - scene(seed=8)] * (NUM_FRAMES - CUT)
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    return write_clip(path, frames, codec="ffv1", num_b_frames=0, pixel_format="bgr0", fps=10)


@pytest.fixture(scope="module")
def masks(film, tmp_path_factory):
    """Both squares, pointed at in the middle of their shot."""
    from layers.runtime.mask import mask_film

    folder = tmp_path_factory.mktemp("masks") / "masks"
    options = MaskFilmOptions(input=film, output=folder, point=("34,16@#7", "5:64,46@0:00.75"))
    mask_film(options)
    return folder


def test_two_objects_are_followed_both_ways_to_the_cut(masks):
    names = [path.name for path in sorted(masks.iterdir())]
    assert names == [f"{number:06d}.png" for number in range(NUM_FRAMES)]
    for number, name in enumerate(names):
        with Image.open(masks / name) as image:
            assert image.mode == "P" and image.getpalette()[3:6] == [128, 0, 0]
            labels = np.array(image)
        if number >= CUT:
            assert not labels.any()
            continue
        assert set(np.unique(labels)) == {0, 1, 5}
        assert overlap(labels == 1, square(number, 0)) > 0.8
        assert overlap(labels == 5, square(number, 1)) > 0.8


def test_apply_takes_one_of_the_objects(run, film, masks, tmp_path):
    words = ["--mask", masks, "--objects", "5", "-m", PICTURE_MEMORY, "--gpu", "-1"]
    code, _, lines = run(INPAINT, "apply", "-i", film, "-o", tmp_path / "out", *words)
    assert code == 0, lines
    filled = cv2.imread(str(tmp_path / "out" / "000009.png"))[..., ::-1]
    hole = np.array(Image.open(masks / "000009.png")) == 5
    assert np.array_equal(filled[~hole], draw(9)[~hole])
    assert np.abs(filled[hole].astype(int) - BLUE).sum(axis=-1).mean() > 60


def test_what_is_pointed_at_leaves_the_film(run, film, tmp_path):
    words = ["-i", film, "-o", tmp_path / "out.mkv", "--codec", "ffv1", "--gpu", "-1"]
    point = ["--point", "64,46@#7", "--grow", "1", "--hold", "0"]
    code, _, lines = run(LAYERS, "remove", *words, *point, "--end", "1")
    assert code == 0 and lines[-1] == f"{tmp_path / 'out.mkv'}: 10 frames, 10 with a hole"
    with VideoReader(tmp_path / "out.mkv") as video:
        out = [frame.rgb for frame in video.read(0, len(video))]
    for number, picture in enumerate(out):
        own = square(number, 1)
        assert np.abs(picture[own].astype(int) - BLUE).sum(axis=-1).mean() > 60
        far = cv2.dilate(own.astype(np.uint8), np.ones((11, 11))) == 0
        assert np.array_equal(picture[far], draw(number)[far])  # the other one, too


@pytest.mark.parametrize(
    "words, message",
    [
        (["--masks", "m.png"], "--masks m.png and --point 4,4@0 both say what is removed: leave"),
        (["--keep", "left"], "--keep left and --point 4,4@0 both say what is removed"),
        (["--matting", "m.pth"], "--matting m.pth and --point 4,4@0 both say"),
        (["--segmenter", "sam"], "--segmenter sam and --point 4,4@0 both say"),
        (["--stills"], "--point 4,4@0 is a place in one film, and --input"),
        (
            ["--start", "0.5"],
            "--point 4,4@0 is frame 0, and --start and --end leave frames 5 to 17",
        ),
        (["--box", "90,4,8,4@0"], "is outside the picture"),
        (["--not-point", "2:4,4@0"], "say which object it isn't"),
    ],
)
def test_what_cant_be_removed_is_one_line(run, film, tmp_path, words, message):
    words = ["-i", film, "-o", tmp_path / "out.mkv", "--gpu", "-1", "--point", "4,4@0", *words]
    code, _, lines = run(LAYERS, "remove", *words)
    errors = [line for line in lines if line.startswith("error: ")]
    assert code == 1 and len(errors) == 1 and message in errors[0], lines
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "nothing is pointed at: give --point X,Y@TIME, --box or --stroke"),
        (["--point", "4,4"], "--point 4,4 isn't understood: write X,Y@TIME, in pixels"),
        (["--point", "4@0"], "--point 4@0 isn't understood"),
        (["--box", "4,4@0"], "--box 4,4@0 isn't understood: write X,Y,WIDTH,HEIGHT@TIME"),
        (["--box", "4,4,0,5@0"], "a box is at least 1 pixel wide and high"),
        (["--point", "0:4,4@0"], "0 is no object: give a number from 1 to 254"),
        (["--point", "4,4@#x"], "#x is no frame: give its number from 0, such as #12"),
        (["--point", "4,4@1:75"], "an hour has 60 minutes"),
        (["--point", "96,4@0"], "x 96, y 4 is outside the picture"),
        (["--point", "4,4@7.5"], "the time lies behind the end of"),
        (["--point", "4,4@#18"], "has 18 frames, numbered from 0: give one up to #17"),
        (["--point", "4,4@0", "--point", "4,4@#0"], "are one pixel of one frame"),
        (["--point", "3:4,4@0", "--not-point", "3:4,4@#0"], "are one pixel of one frame"),
        (
            ["--point", "4,4@0", "--point", "9,9@0", "--not-point", "5,5@0"],
            "--not-point 5,5@0: say which object it isn't",
        ),
    ],
)
def test_what_cant_be_meant_is_one_line(run, film, tmp_path, words, message):
    code, _, lines = run(LAYERS, "mask", "-i", film, "-o", tmp_path / "out", *words)
    errors = [line for line in lines if line.startswith("error: ")]
    assert code == 1 and len(errors) == 1 and message in errors[0], lines
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_not_written_into(run, film, masks):
    before = {path.name: path.read_bytes() for path in masks.iterdir()}
    code, _, lines = run(LAYERS, "mask", "-i", film, "-o", masks, "--point", "9,9@0")
    assert code == 1 and "is there already" in lines[-1]
    assert {path.name: path.read_bytes() for path in masks.iterdir()} == before


def test_a_second_click_corrects_what_is_nearer_to_it():
    prompts = {0: [click(0, 0, frame=0)], 10: [click(10, 1, frame=10)]}
    found = list(follow_shot((draw(number) for number in range(CUT)), prompts, nobody))
    assert len(found) == CUT
    for number, labels in enumerate(found):
        assert overlap(labels == 1, square(number, 0 if number <= 5 else 1)) > 0.8


def opening(number, rows):
    """A red square that walks, and opens a blue umbrella of so many rows on the way."""
    frame, own = scene(), np.zeros((HEIGHT, WIDTH), bool)
    x = 6 + 3 * number
    own[30 : 30 + SIDE, x : x + SIDE] = True
    frame[own] = RED
    if number >= 5:
        frame[30 - rows : 30, x : x + SIDE] = BLUE
        own[30 - rows : 30, x : x + SIDE] = True
    return frame, own


@pytest.mark.parametrize("rows", [14, 18])
def test_a_correction_adds_what_is_missing_and_keeps_the_rest(rows):
    drawn = [opening(number, rows) for number in range(16)]

    def scores(prompts):
        found = follow_shot((frame for frame, _ in drawn), prompts, nobody)
        return [overlap(labels == 1, own) for labels, (_, own) in zip(found, drawn)]

    once = {0: [Prompt("point", ((14, 38),), frame=0, number=1)]}
    again = {**once, 9: [Prompt("point", ((41, 34 - rows),), frame=9, number=1)]}
    before, after = scores(once), scores(again)
    assert before[9] < 0.75 and min(after[8:]) > 0.8
    assert after[9] > min(after[8], after[10]) - 0.05  # not worse than around it
    assert np.mean(after) > np.mean(before) + 0.1
    assert all(new > old - 0.05 for new, old in zip(after, before))


def test_what_is_said_to_be_none_of_it_is_taken_away():
    x, y = places(0)[1]
    wrong = click(4, 1, frame=4, kind="not-point", object=2)
    drawn = Prompt("stroke", ((12, 16), (x + 8, y + 8)), frame=0, number=2)
    frames = [draw(number) for number in range(8)]
    found = list(follow_shot(iter(frames), {0: [drawn], 4: [wrong]}, nobody))
    assert (found[0] == 2)[square(0, 1)].mean() > 0.8
    assert (found[4] == 2)[square(4, 1)].mean() < 0.2
    assert (found[4] == 2)[square(4, 0)].mean() > 0.8
    assert (found[7] == 2)[square(7, 1)].mean() < 0.2


def walkers(number):
    """Two in like trousers: one walks from the left and passes behind one who stands."""
    frame, labels = scene(), np.zeros((HEIGHT, WIDTH), np.uint8)
    for who, (x, shirt) in enumerate([(8 + 2 * number, RED), (40, BLUE)], 1):
        body = (slice(14, 60), slice(x, x + 10))
        frame[body], labels[body] = (30, 30, 45), who
        frame[14:34, x : x + 10] = shirt
    return frame, labels


def test_who_passes_behind_another_keeps_like_trousers():
    drawn = [walkers(number) for number in range(36)]
    strokes = [
        Prompt("stroke", ((x + 5, 18), (x + 5, 56)), frame=0, number=who)
        for who, x in ((1, 8), (2, 40))
    ]
    found = list(follow_shot((frame for frame, _ in drawn), {0: strokes}, nobody))
    for who in (1, 2):
        assert overlap(found[0] == who, drawn[0][1] == who) > 0.8
        assert overlap(found[35] == who, drawn[35][1] == who) > 0.7


def test_people_are_looked_at_closer():
    """In the whole frame the finder takes the wall for somebody, too."""
    frame = draw(0)
    own = square(0, 0)

    def find(picture):
        if picture.shape == frame.shape:
            return np.full(frame.shape[:2], 0.9, np.float32)
        return np.where((picture == RED).all(axis=2), 0.99, 0.01).astype(np.float32)

    labels = find_objects(frame, [click(0, 0, frame=0)], find_people=find)
    assert overlap(labels == 1, own) > 0.9


@pytest.mark.parametrize("moves", [True, False])
def test_legs_that_the_finder_misses_come_along_with_who_moves(moves):
    """Of a plain shirt only edges are seen to move."""
    frame, (shirt, legs) = scene(), np.zeros((2, HEIGHT, WIDTH), bool)
    shirt[14:34, 20:30] = legs[34:43, 20:30] = True
    frame[shirt], frame[legs] = RED, (30, 30, 45)
    moving = np.where(legs, 1.5, -1.5).astype(np.float32)
    if moves:
        moving[14:34, 20:22] = moving[14:34, 28:30] = 1.5  # 0.4 of it

    def find(picture):
        return np.where((picture == RED).all(axis=2), 0.99, 0.01).astype(np.float32)

    seen = [Prompt("point", ((25, 24),), frame=0, number=1)]
    own = find_objects(frame, seen, moving=moving, find_people=find) == 1
    assert overlap(own, (shirt | legs) if moves else shirt) > 0.9


def pan(number):
    """The camera follows a square: only what is behind moves."""
    wide = np.random.default_rng(4).integers(0, 256, (12, 40, 3), dtype=np.uint8)
    wide = cv2.resize(wide, (320, HEIGHT), interpolation=cv2.INTER_CUBIC)
    frame = wide[:, 3 * number : 3 * number + WIDTH].copy()
    frame[20:40, 30:50] = np.random.default_rng(5).integers(0, 2, (20, 20, 1)) * 255
    return frame


def test_what_moves_against_the_background_stands_out():
    there = stands_out([pan(number) for number in range(9)], 4)
    own = np.zeros((HEIGHT, WIDTH), bool)
    own[20:40, 30:50] = True
    away = cv2.dilate(own.astype(np.uint8), np.ones((9, 9))) == 0
    assert (there[own] > 0).mean() > 0.4 and (there[away] > 0).mean() < 0.1


def test_it_is_the_same_in_frames_that_are_kept_and_in_those_behind_them():
    frames = [pan(number) for number in range(24)]
    with FrameStore() as kept, FrameStore() as known:
        for frame in frames[:12]:
            kept.append(frame)
        moving = MovingIn(kept, frames[12:20], known)
        for place in (0, 5, 11, 11):
            near = frames[max(0, place - 8) : place + 9]
            whole = stands_out(near, min(place, 8))
            assert np.abs(moving[place] - whole).max() < 0.01
        behind = list(moving_after(kept, iter(frames[12:])))
    assert all(np.array_equal(frame, frames[12 + i]) for i, (frame, _) in enumerate(behind))
    assert len(behind) == 12
    for place in (12, 19, 23):
        near = frames[max(0, place - 8) : place + 9]
        assert np.array_equal(behind[place - 12][1], stands_out(near, min(place, 8)))


def test_what_is_learned_while_the_camera_moves_is_kept():
    lab = [cv2.cvtColor(pan(number), cv2.COLOR_RGB2LAB) for number in range(12)]
    everywhere = np.ones((HEIGHT, WIDTH), bool)
    plate = Plate(lab[0], everywhere)
    back = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    back[..., 0] = 3  # to where it was in the frame before
    for number in range(1, 12):
        plate.move(back, everywhere)
        plate.learn(lab[number], everywhere)
    changed = lab[11].copy()
    changed[20:40, 76:86] = (255, 90, 200)  # where nothing was known at first
    evidence = plate.evidence(changed, everywhere)
    assert (evidence[22:38, 78:84] > 0.5).all() and evidence[44:, 2:70].max() < 0.5


def test_what_was_hidden_is_found_again():
    frames = [draw(number, hidden=True) for number in range(24)]
    found = list(follow_shot(iter(frames), {0: [click(0, 0, frame=0)]}, nobody))
    assert not found[10].any()  # wholly behind it
    assert overlap(found[23] == 1, square(23, 0)) > 0.5


def test_frames_behind_the_last_click_are_not_kept():
    endless = (draw(number % 3) for number in count())
    found = list(islice(follow_shot(endless, {0: [click(0, 0, frame=0)]}, nobody), 4))
    assert [(labels == 1).any() for labels in found] == [True] * 4


def test_a_preview_has_the_frames_size_and_the_objects_numbers():
    """Of a frame far larger than what it is computed at."""
    large = cv2.resize(draw(2), (1152, 768), interpolation=cv2.INTER_NEAREST)
    x, y = places(2)[0]
    box = Prompt("box", ((12 * x - 24, 12 * y - 24), (12 * x + 216, 12 * y + 216)), number=7)
    labels = mask_of_prompts(large, [box])
    truth = cv2.resize(square(2, 0).astype(np.uint8), (1152, 768), interpolation=0) > 0
    assert labels.shape == (768, 1152) and labels.dtype == np.uint8
    assert set(np.unique(labels)) == {0, 7} and overlap(labels == 7, truth) > 0.9
