"""The command line that runs the workflow at the smoke tier."""

import sys
from collections.abc import Iterable
from pathlib import Path

SNAKEFILE = Path(__file__).parents[1] / "Snakefile"


def command(
    folder: Path, *arguments: str, config: Iterable[str] = (), snakefile: Path = SNAKEFILE
) -> list[str]:
    """Snakemake with ``folder`` as working directory."""
    snakemake = [sys.executable, "-m", "snakemake", "-s", str(snakefile), "-d", str(folder)]
    return [*snakemake, *arguments, "--config", "tier=smoke", *config]
