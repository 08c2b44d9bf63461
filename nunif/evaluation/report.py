"""What an evaluation tells: tables, comparisons clip by clip, CSV and JSON, and the pictures that
its page shows."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from nunif.evaluation.views import Place, View
from nunif.files import write_json, write_text
from nunif.image import save_png
from nunif.pictures import label, tile

KEYS = ("clip", "family", "made_of", "method", "frames")  # of rows; all else are scores
DRAWS = 10_000  # of the bootstrap
MIN_CLIPS = 5  # fewer say next to nothing of how clips differ, and an interval would pretend to


def mean_of(scores: list[dict[str, float]], name: str) -> float:
    """The mean of one score over the clips that have it: where there is nothing to measure it is
    NaN."""
    values = [score[name] for score in scores if not math.isnan(score[name])]
    return sum(values) / len(values) if values else math.nan


@dataclass(frozen=True)
class Headline:
    """The score by which methods are compared, clip by clip, and which is plotted.

    score: its name among the scores. name, unit: what people read. digits: of differences.
    """

    score: str
    name: str
    unit: str = ""
    digits: int = 2
    higher_is_better: bool = True

    @property
    def title(self) -> str:
        return self.name[:1].upper() + self.name[1:]

    @property
    def axis(self) -> str:
        return f"{self.name}, {self.unit}" if self.unit else self.name

    def difference(self, value: float) -> str:
        """A difference with its sign and its unit."""
        return f"{value:+.{self.digits}f} {self.unit}".rstrip()


@dataclass(frozen=True)
class Column:
    """What a score means. text: in a sentence, for people.

    best: the value that a score had better be near: infinity where higher is better, its negative
        where lower is, or a number. by_frame: it is a mean over frames, of which the mean over all
        frames of all clips can be had.
    """

    text: str
    best: float = math.inf
    by_frame: bool = False


@dataclass(frozen=True)
class Exhibit:
    """What the methods made of a clip. views: by the method's name, and what they started from."""

    title: str
    clip: str
    family: str
    place: Place
    views: Mapping[str, View]


@dataclass(kw_only=True)
class Report:
    """Collects scores and pictures and makes all tables of them.

    models: the methods that are judged: each is compared with all others.
    columns: what the scores mean, by name. note: a sentence on what was judged, for the page.
    rows: one for each clip, family and method: `KEYS` as far as they are given, and its scores.
    """

    headline: Headline
    models: Sequence[str]
    title: str = "Scores"
    columns: Mapping[str, Column] = field(default_factory=dict)
    note: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    # by clip, family and method
    curves: dict[tuple[str, str, str], Sequence[float]] = field(default_factory=dict)
    exhibits: list[Exhibit] = field(default_factory=list)

    def add(
        self,
        *,
        clip: str,
        method: str,
        scores: Mapping[str, float],
        family: str | None = None,
        made_of: str | None = None,
        fps: float | None = None,
        frames: int | None = None,
        curve: Sequence[float] | None = None,
    ) -> None:
        """One method's scores on one clip, or on one variant of it.

        family: the kind of variant, where there are kinds: each makes a table, and all its rows
            have the same scores. made_of: what this variant was made of, in a word.
        fps: frames per second. frames: how many the clip has. curve: the headline score frame by
            frame.
        """
        row: dict[str, Any] = {"clip": clip}
        row |= {} if family is None else {"family": family}
        row |= {} if made_of is None else {"made_of": made_of}
        row |= {"method": method, **scores}
        row |= {} if fps is None else {"fps": fps}
        row |= {} if frames is None else {"frames": frames}
        self.rows.append(row)
        if curve is not None:
            self.curves[clip, family or "", method] = curve

    def means(self) -> dict[str, dict[str, dict[str, float]]]:
        """The mean of each score over clips: by family ("all" for all of them, where there are
        several; "" where there are no kinds) and method.

        "all" has the scores that every family has: means over different clips would stand side by
        side otherwise.
        """
        result = {}
        for family, rows in self.families().items():
            scores = _common(rows)
            result[family] = {
                m: {s: mean_of(of, s) for s in scores} for m, of in split(rows, "method").items()
            }
        return result

    def means_over_frames(self) -> dict[str, dict[str, dict[str, float]]]:
        """As `means`, but over all frames of all clips, so that longer clips weigh more; only of
        scores that are means over frames, and of clips whose length is known."""
        result = {}
        for family, rows in self.families().items():
            rows = [row for row in rows if "frames" in row]
            scores = [s for s in _common(rows) if s in self.columns and self.columns[s].by_frame]
            if scores:
                result[family] = {
                    m: {s: _mean_over_frames(of, s) for s in scores}
                    for m, of in split(rows, "method").items()
                }
        return result

    def comparisons(self) -> list[dict[str, Any]]:
        """Each model against each other method in the headline score, in pairs clip by clip, by
        family.

        The interval is of the mean difference, 95 %, by bootstrap over clips (`interval`); NaN for
        fewer than 5 clips. A clip counts where both have that score; without any such clip there is
        no comparison.
        """
        result = []
        for family, rows in self.families().items():
            methods = split(rows, "method")
            for i, model in enumerate(self.models):
                for other in methods:
                    if other == model or other in self.models[:i]:
                        continue
                    gains = self._gains(methods[model], methods[other])
                    if len(gains):
                        pair = {"family": family, "model": model, "against": other}
                        result.append(pair | self._summary(gains))
        return result

    def _gains(self, model: list[dict[str, Any]], other: list[dict[str, Any]]) -> np.ndarray:
        """By how much the headline score of a model is above that of another method, one mean for
        each clip: its families are no independent draws."""
        others = {variant(row): row[self.headline.score] for row in other}
        by_clip: dict[str, list[float]] = {}
        for row in model:
            gain = row[self.headline.score] - others.get(variant(row), math.nan)
            if math.isfinite(gain):
                by_clip.setdefault(row["clip"], []).append(gain)
        return np.array([np.mean(gains) for gains in by_clip.values()])

    def _summary(self, gains: np.ndarray) -> dict[str, float]:
        low, high = interval(gains)
        return {
            "mean": float(gains.mean()),
            "standard_deviation": float(gains.std(ddof=1)) if len(gains) > 1 else math.nan,
            "low": low,
            "high": high,
            "wins": int(((gains > 0) if self.headline.higher_is_better else (gains < 0)).sum()),
            "clips": len(gains),
        }

    def text(self) -> str:
        """The tables and comparisons for a terminal, without scores that no method of a family
        has."""
        lines = []
        over_frames = self.means_over_frames()
        for family, table in self.means().items():
            rows = self.families()[family]
            count = len(split(rows, "clip"))
            title = f"{family}, {count} clips" if family else f"mean over {count} clips"
            lines += [*_table(title, table), ""]
            if family in over_frames and len({row.get("frames") for row in rows}) > 1:
                lines += [*_table("mean over all frames", over_frames[family]), ""]
        if self.models:
            lines.append(f"{self.headline.name}, clip by clip:")
        lines += [f"  {self._sentence(comparison)}" for comparison in self.comparisons()]
        return "\n".join(lines).rstrip()

    def _sentence(self, comparison: dict[str, Any]) -> str:
        c, digits = comparison, self.headline.digits
        family = f"{c['family']}: " if c["family"] else ""
        return (
            f"{family}{c['model']} against {c['against']}: {self.headline.difference(c['mean'])}, "
            f"standard deviation {number(c['standard_deviation'], digits)}, "
            f"{interval_text(c, digits)}, better on {c['wins']} of {c['clips']}"
        )

    def write_scores(self, folder: Path) -> None:
        """scores.csv and scores.json, each whole or not at all."""
        self.write_csv(folder / "scores.csv")
        write_json(folder / "scores.json", _without_nan(self.scores()))

    def scores(self) -> dict[str, Any]:
        """What scores.json holds. Without kinds of clips, means go by method alone."""
        means, over_frames = self.means(), self.means_over_frames()
        has_kinds = list(means) != [""]
        return {
            "clips": self.rows,
            "mean": means if has_kinds else means[""],
            "mean_over_frames": over_frames if has_kinds else over_frames.get("", {}),
            "comparisons": self.comparisons(),
        }

    def write_csv(self, path: Path) -> None:
        """A line for each row, whole or not at all."""
        text = io.StringIO()
        names = dict.fromkeys(chain.from_iterable(self.rows))  # families have scores of their own
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(path, text.getvalue())

    def write_pictures(self, path: Path) -> None:
        """The frames of all exhibits in one, a row for each, with their names."""
        rows = [
            [label(view.picture, name) for name, view in exhibit.views.items()]
            for exhibit in self.exhibits
        ]
        height = max(row[0].shape[0] for row in rows)
        width = max(row[0].shape[1] for row in rows)
        save_png(path, tile([[_pad(picture, height, width) for picture in row] for row in rows]))

    def families(self) -> dict[str, list[dict[str, Any]]]:
        families = split(self.rows, "family")
        return {**families, "all": self.rows} if len(families) > 1 else families


def interval(gains: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean by the percentile bootstrap, always the same draws; NaN for fewer
    than five values."""
    if len(gains) < MIN_CLIPS:
        return math.nan, math.nan
    drawn = np.random.default_rng(0).choice(gains, (DRAWS, len(gains))).mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def interval_text(comparison: Mapping[str, Any], digits: int) -> str:
    """The interval of a comparison, or why there is none."""
    if math.isnan(comparison["low"]):
        return f"no interval below {MIN_CLIPS} clips"
    low, high = (number(comparison[name], digits) for name in ("low", "high"))
    return f"95 % interval {low} to {high}"


def variant(row: Mapping[str, Any]) -> tuple[str, str]:
    """The clip and the family of a row: what methods are compared on."""
    return row["clip"], row.get("family", "")


def split(rows: list[dict[str, Any]], key: str) -> dict[str, list[dict[str, Any]]]:
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        parts.setdefault(row.get(key, ""), []).append(row)
    return parts


def _common(rows: list[dict[str, Any]]) -> list[str]:
    """The scores that all rows have."""
    first = rows[0] if rows else {}
    return [name for name in first if name not in KEYS and all(name in row for row in rows)]


def _mean_over_frames(rows: list[dict[str, Any]], name: str) -> float:
    counted = [row for row in rows if not math.isnan(row[name])]
    total = sum(row["frames"] for row in counted)
    return sum(row[name] * row["frames"] for row in counted) / total if total else math.nan


def _table(title: str, means: dict[str, dict[str, float]]) -> list[str]:
    """A line for each method under a line of the scores' names; without scores that none has."""
    columns = [[title, *means]]
    for score in next(iter(means.values())):
        values = [scores[score] for scores in means.values()]
        if not all(map(math.isnan, values)):
            columns.append([score, *map(number, values)])
    widths = [max(map(len, column)) + 2 for column in columns]
    first = max(24, widths[0])
    lines = []
    for name, *numbers in zip(*columns):
        cells = [f"{number:>{width}}" for number, width in zip(numbers, widths[1:])]
        lines.append(f"{name:<{first}}" + "".join(cells))
    return lines


def number(value: float, digits: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: what was not measured is null."""
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _pad(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.pad(picture, ((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0)))
