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
from layers.runtime.pointing import mask_of_prompts
from layers.runtime.shot import follow_shot
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


def test_what_is_said_to_be_none_of_it_is_taken_away():
    x, y = places(0)[1]
    wrong = click(4, 1, frame=4, kind="not-point", object=2)
    drawn = Prompt("stroke", ((12, 16), (x + 8, y + 8)), frame=0, number=2)
    frames = [draw(number) for number in range(8)]
    found = list(follow_shot(iter(frames), {0: [drawn], 4: [wrong]}, nobody))
    assert (found[3] == 2)[square(3, 1)].mean() > 0.8
    assert (found[7] == 2)[square(7, 1)].mean() < 0.2


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
