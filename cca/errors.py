"""The exceptions of the project that users are meant to see."""


class CCAError(Exception):
    """A mistake in the input that the user can mend.

    Its text is one line: what is wrong, in which file or key, and what to do. The command line
    prints it after ``error:`` and exits with its status.
    """

    status = 1


class StoppedError(CCAError):
    """A stage was told to stop (SIGTERM) and can be gone on with; the status is sysexits' EX_TEMPFAIL.

    A scheduler that preempts jobs may take it as a wish to be queued again.
    """

    status = 75


def one_line(error: BaseException) -> str:
    """What another library says is wrong, in one line that fits a message."""
    text = " ".join(str(error).split())
    return text[:200] if " " in text else f"{type(error).__name__} {text}".strip()
