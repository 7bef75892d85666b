"""Files of claims and sections of a tier that are refused."""

from pathlib import Path

import pytest

from cca.errors import CCAError
from cca.report.claims import definitions
from cca.report.claims.roles import TierClaims

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
        (CLAIM % "{ratio: {this: cfg_sweep.fid, to: sizes_cca.fid, at_most: 1}}", "go along different axes"),
        (
            CLAIM % "{fraction_of_gap: {start: cfg_sweep.fid, goal: cfg.fid, reached: cca.fid, at_least: 1}}",
            "a sweep where one number is wanted",
        ),
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
