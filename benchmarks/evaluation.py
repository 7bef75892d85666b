"""Time and memory of the evaluator's metrics on made-up features, beside what others compute them with.

Every measurement is a process of its own; methods take turns, and the medians of all turns are printed. A
method that does not fit into the memory allowed is measured on fewer images, as is ours beside it. Where
time follows a law, what it would need is extrapolated and marked with ~.
"""

import argparse
import importlib.metadata
import multiprocessing
import os
import platform
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tabulate import tabulate

# numpy and torch are imported by the measuring processes only: they read the number of threads when
# they are imported, and a process's peak memory begins with that of the process that started it.

GIB = 2**30
PART = 10_000
"""Rows of a block of torch-fidelity's precision and recall."""


@dataclass(frozen=True)
class Size:
    """Numbers of references, samples and features."""

    reference: int
    samples: int
    dim: int

    @property
    def pairs(self) -> int:
        """Distances that precision and recall are made of, each set's own included."""
        return (self.reference**2 + self.samples**2) + self.reference * self.samples


@dataclass(frozen=True)
class Measurement:
    """Seconds, bytes above the features at the peak, and the metrics."""

    seconds: float
    peak: float
    values: tuple[float, ...]


def fid_ours(reference, samples) -> tuple[float]:
    """Ours: Cholesky and eigenvalues of a symmetric matrix."""
    from cca.evaluate.fid import frechet_distance
    from cca.evaluate.statistics import Statistics

    return (frechet_distance(Statistics.of(reference), Statistics.of(samples)),)


def fid_sqrtm(reference, samples) -> tuple[float]:
    """The ADM suite's and pytorch-fid's way: `numpy.cov`, and scipy's root of the product."""
    import numpy as np
    import scipy.linalg

    means = reference.mean(axis=0) - samples.mean(axis=0)
    a, b = np.cov(reference, rowvar=False), np.cov(samples, rowvar=False)
    root = scipy.linalg.sqrtm(a @ b)
    return (float(means @ means + np.trace(a) + np.trace(b) - 2 * np.trace(root).real),)


def prc_ours(reference, samples) -> tuple[float, float]:
    """Ours: blocks of distances, those of one set on one side of the diagonal only."""
    from cca.evaluate.precision_recall import precision_recall

    return precision_recall(reference, samples)


def prc_full(reference, samples) -> tuple[float, float]:
    """torch-fidelity's default: all distances at once."""
    import torch
    from torch_fidelity.metric_prc import calculate_precision_recall_full

    return calculate_precision_recall_full(torch.from_numpy(samples), torch.from_numpy(reference))


def prc_part(reference, samples) -> tuple[float, float]:
    """torch-fidelity's with ``save_cpu_ram``: the distances of 10,000 points at once."""
    import torch
    from torch_fidelity.metric_prc import calculate_precision_recall_part

    features = torch.from_numpy(samples), torch.from_numpy(reference)
    return calculate_precision_recall_part(*features, batch_size=PART)


def need_of_cov(size: Size) -> float:
    """Copies of the features in float64."""
    return 3 * 8 * (size.reference + size.samples) * size.dim


def need_of_full(size: Size) -> float:
    """`torch.Tensor.kthvalue` copies the float32 distances and numbers them in int64: 16 bytes each."""
    return 16 * max(size.reference, size.samples) ** 2


def need_of_part(size: Size) -> float:
    """As `need_of_full`, of a block."""
    largest = max(size.reference, size.samples)
    return 16 * min(largest, PART) * largest


COMPARISONS = {
    "FID": (fid_ours, None, {"numpy.cov, scipy sqrtm": (fid_sqrtm, need_of_cov)}),
    "precision, recall": (
        prc_ours,
        lambda size: size.pairs,
        {
            "torch-fidelity prc": (prc_full, need_of_full),
            "torch-fidelity prc, save_cpu_ram": (prc_part, need_of_part),
        },
    ),
}
"""Ours, what time is proportional to, and others with what they need. FID has a part that grows with the
number of images and one that does not, so that its time is never extrapolated."""


def made_up(seed: int, count: int, dim: int, spread: float):
    """Features (count, dim), float32: like Inception's not negative, correlated, of few dimensions."""
    import numpy as np

    mixing = np.random.default_rng(0).standard_normal((12, dim), dtype=np.float32)
    rng = np.random.default_rng(seed)
    features = np.empty((count, dim), np.float32)
    for start in range(0, count, 500):
        rows = features[start : start + 500]
        latent = spread * rng.standard_normal((len(rows), 12), dtype=np.float32)
        noise = 0.3 * rng.standard_normal(rows.shape, dtype=np.float32)
        np.maximum(latent @ mixing + noise + 1, 0, out=rows)
    return features


def measure(method, size: Size, threads: int) -> Measurement:
    """Run a method in this process, which must be fresh."""
    import torch

    torch.set_num_threads(threads)
    method(made_up(1, 50, 8, 1.0), made_up(2, 50, 8, 0.9))  # loads libraries
    features = made_up(1, size.reference, size.dim, 1.0), made_up(2, size.samples, size.dim, 0.9)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    start = time.perf_counter()
    values = method(*features)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - resident
    return Measurement(seconds, peak, values)


def medians(methods, size: Size, threads: int, repeats: int) -> list[Measurement]:
    """Measurements of methods that take turns."""
    turns = [[in_own_process(method, size, threads) for method in methods] for _ in range(repeats)]
    return [
        Measurement(median(m.seconds for m in own), median(m.peak for m in own), own[0].values)
        for own in zip(*turns, strict=True)
    ]


def in_own_process(method, size: Size, threads: int) -> Measurement:
    """`measure` in a new process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(measure, method, size, threads).result()


def fitting(size: Size, need, memory: float) -> Size:
    """The size itself, or as much of both sets, to a thousand samples, as fits into so many bytes."""
    samples = size.samples
    while need(size_of(size, samples)) > memory and samples > 1000:
        samples -= 1000
    return size_of(size, samples)


def size_of(size: Size, samples: int) -> Size:
    """The same proportions with so many samples."""
    return Size(max(size.reference * samples // size.samples, 4), samples, size.dim)


def row(name: str, size: Size, m: Measurement, ours: Measurement, mark: str = "") -> list[str]:
    """A line of the table: what was measured, and how many times ours that is."""
    values = "-" if mark else ", ".join(f"{value:.6g}" for value in m.values)
    counts = f"{size.samples} / {size.reference}"
    cells = [f"{m.seconds:.2f}", f"{m.seconds / ours.seconds:.2f}"]
    cells += [f"{m.peak / 2**20:.0f}", f"{m.peak / ours.peak:.1f}"]
    return [name, counts, *(mark + cell for cell in cells), values]


def compare(metric: str, size: Size, memory: float, threads: int, repeats: int) -> list[list[str]]:
    """Lines of the table for one metric."""
    ours, work, others = COMPARISONS[metric]
    limits = {name: fitting(size, need, memory) for name, (_, need) in others.items()}
    lines = []
    for limit in sorted(set(limits.values()) | {size}, key=lambda limit: -limit.samples):
        here = {name: others[name][0] for name in others if limits[name] == limit}
        first, *measured = medians([ours, *here.values()], limit, threads, repeats)
        lines.append(row(f"{metric}: ours", limit, first, first))
        lines += [row(f"{metric}: {name}", limit, m, first) for name, m in zip(here, measured, strict=True)]
        if limit == size:
            whole = first
        if limit == size or work is None:
            continue
        for name, m in zip(here, measured, strict=True):
            need = others[name][1]
            time_factor, memory_factor = work(size) / work(limit), need(size) / need(limit)
            larger = Measurement(m.seconds * time_factor, m.peak * memory_factor, m.values)
            lines.append(row(f"{metric}: {name} (extrapolated)", size, larger, whole, "~"))
    return lines


def machine(threads: int) -> str:
    """What it was measured on."""
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    processor = models[0].partition(":")[2].strip() if models else platform.machine()
    packages = ("cca", "numpy", "scipy", "torch", "torch-fidelity")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    cores = f"{os.cpu_count()} cores, {threads} threads"
    return f"{processor}, {cores}; Python {platform.python_version()}, {versions}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--reference", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=2048, help="number of features")
    parser.add_argument("--repeats", type=int, default=3, help="turns of every method")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB / 2
    parser.add_argument("--memory", type=float, default=half, help="GiB that a method may take [half of all]")
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    size = Size(options.reference, options.samples, options.dim)
    print(machine(options.threads))
    print(
        f"{size.dim} features, float32; medians of {options.repeats} turns; at most {options.memory:.1f} GiB"
    )
    lines = []
    for metric in COMPARISONS:
        lines += compare(metric, size, options.memory * GIB, options.threads, options.repeats)
    headers = ["", "samples / reference", "seconds", "x ours", "MiB above features", "x ours", "values"]
    print(tabulate(lines, headers, disable_numparse=True, colalign=["left"] + ["right"] * 5 + ["left"]))


if __name__ == "__main__":
    main()
