"""What the training earned: the trained network against fresh weights, live and looking ahead, film
by film."""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu.clock import NO_TIME
from benchmarks.inputs import render_films
from benchmarks.setting import Setting
from inpaint import evaluate
from inpaint.evaluation.scores import HEADLINE
from inpaint.options_evaluate import UNTRAINED, EvaluateOptions
from inpaint.runtime.options import LOOK_AHEAD
from nunif.errors import UserError
from nunif.evaluation.report import KEYS, Report
from nunif.files import make_folder, write_whole
from nunif.video.clips import clip_name, list_clips

FOLDER = "gpu-scores"
HOLES = "static,moving,occlusion"
RENDERED = range(2000, 2008)  # seeds of scenes to judge on


def score_films(setting: Setting, weights: Path, *, until: float) -> Iterator[dict[str, Any]]:
    """Scores by holes and method, and what the training is worth in hole-PSNR; grows from film to
    film.

    The first film is always judged, another one as long as there is time for one like the longest.
    """
    card = setting.card
    where = card.films or render_films(
        setting.scratch / "films", RENDERED, num_frames=card.film_frames, size=card.film_size
    )
    films, longest = list_clips(where), 0.0
    rows: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    for number, film in enumerate(films):
        begin = time.monotonic()
        if number and begin + longest > until:
            left_out |= {clip_name(rest): NO_TIME for rest in films[number:]}
            break
        try:
            rows += score_film(film, weights, setting)
        except UserError as problem:
            left_out[clip_name(film)] = str(problem)
        longest = max(longest, time.monotonic() - begin)
        if rows:
            yield result(weights.stem, rows, left_out)
    if not rows:
        raise UserError(f"there is no film to judge on: {left_out}")
    write_whole(
        setting.output / FOLDER / "scores.txt",
        (report_of(weights.stem, rows).text() + "\n").encode(),
    )
    yield result(weights.stem, rows, left_out)


def score_film(film: Path, weights: Path, setting: Setting) -> list[dict[str, Any]]:
    """The scores of every method with every kind of holes on a film; its report goes into the
    output folder."""
    height, width = setting.card.film_size
    folder = make_folder(setting.output / FOLDER / clip_name(film))
    evaluate.main(
        EvaluateOptions(
            data_dir=film,
            model=(str(weights), UNTRAINED),
            look_ahead=f"0,{LOOK_AHEAD}",
            baselines="none",
            holes=HOLES,
            size=f"{height}x{width}",
            frames=setting.card.film_frames,
            output=folder,
            gpu=setting.gpu,
        )  # fmt: skip
    )
    rows = json.loads((folder / "scores.json").read_text(encoding="utf-8"))["clips"]
    return [
        {name: math.nan if value is None else value for name, value in row.items()} for row in rows
    ]


def report_of(trained: str, rows: list[dict[str, Any]]) -> Report:
    models = [trained, f"{trained}+{LOOK_AHEAD}"]
    return Report(headline=HEADLINE, models=models, rows=rows)


def result(trained: str, rows: list[dict[str, Any]], left_out: dict[str, str]) -> dict[str, Any]:
    """Of all films so far: every score, its means, and trained against untrained where both look
    ahead as far."""
    report = report_of(trained, rows)
    means = [
        {"what": method, "holes": family}
        | {name: _or_none(value) for name, value in scores.items()}
        for family, table in report.means().items()
        for method, scores in table.items()
    ]
    gains = []
    for comparison in report.comparisons():
        if comparison["against"] != comparison["model"].replace(trained, UNTRAINED):
            continue
        what = f"{comparison['model']} against {comparison['against']}"
        gain = {name: _or_none(comparison[name]) for name in ("mean", "low", "high")}
        gains.append(
            {"what": what, "holes": comparison["family"], "gain": gain, "wins": _wins(comparison)}
        )
    clips = [
        {name: value if name in KEYS else _or_none(value) for name, value in row.items()}
        for row in rows
    ]
    return {
        "films": len({row["clip"] for row in rows}),
        "left_out": left_out,
        "means": means,
        "gains": gains,
        "clips": clips,
    }


def _wins(comparison: dict[str, Any]) -> str:
    return f"{comparison['wins']} of {comparison['clips']}"


def _or_none(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
