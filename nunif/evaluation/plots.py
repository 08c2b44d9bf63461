"""Plots of a report, as PNG."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nunif.evaluation.report import Headline, Report, split, variant
from nunif.files import plain_text

WIDEST = 40.0  # inches
LONGEST = 24  # letters of a name
MARKERS = "osD^v<>PX*"


def points(report: Report) -> bytes:
    """The headline score of every clip and method; what is judged is filled."""
    groups = list(dict.fromkeys(map(variant, report.rows)))
    methods = split(report.rows, "method")
    figure = _figure(min(WIDEST, max(8.0, 0.6 * len(groups))))
    axes = figure.subplots()
    for i, (method, rows) in enumerate(methods.items()):
        values = {variant(row): row[report.headline.score] for row in rows}
        heights = [values.get(group, math.nan) for group in groups]
        places = np.arange(len(groups)) + (i - (len(methods) - 1) / 2) * 0.6 / len(methods)
        marker = MARKERS[i % len(MARKERS)]
        inside = {} if method in report.models else {"markerfacecolor": "none"}
        label = plain_text(method)
        axes.plot(places, heights, marker, markersize=5, label=label, **inside)
    names = ["\n".join(map(_ending, filter(None, group))) for group in groups]
    axes.set_xticks(
        range(len(groups)), names, rotation=60, fontsize=7, ha="right", rotation_mode="anchor"
    )
    axes.grid(axis="y", alpha=0.3)
    return _drawn(figure, axes, report.headline)


def over_time(headline: Headline, curves: Mapping[str, Sequence[float]]) -> bytes:
    """The headline score frame by frame, a line for each method."""
    figure = _figure(8.0)
    axes = figure.subplots()
    for method, curve in curves.items():
        axes.plot(curve, label=plain_text(method))
    axes.set_xlabel("frame")
    return _drawn(figure, axes, headline)


def _ending(name: str) -> str:
    """What tells long names apart, which would leave the plot no room."""
    name = plain_text(name)
    return name if len(name) <= LONGEST else f"...{name[3 - LONGEST :]}"


def _figure(width: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _drawn(figure: Any, axes: Any, headline: Headline) -> bytes:
    axes.set_ylabel(headline.axis)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=90)
    return content.getvalue()
