"""scripts/matte_pictures.py: from a list of photographs to records that are learned from."""

import csv
import hashlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from matting.dataset import scan_labelled
from nunif.records import open_record, read_plane
from scene.planes import ALPHA, FOREGROUND
from tests.matting.test_person_finder import portrait

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "pretrained_models" / "person_matte_v1_pictures.tsv"


def png(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def test_photographs_become_records(tmp_path):
    wall = np.full((360, 360, 3), 90, np.uint8)
    pictures = {"me.png": png(portrait(360, 360)), "wall.png": png(wall), "changed.png": b"x"}
    uses = {"me.png": "people,cut-out", "wall.png": "nobody,background", "changed.png": "people"}
    lines = ["repository\tpath\tblob\tused as"]
    (tmp_path / "a" / "b").mkdir(parents=True)
    blobs = {}
    for name, data in pictures.items():
        (tmp_path / "a" / "b" / name).write_bytes(data)
        whole = b"blob %d\0" % len(data) + data
        blobs[name] = hashlib.sha1(whole).hexdigest()[:10]
        blob = "0" * 10 if name == "changed.png" else blobs[name]
        lines.append(f"a/b\t{name}\t{blob}\t{uses[name]}")
    (tmp_path / "list.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = [ROOT / "scripts" / "matte_pictures.py", tmp_path / "list.tsv", tmp_path]
    done = subprocess.run(
        [sys.executable, *words, tmp_path / "data"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "changed.png: is another picture now, left out" in done.stdout
    assert "2 pictures, 1 left out" in done.stdout
    train = tmp_path / "data" / "labelled" / "train"
    found, bad = scan_labelled(train)
    assert len(found) == 2 and not bad

    def plane(half, name, plane):
        record = open_record(tmp_path / "data" / half / "train" / name, [plane])
        return read_plane(record, plane.letter, record.numbers)[0]

    alpha = plane("labelled", f"photo_{blobs['me.png']}", ALPHA)
    assert alpha.shape == (320, 320) and alpha[120, 160] == 255 and alpha[20, 20] == 0
    assert not plane("labelled", f"empty_{blobs['wall.png']}", ALPHA).any()
    front = plane("mix", f"cut_{blobs['me.png']}", FOREGROUND)
    # the shirt goes on where the wall was
    assert np.abs(front[318, 2].astype(int) - (40, 60, 130)).max() < 12


def test_the_list_names_where_each_picture_is_from():
    with LIST.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    uses = [row["used as"].split(",") for row in rows]
    known = {"people", "cut-out", "nobody", "background", "eval-people", "eval-nobody"}
    assert all(set(use) <= known for use in uses)
    assert all(row["repository"].count("/") == 1 and len(row["blob"]) == 10 for row in rows)
    assert sum(use[0] == "people" for use in uses) == 234
