"""The command `python -m inpaint apply`, as a user runs it.

Axes: T frames, H W pixels, 3 = R G B.
"""

import functools
import shutil
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from inpaint.commands import INPAINT
from inpaint.runtime.apply import side_by_side
from inpaint.runtime.options import LOOK_AHEAD
from inpaint.runtime.stream import InpaintStream
from nunif import cli
from nunif.image import encode_binary
from nunif.models import create_model, save_model
from nunif.video.color import ColorTags
from nunif.video.reader import VideoReader
from tests import videos
from tests.models import frames_given_to_models, save_lively_model
from tests.nunif.test_extras import contents, write_rich
from tests.nunif.test_mastering import DISPLAY, NUMBERS, chroma_of, said, with_dolby_vision
from tests.nunif.test_tone import HLG, PQ, WHITE_OF_HLG, WHITE_OF_PQ, level, write_levels
from tests.pictures import voc_palette
from tests.videos import shots, sound_of, times_of, write_clip

H, W, T = 64, 96, 12


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_lively_model(tmp_path_factory.mktemp("model") / "m.pth")


@pytest.fixture
def run(capsys, caplog, model, tmp_path):
    """apply in this process: exit code, and all lines that were logged or printed as errors. The
    output is in tmp_path."""
    caplog.set_level("INFO")

    def run(source, mask, output, *words, model=model):
        caplog.clear()
        words = [
            "-i",
            source,
            "--mask",
            mask,
            "-o",
            tmp_path / output,
            "--model",
            model,
            "--gpu",
            "-1",
            *words,
        ]
        code = cli.run(INPAINT, ["apply", *map(str, words)])
        return code, [*caplog.messages, *capsys.readouterr().err.strip().splitlines()]

    return run


def hole(number: int) -> np.ndarray:
    """(H, W) bool: a box that moves to the right."""
    missing = np.zeros((H, W), bool)
    missing[20:40, 8 + 4 * number : 28 + 4 * number] = True
    return missing


def grey(missing: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, white where something is missing."""
    return np.repeat(missing[..., None], 3, axis=2).astype(np.uint8) * 255


def write_mask_video(path, masks=None, **options):
    masks = map(hole, range(T)) if masks is None else masks
    return write_clip(
        path, list(map(grey, masks)), codec="ffv1", pixel_format="gray", num_b_frames=0, **options
    )


def write_mask_folder(path, masks=None):
    path.mkdir()
    for number, missing in enumerate(map(hole, range(T)) if masks is None else masks):
        cv2.imwrite(str(path / f"{number:05d}.png"), grey(missing))
    return path


def read(path, **options):
    with VideoReader(path, **options) as reader:
        return list(reader)


def read_folder(path):
    files = sorted(path.iterdir())
    assert [file.name for file in files] == [f"{number:06d}.png" for number in range(len(files))]
    return [cv2.imread(str(file), cv2.IMREAD_UNCHANGED)[..., ::-1] for file in files]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def by_hand(model, frames, holes, *, starts=(), look_ahead=LOOK_AHEAD, **options):
    """What a stream makes of the frames; it forgets at the frames in `starts`, and looks no further
    than up to them."""
    stream = InpaintStream.open(model, gpu=-1, look_ahead=look_ahead, **options)
    results = []
    for number, (frame, missing) in enumerate(zip(frames, holes, strict=True)):
        if number in starts:
            results += stream.finish()
            stream.reset()
        results.append(stream(frame.rgb, missing))
    return [picture for picture in [*results, *stream.finish()] if picture is not None]


@pytest.fixture
def film(tmp_path):
    return write_clip(tmp_path / "film.mp4", T)


@pytest.fixture
def masks(tmp_path):
    return write_mask_video(tmp_path / "masks.mkv")


# What is carried over, and what is changed


def test_sound_times_and_colours_are_the_films(run, tmp_path):
    irregular = dict(
        times=[0, 40, 80, 130, 170, 250, 290, 330, 370, 420, 460, 500], time_base=Fraction(1, 1000)
    )
    tags = dict(matrix=5, range=2, primaries=5, transfer=6)  # BT.601, full range
    source = write_clip(
        tmp_path / "film.mp4", T, sound="aac", tags=tuple(tags.values()), **irregular
    )
    mask = write_mask_video(tmp_path / "masks.mkv", **irregular)
    code, lines = run(source, mask, "out.mp4")
    assert code == 0 and lines[-1] == f"{tmp_path / 'out.mp4'}: 12 frames, 12 with a hole"
    out = tmp_path / "out.mp4"
    assert times_of(out) == times_of(source) and float(times_of(out)[-1]) == pytest.approx(0.5)
    assert sound_of(out) == sound_of(source) and len(sound_of(out)) > 10
    with VideoReader(out) as reader:
        assert (
            reader.info.color == ColorTags(**tags)
            and reader.info.pixel_format == "yuvj420p"
            and len(reader) == 12
        )
        assert reader.info.codec == "h264"
        after = list(reader)
    for number, (before, frame) in enumerate(zip(read(source), after, strict=True)):
        change = np.abs(before.rgb.astype(int) - frame.rgb)
        assert change[~hole(number)].mean() < 4 and change[hole(number)].mean() > 25
    assert names(tmp_path) == ["film.mp4", "masks.mkv", "out.mp4"]


@pytest.mark.parametrize(("pixel_format", "bits"), [("yuv420p", 8), ("yuv422p10le", 10)])
def test_coded_numbers_outside_the_hole_come_back_bit_for_bit(
    run, masks, tmp_path, pixel_format, bits
):
    source = write_clip(
        tmp_path / "film.mkv", T, codec="ffv1", pixel_format=pixel_format, num_b_frames=0
    )
    assert run(source, masks, "out.mkv", "--codec", "ffv1")[0] == 0
    before, after = (read(path, for_editing=True) for path in (source, tmp_path / "out.mkv"))
    assert len(after) == T
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        assert (
            new.picture.pixel_format == pixel_format
            and int(new.picture.planes[0].max()) >> bits == 0
        )
        for old_plane, new_plane in zip(old.picture.planes, new.picture.planes, strict=True):
            down, right = H // old_plane.shape[0], W // old_plane.shape[1]
            missing = hole(number)[::down, ::right]  # the box lies on the chroma's grid
            assert np.array_equal(old_plane[~missing], new_plane[~missing])
            assert (old_plane[missing] != new_plane[missing]).mean() > 0.5


@pytest.mark.parametrize(
    ("pixel_format", "dtype"), [("yuv420p", np.uint8), ("yuv420p10le", np.uint16)]
)
def test_a_folder_of_pictures(run, model, masks, tmp_path, pixel_format, dtype):
    source = write_clip(
        tmp_path / "film.mkv",
        T,
        codec="ffv1",
        pixel_format=pixel_format,
        num_b_frames=0,
        sound="flac",
    )
    code, lines = run(source, masks, "out")
    assert code == 0 and f"{source} has sound, a folder of pictures has none" in lines
    frames, pictures = read(source, for_editing=True), read_folder(tmp_path / "out")
    assert len(pictures) == T
    for number, (frame, picture) in enumerate(zip(frames, pictures, strict=True)):
        assert picture.dtype == frame.rgb.dtype == dtype
        assert np.array_equal(picture[~hole(number)], frame.rgb[~hole(number)])
    # to the last bit inside the hole too
    assert np.array_equal(pictures, by_hand(model, frames, map(hole, range(T))))


def test_every_kind_of_mask_and_both_of_its_options(run, model, film, tmp_path):
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    grown = [
        cv2.dilate(hole(number).astype(np.uint8), cross, iterations=3) > 0 for number in range(T)
    ]
    black = [~hole(number) for number in range(T)]
    cv2.imwrite(str(tmp_path / "still.png"), grey(hole(2)))
    kinds = [
        (write_mask_video(tmp_path / "masks.mkv"), [], [hole(number) for number in range(T)]),
        (write_mask_folder(tmp_path / "masks"), ["--dilate", "3"], grown),
        (write_mask_folder(tmp_path / "black", black), ["--invert-mask", "--dilate", "3"], grown),
        (tmp_path / "still.png", [], [hole(2)] * T),
    ]
    for number, (mask, words, holes) in enumerate(kinds):
        assert run(film, mask, f"out{number}", *words)[0] == 0
        assert np.array_equal(
            read_folder(tmp_path / f"out{number}"), by_hand(model, read(film), holes)
        ), mask.name


def test_codec_quality_and_pixel_format(run, film, masks, tmp_path):
    sizes = []
    for quality in ("10", "45"):
        words = ["--codec", "libx264", "--quality", quality, "--pixel-format", "yuv444p"]
        assert run(film, masks, f"q{quality}.mkv", *words)[0] == 0
        with VideoReader(tmp_path / f"q{quality}.mkv") as reader:
            assert (reader.info.codec, reader.info.pixel_format) == ("h264", "yuv444p")
        sizes.append((tmp_path / f"q{quality}.mkv").stat().st_size)
    assert sizes[0] > 2 * sizes[1]


def test_a_film_of_ten_bits_stays_one(run, masks, tmp_path):
    source = write_clip(
        tmp_path / "film.mkv", T, codec="ffv1", pixel_format="yuv420p10le", num_b_frames=0
    )
    assert run(source, masks, "out.mp4")[0] == 0
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert reader.info.pixel_format == "yuv420p10le" and len(reader) == T


def test_computed_smaller_it_still_touches_the_hole_only(run, model, film, masks, tmp_path):
    code, lines = run(film, masks, "small", "--max-width", "48")
    assert code == 0 and any(
        line.endswith("on cpu, fp32, looking 8 frames ahead, at 48x32") for line in lines
    )
    assert run(film, masks, "full")[1][0].endswith("at 96x64")
    frames, small, full = (
        read(film),
        read_folder(tmp_path / "small"),
        read_folder(tmp_path / "full"),
    )
    for number in range(T):
        missing = hole(number)
        assert np.array_equal(small[number][~missing], frames[number].rgb[~missing])
        assert (small[number][missing] != full[number][missing]).mean() > 0.5
    assert np.array_equal(small, by_hand(model, frames, map(hole, range(T)), max_width=48))


def test_the_memory_starts_afresh_at_a_cut(run, model, tmp_path):
    frames = shots([6, 6], width=W, height=H)
    source = write_clip(
        tmp_path / "film.mkv", frames, codec="ffv1", pixel_format="yuv444p", num_b_frames=0
    )
    frames, holes = read(source), [hole(3)] * T
    cv2.imwrite(str(tmp_path / "still.png"), grey(hole(3)))
    assert run(source, tmp_path / "still.png", "cut")[0] == 0
    assert run(source, tmp_path / "still.png", "no_cut", "--no-cuts")[0] == 0
    cut, no_cut = read_folder(tmp_path / "cut"), read_folder(tmp_path / "no_cut")
    fresh, *_ = by_hand(model, frames[6:], holes[6:])
    assert np.array_equal(cut[6], fresh) and not np.array_equal(no_cut[6], fresh)
    assert np.array_equal(cut, by_hand(model, frames, holes, starts=[6]))
    assert np.array_equal(no_cut, by_hand(model, frames, holes))


def test_compare_shows_the_film_and_the_result(run, film, masks, tmp_path):
    assert run(film, masks, "out.mp4", "--compare")[0] == 0
    assert names(tmp_path) == ["film.mp4", "masks.mkv", "out.compare.mp4", "out.mp4"]
    assert times_of(tmp_path / "out.compare.mp4") == times_of(film)
    both = read(tmp_path / "out.compare.mp4")
    for number, (before, after, frame) in enumerate(
        zip(read(film), read(tmp_path / "out.mp4"), both, strict=True)
    ):
        assert frame.rgb.shape == (H, 2 * W, 3)
        left, right, missing = (
            frame.rgb[:, :W].astype(int),
            frame.rgb[:, W:].astype(int),
            hole(number),
        )
        painted = before.rgb[missing] / 2 + np.array([255, 0, 255]) / 2
        assert np.abs(left[missing] - painted).mean() < 12
        assert np.abs(left[~missing] - before.rgb[~missing]).mean() < 6
        assert np.abs(right - after.rgb).mean() < 6
    assert run(film, masks, "pictures", "--compare")[0] == 0
    assert len(read(tmp_path / "pictures.compare.mp4")) == T


@pytest.mark.parametrize(
    ("dtype", "painted"), [(np.uint8, (177, 50, 152)), (np.uint16, (32817, 50, 32792))]
)
def test_side_by_side(dtype, painted):
    frame = np.broadcast_to(np.array([100, 100, 50], dtype), (1, 2, 3))
    both = side_by_side(frame, np.array([[False, True]]), np.full((1, 2, 3), 7, dtype))
    assert (
        both.tolist() == [[[100, 100, 50], list(painted), [7, 7, 7], [7, 7, 7]]]
        and both.dtype == dtype
    )


# Endings


def strike(monkeypatch, number, error):
    """Let the model raise an error at a frame."""
    call, calls = InpaintStream.__call__, []

    def struck(self, frame, missing):
        calls.append(1)
        if len(calls) > number:
            raise error
        return call(self, frame, missing)

    monkeypatch.setattr(InpaintStream, "__call__", struck)


def test_ctrl_c_leaves_a_playable_file(run, monkeypatch, tmp_path):
    source = write_clip(tmp_path / "film.mp4", T, sound="aac")
    masks = write_mask_video(tmp_path / "masks.mkv")
    strike(monkeypatch, 10, KeyboardInterrupt())
    code, lines = run(source, masks, "out.mp4", "--compare", "--look-ahead", "3")
    assert code == 130 and lines[-1] == "interrupted"
    assert (
        f"{tmp_path / 'out.unfinished.mp4'} holds the 7 frames (0.3 s) that were finished" in lines
    )
    assert names(tmp_path) == [
        "film.mp4",
        "masks.mkv",
        "out.compare.unfinished.mp4",
        "out.unfinished.mp4",
    ]
    assert [videos.number_of(frame.rgb) for frame in read(tmp_path / "out.unfinished.mp4")][0] == 0
    assert (
        len(read(tmp_path / "out.unfinished.mp4"))
        == len(read(tmp_path / "out.compare.unfinished.mp4"))
        == 7
    )
    assert len(sound_of(tmp_path / "out.unfinished.mp4")) > 5


def test_ctrl_c_leaves_a_folder_of_what_is_finished(run, monkeypatch, film, masks, tmp_path):
    strike(monkeypatch, 10, KeyboardInterrupt())
    assert run(film, masks, "out", "--look-ahead", "3")[0] == 130
    assert names(tmp_path) == ["film.mp4", "masks.mkv", "out.unfinished"]
    assert len(read_folder(tmp_path / "out.unfinished")) == 7


@pytest.mark.parametrize("output", ["out.mp4", "out"])
def test_ctrl_c_before_the_first_frame_leaves_nothing(
    run, monkeypatch, film, masks, tmp_path, output
):
    strike(monkeypatch, 0, KeyboardInterrupt())
    assert run(film, masks, output)[0] == 130
    assert names(tmp_path) == ["film.mp4", "masks.mkv"]


@pytest.mark.parametrize("look_ahead", ["0", "8", "shot"])
@pytest.mark.parametrize("harm", ["damaged", "cut off"])
def test_a_film_that_breaks_leaves_what_came_before(run, tmp_path, harm, look_ahead):
    options = dict(gop=48, num_b_frames=0, options={"crf": "12"}, sound="aac")
    if harm == "damaged":
        source = videos.damage_packet(write_clip(tmp_path / "film.mp4", T, **options), 8)
        num_frames, text = 8, f"error: {source} is damaged at 0.33 s: copy or download it again"
    else:
        options |= dict(container_options={"movflags": "+faststart"})
        source = videos.truncate(write_clip(tmp_path / "film.mp4", 48, **options), 0.6)
        num_frames = len(read(source))
        text = (
            f"error: {source} is cut off or damaged at {float(times_of(source)[-1]):.2f} s: "
            "copy or download it again"
        )
        assert 20 < num_frames < 40
    cv2.imwrite(str(tmp_path / "still.png"), grey(hole(3)))
    code, lines = run(source, tmp_path / "still.png", "out.mp4", "--look-ahead", look_ahead)
    assert code == 1 and lines[-1] == text
    assert names(tmp_path) == ["film.mp4", "out.unfinished.mp4", "still.png"]
    assert len(read(tmp_path / "out.unfinished.mp4")) == num_frames
    assert any(f"out.unfinished.mp4 holds the {num_frames} frames" in line for line in lines)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            b"no picture",
            r"--mask .*00007\.png can't be read \(not a readable picture\): make it again",
        ),
        (
            encode_binary(np.zeros((8, 8), bool)),
            r"00007\.png is 8x8, the film 96x64: make masks of the film's size, or of another with",
        ),
    ],
    ids=["unreadable", "of another size"],
)
@pytest.mark.parametrize("look_ahead", ["8", "shot"])
def test_a_bad_mask_in_the_middle_leaves_what_came_before(
    run, film, tmp_path, content, text, look_ahead
):
    folder = write_mask_folder(tmp_path / "masks")
    (folder / "00007.png").write_bytes(content)
    code, lines = run(film, folder, "out.mp4", "--look-ahead", look_ahead)
    assert code == 1 and lines[-1].startswith("error: ")
    assert_matches(lines[-1], text)
    assert names(tmp_path) == ["film.mp4", "masks", "out.unfinished.mp4"]
    assert len(read(tmp_path / "out.unfinished.mp4")) == 7


def test_a_damaged_mask_video_leaves_what_came_before(run, film, tmp_path):
    rng = np.random.default_rng(0)
    noisy = [rng.random((H, W)) > 0.5 for _ in range(T)]
    options = dict(gop=48, num_b_frames=0, options={"crf": "12"})
    masks = videos.damage_packet(
        write_clip(tmp_path / "masks.mp4", list(map(grey, noisy)), **options), 8
    )
    code, lines = run(film, masks, "out.mp4")
    assert (
        code == 1 and lines[-1] == f"error: {masks} is damaged at 0.33 s: copy or download it again"
    )
    assert len(read(tmp_path / "out.unfinished.mp4")) == 8


def test_masks_that_mark_nothing_are_a_warning(run, film, tmp_path):
    masks = write_mask_video(tmp_path / "masks.mkv", [np.zeros((H, W), bool)] * T)
    code, lines = run(film, masks, "out")
    text = (
        f"--mask {masks} marks nothing as missing in any frame: white is missing, or use "
        "--invert-mask"
    )
    assert (
        code == 0 and text in lines and lines[-1] == f"{tmp_path / 'out'}: 12 frames, 0 with a hole"
    )
    assert np.array_equal(read_folder(tmp_path / "out"), [frame.rgb for frame in read(film)])


def test_more_masks_than_frames_is_a_warning(run, film, tmp_path):
    masks = write_mask_video(tmp_path / "masks.mkv", [hole(0)] * (T + 2))
    code, lines = run(film, masks, "out.mp4")
    assert (
        code == 0
        and f"--mask {masks} has 14 frames, the film 12 frames: the last ones are left out" in lines
    )
    assert len(read(tmp_path / "out.mp4")) == T


# Masks as other programs write them; what each means is in test_mask_pictures and test_hole_source


def test_objects_of_a_palette_mask_and_a_mask_in_alpha(run, tmp_path):
    film = write_clip(tmp_path / "short.mp4", 2)
    indices = np.where(hole(0), 1, np.where(hole(8), 8, 0)).astype(np.uint8)  # 8 is (64, 0, 0)
    picture = Image.fromarray(indices, "P")
    picture.putpalette(voc_palette())
    picture.save(tmp_path / "voc.png")
    cut_out = np.full((H, W, 4), 255, np.uint8)
    cut_out[..., 3] = np.where(hole(3), 255, 0)
    Image.fromarray(cut_out).save(tmp_path / "alpha.png")
    before = read(film)
    for name, words, missing in (
        ("voc.png", [], hole(0) | hole(8)),
        ("voc.png", ["--objects", "8"], hole(8) & ~hole(0)),
        ("alpha.png", [], hole(3)),
    ):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        code, lines = run(film, tmp_path / name, "out", "--look-ahead", "0", *words)
        assert code == 0, lines
        for old, new in zip(before, read_folder(tmp_path / "out"), strict=True):
            changed = np.any(old.rgb != new, axis=2)
            assert not changed[~missing].any() and changed[missing].mean() > 0.25, (name, words)
    text = r"--objects 1,b: give the numbers of objects in the masks, such as 1,8"
    assert_refused(run, tmp_path, film, tmp_path / "voc.png", "out.mp4", ["--objects", "1,b"], text)


def test_the_whole_picture_is_replaced_only_when_asked_for(run, tmp_path):
    film = write_clip(tmp_path / "short.mp4", 3)
    mask = write_mask_folder(
        tmp_path / "masks", [hole(0), np.ones((H, W), bool), np.ones((H, W), bool)]
    )
    text = (
        r"masks marks more than 90% of the picture as missing in 2 of 3 pictures looked at .* "
        r"add --large-holes if it is meant"
    )
    assert_refused(run, tmp_path, film, mask, "out.mp4", [], text)
    assert run(film, mask, "out.mp4", "--large-holes", "--look-ahead", "0")[0] == 0


# Folders of numbered pictures as the film


def write_film_folder(path, *, dtype=np.uint8, suffix="png", first=1001):
    """Frames that tell their number; with 16 bits they hold what 8 can't."""
    path.mkdir()
    for number in range(T):
        picture = videos.numbered_frame(number)[..., ::-1]
        picture = picture if dtype == np.uint8 else picture.astype(np.uint16) * 255 + 77
        assert cv2.imwrite(str(path / f"plate.{first + number}.{suffix}"), picture)
    return path


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [("png", np.uint8), ("png", np.uint16), ("tif", np.uint16), ("jpg", np.uint8)],
)
def test_a_folder_of_pictures_is_filled_into_a_folder(run, model, tmp_path, suffix, dtype):
    source = write_film_folder(tmp_path / "plate", dtype=dtype, suffix=suffix)
    mask = write_mask_folder(tmp_path / "masks")
    code, lines = run(source, mask, "out", "--look-ahead", "0")
    assert code == 0 and lines[-1] == f"{tmp_path / 'out'}: 12 frames, 12 with a hole", lines
    results = read_folder(tmp_path / "out")
    assert len(results) == T
    for number, picture in enumerate(results):
        before = cv2.imread(str(source / f"plate.{1001 + number}.{suffix}"), cv2.IMREAD_UNCHANGED)[
            ..., ::-1
        ]
        apart = np.abs(picture.astype(int) - before)
        assert picture.dtype == dtype and (apart[hole(number)] > 0).mean() > 0.5
        # decoders smooth the chroma of JPEGs as they like
        assert apart[~hole(number)].max() <= (40 if suffix == "jpg" else 0)


@pytest.mark.parametrize("words", [[], ["--look-ahead", "shot"]])
def test_a_folder_of_pictures_becomes_a_video_of_the_rate_asked_for(run, tmp_path, words):
    source = write_film_folder(tmp_path / "plate", dtype=np.uint16)
    mask = write_mask_video(tmp_path / "masks.mkv", fps=30)
    model = (
        save_model(create_model("inpaint.fusion_v1"), tmp_path / "fusion.pth")
        or tmp_path / "fusion.pth"
    )
    out = tmp_path / "out.mkv"
    words = [*words, "--codec", "ffv1", "--pixel-format", "gbrp16le", "--fps", "23.976"]
    code, lines = run(source, mask, out.name, *words, model=model)
    assert code == 0, lines
    with av.open(str(out)) as container:
        assert container.streams.video[0].average_rate == Fraction(24000, 1001)
        decoded = list(container.decode(video=0))
    assert [float(frame.pts * frame.time_base) for frame in decoded] == pytest.approx(
        [number * 1001 / 24000 for number in range(T)], abs=6e-4
    )
    for number, frame in enumerate(decoded):
        before = cv2.imread(str(source / f"plate.{1001 + number}.png"), cv2.IMREAD_UNCHANGED)[
            ..., ::-1
        ]
        after = np.dstack(
            [np.frombuffer(plane, np.uint16).reshape(H, -1)[:, :W] for plane in frame.planes]
        )[..., [2, 0, 1]]
        assert np.array_equal(after[~hole(number)], before[~hole(number)])


def test_a_folder_film_without_a_rate_is_told_which_it_gets(run, tmp_path, masks):
    source = write_film_folder(tmp_path / "plate")
    code, lines = run(source, masks, "out.mp4", "--compare")
    assert code == 0 and f"{source} is taken as 24 pictures per second: --fps chooses" in lines
    assert times_of(tmp_path / "out.mp4") == [Fraction(number, 24) for number in range(T)]
    assert [videos.number_of(frame.rgb) for frame in read(tmp_path / "out.mp4")] == list(range(T))


def test_masks_are_those_of_the_pictures_numbers(run, tmp_path):
    source = write_film_folder(tmp_path / "plate", first=1)
    # 0 to 13
    mask = write_mask_folder(
        tmp_path / "masks", [hole(0), *(hole(number) for number in range(T)), hole(0)]
    )
    assert run(source, mask, "out")[0] == 0
    for number, picture in enumerate(read_folder(tmp_path / "out")):
        before = cv2.imread(str(source / f"plate.{1 + number}.png"))[..., ::-1]
        assert np.array_equal(
            np.any(picture != before, axis=2) & ~hole(number), np.zeros((H, W), bool)
        )
        assert np.any(picture != before, axis=2)[hole(number)].mean() > 0.5


def test_folders_of_pictures_that_are_refused(run, tmp_path, film):
    mask = write_mask_folder(tmp_path / "masks")
    source = write_film_folder(tmp_path / "plate")
    refused = functools.partial(assert_refused, run, tmp_path)
    text = (
        r"plate\.1001\.png is one picture of a row of 12: name the folder .*plate for all, or "
        r"move the one elsewhere"
    )
    refused(source / "plate.1001.png", mask, "out.mp4", [], text)
    refused(
        source,
        mask,
        "out.mp4",
        ["--fps", "fast"],
        r"--fps fast is no rate: give frames per second such as 24, 23\.976",
    )
    refused(
        film,
        mask,
        "out.mp4",
        ["--fps", "25"],
        r"--fps 25 is for a folder of pictures, and .*film\.mp4 is none: leave it",
    )
    refused(
        source,
        mask,
        "plate",
        [],
        r"plate can't be written: it is the source .*plate; choose another name",
    )
    (source / "plate.1005.png").unlink()
    refused(
        source,
        mask,
        "out.mp4",
        [],
        r"plate: there is no picture with the number 1005: every frame needs one",
    )
    (tmp_path / "exr").mkdir()
    (tmp_path / "exr" / "a.1.exr").write_bytes(b"x")
    refused(
        tmp_path / "exr",
        mask,
        "out.mp4",
        [],
        r"exr holds 1 \.exr pictures, which can't be read: convert to PNG or TIFF",
    )


def test_a_torn_picture_leaves_what_came_before(run, tmp_path):
    source, mask = write_film_folder(tmp_path / "plate"), write_mask_folder(tmp_path / "masks")
    path = source / "plate.1007.png"
    path.write_bytes(path.read_bytes()[:-40])
    code, lines = run(source, mask, "out")
    assert (
        code == 1
        and lines[-1].startswith(f"error: {path} can't be used (")
        and "copy or download it again" in lines[-1]
    )
    assert len(read_folder(tmp_path / "out.unfinished")) == 6


# Refusals: one line, exit code 1, and nothing left


def assert_matches(line: str, pattern: str) -> None:
    with pytest.raises(RuntimeError, match=pattern):
        raise RuntimeError(line)


def assert_refused(run, tmp_path, source, mask, output, words, text, **options):
    before = names(tmp_path)
    code, lines = run(source, mask, output, *words, **options)
    assert code == 1 and lines[-1].startswith("error: "), lines
    assert sum("error" in line for line in lines) == 1
    assert_matches(lines[-1], text)
    assert names(tmp_path) == before


@pytest.mark.parametrize(
    ("masks", "options", "text"),
    [
        (
            [hole(0)] * 10,
            {},
            (
                r"--mask .*masks\.mkv has 10 frames, the film 12 frames: every "
                r"frame "
                r"needs one"
            ),
        ),
        (
            [hole(0)[:40, :48]] * T,
            {},
            r"--mask .*masks\.mkv is 48x40, the film 96x64: make masks of the film's size, or of",
        ),
        (
            [hole(0)] * 15,
            {"fps": 30},
            (
                r"has 15 frames at 30 per second, the film 12 at 24, and "
                r"their times part by 0\.09 s"
            ),
        ),
    ],
    ids=["too short", "size", "rate"],
)
def test_mask_videos_that_do_not_fit(run, film, tmp_path, masks, options, text):
    mask = write_mask_video(tmp_path / "masks.mkv", masks, **options)
    assert_refused(run, tmp_path, film, mask, "out.mp4", [], text)


def test_masks_that_are_refused(run, film, tmp_path):
    folder = write_mask_folder(tmp_path / "masks")
    text = r"--mask .*masks: 00004\.png and 4\.jpg have one number: remove one of them"
    (folder / "4.jpg").write_bytes(b"x")
    assert_refused(run, tmp_path, film, folder, "out", [], text)
    (folder / "4.jpg").unlink()
    (folder / "00004.png").unlink()
    assert_refused(
        run,
        tmp_path,
        film,
        folder,
        "out",
        [],
        r"masks: there is no picture with the number 4: every frame",
    )
    short = write_mask_folder(tmp_path / "short", [hole(0)] * 10)
    assert_refused(
        run,
        tmp_path,
        film,
        short,
        "out",
        [],
        r"short has 10 pictures, the film 12 frames: every frame needs one",
    )
    black = tmp_path / "black.png"
    cv2.imwrite(str(black), grey(np.zeros((H, W), bool)))
    text = r"--mask .*black\.png marks nothing as missing: white is missing, or use --invert-mask"
    assert_refused(run, tmp_path, film, black, "out.mp4", ["--compare"], text)
    assert_refused(
        run,
        tmp_path,
        film,
        tmp_path / "no.png",
        "out.mp4",
        [],
        r"--mask .*no\.png doesn't exist: check the path",
    )
    assert_refused(
        run,
        tmp_path,
        film,
        tmp_path / "no.mp4",
        "out.mp4",
        [],
        r"--mask .*no\.mp4 doesn't exist: check the path",
    )


def test_models_that_are_refused(run, film, masks, tmp_path):
    torch.save(
        {"nunif_model": 1, "name": "other.model", "kwargs": {}, "state_dict": {}},
        tmp_path / "other.pth",
    )
    (tmp_path / "no_model.pth").write_bytes(b"no model")
    (tmp_path / "model.bin").write_bytes(b"no model")
    for name, text in {
        "other.pth": (
            r"other\.pth holds the model 'other\.model', but one named inpaint\.\* is "
            r"needed here"
        ),
        "no_model.pth": r"no_model\.pth is torn or not a model file .*: fetch or train it again",
        "model.bin": (
            r"model\.bin is of no kind known here: give a model file \(\.pth\), an "
            r"\.onnx or an \.engine"
        ),
        "missing.pth": r"missing\.pth does not exist: give a model file",
        "missing.onnx": (
            r"--model .*missing\.onnx does not exist: give a model file \(\.pth\), an "
            r"\.onnx or an \.engine"
        ),
        "missing.engine": r"missing\.engine does not exist",
    }.items():
        assert_refused(run, tmp_path, film, masks, "out.mp4", [], text, model=tmp_path / name)


@pytest.mark.parametrize(
    ("output", "words", "text"),
    [
        (
            "out.xyz",
            [],
            r"out\.xyz can't be written: '\.xyz' is none of the suffixes \.avi \.m4v \.mkv",
        ),
        (
            "file/out.mp4",
            [],
            (
                r"file can't be made a folder because a file stands in its way: "
                r"choose another name"
            ),
        ),
        (
            "file/out",
            [],
            (
                r"file can't be made a folder because a file stands in its way: choose "
                r"another name"
            ),
        ),
        (
            "file",
            [],
            r"file is there already: choose another folder for the pictures, or delete it",
        ),
        (
            "folder",
            [],
            r"folder is there already: choose another folder for the pictures, or delete it",
        ),
        (
            "film.mp4",
            [],
            r"film\.mp4 can't be written: it is the source .*film\.mp4; choose another name",
        ),
        (
            "folder/../film.mp4",
            [],
            r"can't be written: it is the source .*film\.mp4; choose another name",
        ),
        (
            "masks.mkv",
            [],
            (
                r"masks\.mkv can't be written: it is the source .*masks\.mkv; choose "
                r"another name"
            ),
        ),
        (
            "film.compare.mp4",
            ["--compare", "-i", "{}/film.compare.compare.mp4"],
            r"it is the source .*compare\.compare\.mp4",
        ),
        (
            "out",
            ["--codec", "ffv1"],
            (
                r"--codec ffv1 is for videos, but --output .*out is a "
                r"folder "
                r"of pictures: leave it out"
            ),
        ),
        (
            "out",
            ["--quality", "20"],
            r"--quality 20 is for videos, but --output .*out is a folder of pictures",
        ),
        (
            "out",
            ["--pixel-format", "rgb24"],
            r"--pixel-format rgb24 is for videos, but --output .*out is a folder",
        ),
        (
            "out.mp4",
            ["--codec", "libx999"],
            r"codec libx999 is no encoder of pictures that this libav has; choose one of",
        ),
        (
            "out.mkv",
            ["--codec", "ffv1", "--quality", "20"],
            r"quality 20: codec ffv1 has no such setting; leave it out",
        ),
        ("out.mp4", ["--pixel-format", "yuv999"], r"there is no pixel format yuv999; choose"),
        ("out.mp4", ["-i", "{}/no.mp4"], r"no\.mp4 doesn't exist: check the path"),
        ("out.mp4", ["-i", "{}/file"], r"file isn't a video that can be read"),
        ("out.mp4", ["--dilate", "-1"], r"--dilate -1 is out of bounds: give a number at least 0"),
    ],
)
def test_outputs_and_options_that_are_refused(run, film, masks, tmp_path, output, words, text):
    (tmp_path / "file").write_bytes(b"mine" * 100)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_bytes(b"mine")
    (tmp_path / "film.compare.compare.mp4").write_bytes(film.read_bytes())
    content = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert_refused(
        run, tmp_path, film, masks, output, [word.format(tmp_path) for word in words], text
    )
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == content


def test_two_plain_lines_where_there_is_no_terminal(run, film, masks, tmp_path):
    code, lines = run(film, masks, "out.mp4")
    last = f"{tmp_path / 'out.mp4'}: 12 frames, 12 with a hole"
    assert code == 0 and lines == [
        f"torch {torch.__version__} on cpu, fp32, looking 8 frames ahead, at 96x64",
        last,
    ]


# Films with transparency


def write_see_through(path, codec="ffv1", pixel_format="gbrap"):
    """T frames, lossless, whose alpha rises from left to right."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = W, H, pixel_format
        alpha = np.tile(np.linspace(0, 255, W).astype(np.uint8), (H, 1))
        frames = (np.dstack([videos.numbered_frame(number), alpha]) for number in range(T))
        videos.encode_into(container, stream, frames)
    return path


@pytest.mark.parametrize(("pixel_format", "top"), [("bgra", 255), ("gbrap12le", 65535)])
def test_a_folder_of_a_transparent_film_is_transparent(run, masks, tmp_path, pixel_format, top):
    source = write_see_through(tmp_path / "film.mkv", pixel_format=pixel_format)
    code, lines = run(source, masks, "out")
    assert code == 0 and not [line for line in lines if "in places" in line]
    files = sorted((tmp_path / "out").iterdir())
    assert len(files) == T
    for number, file in enumerate(files):
        bgra = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        assert bgra.shape == (H, W, 4) and np.iinfo(bgra.dtype).max == top
        assert np.abs(bgra[..., 3] / top - np.linspace(0, 1, W)).max() < 1 / 200
        seen = ~hole(number)
        expected = videos.numbered_frame(number)[seen] / 255
        assert np.abs(bgra[seen][:, [2, 1, 0]] / top - expected).max() < 1 / 200


@pytest.mark.parametrize(("name", "is_kept"), [("out.webm", True), ("out.mp4", False)])
def test_alpha_goes_through_apply_or_a_line_says_not(run, masks, tmp_path, name, is_kept):
    source = write_see_through(tmp_path / "film.mov", "prores_ks", "yuva444p10le")
    code, lines = run(source, masks, name)
    assert code == 0 and len(times_of(tmp_path / name)) == T
    assert (
        bool([line for line in lines if "transparent in places" in line and "left out" in line])
        is not is_kept
    )


def test_subtitles_chapters_and_title_go_through_apply(run, tmp_path):
    source = write_rich(tmp_path / "film.mkv", subtitles=["subrip"], sounds=["eng", "fre"])
    cv2.imwrite(str(tmp_path / "still.png"), grey(hole(2)))
    before = contents(source)
    for name, words in (
        ("a.mkv", []),
        ("b.mkv", ["--no-extras"]),
        ("c.mp4", []),
        ("d", []),
        ("e", ["--no-extras"]),
    ):
        code, lines = run(source, tmp_path / "still.png", name, "--look-ahead", "0", *words)
        lost = [
            line for line in lines if line.startswith(str(source)) and "subtitles (srt)" in line
        ]
        assert code == 0 and bool(lost) == (name in "c.mp4 d")
        if name == "a.mkv":
            assert contents(tmp_path / name) == before | dict(
                tags=contents(tmp_path / name)["tags"]
            )
        if name == "b.mkv":
            assert (
                contents(tmp_path / name)["sounds"] == ["eng", "fre"]
                and not contents(tmp_path / name)["subtitles"]
            )


# Films of high dynamic range


@pytest.mark.parametrize("words", [[], ["--look-ahead", "shot"]], ids=str)
@pytest.mark.parametrize("color", [PQ, HLG], ids=str)
def test_the_model_sees_hdr_as_sdr_and_the_film_keeps_its_samples(
    run, model, masks, tmp_path, monkeypatch, color, words
):
    """A film in the white of HDR's paper: the model sees 230 of 255, and its picture comes back in
    the film's transfer."""
    share = WHITE_OF_PQ if color == PQ else WHITE_OF_HLG
    source = write_levels(tmp_path / "film.mkv", level(share), color, count=T, size=(H, W))
    seen = frames_given_to_models(monkeypatch)
    # a perfect model: what it paints is what it saw around the hole
    monkeypatch.setattr("inpaint.runtime.stream.from_network", lambda output, frame, hole: frame)
    code, lines = run(source, masks, "out.mkv", "--codec", "ffv1", *words)
    assert code == 0 and [line for line in lines if "the model sees it as SDR BT.709" in line]
    assert len(seen) == T * (2 if words else 1)
    for frame in seen:
        assert frame.dtype == np.uint16 and np.abs(frame / 257 - 230).max() <= 2
    with av.open(str(tmp_path / "out.mkv")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.color_primaries, stream.codec_context.color_trc) == (
            color.primaries,
            color.transfer,
        )
        for number, frame in enumerate(container.decode(stream)):
            assert frame.format.name == "yuv420p10le"
            luma = np.frombuffer(frame.planes[0], np.uint16).reshape(H, -1)[:, :W]
            assert set(np.unique(luma[~hole(number)])) == {level(share)}
            assert np.abs(luma[hole(number)].astype(int) - level(share)).max() <= 2


def test_hdr10_goes_through_apply(run, masks, tmp_path):
    settings = {
        "x264-params": f"mastering-display={DISPLAY}:cll=1000,400",
        "chroma_sample_location": "topleft",
    }
    source = write_clip(
        tmp_path / "film.mkv", T, pixel_format="yuv420p10le", tags=(9, 1, 9, 16), options=settings
    )
    assert said(source) == (pytest.approx(NUMBERS), (1000, 400))
    assert run(source, masks, "out.mp4")[0] == 0
    assert said(tmp_path / "out.mp4") == (pytest.approx(NUMBERS), (1000, 400)) and chroma_of(
        tmp_path / "out.mp4"
    ) == (1, 1)
    code, lines = run(source, masks, "out.mkv", "--codec", "ffv1")
    assert code == 0 and [
        line
        for line in lines
        if "HDR10 metadata (mastering display, MaxCLL) of the film can't be kept" in line
    ]


def test_dolby_vision_is_told_of(run, masks, tmp_path):
    if not videos.HAS_X265:
        pytest.skip("this libav has no such encoder")
    source = write_clip(
        tmp_path / "film.mp4", T, codec="libx265", pixel_format="yuv420p10le", tags=(9, 1, 9, 16)
    )
    code, lines = run(with_dolby_vision(source), masks, "out.mp4")
    assert code == 0 and f"{source} has Dolby Vision, which can't be carried over" in lines


def test_a_folder_of_an_hdr_film_says_what_its_pictures_are(run, masks, tmp_path):
    source = write_levels(tmp_path / "film.mkv", level(WHITE_OF_PQ), PQ, count=T, size=(H, W))
    code, lines = run(source, masks, "out")
    assert code == 0 and [
        line for line in lines if "the pictures are PQ BT.2020 like the film" in line
    ]
    for number, picture in enumerate(read_folder(tmp_path / "out")):
        assert np.abs(picture[~hole(number)] / 65535 - WHITE_OF_PQ).max() < 0.002
