"""`python -m layers remove`, as a user runs it: a drawn person walks before a wall.

Axes: T frames, H W pixels.
"""

from functools import partial

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from inpaint.runtime.apply import open_filler
from inpaint.runtime.stream import InpaintStream
from layers.commands import LAYERS
from layers.options_remove import RemoveOptions
from layers.runtime.finders import PersonTiles
from layers.runtime.holes import HoleRule, cut_hole
from layers.runtime.remove import FILLER, remove_from
from matting.runtime.stream import MatteStream
from nunif.models import save_model
from nunif.video.reader import VideoReader
from tests.matting.test_person_finder import portrait
from tests.videos import damage_packet, number_of, set_rotation, sound_of, write_clip

H, W = 72, 128
NOBODY = -200  # where somebody stands who isn't seen
LOSSLESS = dict(codec="ffv1", num_b_frames=0, pixel_format="bgr0")


def walk(*places, height=H, width=W):
    """The frames of somebody who stands at those columns."""
    return [portrait(height, width, place) for place in places]


def is_person(place, *, height=H, width=W):
    """(H, W) bool: where `walk` draws somebody."""
    drawn, wall = portrait(height, width, place), portrait(height, width, NOBODY)
    return (drawn != wall).any(axis=2)


def frames_of(path):
    with VideoReader(path) as video:
        return [frame.rgb for frame in video.read(0, len(video))]


@pytest.fixture
def remove(run, tmp_path):
    def remove(source, output, *words):
        words = ("-i", source, "-o", tmp_path / output, "--gpu", -1, *words)
        code, _, lines = run(LAYERS, "remove", *words)
        return code, lines

    return remove


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Nobody, then somebody who comes in and stands, then nobody."""
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    return write_clip(path, walk(*[NOBODY] * 3, 40, 60, 64, *[NOBODY] * 3), **LOSSLESS)


@pytest.fixture(scope="module")
def wall(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "wall.mp4"
    return write_clip(path, walk(*[NOBODY] * 5), sound="aac")


def test_somebody_is_taken_out_and_all_else_stays(remove, film, tmp_path):
    code, lines = remove(film, "out.mkv", "--codec", "ffv1", "--hold", 1)
    out, source = frames_of(tmp_path / "out.mkv"), frames_of(film)
    assert code == 0 and lines[-1] == f"{tmp_path / 'out.mkv'}: 9 frames, people in 5"
    empty = portrait(H, W, NOBODY)
    for i, place in enumerate([NOBODY] * 3 + [40, 60, 64] + [NOBODY] * 3):
        changed = (out[i] != source[i]).any(axis=2)
        if place == NOBODY:
            assert i in (2, 6) or not changed.any()
            continue
        person = is_person(place)
        far = cv2.dilate(person.astype(np.uint8), np.ones((31, 31))) == 0
        assert not changed[far].any()
        assert changed[person].mean() > 0.95
        # what was seen before is copied: the wall is back
        error = (out[i].astype(float) - empty)[person]
        assert np.sqrt((error**2).mean()) < 6
        assert np.sqrt(((source[i].astype(float) - empty)[person] ** 2).mean()) > 50


def test_pixels_outside_the_hole_are_the_films_in_pictures_too(remove, film, tmp_path):
    code, lines = remove(film, "out", "--hold", 0, "--look-ahead", 0, "--grow", 1)
    assert code == 0
    files = sorted((tmp_path / "out").iterdir())
    out = [cv2.imread(str(file))[..., ::-1] for file in files]
    source = frames_of(film)
    assert len(out) == 9
    for i in (0, 1, 2, 6, 7, 8):
        assert np.array_equal(out[i], source[i])
    assert lines[-1].endswith("people in 3")
    changed = (out[4] != source[4]).any(axis=2)
    assert changed[30:, 50:70].any() and not changed[:, 110:].any() and not changed[:, :10].any()


def test_nobody_there_and_the_film_is_copied_byte_for_byte(remove, wall, tmp_path):
    code, lines = remove(wall, "new/out.mp4")
    out = tmp_path / "new" / "out.mp4"
    assert code == 0 and out.read_bytes() == wall.read_bytes()
    assert lines[-1] == (
        f"{out}: nobody was found, copied as it is; --no-gate looks where no head is seen, too"
    )
    # another codec is asked for: it is made
    code, lines = remove(wall, "out.mkv", "--codec", "ffv1")
    assert code == 0 and np.array_equal(frames_of(tmp_path / "out.mkv"), frames_of(wall))
    assert lines[-1].startswith(f"{tmp_path / 'out.mkv'}: 5 frames, nobody was found; --no-gate")
    assert sound_of(tmp_path / "out.mkv") and len(sound_of(wall)) == len(sound_of(out))


class Seen:
    """A finder through the public seam: it finds what is bright red, and the gate knows shots."""

    rule = HoleRule(least=26, surely=128, grow=0)
    remembers = False

    def __init__(self):
        self.resets = 0

    def reset(self):
        self.resets += 1

    def __call__(self, frame):
        high = np.iinfo(frame.dtype).max
        red = (frame[..., 0] > 0.8 * high) & (frame[..., 1] < 0.2 * high)
        return np.where(red, np.uint8(255), np.uint8(0))


def rooms(*reds, size=(48, 64), seed=0):
    """Frames of a still room with a red box from a column on; None for none."""
    rng = np.random.default_rng(seed)
    room = cv2.resize(rng.integers(60, 190, (6, 8, 3), dtype=np.uint8), size[::-1])
    frames = []
    for red in reds:
        frame = room.copy()
        if red is not None:
            frame[10:30, red : red + 10] = (255, 0, 0)
        frames.append(frame)
    return frames


def removed(source, output, **options):
    """Take red boxes out of a film by `remove_from`."""
    chosen = RemoveOptions(input=source, output=output, gpu=-1, hold=0, **options)
    finder = Seen()
    filled = remove_from(
        chosen,
        FILLER,
        open_filler=partial(open_filler, chosen, FILLER),
        open_finder=lambda: (finder, None),
    )
    return filled, finder


def test_ten_bits_stay_outside_and_are_filled_inside(tmp_path):
    source = tmp_path / "deep.mkv"
    write_clip(source, rooms(None, 20, None), codec="ffv1", pixel_format="yuv444p10le")
    filled, _ = removed(source, tmp_path / "out.mkv", codec="ffv1")
    assert filled == (3, 1)

    def plane_of(plane):
        rows = np.frombuffer(plane, np.uint16).reshape(plane.height, -1)
        return rows[:, : plane.width].astype(int)

    def planes(path):
        with av.open(str(path)) as container:
            frames = list(container.decode(video=0))
        assert {frame.format.name for frame in frames} == {"yuv444p10le"}
        return [np.stack([plane_of(plane) for plane in frame.planes]) for frame in frames]

    before, after = planes(source), planes(tmp_path / "out.mkv")
    assert np.array_equal(before[0], after[0]) and np.array_equal(before[2], after[2])
    hole = np.zeros((48, 64), bool)
    hole[10:30, 20:30] = True
    assert np.array_equal(before[1][:, ~hole], after[1][:, ~hole])
    # the wall that was seen before and comes again
    assert np.abs(after[1] - before[0])[0, hole].max() < 20
    assert np.abs(before[1] - before[0])[0, hole].max() > 100


@pytest.mark.parametrize("degrees", [0, 90])
def test_odd_and_turned_films(tmp_path, degrees):
    size = (45, 63) if not degrees else (48, 64)
    frames = rooms(None, 20, None, size=size)
    source = tmp_path / "film.mp4"
    write_clip(source, frames, pixel_format="yuv444p", options={"qp": "0"}, num_b_frames=0)
    if degrees:
        set_rotation(source, degrees)
    before = frames_of(source)
    assert removed(source, tmp_path / "out.mkv", codec="ffv1")[0] == (3, 1)
    after = frames_of(tmp_path / "out.mkv")
    assert after[0].shape == before[0].shape == ((*size, 3) if not degrees else (64, 48, 3))
    assert np.array_equal(before[0], after[0]) and np.array_equal(before[2], after[2])
    red = Seen()(before[1]) > 0
    assert red.sum() > 150 and not (Seen()(after[1]) > 0).any()
    assert np.array_equal(before[1][~red], after[1][~red])


def test_every_shot_is_looked_at_by_itself(tmp_path):
    film = tmp_path / "film.mkv"
    write_clip(film, [*rooms(20, 20), *rooms(None, None, seed=5)], **LOSSLESS)
    filled, finder = removed(film, tmp_path / "out.mkv", codec="ffv1")
    assert filled == (4, 2) and finder.resets == 2
    assert removed(film, tmp_path / "o2.mkv", find_cuts=False)[1].resets == 1


def test_the_gate_opens_for_a_shot_with_a_person_and_no_other(remove, tmp_path):
    """In the dark the finder finds somebody and the gate sees no head."""
    dark = (walk(64)[0] * 0.3).astype(np.uint8)
    film = tmp_path / "film.mkv"
    write_clip(film, [*walk(40, 42, 44), *[dark] * 3], **LOSSLESS)
    code, lines = remove(film, "out.mkv", "--codec", "ffv1")
    assert code == 0 and lines[-1].endswith("6 frames, people in 3")
    assert np.array_equal(frames_of(tmp_path / "out.mkv")[3:], [dark] * 3)
    code, lines = remove(film, "all.mkv", "--codec", "ffv1", "--no-gate")
    assert code == 0 and lines[-1].endswith("6 frames, people in 6")


def test_people_of_a_third_stay(remove, tmp_path):
    """Each with a wall of their own, so that none is one region with the other."""
    both = np.concatenate(walk(64, width=W) + walk(64, width=W), axis=1)
    film = write_clip(tmp_path / "film.mkv", [both] * 2, **LOSSLESS)
    code, _ = remove(film, "out.mkv", "--codec", "ffv1", "--keep", "left")
    changed = (frames_of(tmp_path / "out.mkv")[1] != both).any(axis=2)
    assert code == 0 and not changed[:, :W].any()
    assert changed[:, W:][is_person(64)].mean() > 0.9


def test_a_picture_and_a_folder_of_pictures(remove, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, frame in zip("ab", walk(64, NOBODY)):
        Image.fromarray(frame).save(photos / f"{name}.png")
    Image.fromarray(walk(NOBODY)[0]).save(photos / "c.jpg")
    code, lines = remove(photos, "out", "--stills")
    assert code == 0 and lines[-1] == f"{tmp_path / 'out'}: 3 pictures made"
    filled = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    changed = (filled != walk(64)[0]).any(axis=2)
    assert changed[is_person(64)].mean() > 0.9 and not changed[:, :20].any()
    for name in ("b.png", "c.jpg"):
        assert (tmp_path / "out" / name).read_bytes() == (photos / name).read_bytes()


def test_a_folder_of_films_and_masks_of_their_names(remove, film, wall, tmp_path):
    films, masks = tmp_path / "films", tmp_path / "masks"
    for folder in (films, masks):
        folder.mkdir()
    (films / "somebody.mkv").write_bytes(film.read_bytes())
    (films / "nobody.mp4").write_bytes(wall.read_bytes())
    code, lines = remove(films, "out")
    assert code == 0 and lines[-1] == f"{tmp_path / 'out'}: 2 films made"
    assert (tmp_path / "out" / "nobody.mp4").read_bytes() == wall.read_bytes()
    assert remove(films, "out")[1][-1].endswith("0 films made, 2 were there already")
    for name, column in (("somebody", 10), ("nobody", 70)):
        mask = np.zeros((H, W), np.uint8)
        mask[20:40, column : column + 20] = 255
        cv2.imwrite(str(masks / f"{name}.png"), mask)
    code, lines = remove(films, "marked", "--masks", masks, "--suffix", ".mkv", "--codec", "ffv1")
    assert code == 0 and lines[-1] == f"{tmp_path / 'marked'}: 2 films made"
    changed = (frames_of(tmp_path / "marked" / "nobody.mkv")[1] != frames_of(wall)[1]).any(axis=2)
    assert not changed[:, :70].any() and not changed[:, 90:].any()
    (masks / "nobody.png").unlink()
    code, lines = remove(films, "third", "--masks", masks)
    assert code == 1
    assert any(f"nobody.mp4: --masks {masks} has 0 masks of that name" in line for line in lines)


def test_masks_take_the_finders_place(remove, film, tmp_path):
    mask = np.zeros((H, W), np.uint8)
    mask[10:20, 90:100] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    words = ("--masks", tmp_path / "mask.png", "--codec", "ffv1")
    code, lines = remove(film, "out.mkv", *words, "--grow", 3)
    assert code == 0 and lines[-1].endswith("out.mkv: 9 frames, 9 with a hole")
    assert "--grow has no effect with --masks" in lines
    for before, after in zip(frames_of(film), frames_of(tmp_path / "out.mkv")):
        assert np.array_equal(before[mask == 0], after[mask == 0])


def test_a_model_of_mattes_finds_people(remove, film, network, tmp_path):
    save_model(network, tmp_path / "m.pth")
    words = ("--codec", "ffv1", "--grow", 0, "--hold", 0)
    code, lines = remove(film, "out.mkv", "--matting", tmp_path / "m.pth", *words)
    assert code == 0 and "--no-gate" not in lines[-1]
    stream = MatteStream.open(tmp_path / "m.pth", gpu=-1)
    rule = HoleRule(least=5, surely=128, grow=0)
    for before, after in zip(frames_of(film), frames_of(tmp_path / "out.mkv")):
        hole = cut_hole(stream([before])[0][1], (H, W), rule)
        assert hole.any() and np.array_equal(before[~hole], after[~hole])


def test_a_damaged_film_leaves_what_came_before(remove, tmp_path):
    options = dict(gop=48, num_b_frames=0, options={"crf": "12"})
    frames = walk(*[NOBODY] * 4, 40, 50, 60, 70)
    source = damage_packet(write_clip(tmp_path / "film.mp4", frames, **options), 6)
    code, lines = remove(source, "out.mp4")
    assert code == 1 and lines[-1].startswith(f"error: {source} is damaged at 0.25 s")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["film.mp4", "out.unfinished.mp4"]
    assert len(frames_of(tmp_path / "out.unfinished.mp4")) == 6
    # nobody up to there: it isn't copied as if it were whole
    frames = walk(*[NOBODY] * 8)
    source = damage_packet(write_clip(tmp_path / "wall.mp4", frames, **options), 6)
    code, lines = remove(source, "copy.mp4")
    assert code == 1 and not (tmp_path / "copy.mp4").exists()


def test_ctrl_c_leaves_nothing_half(remove, monkeypatch, film, tmp_path):
    def strike(self, *_):
        raise KeyboardInterrupt

    monkeypatch.setattr(InpaintStream, "__call__", strike)
    code, lines = remove(film, "out.mkv")
    assert code == 130 and lines[-1] == "interrupted" and not list(tmp_path.iterdir())
    monkeypatch.setattr(PersonTiles, "__call__", strike)
    code, lines = remove(film, "out.mkv")
    assert code == 130 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--keep", "top"], "--keep top: 'top' is not known: choose from left, middle, right"),
        (["--masks", "m.png", "--keep", "left"], "--keep left is for finding people, and --masks"),
        (["--masks", "m.png", "--matting", "m.pth"], "--matting m.pth is for finding people, and"),
        (["--masks", "missing.png"], "missing.png"),
        (["--matting", "missing.pth"], "missing.pth"),
        (["--model", "missing.pth"], "missing.pth"),
        (["--grow", "-1"], "--grow"),
        (["--hold", "101"], "--hold"),
        (["--shadow", "101"], "--shadow"),
        (["--look-ahead", "soon"], "--look-ahead soon: give a number of frames up to 999"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(remove, film, tmp_path, words, text):
    code, lines = remove(film, "out.mkv", *words)
    assert code in (1, 2) and text in lines[-1] and not (tmp_path / "out.mkv").exists()
    assert "Traceback" not in "\n".join(lines)


def test_options_without_effect_are_told(remove, wall):
    _, lines = remove(wall, "out.mp4", "--objects", "1", "--dilate", "2")
    assert "--objects has no effect without --masks" in lines
    assert "--dilate has no effect without --masks" in lines


def test_the_film_itself_is_not_written_over(run, film):
    before = film.read_bytes()
    code, _, lines = run(LAYERS, "remove", "-i", film, "-o", film, "--gpu", -1)
    assert code == 1 and film.read_bytes() == before and str(film) in lines[-1]


def test_numbers_stay_where_nobody_is(remove, tmp_path):
    """Frames keep their order behind a hole that is held and looked ahead of."""
    source = write_clip(tmp_path / "film.mkv", 12, **LOSSLESS)
    code, _ = remove(source, "out.mkv", "--codec", "ffv1", "--no-gate", "--look-ahead", 3)
    assert code == 0
    assert [number_of(frame) for frame in frames_of(tmp_path / "out.mkv")] == list(range(12))
