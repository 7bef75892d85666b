"""A job that is told to stop is waited for: no shell, which would not wait, stands before its stage."""

import os
import signal
import subprocess
import time
from pathlib import Path

from ..smoke import command


def commands(session: int) -> list[list[bytes]]:
    """The words of each process of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(path.name)) == session:
                found.append((path / "cmdline").read_bytes().split(b"\0"))
        except OSError:  # it has ended
            continue
    return found


def test_a_stage_takes_the_place_of_its_shell(tmp_path: Path) -> None:
    call = command(tmp_path, "results/smoke/data/images.npz")
    with subprocess.Popen(
        call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as run:
        stages: list[list[bytes]] = []
        while not any(b"python" in words[0] for words in stages):
            assert run.poll() is None
            time.sleep(0.01)
            stages = [words for words in commands(run.pid) if b"--settings" in b" ".join(words)]
        os.killpg(run.pid, signal.SIGKILL)
    assert len(stages) == 1
