"""The benchmark of removals over a set of clips: what is compared with what."""

from benchmarks.removal import summary, table


def rows(clip, found, true, recall=1.0):
    scores = {"outside": 50.0, "recall": recall}
    inside = {"telea": 20.0, "median": 22.0, "a": 23.0, "a, true holes": 30.0}
    ring = {"telea": 1.0, "median": 1.0, "a": found, "a, true holes": true}
    return [
        {"clip": clip, "method": name, "inside": inside[name], "ring": ring[name], **scores}
        for name in inside
    ]


def test_found_holes_beside_true_ones_and_the_filler_beside_the_better_baseline():
    nobody = [{**row, "inside": None} for row in rows("c", 1.0, 1.0)]
    result = summary([*rows("a", 25.0, 26.0), *rows("b", 20.0, 24.0, recall=0.0), *nobody])
    assert result["clips"] == 3 and list(result) == ["clips", "a"]
    all_of_it, seen = result["a"]["all"], result["a"]["seen"]
    assert (all_of_it["clips"], all_of_it["ring_cost"], all_of_it["ring_cost_worst"]) == (2, 2.5, 4)
    assert all_of_it["ring_cost_kept"] == 0.5 and all_of_it["gain"] == 1.0
    assert (seen["clips"], seen["ring_cost"], seen["outside_kept"]) == (1, 1.0, 1.0)
    assert "| a | seen | 1 | 1.00 | 1.0 (1.0) 100 % |" in table(result)
