"""``cca <stage>``: every stage on the command line, the same in and outside of Snakemake."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
import yaml

from cca import device, finetune, pairs, pretrain, sampling, score, train_classifier, train_tokenizer
from cca.config import load_tier, parse_yaml
from cca.data import codes, images
from cca.errors import CCAError
from cca.evaluate import evaluator, reference
from cca.files import require
from cca.provenance import Recorder
from cca.report import figures, tables
from cca.settings import Settings, validate

S = TypeVar("S", bound=Settings)

app = typer.Typer(
    help="Guidance-free autoregressive image generation: one command a stage.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
report = typer.Typer(help="Make a table or a figure from metrics.", no_args_is_help=True)
app.add_typer(report, name="report")

Given = Annotated[
    str,
    typer.Option("--settings", help="Settings of the stage: JSON or YAML, inline or the path of a file."),
]
Out = Annotated[Path, typer.Option(help="File to write.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the experiment.")]
ImagesFile = Annotated[Path, typer.Option("--images", help="Images, made by 'data'.")]
TokenizerFile = Annotated[Path, typer.Option("--tokenizer", help="Checkpoint made by 'tokenizer'.")]
CodesFile = Annotated[Path, typer.Option("--codes", help="Codes, made by 'codes'.")]
PairsFile = Annotated[Path, typer.Option("--pairs", help="Pairs, made by 'pairs'.")]
BaseFile = Annotated[Path, typer.Option("--base", help="Checkpoint made by 'pretrain'.")]
Weights = Annotated[Path, typer.Option(help="Weights of the feature extractor, made by 'features'.")]
ResultsFolder = Annotated[Path, typer.Option("--results", help="The tier's folder of results.")]


@app.callback()
def options(
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; results repeat on the same number.")] = (
        os.cpu_count() or 1
    ),
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
) -> None:
    """Options of every stage, given before its name."""
    device.make_deterministic(threads)


def perform(
    stage: str,
    run: Callable[..., dict],
    schema: type[Settings],
    given: str,
    *,
    out: Path,
    inputs: dict[str, Path],
    arguments: dict | None = None,
) -> None:
    """Run a stage on checked settings and existing inputs, and write its provenance record."""
    settings = parse(stage, schema, given)
    recorder = Recorder(stage, settings, {name: [path] for name, path in inputs.items()}, arguments)
    recorder.finish(out, run(settings, **inputs, **(arguments or {}), out=out))


def parse(stage: str, schema: type[S], given: str) -> S:
    """The settings of a stage from the command line."""
    where = f"--settings of '{stage}'"
    text = given if given.lstrip().startswith("{") else require(Path(given)).read_text()
    return validate(schema, parse_yaml(text, where), where)


@app.command()
def data(settings: Given, out: Out) -> None:
    """Read the images of a source and split them into training and held-out ones."""
    perform("data", images.run, images.DataSettings, settings, out=out, inputs={})


@app.command()
def features(settings: Given, images: ImagesFile, out: Out) -> None:
    """Train the classifier whose features the metrics are computed on."""
    schema = train_classifier.ClassifierSettings
    perform("features", train_classifier.run, schema, settings, out=out, inputs={"images": images})


@app.command()
def tokenizer(settings: Given, images: ImagesFile, out: Out) -> None:
    """Train an image tokenizer."""
    schema = train_tokenizer.TokenizerSettings
    perform("tokenizer", train_tokenizer.run, schema, settings, out=out, inputs={"images": images})


@app.command("codes")
def encode(settings: Given, images: ImagesFile, tokenizer: TokenizerFile, out: Out) -> None:
    """Encode augmented copies of the training images."""
    inputs = {"images": images, "tokenizer": tokenizer}
    perform("codes", codes.run, codes.CodesSettings, settings, out=out, inputs=inputs)


@app.command("pretrain")
def pretrain_(settings: Given, tokenizer: TokenizerFile, codes: CodesFile, out: Out) -> None:
    """Train a class-conditional model from scratch."""
    inputs = {"tokenizer": tokenizer, "codes": codes}
    perform("pretrain", pretrain.run, pretrain.PretrainSettings, settings, out=out, inputs=inputs)


@app.command("pairs")
def pairs_(settings: Given, codes: CodesFile, seed: Seed, out: Out) -> None:
    """Draw the pairs of an image's codes, its label and a negative label that finetuning visits."""
    perform(
        "pairs",
        pairs.run,
        pairs.PairsSettings,
        settings,
        out=out,
        inputs={"codes": codes},
        arguments={"seed": seed},
    )


@app.command("score")
def score_(
    settings: Given,
    base: BaseFile,
    tokenizer: TokenizerFile,
    codes: CodesFile,
    pairs: PairsFile,
    seed: Seed,
    out: Out,
) -> None:
    """Compute the frozen model's log-likelihoods of the pairs."""
    inputs = {"base": base, "tokenizer": tokenizer, "codes": codes, "pairs": pairs}
    perform(
        "score", score.run, score.ScoreSettings, settings, out=out, inputs=inputs, arguments={"seed": seed}
    )


@app.command("finetune")
def finetune_(
    settings: Given,
    base: BaseFile,
    tokenizer: TokenizerFile,
    codes: CodesFile,
    pairs: PairsFile,
    scores: Annotated[Path, typer.Option(help="Log-likelihoods, made by 'score'.")],
    seed: Seed,
    out: Out,
) -> None:
    """Finetune a model with an objective of cca.objectives."""
    inputs = {"base": base, "tokenizer": tokenizer, "codes": codes, "pairs": pairs, "scores": scores}
    arguments = {"seed": seed}
    perform(
        "finetune",
        finetune.run,
        finetune.FinetuneSettings,
        settings,
        out=out,
        inputs=inputs,
        arguments=arguments,
    )


@app.command()
def sample(
    settings: Given,
    model: Annotated[Path, typer.Option(help="Checkpoint made by 'pretrain' or 'finetune'.")],
    tokenizer: TokenizerFile,
    seed: Seed,
    out: Out,
    shard: Annotated[int, typer.Option(min=0, help="Which shard to make.")] = 0,
    shards: Annotated[int, typer.Option(min=1, help="How many shards there are.")] = 1,
) -> None:
    """Sample images, or one shard of them."""
    inputs = {"model": model, "tokenizer": tokenizer}
    arguments = {"seed": seed, "shard": shard, "shards": shards}
    perform(
        "sample",
        sampling.run,
        sampling.SamplingSettings,
        settings,
        out=out,
        inputs=inputs,
        arguments=arguments,
    )


@app.command("reference")
def reference_(settings: Given, images: ImagesFile, weights: Weights, out: Out) -> None:
    """Make the reference batch: an ADM-style .npz with the statistics of all training images."""
    inputs = {"images": images, "weights": weights}
    perform("reference", reference.run, evaluator.EvaluationSettings, settings, out=out, inputs=inputs)


@app.command()
def evaluate(
    reference: Annotated[Path, typer.Argument(help="ADM .npz, folder of images, or kept features.")],
    samples: Annotated[Path, typer.Argument(help="The same, or a folder of our sample shards.")],
    settings: Given,
    weights: Weights,
    out: Out,
) -> None:
    """Compute FID, sFID, Inception Score, precision and recall of samples."""
    parsed = parse("evaluate", evaluator.EvaluationSettings, settings)
    shards = sorted(samples.glob("shard_*.npz")) if samples.is_dir() else [samples]
    recorder = Recorder(
        "evaluate", parsed, {"reference": [reference], "samples": shards, "weights": [weights]}
    )
    measured = evaluator.run(parsed, reference=reference, samples=samples, weights=weights, out=out)
    recorder.finish(out, measured)


@report.command("table")
def table(
    settings: Given,
    results: ResultsFolder,
    reported: Annotated[Path, typer.Option(help="CSV of the numbers that papers report.")],
    out: Out,
) -> None:
    """Make a table: .csv, .md and .tex."""
    parsed = parse("report table", tables.TableSettings, settings)
    inputs = {"reported": [reported], "metrics": parsed.files(results)}
    recorder = Recorder("report table", parsed, inputs)
    recorder.finish(out, tables.run(parsed, results=results, reported=reported, out=out))


@report.command("figure")
def figure(settings: Given, results: ResultsFolder, out: Out) -> None:
    """Draw a figure: .pdf, .png, and the .csv of its points."""
    parsed = parse("report figure", figures.FigureSettings, settings)
    recorder = Recorder("report figure", parsed, {"metrics": parsed.files(results)})
    recorder.finish(out, figures.run(parsed, results=results, out=out))


@app.command()
def config(
    tier: str,
    folder: Annotated[Path, typer.Option(help="Folder of the tier files.")] = Path("workflow/config"),
) -> None:
    """Check a tier file and print it with all defaults filled in."""
    typer.echo(yaml.safe_dump(load_tier(tier, folder).model_dump(mode="json"), sort_keys=False), nl=False)


def main() -> None:
    """Entry point: one line and exit status 1 for every error; a traceback with ``--debug`` only."""
    for number, what in ((signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")):
        signal.signal(number, lambda *_, what=what: sys.exit(f"error: {what}; run the same command again"))
    try:
        app(standalone_mode=False)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        sys.exit(f"error: {' '.join(explain(error).split())}")


def explain(error: Exception) -> str:
    """One line for any exception."""
    if hasattr(error, "format_message"):  # typer's own, about the command line
        return error.format_message()
    if isinstance(error, CCAError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'file'}: {error.strerror}"
    return f"unexpected {type(error).__name__}: {error} (run 'cca --debug ...' for the traceback)"
