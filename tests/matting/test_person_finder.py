"""The person finder: the released weights against the program that publishes them, pictures of any
size, and `create_training_data.py label_people`."""

import cv2
import numpy as np
import pytest
import torch

from matting.commands import CREATE_TRAINING_DATA, MATTING, TRAIN
from matting.models.person_finder import PersonFinder
from matting.runtime.person_finder import RELEASED, find_people, load_finder, places_of_squares
from matting.runtime.person_gate import SURE, person_scores
from nunif.records import open_record, read_plane
from scene.planes import ALPHA, COLOUR
from tests.videos import write_clip

# of `portrait`, by LiteRT 2.3.0 from the published file: means over 32x32 pixels
GOLDEN = np.array(
    [
        [0.0000, 0.0000, 0.0000, 0.0146, 0.0168, 0.0000, 0.0000, 0.0000],
        [0.0000, 0.0000, 0.0894, 0.8880, 0.9017, 0.1100, 0.0000, 0.0000],
        [0.0000, 0.0000, 0.3788, 1.0000, 1.0000, 0.4182, 0.0000, 0.0000],
        [0.0000, 0.0000, 0.2059, 0.9871, 0.9961, 0.2411, 0.0000, 0.0000],
        [0.0000, 0.0000, 0.0322, 0.7213, 0.7604, 0.0375, 0.0000, 0.0000],
        [0.0000, 0.0393, 0.8008, 1.0000, 1.0000, 0.8208, 0.0514, 0.0000],
        [0.0000, 0.4829, 1.0000, 1.0000, 1.0000, 1.0000, 0.4890, 0.0000],
        [0.0000, 0.7852, 1.0000, 1.0000, 1.0000, 1.0000, 0.7853, 0.0006],
    ]
)


def portrait(height=256, width=256, middle=None):
    """Somebody as children draw them, before a wall of many colours. (H, W, 3) uint8."""
    rows, columns = np.mgrid[0:height, 0:width]
    wall = [90 + 40 * np.sin(columns / 19), 110 + 30 * np.cos(rows / 23), 120 + 0 * rows]
    picture = np.stack(wall, -1).astype(np.uint8)
    x, y, r = width // 2 if middle is None else middle, int(height * 0.36), height * 0.16

    def oval(down, wide, high, colour):
        axes = (int(wide * r), int(high * r))
        cv2.ellipse(picture, (x, int(y + down * r)), axes, 0, 0, 360, colour, -1)

    body = (x, int(height * 1.05)), (int(height * 0.36), int(height * 0.48))
    cv2.ellipse(picture, *body, 0, 0, 360, (40, 60, 130), -1)
    neck = (x - int(r * 0.45), y), (x + int(r * 0.45), int(y + 1.7 * r))
    cv2.rectangle(picture, *neck, (205, 150, 125), -1)
    oval(-0.15, 1.1, 1.35, (50, 35, 25))
    oval(0.15, 0.85, 1.1, (220, 170, 145))
    for side in (-1, 1):
        cv2.circle(picture, (int(x + side * 0.33 * r), y), int(0.1 * r), (30, 30, 30), -1)
    oval(0.7, 0.3, 0.1, (150, 60, 60))
    return picture


def to_tensor(*pictures):
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def test_it_says_what_the_published_network_says():
    finder = load_finder()
    assert isinstance(finder, PersonFinder) and finder.num_parameters == 106_401
    assert RELEASED.stat().st_size < 500_000
    with torch.inference_mode():
        found = finder(to_tensor(portrait()))[0, 0].numpy()
    means = found.reshape(8, 32, 8, 32).mean((1, 3))
    assert np.abs(means - GOLDEN).max() < 1e-4
    assert found.std() > 0.4
    # a square of that size is not changed on its way
    assert np.abs(find_people(to_tensor(portrait()))[0, 0].numpy() - found).max() < 1e-5


def test_the_gate_says_what_the_published_network_says():
    # by LiteRT 2.3.0 from the published file, a square that is not changed on its way
    assert person_scores(to_tensor(portrait(224, 224))).item() == pytest.approx(0.464361, abs=1e-5)
    scores = person_scores(to_tensor(portrait(120, 200, 70), np.full((120, 200, 3), 90, np.uint8)))
    assert scores[0] > SURE and scores[1] < 0.02
    upright = to_tensor(portrait(120, 200, 70)).transpose(2, 3)
    assert person_scores(upright).shape == (1,)


def test_squares_along_the_long_side():
    assert places_of_squares(240, 240) == [0]
    assert len(places_of_squares(480, 640)) == 3
    assert places_of_squares(1080, 1920) == [0, 280, 560, 840]
    assert places_of_squares(240, 432) == [0, 64, 128, 192]


@pytest.mark.parametrize("middle", [60, 200, 380])
def test_people_anywhere_in_a_wide_picture(middle):
    found = find_people(to_tensor(*[portrait(240, 440, middle=middle)] * 2))
    assert found.shape == (2, 1, 240, 440) and found.dtype == torch.float32
    assert 0 <= found.min() and found.max() <= 1
    on = found[1, 0].numpy() > 0.5
    assert on[80:, middle - 10 : middle + 10].mean() > 0.95
    assert on[:, np.abs(np.arange(440) - middle) > 110].mean() < 0.02
    assert torch.allclose(found[0], found[1], atol=1e-6)


def test_people_in_an_upright_picture():
    tall = np.concatenate([portrait(120, 160)[:, :, ::-1] // 2 + 60, portrait(160, 160)])
    tall[:120] = tall[119]  # nobody above
    found = find_people(to_tensor(tall))[0, 0].numpy() > 0.5
    assert found.shape == (280, 160)
    assert found[190:, 70:90].mean() > 0.95 and found[:110].mean() < 0.02


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Somebody on the left for seven frames, then, in another shot, nobody for five."""
    path = tmp_path_factory.mktemp("films") / "film.mkv"
    frames = [portrait(120, 200, middle=70 + i) for i in range(7)]
    nobody = np.full((120, 200, 3), (200, 60, 60), np.uint8)
    nobody[::7] = (30, 200, 30)
    write_clip(path, [*frames, *[nobody] * 5], codec="ffv1", num_b_frames=0)
    return path


def make(run, film, out, *more):
    words = ("label_people", "-i", film, "-o", out, "--seq", 3, "--gpu", -1)
    return run(CREATE_TRAINING_DATA, *words, *more)


def test_films_become_records_with_people_marked(run, film, tmp_path):
    unsure = ", skipped 1 runs of frames in which nobody was seen for sure: see --no-gate"
    code, _, lines = make(run, film, tmp_path / "gated")
    assert code == 0 and lines[-1] == f"people: made 2, kept 0{unsure}"
    code, _, lines = make(run, film, tmp_path / "out", "--no-gate")
    assert code == 0 and lines[-1] == "people: made 3, kept 0"
    found = [open_record(path, (COLOUR, ALPHA)) for path in sorted((tmp_path / "out").iterdir())]
    # no record goes across the cut, and no frame is lost
    starts = [(record.path.name[-6:], len(record)) for record in found]
    assert starts == [("000000", 3), ("000003", 4), ("000007", 5)]
    for record in found[:2]:
        masks = read_plane(record, "A", record.numbers)
        assert set(np.unique(masks)) == {0, 255} and masks[:, 50:, 65:75].mean() > 240
        assert masks[:, :, 160:].mean() < 5
    colours = read_plane(found[1], "C", ("0000",))[0].astype(int)
    assert np.abs(colours - portrait(120, 200, middle=73)).mean() < 4  # YUV 4:2:0
    assert not read_plane(found[2], "A", found[2].numbers).any()
    gone = found[1].path
    for picture in gone.iterdir():
        picture.unlink()
    gone.rmdir()
    code, _, lines = make(run, film, tmp_path / "out", "--no-gate")
    assert code == 0 and lines[-1] == "people: made 1, kept 2"
    code, _, lines = make(run, film, tmp_path / "out", "--no-gate", "--size", 64)
    assert code == 1 and "was made with size 512, this run asks for 64" in lines[-1]


def test_it_is_no_model_that_makes_mattes(run, film, tmp_path):
    text = "is matting.person_finder_v1, which finds people and makes no mattes: choose another"
    code, _, lines = run(MATTING, "convert", "-i", film, "-o", tmp_path / "o.mp4", "-m", RELEASED)
    assert code == 1 and text in lines[-1] and not (tmp_path / "o.mp4").exists()
    for words in (
        ("export", "-o", tmp_path / "o.onnx", "-m", RELEASED, "--gpu", -1),
        ("evaluate", "-i", film, "--alpha", film, "-m", RELEASED, "--gpu", -1),
        ("speed", "--archs", "person_finder_v1", "--gpu", -1),
    ):
        code, _, lines = run(MATTING, *words)
        assert code == 1 and text in lines[-1], lines
    (tmp_path / "train").mkdir()
    words = ("matting", "-i", tmp_path, "--model-dir", tmp_path / "m", "--gpu", -1)
    for more in (("--arch", "person_finder_v1"), ("--checkpoint-file", RELEASED)):
        code, _, lines = run(TRAIN, *words, *more)
        assert code == 1 and text in lines[-1]
