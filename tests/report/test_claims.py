"""Claims with verdicts, from made-up measurements."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cca.config import load_tier
from cca.errors import CCAError
from cca.experiments import Experiment
from cca.files import write_json
from cca.report import claims
from cca.report.claims import definitions, evidence
from cca.report.claims.quantities import columns, parse
from cca.report.claims.roles import AXES, ModelClaims, TierClaims
from cca.report.claims.rules import Bounds, Rule
from cca.report.claims.verdicts import Estimate, Verdict, combine, judge, over_seeds
from cca.report.measured import METRICS

RESOURCES = Path(__file__).parents[2] / "workflow/resources"
SHIPPED = RESOURCES / "claims.yaml"
HOLDS, FAILS, UNDECIDED = Verdict.REPRODUCED, Verdict.NOT_REPRODUCED, Verdict.INCONCLUSIVE


def found(rule: dict, *values: object) -> Verdict:
    """The verdict of a rule on arrays of shape (seeds, points), or (seeds,) for single numbers."""
    arrays = [np.array(value, dtype=float) for value in values]
    built: Rule = definitions.build(rule)
    effect = built.effect([array[:, None] if array.ndim == 1 else array for array in arrays])
    return judge(over_seeds(effect), built.bounds)


GAP = {"fraction_of_gap": {"start": "base.fid", "goal": "cfg.fid", "reached": "cca.fid", "at_least": 0.5}}
RATIO = {"ratio": {"this": "cca.fid", "to": "base.fid", "at_least": 0.5, "at_most": 2}}
CURVES = {"curve": "lambda_sweep", "reference": "cfg_sweep", "x": "inception_score", "y": "fid"}
RISES = {"rises": {"sweep": "lambda_sweep.recall", "at_least": 0.5}}
FALLS = {"falls": {"sweep": "lambda_sweep.recall", "at_least": 0.5}}
UP, DOWN = [1, 2, 3, 4], [9, 7, 5, 3]


@pytest.mark.parametrize(
    ("rule", "values", "verdict"),
    [
        ({"less": {"this": "cfg.fid", "than": "base.fid"}}, ([1, 2, 3], [3, 4.1, 5]), HOLDS),
        ({"less": {"this": "cfg.fid", "than": "base.fid"}}, ([3, 4.1, 5], [1, 2, 3]), FAILS),
        ({"less": {"this": "cfg.fid", "than": "base.fid"}}, ([1, 2, 3], [2, 1.5, 3.1]), UNDECIDED),
        ({"less": {"this": "cfg.fid", "than": "base.fid"}}, ([2, 2], [2, 2]), FAILS),
        ({"greater": {"this": "cfg.fid", "than": "base.fid"}}, ([3, 4.1, 5], [1, 2, 3]), HOLDS),
        ({"greater": {"this": "cfg.fid", "than": "base.fid"}}, ([1, 2, 3], [3, 4.1, 5]), FAILS),
        ({"greater": {"this": "cfg.fid", "than": "base.fid"}}, ([1, 2, 3], [2, 1.5, 3.1]), UNDECIDED),
        ({"less": {"this": "sizes_cca.fid", "than": "sizes_base.fid"}}, ([[1, 2]], [[2, 3]]), HOLDS),
        ({"less": {"this": "sizes_cca.fid", "than": "sizes_base.fid"}}, ([[1, 4]], [[9, 3]]), FAILS),
        ({"greater": {"this": "beta_sweep.fid", "than": "base.fid"}}, ([[3, 4]], [2]), HOLDS),
        ({"greater": {"this": "beta_sweep.fid", "than": "base.fid"}}, ([[3, 1]], [2]), FAILS),
        ({"less": {"this": "dpo.g_pos", "than": 0}}, ([-3, -3.1], [0, 0]), HOLDS),
        (RISES, ([UP, [1, 2, 4, 3]],), UNDECIDED),  # correlations 1 and 2/3: an interval far beyond both
        (RISES, ([UP, UP],), HOLDS),
        (RISES, ([DOWN, DOWN],), FAILS),
        (RISES, ([[1]],), UNDECIDED),  # no order in a single point
        (FALLS, ([DOWN, DOWN],), HOLDS),
        (FALLS, ([UP, UP],), FAILS),
        (FALLS, ([[4, 3, 1, 2]] * 2 + [DOWN] * 8,), HOLDS),
        (FALLS, ([DOWN, UP],), UNDECIDED),
        (GAP, ([10, 10.2], [2, 2.2], [4, 4.1]), HOLDS),
        (GAP, ([10, 10.2], [2, 2.2], [9, 9.1]), FAILS),
        (GAP, ([10, 10.2], [2, 2.2], [5, 7]), UNDECIDED),
        (GAP, ([2], [2], [1]), UNDECIDED),  # no gap
        (RATIO, ([1, 1.01], [1, 1]), HOLDS),
        (RATIO, ([5, 5.1], [1, 1]), FAILS),
        (RATIO, ([0.1, 0.11], [1, 1]), FAILS),
        (RATIO, ([1.5, 2.5], [1, 1]), UNDECIDED),
        (RATIO, ([1], [0]), UNDECIDED),
    ],
)
def test_a_rule_holds_fails_or_is_undecided(rule: dict, values: tuple, verdict: Verdict) -> None:
    assert found(rule, *values) is verdict


@pytest.mark.parametrize(("factor", "verdict"), [(1.1, HOLDS), (3, FAILS), (0.1, FAILS)])
def test_same_curve_is_the_ratio_at_equal_x_however_the_points_lie(factor: float, verdict: Verdict) -> None:
    rule = {"same_curve": CURVES | {"at_least": 0.67, "at_most": 1.5}}
    reference_x, reference_y = [[1, 3, 5, 4]], [[10, 6, 2, 50]]  # what follows the largest x does not count
    curve_x, curve_y = [[2, 4, 99]], [[8 * factor, 4 * factor, 1000]]  # nor what is beyond it
    arrays = [np.array(a, dtype=float) for a in (curve_x, curve_y, reference_x, reference_y)]
    assert definitions.build(rule).effect(arrays) == pytest.approx([factor])
    assert found(rule, *arrays) is verdict
    assert found(rule, [[99, 100]], [[1, 1]], reference_x, reference_y) is UNDECIDED


def test_seeds_are_paired() -> None:
    """Differences within a seed are certain where the seeds themselves differ by far more."""
    rule = {"less": {"this": "cca.fid", "than": "base.fid"}}
    assert found(rule, [1, 11, 21], [2, 12, 22.1]) is HOLDS
    assert found(rule, [21, 1, 11], [2, 12, 22.1]) is UNDECIDED


def test_the_interval_is_students() -> None:
    values = np.array([1.0, 2.0, 4.0, 8.0])
    low, high = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert over_seeds(values) == Estimate(values.mean(), pytest.approx(low), pytest.approx(high))
    assert over_seeds(np.array([3.0])) == Estimate(3, 3, 3)


@pytest.mark.parametrize(
    ("interval", "bounds", "verdict"),
    [
        ((0.5, 0.6), Bounds(low=0.5), HOLDS),
        ((0, 0.1), Bounds(low=0, strict=True), UNDECIDED),
        ((-1, 0), Bounds(low=0, strict=True), FAILS),
        ((0, 3), Bounds(1, 2), UNDECIDED),
        ((2, 3), Bounds(1, 2), UNDECIDED),
        ((2.1, 3), Bounds(1, 2), FAILS),
        ((np.nan, np.nan), Bounds(1, 2), UNDECIDED),
    ],
)
def test_the_ends_of_intervals(interval: tuple, bounds: Bounds, verdict: Verdict) -> None:
    assert judge(Estimate(interval[0], *interval), bounds) is verdict


def test_a_claim_is_as_good_as_its_weakest_rule() -> None:
    assert combine([HOLDS, HOLDS]) is HOLDS
    assert combine([HOLDS, UNDECIDED]) is UNDECIDED
    assert combine([UNDECIDED, FAILS, HOLDS]) is FAILS


ENTRY = {
    "model": "m",
    "cfg_scale": 1,
    "cca": "cca",
    "dpo": "dpo",
    "unlearn": "unlearn",
    "cfg_sweep": [0, 1, 2],
    "lambda_sweep": ["weak", "cca"],
    "beta_sweep": ["cca", "other"],
    "combined": {"finetune": "weak", "scales": [1], "unmasked": "bare"},
    "sizes": [{"model": "m", "cca": "cca"}, {"model": "l", "cca": "cca"}],
    "cost": True,
}
FID = {"base": 10.0, "cca": 3.0, "dpo": 20.0, "unlearn": 8.0, "weak": 5.0, "other": 3.5, "bare": 9.0}


def made_up(experiment: Experiment) -> dict[str, float]:
    """A world in which the paper is right: FID, IS and recall follow from finetune, scale and seed."""
    weight = FID[experiment.finetune] - experiment.scale * (2.0 if experiment.finetune == "weak" else 3.0)
    fid = weight + 0.01 * experiment.seed
    values = {"fid": fid, "sfid": fid, "precision": 0.5, "inception_score": 100 - 5 * fid}
    return values | {"recall": fid / 100, "num_samples": 5}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    content = TierClaims(seeds=[0, 1, 2], sweep_seeds=[0], models=[ModelClaims(**ENTRY)])
    for experiment in content.experiments():
        write_json(tmp_path / experiment.metrics, made_up(experiment))
        log = pd.DataFrame({"step": range(8), "g_pos": -np.arange(8.0), "g_neg": -9})
        log.loc[7, "g_pos"] = np.nan
        (tmp_path / experiment.log).parent.mkdir(parents=True, exist_ok=True)
        log.to_csv(tmp_path / experiment.log, index=False)
    write_json(tmp_path / "m/cost.json", {"time_ratio": {"median": 1.9, "min": 1.8, "max": 2.1}})
    return tmp_path


def judged(results: Path, entry: dict, seeds: tuple[int, ...] = (0, 1, 2)) -> pd.DataFrame:
    settings = claims.ClaimsSettings(
        benchmark="made-up",
        titles={"m": "Model-M"},
        families={"m": "llamagen"},
        content={"seeds": seeds, "sweep_seeds": seeds[:1], "models": [entry]},
    )
    out = results / "claims/claims.csv"
    claims.run(settings, results=results, claims=SHIPPED, reported=RESOURCES / "reported", out=out)
    return pd.read_csv(out).set_index("claim")


def test_the_shipped_claims_in_a_world_where_the_paper_is_right(results: Path) -> None:
    frame = judged(results, ENTRY)
    assert frame["verdict"].str.startswith("reproduced").all(), frame["measured"].to_dict()
    assert frame.loc["cfg_improves", "seeds"] == 3 and frame.loc["cfg_improves", "verdict"] == "reproduced"
    assert frame.loc["recall_falls", "verdict"] == "reproduced (one seed)"
    cost = frame.loc["half_the_cost"]
    assert np.isnan(cost["seeds"]) and "ratio 1.9 [1.8, 2.1], holds" in cost["measured"]
    # The last quarter is steps 6 and 7, of which 7 has no number.
    assert "dpo.g_pos -6:" in frame.loc["dpo_collapses", "measured"]
    assert frame.loc["dpo_collapses", "reported"] == "LlamaGen-L: dpo.fid 61.69, base.fid 19"
    assert "LlamaGen-3B: cfg.fid 2.18, base.fid 9.38" in frame.loc["cca_closes_gap", "reported"]


def test_a_claim_that_is_wrong_is_not_reproduced(results: Path) -> None:
    for seed in range(3):
        better = made_up(Experiment("m", "cca", seed, 0))
        write_json(results / Experiment("m", "dpo", seed, 0).metrics, better)
    frame = judged(results, ENTRY)
    assert frame.loc["dpo_collapses", "verdict"] == "not reproduced"
    assert "fails" in frame.loc["dpo_collapses", "measured"]


def test_one_seed_has_no_interval_and_the_verdict_says_so(results: Path) -> None:
    frame = judged(results, ENTRY, seeds=(0,))
    row = frame.loc["cfg_improves"]
    assert row["verdict"] == "reproduced (one seed)" and row["seeds"] == 1
    assert "±" not in row["measured"] and "[" not in row["measured"]


def test_what_a_tier_does_not_measure_is_inconclusive_and_stays_in_the_table(results: Path) -> None:
    frame = judged(results, {"model": "m", "cfg_scale": 1})
    assert frame.loc["cfg_improves", "verdict"] == "reproduced"
    others = frame.drop(index="cfg_improves")
    assert (others["verdict"] == "inconclusive (not measured in this tier)").all()
    assert frame.loc["half_the_cost", "measured"] == "not measured: cost"
    assert "not measured: sizes_base, sizes_cca" in frame.loc["cca_improves_every_size", "measured"]


def test_markdown_and_csv_agree(results: Path) -> None:
    frame = judged(results, ENTRY)
    text = (results / "claims/claims.md").read_text()
    tables = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|:")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in tables]
    at_a_glance = cells[: len(frame) + 1]
    assert at_a_glance == [["claim", "Model-M"], *(list(item) for item in frame["verdict"].items())]
    for row in frame.astype({"seeds": "Int64"}).astype(object).fillna("-").itertuples():
        assert [row.model, row.measured, row.reported, row.verdict, str(row.seeds)] in cells
        assert f"\n{row.statement} ({row.where})\n\nRule: {row.rule}\n" in text
    assert ["Model-M", "lambda_sweep", "m weak s=0 / m cca s=0", "0"] in cells
    assert "judged on made-up alone" in text


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("m/dpo/seed=0/s=0/metrics.json", None, "metrics.json: no such file"),
        ("m/dpo/seed=0/s=0/metrics.json", "{}", "metrics.json: 'fid' is missing"),
        ("m/dpo/seed=1/model.log.csv", None, "model.log.csv: no such file"),
        ("m/dpo/seed=1/model.log.csv", "step\n1\n", "model.log.csv: column 'g_pos' is missing"),
        ("m/cost.json", "{}", "cost.json: 'time_ratio' is missing"),
    ],
)
def test_a_missing_value_is_one_line(results: Path, path: str, content: str | None, message: str) -> None:
    (results / path).unlink()
    if content is not None:
        (results / path).write_text(content)
    with pytest.raises(CCAError, match=message) as error:
        judged(results, ENTRY)
    assert "\n" not in str(error.value)


CLAIM = "rows: {}\nclaims:\n  - {id: a, statement: b, where: c, rules: [%s]}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("claims: []\n", "key 'rows' is missing"),
        ("rows: {}\nclaims: []\n", "key 'claims': List should have at least 1 item"),
        (CLAIM % "{eval: 'x'}", "'eval' is not one of the rules: less, greater, "),
        (CLAIM % "{less: {this: base.fid}}", "key 'than' is missing"),
        (
            CLAIM % "{less: {this: base.fid, than: cfg.fid, by: 1}}",
            "unknown key 'by'; allowed keys: than, this",
        ),
        (CLAIM % "{less: {this: best.fid, than: 1}}", "role 'best' is not one of base, cfg, "),
        (CLAIM % "{less: {this: base.kid, than: 1}}", "base has the columns fid, "),
        (CLAIM % "{less: {this: base.g_pos, than: 1}}", "base has the columns fid, "),
        (CLAIM % "{less: {this: base.fid.min, than: 1}}", "only sweeps may end"),
        (CLAIM % "{less: {this: cfg_sweep.fid, than: lambda_sweep.fid}}", "go along different axes"),
        (CLAIM % "{rises: {sweep: base.fid, at_least: 1}}", "one number where a sweep is wanted"),
        (CLAIM % "{rises: {sweep: cfg_sweep.fid.max, at_least: 1}}", "one number where a sweep is wanted"),
        (CLAIM % "{ratio: {this: cfg_sweep.fid, at_most: 1}}", "a sweep where one number is wanted"),
        (CLAIM % "{less: {this: cost.time_ratio, than: base.fid}}", "mixes cost, which has no seeds"),
        (CLAIM % "{less: {}}, {less: {}}", "key 'claims.0.rules.0'"),
        (
            CLAIM.replace("c, ", "c, table: t9, ") % "{less: {this: base.fid, than: 1}}",
            "table 't9' is not one of",
        ),
        (
            CLAIM % "{less: {this: base.fid, than: 1}}"
            + "  - {id: a, statement: b, where: c, rules: [{less: {this: base.fid, than: 1}}]}\n",
            "the claim 'a' is given twice",
        ),
    ],
)
def test_a_bad_file_of_claims_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    with pytest.raises(CCAError) as error:
        definitions.load(path)
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sweep_seeds": [7]}, "sweep_seeds [7] are not among seeds"),
        ({"models": []}, "at least 1 item"),
        ({"models": [{"model": "m"}, {"model": "m"}]}, "a model is given twice"),
        ({"models": [{"model": "m", "combined": {"finetune": "x", "scales": [0, 1]}}]}, "above 0"),
        ({"models": [{"model": "m", "ccaa": "x"}]}, "ccaa"),
    ],
)
def test_a_bad_section_of_a_tier_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("[", r"\[").replace("]", r"\]")):
        TierClaims.model_validate({"seeds": [0], "sweep_seeds": [0], "models": [{"model": "m"}]} | change)


def test_every_quantity_of_the_shipped_claims_exists_and_has_somebody_to_play_it() -> None:
    defined = definitions.load(SHIPPED)
    arms = ModelClaims(**ENTRY).arms([0], [0])
    for claim in defined.claims:
        for quantity in (name for rule in claim.rules for name in rule.quantities if isinstance(name, str)):
            name = parse(quantity)
            assert name.column in columns(name.role) and name.role in {*arms, "cost"}
    for table, rows in defined.rows.items():
        models = set(evidence.read_reported(RESOURCES / "reported", table)["model"])
        assert set(rows.values()) <= models


def test_experiments_and_files_are_those_of_the_roles() -> None:
    content = TierClaims(seeds=[0, 1], sweep_seeds=[1], models=[ModelClaims(**ENTRY)])
    experiments = content.experiments()
    assert len(set(experiments)) == len(experiments)
    assert Experiment("m", "base", 0, 1) in experiments and Experiment("m", "base", 0, 2) not in experiments
    assert Experiment("m", "bare", 1, 1) in experiments and Experiment("l", "cca", 1, 0) in experiments
    files = content.files()
    assert {e.metrics for e in experiments} < set(files)
    assert Experiment("m", "dpo", 0, 0).log in files and Path("m/cost.json") in files
    assert set(AXES) < {*content.arms(content.models[0])} and set(METRICS) <= set(columns("cca"))


def test_a_tier_makes_what_its_claims_need() -> None:
    tier = load_tier("smoke", Path(__file__).parents[2] / "workflow/config")
    assert tier.claims and set(tier.claims.experiments()) <= set(tier.experiments())
