"""The one order of numbered pictures, and what is done where their names give none."""

from pathlib import Path

import pytest

from nunif.errors import UserError
from nunif.numbered import Row, in_order, numbered_pictures, row_in


def files(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"")
    return [folder / name for name in names]


def names_of(row: Row) -> list[str]:
    return [file.name for file in row.files]


def test_the_number_is_the_last_that_differs(tmp_path):
    given = files(tmp_path, "a_10_4k.png", "a_9_4k.png", "a_2_4k.png")
    row = in_order(given, name="row")
    assert names_of(row) == ["a_2_4k.png", "a_9_4k.png", "a_10_4k.png"]
    assert (row.numbers, row.problem) == ((2, 9, 10), "")
    with pytest.raises(UserError, match="row: there is no picture with the number 3 and 5 more"):
        numbered_pictures(tmp_path, name="row")


@pytest.mark.parametrize(
    "given, order, problem",
    [
        (["b.png", "a10.png", "a2.png"], ["a2.png", "a10.png", "b.png"], "b.png has no number"),
        (["1.png", "10.png", "01.png"], ["01.png", "1.png", "10.png"], "1.png and 01.png have one"),
    ],
)
def test_without_such_numbers_names_are_ordered_as_people_read_them(given, order, problem):
    row = in_order([Path("folder", name) for name in given], name="row")
    assert names_of(row) == order and row.numbers is None
    assert row.problem.startswith(f"row: {problem}")


def test_in_a_folder_what_has_a_number_is_its_row(tmp_path):
    files(tmp_path, "2.png", "10.png", "cover.png", "notes.txt", ".3.png")
    assert names_of(row_in(tmp_path)) == ["2.png", "10.png"]


def test_in_a_folder_where_a_number_comes_twice_all_pictures_are_the_row(tmp_path):
    files(tmp_path, "2.png", "02.png", "10.png", "cover.png")
    row = row_in(tmp_path)
    assert names_of(row) == ["02.png", "2.png", "10.png", "cover.png"]
    assert row.numbers is None and "have one number" in row.problem


def test_an_empty_folder_is_an_empty_row(tmp_path):
    assert row_in(tmp_path) == Row((), ())
