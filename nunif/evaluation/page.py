"""A report as one HTML page for eyes: it needs no other file and no script.

Pictures are shown part by part at full size; a click opens the whole frame and a loop over the page
(`:target` of CSS), and from there the next method's in its place.
"""

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nunif.evaluation.plots import over_time, points
from nunif.evaluation.report import (
    MIN_CLIPS,
    Column,
    Exhibit,
    Report,
    number,
    split,
    variant,
)
from nunif.evaluation.views import View, crop_webp, whole_webp
from nunif.files import write_text

STYLE = """
*{box-sizing:border-box}
html{scroll-behavior:auto;-webkit-text-size-adjust:100%}
body{font:15px/1.45 system-ui,sans-serif;color:#1b1d20;background:#fff;max-width:1400px;
margin:0 auto;padding:16px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:20px;margin:36px 0 8px;border-bottom:1px solid #ccc}
h3{font-size:16px;margin:20px 0 6px}p{margin:4px 0 8px;max-width:75em}
nav a{margin-right:14px}a{color:#1457b8}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;white-space:nowrap}
td,th{padding:4px 10px;text-align:right;border-bottom:1px solid #e3e5e8}
th{font-weight:600;vertical-align:bottom}thead th{border-bottom:2px solid #888}
th[title]{text-decoration:underline dotted #888;text-underline-offset:3px;cursor:help}
tbody th,thead th:first-child{text-align:left;position:sticky;left:0;background:#fff;
font-weight:400;vertical-align:middle}
.judged th,.judged td{background:#eaf1fb}td b{font-weight:750}
small{color:#565b63;font-size:12px}
td.up{background:#dff3e0}td.down{background:#fbe3e0}
details{margin:8px 0}summary{cursor:pointer;color:#1457b8;padding:4px 0}
dt{font-weight:600;margin-top:6px}dd{margin:0 0 0 18px;max-width:75em}
.plot{min-width:640px;max-width:100%}
.row{display:flex;flex-wrap:wrap;gap:14px;align-items:flex-end}
figure{margin:0;max-width:100%}figure img{display:block;max-width:100%;height:auto}
.parts figure{min-width:240px}
figcaption{padding:3px 0;max-width:320px;overflow-wrap:anywhere}
.judged figcaption,.light .judged{color:#0d47a1}.light .judged{color:#9ec5ff}
.light{display:none;position:fixed;inset:0;z-index:9;background:#16181b;color:#eee;
overflow:auto;padding:12px 16px}
.light:target{display:block}.light a{color:#9ec5ff;padding:6px 12px 6px 0;display:inline-block}
.light .row{align-items:flex-start;margin-top:8px}.light small{color:#aaa}
.light .loop img{width:336px}
@media(max-width:600px){body{padding:10px}td,th{padding:4px 7px}h1{font-size:22px}
.light{padding:8px 10px}tbody th{min-width:110px;max-width:150px;white-space:normal;
overflow-wrap:break-word}
td small{display:inline-block;white-space:normal;min-width:9em}.parts figure{min-width:170px}}
"""


def write_report(report: Report, folder: Path) -> None:
    """scores.csv, scores.json, clips.png where there are pictures, and report.html, each whole or
    not at all."""
    report.write_scores(folder)
    if report.exhibits:
        report.write_pictures(folder / "clips.png")
    write_text(folder / "report.html", page_of(report))


def page_of(report: Report) -> str:
    """The whole page."""
    title = _text(report.title)
    parts = [
        f"<!DOCTYPE html><html lang=en><head><meta charset=utf-8><title>{title}</title>",
        "<meta name=viewport content='width=device-width,initial-scale=1'>",
        f"<style>{STYLE}</style></head><body><h1>{title}</h1><p>{_text(report.note)}</p>",
        *_navigation(report),
        *_scores(report),
        *_differences(report),
        *_clip_by_clip(report),
        *_pictures(report),
    ]
    return "\n".join(parts) + "\n</body></html>\n"


def _navigation(report: Report) -> Iterable[str]:
    sections = {"scores": "Scores", "clips": "Clip by clip"}
    sections |= {"differences": "Differences"} if report.comparisons() else {}
    sections |= {"pictures": "Pictures"} if report.exhibits else {}
    links = [f"<a href='#{place}'>{name}</a>" for place, name in sections.items()]
    yield f"<nav>{''.join(links)}</nav>"


def _scores(report: Report) -> Iterable[str]:
    """A table for each kind of clips, all of them first."""
    yield "<h2 id=scores>Scores</h2>"
    yield (
        "<p>Means over clips; the best of a column is bold, an arrow says which way is better."
        + (" Shaded: what is judged.</p>" if report.models else "</p>")
    )
    means, over_frames = report.means(), report.means_over_frames()
    shown = [family for family in ("all", *means) if family in means]
    for family in dict.fromkeys(shown):
        rows = report.families()[family]
        clips = _count(len(split(rows, "clip")), "clip")
        yield f"<h3>{_text(f'{family}, {clips}' if family else clips)}</h3>"
        yield _table(report, means[family])
        if family in over_frames and len({row.get("frames") for row in rows}) > 1:
            yield "<p>Over all frames of all clips, so that longer clips weigh more:</p>"
            yield _table(report, over_frames[family])
    names = dict.fromkeys(name for table in means.values() for name in next(iter(table.values())))
    told = [name for name in names if name in report.columns]
    if told:
        yield "<details><summary>What the columns mean</summary><dl>"
        for name in told:
            column = report.columns[name]
            yield f"<dt>{_text(name)} {_arrow(column)}</dt><dd>{_text(column.text)}</dd>"
        yield "</dl></details>"


def _table(report: Report, means: Mapping[str, Mapping[str, float]]) -> str:
    """A row for each method; without scores that none has."""
    scores = [
        name for name in next(iter(means.values()))
        if not all(math.isnan(values[name]) for values in means.values())
    ]  # fmt: skip
    heads = [_head(name, report.columns.get(name)) for name in scores]
    best = {
        name: _best([values[name] for values in means.values()], _column(report, name).best)
        for name in scores
    }
    lines = [f"<div class=scroll><table><thead><tr><th></th>{''.join(heads)}</tr></thead><tbody>"]
    for method, values in means.items():
        cells = [_cell(values[name], best[name]) for name in scores]
        lines.append(f"<tr{_judged(report, method)}><th>{_text(method)}</th>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</tbody></table></div>"])


def _differences(report: Report) -> Iterable[str]:
    """One table: a row for each pair of methods, a column for each kind of clips."""
    comparisons = report.comparisons()
    if not comparisons:
        return
    headline = report.headline
    yield f"<h2 id=differences>Differences in {_text(headline.axis)}</h2>"
    yield (
        "<p>Mean difference, clip by clip. Below it: its 95 % interval (bootstrap over clips), the "
        "standard deviation σ of the clips, and on how many of them it is better. Green: better, "
        "red: worse, where the interval says so; no colour: it can't be told.</p>"
    )
    if any(math.isnan(comparison["low"]) for comparison in comparisons):
        yield (
            f"<p>No interval below {MIN_CLIPS} clips: so few say next to nothing of how clips "
            "differ.</p>"
        )
    families = dict.fromkeys(comparison["family"] for comparison in comparisons)
    families = {name: None for name in ("all", *families) if name in families}
    heads = "".join(f"<th>{_text(family or 'all clips')}</th>" for family in families)
    yield (
        "<div class=scroll><table><thead><tr><th></th>"
        f"{heads}</tr></thead><tbody>"
    )  # fmt: skip
    pairs: dict[tuple[str, str], dict[str, Any]] = {}
    for comparison in comparisons:
        pair = (comparison["model"], comparison["against"])
        pairs.setdefault(pair, {})[comparison["family"]] = comparison
    for (model, against), found in pairs.items():
        cells = [_difference(report, found.get(family)) for family in families]
        name = f"<th>{_text(model)} <small>against</small> {_text(against)}</th>"
        yield f"<tr>{name}{''.join(cells)}</tr>"
    yield "</tbody></table></div>"


def _difference(report: Report, comparison: Mapping[str, Any] | None) -> str:
    if comparison is None:
        return "<td>-</td>"
    c, digits = comparison, report.headline.digits
    low, high = c["low"], c["high"]
    sign = 0 if math.isnan(low) else (low > 0) - (high < 0)
    if not report.headline.higher_is_better:
        sign = -sign
    colour = {1: " class=up", -1: " class=down", 0: ""}[sign]
    told = [] if math.isnan(low) else [f"{number(low, digits)} to {number(high, digits)}"]
    if not math.isnan(c["standard_deviation"]):
        told.append(f"σ {number(c['standard_deviation'], digits)}")
    told.append(f"better on {c['wins']} of {c['clips']}")
    return f"<td{colour}>{c['mean']:+.{digits}f}<br><small>{' · '.join(told)}</small></td>"


def _clip_by_clip(report: Report) -> Iterable[str]:
    """The headline score of every clip: bars, and the numbers in a table that opens."""
    headline = report.headline
    yield "<h2 id=clips>Clip by clip</h2>"
    plot = _image(points(report), "png", f"{headline.name} per clip", "class=plot")
    yield f"<div class=scroll>{plot}</div>"
    methods = list(split(report.rows, "method"))
    yield f"<details><summary>{_text(headline.title)} in numbers</summary>"
    heads = "".join(f"<th>{_text(method)}</th>" for method in methods)
    yield f"<div class=scroll><table><thead><tr><th></th>{heads}</tr></thead><tbody>"
    for (clip, family), values in _by_variant(report).items():
        best = _best(list(values.values()), _direction(report))
        cells = [_cell(values.get(method, math.nan), best) for method in methods]
        yield f"<tr><th>{_text(', '.join(filter(None, (clip, family))))}</th>{''.join(cells)}</tr>"
    yield "</tbody></table></div></details>"


def _pictures(report: Report) -> Iterable[str]:
    if not report.exhibits:
        return
    yield "<h2 id=pictures>Pictures</h2>"
    count = len({variant(row) for row in report.rows})
    some = f", {len(report.exhibits)} of {count}" if len(report.exhibits) < count else ""
    yield (
        f"<p>A part of one frame of each clip at full size{some}. A click on it opens the whole "
        "frame and a loop; there, next and previous change the method in its place.</p>"
    )
    values = _by_variant(report)
    for i, exhibit in enumerate(report.exhibits):
        yield from _exhibit(
            report, exhibit, f"p{i}", values.get((exhibit.clip, exhibit.family), {})
        )


def _exhibit(
    report: Report, exhibit: Exhibit, place: str, values: Mapping[str, float]
) -> Iterable[str]:
    """The parts side by side, and over the page, when one is clicked, its whole frame."""
    names = sorted(exhibit.views, key=lambda name: (name in values, name not in report.models))
    best = _best(list(values.values()), _direction(report))
    told = {name: _told(report, name, values, best) for name in names}
    yield f"<h3 id={place}>{_text(exhibit.title)}, frame {exhibit.place.frame}</h3>"
    yield "<div class='row parts'>"
    for k, name in enumerate(names):
        crop = crop_webp(exhibit.views[name].picture, exhibit.place.box)
        image = _image(crop, "webp", f"{exhibit.title}: {name}")
        yield (
            f"<figure{_judged(report, name)}><a href='#{place}-{k}'>{image}</a>"
            f"<figcaption>{told[name]}</figcaption></figure>"
        )
    yield "</div>"
    for k, name in enumerate(names):
        links = [f"<a href='#{place}'>× close</a>"]
        for step, word in ((-1, "‹ previous"), (1, "next ›")):
            links.append(f"<a href='#{place}-{(k + step) % len(names)}'>{word}</a>")
        yield (
            f"<div class=light id={place}-{k}>{''.join(links)}"
            f"<div>{_text(exhibit.title)}: {told[name]}</div>"
            f"{_whole(exhibit.views[name])}</div>"
        )
    curves = {
        method: curve
        for (clip, family, method), curve in report.curves.items()
        if (clip, family) == (exhibit.clip, exhibit.family)
    }
    if curves:
        plot = over_time(report.headline, curves)
        image = _image(plot, "png", f"{report.headline.name} frame by frame", "class=plot")
        yield (
            f"<details><summary>{_text(report.headline.title)} frame by frame</summary>"
            f"<div class=scroll>{image}</div></details>"
        )


def _whole(view: View) -> str:
    whole = _image(whole_webp(view.picture), "webp", "whole frame")
    loop = _image(view.loop, "webp", "loop")
    return (
        f"<div class=row><figure>{whole}<figcaption><small>the whole frame</small></figcaption>"
        f"</figure><figure class=loop>{loop}<figcaption><small>loop of a part, slowed down</small>"
        "</figcaption></figure></div>"
    )


def _told(
    report: Report, name: str, values: Mapping[str, float], best: float | None
) -> str:  # fmt: skip
    """The name of a view and the headline score of its method."""
    if name not in values or math.isnan(values[name]):
        return _text(name)
    text = _text(f"{number(values[name], report.headline.digits)} {report.headline.unit}".rstrip())
    return f"{_text(name)} · {f'<b>{text}</b>' if values[name] == best else text}"


def _by_variant(report: Report) -> dict[tuple[str, str], dict[str, float]]:
    """The headline score by clip and family, and method."""
    values: dict[tuple[str, str], dict[str, float]] = {}
    for row in report.rows:
        values.setdefault(variant(row), {})[row["method"]] = row[report.headline.score]
    return values


def _direction(report: Report) -> float:
    return math.inf if report.headline.higher_is_better else -math.inf


def _column(report: Report, name: str) -> Column:
    if name in report.columns:
        return report.columns[name]
    return Column("", best=_direction(report) if name == report.headline.score else math.nan)


def _best(values: Sequence[float], wanted: float) -> float | None:
    """The best of some values; None where all are equal, or nobody knows which is better."""
    known = [value for value in values if not math.isnan(value)]
    if math.isnan(wanted) or len(set(known)) < 2:
        return None
    if math.isinf(wanted):
        return max(known) if wanted > 0 else min(known)
    return min(known, key=lambda value: abs(value - wanted))


def _arrow(column: Column) -> str:
    if math.isnan(column.best):
        return ""
    if math.isinf(column.best):
        return "↑" if column.best > 0 else "↓"
    return f"→ {column.best:g}"


def _head(name: str, column: Column | None) -> str:
    if column is None:
        return f"<th>{_text(name)}</th>"
    return f"<th title='{_text(column.text)}'>{_text(name)} {_arrow(column)}</th>"


def _cell(value: float, best: float | None) -> str:
    text = number(value)
    return f"<td><b>{text}</b></td>" if value == best else f"<td>{text}</td>"


def _judged(report: Report, method: str) -> str:
    return " class=judged" if method in report.models else ""


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _text(text: str) -> str:
    return html.escape(text)


def _image(content: bytes, kind: str, alt: str, attributes: str = "") -> str:
    data = base64.b64encode(content).decode()
    return f"<img {attributes} alt='{_text(alt)}' src='data:image/{kind};base64,{data}'>"
