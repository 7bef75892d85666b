"""``cca verify-evaluator`` on made-up files and a made-up table of figures."""

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from cca import cli
from cca.evaluate import evaluator
from cca.evaluate.verify import lookup

SHIPPED = Path(__file__).parents[2] / "cca/evaluate/published.yaml"


@pytest.fixture
def files(tmp_path: Path, classifier_file: Path) -> tuple[Path, Path]:
    """A reference with statistics, and samples."""
    rng = np.random.default_rng(0)
    images, samples = (rng.integers(256, size=(n, 8, 8, 3), dtype=np.uint8) for n in (40, 30))
    reference = tmp_path / "reference.npz"
    np.savez(reference, arr_0=images, mu=np.zeros(5), sigma=np.eye(5))
    np.savez(tmp_path / "theirs.npz", arr_0=samples)
    return reference, tmp_path / "theirs.npz"


def table(folder: Path, figures: dict[str, tuple[float, float]]) -> Path:
    entry = {
        "source": "made up",
        "protocol": {"extractor": "cca-classifier", "k": 2},
        "reference": {"url": "https://a.org/r.npz", "arrays": {"arr_0": [40, 8, 8, 3], "mu": [5]}},
        "samples": {"url": "https://a.org/s.npz", "arrays": {"arr_0": [30, 8, 8, 3]}},
        "figures": {name: {"value": v, "tolerance": t} for name, (v, t) in figures.items()},
    }
    path = folder / "published.yaml"
    path.write_text(yaml.safe_dump({"theirs.npz": entry}))
    return path


def verify(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["cca", "--threads", "1", "verify-evaluator", *map(str, arguments)])
    cli.main()


@pytest.fixture
def truth(files: tuple[Path, Path], classifier_file: Path) -> dict[str, float]:
    settings = evaluator.EvaluationSettings(extractor="cca-classifier", k=2)
    result = evaluator.evaluate(*files, settings, weights=classifier_file)
    return {name: result[name] for name in evaluator.METRICS}


def test_figures_within_tolerance_pass(monkeypatch, tmp_path, files, truth, classifier_file, capsys):
    published = table(tmp_path, {name: (value + 0.001, 0.0011) for name, value in truth.items()})
    verify(monkeypatch, *files, "--weights", classifier_file, "--published", published)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:6]] == list(truth)
    for line, (name, value) in zip(lines[1:6], truth.items(), strict=True):
        assert line.split() == [name, f"{value:.4f}", f"{value + 0.001:.4f}", "0.0011", "ok"]
    assert lines[6] == "published: made up"


def test_one_figure_beyond_tolerance_fails(monkeypatch, tmp_path, files, truth, classifier_file, capsys):
    figures = {name: (value, 1e-6) for name, value in truth.items()}
    figures["recall"] = (truth["recall"] - 0.02, 0.019)
    published = table(tmp_path, figures)
    with pytest.raises(SystemExit, match=r"error: recall off: .*cca-classifier") as stop:
        verify(monkeypatch, *files, "--weights", classifier_file, "--published", published)
    assert "\n" not in stop.value.code
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:6]] == ["ok"] * 4 + ["OFF"]


def test_files_that_are_not_the_published_ones(monkeypatch, tmp_path, files, classifier_file):
    published, (reference, samples) = table(tmp_path, {"fid": (1, 1)}), files
    common = ("--weights", classifier_file, "--published", published)
    with pytest.raises(
        SystemExit, match=r"none\.npz: no such file; it is published at https://a\.org/r\.npz"
    ):
        verify(monkeypatch, tmp_path / "none.npz", samples, *common)
    with pytest.raises(SystemExit, match=r"'reference\.npz' has no published figures in .*theirs\.npz"):
        verify(monkeypatch, reference, reference, *common)
    with pytest.raises(SystemExit, match=r"'arr_0' has shape \(30, 8, 8, 3\), not \(40, 8, 8, 3\)"):
        verify(monkeypatch, samples, samples, *common)
    samples.rename(tmp_path / "kept.npz")
    with pytest.raises(
        SystemExit, match=r"theirs\.npz: no such file; it is published at https://a\.org/s\.npz"
    ):
        verify(monkeypatch, reference, samples, *common)
    np.savez(reference, arr_0=np.zeros((40, 8, 8, 3), np.uint8))
    with pytest.raises(SystemExit, match=r"reference\.npz: array 'mu' is missing"):
        verify(monkeypatch, reference, samples, *common)


def test_a_table_with_a_mistake_is_one_line(monkeypatch, tmp_path, files, classifier_file):
    published = table(tmp_path, {"fidd": (1, 1)})
    with pytest.raises(SystemExit, match=r"published\.yaml: theirs\.npz: key 'figures\.fidd") as stop:
        verify(monkeypatch, *files, "--weights", classifier_file, "--published", published)
    assert "\n" not in stop.value.code


def test_the_shipped_table_is_valid_and_has_every_metric():
    for name in yaml.safe_load(SHIPPED.read_text()):
        entry = lookup(SHIPPED, name)
        assert set(entry.figures) == set(evaluator.METRICS)
        assert entry.protocol.adm_float16
        assert entry.samples.url.endswith(name)
