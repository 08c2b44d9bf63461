"""--start and --end of `apply` and `stereo`: pictures, masks, sound, subtitles, chapters and times
of the part; judged by PyAV.

Axes: H W pixels.
"""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from inpaint.commands import INPAINT
from nunif.errors import UserError
from nunif.models import create_model, save_model
from nunif.runtime.options import parse_part, parse_time
from nunif.video.film import open_film
from nunif.video.part import PartOfFilm, part_of
from nunif.video.reader import BrokenVideo, VideoReader
from tests import videos
from tests.models import save_lively_model
from tests.nunif.test_extras import contents, write_rich
from tests.videos import heard, number_of, numbered_frame, sound_of, times_of, write_clip

H, W = 64, 96


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_lively_model(tmp_path_factory.mktemp("model") / "m.pth")


@pytest.fixture
def apply(run, model, tmp_path):
    """apply without looking ahead: exit code, and all lines."""

    def apply(source, mask, output, *words, model=model):
        files = ["-i", source, "--mask", mask, "-o", tmp_path / output, "--model", model]
        code, _, lines = run(INPAINT, "apply", *files, "--gpu", -1, "--look-ahead", 0, *words)
        return code, lines

    return apply


def box(number: int) -> np.ndarray:
    """(H, W) uint8: a white box whose place tells the number."""
    mask = np.zeros((H, W), np.uint8)
    mask[40:56, 2 * number : 2 * number + 16] = 255
    return mask


@pytest.fixture
def still(tmp_path):
    assert cv2.imwrite(str(tmp_path / "still.png"), box(3))
    return tmp_path / "still.png"


def write_masks(folder, numbers):
    folder.mkdir()
    for number in numbers:
        assert cv2.imwrite(str(folder / f"{number:05d}.png"), box(number % 100))
    return folder


def pictures(path):
    with VideoReader(path) as reader:
        return [frame.rgb for frame in reader]


def numbers(path):
    return [number_of(rgb) for rgb in pictures(path)]


def boxes(path, first):
    """Where each frame of a lossless film differs from `numbered_frame`: the first column."""
    return [
        int(np.flatnonzero((rgb != numbered_frame(first + n)).any(axis=(0, 2)))[0])
        for n, rgb in enumerate(pictures(path))
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5),
        ("0.5", Fraction(1, 2)),
        ("1:30", 90),
        ("0:00.25", Fraction(1, 4)),
        ("1:02:03.5", Fraction(7447, 2)),
        ("90:00", 5400),
    ],
)
def test_times(text, seconds):
    assert parse_time("--start", text) == seconds


@pytest.mark.parametrize("text", ["", "5s", "-1", "1:75", "1:60:00", "1:2:3:4", "nan", "1e3", ":5"])
def test_what_is_no_time(text):
    with pytest.raises(UserError, match=f"--end {text} is no time: "):
        parse_part(None, text)


# Pictures and times


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--start", "0.25", "--end", "0:00.5"], range(6, 12)),
        (["--start", "0.51"], range(13, 18)),
        (["--end", "0.25"], range(6)),
        (["--start", "0", "--end", "60"], range(18)),
    ],
)
def test_frames_of_the_part_from_0_on(apply, still, tmp_path, words, shown):
    source = write_clip(tmp_path / "film.mp4", 18, gop=8, num_b_frames=2, sound="aac")
    code, lines = apply(source, still, "out.mp4", *words)
    assert code == 0 and lines[-1].endswith(
        f"out.mp4: {len(shown)} frames, {len(shown)} with a hole"
    )
    out = tmp_path / "out.mp4"
    assert numbers(out) == list(shown)
    assert times_of(out) == [Fraction(number, 24) for number in range(len(shown))]
    told = f"--end 60 s lies behind the end of {source}, which is at 0.75 s: it is taken to there"
    assert (told in lines) == ("60" in words)
    (first, last, _), whole = heard(out), len(shown) == 18
    assert first < 0.03 and abs(last - len(shown) / 24) < (0.1 if whole else 0.03)


def test_the_sound_is_the_same_at_the_same_place(apply, still, tmp_path):
    """A tone that begins in the middle of the film, in sound that is copied and that is coded
    anew."""
    source = write_clip(
        tmp_path / "film.mkv", 24, sound="pcm_s16le", sound_start=Fraction(5, 8), gop=12
    )
    for name in ("out.mkv", "out.mp4"):
        code, lines = apply(source, still, name, "--start", "0.5", "--end", "0.75")
        assert code == 0, lines
        first, last, _ = heard(tmp_path / name)
        assert abs(first - 0.125) < 0.01 and abs(last - 0.25) < 0.05, name
    copied = {content for content, _ in sound_of(tmp_path / "out.mkv")}
    assert copied < {content for content, _ in sound_of(source)}


def test_uneven_times_keep_their_steps(apply, still, tmp_path):
    times = [0, 40, 80, 130, 170, 250, 290, 330, 370, 420, 460, 500]
    source = write_clip(tmp_path / "film.mkv", 12, times=times, time_base=Fraction(1, 1000))
    assert apply(source, still, "out.mkv", "--start", "0.17", "--end", "0.37")[0] == 0
    assert [float(time) for time in times_of(tmp_path / "out.mkv")] == [0, 0.08, 0.12, 0.16]


def test_subtitles_chapters_and_title_of_the_part(apply, still, tmp_path):
    """Lines of text from 0.1 to 0.25 and to 0.5 s and from 0.6 to 0.8 s; chapters meet at 0.3 s."""
    source = write_rich(tmp_path / "film.mkv", subtitles=["subrip"], sounds=["eng"])
    for words, texts, chapters in (
        (["--start", "0.25", "--end", "0.75"], [(0, 250), (350, 150)], ["one", "two"]),
        (["--start", "0.5"], [(100, 200)], ["two"]),
        (["--end", "0.25"], [(100, 150), (100, 150)], ["one"]),
    ):
        assert apply(source, still, "out.mkv", *words)[0] == 0
        found = contents(tmp_path / "out.mkv")
        ((_, _, said),) = found["subtitles"]
        assert [(start, length) for start, length, _ in said] == texts, words
        assert [title for _, title in found["chapters"]] == chapters
        assert found["chapters"][0][0] == 0 and found["tags"]["title"] == "A film"
        if len(chapters) == 2:
            assert found["chapters"][1][0] == 50


def test_stereo_takes_a_part_too(run, model, tmp_path):
    source = write_clip(tmp_path / "film.mp4", 18, sound="aac")
    words = ["-i", source, "-o", tmp_path / "out.mp4", "--model", model, "--gpu", -1]
    part = ["--model-type", "MotionParallax", "--start", "0.25", "--end", "0.5"]
    code, _, lines = run(INPAINT, "stereo", *words, *part)
    assert code == 0 and lines[-1] == f"{tmp_path / 'out.mp4'}: 6 frames", lines
    assert [number_of(rgb[:, :W]) for rgb in pictures(tmp_path / "out.mp4")] == list(range(6, 12))
    assert abs(heard(tmp_path / "out.mp4")[1] - 0.25) < 0.03


# Masks go with the film's frames


@pytest.mark.parametrize("kind", ["film and masks of pictures", "folder", "video"])
def test_masks_are_those_of_the_part(apply, tmp_path, kind):
    source = tmp_path / "film.mkv"
    frames = [numbered_frame(number) for number in range(16)]
    if kind == "film and masks of pictures":
        source = tmp_path / "row"
        source.mkdir()
        for number, frame in enumerate(frames):
            cv2.imwrite(str(source / f"{100 + number}.png"), frame[..., ::-1])
    else:
        write_clip(source, frames, codec="ffv1", pixel_format="bgr0", num_b_frames=0)
    if kind == "video":
        greys = [np.repeat(box(number)[..., None], 3, axis=2) for number in range(16)]
        mask = tmp_path / "masks.mkv"
        write_clip(mask, greys, codec="ffv1", pixel_format="gray", num_b_frames=0)
    else:
        mask = write_masks(tmp_path / "masks", range(100, 120) if "film" in kind else range(16))
    words = ["--codec", "ffv1", "--pixel-format", "bgr0", "--start", "0.25", "--end", "0.5"]
    code, lines = apply(source, mask, "out.mkv", *words, "--compare")
    assert code == 0, lines
    assert boxes(tmp_path / "out.mkv", 6) == [2 * number for number in range(6, 12)]
    assert len(times_of(tmp_path / "out.compare.mkv")) == 6


def test_the_look_through_shots_sees_the_part_alone(apply, tmp_path):
    """What is seen only before or behind the part doesn't come into it: filled as a film of its own
    that holds the same frames."""
    fusion = tmp_path / "fusion.pth"
    save_model(create_model("inpaint.fusion_v1"), fusion)
    frames = videos.shots([8, 8], width=W, height=H)
    lossless = dict(codec="ffv1", pixel_format="bgr0", num_b_frames=0)
    whole = write_clip(tmp_path / "whole.mkv", frames, **lossless)
    part = write_clip(tmp_path / "part.mkv", frames[3:12], **lossless)
    mask = tmp_path / "masks.mkv"
    large = [box(number).repeat(2, axis=0).repeat(2, axis=1) for number in range(16)]
    write_clip(mask, [np.repeat(grey[..., None], 3, axis=2) for grey in large], **lossless)
    part_mask = write_masks(tmp_path / "part_masks", range(3, 12))
    words = ["--codec", "ffv1", "--pixel-format", "bgr0", "--look-ahead", "shot"]
    places = ["--start", "0.125", "--end", "0.5"]
    code, lines = apply(whole, mask, "a.mkv", *words, *places, model=fusion)
    assert code == 0 and apply(part, part_mask, "b.mkv", *words, model=fusion)[0] == 0, lines
    assert len(pictures(tmp_path / "a.mkv")) == 9
    # though it is read twice
    assert len([line for line in lines if "is 192x128, the film 96x64: it is scaled" in line]) == 1
    assert np.array_equal(pictures(tmp_path / "a.mkv"), pictures(tmp_path / "b.mkv"))


# What isn't decoded, and damage


def test_nothing_before_the_keyframe_is_decoded(monkeypatch, tmp_path):
    source = write_clip(tmp_path / "film.mp4", 96, gop=12, num_b_frames=0)
    accepted = []
    accept = VideoReader._accept
    monkeypatch.setattr(
        VideoReader,
        "_accept",
        lambda self, pts, frame: accepted.append(pts) or accept(self, pts, frame),
    )
    with part_of(open_film(source), Fraction(3), None) as part:
        frames = part.read(0, 2)
    assert [number_of(frame.rgb) for frame in frames] == [72, 73] and len(accepted) < 12
    assert [(frame.pts, frame.time) for frame in frames] == [(0, 0), (512, pytest.approx(1 / 24))]


@pytest.mark.parametrize(
    ("damaged", "words", "num_frames"),
    [
        (20, ["--start", "0.5", "--end", "0.75"], None),
        (2, ["--start", "0.5", "--end", "0.75"], None),
        (15, ["--start", "0.5", "--end", "0.75"], 3),
    ],
)
def test_damage_counts_where_it_lies_in_the_part(
    apply, still, tmp_path, damaged, words, num_frames
):
    source = write_clip(
        tmp_path / "film.mp4", 24, gop=12, num_b_frames=0, options={"crf": "12"}, sound="aac"
    )
    videos.damage_packet(source, damaged)
    code, lines = apply(source, still, "out.mp4", *words)
    if num_frames is None:
        assert code == 0 and numbers(tmp_path / "out.mp4") == list(range(12, 18))
    else:
        text = f"error: {source} is damaged at 0.62 s: copy or download it again"
        assert code == 1 and lines[-1] == text  # where it is in the film
        assert len(pictures(tmp_path / "out.unfinished.mp4")) == num_frames


def test_a_film_that_is_cut_off_is_told_of_where_the_part_reaches_its_end(tmp_path):
    options = dict(gop=12, num_b_frames=0, container_options={"movflags": "+faststart"})
    source = write_clip(tmp_path / "film.mp4", 48, options={"crf": "12"}, **options)
    videos.truncate(videos.damage_packet(source, 2), 0.6)
    with open_film(source) as film:
        with pytest.raises(BrokenVideo):
            film.read(2, 3)
        assert film.broken_at == pytest.approx(2 / 24)
        to_the_end = PartOfFilm(film, first=12, stop=len(film))
        assert to_the_end.broken_at == pytest.approx((len(film) - 1) / 24)
        assert PartOfFilm(film, first=12, stop=18).broken_at is None
        assert PartOfFilm(film, first=0, stop=6).broken_at == pytest.approx(2 / 24)


# Refusals


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["--start", "2"],
            "--start 2 s lies behind the last picture of {}, which is at 0.46 s: give",
        ),
        (
            ["--start", "0.3", "--end", "0.2"],
            "--end 0.2 isn't behind --start 0.3: give a later time",
        ),
        (["--end", "0"], "--end 0 isn't behind --start 0: give a later time"),
        (
            ["--start", "0.30", "--end", "0.31"],
            "{} has no picture from --start 0.3 s to --end 0.31 s",
        ),
        (["--start", "1m"], "--start 1m is no time: give seconds such as 90 or 12.5, or 1:30, or"),
    ],
)
def test_parts_that_are_refused(apply, still, tmp_path, words, text):
    source = write_clip(tmp_path / "film.mp4", 12)
    code, lines = apply(source, still, "out.mp4", *words)
    assert code == 1 and len(lines) == 1 and text.format(source) in lines[0], lines
    assert not (tmp_path / "out.mp4").exists()


def test_a_part_of_numbered_pictures(tmp_path):
    folder = write_masks(tmp_path / "row", range(1, 9))
    with part_of(open_film(folder, fps="4"), Fraction(1, 2), Fraction(3, 2)) as part:
        assert isinstance(part, PartOfFilm) and (part.first, part.stop, len(part)) == (2, 6, 4)
        assert part.times.tolist() == [0, 0.25, 0.5, 0.75]
        columns = [int(np.flatnonzero(frame.rgb.any(axis=(0, 2)))[0]) for frame in part]
    assert columns == [6, 8, 10, 12]


def test_the_timecode_of_the_beginning_isnt_that_of_a_part(apply, still, tmp_path):
    source = tmp_path / "film.mov"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
        stream.metadata["timecode"] = "01:00:00:00"
        videos.encode_into(container, stream, map(numbered_frame, range(24)))
    for words, is_kept in ((["--start", "0.5"], False), (["--end", "0.5"], True)):
        code, lines = apply(source, still, "out.mov", *words)
        assert code == 0
        assert any("its timecode 01:00:00:00 is" in line for line in lines) is not is_kept
        with av.open(str(tmp_path / "out.mov")) as container:
            assert ("timecode" in container.streams.video[0].metadata) is is_kept
