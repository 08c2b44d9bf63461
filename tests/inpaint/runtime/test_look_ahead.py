"""Films look ahead: pictures come late and none is lost, nothing is taken across a cut, and a
shot's end tells its start.

Axes: T frames, H W pixels, 3 = R G B.
"""

import tempfile
import weakref

import cv2
import numpy as np
import pytest
import torch

from inpaint.commands import INPAINT
from inpaint.models.streaming import ahead_of_clip
from inpaint.runtime.backends import TorchBackend
from inpaint.runtime.look_ahead import LookAhead, look_through
from inpaint.runtime.stream import HoleFrame, InpaintStream
from nunif.models import create_model, save_model
from nunif.video.reader import VideoReader
from tests.exam import noise, scenery
from tests.videos import write_clip

CPU = torch.device("cpu")
SIZE = (48, 64)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("inpaint.fusion_v1").eval()


def opened(model, look_ahead=0):
    return InpaintStream(TorchBackend(model, device=CPU), look_ahead=look_ahead)


def in_bytes(picture, dtype=np.uint8):
    """(1, 3, H, W) in [-1, 1] -> (H, W, 3) over the type's whole range."""
    return np.rint((picture[0].permute(1, 2, 0).numpy() + 1) * (np.iinfo(dtype).max / 2)).astype(
        dtype
    )


def pan(num_frames, *, size=SIZE, seed=0, dtype=np.uint8):
    """Frames that go right by two pixels each, and a hole that goes left by one: it hides nothing
    for long."""
    wide = scenery(size[0], size[1] + 2 * num_frames, seed=seed)
    for t in range(num_frames):
        hole = np.zeros(size, bool)
        left = size[1] // 2 - t % (size[1] // 2)
        hole[size[0] // 4 : size[0] // 2, left : left + 14] = True
        yield in_bytes(wide[..., 2 * t : 2 * t + size[1]], dtype), hole


def items(frames, cuts=()):
    return [
        HoleFrame(number, frame, hole, number in cuts)
        for number, (frame, hole) in enumerate(frames)
    ]


def psnr(picture, truth, hole):
    top = np.iinfo(picture.dtype).max
    error = ((picture[hole].astype(float) - truth[hole]) ** 2).mean()
    return 10 * np.log10(top**2 / max(error, 1e-10 * top**2))


# Frames held back


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("look_ahead", [0, 1, 4, 30])
def test_pictures_come_late_and_all_in_order(model, look_ahead, dtype):
    frames = list(pan(12, dtype=dtype))
    stream = opened(model, look_ahead)
    results = [stream(frame, hole) for frame, hole in frames]
    late = min(look_ahead, 12)
    assert [result is None for result in results] == [True] * late + [False] * (12 - late)
    pictures = [*results[late:], *stream.finish()]
    assert len(pictures) == 12 and not list(stream.finish())
    for picture, (frame, hole) in zip(pictures, frames, strict=True):
        assert picture.dtype == dtype and np.array_equal(picture[~hole], frame[~hole])
        assert not np.array_equal(picture[hole], frame[hole])
    assert look_ahead == 0 or psnr(pictures[0], *frames[0]) > 25
    stream.reset()
    filled = list(stream.fill(items(frames)))
    assert [number for number, _ in filled] == list(range(12))
    assert all(np.array_equal(a, b) for (_, a), b in zip(filled, pictures, strict=True))


def test_a_reset_forgets_what_is_held_back(model):
    stream = opened(model, 4)
    frames = list(pan(3))
    for frame, hole in frames:
        stream(frame, hole)
    stream.reset()
    assert not list(stream.finish())
    assert stream(frames[0][0][:-2], frames[0][1][:-2]) is None, (
        "another size is no longer in the way"
    )


def test_a_hole_is_filled_from_so_many_frames_ahead_and_no_further(model):
    """It is uncovered at frame 8: three frames ahead are enough for the frames 5 to 7, and not for
    frame 4."""
    picture, hole = in_bytes(noise(*SIZE)), np.zeros(SIZE, bool)
    hole[16:32, 24:40] = True
    film = [(picture, hole & (t < 8)) for t in range(12)]
    filled = {k: [picture for _, picture in opened(model, k).fill(items(film))] for k in (0, 3, 8)}
    scores = {
        k: np.array([psnr(f, picture, hole) for f in pictures[:8]])
        for k, pictures in filled.items()
    }
    known = {k: [8 - t <= k for t in range(8)] for k in filled}
    assert all((scores[k] > 40).tolist() == known[k] for k in filled), scores
    assert scores[0].max() < 25
    assert np.array_equal(filled[3][:5], filled[0][:5])


def test_nothing_is_taken_across_a_cut(model):
    """Shots give the same as films of their own, to the last bit; without the cut both would
    differ."""
    before, after = list(pan(9)), list(pan(7, seed=5))
    whole, uncut = (
        [picture for _, picture in opened(model, 4).fill(items(before + after, cuts))]
        for cuts in ((0, 9), (0,))
    )
    alone = [
        picture for part in (before, after) for _, picture in opened(model, 4).fill(items(part))
    ]
    assert np.array_equal(whole, alone)
    assert not np.array_equal(uncut[8], alone[8]) and not np.array_equal(uncut[9], alone[9])


def test_what_a_stream_is_told_of_frames_to_come_is_what_training_was_told():
    """Though it looks only around the hole."""
    size = (48, 240)
    frames, holes = (torch.stack(x) for x in zip(*map(as_tensors, pan(5, size=size))))
    frames, holes = frames[:, 0][None], holes[:, 0][None]
    expected = ahead_of_clip(frames * (1 - holes), holes)[0]
    ahead = LookAhead(16)
    for t in range(5):
        ahead.push(frames[:, t] * (1 - holes[:, t]))
    found = ahead.pop()
    assert len(ahead) == 4
    hole = holes[:, 0].expand_as(expected.canvas) > 0
    # ages too
    torch.testing.assert_close(found.canvas[hole], expected.canvas[hole], atol=1e-3, rtol=0)
    torch.testing.assert_close(found.motion, expected.motion, atol=1e-5, rtol=0)
    assert found.canvas[0, 3, :, -20:].max() == 0 and expected.canvas[0, 3, :, -20:].max() == 1


def as_tensors(item):
    frame, hole = item
    return torch.from_numpy(frame).permute(2, 0, 1)[None] / 127.5 - 1, torch.from_numpy(hole)[
        None, None
    ].float()


class Echo:
    """Gives back what it gets, and can be told of frames to come."""

    device, window, size, multiple, description = CPU, None, None, 16, "echo"

    def step(self, masked, memory, ahead=None):
        return masked, memory


def test_no_more_frames_are_held_than_are_looked_ahead():
    """Over hundreds of frames, also where a film breaks off."""
    alive, taken, most = weakref.WeakValueDictionary(), [], 0
    rng = np.random.default_rng(0)
    hole = np.zeros((32, 32), bool)
    hole[8:16, 8:16] = True

    def film():
        for number in range(300):
            frame = rng.integers(0, 256, (32, 32, 3), np.uint8)
            alive[number] = frame
            taken.append(number)
            yield HoleFrame(number, frame, hole)
            del frame

    for number, picture in InpaintStream(Echo(), look_ahead=5).fill(film()):
        assert taken[-1] - number <= 5
        del picture
        most = max(most, len(alive))
    assert taken[-1] == number == 299 and 5 <= most <= 7  # and those that are handed over just now


# The key pictures of a shot


STANDS, LEAVES, EMPTY = 60, 6, 4  # frames that someone stands in, walks out of, and is no longer in


def shot(seed, *, stands=STANDS, left=26):
    """A camera that stands, and someone who does and then walks out to the right: frames and holes.

    The place behind was never seen before. Who stands there is black.
    """
    background = in_bytes(noise(*SIZE, seed=seed))
    for t in range(stands + LEAVES + EMPTY):
        hole = (
            person(left + max(0, t - stands) * 8) if t < stands + LEAVES else np.zeros(SIZE, bool)
        )
        frame = background.copy()
        frame[hole] = 0
        yield frame, hole, background


def person(left):
    """(H, W) bool: a head on a body, 14 pixels wide."""
    mask = np.zeros(SIZE, np.uint8)
    cv2.circle(mask, (left + 7, 10), 5, 1, -1)
    cv2.rectangle(mask, (left, 16), (left + 14, 44), 1, -1)
    return mask > 0


@pytest.fixture(scope="module")
def two_shots(model, tmp_path_factory):
    """A folder with a film of two shots, its masks and a model; and the frames with what stands
    behind."""
    folder = tmp_path_factory.mktemp("two_shots")
    frames = [*shot(3), *shot(8, stands=16, left=12)]
    lossless = dict(codec="ffv1", num_b_frames=0)
    write_clip(
        folder / "film.mkv", [frame for frame, _, _ in frames], pixel_format="bgr0", **lossless
    )
    masks = [np.repeat(hole[..., None], 3, axis=2).astype(np.uint8) * 255 for _, hole, _ in frames]
    write_clip(folder / "masks.mkv", masks, pixel_format="gray", **lossless)
    save_model(model, folder / "fusion.pth")
    return folder, frames


@pytest.fixture
def temporary(monkeypatch, tmp_path):
    """Where temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def apply(run, folder, output, *words, model="fusion.pth"):
    words = ["-i", folder / "film.mkv", "--mask", folder / "masks.mkv", "-o", output, *words]
    return run(INPAINT, "apply", *words, "--model", folder / model, "--gpu", "-1")


@pytest.mark.slow
def test_who_leaves_a_shot_at_its_end_leaves_no_ghost_at_its_start(
    run, two_shots, temporary, tmp_path
):
    folder, frames = two_shots
    second, num_holes = STANDS + LEAVES + EMPTY, sum(hole.any() for _, hole, _ in frames)
    scores = {}
    for depth in ("8", "shot"):
        out = tmp_path / f"{depth}.mkv"
        code, _, lines = apply(
            run, folder, out, "--look-ahead", depth, "--codec", "ffv1", "--pixel-format", "bgr0"
        )
        assert code == 0 and lines[-1] == f"{out}: {len(frames)} frames, {num_holes} with a hole", (
            lines
        )
        with VideoReader(out) as film:
            pictures = [frame.rgb for frame in film]
        assert all(
            np.array_equal(picture[~hole], frame[~hole])
            for picture, (frame, hole, _) in zip(pictures, frames)
        )
        scores[depth] = [psnr(pictures[t], frames[t][2], frames[t][1]) for t in (5, second + 5)]
    assert max(scores["8"]) < 25 and min(scores["shot"]) > 35, scores
    assert not list(temporary.glob("keys-*"))


def test_the_keys_of_a_shot_lie_in_files_until_the_next_is_asked_for(temporary, model):
    frames = [*shot(3, stands=3), *shot(8, stands=3)]
    stream, length = opened(model), 3 + LEAVES + EMPTY
    masked = (
        (stream.masked(frame, hole), t in (0, length)) for t, (frame, hole, _) in enumerate(frames)
    )
    with look_through(masked, model.size_multiple) as shots:
        first = next(shots)
        (file,) = first.files.values()
        assert list(first.files) == [0] and file.is_file() and temporary in file.parents
        assert first.at(1, CPU) is None
        key = first.at(0, CPU)
        assert key.shape == (1, 5, *SIZE) and key.dtype == torch.float32
        background = torch.from_numpy(frames[0][2]).permute(2, 0, 1)[None] / 127.5 - 1
        # also where someone stood at first
        torch.testing.assert_close(key[:, :3], background, atol=0.02, rtol=0)
        before, second = file.read_bytes(), next(shots)
        assert second.files == {0: file} and file.read_bytes() != before, "one at a time"
        assert next(shots, None) is None
    assert not list(temporary.glob("keys-*"))


def test_a_pan_has_several_keys(temporary, model):
    stream = opened(model)
    with look_through(
        ((stream.masked(*item), False) for item in pan(40)), model.size_multiple
    ) as shots:
        (keys,) = shots
    assert len(keys.files) >= 4 and next(iter(keys.files)) == 0 and max(keys.files) < 40


def test_an_interrupted_look_leaves_no_files(run, two_shots, temporary, tmp_path, monkeypatch):
    def struck(self, frame, hole):
        assert list(temporary.glob("keys-*")), "of the first shot"
        raise KeyboardInterrupt

    monkeypatch.setattr(InpaintStream, "__call__", struck)
    code, _, lines = apply(run, two_shots[0], tmp_path / "out.mkv", "--look-ahead", "shot")
    assert code == 130 and lines[-1] == "interrupted"
    assert list(tmp_path.iterdir()) == [temporary] and not list(temporary.glob("keys-*"))


# Who can't


@pytest.fixture(scope="module")
def others(two_shots):
    """In the same folder, a model that takes windows and an engine that gives back what it gets."""
    onnx = pytest.importorskip("onnx", reason="makes an ONNX file")
    pytest.importorskip("onnxruntime", reason="ONNX files need the package onnxruntime")
    folder, _ = two_shots
    torch.manual_seed(0)
    save_model(create_model("inpaint.light_video_inpaint_v1", base_dim=16), folder / "light.pth")
    names = {"masked_frames": "output", "memory": "new_memory"}
    shapes = [(1, 3, *SIZE), (1, 1, 1, 4, 8)]
    inputs, outputs = (
        [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
            for name, shape in zip(side, shapes)
        ]
        for side in (names, names.values())
    )
    nodes = [
        onnx.helper.make_node("Identity", [source], [target]) for source, target in names.items()
    ]
    graph = onnx.helper.make_graph(nodes, "echo", inputs, outputs)
    opsets = [onnx.helper.make_opsetid("", 20)]
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), folder / "echo.onnx"
    )
    return folder


@pytest.mark.parametrize(
    ("file", "depth", "text"),
    [
        (
            "light.pth",
            "4",
            "--look-ahead 4: this model takes windows of 12 frames as they are, leave it out",
        ),
        (
            "echo.onnx",
            "4",
            "--look-ahead 4 needs a model file (.pth): an engine takes one frame at a time, give 0",
        ),
        (
            "light.pth",
            "shot",
            "--look-ahead shot needs the model file (.pth) of a model with a memory, not light.pth",
        ),
        (
            "echo.onnx",
            "shot",
            "--look-ahead shot needs the model file (.pth) of a model with a memory, not echo.onnx",
        ),
        ("fusion.pth", "1000", "--look-ahead 1000: give a number of frames up to 999, or shot"),
        ("fusion.pth", "-1", "--look-ahead -1: give a number of frames up to 999, or shot"),
        ("fusion.pth", "film", "--look-ahead film: give a number of frames up to 999, or shot"),
    ],
)
def test_who_can_not_look_ahead_says_so_in_one_line(run, others, tmp_path, file, depth, text):
    code, _, lines = apply(run, others, tmp_path / "out.mkv", f"--look-ahead={depth}", model=file)
    assert (
        code == 1 and lines[-1] == f"error: {text}" and sum("error" in line for line in lines) == 1
    )
    assert not list(tmp_path.iterdir())


def test_engines_and_windows_are_not_told_to_look_ahead_by_themselves(run, others, tmp_path):
    for file in ("echo.onnx", "light.pth"):
        code, _, lines = apply(run, others, tmp_path / f"{file}.mkv", model=file)
        assert code == 0 and not any("looking" in line for line in lines), lines
