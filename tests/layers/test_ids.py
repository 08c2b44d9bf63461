"""Who is who in a film's layers: ids that hold through a shot.

Axes: T frames, H W pixels.
"""

import json
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from layers.commands import LAYERS
from layers.runtime.apart import Ids, part_alpha
from layers.runtime.cutouts import CutFrame, Cutout
from layers.runtime.groups import fit_one_body
from nunif.image import encode_grey
from nunif.video.reader import VideoReader
from tests.videos import write_clip

H, W = 64, 112
TALL, WIDE = 40, 14  # pixels of a person


@dataclass
class Shown:
    """What is asked of a frame."""

    rgb: np.ndarray


def texture(seed, height=H, width=W):
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.random((height, width, 3)).astype(np.float32), (0, 0), 1.5)
    return np.rint((noise - noise.min()) / np.ptp(noise) * 255).astype(np.uint8)


def drawn(*columns, behind=0):
    """A picture with a person at each column, who all look different, and their alpha. None: not
    there."""
    picture, alpha = texture(100 + behind), np.zeros((H, W), np.uint8)
    for number, column in enumerate(columns):
        if column is not None:
            place = np.s_[16 : 16 + TALL, column : column + WIDE]
            picture[place] = texture(number, TALL, WIDE)
            alpha[place] = 255
    return picture, alpha


def followed(*frames, ids=None):
    """Which person's layer each column is in, frame by frame: {column: id from 1}."""
    ids = ids or Ids(lambda cut: cut.frame.rgb)
    pictures = [(*drawn(*columns), columns) for columns in frames]
    cut = (CutFrame(Shown(rgb), False, [Cutout(alpha)]) for rgb, alpha, _ in pictures)
    found = []
    for result, (_, alpha, columns) in zip(ids(cut), pictures, strict=True):
        alphas = [person.alpha for person in result.persons]
        assert np.array_equal(np.sum(alphas, axis=0), alpha)
        at = {}
        for column in columns:
            if column is not None:
                shares = [one[16:56, column : column + WIDE].mean() / 255 for one in alphas]
                at[column] = int(np.argmax(shares)) + 1 if max(shares) > 0.8 else None
        found.append(list(at.values()))
    return found


def test_ids_hold_while_people_move_touch_and_part():
    """They come as near as they can, and go back. The one who comes first is the first."""
    right = [60, 52, 44, 40, 38, 36, 36, 38, 42, 50, 58]
    ids = Ids(lambda cut: cut.frame.rgb)
    found = followed(*[(22, column) for column in right], ids=ids)
    assert found == [[1, 2]] * 11
    assert ids.touching(0, 0) == [2 - 1] and ids.touching(0, 1) == [0]
    alone = Ids(lambda cut: cut.frame.rgb)
    assert followed(*[(10 + k, 90 - k) for k in range(6)], ids=alone) == [[1, 2]] * 6
    assert alone.touching(0, 0) == []


def test_who_comes_later_is_someone_new():
    found = followed(*[(20,)] * 4, *[(20, 90 - 2 * k) for k in range(6)])
    assert found == [[1]] * 4 + [[1, 2]] * 6


def test_who_was_hidden_is_known_again():
    """A walker, unseen for five frames, comes back where the way leads."""
    frames = [(10 + 4 * k, 90) for k in range(6)] + [(None, 90)] * 5
    frames += [(10 + 4 * k, 90) for k in range(11, 14)]
    assert followed(*frames) == [[1, 2]] * 6 + [[2]] * 5 + [[1, 2]] * 3


def test_who_passes_behind_a_post_stays_who_they_are():
    """Slowly, and seen on both sides of it for longer than anything new needs."""
    ids = Ids(lambda cut: cut.frame.rgb)
    post = np.s_[:, 50:55]
    cuts = []
    for number in range(24):
        picture, alpha = drawn(34 + number)
        picture[post], alpha[post] = 128, 0
        cuts.append(CutFrame(Shown(picture), False, [Cutout(alpha)]))
    assert all(len(result.persons) == 1 for result in ids(iter(cuts)))


def dressed(*people):
    """A picture with people in clothes of their own, the farthest first, and their alpha. Each:
    columns, rows, and the colours of their upper and their lower half."""
    picture, alpha = texture(100), np.zeros((H, W), np.uint8)
    for (left, right), (top, bottom), colours in people:
        middle = (top + bottom) // 2
        for rows, colour in zip((np.s_[top:middle], np.s_[middle:bottom]), colours):
            shade = texture(7)[rows, left:right].astype(int) // 8
            picture[rows, left:right] = np.clip(np.array(colour) + shade, 0, 255)
        alpha[top:bottom, left:right] = 255
    return picture, alpha


def layers_of(frames):
    """Of each frame the alphas of all layers."""
    cuts = (CutFrame(Shown(rgb), False, [Cutout(alpha)]) for rgb, alpha in frames)
    ids = Ids(lambda cut: cut.frame.rgb)
    return [[person.alpha for person in cut.persons] for cut in ids(cuts)]


def test_who_was_hidden_by_somebody_comes_out_as_themselves():
    """They go behind somebody and come out, slowly, on the same side or on the other one: colours
    tell who is who, before they are apart and after."""
    front, back = ((160, 30, 30), (40, 40, 40)), ((40, 60, 170), (170, 160, 120))
    way = [30, 26, 22, 18, 14, 10, 8, 6, 4, 2, 0, 0, 0, -2, -4, -6, -8, -10, -14, -18, -22, -26]
    frames = [dressed(((48 + x, 60 + x), (18, 50), back), ((46, 62), (14, 56), front)) for x in way]
    found = layers_of(frames)
    for (_, _), x, alphas in zip(frames, way, found):
        assert len(alphas) == 2
        seen = (
            np.s_[18:50, max(48 + x, 62) : 60 + x]
            if x > 0
            else np.s_[18:50, 48 + x : min(60 + x, 46)]
        )
        if abs(x) >= 10:  # some columns of them
            assert (alphas[1][seen] > 127).mean() > 0.7, x
        assert (alphas[0][14:56, 46:62] > 127).mean() > 0.9, x


def test_whose_legs_come_out_below_a_thing_is_no_one_else():
    """They were hidden for longer than anybody is waited for."""
    colours = ((160, 30, 30), (30, 40, 50))
    frames = []
    for number in range(46):
        picture, alpha = dressed(((40, 54), (6, 58), colours))
        bottom = 64 if 5 <= number < 36 else 44
        if number >= 5:
            picture[28:bottom, 30:64], alpha[28:bottom, 30:64] = 128, 0
        frames.append((picture, alpha))
    assert all(len(alphas) == 1 for alphas in layers_of(frames))


def behind(thing, *people):
    """People as of `dressed`, and something grey before them: its rows and columns."""
    picture, alpha = dressed(*people)
    picture[thing], alpha[thing] = 128, 0
    return picture, alpha


def test_whose_middle_is_hidden_from_the_first_frame_on_is_one():
    """Their upper and their lower part have no colour in common. Then the thing leaves."""
    one, other = ((160, 30, 30), (30, 40, 50)), ((40, 60, 170), (170, 160, 120))
    people = ((40, 54), (6, 58), one), ((84, 98), (6, 58), other)
    way = [0] * 6 + [*range(9)]
    frames = [behind(np.s_[18:44, 30 - 4 * k : 64 - 4 * k], *people) for k in way]
    found = layers_of(frames)
    assert all(len(alphas) == 2 for alphas in found)
    for alphas in found:
        first, second = alphas if alphas[0][10, 47] else alphas[::-1]
        assert first[:18, 40:54].any() and first[46:, 40:54].any() and not first[:, 84:].any()
        assert second[6:58, 84:98].all() and not second[:, :70].any()


def test_what_stands_on_something_as_high_may_be_of_one_body_and_what_is_beside_it_not():
    """Left, top, right, bottom."""
    upper, lower = (76, 29, 113, 72), (92, 71, 108, 116)
    assert fit_one_body(upper, lower) and fit_one_body(lower, upper)
    assert not fit_one_body(upper, (92, 51, 108, 96))  # beside it as well
    assert not fit_one_body(upper, (120, 71, 136, 116))
    assert fit_one_body(upper, (114, 30, 120, 45))  # an arm


def test_whose_head_was_seen_for_a_moment_before_their_legs_is_one():
    one, other = ((160, 30, 30), (30, 40, 50)), ((40, 60, 170), (170, 160, 120))
    people = ((40, 54), (6, 58), one), ((84, 98), (6, 58), other)
    rows = [(18, 64)] + [(0, 64)] * 2 + [(0, 44 - k) for k in range(12)]
    frames = [behind(np.s_[slice(*hidden), 30:64], *people) for hidden in rows]
    found = layers_of(frames)
    assert all(len(alphas) == 2 for alphas in found)
    first = found[0][0] if found[0][1][10, 90] else found[0][1]
    assert first[6:18, 40:54].all() and not first[:, 84:].any()


def test_who_was_taken_for_a_part_of_somebody_gets_a_layer_once_they_are_seen():
    """A head above a wall beside somebody, which for longer than is looked ahead may be theirs."""
    colours = ((160, 30, 30), (30, 40, 50)), ((40, 60, 170), (170, 160, 120))
    frames = []
    for x in [0] * 20 + [2 * k for k in range(1, 16)] + [30] * 12:
        place = np.s_[16:64, 47:64]
        frames.append(
            behind(place, ((49 + x, 57 + x), (6, 58), colours[1]), ((32, 46), (6, 58), colours[0]))
        )
    found = layers_of(frames)
    assert len(found[0]) == 1 and len(found[-1]) == 2
    assert found[-1][1][6:58, 79:87].all() and not found[-1][0][:, 70:].any()


def test_two_who_part_are_told_apart_for_a_while_before_that():
    """Half a second; before that they are one, and in the layer of one of them."""
    parts = [(30 - 2 * k, 44 + 2 * k) for k in range(1, 9)]
    assert followed(*[(30, 44)] * 3, *parts) == [[1, 2]] * 11
    found = followed(*[(30, 44)] * 20, *parts)
    assert found[:6] == [[1, 1]] * 6 and found[10:] == [[1, 2]] * 18


def test_who_came_off_for_a_moment_before_is_told_apart_then_too():
    parts = [(30 - 2 * k, 44 + 2 * k) for k in range(1, 9)]
    frames = [(30, 44)] * 4 + [(28, 46)] + [(30, 44)] * 2 + parts
    assert followed(*frames) == [[1, 2]] * len(frames)


def test_who_touches_somebody_stays_one_with_their_feet():
    """Which are apart from the rest of them."""
    colours = ((160, 30, 30), (30, 40, 50)), ((40, 60, 170), (170, 160, 120))
    frames = [
        behind(
            np.s_[48:51, 50:],
            ((30, 44), (6, 58), colours[0]),
            ((82 - 2 * k, 96 - 2 * k), (6, 58), colours[1]),
        )
        for k in range(19)
    ]
    found = layers_of(frames)
    assert all(len(alphas) == 2 for alphas in found)
    for k, alphas in enumerate(found):
        at = [alpha[8:46, 84 - 2 * k : 94 - 2 * k].mean() > 128 for alpha in alphas]
        assert at == [False, True], k


def test_what_is_seen_too_shortly_goes_with_whom_it_is_near():
    frames = [(20,)] * 3 + [(20, 80)] * 2 + [(20,)] * 4
    assert followed(*frames) == [[1]] * 3 + [[1, 1]] * 2 + [[1]] * 4
    # but where nobody else is, it is somebody
    assert followed((None,), (None,), (50,), (None,)) == [[], [], [1], []]


def test_there_are_eight_layers():
    ids = Ids(lambda cut: cut.frame.rgb)
    picture, alpha = texture(7, 64, 224), np.zeros((64, 224), np.uint8)
    for number in range(10):
        alpha[20:50, 4 + 22 * number : 16 + 22 * number] = 255
    frames = (CutFrame(Shown(picture), False, [Cutout(alpha)]) for _ in range(6))
    results = [result.persons for result in ids(frames)]
    assert {len(persons) for persons in results} == {8} and ids.crowded == {0}
    assert all(np.array_equal(sum(p.alpha for p in persons), alpha) for persons in results)


def test_soft_pixels_go_to_the_nearest():
    alpha = np.array([[9, 200, 90, 20, 80, 255, 7, 3]], np.uint8)
    labels = np.array([[0, 1, 0, 0, 0, 3, 0, 0]], np.int32)
    first, second, third = part_alpha(alpha, labels, 3)
    assert first.tolist() == [[9, 200, 90, 20, 0, 0, 0, 0]] and not second.any()
    assert third.tolist() == [[0, 0, 0, 0, 80, 255, 7, 3]]
    assert np.array_equal(part_alpha(alpha, None, 1)[0], alpha)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Two shots of a film and masks of its people; in the second one more comes."""
    folder = tmp_path_factory.mktemp("film")
    (folder / "masks").mkdir()
    shots = [(20 + k, 80) for k in range(8)] + [(70, None)] * 5 + [(70, 18 + k) for k in range(8)]
    pictures = []
    for number, columns in enumerate(shots):
        picture, alpha = drawn(*columns, behind=int(number >= 8))
        if number >= 8:
            picture = 255 - picture // 3
        pictures.append(picture)
        (folder / "masks" / f"{number:04d}.png").write_bytes(encode_grey(alpha))
    lossless = dict(codec="ffv1", num_b_frames=0, pixel_format="bgr0")
    write_clip(folder / "film.mkv", pictures, **lossless)
    write_clip(folder / "second.mkv", pictures[8:], **lossless)
    return folder


def test_planes_and_meta_tell_who_is_who(run, film, tmp_path):
    def split(name, masks, *words):
        out = tmp_path / f"{name[:-4]}{len(words)}"
        code, _, lines = run(
            LAYERS, "split", "-i", film / name, "-o", out, "--masks", masks, "--gpu", -1,
            "--max-width", 48, "--look-ahead", 0, *words,
        )  # fmt: skip
        assert code == 0, lines
        return out, json.loads((out / "meta.json").read_text())

    out, meta = split("film.mkv", film / "masks")
    assert meta["shots"] == [[0, 7], [8, 20]]
    told = [(p["shot"], p["id"], p["planes"], p["first"], p["last"]) for p in meta["persons"]]
    assert told == [
        (0, 1, ["A", "F"], 0, 7),
        (0, 2, ["A2", "F2"], 0, 7),
        (1, 1, ["A", "F"], 8, 20),
        (1, 2, ["A2", "F2"], 13, 20),
    ]
    assert meta["planes"] == [["A", "A2", "B", "C", "F", "F2", "H"]] * 2
    alphas = {
        number: cv2.imread(str(out / "shot0001" / f"{number:05d}_A2.png"), 0)
        for number in (8, 12, 13)
    }
    assert not alphas[8].any() and not alphas[12].any() and (alphas[13] > 0).sum() == TALL * WIDE

    again = tmp_path / "again.mkv"
    assert run(LAYERS, "compose", out, "-o", again, "--codec", "ffv1")[0] == 0
    with VideoReader(again) as made, VideoReader(film / "film.mkv") as source:
        assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(made, source, strict=True))

    # a shot knows nothing of the one before
    masks = tmp_path / "masks"
    masks.mkdir()
    for number in range(8, 21):
        name = f"{number:04d}.png"
        (masks / name).write_bytes((film / "masks" / name).read_bytes())
    alone, _ = split("second.mkv", masks)
    for path in (alone / "shot0000").iterdir():
        other = out / "shot0001" / f"{int(path.name[:5]) + 8:05d}{path.name[5:]}"
        assert path.read_bytes() == other.read_bytes()

    _, meta = split("film.mkv", film / "masks", "--no-ids", "--end", "0.1")
    assert meta["planes"] == [["A", "B", "C", "F", "H"]]
