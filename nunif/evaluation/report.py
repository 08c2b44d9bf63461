"""What an evaluation tells: tables, comparisons clip by clip, CSV, JSON and a page with pictures
and plots."""

import base64
import csv
import html
import io
import math
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
    """The mean of one score over the clips that have it: a clip without a hole has no hole-PSNR
    (NaN)."""
    values = [score[name] for score in scores if not math.isnan(score[name])]
    return sum(values) / len(values) if values else math.nan


@dataclass
class Report:
    """Collects scores and pictures. `models` are what was asked for with -m: they are compared with
    all others."""

    models: list[str]
    rows: list[dict[str, Any]] = field(default_factory=list)
    curves: dict[tuple[str, str, str], list[float]] = field(
        default_factory=dict
    )  # by clip, family and method
    pictures: list[list[np.ndarray]] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)  # of the rows of pictures

    def add(
        self,
        clip: str,
        family: str,
        made_of: str,
        method: str,
        scores: dict[str, float],
        fps: float,
        curve: list[float],
    ) -> None:
        """One method's scores on one clip with one family of holes, whose rows all have the same
        scores."""
        self.rows.append(
            {
                "clip": clip,
                "family": family,
                "made_of": made_of,
                "method": method,
                **scores,
                "fps": fps,
            }
        )
        self.curves[clip, family, method] = curve

    def means(self) -> dict[str, dict[str, dict[str, float]]]:
        """The mean of each score over clips: by family ("all" for all of them, where there are
        several) and method.

        "all" has the scores that every family has: means over different holes would stand side by
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
        """Each model against each other method in hole-PSNR, in pairs clip by clip, by family.

        The interval is of the mean difference, 95 %, by bootstrap over clips (`interval`).
        """
        result = []
        for family, rows in self._families().items():
            by_method = {
                m: {(r["clip"], r["family"]): r["hole_psnr"] for r in of}
                for m, of in _split(rows, "method").items()
            }
            for i, model in enumerate(self.models):
                for other in by_method:
                    if other == model or other in self.models[:i]:
                        continue
                    pairs = [
                        (key[0], value - by_method[other][key])
                        for key, value in by_method[model].items()
                    ]
                    by_clip: dict[str, list[float]] = {}
                    for clip, gain in pairs:
                        by_clip.setdefault(clip, []).append(gain)
                    # families of one clip are no independent draws
                    gains = np.array([np.mean(values) for values in by_clip.values()])
                    low, high = interval(gains)
                    result.append(
                        {
                            "family": family,
                            "model": model,
                            "against": other,
                            "mean": float(gains.mean()),
                            "standard_deviation": float(gains.std(ddof=1))
                            if len(gains) > 1
                            else math.nan,
                            "low": low,
                            "high": high,
                            "wins": int((gains > 0).sum()),
                            "clips": len(gains),
                        }
                    )
        return result

    def text(self) -> str:
        """The tables and comparisons for a terminal, without scores that no method of a family
        has."""
        lines = []
        for family, table in self.means().items():
            count = len(_split(self._families()[family], "clip"))
            columns = [[f"{family}, {count} clips", *table]]
            for score in next(iter(table.values())):
                values = [scores[score] for scores in table.values()]
                if not all(map(math.isnan, values)):
                    columns.append([score, *map(_number, values)])
            widths = [max(map(len, column)) + 2 for column in columns]
            first = max(24, widths[0])
            for name, *numbers in zip(*columns):
                lines.append(
                    f"{name:<{first}}"
                    + "".join(f"{n:>{width}}" for n, width in zip(numbers, widths[1:]))
                )
            lines.append("")
        if self.models:
            lines.append("hole-PSNR, clip by clip:")
        lines += [
            f"  {c['family']}: {c['model']} against {c['against']}: {c['mean']:+.2f} dB, standard "
            "deviation "
            f"{_number(c['standard_deviation'], 2)}, 95 % interval {_number(c['low'], 2)} to "
            f"{_number(c['high'], 2)}, "
            f"better on {c['wins']} of {c['clips']}"
            for c in self.comparisons()
        ]
        return "\n".join(lines).rstrip()

    def write(self, folder: Path) -> None:
        """scores.csv, scores.json, clips.png and report.html, each whole or not at all."""
        text = io.StringIO()
        names = dict.fromkeys(chain.from_iterable(self.rows))  # families have scores of their own
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(folder / "scores.csv", text.getvalue())
        scores = {"clips": self.rows, "mean": self.means(), "comparisons": self.comparisons()}
        write_json(folder / "scores.json", _without_nan(scores))
        height = max(row[0].shape[0] for row in self.pictures)
        width = max(row[0].shape[1] for row in self.pictures)
        save_png(
            folder / "clips.png",
            tile([[_pad(picture, height, width) for picture in row] for row in self.pictures]),
        )
        write_text(folder / "report.html", self.page())

    def page(self) -> str:
        """An HTML page that needs no other file."""
        parts = [
            "<!DOCTYPE html><html lang=en><meta charset=utf-8><title>Inpainting scores</title>"
        ]
        parts.append(
            "<style>body{font:14px sans-serif;margin:2em}td,th{padding:2px "
            "10px;text-align:right}img{max-width:100%}</style>"
        )
        parts.append(f"<h1>Inpainting scores</h1><pre>{html.escape(self.text())}</pre>")
        parts += [
            f"<h2>Hole-PSNR</h2><img alt='hole-PSNR per clip' src='{_data(self._bars(), 'png')}'>"
        ]
        for title, row in zip(self.titles, self.pictures):
            jpeg = cv2.imencode(".jpg", tile([row])[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[
                1
            ].tobytes()
            parts.append(
                f"<h3>{html.escape(title)}</h3><img alt='pictures' src='{_data(jpeg, 'jpeg')}'>"
            )
        for clip, family in dict.fromkeys(key[:2] for key in self.curves):
            name = html.escape(f"{clip}, {family}, frame by frame")
            parts.append(
                f"<h3>{name}</h3><img alt='{name}' "
                f"src='{_data(self._over_time(clip, family), 'png')}'>"
            )
        return "\n".join(parts) + "\n</html>\n"

    def _families(self) -> dict[str, list[dict[str, Any]]]:
        families = _split(self.rows, "family")
        return {**families, "all": self.rows} if len(families) > 1 else families

    def _bars(self) -> bytes:
        groups = list(dict.fromkeys((row["clip"], row["family"]) for row in self.rows))
        methods = _split(self.rows, "method")
        figure = _figure(max(8.0, 0.9 * len(groups)))
        axes = figure.subplots()
        for i, (method, rows) in enumerate(methods.items()):
            values = {(row["clip"], row["family"]): row["hole_psnr"] for row in rows}
            places = np.arange(len(groups)) + (i - len(methods) / 2) * 0.8 / len(methods)
            axes.bar(
                places,
                [values.get(group, math.nan) for group in groups],
                0.8 / len(methods),
                label=plain_text(method),
            )
        names = [plain_text(f"{clip}\n{family}") for clip, family in groups]
        axes.set_xticks(range(len(groups)), names, rotation=60, fontsize=7)
        return _finish(figure, axes)

    def _over_time(self, clip: str, family: str) -> bytes:
        figure = _figure(8.0)
        axes = figure.subplots()
        for (c, f, method), curve in self.curves.items():
            if (c, f) == (clip, family):
                axes.plot(curve, label=plain_text(method))
        axes.set_xlabel("frame")
        return _finish(figure, axes)


def interval(gains: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean by the percentile bootstrap, always the same draws; NaN for fewer
    than two values."""
    if len(gains) < 2:
        return math.nan, math.nan
    drawn = np.random.default_rng(0).choice(gains, (DRAWS, len(gains))).mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _split(rows: list[dict[str, Any]], key: str) -> dict[str, list[dict[str, Any]]]:
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        parts.setdefault(row[key], []).append(row)
    return parts


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


def _figure(width: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _finish(figure: Any, axes: Any) -> bytes:
    axes.set_ylabel("hole-PSNR, dB")
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=90)
    return content.getvalue()
