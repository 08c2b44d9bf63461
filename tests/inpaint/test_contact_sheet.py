"""Records in one picture: each under its whole name, by which it is deleted."""

import cv2
import numpy as np
import pytest

from inpaint import contact_sheet
from inpaint.contact_sheet import CELL, FONT, FONT_SCALE, LINE, MARGIN, with_names, wrap
from inpaint.options_data import ContactSheetOptions
from nunif.image import read_rgb
from tests.records import make_records

NAME = "a_long_prefix_of_a_film_that_is_told_in_full_MotionParallax_0123abcd_000012"


def width_of(line):
    return cv2.getTextSize(line, FONT, FONT_SCALE, 1)[0][0]


@pytest.mark.parametrize("name", [NAME, "n" * 251, "p_image_01234567_000000", ""])
@pytest.mark.parametrize("width", [192, 1212])
def test_a_name_is_broken_and_never_cut(name, width):
    lines = wrap(name, width)
    assert "".join(lines) == name and all(width_of(line) <= width for line in lines)
    assert width < 1000 or len(lines) <= 3


def test_the_number_stays_in_one_line():
    for width in range(100, 300):  # letters are as wide as OpenCV's version draws them
        assert wrap(NAME, width)[-1].endswith("000012"), width


def test_a_strip_holds_the_lines_of_the_longest_name():
    row = np.full((CELL, CELL, 3), 200, np.uint8)
    short, long = with_names([row, row], ["p_000000", NAME])
    height = len(wrap(NAME, CELL - 2 * MARGIN)) * LINE
    assert short.shape == long.shape == (height + CELL, CELL, 3) and height > 2 * LINE
    for block, first in ((long, 0), (short, height - LINE)):
        strip = block[:height]
        assert (strip[:first] == 32).all() and (strip[:, -1] == 32).all()
        written = [(strip[y : y + LINE] > 200).any() for y in range(first, height, LINE)]
        assert all(written) and (block[height:] == 200).all()


@pytest.mark.parametrize(("count", "shape"), [(2, (2, 1)), (7, (4, 2))])
def test_the_sheet_has_the_name_over_every_record(tmp_path, monkeypatch, count, shape):
    given = []
    monkeypatch.setattr(
        contact_sheet,
        "with_names",
        lambda rows, names: given.extend(names) or with_names(rows, names),
    )
    records = make_records(tmp_path / "train", count, frames=2, size=32)
    sheet = tmp_path / "sheet.png"
    contact_sheet.main(ContactSheetOptions(data_dir=tmp_path / "train", output=sheet))
    assert given == sorted(record.name for record in records)
    height, width = (LINE + CELL, 2 * CELL + 4)
    assert read_rgb(sheet).shape == (
        shape[0] * (height + 4) - 4,
        shape[1] * (width + 4) - 4,
        3,
    )
