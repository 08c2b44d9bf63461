"""The exported films in the pipelines that they are for, with tiny random networks.

Axes: T frames, h w of the export.
"""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from layers.commands import LAYERS
from nunif import cli
from nunif.image import encode_grey, encode_rgb
from nunif.video.reader import VideoReader
from nunif.video.writer import write_video
from tests.layers import tiny_generators as tiny
from tests.videos import sound_of, write_clip

pytest.importorskip("diffusers", reason="the pipelines come with the extra [character]")
pytest.importorskip("transformers")

H, W, T = 50, 70, 12
h, w = 48, 64


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """The layers of a film in which somebody walks, with exports for both pipelines."""
    folder = tmp_path_factory.mktemp("readers")
    rng = np.random.default_rng(3)
    pictures = [rng.integers(30, 220, (H, W, 3)).astype(np.uint8) for _ in range(T)]
    (folder / "masks").mkdir()
    for number, picture in enumerate(pictures):
        mask = np.zeros((H, W), np.uint8)
        mask[18:34, 16 + number : 28 + number] = 255
        picture[mask > 0] = 250, 10, 10
        (folder / "masks" / f"{number:04d}.png").write_bytes(encode_grey(mask))
    film = folder / "film.mkv"
    write_clip(film, pictures, codec="ffv1", num_b_frames=0, pixel_format="bgr0", sound="flac")
    words = ["split", "-i", film, "-o", folder / "layers", "--masks", folder / "masks", "--gpu", -1]
    words += ["--no-cuts", "--export", "wan-animate,vace", "--mask-shape", "box"]
    points = rng.random((T, 133, 3)) * (W, H, 1)
    np.save(folder / "points.npy", points)
    (folder / "reference.png").write_bytes(encode_rgb(pictures[0]))
    words += ["--pose", folder / "points.npy", "--reference", folder / "reference.png"]
    assert cli.run(LAYERS, [str(word) for word in words]) == 0
    return folder / "layers" / "exports"


def frames_of(path):
    with VideoReader(path, for_editing=True) as video:
        return np.stack([frame.rgb for frame in video])


def arguments_of(folder):
    """What export.json says is to be given to the pipeline, films as it takes them."""
    told = json.loads((folder / "export.json").read_text())["arguments"]
    named = {}
    for name, value in told.items():
        path = folder / str(value)
        films = {".mp4": lambda path: tiny.as_images(frames_of(path)), ".png": Image.open}
        named[name] = films[path.suffix](path) if path.suffix in films else value
    return named


def compose(exports, made, tmp_path):
    """The film with what a pipeline made, without it, and where it belongs."""
    write_video(tmp_path / "made.mp4", made, fps=16)  # as diffusers' export_to_video has it
    words = ["compose", exports.parent, "-o", tmp_path / "out.mkv", "--codec", "ffv1"]
    words += ["--person", tmp_path / "made.mp4"]
    assert cli.run(LAYERS, [str(word) for word in words]) == 0
    film = exports.parent.parent / "film.mkv"
    assert sound_of(tmp_path / "out.mkv") == sound_of(film)
    return frames_of(tmp_path / "out.mkv"), frames_of(film)


def check_put_back(after, before, masks):
    """Outside the masks nothing changed, inside nearly all did."""
    whole = np.zeros((T, H, W), bool)
    whole[: len(masks), 1:49, 3:67] = masks > 0
    assert np.array_equal(after[~whole], before[~whole])
    assert (after[whole] != before[whole]).any(axis=-1).mean() > 0.95


@pytest.mark.parametrize("num_frames", [2, 9, 12])
def test_wan_animate(exports, tmp_path, num_frames):
    pipeline, given = tiny.wan_animate()
    named = arguments_of(exports / "wan-animate")
    assert named.pop("segment_frame_length") == 77
    for name in ("background_video", "mask_video", "pose_video", "face_video"):
        assert len(named[name]) == T
        named[name] = named[name][:num_frames]
    made = tiny.generate(pipeline, segment_frame_length=13, **named)
    assert made.shape == (num_frames, h, w, 3)
    masks = frames_of(exports / "wan-animate" / "src_mask.mp4")[..., 0]
    # 16 channels of noise, 4 of what is kept, 1 for each of 4 frames, behind the reference picture;
    # the first frame is there 4 times
    kept = given[0]["hidden_states"][0, 16:20, 1:]
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    order = kept.transpose(0, 1).flatten(0, 1)[3:].numpy()  # (T, h/8, w/8)
    seen = masks[:num_frames, ::8, ::8]
    assert np.array_equal(order[:num_frames] == 0, seen == 255)
    # all pixels that are kept are the film's: nothing that is black is taken for the scene
    films = frames_of(exports / "wan-animate" / "src.mp4"), np.stack(named["background_video"])
    whole = seen.repeat(8, axis=1).repeat(8, axis=2) == 255
    assert np.array_equal(films[0][:num_frames][~whole], films[1][~whole])
    assert (films[1][whole] == 0).all()
    if num_frames == T:
        check_put_back(*compose(exports, made, tmp_path), masks)


def test_vace(exports, tmp_path):
    pipeline, given = tiny.wan_vace()
    named = arguments_of(exports / "vace")
    made = tiny.generate(pipeline, **named)
    assert made.shape == (9, h, w, 3) == (named["num_frames"], h, w, 3)
    masks = frames_of(exports / "vace" / "mask.mp4")[..., 0]
    told = given[0]["control_hidden_states"][0]  # what is kept, what isn't, and where: 16, 16, 64
    assert told.shape[1] == given[0]["hidden_states"].shape[2] == 3
    blocks = masks[1::3].reshape(
        3, h // 8, 8, w // 8, 8
    )  # in time the middle one of three is taken
    where = blocks.transpose(2, 4, 0, 1, 3).reshape(64, 3, h // 8, w // 8)
    assert np.array_equal(told[32:].numpy() == 1, where == 255)
    # what is kept is the film's, and of the person the network sees nothing but grey
    film = frames_of(exports / "wan-animate" / "src.mp4")[:9]
    tiny.generate(pipeline, **{**named, "video": tiny.as_images(film)})
    tiny.generate(pipeline, **{**named, "video": tiny.as_images(np.full_like(film, 128))})
    of_film, of_grey = (each["control_hidden_states"][0] for each in given[1:])
    assert torch.equal(told[:16], of_film[:16]) and not torch.equal(told[:16], of_grey[:16])
    assert torch.equal(told[16:], of_grey[16:]) and not torch.equal(told[16:], of_film[16:])
    check_put_back(*compose(exports, made, tmp_path), masks)
