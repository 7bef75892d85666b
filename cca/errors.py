"""The one exception of the project that users are meant to see."""


class CCAError(Exception):
    """A mistake in the input that the user can mend.

    Its text is one line: what is wrong, in which file or key, and what to do. The command line
    prints it after ``error:`` and exits with status 1.
    """


def one_line(error: BaseException) -> str:
    """What another library says is wrong, in one line that fits a message."""
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__
