"""`create_training_data.py layers`: records of films that were taken apart.

Axes: T frames, H W pixels.
"""

import shutil

import cv2
import numpy as np

from layers.commands import CREATE_TRAINING_DATA
from nunif.image import encode_grey
from nunif.records import open_record, read_info, read_plane
from scene.planes import PLANES
from tests.layers.test_split import LOSSLESS, H, W, write_masks, write_objects
from tests.videos import shots, write_clip

SIZE = ("--size", 32, "--gpu", -1, "--max-workers", 1)


def make(run, *words, code=0):
    got, _, lines = run(CREATE_TRAINING_DATA, "layers", *words, *SIZE)
    assert got == code, lines
    return lines


def planes_of(path):
    letters = {file.name.partition("_")[2][0] for file in path.glob("*.png")}
    planes = [plane for letter, plane in PLANES.items() if letter in letters]
    record = open_record(path, planes)
    return {one: read_plane(record, one, record.numbers) for one in record.letters}


def test_planes_add_up_to_the_film_and_nothing_is_made_twice(run, tmp_path):
    """Nobody in the first of two shots, two people as one and a thing before them in the second."""
    film = tmp_path / "film.mkv"
    frames = shots(lengths=(12, 12), height=H, width=W)
    write_clip(film, frames, **LOSSLESS, pixel_format="bgr0")
    objects = write_objects(tmp_path / "objects", num=24)
    things = write_masks(tmp_path / "things", num=24)
    nothing = encode_grey(np.zeros((H, W), np.uint8))
    for number in range(12):
        (objects / f"{number:04d}.png").write_bytes(nothing)
        (things / f"{number:04d}.png").write_bytes(nothing)
    out = tmp_path / "data" / "train"
    words = ("-i", film, "--masks", objects, "--objects", "1,2", "--occluders", things)
    words += ("-o", out, "--prefix", "a", "--seq", 5)
    lines = make(run, *words)
    assert lines[-1] == "layers: made 4, 2 of them without anybody, kept 0"
    names = sorted(path.name for path in out.iterdir())
    assert [name[:9] + name[-6:] for name in names] == [
        f"a_layers_{start:06d}" for start in (0, 5, 12, 17)
    ]
    assert [len(planes_of(out / name)["C"]) for name in names] == [5, 7, 5, 7]
    for name in names:
        planes = planes_of(out / name)
        assert planes["C"].shape[1:3] == (32, 42) and planes.keys() == set("CAFBOH")
        alpha, cover = (
            planes[letter][..., -1:].astype(float) / 255 if letter == "O" else
            planes[letter][..., None].astype(float) / 255
            for letter in "AO"
        )  # fmt: skip
        behind = planes["B"].astype(float)
        rest = cover * planes["O"][..., :3] + (1 - cover) * behind
        made = rest + alpha * (planes["F"] - behind)
        assert np.abs(made - planes["C"]).max() <= 1
        assert np.array_equal(planes["B"][~planes["H"]], planes["C"][~planes["H"]])
        assert bool(alpha.any()) == (name[-6:] >= "000012")
    info = read_info(out / names[2])
    assert info["source"] == "film.mkv" and info["cut_out_by"] == "objects"
    assert info["start_seconds"] == 0.5 and not info["is_last"]

    times = {name: (out / name / "0000_B.png").stat().st_mtime_ns for name in names}
    eval_ = tmp_path / "data" / "eval"
    eval_.mkdir()
    (out / names[0]).rename(eval_ / names[0])
    assert make(run, *words)[-1] == "layers: made 0, kept 4"
    again = (out / names[3] / "0002_B.png").read_bytes()
    shutil.rmtree(out / names[3])
    assert make(run, *words)[-1] == "layers: made 1, kept 3"
    assert (out / names[3] / "0002_B.png").read_bytes() == again
    assert (out / names[1] / "0000_B.png").stat().st_mtime_ns == times[names[1]]
    (line,) = (x for x in make(run, *words[:-1], 6, code=1) if "was made with seq 5" in x)
    assert "use another --prefix" in line


def test_each_film_has_masks_of_its_name(run, tmp_path):
    films, masks = tmp_path / "films", tmp_path / "masks"
    films.mkdir()
    masks.mkdir()
    grey = np.full((H, W, 3), 90, np.uint8)
    for name in "ab":
        picture = np.where(np.mgrid[:H, :W][1][..., None] < (20 if name == "a" else 40), 200, grey)
        write_clip(films / f"{name}.mkv", [picture.astype(np.uint8)] * 3, **LOSSLESS,
                   pixel_format="bgr0")  # fmt: skip
    write_masks(masks / "a", num=3)
    lines = make(run, "-i", films, "--masks", masks, "-o", tmp_path / "out", code=1)
    assert any("has 0 masks of that name, and it must be one" in line for line in lines)
    write_masks(masks / "b", num=3)
    lines = make(run, "-i", films, "--masks", masks, "-o", tmp_path / "out")
    assert lines[-1] == "layers: made 1, kept 1"
    path = next(p for p in (tmp_path / "out").iterdir() if read_info(p)["source"] == "b.mkv")
    mask = cv2.resize(
        cv2.imread(str(masks / "b" / "0002.png"), 0), (42, 32), interpolation=cv2.INTER_AREA
    )
    assert np.array_equal(planes_of(path)["A"][2], mask)


def test_bad_words_get_a_line(run, tmp_path):
    film = write_clip(tmp_path / "film.mkv", 3)
    words = ("-i", film, "-o", tmp_path / "out")
    assert "--objects 1 is for --masks" in make(run, *words, "--objects", 1, code=1)[-1]
    lines = make(run, *words, "--masks", film, "--matting", "m.pth", code=1)
    assert "leave one of them out" in lines[-1]
    assert "doesn't exist" in make(run, "-i", tmp_path / "no.mp4", *words[2:], code=1)[-1]
