"""What layers are worth in stereo: the benchmark's clips, scores and table."""

import numpy as np
import pytest

from benchmarks.stereo_layers import DIVERGENCE, render, score, summary, table

SIZE = (48, 80)


def test_both_eyes_of_a_rendered_clip():
    clip = list(render(300, 2, SIZE))
    assert len(clip) == 2 and not np.array_equal(clip[0]["left"], clip[1]["left"])
    frame = clip[0]
    shift = DIVERGENCE / 100 * SIZE[1] * (0.82 - 0.5)  # of people, to the left
    columns = [np.flatnonzero(frame[name].max(axis=0) > 200) for name in ("alpha", "alpha_right")]
    assert 0 < shift < 2 and columns[0].mean() - columns[1].mean() == pytest.approx(shift, abs=1)
    # what is hidden lies to the right of people
    assert frame["strip"].any() and not (frame["strip"] & (frame["alpha_right"] == 255)).any()


def test_a_perfect_picture_and_one_that_is_off():
    clip = list(render(300, 2, SIZE))
    right = [frame["right"] for frame in clip]
    assert min(score(right, clip).values()) > 100
    off = [picture ^ np.uint8(1) for picture in right]
    assert score(off, clip)["all"] == pytest.approx(48.13, abs=0.01)


def test_the_table_tells_the_gain():
    scores = {"strip": 10.0, "around": 20.0, "all": 30.0}
    better = {name: value + 1.5 for name, value in scores.items()}
    rows = [{"seed": n, "plain": scores, "apart": better} for n in range(6)]
    assert summary(rows)["strip"] == {
        "plain": 10.0, "layers": 11.5, "gain": 1.5, "low": 1.5, "high": 1.5, "wins": 6,
    }  # fmt: skip
    assert "| strip | 10.00 | 11.50 | +1.50 (+1.50 to +1.50) | 6 of 6 |" in table(rows)
