"""For every test: few threads (machines are shared, and sums must not depend on the number of
cores)."""

import sys

import cv2
import pytest
import torch

from nunif import cli

torch.set_num_threads(1)
cv2.setNumThreads(1)


_counted: set[str] = set()  # tests of which a case was counted


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Count no lines in tests that take long: counted they take far longer, and quicker ones run
    the same lines.

    Before Python 3.12, where counting nearly doubles the time, those of one case of each test alone
    are counted.
    """
    coverage = sys.modules.get("coverage")
    counter = coverage.Coverage.current() if coverage else None
    name = item.nodeid.partition("[")[0]
    is_again = sys.version_info < (3, 12) and name in _counted
    if counter is None or not (
        is_again or item.get_closest_marker("slow") or "faults" in item.path.parts
    ):
        _counted.add(name)
        return (yield)
    counter.stop()
    try:
        return (yield)
    finally:
        counter.start()


def pytest_collection_modifyitems(items):
    """Files with tests that take long come first: what is left for the end is short, so that no
    process of tests waits for another."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="module")
def small_networks():
    """See `tests.models`, which not every test is to import."""
    from tests import models

    with models.small_networks():
        yield


@pytest.fixture
def no_curves(monkeypatch):
    """Trainings draw no loss.png, which takes longer than a toy's training; `monkeypatch.undo()` in
    a test that looks at it."""
    monkeypatch.setattr("nunif.training.logs.draw_curve", lambda path, rounds: None)


@pytest.fixture
def run(capsys, caplog):
    """Run a command in this process: exit code, standard output, and all lines that were logged or
    printed as errors."""
    caplog.set_level("INFO")

    def run(table, *words):
        caplog.clear()
        code = cli.run(table, [str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, [*caplog.messages, *captured.err.strip().splitlines()]

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Names that are no UTF-8 can't be sent from a process of tests to the one that reports."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report
