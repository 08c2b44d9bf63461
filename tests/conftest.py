"""For every test: few threads (machines are shared, and sums must not depend on the number of cores)."""

import pytest
import torch

from nunif import cli

torch.set_num_threads(1)


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
