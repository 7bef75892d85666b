"""The stage: it repeats, its means are those of the worlds, its sentences those of its numbers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cca import theory
from cca.config import load_tier
from cca.errors import CCAError
from cca.report import figures
from cca.settings import validate
from cca.theory import TheorySettings, minimisers, page
from cca.theory.measurements import SETTING
from cca.theory.summary import summarise

SMOKE = load_tier("smoke", Path(__file__).parents[2] / "workflow/config")
SETTINGS = SMOKE.theory.model_copy(update={"worlds": 3})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "theory"
    theory.run(SETTINGS, out=folder / "theory.csv")
    return folder


def test_the_same_settings_give_the_same_bytes(made: Path, tmp_path: Path) -> None:
    theory.run(SETTINGS, out=tmp_path / "theory.csv")
    for name in ("theory.csv", "theory.worlds.csv", "theory.md", "theory.html"):
        assert (tmp_path / name).read_bytes() == (made / name).read_bytes()


def test_values_are_means_with_t_intervals_over_worlds(made: Path) -> None:
    summary, worlds = pd.read_csv(made / "theory.csv"), pd.read_csv(made / "theory.worlds.csv")
    row = summary[(summary["kind"] == "minimiser") & (summary["beta"] == 0.5) & (summary["lam"] == 1)].iloc[0]
    runs = worlds[(worlds["kind"] == "minimiser") & (worlds["beta"] == 0.5) & (worlds["lam"] == 1)]
    assert len(runs) == row["worlds"] == row["found"] == 3
    assert row["kl"] == pytest.approx(runs["kl"].mean(), rel=1e-4)
    half = stats.t.ppf(0.975, 2) * runs["kl"].std() / np.sqrt(3)
    assert row["kl_high"] - row["kl"] == pytest.approx(half, rel=1e-3)
    assert row["kl_ratio"] == pytest.approx(stats.gmean(runs["kl"] / runs["cfg_kl"]), rel=1e-3)
    assert row["nearer"] == pytest.approx((runs["kl"] < runs["cfg_kl"]).mean(), rel=1e-4)


def test_decoding_at_its_limits(made: Path) -> None:
    summary = pd.read_csv(made / "theory.csv")
    target = summary[summary["method"] == "target"]
    assert target["kl"].abs().max() < 1e-8 and np.allclose(target["effective_s"], target["s"], atol=1e-4)
    assert (summary[summary["method"] == "cfg"]["nominal_kl"] > 0).all()
    assert summary[summary["kind"] == "minimiser"]["error"].max() < 1e-9


def test_sentences_follow_from_the_numbers() -> None:
    rows = pd.DataFrame(
        {
            "kind": ["decoding", "minimiser", "minimiser", "even", "even"],
            "method": ["cfg", "cca", "cca", "cca", "cca"],
            "beta": [np.nan, 0.5, 0.5, 0.02, 0.02],
            "lam": [np.nan, 1.0, 3.0, 1.0, 1.0],
            "s": [2.0, 2.0, 2.0, np.nan, np.nan],
            "effective_s": [2.1, 0.9, 3.5, 0.4, 1.1],
            "exact": [np.nan, 1, 0.5, np.nan, np.nan],
            "worlds": 3,
            "found": [3, 3, 3, 3, 2],
            "kl": [0.08, 0.011, 0.45, 0.03, 0.02],
            "nominal_kl": [0.09, 0.1, 0.5, np.nan, np.nan],
            "kl_ratio_low": [np.nan, 0.4, 1.5, 1.1, 0.5],
            "kl_ratio_high": [np.nan, 0.8, 2.5, 1.9, 0.7],
        }
    )
    cfg, minimisers, paths = page.sentences(rows)
    assert cfg == "Per-token CFG at s = 2 is KL 0.09 from the target that it names."
    assert "exact minimisers lie within KL 0.011 to 0.011 of a target, in 1 of 1 settings" in minimisers
    assert "CCA is nearer than CFG in 1 of them, CFG in 0" in minimisers
    assert "CCA is nearer than CFG in 0 of them, CFG in 1" in minimisers
    assert "above the least exact λ, lie within KL 0.45 to 0.45" in minimisers
    told = "CCA is nearer than CFG at 1 of 2 points, CFG at 1; of the 2 of even descent at 1 and 1."
    assert paths == f"Along gradient descent from phi {told}"
    assert page.paths(rows[:3]) == "No path of CCA was computed."
    undecided = rows.assign(kl_ratio_low=0.9, kl_ratio_high=1.1)
    assert page.nearer(pd.concat([rows, undecided])).to_numpy().tolist() == [
        ["minimisers, λ = 1", "β = 0.5", "-", "β = 0.5"],
        ["minimisers, λ = 3", "-", "β = 0.5", "β = 0.5"],
        [
            "even descent, β = 0.02, λ = 1",
            "s* = 1.1 (in 2 of 3 worlds)",
            "s* = 0.4",
            "s* = 0.4, 1.1 (in 2 of 3 worlds)",
        ],
    ]


def test_means_are_of_the_worlds_that_have_a_nearest_target() -> None:
    worlds = pd.DataFrame({"world": range(3), "effective_s": [1, 3, np.nan], "g_pos": [-1, -2, -6]})
    worlds = worlds.assign(log_kl_ratio=0.0, **dict.fromkeys(SETTING, 1))
    (row,) = summarise(worlds).to_dict("records")
    assert (row["worlds"], row["found"], row["effective_s"], row["g_pos"]) == (3, 2, 2, -3)


def test_the_least_exact_lam_is_at_least_1_and_below_3(made: Path) -> None:
    worlds = pd.read_csv(made / "theory.worlds.csv")
    cca = worlds[(worlds["kind"] == "minimiser") & (worlds["method"] == "cca")]
    assert ((cca["lam"] <= cca["exact_lam"]) == (cca["exact"] == 1)).all()
    assert (cca[cca["lam"] <= 1]["exact"] == 1).all() and (cca[cca["lam"] == 3]["exact"] == 0).any()


def test_a_minimiser_that_is_not_found_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minimisers, "MOST_STEPS", 1)
    with pytest.raises(
        CCAError, match=r"no minimiser of CCA found at beta 0.02, lam 0.3 \(slope .* after 1 steps"
    ):
        theory.run(SETTINGS, out=tmp_path / "theory.csv")


def test_a_world_without_information_has_no_scale(tmp_path: Path) -> None:
    theory.run(SETTINGS.model_copy(update={"informativeness": [0.0]}), out=tmp_path / "theory.csv")
    assert pd.read_csv(tmp_path / "theory.csv")["effective_s"].isna().all()
    assert "Informativeness 0" in (tmp_path / "theory.md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 6}, "tokens ** length is 729; it may be 256 at most"),
        ({"length": 10**40}, "key 'length': Input should be less than or equal to 8"),
        ({"worlds": 0}, "key 'worlds': Input should be greater than or equal to 1"),
        ({"paths": SETTINGS.paths.model_dump() | {"steps": [8, 8]}}, "steps [8, 8] are not rising"),
        ({"paths": SETTINGS.paths.model_dump() | {"objectives": [{"name": "cda"}]}}, "'cda' is not one of"),
        ({"paths": SETTINGS.paths.model_dump() | {"objectives": [{"name": "ddo"}]}}, "ddo contrasts samples"),
        (
            {"paths": SETTINGS.paths.model_dump() | {"objectives": [{"name": "dpo"}] * 2}},
            "two objectives",
        ),
        ({"lams": [1, 1.0]}, "key 'lams': [1.0, 1.0] are not different from each other"),
    ],
)
def test_impossible_settings_are_one_line(change: dict, message: str) -> None:
    with pytest.raises(CCAError) as error:
        validate(TheorySettings, SETTINGS.model_dump() | change, "theory")
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"informativeness": 5}, "informativeness 5 is not in theory.informativeness"),
        ({"lams": [1, 7]}, "draws a path of {'method': 'cca', 'beta': 0.02, 'lam': 7.0}, which is not in"),
        ({"collapse_beta": 0.02}, "draws a path of {'method': 'dpo', 'beta': 0.02}, which is not in"),
    ],
)
def test_the_figure_wants_only_what_is_computed(change: dict, message: str) -> None:
    figure = SMOKE.figures["fig_theory"]
    figure.check(SMOKE)
    with pytest.raises(CCAError) as error:
        type(figure).model_validate(figure.model_dump() | change).check(SMOKE)
    assert message in str(error.value)


def test_the_figure_keeps_lams_apart_and_says_what_it_cuts(made: Path) -> None:
    points = pd.read_csv(made / "theory.csv")
    path = points[(points["kind"] == "even") & (points["method"] == "cca") & (points["beta"] == 0.5)]
    far = points[points["method"] == "cfg"].assign(effective_s=1e3)
    axes = SMOKE.figures["fig_theory"].draw(pd.concat([points, path.assign(lam=7), far])).axes
    lines = {line.get_label(): line for line in axes[3].get_lines()}
    for lam in ("CCA, λ = 1", "CCA, λ = 7"):
        assert lines[lam].get_xdata() == pytest.approx(path["step"].to_numpy())
    assert lines["CCA, λ = 1"].get_color() != lines["CCA, λ = 7"].get_color()
    texts = [text.get_text() for text in axes[1].texts]
    assert texts == ["points outside: 2"]


def test_the_figure_draws_the_summary(made: Path, tmp_path: Path) -> None:
    settings = SMOKE.figure("fig_theory")
    assert settings.files(made.parent) == [made / "theory.csv"]
    figures.run(settings, results=made.parent, out=tmp_path / "fig.pdf")
    points = pd.read_csv(tmp_path / "fig.csv")
    axes = settings.figure.draw(points).axes
    cfg = points[(points["kind"] == "decoding") & (points["method"] == "cfg")]
    for axis in axes[:2]:
        (line,) = [line for line in axis.get_lines() if line.get_label() == "CFG"]
        assert line.get_xydata() == pytest.approx(cfg[["effective_s", "kl"]].to_numpy())
    other = settings.model_copy(update={"content": settings.content | {"informativeness": 5}})
    with pytest.raises(CCAError, match="no world has informativeness 5"):
        figures.run(other, results=made.parent, out=tmp_path / "fig.pdf")
