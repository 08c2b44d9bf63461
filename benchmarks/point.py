"""How well objects are followed from one click, and what further clicks are worth: the masks of
`python -m layers mask` against true ones.

    python -m benchmarks.point -i FILM --masks DIR -o FILE
    python -m benchmarks.point -i FILM --masks DIR --together 2+3,4+5 -o FILE

The first click is the pixel of an object nearest to the middle of its pixels, on the first frame
where it is seen. Each further one is on the frame where it was followed worst, in the middle of
the largest region that is wrong there: one of the object where some of it is missing, one of what
isn't it where something else was taken for it. All objects are clicked at once. IoU is
intersection over union, mean over frames; a frame without the object counts 1 where none is
marked, else 0. The person finder by itself (probability above .5) against all objects as one
stands beside it. DIR: a picture for each frame, with the numbers of objects, or white where the
only one is.

Axes: T frames, H W pixels.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.timing import machine
from layers.prompts import NOT_POINT, POINT, Prompt
from layers.runtime.pointing import enlarge, people_in, scaled, shrink
from layers.runtime.shot import follow_shot
from nunif.files import make_folder, write_json
from nunif.numbered import numbered_pictures
from nunif.runtime.mask_pictures import read_mask_picture
from nunif.video.film import open_film

Clicks = dict[int, list[Prompt]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-i", "--input", type=Path, required=True, help="a film of one shot")
    parser.add_argument("--masks", type=Path, required=True, help="folder of true masks")
    parser.add_argument("--together", default="", help="numbers that are one object, as 2+3,4+5")
    parser.add_argument("--clicks", type=int, default=3, help="of each object, one after another")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file")
    words = parser.parse_args()
    torch.set_num_threads(1)
    with open_film(words.input) as film:
        frames = [frame.rgb for frame in film]
    truth = read_truth(words.masks, words.together)[: len(frames)]
    about = {**machine(torch.device("cpu")), "film": words.input.name, "frames": len(frames)}
    make_folder(words.output.parent)
    for result in measure(frames, truth, num_clicks=words.clicks):
        write_json(words.output, {**about, **result})
        print(table(result), flush=True)


def read_truth(folder: Path, together: str = "") -> np.ndarray:
    """(T, H, W) uint8 numbers of objects, those of `together` ("2+3,4+5") by the first of them."""
    masks = []
    for path in numbered_pictures(folder, name=str(folder)).values():
        picture = read_mask_picture(path)
        numbers = picture.numbers if picture.is_indexed else picture.brightness > 127
        masks.append(np.asarray(numbers, np.uint8))
    truth = np.stack(masks)
    for group in filter(None, together.split(",")):
        first, *others = map(int, group.split("+"))
        truth[np.isin(truth, others)] = first
    return truth


def measure(
    frames: list[np.ndarray], truth: np.ndarray, *, num_clicks: int = 3
) -> Iterator[dict[str, Any]]:
    """The scores with one click of each object, then those with two as well, and so on."""
    size = (frames[0].shape[0], frames[0].shape[1])
    small = [shrink(frame) for frame in frames]
    people = np.stack([enlarge((people_in(x) > 0.5).astype(np.uint8), size) for x in small])
    numbers = [number for number in np.unique(truth).tolist() if number]
    clicks: Clicks = {}
    firsts = {number: int((truth == number).any(axis=(1, 2)).argmax()) for number in numbers}
    points = [
        Prompt(POINT, (middle_pixel(truth[frame] == number),), frame=frame, number=number)
        for number, frame in firsts.items()
    ]
    finder = round(float(overlaps(people > 0, truth > 0).mean()), 4)
    rows: list[dict[str, Any]] = []
    for count in range(1, num_clicks + 1):
        for point in points:
            assert point.frame is not None
            clicks.setdefault(point.frame, []).append(point)
        began = time.process_time()
        prompts = {frame: scaled(found, size) for frame, found in clicks.items()}
        masks = np.stack([enlarge(x, size) for x in follow_shot(iter(small), prompts)])
        spent = time.process_time() - began
        scores = {n: overlaps(masks == n, truth == n) for n in numbers}
        rows.append(
            {
                "clicks": count,
                "iou": {str(n): round(float(found.mean()), 4) for n, found in scores.items()},
                "mean_iou": round(float(np.mean([s.mean() for s in scores.values()])), 4),
                "cpu_ms_per_frame": round(1000 * spent / len(frames), 1),
            }
        )
        nexts = [next_click(masks == n, truth == n, n, found) for n, found in scores.items()]
        points = [point for point in nexts if point is not None]
        yield {"finder_iou_of_all_as_one": finder, "rows": rows}


def next_click(
    found: np.ndarray, truth: np.ndarray, number: int, scores: np.ndarray
) -> Prompt | None:
    """In the middle of the largest wrong region of the worst frame that shows the object; None
    where nothing is wrong. found, truth: (T, H, W) bool; scores: (T,)."""
    frame = int(np.where(truth.any(axis=(1, 2)), scores, 2).argmin())
    best, click = 0, None
    missing, added = truth[frame] & ~found[frame], found[frame] & ~truth[frame]
    for kind, wrong in ((POINT, missing), (NOT_POINT, added)):
        count, parts, stats, _ = cv2.connectedComponentsWithStats(wrong.astype(np.uint8))
        if count > 1 and stats[1:, cv2.CC_STAT_AREA].max() > best:
            region = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
            best = int(stats[region, cv2.CC_STAT_AREA])
            inside = np.pad(parts == region, 1).astype(np.uint8)
            depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
            y, x = np.unravel_index(int(depth.argmax()), depth.shape)
            click = Prompt(kind, ((float(x), float(y)),), frame=frame, number=number)
    return click


def middle_pixel(mask: np.ndarray) -> tuple[float, float]:
    """(x, y) of the pixel of a mask (H, W) nearest to the mean of all.

    >>> middle_pixel(np.array([[True, True, True], [False, False, False]]))
    (1.0, 0.0)
    """
    rows, columns = np.nonzero(mask)
    nearest = int(((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin())
    return float(columns[nearest]), float(rows[nearest])


def overlaps(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(T,) intersection over union of masks (T, H, W) bool; 1 where both are empty.

    >>> overlaps(np.array([[[True, True]], [[False, False]]]), np.array([[[True, False]]] * 2))
    array([0.5, 0. ])
    """
    union = (found | truth).sum(axis=(1, 2))
    return np.where(union > 0, (found & truth).sum(axis=(1, 2)) / np.maximum(union, 1), 1.0)


def table(result: dict[str, Any]) -> str:
    """Markdown."""
    numbers = list(result["rows"][0]["iou"])
    heads = ["clicks", *(f"object {number}" for number in numbers), "mean", "CPU ms a frame"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in result["rows"]:
        cells = [str(row["clicks"]), *(f"{row['iou'][number]:.3f}" for number in numbers)]
        cells += [f"{row['mean_iou']:.3f}", f"{row['cpu_ms_per_frame']:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    finder = f"the finder, all as one: {result['finder_iou_of_all_as_one']:.3f}"
    return "\n".join([*lines, finder])


if __name__ == "__main__":
    main()
