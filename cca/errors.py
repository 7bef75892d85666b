"""The one exception of the project that users are meant to see."""


class CCAError(Exception):
    """A mistake in the input that the user can mend.

    Its text is one line: what is wrong, in which file or key, and what to do. The command line
    prints it after ``error:`` and exits with status 1.
    """
