"""Made-up measurements, and a figure of each kind that wants them."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from torch import nn

from cca import checkpoints, experiments
from cca.evaluate.protocol import METRICS
from cca.experiments import Experiment
from cca.files import write_json, write_npz
from cca.pitfalls.plan import MEASURED
from cca.report import figures
from cca.report.measured import Measured

MODELS = {"a": "Model-A", "b": "Model-B"}
OBJECTIVES = {
    "cca_lambda=1": {"name": "cca", "lam": 1},
    "cca_lambda=3": {"name": "cca", "lam": 3},
    "cca_beta=0.1": {"name": "cca", "lam": 1, "beta": 0.1},
    "dpo": {"name": "dpo"},
    "ddo": {"name": "ddo"},
}
SCALES = [0, 0.5, 1]
SEEDS = [0, 1, 2]
CONTENT = {
    "fig1_scaling": {
        "seeds": SEEDS,
        "panels": [
            {
                "title": "Family",
                "sizes": [{"model": m, "cfg_scale": 1, "cca": "cca_lambda=1"} for m in MODELS],
            }
        ],
    },
    "fig3_samples": {
        "seed": 1,
        "side": 3,
        "rows": [{"model": model, "cca": "cca_lambda=3", "cfg_scale": 0.5} for model in MODELS],
    },
    "fig4_lambda_sweep": {
        "seeds": SEEDS,
        "panels": [{"model": m, "cca": ["cca_lambda=1", "cca_lambda=3"], "cfg": SCALES} for m in MODELS],
    },
    "fig5_lambda_cfg": {
        "seeds": SEEDS,
        "panels": [{"model": m, "cca": ["cca_lambda=1", "cca_lambda=3"], "scales": SCALES} for m in MODELS],
    },
    "fig6_cca_cfg": {
        "seeds": SEEDS,
        "panels": [
            {"model": m, "finetune": "cca_lambda=1", "cca_cfg": [0, 0.5], "cfg": SCALES} for m in MODELS
        ],
    },
    "fig_beta": {
        "seeds": SEEDS,
        "panels": [{"model": m, "finetunes": ["cca_lambda=1", "cca_beta=0.1"]} for m in MODELS],
    },
    "fig_dpo_collapse": {
        "seeds": SEEDS,
        "panels": [{"model": m, "finetunes": ["cca_lambda=1", "dpo"]} for m in MODELS],
    },
    "fig_cost": {"models": list(MODELS)},
    "fig_pitfalls": {},
}
TOKENIZERS = {"a": "vq", "b": "multiscale"}
RFIDS = {"a": 0.25, "b": 0.75}


def shard_of(results: Path, experiment: Experiment, shards: int = 2) -> Path:
    return results / experiment.metrics.parent / f"samples/{shards}/shard_0.npz"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results in which no two numbers are the same."""
    folder = tmp_path_factory.mktemp("results")
    rng = np.random.default_rng(0)
    for model, tokenizer in TOKENIZERS.items():
        write_json(folder / experiments.quality(tokenizer), {"rfid": RFIDS[model], "num_images": 9})
    for number, model in enumerate(MODELS):
        labels = rng.integers(10, size=20)
        for finetune in ["base", *OBJECTIVES]:
            for seed in SEEDS:
                for scale in SCALES:
                    experiment = Experiment(model, finetune, seed, scale)
                    names = ["fid", "sfid", "inception_score", "precision", "recall"]
                    values = dict(zip(names, (1 + rng.random(5)).tolist(), strict=True))
                    write_json(folder / experiment.metrics, values | {"num_samples": 123})
                    pixels = rng.integers(256, size=(20, 8, 8, 3), dtype=np.uint8)
                    write_npz(shard_of(folder, experiment), arr_0=pixels, labels=labels)
                if finetune != "base":
                    log = pd.DataFrame(rng.normal(size=(7, 2)), columns=["g_pos", "g_neg"])
                    path = folder / Experiment(model, finetune, seed, 0).log
                    path.parent.mkdir(exist_ok=True)
                    log.assign(step=range(7), loss=0.0).to_csv(path, index=False)
        checkpoint = Experiment(model, "base", 0, 0).checkpoint
        checkpoints.save(folder / checkpoint, nn.Linear(1, 1), {"parameters": 1000 * (number + 1)})
        cost = {"parameters": 1000 * (number + 1), "time_ratio": {"median": 1.9, "min": 1.8, "max": 2.1}}
        for name in ("guidance_free", "guided"):
            low, middle, high = np.sort(rng.random(3)).tolist()
            speed = {"images_per_second": middle, "images_per_second_min": low, "images_per_second_max": high}
            counts = {"passes_per_image": rng.random(), "flops_per_image": 1e6 * rng.random()}
            cost[name] = {"s": float(name == "guided"), **speed, **counts}
        write_json(folder / experiments.cost(model), cost)
    groups = ["right", "noise", "noise", "file", "file", "features"]
    spoiled = [{"group": group, "name": f"row {index}"} for index, group in enumerate(groups)]
    for row in spoiled:
        row |= dict(zip(METRICS, (1 + rng.random(len(METRICS))).tolist(), strict=True))
    write_json(folder / MEASURED, spoiled)
    return folder


def settings(name: str, **changes: object) -> figures.FigureSettings:
    content = CONTENT[name] | changes
    return figures.FigureSettings(
        name=name,
        content=content,
        benchmark="made-up",
        titles=MODELS,
        objectives=OBJECTIVES,
        tokenizers=TOKENIZERS,
        shards=2,
    )


def points_of(made: Path, name: str, **changes: object) -> pd.DataFrame:
    """Points as they are read back from the CSV."""
    wanted = settings(name, **changes)
    text = wanted.figure.points(Measured(made, wanted)).to_csv(index=False, float_format="%.6g")
    return pd.read_csv(io.StringIO(text))


def axes_of(name: str, points: pd.DataFrame) -> list[Axes]:
    return settings(name).figure.draw(points).axes


def lines(axis: Axes) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_xydata() for line in axis.get_lines()}


def model_of(title: str) -> str:
    return next(model for model, printed in MODELS.items() if printed == title.partition(" (")[0])
