"""Locks between processes of one machine: the kernel releases them with the process, however that ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from cca.errors import CCAError


@contextmanager
def exclusive(path: Path, wait: bool = False) -> Iterator[TextIO]:
    """Hold the lock of a path: a hidden file beside it, gone afterwards, which is yielded open.

    A file left by a killed process locks nothing.

    Raises:
        CCAError: another process holds it, unless ``wait``; or nothing can be written in the folder.
    """
    lock = path.with_name(f".{path.name}.lock")
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = lock.open("w")
        except OSError as error:
            raise CCAError(
                f"{path}: nothing can be written there: {error.strerror}; mend that or choose another place"
            ) from None
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CCAError(f"{path}: another process is writing it; wait for it or end it") from None
            if not _is_at(stream, lock):
                continue  # removed by its holder after it was opened here: a lock that nobody else sees
            try:
                yield stream
            finally:
                lock.unlink(missing_ok=True)  # still locked, so it is ours
            return


def _is_at(stream: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False
