"""The exceptions that are meant for people, and how a run ends that was asked to stop."""


class UserError(Exception):
    """Something the user can mend.

    The message is one line: what is wrong, with which file or value, and what to do about it.
    The command line prints it without a traceback and exits with code 1.
    """


class OutputError(UserError):
    """What is made can't be put where it should go; whatever comes next would meet the same."""


class ToldElsewhere(UserError):
    """An error of which another process of the run tells people: this one ends without a word."""


class Stopped(KeyboardInterrupt):
    """Asked to stop, and what was done is kept, so that the same run can go on from there."""


def first_line(error: BaseException) -> str:
    """What another library's error says, short enough to stand in a message of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
