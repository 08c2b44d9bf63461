"""The one exception that is meant for people."""


class UserError(Exception):
    """Something the user can mend.

    The message is one line: what is wrong, with which file or value, and what to do about it.
    The command line prints it without a traceback and exits with code 1.
    """


class OutputError(UserError):
    """What is made can't be put where it should go; whatever comes next would meet the same."""


def first_line(error: BaseException) -> str:
    """What another library's error says, short enough to stand in a message of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
