"""`create_training_data.py frames` and `inpaint`, on small folders laid out like the public
datasets."""

import json
import shutil

import cv2
import numpy as np
import pytest

from inpaint.commands import CREATE_TRAINING_DATA
from inpaint.dataset import PLANES, scan_records
from inpaint.generate_frames import fit, plan_groups, wobble
from inpaint.options_data import PRESETS, ROOMS, FramesPreset
from nunif.records import open_record, read_plane
from nunif.seed import generator_for
from nunif.video.color import BT709
from nunif.video.writer import write_video
from tests.faults.processes import hashes
from tests.nunif.test_tone import HLG, PQ, WHITE_OF_HLG, WHITE_OF_PQ, level, write_levels

SIZE = ["--size", "36x64"]


def write_picture(path, value, size=(36, 64)):
    """A flat grey picture that tells its number; JPEG keeps a flat grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*size, 3), value, np.uint8))


def write_clip(path, num_frames, *, cut_at=None):
    """A video whose frames are grey by number, with a bar; from `cut_at` on, another scene."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = []
    for i in range(num_frames):
        frame = np.full((48, 64, 3), 40 + i, np.uint8)
        frame[10:30, 5:25] = 120
        if cut_at is not None and i >= cut_at:
            frame = np.full((48, 64, 3), 255 - i, np.uint8)
            frame[:, ::3] = 0
        frames.append(frame)
    write_video(path, iter(frames), fps=10)


def make(run, folder, out, *more, command="frames"):
    return run(CREATE_TRAINING_DATA, command, "-i", folder, "-o", out, "--prefix", "p", *more)


def greys(record):
    """The grey of each frame's middle."""
    return [int(frame[20, 30, 0]) for frame in read_plane(record, "C", record.numbers)]


def frames_of(folder):
    """Source and frame numbers of every record, by name."""
    infos = [json.loads((path / "record.json").read_text()) for path in sorted(folder.iterdir())]
    return sorted((info["source"], info["frames"]) for info in infos)


def test_gta_im_takes_fives_of_the_colour_pictures_of_dated_folders(run, tmp_path):
    for first, name in enumerate(("2020-06-04-21-36-45", "2020-06-09-17-14-03", "notes")):
        for i in range(12):
            write_picture(tmp_path / "FPS-5" / name / f"{i:05d}.jpg", 10 * i + first)
            write_picture(tmp_path / "FPS-5" / name / f"{i:05d}.png", 255)  # depth
            write_picture(tmp_path / "FPS-5" / name / f"{i:05d}_id.png", 255)
    code, _, lines = make(run, tmp_path / "FPS-5", tmp_path / "train", "--preset", "gta_im", *SIZE)
    assert code == 0 and lines[-1] == "2 sources: made 4, kept 0, skipped 0"
    dated = ["2020-06-04-21-36-45", "2020-06-09-17-14-03"]
    assert frames_of(tmp_path / "train") == [
        (name, list(range(i, i + 5))) for name in dated for i in (0, 5)
    ]
    records, bad = scan_records(tmp_path / "train")
    assert (
        not bad
        and {record.size for record in records} == {(36, 64)}
        and not any(record.has("M") for record in records)
    )
    assert sorted(map(greys, records)) == [
        [0, 10, 20, 30, 40], [1, 11, 21, 31, 41], [50, 60, 70, 80, 90], [51, 61, 71, 81, 91]
    ]  # fmt: skip
    assert all(record.path.name.startswith("p_gta_im_") for record in records)


def test_sun3d_takes_every_third_frame_in_fives(run, tmp_path):
    for i in range(30):
        write_picture(
            tmp_path / "s" / "hotel" / "room1" / "image" / f"{i + 1:07d}-000000{i:06d}.jpg", 8 * i
        )
        write_picture(
            tmp_path / "s" / "hotel" / "room1" / "depth" / f"{i + 1:07d}-000000{i:06d}.png", 255
        )
    assert make(run, tmp_path / "s", tmp_path / "train", "--preset", "sun3d", *SIZE)[0] == 0
    assert frames_of(tmp_path / "train") == [
        ("hotel/room1/image", [0, 3, 6, 9, 12]),
        ("hotel/room1/image", [15, 18, 21, 24, 27]),
    ]


def test_thumos14_takes_four_random_fives_and_leaves_make_up_out(run, tmp_path):
    for name in (
        "v_Archery_g01_c01.mp4",
        "v_ApplyLipstick_g01_c01.mp4",
        "ApplyEyeMakeup/video_validation_0000001.mp4",
    ):
        write_clip(tmp_path / "v" / name, 60)
    code, _, lines = make(run, tmp_path / "v", tmp_path / "train", "--preset", "thumos14", *SIZE)
    assert code == 0 and lines[-1] == "1 sources: made 4, kept 0, skipped 0"
    rows = frames_of(tmp_path / "train")
    assert {source for source, _ in rows} == {"v_Archery_g01_c01.mp4"}
    starts = sorted(frames[0] for _, frames in rows)
    assert all(
        frames == list(range(frames[0], frames[0] + 5)) and frames[-1] < 60 for _, frames in rows
    )
    assert len(set(starts)) == 4 and min(np.diff(starts)) >= 5 and starts != [0, 5, 10, 15]


def test_mit_indoor_moves_stills_of_twelve_rooms(run, tmp_path):
    for category in ("kitchen", "office", "airport_inside", "restaurant_kitchen"):
        write_picture(tmp_path / "Images" / category / "a.jpg", 100, (120, 160))
    assert len(ROOMS) == 12
    code, _, lines = make(
        run, tmp_path / "Images", tmp_path / "train", "--preset", "mit_indoor", *SIZE
    )
    assert code == 0
    # the same picture is one record
    assert [source for source, _ in frames_of(tmp_path / "train")] == ["kitchen/a.jpg"]
    write_picture(tmp_path / "Images" / "office" / "a.jpg", 101, (120, 160))
    make(run, tmp_path / "Images", tmp_path / "train", "--preset", "mit_indoor", *SIZE)
    assert [source for source, _ in frames_of(tmp_path / "train")] == [
        "kitchen/a.jpg",
        "office/a.jpg",
    ]
    for record in scan_records(tmp_path / "train")[0]:
        frames = read_plane(record, "C", record.numbers).astype(float)
        assert len(frames) == 5
        assert frames.min() >= 94 and frames.max() <= 107  # 5 % of light, and no black border
        assert len({round(frame.mean()) for frame in frames}) > 1


def test_stills_turn_and_move_within_their_bounds():
    """Three dots tell how each frame was turned and moved."""
    picture = np.zeros((720, 1280, 3), np.uint8)
    dots = np.array([[640, 360], [840, 360], [640, 560]])
    for x, y in dots:
        cv2.circle(picture, (int(x), int(y)), 12, (255, 255, 255), -1)
    frames = wobble(picture, PRESETS["mit_indoor"], (360, 640), generator_for("test", 1))
    turns, shifts = [], []
    for frame in frames:
        _, _, _, middles = cv2.connectedComponentsWithStats((frame[..., 0] > 128).astype(np.uint8))
        found = middles[1:4]
        middle = found[np.argmin(np.linalg.norm(found - [319.5, 179.5], axis=1))]
        right = found[np.argmax(found[:, 0])]
        turns.append(np.degrees(np.arctan2(*(right - middle)[::-1])))
        shifts.append(middle - [319.5, 179.5])
    assert 0.2 < np.abs(turns).max() <= 2.1 and np.std(turns) > 0.1
    assert 1 < np.abs(shifts).max() <= 10.6 and np.std(shifts) > 1


@pytest.mark.parametrize("size", [(40, 60), (200, 300), (1000, 700)])
def test_no_border_of_a_still_shows(size):
    picture = np.full((*size, 3), 200, np.uint8)
    for edge in (picture[:1], picture[-1:], picture[:, :1], picture[:, -1:]):
        edge[:] = 0
    preset = FramesPreset(seq=40, max_brightness=0)
    assert wobble(picture, preset, (72, 128), generator_for("t", 2)).min() > 150


def test_groups_by_hand():
    preset = FramesPreset(seq=3, step=2, skip_interval=1)
    assert plan_groups(16, preset, seed=1, file_hash="a") == [[0, 2, 4], [7, 9, 11]]
    assert plan_groups(4, preset, seed=1, file_hash="a") == []
    assert plan_groups(19, preset, seed=1, file_hash="a")[-1] == [14, 16, 18]


def test_fit_takes_the_middle():
    picture = np.zeros((100, 400, 3), np.uint8)
    picture[:, 100:300] = 255
    assert fit(picture, (50, 100)).min() == 255
    assert fit(picture, (200, 400)).shape == (200, 400, 3)


@pytest.mark.parametrize(
    "name",
    [
        "{}_v2.png",
        "shot_{}_4k.png",
        "take{}_0.png",
        "{:04d}.png",
        "{}.7.png",
        "frame {} of 12.png",
        "s2e10_{:03d}.png",
    ],
)
def test_pictures_come_by_the_number_that_differs(run, tmp_path, name):
    for i in range(1, 13):
        write_picture(tmp_path / "v" / name.format(i), 20 * i)
    code, _, lines = make(run, tmp_path / "v", tmp_path / "train", "--seq", "12", *SIZE)
    assert code == 0 and not any("v: " in line for line in lines)
    (record,) = scan_records(tmp_path / "train")[0]
    assert greys(record) == [20 * i for i in range(1, 13)]


@pytest.mark.parametrize(
    "names, problem",
    [
        (
            ["t1_0.png", "t1_1.png", "t2_0.png", "t10_0.png"],
            "t10_0.png and t1_0.png have one number: remove one of them",
        ),
        (
            ["a.png", "a1.png", "a2.png", "a10.png"],
            "a.png has no number: give it one, or put it elsewhere",
        ),
    ],
)
def test_where_numbers_do_not_tell_names_do_and_it_is_said(run, tmp_path, names, problem):
    for i, name in enumerate(names):
        write_picture(tmp_path / "v" / name, 20 * i)
    code, _, lines = make(run, tmp_path / "v", tmp_path / "train", "--seq", "4", *SIZE)
    assert code == 0
    assert (
        f"{tmp_path / 'v'}: {problem}: its pictures are taken in the order of their names" in lines
    )
    (record,) = scan_records(tmp_path / "train")[0]
    assert greys(record) == [0, 20, 40, 60]


HUGE = 10**25


@pytest.mark.parametrize(
    "numbers, seq, records, said",
    [
        (
            [1, 3, 4, 5],
            2,
            [[4, 5]],
            "pictures are missing before the number 3: no record goes across",
        ),
        (
            [1, 2, 3, 4, 6, 7, 9, 10, 11],
            3,
            [[1, 2, 3], [9, 10, 11]],
            "before the number 6 and before 1 more: no record goes",
        ),
        (
            [0, 5, 10, 20, 25, 30],
            2,
            [[0, 5], [25, 30]],
            "pictures are missing before the number 20: no record goes across",
        ),
        (
            [HUGE, HUGE + 1, HUGE + 2, HUGE + 9],
            2,
            [[0, 1]],
            f"before the number {HUGE + 9}: no record goes across",
        ),
        ([0, 5, 10, 15], 4, [[0, 5, 10, 15]], None),
        ([0, 33, 66, 100, 133, 166], 3, [[0, 33, 66], [100, 133, 166]], None),  # milliseconds
        (
            [11, 31, 52, 70],
            4,
            [[11, 31, 52, 70]],
            "come in uneven steps: none is taken to be missing",
        ),
    ],
)
def test_no_record_goes_across_a_gap_in_the_numbers(run, tmp_path, numbers, seq, records, said):
    for i in numbers:
        write_picture(tmp_path / "v" / f"{i}_v2.png", i % HUGE)
    code, _, lines = make(run, tmp_path / "v", tmp_path / "train", "--seq", str(seq), *SIZE)
    assert code == 0
    assert sorted(greys(record) for record in scan_records(tmp_path / "train")[0]) == records
    told = [line for line in lines if line.startswith(f"{tmp_path / 'v'}: ")]
    assert len(told) == (said is not None) and all(said in line for line in told)
    num_lost = len(numbers) // seq - len(records)
    assert ("missing frames" in lines[-1]) == bool(
        num_lost
    ) and f"made {len(records)}, kept 0, skipped {num_lost}" in lines[-1]


def test_cuts_short_sources_and_bad_pictures_are_skipped_and_said(run, tmp_path):
    write_clip(tmp_path / "v" / "cut.mp4", 30, cut_at=13)
    write_clip(tmp_path / "v" / "short.mp4", 6)
    for i in range(20):
        write_picture(tmp_path / "v" / "walk" / f"{i}.png", 5 * i)
    (tmp_path / "v" / "walk" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\nnot all of it")
    code, _, lines = make(run, tmp_path / "v", tmp_path / "train", "--seq", "10", *SIZE)
    assert code == 0
    assert (
        lines[-1]
        == "3 sources: made 3, kept 0, skipped 3 (1 scene cut, 1 too short, 1 unreadable picture)"
    )
    assert any("3.png can't be read" in line for line in lines)
    assert frames_of(tmp_path / "train") == [
        ("cut.mp4", list(range(0, 10))),
        ("cut.mp4", list(range(20, 30))),
        ("walk", list(range(10, 20))),
    ]


def test_a_second_run_makes_only_what_is_missing_and_workers_change_nothing(run, tmp_path):
    for i in range(24):
        write_picture(tmp_path / "v" / "walk" / f"{i}.png", 5 * i)
    make(run, tmp_path / "v", tmp_path / "one" / "train", "--seq", "6", "--max-workers", "1", *SIZE)
    make(
        run, tmp_path / "v", tmp_path / "four" / "train", "--seq", "6", "--max-workers", "4", *SIZE
    )
    one, four = (sorted((tmp_path / name / "train").rglob("*.*")) for name in ("one", "four"))
    assert [p.name for p in one] == [p.name for p in four] and all(
        a.read_bytes() == b.read_bytes() for a, b in zip(one, four)
    )
    records = sorted((tmp_path / "one" / "train").iterdir())
    assert len(records) == 4
    shutil.rmtree(records[1])
    (tmp_path / "one" / "eval").mkdir()
    records[2].rename(tmp_path / "one" / "eval" / records[2].name)
    code, _, lines = make(run, tmp_path / "v", tmp_path / "one" / "train", "--seq", "6", *SIZE)
    assert code == 0 and lines[-1] == "1 sources: made 1, kept 3, skipped 0"
    code, _, lines = make(
        run, tmp_path / "v", tmp_path / "one" / "train", "--seq", "6", "--size", "32x64"
    )
    assert (
        code == 1
        and "was made with size 36x64, this run asks for 32x64: use another --prefix" in lines[-1]
    )


@pytest.mark.parametrize(
    "cut, kept", [(1, [5, 10, 15]), (5, [0, 5, 10, 15]), (18, [0, 5, 10]), (19, [0, 5, 10])]
)
def test_a_cut_is_found_up_to_the_ends_of_a_video(run, tmp_path, cut, kept):
    write_clip(tmp_path / "cut.mp4", 20, cut_at=cut)
    assert make(run, tmp_path / "cut.mp4", tmp_path / "train", "--seq", "5", *SIZE)[0] == 0
    assert sorted(frames[0] for _, frames in frames_of(tmp_path / "train")) == kept


def test_records_below_the_pictures_are_no_pictures(run, tmp_path):
    for i in range(8):
        write_picture(tmp_path / "walk" / f"{i}.png", 5 * i)
    for command, more in (("frames", ["--seq", "4", *SIZE]), ("inpaint", ["--size", "64"])):
        _, _, first = make(run, tmp_path, tmp_path / command, *more, command=command)
        (tmp_path / command / ".partial-left").mkdir()
        write_picture(tmp_path / command / ".partial-left" / "0000_C.png", 7)
        code, _, second = make(run, tmp_path, tmp_path / command, *more, command=command)
        assert (
            code == 0
            and "made 0" in second[-1]
            and second[-1].split(":")[0] == first[-1].split(":")[0]
        )


def test_one_picture_and_one_category(run, tmp_path):
    write_picture(tmp_path / "kitchen" / "a.jpg", 100, (120, 160))
    code, _, lines = make(run, tmp_path / "kitchen" / "a.jpg", tmp_path / "one", "--stills", *SIZE)
    assert code == 0 and lines[-1] == "1 sources: made 1, kept 0, skipped 0"
    code, _, lines = make(
        run, tmp_path / "kitchen", tmp_path / "two", "--preset", "mit_indoor", *SIZE
    )
    assert code == 0 and lines[-1] == "1 sources: made 1, kept 0, skipped 0"


@pytest.mark.parametrize(
    "more, message",
    [
        (
            ["--preset", "gta_im"],
            "0 videos and 1 pictures, none in such a place; looked for GTA-IM: folders named by",
        ),
        (
            ["--preset", "thumos14"],
            "it holds 0 videos and 1 pictures, none in such a place; looked for THUMOS14: videos",
        ),
        (
            ["--preset", "nothing"],
            "--preset nothing is not known: choose one of gta_im, mit_indoor, sun3d, thumos14",
        ),
        (
            ["--include", "other"],
            "0 videos and 1 pictures, none in such a place; looked for videos or folders of",
        ),
        (
            ["--size", "big"],
            "--size big is no size: write height x width in pixels, such as 360x640",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(run, tmp_path, more, message):
    write_picture(tmp_path / "v" / "walk" / "1.jpg", 5)
    code, _, lines = make(run, tmp_path / "v", tmp_path / "train", *more)
    assert code == 1 and message in lines[-1] and lines[-1].startswith("error: ")


def test_pictures_become_records_of_one_frame(run, tmp_path):
    rng = np.random.default_rng(0)
    for i, size in enumerate([(100, 150), (64, 64), (30, 40)]):
        path = tmp_path / "pictures" / f"deep{i}" / f"{i}.png"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), rng.integers(1, 255, (*size, 3), dtype=np.uint8))
    write_clip(tmp_path / "pictures" / "clip.mp4", 25)
    (tmp_path / "pictures" / "bad.jpg").write_bytes(b"no picture")
    more = ["--size", "64", "--num-samples", "2"]
    code, _, lines = make(run, tmp_path / "pictures", tmp_path / "train", *more, command="inpaint")
    # two crops of three pictures and of three seconds of the video
    assert code == 0 and lines[-1] == "5 files: made 12, kept 0, left out 1"
    records, bad = scan_records(tmp_path / "train")
    assert len(records) == 12 and not bad
    for record in records:
        assert (
            len(record) == 1 and record.size == (64, 64) and record.path.name.startswith("p_image_")
        )
        assert 0.04 <= read_plane(record, "M", record.numbers).mean() <= 0.20
    assert {json.loads((r.path / "record.json").read_text())["holes"] for r in records} <= {
        "rectangle",
        "strokes",
        "object",
    }
    before = {path: path.read_bytes() for path in (tmp_path / "train").rglob("*.png")}
    shutil.rmtree(records[3].path)
    code, _, lines = make(
        run,
        tmp_path / "pictures",
        tmp_path / "train",
        *more,
        "--max-workers",
        "4",
        command="inpaint",
    )
    assert code == 0 and lines[-1] == "5 files: made 1, kept 11, left out 1"
    assert {path: path.read_bytes() for path in (tmp_path / "train").rglob("*.png")} == before


@pytest.mark.parametrize("workers", ["1", "4"])
def test_twins_give_one_record_and_a_bad_video_stops_nothing(run, tmp_path, workers):
    write_picture(tmp_path / "v" / "a.png", 50)
    for name in "bcdefgh":
        shutil.copy(tmp_path / "v" / "a.png", tmp_path / "v" / f"{name}.png")
    (tmp_path / "v" / "bad.mp4").write_bytes(b"no video")
    more = ["--size", "64", "--max-workers", workers]
    code, _, lines = make(run, tmp_path / "v", tmp_path / "train", *more, command="inpaint")
    assert code == 0 and lines[-1] == "9 files: made 1, kept 0, left out 8"
    (record,) = (tmp_path / "train").iterdir()
    assert json.loads((record / "record.json").read_text())["source"] == "a.png"
    code, _, lines = make(
        run, tmp_path / "v" / "bad.mp4", tmp_path / "none", *more, command="inpaint"
    )
    assert code == 1 and "none of its 1 files gave a record" in lines[-1]


def test_a_second_run_reads_no_finished_picture(run, tmp_path, monkeypatch):
    write_picture(tmp_path / "v" / "a.png", 50)
    assert make(run, tmp_path / "v", tmp_path / "train", "--size", "64", command="inpaint")[0] == 0
    monkeypatch.setattr("inpaint.generate_images.read_rgb", lambda path: pytest.fail("read again"))
    code, _, lines = make(
        run, tmp_path / "v", tmp_path / "train", "--size", "64", command="inpaint"
    )
    assert code == 0 and lines[-1] == "1 files: made 0, kept 1, left out 0"


@pytest.mark.slow
def test_one_frame_records_train_with_a_batch_size(run, tmp_path):
    from inpaint.commands import TRAIN

    rng = np.random.default_rng(0)
    for half in ("train", "eval"):
        (tmp_path / half).mkdir()
        for i in range(2):
            cv2.imwrite(
                str(tmp_path / half / f"{i}.png"), rng.integers(1, 255, (80, 80, 3), dtype=np.uint8)
            )
        assert (
            make(run, tmp_path / half, tmp_path / "data" / half, "--size", "64", command="inpaint")[
                0
            ]
            == 0
        )
    words = [
        "-i",
        tmp_path / "data",
        "--model-dir",
        tmp_path / "m",
        "--arch",
        "memory_dstt_v1_tiny",
        "--tile-size",
        "48",
    ]
    words += ["--batch-size", "2", "--num-samples", "4", "--max-epoch", "1", "--gpu", "-1"]
    assert run(TRAIN, "inpaint", *words)[0] == 0
    assert (tmp_path / "m" / "inpaint.memory_dstt_v1_tiny.pth").exists()


@pytest.mark.parametrize(
    "more, message",
    [
        (
            ["--mask", "occlusion"],
            "--mask occlusion: pictures have no occlusion: choose from rectangle, strokes, "
            "object, strips",
        ),
        (
            [],
            "holds neither .bmp .jpeg .jpg .png .tif .tiff .webp nor a video: choose another "
            "folder",
        ),
    ],
)
def test_bad_pictures_input_is_one_line(run, tmp_path, more, message):
    code, _, lines = make(run, tmp_path, tmp_path / "train", *more, command="inpaint")
    assert code == 1 and message in lines[-1]


def test_a_record_is_whole_or_without_masks(tmp_path):
    from nunif.records import BadRecord, write_record

    frames = np.zeros((3, 16, 16, 3), np.uint8)
    write_record(tmp_path / "a", {"C": frames}, {})
    assert not open_record(tmp_path / "a", PLANES).has("M")
    with pytest.raises(BadRecord, match="it has no masks"):
        read_plane(open_record(tmp_path / "a", PLANES), "M", ("0000",))
    write_record(tmp_path / "b", {"C": frames, "M": np.ones((3, 16, 16), bool)}, {})
    assert open_record(tmp_path / "b", PLANES).has("M")
    (tmp_path / "b" / "0001_M.png").unlink()
    with pytest.raises(BadRecord, match="0001_M.png is missing"):
        open_record(tmp_path / "b", PLANES)


@pytest.mark.parametrize(
    ("command", "more"),
    [("frames", ["--seq", "4", *SIZE]), ("inpaint", ["--size", "64", "--every", "0.01"])],
)
@pytest.mark.parametrize(
    ("color", "share", "transfer"),
    [(PQ, WHITE_OF_PQ, "smpte2084"), (HLG, WHITE_OF_HLG, "arib-std-b67"), (BT709, 0.9, "bt709")],
)
def test_hdr_films_give_sdr_records_that_say_so(
    run, tmp_path, command, more, color, share, transfer
):
    write_levels(tmp_path / "film.mkv", level(share), color)
    code, _, lines = make(run, tmp_path / "film.mkv", tmp_path / "out", *more, command=command)
    assert code == 0 and bool([line for line in lines if "tone-mapped to SDR" in line]) == (
        transfer != "bt709"
    )
    records, _ = scan_records(tmp_path / "out")
    assert records
    for record in records:
        info = json.loads((record.path / "record.json").read_text())
        assert info["transfer"] == transfer and ("tone_mapped" in info["options"]) == (
            transfer != "bt709"
        )
        assert all(
            np.abs(frame.astype(int) - 230).max() <= 2
            for frame in read_plane(record, "C", record.numbers)
        )
    assert make(run, tmp_path / "film.mkv", tmp_path / "out", *more, command=command)[0] == 0


def test_records_of_an_hdr_film_made_without_tone_mapping_are_not_mixed_in(run, tmp_path):
    write_levels(tmp_path / "film.mkv", level(WHITE_OF_PQ), PQ)
    assert make(run, tmp_path / "film.mkv", tmp_path / "out", "--seq", "4", *SIZE)[0] == 0
    path = next((tmp_path / "out").rglob("record.json"))
    info = json.loads(path.read_text())
    del info["options"]["tone_mapped"]
    path.write_text(json.dumps(info))
    code, _, lines = make(run, tmp_path / "film.mkv", tmp_path / "out", "--seq", "4", *SIZE)
    assert code != 0 and "was made with tone_mapped None" in lines[-1]


@pytest.mark.parametrize("command", ["frames", "inpaint"])
def test_all_shares_give_what_one_process_gives(run, tmp_path, command):
    """By films and by their clips, in any order, and a share that is run again."""
    source = tmp_path / "films"
    for name, num_frames in (("a", 12), ("b", 21)):
        write_clip(source / f"{name}.mp4", num_frames)
    for number in range(12):
        write_picture(source / "walk" / f"{number}.png", 5 * number)
    words = ["--seq", "4", *SIZE] if command == "frames" else ["--size", "64", "--every", "0.3"]
    make(run, source, tmp_path / "one", *words, command=command)
    for by in ("film", "clip"):
        for share in (2, 0, 1, 0):
            more = [*words, "--shard", f"{share}/3", "--shard-by", by]
            code, _, lines = make(run, source, tmp_path / by, *more, command=command)
            assert code == 0 and not any("waiting" in line for line in lines), lines
        assert any("made 0, kept" in line for line in lines)  # it ran before
        assert any(line.startswith("share 0/3") for line in lines)
        assert hashes(tmp_path / by) == hashes(tmp_path / "one")
        assert len(list((tmp_path / by).iterdir())) > 3
