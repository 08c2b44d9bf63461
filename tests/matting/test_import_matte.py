"""`create_training_data.py import_matte`: every published layout, two samples each."""

import json

import cv2
import numpy as np
import pytest

from matting.coco_masks import decode_runs, draw_polygons, mask_of, unpack
from matting.commands import CREATE_TRAINING_DATA
from nunif.records import open_record, read_plane
from scene.planes import ALPHA, BEHIND, COLOUR, FOREGROUND
from tests.videos import write_clip

H, W = 40, 64  # of all pictures here


def make(run, layout, folder, out, *more):
    words = ("--layout", layout, "-i", folder, "-o", out, "--seq", 3)
    return run(CREATE_TRAINING_DATA, "import_matte", *words, *more)


def colour(number, size=(H, W)):
    """Flat, of a brightness of its own."""
    return np.full((*size, 3), 10 * number + 40, np.uint8)


def alpha(number, size=(H, W)):
    """White to the left of a column that follows from the number."""
    picture = np.zeros(size, np.uint8)
    picture[:, : 8 * number + 8] = 255
    return picture


def save(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)


def records_in(folder, *planes):
    return [open_record(path, planes) for path in sorted(folder.iterdir())]


def in_step(record, colours=FOREGROUND):
    """The numbers that the colours and the alpha of a record's frames were made of."""
    pictures = read_plane(record, colours.letter, record.numbers)
    alphas = read_plane(record, ALPHA.letter, record.numbers)
    by_colour = [round((int(np.median(p)) - 40) / 10) for p in pictures]
    by_alpha = [round(((a > 127).mean() * W - 8) / 8) for a in alphas]
    assert by_colour == by_alpha
    return by_colour


def sources_of(folder):
    return sorted(json.loads((p / "record.json").read_text())["source"] for p in folder.iterdir())


# --- foregrounds ----------------------------------------------------------------------------------


def write_videomatte(folder, suffix=".jpg"):
    for clip in ("0000", "0001"):
        start = int(clip) * 2
        for number in range(4):
            save(folder / "fgr" / clip / f"{number:05d}.jpg", colour(start + number % 4))
            save(folder / "pha" / clip / f"{number:05d}{suffix}", alpha(start + number % 4))
    return folder


def test_videomatte_as_folders_of_pictures(run, tmp_path):
    folder = write_videomatte(tmp_path / "VM", suffix=".png")
    code, _, lines = make(run, "videomatte", folder, tmp_path / "out", "--max-workers", 2)
    assert code == 0 and lines[-1] == "videomatte: made 2, kept 0, skipped 0"
    found = records_in(tmp_path / "out", FOREGROUND, ALPHA)
    assert sorted(in_step(record) for record in found) == [[0, 1, 2, 3], [2, 3, 4, 5]]
    assert all(
        record.size == (H, W) and not (record.path / "0000_C.png").exists() for record in found
    )
    assert sources_of(tmp_path / "out") == ["0000", "0001"]
    # as it stands, again; with what is missing; with other options
    kept = found[0].path / "0000_F.png"
    before = kept.stat().st_mtime_ns
    for picture in found[1].path.iterdir():
        picture.unlink()
    found[1].path.rmdir()
    code, _, lines = make(run, "videomatte", folder, tmp_path / "out")
    assert code == 0 and lines[-1] == "videomatte: made 1, kept 1, skipped 0"
    assert kept.stat().st_mtime_ns == before
    code, _, lines = make(run, "videomatte", folder, tmp_path / "out", "--size", 256)
    assert code == 1 and "was made with size 512, this run asks for 256" in lines[-1]


def test_videomatte_as_videos_which_are_divided_and_reduced(run, tmp_path):
    for clip, count in (("0000", 7), ("0001", 4)):
        for folder, picture in (("fgr", colour), ("pha", alpha)):
            (tmp_path / "VM" / folder).mkdir(parents=True, exist_ok=True)
            frames = [picture(number % 7, (2 * H, W)) for number in range(count)]
            frames = [cv2.cvtColor(f, cv2.COLOR_GRAY2RGB) if f.ndim == 2 else f for f in frames]
            path = tmp_path / "VM" / folder / f"{clip}.mkv"
            write_clip(path, frames, codec="ffv1", num_b_frames=0)
    code, _, lines = make(run, "videomatte", tmp_path / "VM", tmp_path / "out", "--size", 32)
    assert code == 0 and lines[-1] == "videomatte: made 3, kept 0, skipped 0"
    found = records_in(tmp_path / "out", FOREGROUND, ALPHA)
    assert {record.size for record in found} == {(40, 32)}
    numbers = sorted(in_step(record) for record in found)
    assert numbers == [[0, 1, 2], [0, 1, 2, 3], [3, 4, 5, 6]]


def test_imagematte(run, tmp_path):
    for name, number in (("a woman", 1), ("b", 3)):
        save(tmp_path / "IM" / "fgr" / f"{name}.jpg", colour(number))
        save(tmp_path / "IM" / "pha" / f"{name}.jpg", alpha(number))
    code, _, lines = make(run, "imagematte", tmp_path / "IM", tmp_path / "out")
    assert code == 0 and lines[-1] == "imagematte: made 2, kept 0, skipped 0"
    found = records_in(tmp_path / "out", FOREGROUND, ALPHA)
    assert sorted(in_step(record) for record in found) == [[1], [3]]
    assert sources_of(tmp_path / "out") == ["a woman", "b"]
    for folder, picture in (("fgr", colour(3)), ("pha", alpha(3))):
        save(tmp_path / "IM" / folder / "b again.jpg", picture)
    code, _, lines = make(run, "imagematte", tmp_path / "IM", tmp_path / "out")
    assert code == 0
    assert lines[-1] == "imagematte: made 0, kept 2, skipped 1 (1 of the same content as another)"


@pytest.mark.parametrize(
    "take, text",
    [
        ("pha/0001/00002.jpg", "fgr/0001/00002.jpg has no partner in {VM}/pha/0001: copy it there"),
        ("fgr/0001/00003.jpg", "pha/0001/00003.jpg has no partner in {VM}/fgr/0001: copy it there"),
        ("pha/0001", "fgr/0001 has no partner in {VM}/pha: copy it there, or move the other away"),
        ("fgr/0001", "pha/0001 has no partner in {VM}/fgr: copy it there, or move the other away"),
    ],
)
def test_what_has_no_partner_is_named_and_the_rest_is_imported(run, tmp_path, take, text):
    folder = write_videomatte(tmp_path / "VM")
    (folder / take).rename(tmp_path / "taken")
    code, _, lines = make(run, "videomatte", folder, tmp_path / "out")
    assert code == 1
    assert lines[-3].startswith("error: ") and text.format(VM=folder) in lines[-3]
    assert lines[-2] == "videomatte: made 1, kept 0, skipped 0"
    assert lines[-1] == "error: 1 of 2 sources failed; the others are finished"


def test_planes_that_do_not_fit_each_other(run, tmp_path):
    folder = write_videomatte(tmp_path / "VM")
    save(folder / "pha" / "0000" / "00003.jpg", alpha(3, (W, H)))
    torn = folder / "fgr" / "0001" / "00001.jpg"
    torn.write_bytes(b"no picture")
    code, _, lines = make(run, "videomatte", folder, tmp_path / "out")
    assert code == 1
    assert "error: 0000: alpha 3 is 40x64, others are 64x40: make all of one size" in lines
    assert any(line.startswith(f"error: {torn} can't be read (") for line in lines)
    assert list((tmp_path / "out").glob("[!.]*")) == []


# --- backgrounds ----------------------------------------------------------------------------------


def test_backgrounds_are_pictures_folders_and_videos(run, tmp_path):
    folder = tmp_path / "BG"
    for name, number in (("one.jpg", 1), ("two.png", 2)):
        save(folder / name, colour(number))
    for number in range(4):
        save(folder / "street" / f"{number:04d}.jpg", colour(number))
    write_clip(folder / "sea.mkv", [colour(9 - i) for i in range(3)], codec="ffv1", num_b_frames=0)
    (folder / "LICENCE").write_text("free")
    code, _, lines = make(run, "background", folder, tmp_path / "out")
    assert code == 0 and lines[-1] == "background: made 4, kept 0, skipped 0"
    assert any("left out 1 that are nothing of this layout, LICENCE the first" in x for x in lines)
    found = records_in(tmp_path / "out", BEHIND)
    assert sorted(len(record) for record in found) == [1, 1, 3, 4]
    assert {record.letters for record in found} == {("B",)}


# --- masks of people ------------------------------------------------------------------------------


def test_spd(run, tmp_path):
    for name, number in (("ds1_x", 1), ("ds2_y", 3)):
        save(tmp_path / "SPD" / "img" / f"{name}.png", colour(number))
        save(tmp_path / "SPD" / "seg" / f"{name}.png", alpha(number) // (255 if number == 1 else 1))
    code, _, lines = make(run, "spd", tmp_path / "SPD", tmp_path / "out")
    assert code == 0 and lines[-1] == "spd: made 2, kept 0, skipped 0"
    found = records_in(tmp_path / "out", COLOUR, ALPHA)
    assert sorted(in_step(record, COLOUR) for record in found) == [[1], [3]]
    # names that say nothing: in their order
    for number, name in enumerate(("ds1_x", "ds2_y")):
        (tmp_path / "SPD" / "seg" / f"{name}.png").rename(
            tmp_path / "SPD" / "seg" / f"{number}.png"
        )
    code, _, lines = make(run, "spd", tmp_path / "SPD", tmp_path / "out")
    assert code == 0 and lines[-1] == "spd: made 0, kept 2, skipped 0"
    (tmp_path / "SPD" / "seg" / "1.png").unlink()
    code, _, lines = make(run, "spd", tmp_path / "SPD", tmp_path / "out")
    assert code == 1 and any("img/ds1_x.png has no partner in" in line for line in lines)


def runs_of(mask):
    """COCO's lengths of runs, counted pixel by pixel."""
    counts, value = [0], 0
    for pixel in mask.T.ravel() > 0:
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


def pack(counts):
    """COCO's text form of lengths, one character after the other."""
    text = ""
    for place, count in enumerate(counts):
        number = count - (counts[place - 2] if place > 2 else 0)
        more = True
        while more:
            bits, number = number & 31, number >> 5
            more = number != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
    return text


CATEGORIES = [
    {"id": 1, "name": "person"},
    {"id": 2, "name": "dog"},
    {"id": 27, "name": "backpack"},
]


def write_coco(folder):
    """Four pictures: a person as polygons and a backpack; a crowd as runs, and a packed person; a
    dog; nothing."""
    for number in range(4):
        save(folder / "train2017" / f"{number}.jpg", colour(number))
    images = [{"id": n, "file_name": f"{n}.jpg", "height": H, "width": W} for n in range(4)]
    top, below = alpha(1), alpha(1)
    top[H // 2 :], below[: H // 2] = 0, 0
    crowd = {"counts": runs_of(top), "size": [H, W]}
    packed = {"counts": pack(runs_of(below)), "size": [H, W]}
    entries = [
        (0, 1, [[0, 0, 4, 0, 4, H, 0, H], [3, 0, 6, 0, 6, H, 3, H]], 0),
        (0, 27, [[6, 0, 8, 0, 8, H, 6, H]], 0),
        (0, 2, [[0, 0, W, 0, W, H, 0, H]], 0),
        (1, 1, crowd, 1),
        (1, 1, packed, 0),
        (2, 2, [[0, 0, 9, 0, 9, 9]], 0),
    ]
    names = ("image_id", "category_id", "segmentation", "iscrowd")
    annotations = [dict(zip(names, entry)) for entry in entries]
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    return images


def test_coco_by_polygons_and_runs(run, tmp_path):
    write_coco(tmp_path / "COCO")
    code, _, lines = make(run, "coco", tmp_path / "COCO", tmp_path / "out")
    assert code == 0
    assert lines[-1] == "coco: made 2, kept 0, skipped 2 (2 without a person)"
    found = records_in(tmp_path / "out", COLOUR, ALPHA)
    assert sorted(in_step(record, COLOUR) for record in found) == [[0], [1]]
    for record in found:
        assert set(np.unique(read_plane(record, "A", record.numbers))) == {0, 255}


def test_coco_by_panoptic_pictures(run, tmp_path):
    folder = tmp_path / "COCO"
    images = write_coco(folder)
    entries = []
    for number in range(2):
        segments = np.full((H, W), 300 + number)  # a dog
        segments[:, :4] = 70000  # a person
        segments[:, 4 : 8 * number + 8] = 70001  # their backpack
        rgb = np.stack([segments % 256, segments // 256 % 256, segments // 65536], -1)
        save(
            folder / "annotations" / "panoptic_train2017" / f"{number}.png",
            rgb[..., ::-1].astype(np.uint8),
        )
        info = [(300 + number, 2), (70000, 1 if number == 0 else 2), (70001, 27)]
        parts = [{"id": number_, "category_id": category} for number_, category in info]
        entries.append({"image_id": number, "file_name": f"{number}.png", "segments_info": parts})
    content = {"images": images, "annotations": entries, "categories": CATEGORIES}
    (folder / "annotations" / "panoptic_train2017.json").write_text(json.dumps(content))
    code, _, lines = make(run, "coco", folder, tmp_path / "out")
    assert code == 0 and lines[-1] == "coco: made 1, kept 0, skipped 1 (1 without a person)"
    assert "panoptic_train2017.json is taken, instances_train2017.json is not" in lines
    (record,) = records_in(tmp_path / "out", COLOUR, ALPHA)
    assert in_step(record, COLOUR) == [0]


def write_youtubevis(folder):
    """Two clips with persons, one of whom leaves, and one with a dog."""
    videos, annotations = [], []
    for clip in range(3):
        names = [f"clip{clip}/{5 * number:05d}.jpg" for number in range(4)]
        for number, name in enumerate(names):
            save(folder / "JPEGImages" / name, colour(number))
        videos.append({"id": clip + 7, "file_names": names, "height": H, "width": W})
        tracks = [[], []]
        for number in range(4):
            whole, left = alpha(number), np.zeros((H, W), np.uint8)
            left[:, :4] = whole[:, :4]
            tracks[0].append({"counts": runs_of(whole - left), "size": [H, W]})
            tracks[1].append({"counts": runs_of(left), "size": [H, W]})
        if clip == 1:
            tracks[1][3] = None
        for track in tracks:
            category = 26 if clip < 2 else 2
            annotations.append(
                {"video_id": clip + 7, "category_id": category, "segmentations": track}
            )
    categories = [{"id": 2, "name": "dog"}, {"id": 26, "name": "person"}]
    content = {"videos": videos, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))
    return content


def test_youtubevis(run, tmp_path):
    write_youtubevis(tmp_path / "YTVIS")
    code, _, lines = make(run, "youtubevis", tmp_path / "YTVIS", tmp_path / "out")
    assert code == 0
    assert lines[-1] == "youtubevis: made 2, kept 0, skipped 1 (1 without a person)"
    found = records_in(tmp_path / "out", COLOUR, ALPHA)
    assert len(found) == 2 and all(len(record) == 4 for record in found)
    gone = 0
    for record in found:
        masks = read_plane(record, "A", record.numbers)
        assert [round((m > 0).mean() * W) for m in masks[:3]] == [8, 16, 24]
        gone += int((masks[3] > 0).mean() * W == 28)
    assert gone == 1


@pytest.mark.parametrize(
    "layout, change, text",
    [
        ("videomatte", "", "has no folder fgr/: check the path"),
        ("videomatte", "train/fgr", "train: "),
        ("imagematte", "fgr pha", "holds no pictures in fgr/ and pha/; clips are --layout"),
        ("background", "", "holds no pictures, folders of pictures or videos"),
        ("coco", "", "has no panoptic_*.json and no instances_*.json, there or in annotations/"),
        ("youtubevis", "JPEGImages", "has no instances.json: put the list of its clips there"),
    ],
)
def test_a_folder_of_another_layout(run, tmp_path, layout, change, text):
    folder = tmp_path / "data"
    folder.mkdir()
    for part in change.split():
        (folder / part).mkdir(parents=True)
    code, _, lines = make(run, layout, folder, tmp_path / "out")
    assert code == 1
    if text == "train: ":
        assert lines[-1] == f"error: -i {folder} has no folder fgr/: name one of {folder / 'train'}"
    else:
        assert text in lines[-1]
    assert not (tmp_path / "out").exists()


def test_lists_that_are_wrong(run, tmp_path):
    folder = tmp_path / "YTVIS"
    content = write_youtubevis(folder)
    content["annotations"][0]["segmentations"][1]["counts"][0] += 1
    del content["videos"][1]["height"]
    (folder / "instances.json").write_text(json.dumps(content))
    code, _, lines = make(run, "youtubevis", folder, tmp_path / "out")
    assert code == 1
    assert lines[-1].endswith(
        "instances.json can't be used (an entry has no 'height'): mend the list"
    )
    content["videos"][1]["height"] = H
    (folder / "JPEGImages" / content["videos"][1]["file_names"][2]).unlink()
    (folder / "instances.json").write_text(json.dumps(content))
    code, _, lines = make(run, "youtubevis", folder, tmp_path / "out")
    assert code == 1
    text = "error: instances.json, clip0: the runs of its mask don't add up to the 2560 pixels"
    assert any(line.startswith(text) for line in lines)
    assert any(
        "clip1/00010.jpg is missing: copy it there" in x or "00010.jpg can't" in x for x in lines
    )


# --- masks ----------------------------------------------------------------------------------------


def test_runs_as_text():
    # a published example: the lengths 6 1 40 4 5 4 5 4 21
    assert unpack("61X13mN000`0").tolist() == [6, 1, 40, 4, 5, 4, 5, 4, 21]
    rng = np.random.default_rng(0)
    for size in ((1, 1), (7, 5), (200, 300)):
        mask = rng.random(size) < rng.random()
        mask[: size[0] // 2] = size[0] > 100
        counts = runs_of(mask)
        assert np.array_equal(decode_runs(counts, size), mask)
        assert unpack(pack(counts)).tolist() == counts
        assert np.array_equal(mask_of({"counts": pack(counts).encode(), "size": size}, size), mask)
    for wrong in ("", "q", "\x10", "é"):
        with pytest.raises(ValueError, match="no packed runs"):
            unpack(wrong)


def test_polygons():
    square = draw_polygons([[1, 1, 5, 1, 5, 3, 1, 3]], (6, 8))
    assert square.sum() == 8 and square[1:3, 1:5].all()
    both = draw_polygons([[0, 0, 4, 0, 4, 4, 0, 4], [2, 0, 6, 0, 6, 4, 2, 4]], (6, 8))
    assert both[:4, :6].all() and both.sum() == 24  # overlapping parts are no hole
    rows, columns = np.mgrid[0:80, 0:80] + 0.5
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    points = np.stack([40.3 + 25.7 * np.cos(angles), 38.6 + 25.7 * np.sin(angles)], -1)
    disc = draw_polygons([points.ravel().tolist()], (80, 80))
    truth = (columns - 40.3) ** 2 + (rows - 38.6) ** 2 < 25.7**2
    assert (disc != truth).mean() < 0.004
    with pytest.raises(ValueError, match="no polygon"):
        draw_polygons([[1, 2, 3]], (6, 8))
    with pytest.raises(ValueError, match="its mask is 8x6, its picture 9x6"):
        mask_of({"counts": [48], "size": [6, 8]}, (6, 9))
