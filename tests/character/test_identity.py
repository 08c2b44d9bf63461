"""Who is to be seen, out of a picture."""

import numpy as np
import pytest

from character.runtime.identity import read_identity
from nunif.errors import UserError
from nunif.image import encode_rgb, encode_rgba


def test_a_picture_without_alpha_gets_white_sides(tmp_path):
    picture = np.full((40, 20, 3), 7, np.uint8)
    picture[:, 0] = (200, 0, 0)
    (tmp_path / "a.png").write_bytes(encode_rgb(picture))
    looks = read_identity(tmp_path / "a.png", 40)
    assert looks[20, [0, 9, 10, 15, 29, 30]].tolist() == [
        [255] * 3, [255] * 3, [200, 0, 0], [7] * 3, [7] * 3, [255] * 3,
    ]  # fmt: skip


def test_of_one_with_alpha_the_person_is_cut_out_before_white(tmp_path):
    picture = np.zeros((60, 80, 4), np.uint8)
    picture[20:40, 50:60] = (0, 0, 200, 255)
    picture[:, :5] = (9, 9, 9, 10)  # nearly nothing
    (tmp_path / "a.png").write_bytes(encode_rgba(picture))
    looks = read_identity(tmp_path / "a.png", 40)
    # 20 rows become nine tenths of 40
    assert looks[20, 20].tolist() == [0, 0, 200]
    assert (looks != 255).any(axis=-1).any(axis=1).sum() == 36
    picture[..., 3] = 0
    (tmp_path / "b.png").write_bytes(encode_rgba(picture))
    with pytest.raises(UserError, match=r"b\.png shows nobody: all of it is transparent"):
        read_identity(tmp_path / "b.png", 40)
