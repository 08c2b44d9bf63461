"""Films as they come from phones, cameras, recorders and the web, through the commands that write
films."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from inpaint.commands import INPAINT
from nunif import cli
from tests import videos
from tests.models import save_lively_model
from tests.nunif.test_clock import check_in_time, clip, join
from tests.nunif.test_deinterlace import FILTER, SOURCES, woven
from tests.nunif.test_durations import GIF, check_end, write_lasting
from tests.videos import write_clip

H, W = 64, 96


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_lively_model(tmp_path_factory.mktemp("model") / "m.pth")


@pytest.fixture(params=["apply", "stereo"])
def run(request, model, tmp_path, caplog, capsys):
    """The command on a film: its output, and the lines that were logged."""

    def run(
        source: Path, output: str, *words, hole=(slice(20, 40), slice(8, 40)), size=(H, W), code=0
    ) -> tuple[Path, list[str]]:
        words = ["-i", source, "-o", tmp_path / output, "--model", model, "--gpu", "-1", *words]
        if request.param == "apply":
            mask = np.zeros(size, np.uint8)
            mask[hole] = 255
            cv2.imwrite(str(tmp_path / "mask.png"), mask)
            words += ["--mask", tmp_path / "mask.png"]
        else:
            words += ["--model-type", "MotionParallax"]
        caplog.clear()
        with caplog.at_level("INFO"):
            assert cli.run(INPAINT, [request.param, *map(str, words)]) == code
        return tmp_path / output, [*caplog.messages, *capsys.readouterr().err.strip().splitlines()]

    run.command = request.param
    return run


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
def test_joined_transport_streams(run, tmp_path, output):
    part = clip(tmp_path / "part.ts", sound="aac", count=12)
    out, lines = run(join(tmp_path / "film.ts", part, part), output)
    check_in_time(out, seconds=1, fps=24)
    assert any("its clock starts over at 0.50 s" in line for line in lines)


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
def test_a_gif_that_ends_on_a_still(run, tmp_path, output):
    source = write_lasting(tmp_path / "film.gif", GIF, codec="gif", pixel_format="rgb8")
    check_end(GIF, run(source, output, "--pixel-format", "yuv420p")[0])


@pytest.mark.parametrize("matrix", videos.DISPLAY_MATRICES, ids=str)
def test_what_lies_outside_the_hole_stands_as_a_player_shows_it(run, tmp_path, matrix):
    """The mask is made on what a player shows, so the hole is where it says."""
    source = videos.set_display_matrix(write_clip(tmp_path / "film.mp4", 4), *matrix)
    shown = videos.autorotated(source)
    size = shown[0][0].shape
    out, _ = run(source, "out.mkv", "--codec", "ffv1", size=size)
    hole = np.zeros(size, bool)
    hole[20:40, 8:40] = True
    with av.open(str(out)) as container:
        lumas = [frame.to_ndarray()[: size[0]] for frame in container.decode(video=0)]
    for luma, (expected, *_) in zip(lumas, shown, strict=True):
        if run.command == "stereo":
            assert np.array_equal(luma.shape, (size[0], 2 * size[1]))
            assert np.abs(luma[:, : size[1]].astype(int) - expected).max() <= 2  # through RGB
        else:
            assert np.array_equal(luma[~hole], expected[~hole])
            assert (luma[hole] != expected[hole]).mean() > 0.5


@pytest.mark.parametrize("name", ["h264 tff.mp4", "mpeg2.mpg"])
def test_interlaced_films(run, tmp_path, name):
    source = write_clip(tmp_path / name, woven(8), **SOURCES[name])
    out, lines = run(source, "out.mkv", "--codec", "ffv1", code=1)
    assert not out.exists() and lines[-1].endswith(
        "use --deinterlace, which makes whole ones of them"
    )
    assert lines[-1].startswith(f"error: {source} is interlaced")
    out, _ = run(source, "out.mkv", "--codec", "ffv1", "--deinterlace")
    with av.open(str(out)) as container:
        frames = list(container.decode(video=0))
    whole = [planes[0] for planes in videos.filtered(source, FILTER)]
    hole = np.zeros((H, W), bool)
    hole[20:40, 8:40] = True
    assert len(frames) == 8 and not any(frame.interlaced_frame for frame in frames)
    for frame, expected in zip(frames, whole, strict=True):
        luma = frame.to_ndarray()[:H, :W].astype(int)
        if run.command == "apply":
            assert np.array_equal(luma[~hole], expected[~hole])
        else:
            assert np.abs(luma - expected).max() <= 2


def test_links_that_lead_to_themselves(run, tmp_path):
    loop, elsewhere = tmp_path / "loop.mkv", tmp_path / "gone.mkv"
    loop.symlink_to(loop)
    elsewhere.symlink_to(tmp_path / "nowhere.mkv")
    for link, target in ((loop, loop), (elsewhere, tmp_path / "nowhere.mkv")):
        for output in ("out.mkv", "out", link.name):
            out, lines = run(link, output, code=1)
            is_source = (
                f"error: {link} can't be written: it is the source {link}; choose another name"
            )
            leads_nowhere = (
                f"error: {link} is a link to {target}, which leads nowhere: check the link"
            )
            assert lines[-1] == (is_source if output == link.name else leads_nowhere)
            assert not out.exists()
    source = write_clip(tmp_path / "film.mp4", 4)
    out, _ = run(source, "loop.mkv")
    assert out.is_file() and not out.is_symlink()
