"""For every test: few threads (machines are shared, and sums must not depend on the number of cores)."""

import sys

import pytest
import torch

from nunif import cli

torch.set_num_threads(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Count no lines in tests that take long: counted they take far longer, and quicker ones run the same lines."""
    coverage = sys.modules.get("coverage")
    counter = coverage.Coverage.current() if coverage else None
    if counter is None or not (item.get_closest_marker("slow") or "faults" in item.path.parts):
        return (yield)
    counter.stop()
    try:
        return (yield)
    finally:
        counter.start()


@pytest.fixture
def run(capsys, caplog):
    """Run a command in this process: exit code, standard output, and all lines that were logged or printed as errors."""
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
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report
