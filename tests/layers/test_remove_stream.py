"""Frame in, picture out: what file mode gives, and nothing changed outside the hole."""

import doctest

import cv2
import numpy as np
import pytest

from inpaint.runtime.stream import InpaintStream
from layers.commands import LAYERS
from layers.runtime import live_pace, stream
from layers.runtime.holes import HoleRule
from layers.runtime.live_gate import PATIENCE, LiveGate
from layers.runtime.stream import FILLER, RemoveStream

SIZE, NUM = (32, 48), 8
RULE = HoleRule(least=128, surely=200, grow=8.0, hold=2)


class RedFinder:
    """Takes what is red for a person."""

    rule = RULE
    remembers = False
    num_resets = 0

    def reset(self):
        self.num_resets += 1

    def __call__(self, frame):
        return np.where((frame[..., 0] > 200) & (frame[..., 1] < 50), 255, 0).astype(np.uint8)


def frames_of(size=SIZE):
    """Something red walks before a wall; in the first frame it isn't there yet."""
    wall = np.random.default_rng(3).integers(60, 190, (*size, 3), np.uint8)
    for number in range(NUM):
        frame = cv2.GaussianBlur(wall, (0, 0), 2)
        if number:
            frame[8:20, 4 + 4 * number : 12 + 4 * number] = (255, 0, 0)
        yield frame


def open_red():
    return RemoveStream(RedFinder(), InpaintStream.open(FILLER, gpu=-1))


@pytest.fixture(scope="module")
def holes():
    red = open_red()
    return [red.find(frame) for frame in frames_of()]


@pytest.fixture(scope="module")
def pictures():
    red = open_red()
    return [red(frame) for frame in frames_of()]


def test_outside_the_hole_nothing_changes(holes, pictures):
    wall = next(frames_of())
    for frame, hole, picture in zip(frames_of(), holes, pictures, strict=True):
        assert picture.dtype == np.uint8
        np.testing.assert_array_equal(picture[~hole], frame[~hole])
        assert abs(picture.astype(int) - wall).max() < 90, "nothing red is left"
    assert not holes[0].any() and np.array_equal(pictures[0], wall)
    # it stands 2 frames: where it was 3 frames before is seen again
    assert holes[3][14, 10] and not holes[4][14, 10]


def test_it_gives_what_a_film_without_look_ahead_gives(run, holes, pictures, tmp_path):
    for name, images in (("film", frames_of()), ("masks", holes)):
        (tmp_path / name).mkdir()
        for number, image in enumerate(images):
            pixels = image[..., ::-1] if image.ndim == 3 else image * np.uint8(255)
            cv2.imwrite(str(tmp_path / name / f"{number:04d}.png"), pixels)
    words = ["-i", tmp_path / "film", "--masks", tmp_path / "masks", "-o", tmp_path / "out"]
    words += ["--look-ahead", 0, "--no-cuts", "--gpu", -1]
    code, _, lines = run(LAYERS, "remove", *words)
    assert code == 0, lines
    files = sorted((tmp_path / "out").glob("*.png"))
    found = [cv2.imread(str(file))[..., ::-1] for file in files]
    np.testing.assert_array_equal(found, pictures)


def test_reset_starts_a_stream_of_any_size(pictures):
    red = open_red()
    for frame in frames_of((40, 56)):
        red(frame)
    with pytest.raises(ValueError):
        red(next(frames_of()))
    red.reset()
    np.testing.assert_array_equal([red(frame) for frame in frames_of()], pictures)


def test_options_change_the_hole(holes):
    frame = list(frames_of())[-1]

    def hole_of(**changes):
        rule = HoleRule(**{"least": 128, "surely": 200, "grow": 0.0, **changes})
        return RemoveStream(RedFinder(), InpaintStream.open(FILLER, gpu=-1), rule=rule).find(frame)

    assert hole_of().sum() == 12 * 8
    assert hole_of(grow=8.0).sum() > 12 * 8
    assert hole_of(keep=("right",)).sum() == 0


class OpenAt:
    """A gate that opens at a frame."""

    def __init__(self, number):
        self.is_open, self._left = False, number

    def reset(self):
        self.is_open = False

    def look(self, frame):
        self._left -= 1
        self.is_open = self._left < 0


def test_nobody_is_taken_out_while_the_gate_is_shut():
    filler = InpaintStream.open(FILLER, gpu=-1)
    red = RemoveStream(RedFinder(), filler, gate=OpenAt(3))  # type: ignore[arg-type]
    assert [bool(red.find(frame).any()) for frame in frames_of()] == [False] * 3 + [True] * 5


def test_the_gate_opens_at_once_and_shuts_after_a_second():
    gate = LiveGate.__new__(LiveGate)  # without its network
    gate.reset()
    told = []
    for score in [0.79, 0.8, *[0.3] * (PATIENCE - 1), 0.6, *[0.3] * PATIENCE]:
        gate.note(score)
        told.append(gate.is_open)
    assert told == [False] + [True] * (2 * PATIENCE) + [False]


@pytest.mark.parametrize("module", [stream, live_pace])
def test_the_examples_give_what_they_say(module):
    done = doctest.testmod(module)
    assert done.attempted and not done.failed
