"""`python -m layers character`: somebody else in a film, and all else as it was."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers", reason="the networks come with the extra [character]")

from layers.commands import LAYERS
from nunif import cli
from nunif.image import encode_grey, encode_numbers, encode_rgba
from nunif.models import create_model, save_model
from nunif.video.reader import VideoReader
from scene.people.body import NUM_PARTS
from tests.videos import sound_of, times_of, write_clip

H, W, T = 96, 128, 12
CUT, GONE = 8, 10  # frames


def frames_of(path):
    with VideoReader(path, for_editing=True) as video:
        return np.stack([frame.rgb for frame in video])


def write_pose(path, count=T, away=GONE):
    """Somebody upright, 1.7 m high and 4 m away, left of the middle; out of the picture from frame
    `away` on."""
    root = np.tile([np.pi, 0, 0, 0, 0.1, 4], (count, 1))
    root[away:, 3] = 50
    pose, shape = np.zeros((count, NUM_PARTS, 3)), np.array([1.7, 1.0])
    np.savez(
        path, pose=pose, shape=shape, root=root, f=np.array(150.0), c=np.array([W / 2 - 20, H / 2])
    )
    return path


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """A film of 12 frames with a cut, its layers, a model with random weights, and a person."""
    folder = tmp_path_factory.mktemp("character")
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 255, (2, 12, 16, 3), np.uint8)
    pictures = tiles.repeat(8, axis=1).repeat(8, axis=2)
    film = [pictures[int(number >= CUT)] for number in range(T)]
    lossless = {"codec": "ffv1", "num_b_frames": 0, "pixel_format": "bgr0"}
    write_clip(folder / "film.mkv", film, sound="flac", **lossless)
    (folder / "masks").mkdir()
    mask = np.zeros((H, W), np.uint8)
    mask[30:80, 80:100] = 255
    for number in range(T):
        (folder / "masks" / f"{number:04d}.png").write_bytes(encode_grey(mask))
    words = ["split", "-i", folder / "film.mkv", "-o", folder / "layers"]
    words += ["--masks", folder / "masks", "--gpu", -1]
    assert cli.run(LAYERS, [str(word) for word in words]) == 0
    torch.manual_seed(0)
    save_model(create_model("character.tiny"), folder / "tiny.pth")
    person = np.zeros((40, 20, 4), np.uint8)
    person[5:35, 5:15] = (200, 30, 30, 255)
    (folder / "person.png").write_bytes(encode_rgba(person))
    write_pose(folder / "pose.npz")
    return folder


def words_of(folder, out, **others):
    given = {
        "-m": folder / "tiny.pth",
        "--identity": folder / "person.png",
        "--layers": folder / "layers",
        "--pose": folder / "pose.npz",
        "--steps": 2,
        "--gpu": -1,
        "-o": out,
        **others,
    }
    return ["character", *(word for pair in given.items() for word in pair)]


def test_outside_of_the_person_the_film_stays_and_its_sound_too(run, things, tmp_path):
    out = tmp_path / "out.mkv"
    # windows of one frame: four frames are a piece, and the first run two of them
    given = {"--codec": "ffv1", "--window": 1, "--overlap": 0}
    code, _, lines = run(LAYERS, *words_of(things, out, **given))
    assert code == 0, lines
    assert f"{out}: 12 frames, 12 of them changed; the new person is in 10, made in 2 runs" in lines
    film, made = frames_of(things / "film.mkv"), frames_of(out)
    assert sound_of(out) == sound_of(things / "film.mkv")
    assert times_of(out) == times_of(things / "film.mkv")
    changed = (film != made).any(axis=-1)
    # the body is in the middle of columns 44, the one who left in columns 80 to 99
    assert changed[:GONE, 20:80, 38:50].mean() > 0.5
    assert not changed[:, :, 105:].any() and not changed[:, :, 66:76].any()
    assert not changed[:, :, :20].any()
    assert not changed[GONE:, :, :76].any()
    assert changed[:, 30:80, 82:98].mean() > 0.9
    meta = json.loads((things / "layers" / "meta.json").read_text())
    assert meta["generated"] is True and meta["person_from"] == "person.png"
    beside = json.loads((tmp_path / "out.mkv.meta.json").read_text())
    assert beside["generated"] is True and beside["pose"] == "pose.npz"
    assert len(beside["model"]) == 64 and beside["source"]["name"] == "film.mkv"


def test_of_two_people_one_leaves_and_what_is_nearer_stays_before_the_new_one(
    run, things, tmp_path
):
    """At 10 bits, chroma shared by 2 x 2 pixels; twice, with the same noise."""
    ramp = np.linspace(16, 235, W).astype(np.uint8)
    picture = np.broadcast_to(ramp[None, :, None], (H, W, 3)).copy()
    film = tmp_path / "film.mkv"
    write_clip(film, [picture] * 2, codec="ffv1", num_b_frames=0, pixel_format="yuv420p10le")
    numbers = np.zeros((H, W), np.uint8)
    numbers[20:90, 10:40], numbers[20:90, 90:110] = 1, 2
    thing = np.zeros((H, W), np.uint8)
    thing[60:, 40:48] = 255
    for folder, data in (("masks", encode_numbers(numbers)), ("things", encode_grey(thing))):
        (tmp_path / folder).mkdir()
        for number in range(2):
            (tmp_path / folder / f"{number:04d}.png").write_bytes(data)
    words = ["split", "-i", film, "-o", tmp_path / "layers", "--masks", tmp_path / "masks"]
    words += ["--objects", "1,2", "--occluders", tmp_path / "things", "--gpu", -1]
    assert run(LAYERS, *words)[0] == 0
    given = {
        "--layers": tmp_path / "layers",
        "--pose": write_pose(tmp_path / "pose.npz", 2),
        "--codec": "ffv1",
        "--guidance": 1,
        "--who": 2,
    }
    films = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        out = tmp_path / f"{name}.mkv"
        code, _, lines = run(LAYERS, *words_of(things, out, **given, **{"--seed": seed}))
        assert code == 0, lines
        films.append(frames_of(out))
    assert np.array_equal(films[0], films[1]) and not np.array_equal(films[0], films[2])
    changed = (films[0] != frames_of(film)).any(axis=-1)
    assert films[0].dtype == np.uint16 and changed[:, 30:80, 92:108].mean() > 0.9
    # the nearer one, in columns 10 to 39, and the thing from 40 on, cover most of the new one
    assert not changed[:, 22:88, 12:38].any() and not changed[:, 62:, 42:46].any()
    assert changed[:, 22:56, 42:46].mean() > 0.5


@pytest.mark.parametrize(
    "others, message",
    [
        ({"--window": 40}, "--window 40 frames: character.tiny takes 1 to 32"),
        ({"--overlap": 6}, "--overlap 6 must be less than the window's 6 frames"),
        ({"--who": 2}, "--who 2: up to 1 people are in the shots of"),
        ({"--pose": "short.npz"}, "short.npz has 7 frames, the film 12: give every frame one"),
        ({"--pose": "gone.npz"}, "gone.npz is out of the film's picture in all frames"),
        ({"--pose": "tiny.pth"}, "it needs vertices, intrinsics, extrinsics, as records of the"),
        ({"--identity": "pose.npz"}, "pose.npz can't be read (not a readable picture)"),
        ({"--guidance": -1}, "--guidance -1 must be from 0 to 100"),
    ],
)
def test_what_does_not_fit_is_said_in_a_line(run, things, tmp_path, others, message):
    write_pose(things / "short.npz", 7)
    write_pose(things / "gone.npz", away=0)
    others = {k: things / v if isinstance(v, str) else v for k, v in others.items()}
    code, _, lines = run(LAYERS, *words_of(things, tmp_path / "out.mkv", **others))
    assert code == 1 and message in lines[-1], lines
    assert not (tmp_path / "out.mkv").exists()
