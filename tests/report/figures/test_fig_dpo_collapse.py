"""The figure of DPO's collapse draws what the logs of finetuning say."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cca.errors import CCAError
from cca.experiments import Experiment

from .conftest import MODELS, SEEDS, axes_of, lines, points_of


def test_fig_dpo_collapse_draws_the_logs(made: Path) -> None:
    points = points_of(made, "fig_dpo_collapse")
    axes = axes_of("fig_dpo_collapse", points)
    for row, model in enumerate(MODELS):
        for axis, side in zip(axes[2 * row : 2 * row + 2], ("g_pos", "g_neg"), strict=True):
            for finetune, label in (("cca_lambda=1", "CCA (β = 0.02, λ = 1)"), ("dpo", "DPO (β = 0.02)")):
                logs = [pd.read_csv(made / Experiment(model, finetune, seed, 0).log)[side] for seed in SEEDS]
                drawn = lines(axis)[label]
                assert drawn[:, 0].tolist() == list(range(7))
                assert drawn[:, 1] == pytest.approx(np.mean(logs, axis=0), rel=1e-4, abs=1e-5)
                rows = points[(points["panel"] == MODELS[model]) & (points["finetune"] == finetune)]
                deviation = np.std(logs, axis=0, ddof=1)
                assert rows[f"{side}_std"].to_numpy() == pytest.approx(deviation, rel=1e-4, abs=1e-5)
    assert set(points["method"]) == {"cca", "dpo"}
    one = points_of(made, "fig_dpo_collapse", seeds=[2])
    log = pd.read_csv(made / Experiment("a", "dpo", 2, 0).log)
    raw = one[(one["panel"] == "Model-A") & (one["finetune"] == "dpo")]["g_pos"]
    assert raw.to_numpy() == pytest.approx(log["g_pos"].to_numpy(), rel=1e-4, abs=1e-5)


def test_a_log_without_the_columns_is_one_line(made: Path) -> None:
    path = made / Experiment("a", "dpo", 0, 0).log
    content = path.read_text()
    path.write_text("step,loss\n0,1\n")
    with pytest.raises(CCAError, match=r"model.log.csv: column 'g_pos' is missing; delete it and finetune"):
        points_of(made, "fig_dpo_collapse")
    path.write_text(content)


def test_an_objective_with_samples_as_negatives_says_so(made: Path) -> None:
    panels = [{"model": "a", "finetunes": ["dpo", "ddo"]}]
    labels = set(points_of(made, "fig_dpo_collapse", panels=panels)["label"])
    assert labels == {"DPO (β = 0.02)", "DDO (α = 1, β = 0.02),\nnegatives: own samples"}
