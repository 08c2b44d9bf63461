"""Several sources of which some fail."""

import pytest

from nunif.errors import OutputError, UserError
from nunif.failures import Failures


def work(failures, error):
    with failures.log():
        raise error


def test_where_there_are_others_a_failure_is_logged_and_counted(caplog):
    failures = Failures(3)
    failures.raise_if_any("films")
    work(failures, UserError("torn"))
    with failures.log():
        pass
    work(failures, UserError("short"))
    assert caplog.messages == ["error: torn", "error: short"]
    with pytest.raises(UserError, match="^2 of 3 films failed; the others are finished$"):
        failures.raise_if_any("films")


@pytest.mark.parametrize(
    ("total", "error"),
    [(1, UserError("torn")), (3, OutputError("disk full")), (3, KeyError("a fault of ours"))],
)
def test_what_ends_all_work_is_raised_as_it_is(caplog, total, error):
    with pytest.raises(type(error)) as raised:
        work(Failures(total), error)
    assert raised.value is error and not caplog.messages
