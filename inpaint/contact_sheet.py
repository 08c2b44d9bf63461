"""Records in one picture: every row a record, frames with their holes marked."""

import logging
from itertools import zip_longest

import cv2
import numpy as np

from inpaint.dataset import scan_records
from inpaint.options_data import ContactSheetOptions
from nunif.errors import UserError
from nunif.files import make_folder
from nunif.image import save_png
from nunif.pictures import label, tile
from nunif.records import BadRecord, read_plane
from scene.masks import paint_holes
from scene.planes import COLOUR, HOLE

logger = logging.getLogger(__name__)

COLUMNS, CELL = 6, 200  # frames of a record on the sheet, and their side in pixels
TALL = 6  # more records than this go into two columns


def main(options: ContactSheetOptions) -> None:
    """The command `contact-sheet`."""
    if options.output.suffix.lower() != ".png":
        raise UserError(f"--output {options.output} must end in .png")
    records, bad = scan_records(options.data_dir)
    for problem in bad:
        logger.warning("left out: %s", problem)
    chosen = sorted(
        {round(i) for i in np.linspace(0, len(records) - 1, min(options.max_records, len(records)))}
    )
    rows: list[list[np.ndarray]] = []
    for index in chosen:
        record = records[index]
        picks = sorted(
            {round(i) for i in np.linspace(0, len(record) - 1, min(COLUMNS, len(record)))}
        )
        numbers = [record.numbers[i] for i in picks]
        try:
            painted = read_plane(record, COLOUR.letter, numbers)
            if record.has(HOLE.letter):
                painted = paint_holes(painted, read_plane(record, HOLE.letter, numbers))
        except BadRecord as problem:
            logger.warning("left out: %s", problem)
            continue
        cells = [cv2.resize(frame, (CELL, CELL), interpolation=cv2.INTER_AREA) for frame in painted]
        rows.append([label(cells[0], record.path.name[-34:]), *cells[1:]])
    if not rows:
        raise UserError(
            f"{options.data_dir}: none of the {len(chosen)} records that were looked at can be read"
        )
    half = -(-len(rows) // 2)
    num_shown = len(rows)
    if len(rows) > TALL:  # two records side by side
        nothing: list[np.ndarray] = []
        rows = [
            left + right for left, right in zip_longest(rows[:half], rows[half:], fillvalue=nothing)
        ]
    make_folder(options.output.parent)
    save_png(options.output, tile(rows))
    logger.info("%d of %d records: %s", num_shown, len(records), options.output)
