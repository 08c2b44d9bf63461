"""Names by which players know how both eyes stand in a film."""

from dataclasses import replace
from pathlib import Path

import pytest

from inpaint.options_run import StereoOptions
from inpaint.runtime.stereo_names import named_by_layout, tell_of_name


@pytest.mark.parametrize(
    ("source", "output", "layout", "name"),
    [
        ("film.mp4", "{}", "sbs", "film_LRF_Full_SBS.mp4"),
        ("film.mkv", "{}/new", "half-sbs", "new/film_LR.mkv"),
        ("film.wmv", "{}", "tb", "film_TBF_fulltb.mp4"),
        ("a:b?.webm", "{}", "half-tb", "a_b__TB.webm"),
        ("film.mp4", "{}/out.mov", "vr180", "out_180x180_LR.mov"),
        ("film.mp4", "{}/out_RLF_cross.mp4", "cross-eyed", "out_RLF_cross.mp4"),
        ("film.mp4", "{}", "half-cross-eyed", "film_RL.mp4"),
        ("film.mp4", "{}", "half-colour", "film_redcyan_half-color.mp4"),
        ("film.mp4", "{}", "anaglyph", "film_redcyan_dubois.mp4"),
    ],
)
def test_names_by_layout(tmp_path, source, output, layout, name):
    options = StereoOptions(
        input=tmp_path / "in" / source, output=Path(output.format(tmp_path)), model="m"
    )
    options = replace(options, layout=layout)
    assert named_by_layout(options) == options
    named = named_by_layout(replace(options, name_by_layout=True))
    assert named == replace(options, name_by_layout=True, output=tmp_path / name)


@pytest.mark.parametrize(
    ("name", "layout", "is_told"),
    [
        ("out.mp4", "sbs", True),
        ("out_sbs.mp4", "sbs", False),
        ("out_sbs.mp4", "tb", True),
        ("Film.3D.H-SBS.mkv", "half-sbs", False),
        ("albrecht.mp4", "sbs", True),
        ("out.mp4", "dubois", False),
        ("out_vr180.mp4", "vr180", True),
        ("out_180x180_LR.mp4", "vr180", False),
        ("folder", "sbs", False),
    ],
)
def test_who_names_a_film_otherwise_is_told_by_which_name_players_know_it(
    caplog, tmp_path, name, layout, is_told
):
    caplog.set_level("INFO")
    tell_of_name(tmp_path / name, layout)
    assert ("players that go by the name" in caplog.text) == is_told
