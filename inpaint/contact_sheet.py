"""Records in one picture: frames with their holes marked, and the record's name above them.

Axes: T frames, H W pixels; pictures are (H, W, 3) uint8 RGB.
"""

import logging
from collections.abc import Sequence

import cv2
import numpy as np

from inpaint.dataset import scan_records
from inpaint.options_data import ContactSheetOptions
from nunif.errors import UserError
from nunif.files import make_folder, plain_text
from nunif.image import save_png
from nunif.pictures import tile
from nunif.records import BadRecord, Record, read_plane
from scene.masks import paint_holes
from scene.planes import COLOUR, HOLE

logger = logging.getLogger(__name__)

COLUMNS, CELL = 6, 200  # frames of a record on the sheet, and their side in pixels
TALL = 6  # more records than this go into two columns
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.5
LINE, MARGIN = 20, 4  # pixels of a line of a name, and on its left and right


def main(options: ContactSheetOptions) -> None:
    """The command `contact-sheet`."""
    if options.output.suffix.lower() != ".png":
        raise UserError(f"--output {options.output} must end in .png")
    records, bad = scan_records(options.data_dir)
    for problem in bad:
        logger.warning("left out: %s", problem)
    chosen = _spread(len(records), options.max_records)
    names, rows = list[str](), list[np.ndarray]()
    for index in chosen:
        try:
            rows.append(tile([_read_cells(records[index])]))
        except BadRecord as problem:
            logger.warning("left out: %s", problem)
            continue
        names.append(records[index].path.name)
    if not rows:
        raise UserError(
            f"{options.data_dir}: none of the {len(chosen)} records that were looked at can be read"
        )
    blocks = with_names(rows, names)
    height = len(blocks) if len(blocks) <= TALL else -(-len(blocks) // 2)
    make_folder(options.output.parent)
    save_png(options.output, tile([blocks[row::height] for row in range(height)]))
    logger.info("%d of %d records: %s", len(rows), len(records), options.output)


def _spread(count: int, most: int) -> list[int]:
    """At most so many of the places from 0 to `count` - 1, spread evenly."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(most, count))})


def _read_cells(record: Record) -> list[np.ndarray]:
    """Some frames of a record, small, holes painted. Raises BadRecord if it can't be read."""
    numbers = [record.numbers[place] for place in _spread(len(record), COLUMNS)]
    frames = read_plane(record, COLOUR.letter, numbers)
    if record.has(HOLE.letter):
        frames = paint_holes(frames, read_plane(record, HOLE.letter, numbers))
    return [cv2.resize(frame, (CELL, CELL), interpolation=cv2.INTER_AREA) for frame in frames]


def with_names(rows: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
    """Every row of pictures under a strip with a whole name, in as many lines as it takes.

    Args: rows of one height. Returns: pictures of one size.
    """
    width = max(row.shape[1] for row in rows)
    lines = [wrap(plain_text(name), width - 2 * MARGIN) for name in names]
    strip = max(map(len, lines)) * LINE
    blocks = []
    for row, texts in zip(rows, lines):
        block = np.full((strip + row.shape[0], width, 3), 32, np.uint8)
        block[strip:, : row.shape[1]] = row
        for number, text in enumerate(texts):
            place = (MARGIN, strip - (len(texts) - number) * LINE + LINE - 6)
            cv2.putText(block, text, place, FONT, FONT_SCALE, (255, 255, 255), 1, cv2.LINE_AA)
        blocks.append(block)
    return blocks


def wrap(name: str, width: int) -> list[str]:
    """A name in lines of at most `width` pixels, broken behind a _ where there is one.

    >>> wrap("holiday_MotionParallax_0123abcd_000012", 200)
    ['holiday_MotionParallax_', '0123abcd_000012']
    """
    lines = [""]
    for letter in name:
        line = lines[-1] + letter
        if line[1:] and cv2.getTextSize(line, FONT, FONT_SCALE, 1)[0][0] > width:
            at = line.rfind("_", 0, -1) + 1 or len(line) - 1
            lines[-1:] = [line[:at], line[at:]]
        else:
            lines[-1] = line
    return lines
