"""What a person's alpha has missed, and what of it stays in the scene.

Axes: H W pixels.
"""

import cv2
import numpy as np

from layers.runtime.cutouts import CutFrame, Cutout
from layers.runtime.hole_size import HoleSize
from layers.runtime.occluders import WithDisparity
from layers.runtime.outline import with_outlines
from layers.runtime.split import find_holes, to_their_outlines
from nunif.video.reader import Frame
from scene.layers.exact import over, split

H, W = 80, 108
PERSON = np.s_[20:70, 40:60]
ROOM, CLOTHES = (150, 160, 140), (40, 30, 60)


def shown(kind=np.uint8):
    """A person in a room that is nowhere of one colour, and what is behind them."""
    rng = np.random.default_rng(2)
    unit = np.iinfo(kind).max // 255
    room = (np.array(ROOM) + rng.integers(-9, 10, (H, W, 3))).astype(kind) * unit
    picture = room.copy()
    clothes = np.array(CLOTHES) + rng.integers(-9, 10, (50, 20, 3))
    picture[PERSON] = clothes.astype(kind) * unit
    return picture, room


def test_an_outline_that_alpha_has_missed_leaves_the_scene():
    for kind in (np.uint8, np.uint16):
        picture, room = shown(kind)
        alpha = np.zeros((H, W), np.uint8)
        alpha[22:68, 43:57] = 255  # two or three pixels too small
        hole = HoleSize().of([alpha], more=16)
        filled = np.where(hole[..., None], room[::-1, ::-1], picture)
        (found,) = with_outlines(picture, filled, [alpha], hole)
        person = np.zeros((H, W), bool)
        person[PERSON] = True
        assert (found[person] > 200).mean() > 0.99 and not found[~person].any()
        wide = found[..., None].astype(kind) * (np.iinfo(kind).max // 255)
        foreground, scene = split(picture, wide, filled)
        assert np.array_equal(over(foreground, wide, scene), picture)
        # within what noise is in both
        unit = np.iinfo(kind).max // 255
        assert np.abs(scene.astype(int) - room)[person].max() <= 19 * unit
        before = split(picture, alpha[..., None].astype(kind) * unit, filled)[1]
        assert (np.abs(before.astype(int) - room)[person].max(axis=1) > 50 * unit).mean() > 0.3


def test_outside_of_the_hole_the_scene_stays_the_film():
    """Also where an alpha is too faint to be anybody's."""
    picture, room = shown()
    alpha = np.zeros((H, W), np.uint8)
    alpha[22:68, 43:57] = 255
    alpha[20:70, 62:66] = 3
    frame = Frame(rgb=picture, pts=0, time=0.0, duration=1, picture=None)
    size = HoleSize(reach=40)
    given = find_holes(
        iter([(WithDisparity(CutFrame(frame, True, [Cutout(alpha)]), None), None)]), size
    )
    filled = ((part, np.where(part.hole[..., None], room // 2, picture)) for part in given)
    ((part, scene),) = to_their_outlines(filled, size)
    assert (part.cut.persons[0].alpha[PERSON] > 200).mean() > 0.99
    assert not part.hole[30:60, 64].any() and np.array_equal(scene[~part.hole], picture[~part.hole])


def test_what_hangs_on_nobody_or_has_other_colours_is_the_rooms():
    picture, room = shown()
    picture[30:40, 62:64] = CLOTHES  # beside, not of them
    picture[60:70, 60:63] = (250, 240, 30)  # touches them
    alpha = np.zeros((H, W), np.uint8)
    alpha[PERSON] = 255
    hole = HoleSize().of([alpha], more=16)
    (found,) = with_outlines(picture, np.where(hole[..., None], room, picture), [alpha], hole)
    assert np.array_equal(found, alpha)
    # nobody is surely seen: nothing is known of their colours
    faint = np.full((H, W), 100, np.uint8)
    assert with_outlines(picture, room, [faint], faint > 0)[0] is faint


def test_each_gets_their_own_and_what_is_before_them_stays():
    picture, room = shown()
    picture[20:70, 66:80] = (200, 60, 60)
    first, second = np.zeros((2, H, W), np.uint8)
    first[22:68, 42:58], second[22:68, 68:78] = 255, 255
    occluder = np.zeros((H, W), np.uint8)
    occluder[20:22, 40:60] = 255
    hole = HoleSize().of([first, second], more=16)
    filled = np.where(hole[..., None], room, picture)
    found = with_outlines(picture, filled, [first, second], hole, occluder)
    assert (found[0][22:70, 40:60] > 200).mean() > 0.99 and not found[0][:22].any()
    assert (found[1][20:70, 66:80] > 200).mean() > 0.99 and not found[1][:, :62].any()


def test_a_narrow_gap_in_somebody_is_no_window():
    """A stripe along a leg, which a finder takes for the room."""
    picture, room = shown()
    picture[20:70, 49:51] = (250, 200, 40)
    alpha = np.zeros((H, W), np.uint8)
    alpha[PERSON] = 255
    alpha[:, 49:51] = np.minimum(alpha[:, 49:51], 60)
    hole = HoleSize().of([alpha], more=4)
    filled = np.asarray(np.where(hole[..., None], room, picture), np.uint8)
    (found,) = with_outlines(picture, filled, [alpha], hole)
    _, scene = split(picture, found[..., None], filled)
    assert cv2.norm(scene[30:60], room[30:60], cv2.NORM_INF) <= 20
    _, before = split(picture, alpha[..., None], filled)
    assert cv2.norm(before[30:60], room[30:60], cv2.NORM_INF) > 40
