"""Claims with verdicts, from made-up measurements."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cca.config import load_tier
from cca.errors import CCAError
from cca.experiments import Experiment
from cca.files import read_json, write_json
from cca.report import claims
from cca.report.claims import definitions, evidence, markdown
from cca.report.claims.definitions import Claim
from cca.report.claims.evidence import Evidence
from cca.report.claims.quantities import columns, parse
from cca.report.claims.roles import AXES, ModelClaims, TierClaims
from cca.report.claims.verdicts import Verdict
from cca.report.measured import METRICS, Context, Measured

RESOURCES = Path(__file__).parents[2] / "workflow/resources"
SHIPPED = RESOURCES / "claims.yaml"


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
    content = TierClaims(seeds=[0, 1, 2], sweep_seeds=[0, 1, 2], models=[ModelClaims(**ENTRY)])
    for experiment in content.experiments():
        write_json(tmp_path / experiment.metrics, made_up(experiment))
        log = pd.DataFrame({"step": range(8), "g_pos": -np.arange(8.0), "g_neg": -9})
        log.loc[7, "g_pos"] = np.nan
        (tmp_path / experiment.log).parent.mkdir(parents=True, exist_ok=True)
        log.to_csv(tmp_path / experiment.log, index=False)
    write_json(tmp_path / "m/cost.json", {"time_ratio": {"median": 1.9, "min": 1.8, "max": 2.1}})
    return tmp_path


def judged(
    results: Path,
    entry: dict,
    seeds: tuple[int, ...] = (0, 1, 2),
    sweep_seeds: tuple[int, ...] = (0, 1, 2),
    imported: tuple[str, ...] = (),
) -> pd.DataFrame:
    settings = claims.ClaimsSettings(
        benchmark="made-up",
        titles={"m": "Model-M"},
        families={"m": "llamagen"},
        imported=list(imported),
        content={"seeds": seeds, "sweep_seeds": sweep_seeds, "models": [entry]},
    )
    out = results / "claims/claims.csv"
    claims.run(settings, results=results, claims=SHIPPED, reported=RESOURCES / "reported", out=out)
    frame = pd.read_csv(out).set_index("claim")
    assert set(frame["verdict"]) <= set(Verdict)
    return frame


def evidence_of(results: Path, seeds: list[int], sweep_seeds: list[int], **entry: object) -> Evidence:
    played = ModelClaims(**(entry or ENTRY))
    context = Context(benchmark="made-up", titles={"m": "Model-M"})
    return Evidence(Measured(results, context), played, played.arms(seeds, sweep_seeds))


def claim_of(*rules: dict) -> Claim:
    return Claim(id="a", statement="b", where="c", rules=rules)


def test_the_shipped_claims_in_a_world_where_the_paper_is_right(results: Path) -> None:
    frame = judged(results, ENTRY)
    assert (frame["verdict"] == "reproduced").all(), frame["measured"].to_dict()
    assert frame["note"].isna().all() and (frame["seeds"].drop("half_the_cost") == 3).all()
    assert "combined.fid 3.01 ± 0.025, cfg_alone.fid 7.01 ± 0.025" in frame.loc["cca_with_cfg", "measured"]
    cost = frame.loc["half_the_cost"]
    assert np.isnan(cost["seeds"]) and "ratio 1.9 [1.8, 2.1], holds" in cost["measured"]
    # The last quarter is steps 6 and 7, of which 7 has no number.
    assert "dpo.g_pos -6 ± 0:" in frame.loc["dpo_collapses", "measured"]
    assert frame.loc["dpo_collapses", "reported"] == "LlamaGen-L: dpo.fid 61.69, base.fid 19"
    assert "LlamaGen-3B: cfg.fid 2.18, base.fid 9.38" in frame.loc["cca_closes_gap", "reported"]


def test_a_claim_that_is_wrong_is_not_reproduced(results: Path) -> None:
    for seed in range(3):
        better = made_up(Experiment("m", "cca", seed, 0))
        write_json(results / Experiment("m", "dpo", seed, 0).metrics, better)
    frame = judged(results, ENTRY)
    assert frame.loc["dpo_collapses", "verdict"] == "not reproduced"
    assert "fails" in frame.loc["dpo_collapses", "measured"]


def test_one_seed_has_no_interval_so_it_decides_nothing_but_is_noted(results: Path) -> None:
    write_json(results / Experiment("m", "dpo", 0, 0).metrics, made_up(Experiment("m", "cca", 0, 0)))
    frame = judged(results, ENTRY, seeds=(0,), sweep_seeds=(0,)).drop(index="half_the_cost")
    assert (frame["verdict"] == "inconclusive").all() and (frame["seeds"] == 1).all()
    disagree = frame.pop("note") == "one seed; the numbers disagree with the claim"
    assert disagree[disagree].index.tolist() == ["dpo_collapses"]
    assert "one seed, numbers disagree with the rule; (2)" in frame.loc["dpo_collapses", "measured"]
    assert not frame["measured"].str.contains(r"±|\[|holds|fails|undecided").any()


def test_a_claim_with_a_rule_of_one_seed_can_fail_but_not_hold(results: Path) -> None:
    mixed = {"less": {"this": "beta_sweep.fid", "than": "base.fid"}}
    for sign, verdict, direction in (
        ("less", "inconclusive", "agree"),
        ("greater", "not reproduced", "disagree"),
    ):
        rule = {sign: {"this": "cfg.fid", "than": "base.fid"}}
        found = claims.evaluate(claim_of(rule, mixed), evidence_of(results, seeds=[0, 1, 2], sweep_seeds=[0]))
        assert (found["verdict"], found["seeds"]) == (verdict, 1)
        assert found["note"] == f"one seed; the numbers {direction} with the claim"


def test_rules_that_are_not_measured_do_not_count_as_seeds(results: Path) -> None:
    measured = {"less": {"this": "cfg.fid", "than": "base.fid"}}
    other = {"less": {"this": "dpo.fid", "than": "base.fid"}}
    entry = {"model": "m", "cfg_scale": 1}
    for seeds, note in (
        ([0], "not measured: dpo; one seed; the numbers agree with what was measured of the claim"),
        ([0, 1, 2], "not measured: dpo"),
    ):
        evidence = evidence_of(results, seeds=seeds, sweep_seeds=seeds, **entry)
        found = claims.evaluate(claim_of(other, measured), evidence)
        assert (found["verdict"], found["note"], found["seeds"]) == ("inconclusive", note, len(seeds))


def test_roles_without_a_common_seed_are_not_measured(results: Path) -> None:
    known = evidence_of(results, seeds=[0, 1], sweep_seeds=[0])
    parted = replace(known, arms=known.arms | {"cfg": {2: known.arms["cfg"][0]}})
    with pytest.raises(evidence.NotMeasured, match=r"base, cfg with the same seed"):
        parted.values(["cfg.fid", "base.fid"])


def test_a_metric_without_a_value_decides_nothing(results: Path) -> None:
    path = results / Experiment("m", "cca", 1, 0).metrics
    write_json(path, read_json(path) | {"fid": None})
    row = judged(results, ENTRY).loc["cca_closes_gap"]
    assert row["verdict"] == "inconclusive"
    assert "cca.fid -: share of the gap -, undecided" in row["measured"]


def test_imported_finetunes_are_judged_without_logs(results: Path) -> None:
    for log in results.rglob("*.log.csv"):
        log.unlink()
    frame = judged(results, ENTRY, imported=("cca", "dpo", "unlearn"))
    assert frame.loc["cca_closes_gap", "verdict"] == "reproduced"
    assert frame.loc["dpo_collapses", "note"] == "not measured: g_pos of dpo, which is imported"
    played = TierClaims(seeds=[0], sweep_seeds=[0], models=[ModelClaims(**ENTRY)])
    assert [path.parts[1] for path in played.files(["dpo"]) if path.suffix == ".csv"] == ["cca", "unlearn"]


def test_what_a_tier_does_not_measure_is_inconclusive_and_stays_in_the_table(results: Path) -> None:
    frame = judged(results, {"model": "m", "cfg_scale": 1})
    assert frame.loc["cfg_improves", "verdict"] == "reproduced"
    others = frame.drop(index="cfg_improves")
    assert (others["verdict"] == "inconclusive").all() and others["seeds"].isna().sum() > 4
    assert frame.loc["half_the_cost", "note"] == "not measured: cost"
    assert frame.loc["cca_closes_gap", "note"] == "not measured: cca"
    assert frame.loc["half_the_cost", "measured"] == "not measured: cost"
    assert "not measured: sizes_base, sizes_cca" in frame.loc["cca_improves_every_size", "measured"]


def test_markdown_and_csv_agree(results: Path) -> None:
    frame = judged(results, ENTRY | {"dpo": None}, sweep_seeds=(0,))
    text = (results / "claims/claims.md").read_text()
    tables = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|:")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in tables]
    at_a_glance = cells[: len(frame) + 1]
    noted = frame["verdict"] + (" (" + frame["note"] + ")").fillna("")
    assert at_a_glance == [["claim", "Model-M"], *(list(item) for item in noted.items())]
    assert noted["dpo_collapses"] == "inconclusive (not measured: dpo)"
    assert noted["recall_falls"] == "inconclusive (one seed; the numbers agree with the claim)"
    for row in frame.astype({"seeds": "Int64"}).astype(object).fillna("-").itertuples():
        assert [row.model, row.measured, row.reported, row.verdict, row.note, str(row.seeds)] in cells
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


def test_two_claims_of_one_statement_keep_their_rows() -> None:
    rows = [
        {"claim": claim, "statement": "as good", "model": model, "verdict": verdict, "note": float("nan")}
        for claim, verdict in (("a", "reproduced"), ("b", "inconclusive"))
        for model in ("M", "N")
    ]
    shown = markdown.verdicts(pd.DataFrame(rows), "statement")
    assert shown.to_numpy().tolist() == [
        ["as good", "reproduced", "reproduced"],
        ["as good", "inconclusive", "inconclusive"],
    ]
