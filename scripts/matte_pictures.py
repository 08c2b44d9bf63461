"""Make the records of photographs that person_matte_v1 was trained on.

    git clone https://github.com/codrops/TileScroll clones/codrops/TileScroll    # and so on
    python scripts/matte_pictures.py pretrained_models/person_matte_v1_pictures.tsv clones data

The list names each picture by its repository, its path there and the first ten digits of its blob.
People are marked by the person finder, whose word is made firmer; where nobody is, alpha is 0.
`data/labelled` is for --labelled, `data/mix` (cut-outs and backgrounds) for --data-dir.

Axes: H W pixels.
"""

import argparse
import csv
import hashlib
import io
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from matting.runtime.person_finder import find_people
from nunif.records import write_record

SEEN_SIDE, KEPT_SIDE = 512, 320  # pixels of the short side, where people are found and as kept
INSIDE = 0.97  # a colour is the person's own from this probability on


def read_picture(data: bytes) -> np.ndarray:
    """(H, W, 3) uint8, SEEN_SIDE pixels high or wide at most."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    scale = SEEN_SIDE / min(picture.size)
    if scale < 1:
        size = round(picture.width * scale), round(picture.height * scale)
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(picture)


def smaller(x: np.ndarray) -> np.ndarray:
    scale = KEPT_SIDE / min(x.shape[:2])
    if scale >= 1:
        return x
    size = round(x.shape[1] * scale), round(x.shape[0] * scale)
    return cv2.resize(x, size, interpolation=cv2.INTER_AREA)


def probability(picture: np.ndarray) -> np.ndarray:
    """(H, W) float32, what the finder says."""
    frames = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float().div(255)
    return find_people(frames)[0, 0].numpy()


def ramp(found: np.ndarray, middle: float, slope: float) -> np.ndarray:
    """(H, W) uint8: a probability made firmer, and small."""
    firm = np.clip((found - middle) * slope + 0.5, 0, 1).astype(np.float32)
    return np.round(smaller(firm) * 255).astype(np.uint8)


def own_colours(picture: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(H, W, 3): colours of the person, which go on outside as those of the nearest pixel that is
    surely theirs."""
    inside = cv2.erode((found > 0.9).astype(np.uint8), np.ones((5, 5), np.uint8))
    _, nearest = cv2.distanceTransformWithLabels(
        1 - inside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    rows, columns = np.nonzero(inside)
    table = np.zeros((nearest.max() + 1, 3), np.uint8)
    table[nearest[rows, columns]] = picture[rows, columns]
    return np.where(found[..., None] > INSIDE, picture, table[nearest])


def make(data: bytes, uses: list[str], name: str, target: Path, source: str) -> None:
    """The records of one picture. uses: words of the list's last column."""
    picture = read_picture(data)
    colours = smaller(picture)
    half = "eval" if uses[0].startswith("eval-") else "train"
    info = {"source": source}
    if uses[0].endswith("people"):
        found = probability(picture)
        planes = {"C": colours[None], "A": ramp(found, 0.5, 2.5)[None]}
        write_record(target / "labelled" / half / f"photo_{name}", planes, info)
        if "cut-out" in uses:
            front = smaller(own_colours(picture, found))
            planes = {"F": front[None], "A": ramp(found, 0.62, 3.0)[None]}
            write_record(target / "mix" / half / f"cut_{name}", planes, info)
        return
    nobody = np.zeros((1, *colours.shape[:2]), np.uint8)
    planes = {"C": colours[None], "A": nobody}
    write_record(target / "labelled" / half / f"empty_{name}", planes, info)
    if "background" in uses:
        write_record(target / "mix" / half / f"back_{name}", {"B": colours[None]}, info)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("list", type=Path, help="person_matte_v1_pictures.tsv")
    parser.add_argument("clones", type=Path, help="a folder of repositories, OWNER/NAME")
    parser.add_argument("target", type=Path, help="the folder of records")
    words = parser.parse_args()
    with words.list.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    num_missing = 0
    for row in rows:
        path = words.clones / row["repository"] / row["path"]
        data = path.read_bytes() if path.is_file() else b""
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        if not blob.startswith(row["blob"]):
            print(f"{path}: {'is another picture now' if data else 'is not there'}, left out")
            num_missing += 1
            continue
        source = f"{row['repository']} {row['path']}"
        make(data, row["used as"].split(","), row["blob"], words.target, source)
    print(f"{words.target}: {len(rows) - num_missing} pictures, {num_missing} left out")


if __name__ == "__main__":
    main()
