"""A reference batch that the tier names, a file or a URL, in place of one made of the images."""

from collections.abc import Callable
from pathlib import Path

METRICS = "results/smoke/llamagen-s/base/seed=0/s=0/metrics.json"


def commands(snakemake: Callable, folder: Path, reference: str) -> list[str]:
    options = (METRICS, "-n", "-p")
    plan = snakemake(folder, *options, config=(f"evaluation={{reference: {reference}}}",))
    assert plan.returncode == 0, plan.stderr[-2000:]
    lines = (plan.stdout + plan.stderr).splitlines()
    return [line for line in lines if "cca --threads" in line or "cca fetch" in line]


def test_a_file_is_compared_with_as_it_is(snakemake: Callable, tmp_path: Path) -> None:
    (tmp_path / "adm.npz").touch()
    lines = commands(snakemake, tmp_path, "adm.npz")
    assert sum(" evaluate adm.npz " in line for line in lines) == 1
    assert not [line for line in lines if " reference " in line or "cca fetch" in line]


def test_a_url_is_fetched(snakemake: Callable, tmp_path: Path) -> None:
    lines = commands(snakemake, tmp_path, "https://example.org/adm.npz")
    (fetch,) = [line for line in lines if "cca fetch" in line]
    assert "https://example.org/adm.npz" in fetch and "--out results/smoke/reference/reference.npz" in fetch
    assert sum(" evaluate results/smoke/reference/reference.npz " in line for line in lines) == 1
