"""Tables and figures from made-up metrics."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from torch import nn

from cca import checkpoints
from cca.errors import CCAError
from cca.experiments import Experiment
from cca.files import read_json, write_json
from cca.report import figures, html, measured, tables
from cca.report.tables import table3
from cca.report.tables._readable import latex, readable

REPORTED = Path(__file__).parents[2] / "workflow/resources/reported"
CONTEXT = {
    "benchmark": "made-up",
    "titles": {"m": "Model-M"},
    "objectives": {f"cca_lambda={lam}": {"name": "cca", "lam": lam} for lam in (1, 3)},
    "tokenizers": {"m": "vq"},
}
QUALITY = {"psnr": 21.5, "rfid": 0.5, "codebook_use": 0.875, "perplexity": 99.5, "l1": 0.1, "num_images": 40}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Metrics of a base model at s = 0, 1, 2 and of two finetunes, three seeds each; all numbers differ."""
    rng = np.random.default_rng(0)
    runs = [("base", 0.0), ("base", 1.0), ("base", 2.0), ("cca_lambda=1", 0.0), ("cca_lambda=3", 0.0)]
    for finetune, scale in runs:
        for seed in range(3):
            values = dict(
                zip(["fid", "sfid", "inception_score", "precision", "recall"], rng.random(5), strict=True)
            )
            path = tmp_path / Experiment("m", finetune, seed, scale).metrics
            write_json(path, values | {"num_samples": 123})
    write_json(tmp_path / "tokenizers/vq/quality.json", QUALITY)
    checkpoints.save(tmp_path / "m/base/model.safetensors", nn.Linear(1, 1), {"parameters": 77})
    return tmp_path


def table(results: Path, name: str, content: dict) -> pd.DataFrame:
    out = results / f"{name}.csv"
    settings = tables.TableSettings(name=name, content=content, **CONTEXT)
    tables.run(settings, results=results, reported=REPORTED / f"{name}.csv", out=out)
    frame = pd.read_csv(out)
    assert frame["source"].tolist() == sorted(frame["source"], reverse=True)  # reported first
    return frame[frame["source"] == "measured"].reset_index(drop=True)


def metric(results: Path, finetune: str, seed: int, scale: float, name: str) -> float:
    return read_json(results / Experiment("m", finetune, seed, scale).metrics)[name]


def test_table2_mean_and_deviation_over_seeds(results: Path) -> None:
    content = {"measured": [{"model": "m", "cfg_scale": 2}, {"model": "m", "finetune": "cca_lambda=1"}]}
    rows = table(results, "table2", content | {"seeds": [0, 1, 2]})
    columns = {
        "fid": 0,
        "inception_score": 0,
        "precision": 0,
        "recall": 0,
        "cfg_fid": 2,
        "cfg_inception_score": 2,
    }
    for column, scale in columns.items():
        values = [metric(results, "base", seed, scale, column.removeprefix("cfg_")) for seed in range(3)]
        assert rows[column][0] == pytest.approx(np.mean(values), rel=1e-5)
        assert rows[f"{column}_std"][0] == pytest.approx(np.std(values, ddof=1), rel=1e-5)
    assert np.isnan(rows["cfg_fid_std"][1]) and rows["fid_std"][1] > 0
    one = table(results, "table2", content | {"seeds": [0]})
    assert one.filter(like="_std").isna().all(axis=None)


def test_titles_are_unique_and_parameters_may_be_text(monkeypatch: pytest.MonkeyPatch) -> None:
    same = {"name": "cca", "lam": 0.3}
    specs = {"a": same, "b": same | {"beta": 0.02}, "c": {"name": "cca", "lam": 1}, "d": {"name": "sft"}}
    context = measured.Context(**CONTEXT | {"objectives": specs})
    titles = [measured.Measured(Path(), context).title("m", name) for name in specs]
    common = "Model-M +CCA (β = 0.02, λ = "
    assert titles == [f"{common}0.3) [a]", f"{common}0.3) [b]", f"{common}1)", "Model-M +SFT"]
    monkeypatch.setattr(measured.objectives, "bind", lambda spec: partial(print, kind="hinge", margin=5.0))
    only = measured.Measured(Path(), measured.Context(**CONTEXT | {"objectives": {"e": {"name": "mine"}}}))
    assert only.title("m", "e") == "Model-M +mine (kind = hinge, margin = 5)"


def test_a_mask_rate_of_its_own_is_part_of_a_finetunes_name() -> None:
    specs = {name: {"name": "cca", "lam": 0.3} for name in ("a", "b", "c")}
    context = measured.Context(**CONTEXT | {"objectives": specs, "mask_rates": {"b": 0, "c": 0.5}})
    methods = [measured.Measured(Path(), context).method(name) for name in specs]
    common = "CCA (β = 0.02, λ = 0.3"
    assert methods == [f"{common})", f"{common}, no masking)", f"{common}, mask rate 0.5)"]


def test_a_title_is_escaped_on_its_page() -> None:
    assert "<title>a &lt; b</title>" in html.page("a < b", pd.DataFrame())
    page = html.page("t", pd.DataFrame({"x": ["p"]}), pd.DataFrame({"y": ["q"]}))
    shown, _, folded = page.partition("<details>")
    assert "<td>p</td>" in shown and "<td>q</td>" in folded and "<td>q</td>" not in shown


@pytest.mark.parametrize(
    ("name", "columns"), [("table2", {"fid": 0, "cfg_fid": 2}), ("table3", {"fid": 0, "sfid": 0})]
)
def test_origin_and_scale_lead_to_the_metrics(results: Path, name: str, columns: dict[str, float]) -> None:
    guided = {"cfg_scale": 2} if name == "table2" else {}
    row = table(results, name, {"seeds": [0, 2], "measured": [{"model": "m", **guided}]}).iloc[0]
    for column, scale in columns.items():
        paths = [Path(row["origin"]) / f"seed={seed}/s={scale}/metrics.json" for seed in (0, 2)]
        values = [read_json(path)[column.removeprefix("cfg_")] for path in paths]
        assert row[column] == pytest.approx(np.mean(values), rel=1e-5)


@pytest.mark.parametrize("name", ["table2", "table3"])
def test_a_table_is_made_of_files_that_it_names(results: Path, name: str) -> None:
    content = {"seeds": [0, 1], "measured": [{"model": "m"}, {"model": "m", "finetune": "cca_lambda=1"}]}
    files = tables.TableSettings(name=name, content=content, **CONTEXT).files(results)
    assert len(set(files)) == len(files) == 4 + (name == "table2")
    for path in files:
        hidden = path.rename(path.with_suffix(".hidden"))
        with pytest.raises(CCAError, match=f"{path.name}: no such file"):
            table(results, name, content)
        hidden.rename(path)


def test_a_metric_that_no_paper_reports_is_a_column_at_the_end(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "METRICS", (*measured.METRICS, "kid"))
    for seed in (0, 1):
        path = results / Experiment("m", "base", seed, 0).metrics
        write_json(path, read_json(path) | {"kid": seed + 1})
    rows = table(results, "table3", {"seeds": [0, 1], "measured": [{"model": "m"}]})
    assert rows.columns[-2:].tolist() == ["kid", "kid_std"] and rows["kid"][0] == 1.5
    assert table(results, "table2", {"seeds": [0], "measured": [{"model": "m"}]})["fid"].notna().all()


def test_a_metric_without_a_value_is_a_dash(results: Path) -> None:
    path = results / Experiment("m", "base", 0, 0).metrics
    write_json(path, read_json(path) | {"sfid": None})
    rows = table(results, "table3", {"seeds": [0, 1], "measured": [{"model": "m"}]})
    assert np.isnan(rows["sfid"][0]) and np.isnan(rows["sfid_std"][0]) and rows["fid"].notna().all()
    lines = (results / "table3.md").read_text().splitlines()
    header, last = ([cell.strip() for cell in line.split("|")] for line in (lines[0], lines[-1]))
    assert dict(zip(header, last, strict=True))["sFID ↓"] == "-"


def test_tables_and_figures_know_the_objectives(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        table3.Table, "rows", lambda _, known: seen.append(known.objective("cca_lambda=3")) or []
    )
    table(results, "table3", {"seeds": [0], "measured": []})
    assert seen[0]["lam"] == 3


def test_table2_rows(results: Path) -> None:
    content = {
        "seeds": [1],
        "measured": [{"model": "m", "cfg_scale": 2}, {"model": "m", "finetune": "cca_lambda=1"}],
    }
    rows = table(results, "table2", content)
    assert rows["model"].tolist() == ["Model-M", "Model-M +CCA (β = 0.02, λ = 1)"]
    assert rows["benchmark"].unique().tolist() == ["made-up"]
    assert rows["parameters"].tolist() == [77, 77]
    assert rows["fid"][0] == pytest.approx(metric(results, "base", 1, 0, "fid"), rel=1e-5)
    assert rows["cfg_fid"][0] == pytest.approx(metric(results, "base", 1, 2, "fid"), rel=1e-5)
    assert rows["cfg_inception_score"][0] == pytest.approx(
        metric(results, "base", 1, 2, "inception_score"), rel=1e-5
    )
    assert rows["recall"][1] == pytest.approx(metric(results, "cca_lambda=1", 1, 0, "recall"), rel=1e-5)
    assert np.isnan(rows["cfg_fid"][1])


def test_table3_mean_and_deviation_over_seeds(results: Path) -> None:
    rows = table(
        results, "table3", {"seeds": [0, 1, 2], "measured": [{"model": "m", "finetune": "cca_lambda=3"}]}
    )
    values = [metric(results, "cca_lambda=3", seed, 0, "sfid") for seed in range(3)]
    assert rows["sfid"][0] == pytest.approx(sum(values) / 3, rel=1e-5)
    assert rows["sfid_std"][0] == pytest.approx(np.std(values, ddof=1), rel=1e-5)
    assert rows["seeds"][0] == 3 and rows["num_samples"][0] == 123


def test_a_row_of_table3_may_have_seeds_of_its_own(results: Path) -> None:
    content = {"seeds": [0, 1, 2], "measured": [{"model": "m"}, {"model": "m", "seeds": [2]}]}
    rows = table(results, "table3", content)
    assert rows["seeds"].tolist() == [3, 1]
    assert rows["fid"][1] == pytest.approx(metric(results, "base", 2, 0, "fid"), rel=1e-5)
    assert np.isnan(rows["fid_std"][1]) and rows["fid_std"][0] > 0


def test_markdown_and_latex_hold_the_same_rows(results: Path) -> None:
    table(results, "table3", {"seeds": [0], "measured": [{"model": "m"}]})
    markdown = (results / "table3.md").read_text().splitlines()
    latex = (results / "table3.tex").read_text()
    assert len(markdown) == 2 + 8 + 1
    assert "fid_std" not in latex and " ± " not in markdown[-1]  # one seed has no deviation
    assert "Model-M" in markdown[-1] and "Model-M" in latex
    assert "LlamaGen-L +CCA" in latex and "3.43" in latex


def test_a_readable_table_has_means_with_deviations_and_no_empty_columns() -> None:
    frame = pd.DataFrame(
        {
            "model": ["A λ", "B_1"],
            "parameters": [468_864, None],
            "fid": [3.44184, 12.0],
            "fid_std": [0.0812, None],
            "sfid": [None, None],
            "origin": ["here", "there"],
        }
    )
    shown = readable(frame)
    assert shown.to_dict("list") == {
        "model": ["A λ", "B_1"],
        "parameters": ["468,864", "-"],
        "FID ↓": ["3.442 ± 0.081", "12"],
    }
    text = latex(shown)
    assert text.isascii() and r"B\_1" in text and r"A $\lambda$" in text and r"3.442 $\pm$ 0.081" in text


def test_the_table_of_tokenizers_has_a_row_each(results: Path) -> None:
    rows = table(results, "tokenizers", {"models": ["m", "m"]})
    (row,) = rows.to_dict("records")
    assert {key: row[key] for key in ("tokenizer", *QUALITY.keys() - {"l1"})} == {
        "tokenizer": "vq",
        **{key: value for key, value in QUALITY.items() if key != "l1"},
    }
    markdown = (results / "tokenizers.md").read_text().splitlines()
    assert len(markdown) == 3 and "| rFID of training images ↓   | training images   |" in markdown[0]
    for missing in ("rfid", "num_images"):
        rest = {key: value for key, value in QUALITY.items() if key != missing}
        write_json(results / "tokenizers/vq/quality.json", rest)
        with pytest.raises(CCAError, match=f"quality.json: '{missing}' is missing; delete it and measure"):
            table(results, "tokenizers", {"models": ["m"]})


@pytest.mark.parametrize("name", ["table2", "table3"])
def test_reported_numbers_have_a_source_each(name: str) -> None:
    frame = pd.read_csv(REPORTED / f"{name}.csv")
    assert (frame["source"] == "reported").all() and (frame["benchmark"] == "imagenet-256").all()
    assert frame["origin"].str.match(r".+ (19|20)\d\d").all()


def test_a_missing_or_incomplete_metrics_file_is_one_line(results: Path) -> None:
    path = results / Experiment("m", "base", 0, 0).metrics
    write_json(path, {"fid": 1.0})
    with pytest.raises(CCAError, match=r"metrics.json: 'inception_score' is missing"):
        table(results, "table3", {"seeds": [0], "measured": [{"model": "m"}]})
    path.unlink()
    with pytest.raises(CCAError, match=r"metrics.json: no such file"):
        table(results, "table3", {"seeds": [0], "measured": [{"model": "m"}]})


PANELS = [{"model": "m", "cca": ["cca_lambda=1", "cca_lambda=3"], "cfg": [0, 1, 2]}]


def test_fig4_draws_the_points_of_its_csv_and_these_are_the_metrics(results: Path) -> None:
    content = {"seeds": [2], "panels": PANELS}
    settings = figures.FigureSettings(name="fig4_lambda_sweep", content=content, **CONTEXT)
    figures.run(settings, results=results, out=results / "fig4.pdf")
    points = pd.read_csv(results / "fig4.csv")
    assert len(points) == 5
    for point in points.itertuples():
        for name in ("fid", "inception_score"):
            expected = metric(results, point.finetune, 2, point.s, name)
            assert getattr(point, name) == pytest.approx(expected, rel=1e-5)
    (axis,) = settings.figure.draw(points).axes
    drawn = {line.get_label(): line.get_xydata() for line in axis.get_lines()}
    cfg = points[points["method"] == "cfg"]
    assert drawn["CFG"] == pytest.approx(cfg[["inception_score", "fid"]].to_numpy())
    assert drawn["no guidance"] == pytest.approx(cfg[cfg["s"] == 0][["inception_score", "fid"]].to_numpy())
    assert (results / "fig4.pdf").read_bytes().startswith(b"%PDF")
    assert (results / "fig4.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_is_the_same_bytes_each_time(results: Path) -> None:
    settings = figures.FigureSettings(
        name="fig4_lambda_sweep", content={"seeds": [0], "panels": PANELS}, **CONTEXT
    )
    for name in ("a", "b"):
        figures.run(settings, results=results, out=results / f"{name}.pdf")
    assert (results / "a.pdf").read_bytes() == (results / "b.pdf").read_bytes()
    assert (results / "a.csv").read_bytes() == (results / "b.csv").read_bytes()
