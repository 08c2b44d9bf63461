"""Who makes which records, where several processes and machines share them out."""

import platform
import threading

import pytest

from nunif.errors import UserError
from nunif.record_options import Share, parse_share
from nunif.turns import Turn, in_turns

ARRAY = {"SLURM_ARRAY_TASK_MIN": "4", "SLURM_ARRAY_TASK_ID": "10", "SLURM_ARRAY_TASK_COUNT": "4"}


@pytest.mark.parametrize(
    "text, environment, share",
    [
        (None, {}, Share(0, 1)),
        ("3/4", {}, Share(3, 4)),
        ("auto", {**ARRAY, "SLURM_ARRAY_TASK_STEP": "2"}, Share(3, 4)),
    ],
)
def test_shares_by_their_words(text, environment, share):
    assert parse_share(text, "film", environment) == share


@pytest.mark.parametrize("text", ["4/4", "-1/4", "a/b", "1/0", "1", "0/4/2", "auto"])
def test_words_that_are_no_share(text):
    # the numbers of this array don't follow each other
    with pytest.raises(UserError, match=f"--shard {text} is no share: write i/n with i from 0"):
        parse_share(text, "film", ARRAY)


def test_a_share_of_an_array_outside_of_one():
    with pytest.raises(UserError, match="and SLURM_ARRAY_TASK_MIN isn't set: start it by sbatch"):
        parse_share("auto", "film", {})


def test_all_shares_are_all_there_is_and_none_twice():
    hashes = [f"{number:08x}" for number in range(50, 90)]
    for count in (1, 3, 7):
        films = [Share(i, count) for i in range(count)]
        clips = [Share(i, count, "clip") for i in range(count)]
        for file_hash in hashes:
            assert sum(share.has_source(file_hash) for share in films) == 1
            assert sum(share.has_single(file_hash) for share in clips) == 1
            assert all(share.has_source(file_hash) for share in clips)
        for number in range(20):
            assert sum(share.has_clip(number) for share in clips) == 1
            assert [share.has_clip(number) for share in films] == [True] * count
    assert Share(1, 3).has_source("") is False  # what can't be read is told of by the first


ALL = Share()


def turn(folder, stem, share=ALL):
    return Turn(folder, stem, share, seconds=0.3)


def test_what_others_are_at_comes_last(tmp_path, caplog):
    caplog.set_level("INFO")
    others = {item: turn(tmp_path, item) for item in "bd"}
    assert all(other.take() for other in others.values())
    order = []
    for item, own in in_turns("abcde", lambda item: turn(tmp_path, item)):
        with own:
            order.append(item)
            assert not turn(tmp_path, item).take()
        if item == "e":  # what is done by now is not waited for
            others["d"].__exit__(None, None, None)
        if item == "d":
            assert caplog.messages == []
            threading.Timer(0.3, lambda: others["b"].__exit__(None, None, None)).start()
    assert order == ["a", "c", "e", "d", "b"] and list(tmp_path.iterdir()) == []
    assert caplog.messages == [
        f"another process is making the records b_* in {tmp_path}: waiting for it"
    ]


def test_shares_of_clips_do_not_wait_and_shares_of_films_do(tmp_path):
    shares = [("a", Share(0, 2, "clip")), ("a", Share(1, 2, "clip")), ("b", Share(0, 2))]
    turns = [turn(tmp_path, *words) for words in (*shares, ("b", Share(1, 3)))]
    assert [each.take() for each in turns] == [True, True, True, False]


def test_a_process_of_another_machine_that_is_waited_for_is_told_of(tmp_path, caplog):
    holder = turn(tmp_path, "a")
    assert holder.take()
    lock = tmp_path / ".lock-a"
    assert lock.read_text().split()[1] == platform.node()
    lock.write_text("77\nnode9\n")
    timer = threading.Timer(0.5, lambda: holder.__exit__(None, None, None))
    timer.start()
    waiting = turn(tmp_path, "a")
    waiting.wait()
    with waiting:
        timer.join()
    assert (
        f"another process is making the records a_* in {tmp_path}: process 77 of node9 has been at "
        f"it for 0 min; if it isn't running any more, delete {lock}"
    ) in caplog.messages
