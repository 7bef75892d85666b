"""The figure of costs draws what was measured."""

from pathlib import Path

import pytest

from cca import experiments
from cca.errors import CCAError
from cca.files import read_json, write_json

from .conftest import MODELS, axes_of, points_of


def test_fig_cost_draws_what_was_measured(made: Path) -> None:
    points = points_of(made, "fig_cost")
    axes = axes_of("fig_cost", points)
    for axis, key, unit in zip(
        axes, ("images_per_second", "passes_per_image", "flops_per_image"), (1, 1, 1e-6), strict=True
    ):
        heights = [patch.get_height() for patch in axis.patches]
        costs = [read_json(made / experiments.cost(model)) for model in MODELS]
        expected = [cost[name][key] * unit for name in ("guidance_free", "guided") for cost in costs]
        assert heights == pytest.approx(expected, rel=1e-5)
    path = made / experiments.cost("a")
    whole = read_json(path)
    write_json(path, {key: value for key, value in whole.items() if key != "guided"})
    with pytest.raises(CCAError, match=r"cost.json: 'guided' is missing; delete it and measure again"):
        points_of(made, "fig_cost")
    write_json(path, whole)
