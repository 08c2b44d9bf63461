"""What an evaluation tells: tables, comparisons clip by clip, CSV, JSON and a page with pictures
and plots."""

import base64
import csv
import html
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nunif.files import plain_text, write_json, write_text
from nunif.image import save_png
from nunif.pictures import tile

KEYS = ("clip", "family", "made_of", "method")
DRAWS = 10_000  # of the bootstrap


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


@dataclass(kw_only=True)
class Report:
    """Collects scores and pictures and makes all tables of them.

    models: the methods that are judged: each is compared with all others.
    rows: one for each clip, family and method: `KEYS` as far as they are given, then its scores.
    """

    headline: Headline
    models: Sequence[str]
    title: str = "Scores"
    rows: list[dict[str, Any]] = field(default_factory=list)
    # by clip, family and method
    curves: dict[tuple[str, str, str], Sequence[float]] = field(default_factory=dict)
    pictures: list[Sequence[np.ndarray]] = field(default_factory=list)  # (H, W, 3) uint8
    titles: list[str] = field(default_factory=list)  # of the rows of pictures

    def add(
        self,
        *,
        clip: str,
        method: str,
        scores: Mapping[str, float],
        family: str | None = None,
        made_of: str | None = None,
        fps: float | None = None,
        curve: Sequence[float] | None = None,
    ) -> None:
        """One method's scores on one clip, or on one variant of it.

        family: the kind of variant, where there are kinds: each makes a table, and all its rows
            have the same scores. made_of: what this variant was made of, in a word.
        fps: frames per second. curve: the headline score frame by frame.
        """
        row: dict[str, Any] = {"clip": clip}
        row |= {} if family is None else {"family": family}
        row |= {} if made_of is None else {"made_of": made_of}
        row |= {"method": method, **scores}
        row |= {} if fps is None else {"fps": fps}
        self.rows.append(row)
        if curve is not None:
            self.curves[clip, family or "", method] = curve

    def show(self, pictures: Sequence[np.ndarray], *, title: str) -> None:
        """A row of equally sized pictures, (H, W, 3) uint8."""
        self.pictures.append(pictures)
        self.titles.append(title)

    def means(self) -> dict[str, dict[str, dict[str, float]]]:
        """The mean of each score over clips: by family ("all" for all of them, where there are
        several; "" where there are no kinds) and method.

        "all" has the scores that every family has: means over different clips would stand side by
        side otherwise.
        """
        result = {}
        for family, rows in self._families().items():
            scores = [
                name for name in rows[0] if name not in KEYS and all(name in row for row in rows)
            ]
            result[family] = {
                m: {s: mean_of(of, s) for s in scores} for m, of in _split(rows, "method").items()
            }
        return result

    def comparisons(self) -> list[dict[str, Any]]:
        """Each model against each other method in the headline score, in pairs clip by clip, by
        family.

        The interval is of the mean difference, 95 %, by bootstrap over clips (`interval`). A clip
        counts where both have that score; without any such clip there is no comparison.
        """
        result = []
        for family, rows in self._families().items():
            methods = _split(rows, "method")
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
        others = {_variant(row): row[self.headline.score] for row in other}
        by_clip: dict[str, list[float]] = {}
        for row in model:
            gain = row[self.headline.score] - others.get(_variant(row), math.nan)
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
        for family, table in self.means().items():
            count = len(_split(self._families()[family], "clip"))
            title = f"{family}, {count} clips" if family else f"mean over {count} clips"
            lines += [*_table(title, table), ""]
        if self.models:
            lines.append(f"{self.headline.name}, clip by clip:")
        lines += [f"  {self._sentence(comparison)}" for comparison in self.comparisons()]
        return "\n".join(lines).rstrip()

    def _sentence(self, comparison: dict[str, Any]) -> str:
        c, digits = comparison, self.headline.digits
        family = f"{c['family']}: " if c["family"] else ""
        return (
            f"{family}{c['model']} against {c['against']}: {self.headline.difference(c['mean'])}, "
            f"standard deviation {_number(c['standard_deviation'], digits)}, 95 % interval "
            f"{_number(c['low'], digits)} to {_number(c['high'], digits)}, "
            f"better on {c['wins']} of {c['clips']}"
        )

    def write(self, folder: Path) -> None:
        """scores.csv, scores.json, clips.png where there are pictures, and report.html, each whole
        or not at all."""
        self.write_csv(folder / "scores.csv")
        scores = {"clips": self.rows, "mean": self.means(), "comparisons": self.comparisons()}
        write_json(folder / "scores.json", _without_nan(scores))
        if self.pictures:
            self.write_pictures(folder / "clips.png")
        write_text(folder / "report.html", self.page())

    def write_csv(self, path: Path) -> None:
        """A line for each row, whole or not at all."""
        text = io.StringIO()
        names = dict.fromkeys(chain.from_iterable(self.rows))  # families have scores of their own
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(path, text.getvalue())

    def write_pictures(self, path: Path) -> None:
        """All rows of pictures in one."""
        height = max(row[0].shape[0] for row in self.pictures)
        width = max(row[0].shape[1] for row in self.pictures)
        rows = [[_pad(picture, height, width) for picture in row] for row in self.pictures]
        save_png(path, tile(rows))

    def page(self) -> str:
        """An HTML page that needs no other file."""
        title, name = html.escape(self.title), html.escape(self.headline.name)
        parts = [f"<!DOCTYPE html><html lang=en><meta charset=utf-8><title>{title}</title>"]
        parts.append(
            "<style>body{font:14px sans-serif;margin:2em}td,th{padding:2px "
            "10px;text-align:right}img{max-width:100%}</style>"
        )
        parts.append(f"<h1>{title}</h1><pre>{html.escape(self.text())}</pre>")
        parts.append(
            f"<h2>{html.escape(self.headline.title)}</h2>"
            f"<img alt='{name} per clip' src='{_data(self._bars(), 'png')}'>"
        )
        for heading, row in zip(self.titles, self.pictures):
            jpeg = _jpeg(tile([row]))
            parts.append(
                f"<h3>{html.escape(heading)}</h3><img alt='pictures' src='{_data(jpeg, 'jpeg')}'>"
            )
        for clip, family in dict.fromkeys(key[:2] for key in self.curves):
            what = html.escape(", ".join(filter(None, (clip, family, "frame by frame"))))
            plot = _data(self._over_time(clip, family), "png")
            parts.append(f"<h3>{what}</h3><img alt='{what}' src='{plot}'>")
        return "\n".join(parts) + "\n</html>\n"

    def _families(self) -> dict[str, list[dict[str, Any]]]:
        families = _split(self.rows, "family")
        return {**families, "all": self.rows} if len(families) > 1 else families

    def _bars(self) -> bytes:
        groups = list(dict.fromkeys(map(_variant, self.rows)))
        methods = _split(self.rows, "method")
        figure = _figure(max(8.0, 0.9 * len(groups)))
        axes = figure.subplots()
        width = 0.8 / len(methods)
        for i, (method, rows) in enumerate(methods.items()):
            values = {_variant(row): row[self.headline.score] for row in rows}
            heights = [values.get(group, math.nan) for group in groups]
            places = np.arange(len(groups)) + (i - len(methods) / 2) * 0.8 / len(methods)
            axes.bar(places, heights, width, label=plain_text(method))
        names = [plain_text("\n".join(filter(None, group))) for group in groups]
        axes.set_xticks(range(len(groups)), names, rotation=60, fontsize=7)
        return self._drawn(figure, axes)

    def _over_time(self, clip: str, family: str) -> bytes:
        figure = _figure(8.0)
        axes = figure.subplots()
        for (c, f, method), curve in self.curves.items():
            if (c, f) == (clip, family):
                axes.plot(curve, label=plain_text(method))
        axes.set_xlabel("frame")
        return self._drawn(figure, axes)

    def _drawn(self, figure: Any, axes: Any) -> bytes:
        """A plot of the headline score as PNG."""
        axes.set_ylabel(self.headline.axis)
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=90)
        return content.getvalue()


def interval(gains: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean by the percentile bootstrap, always the same draws; NaN for fewer
    than two values."""
    if len(gains) < 2:
        return math.nan, math.nan
    drawn = np.random.default_rng(0).choice(gains, (DRAWS, len(gains))).mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _variant(row: dict[str, Any]) -> tuple[str, str]:
    """The clip and the family of a row: what methods are compared on."""
    return row["clip"], row.get("family", "")


def _split(rows: list[dict[str, Any]], key: str) -> dict[str, list[dict[str, Any]]]:
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        parts.setdefault(row.get(key, ""), []).append(row)
    return parts


def _table(title: str, means: dict[str, dict[str, float]]) -> list[str]:
    """A line for each method under a line of the scores' names; without scores that none has."""
    columns = [[title, *means]]
    for score in next(iter(means.values())):
        values = [scores[score] for scores in means.values()]
        if not all(map(math.isnan, values)):
            columns.append([score, *map(_number, values)])
    widths = [max(map(len, column)) + 2 for column in columns]
    first = max(24, widths[0])
    lines = []
    for name, *numbers in zip(*columns):
        cells = [f"{number:>{width}}" for number, width in zip(numbers, widths[1:])]
        lines.append(f"{name:<{first}}" + "".join(cells))
    return lines


def _number(value: float, digits: int = 3) -> str:
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


def _data(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _jpeg(picture: np.ndarray) -> bytes:
    flags = [cv2.IMWRITE_JPEG_QUALITY, 88]
    return cv2.imencode(".jpg", picture[..., ::-1], flags)[1].tobytes()


def _figure(width: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
