"""How removals of people fare over a set of rendered clips, clip by clip: what the finder's holes
cost beside the true ones, and whether the filler beats what needs no network.

    python create_training_data.py world -i CLIPS -o data/world/eval --num 16 --seq 32 --seed 72
    python -m layers evaluate -i data/world/eval -o scores
    python -m benchmarks.removal -i scores/scores.json -o FILE

`ring_cost` is how much worse the ring is with the found holes than with the true ones, `outside`
what else is touched, `gain` how much better the inside is than the better of the median and Telea's
method in the same holes; all in dB. Medians and the worst are over clips with somebody in them, and
over those of them in which the finder saw people (recall of half or more).
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from nunif.files import make_folder, write_json

TRUE = ", true holes"
BASELINES = ("telea", "median")
RING_COST, OUTSIDE = 1.5, 45.0  # dB: what is promised
SEEN = 0.5  # of people is hole: the finder saw them


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-i", "--input", type=Path, required=True, help="scores.json of records")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file")
    words = parser.parse_args()
    result = summary(json.loads(words.input.read_text(encoding="utf-8"))["clips"])
    make_folder(words.output.parent)
    write_json(words.output, result)
    print(table(result))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the rows of `scores.json`, one for each clip and method: by filler and set of clips."""
    clips: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        clips.setdefault(row["clip"], {})[row["method"]] = row
    names = list(dict.fromkeys(row["method"] for row in rows))
    fillers = [name for name in names if name + TRUE in names]
    result: dict[str, Any] = {"clips": len(clips)}
    for name in fillers:
        with_people = [of for of in clips.values() if of[name].get("inside") is not None]
        seen = [of for of in with_people if of[name]["recall"] >= SEEN]
        result[name] = {"all": _compare(with_people, name), "seen": _compare(seen, name)}
    return result


def _compare(clips: list[dict[str, dict[str, Any]]], name: str) -> dict[str, Any]:
    if not clips:
        return {"clips": 0}
    cost = np.array([of[name + TRUE]["ring"] - of[name]["ring"] for of in clips])
    outside = np.array([of[name]["outside"] for of in clips])
    best = [max(of[other]["inside"] for other in BASELINES if other in of) for of in clips]
    gain = np.array([of[name]["inside"] for of in clips]) - np.array(best)
    return {
        "clips": len(clips),
        "recall": _rounded(np.mean([of[name]["recall"] for of in clips])),
        "ring_cost": _rounded(np.median(cost)),
        "ring_cost_worst": _rounded(cost.max()),
        "ring_cost_kept": _rounded((cost <= RING_COST).mean()),
        "outside": _rounded(np.median(outside)),
        "outside_worst": _rounded(outside.min()),
        "outside_kept": _rounded((outside >= OUTSIDE).mean()),
        "gain": _rounded(np.median(gain)),
        "gain_worst": _rounded(gain.min()),
        "gain_kept": _rounded((gain > 0).mean()),
    }


def _rounded(value: Any) -> float:
    return round(float(value), 3)


def table(result: dict[str, Any]) -> str:
    """Markdown: each score's median, its worst, and the share of clips that keep what is promised.

    >>> scores = {"clips": 1, "recall": 1.0}
    >>> for name in ("ring_cost", "outside", "gain"):
    ...     scores |= {name: 1.0, name + "_worst": 2.0, name + "_kept": 0.5}
    >>> print(table({"clips": 1, "a": {"all": scores}}).splitlines()[2])
    | a | all | 1 | 1.00 | 1.0 (2.0) 50 % | 1.0 (2.0) 50 % | 1.0 (2.0) 50 % |
    """
    heads = ["filler", "of", "clips", "recall", "ring cost", "outside", "gain"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, sets in result.items():
        for which, scores in sets.items() if isinstance(sets, dict) else ():
            cells = [name, which, str(scores["clips"])]
            if scores["clips"]:
                cells.append(f"{scores['recall']:.2f}")
                for score in ("ring_cost", "outside", "gain"):
                    worst, kept = scores[f"{score}_worst"], scores[f"{score}_kept"]
                    cells.append(f"{scores[score]:.1f} ({worst:.1f}) {100 * kept:.0f} %")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
