"""``cca evaluate`` and ``cca reference`` on what users have: an ADM .npz, a folder of images, our shards."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cca import cli
from cca.errors import CCAError
from cca.evaluate import evaluator, inception
from cca.evaluate.samples import Features, write_features
from cca.records.provenance import record_path

SETTINGS = "{extractor: cca-classifier, batch_size: 16}"
KINDS = ["adm", "folder", "shards"]


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Inception that was downloaded earlier."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def saved(kind: str, folder: Path, images: np.ndarray) -> Path:
    """Images as an ADM .npz, as a folder with a subfolder, or as two shards."""
    folder.mkdir()
    if kind == "adm":
        np.savez(folder / "images.npz", arr_0=images)
        return folder / "images.npz"
    if kind == "folder":
        (folder / "sub").mkdir()
        for index, image in enumerate(images):
            Image.fromarray(image).save(folder / "sub" / f"{index:03}.png")
        return folder
    middle, total = len(images) // 2, np.array(len(images))
    np.savez(folder / "shard_0.npz", arr_0=images[:middle], start=np.array(0), total=total)
    np.savez(folder / "shard_1.npz", arr_0=images[middle:], start=np.array(middle), total=total)
    return folder


@pytest.fixture
def sides() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return tuple(
        rng.integers(high, size=(count, 8, 8, 3), dtype=np.uint8) for high, count in ((256, 40), (200, 30))
    )


def cca(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["cca", "--threads", "1", *map(str, arguments)])
    cli.main()


@pytest.mark.parametrize("samples", KINDS)
@pytest.mark.parametrize("reference", KINDS)
def test_five_numbers_do_not_depend_on_how_images_are_kept(
    monkeypatch, tmp_path, sides, classifier_file, settings, reference, samples
):
    a, b = saved(reference, tmp_path / "a", sides[0]), saved(samples, tmp_path / "b", sides[1])
    out = tmp_path / "metrics.json"
    cca(monkeypatch, "evaluate", a, b, "--settings", SETTINGS, "--weights", classifier_file, "--out", out)
    result, record = json.loads(out.read_text()), json.loads(record_path(out).read_text())
    plain = [saved("adm", tmp_path / f"plain{index}", side) for index, side in enumerate(sides)]
    expected = evaluator.evaluate(*plain, settings, weights=classifier_file)
    for name in evaluator.METRICS:
        assert result[name] == pytest.approx(expected[name], rel=1e-5)
    assert [len(record["inputs"][name]) for name in ("reference", "samples", "weights")] == [
        1 + (reference == "shards"),
        1 + (samples == "shards"),
        1,
    ]
    assert record["measured"] == {name: result[name] for name in evaluator.METRICS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_reference_of_each(monkeypatch, tmp_path, sides, classifier_file, kind):
    images, out = saved(kind, tmp_path / "images", sides[0]), tmp_path / "reference.npz"
    common = ("--settings", SETTINGS, "--weights", classifier_file, "--out", out)
    cca(monkeypatch, "reference", "--images", images, *common)
    with np.load(out) as made:
        np.testing.assert_array_equal(made["arr_0"], sides[0])
    assert json.loads(record_path(out).read_text())["measured"] == {"images": 40, "kept": 40}


def test_options_have_defaults_and_the_numbers_go_to_stdout(monkeypatch, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name, count in (("a", 40), ("b", 4)):
        features = Features(rng.normal(size=(count, 5)), None, rng.normal(size=(count, 3)))
        write_features(tmp_path / f"{name}.npz", features, "x y")
    before = {path.name for path in tmp_path.iterdir()}
    cca(monkeypatch, "evaluate", tmp_path / "a.npz", tmp_path / "b.npz")
    out, err = capsys.readouterr()
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert set(rows) == {*evaluator.METRICS, "reference", "samples"}
    assert float(rows["fid"]) > 0 and rows["sfid"] == "-"
    assert (rows["reference"], rows["samples"]) == ("40 images, statistics of 40", "4 images")
    assert err.startswith("warning: samples: N = 4 is not more than D = 5") and err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == before


def test_features_are_kept_where_asked_and_cached(
    monkeypatch, tmp_path, sides, classifier_file, user_cache, capsys
):
    a, b = saved("folder", tmp_path / "a", sides[0]), saved("adm", tmp_path / "b", sides[1])
    common = ("--settings", SETTINGS, "--weights", classifier_file)
    kept = tmp_path / "kept.npz"
    cca(monkeypatch, "evaluate", a, b, *common, "--keep-features", kept)
    first = capsys.readouterr().out
    assert len(list((user_cache / "cca/features").iterdir())) == 1
    cca(monkeypatch, "evaluate", a, kept, *common, "--cache", tmp_path / "mine")
    assert capsys.readouterr().out == first
    assert len(list((tmp_path / "mine").iterdir())) == 1


def test_intervals_are_printed_and_written(monkeypatch, tmp_path, sides, classifier_file, capsys):
    a, b = saved("adm", tmp_path / "a", sides[0]), saved("shards", tmp_path / "b", sides[1])
    out = tmp_path / "metrics.json"
    common = ("evaluate", a, b, "--settings", SETTINGS, "--weights", classifier_file, "--out", out)
    cca(monkeypatch, *common, "--bootstrap", 50)
    result = json.loads(out.read_text())
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    for name in evaluator.METRICS:
        bounds = result["intervals"][name]
        assert rows[name] == (
            f"{result[name]:.4f}  95 % interval {bounds['low']:.4f} to {bounds['high']:.4f}"
        )
    assert json.loads(record_path(out).read_text())["arguments"]["bootstrap"] == 50
    with pytest.raises(SystemExit, match="--bootstrap"):
        cca(monkeypatch, *common, "--bootstrap", 3)


def test_an_unwritable_cache_costs_no_result(monkeypatch, tmp_path, sides, classifier_file, capsys):
    a, b = saved("adm", tmp_path / "a", sides[0]), saved("adm", tmp_path / "b", sides[1])
    (tmp_path / "file").touch()
    common = ("--settings", SETTINGS, "--weights", classifier_file)
    cca(monkeypatch, "evaluate", a, b, *common, "--cache", tmp_path / "file" / "cache")
    assert "recall" in capsys.readouterr().out


def test_lossy_images_only_when_allowed(monkeypatch, tmp_path, sides, classifier_file, capsys):
    a = saved("adm", tmp_path / "a", sides[0])
    (tmp_path / "b").mkdir()
    for index, image in enumerate(sides[1]):
        Image.fromarray(image).save(tmp_path / "b" / f"{index}.jpg")
    common = ("evaluate", a, tmp_path / "b", "--settings", SETTINGS, "--weights", classifier_file)
    with pytest.raises(SystemExit, match="lossy compression"):
        cca(monkeypatch, *common)
    cca(monkeypatch, *common, "--allow-jpeg")
    assert "30 images" in capsys.readouterr().out


def test_neither_weights_nor_network_is_one_line(monkeypatch, tmp_path, sides):
    def offline(url: str, *_: object) -> None:
        raise CCAError(f"{url}: not fetched (no route)")

    monkeypatch.setattr(inception, "download", offline)
    a, b = saved("adm", tmp_path / "a", sides[0]), saved("adm", tmp_path / "b", sides[1])
    with pytest.raises(SystemExit) as stop:
        cca(monkeypatch, "evaluate", a, b)
    assert "weights-inception" in stop.value.code and "not fetched (no route)" in stop.value.code
    assert "or give Inception's weights as a file" in stop.value.code
    assert "\n" not in stop.value.code


def test_a_reference_of_another_extractor_is_said_before_any_download(
    monkeypatch, tmp_path, sides, classifier_file
):
    a, b = saved("adm", tmp_path / "a", sides[0]), saved("adm", tmp_path / "b", sides[1])
    out = tmp_path / "reference.npz"
    common = ("--settings", SETTINGS, "--weights", classifier_file, "--out", out)
    cca(monkeypatch, "reference", "--images", a, *common)
    monkeypatch.setattr(inception, "download", lambda *_: pytest.fail("downloaded"))
    with pytest.raises(SystemExit, match=r"cca-classifier [0-9a-f]{64}'.*{extractor: cca-classifier}"):
        cca(monkeypatch, "evaluate", out, b)
