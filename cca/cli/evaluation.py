"""Samples, what they cost and how good they are."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cca.cli.options import (
    AllowJpeg,
    Cache,
    Given,
    Images,
    Model,
    Out,
    Protocol,
    ReferenceBatch,
    Results,
    Seed,
    Shard,
    Shards,
    Tokenizer,
    Weights,
)
from cca.runner import perform

app = typer.Typer()


@app.command()
def sample(
    settings: Given,
    model: Model,
    tokenizer: Tokenizer,
    seed: Seed,
    out: Out,
    shard: Shard = 0,
    shards: Shards = 1,
) -> None:
    """Sample images, or one shard of them."""
    inputs = {"model": model, "tokenizer": tokenizer}
    arguments = {"seed": seed, "shard": shard, "shards": shards}
    perform(
        "sample",
        "cca.stages.sampling",
        "SamplingSettings",
        settings,
        out=out,
        inputs=inputs,
        arguments=arguments,
    )


@app.command()
def cost(
    settings: Given,
    model: Model,
    tokenizer: Tokenizer,
    out: Out,
) -> None:
    """Measure what sampling costs without and with guidance."""
    inputs = {"model": model, "tokenizer": tokenizer}
    perform("cost", "cca.stages.cost", "CostSettings", settings, out=out, inputs=inputs)


@app.command()
def evaluate(
    reference: Annotated[Path, typer.Argument(help="ADM .npz, folder of images, or kept features.")],
    samples: Annotated[Path, typer.Argument(help="The same, or a folder of our sample shards.")],
    settings: Protocol = "{}",
    weights: Weights = None,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
    keep_features: Annotated[Path | None, typer.Option(help="File to keep the samples' features in.")] = None,
    cache: Cache = None,
    allow_jpeg: AllowJpeg = False,
    bootstrap: Annotated[
        int | None, typer.Option(min=40, help="Resamples for a 95 % interval of each metric, e.g. 1000.")
    ] = None,
) -> None:
    """Compute FID, sFID, Inception Score, precision and recall of samples."""
    inputs = {"reference": reference, "samples": samples, "weights": weights}
    arguments = {"allow_jpeg": allow_jpeg, "bootstrap": bootstrap}
    others: dict[str, Any] = {"keep_features": keep_features, "cache": cache}
    module, schema = "cca.evaluate.evaluator", "EvaluationSettings"
    perform("evaluate", module, schema, settings, out=out, inputs=inputs, arguments=arguments, **others)


@app.command()
def pitfalls(
    settings: Given,
    results: Results,
    images: Images,
    reference: ReferenceBatch,
    out: Out,
    weights: Weights = None,
) -> None:
    """Measure how far each metric moves when one thing is done wrong: .json, .csv and .md."""
    inputs = {"results": results, "images": images, "reference": reference, "weights": weights}
    perform("pitfalls", "cca.pitfalls.measure", "PitfallsSettings", settings, out=out, inputs=inputs)


@app.command("verify-evaluator")
def verify_evaluator(
    reference: Annotated[Path, typer.Argument(help="E.g. OpenAI's VIRTUAL_imagenet256_labeled.npz.")],
    samples: Annotated[
        Path, typer.Argument(help="E.g. admnet_guided_upsampled_imagenet256.npz, under its published name.")
    ],
    weights: Weights = None,
    cache: Cache = None,
    published: Annotated[
        Path, typer.Option(help="YAML file of published figures.", show_default="this project's")
    ] = Path(__file__).parents[1] / "evaluate/published.yaml",
) -> None:
    """Check this installation against published sample files and their published figures."""
    from cca.evaluate.verify import run  # imports the evaluator

    run(reference, samples, published, weights=weights, cache=cache)
