"""``cca <stage>``: every stage on the command line, the same in and outside of Snakemake."""

import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer
import yaml

from cca import device
from cca.errors import CCAError
from cca.files import parse_yaml, require
from cca.provenance import Recorder
from cca.settings import Settings, validate

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
Images = Annotated[Path, typer.Option("--images", help="Images, made by 'data'.")]
Tokenizer = Annotated[Path, typer.Option("--tokenizer", help="Checkpoint made by 'tokenizer'.")]
Codes = Annotated[Path, typer.Option("--codes", help="Codes, made by 'codes'.")]
Pairs = Annotated[Path, typer.Option("--pairs", help="Pairs, made by 'pairs'.")]
Base = Annotated[Path, typer.Option("--base", help="Checkpoint made by 'pretrain'.")]
Fakes = Annotated[
    Path | None, typer.Option(help="Samples made by 'fakes', as negatives in place of other labels.")
]
Weights = Annotated[Path, typer.Option(help="Weights of the feature extractor, made by 'features'.")]
Results = Annotated[Path, typer.Option("--results", help="The tier's folder of results.")]


@app.callback()
def options(
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; results repeat on the same number.")] = (
        os.cpu_count() or 1
    ),
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
) -> None:
    """Options of every stage, given before its name."""
    device.make_deterministic(threads)


def parse(module: str, schema: str, given: str) -> tuple[ModuleType, Settings]:
    """Import the module of a stage, and none of other stages; check the settings given for it."""
    stage = import_module(module)
    inline = given.lstrip().startswith("{")
    where = "--settings" if inline else given
    text = given if inline else require(Path(given)).read_text()
    return stage, validate(getattr(stage, schema), parse_yaml(text, where), where)


def perform(
    name: str,
    module: str,
    schema: str,
    given: str,
    *,
    out: Path,
    inputs: dict[str, Path],
    arguments: dict | None = None,
) -> None:
    """Run a stage on checked settings and existing inputs, and write its provenance record."""
    stage, settings = parse(module, schema, given)
    recorder = Recorder(name, settings, {name: [path] for name, path in inputs.items()}, arguments)
    recorder.finish(out, stage.run(settings, **inputs, **(arguments or {}), out=out))


@app.command()
def data(settings: Given, out: Out) -> None:
    """Read the images of a source and split them into training and held-out ones."""
    perform("data", "cca.data.images", "DataSettings", settings, out=out, inputs={})


@app.command()
def features(settings: Given, images: Images, out: Out) -> None:
    """Train the classifier whose features the metrics are computed on."""
    inputs = {"images": images}
    perform("features", "cca.train_classifier", "ClassifierSettings", settings, out=out, inputs=inputs)


@app.command()
def reference(settings: Given, images: Images, weights: Weights, out: Out) -> None:
    """Make the reference batch: an ADM-style .npz with the statistics of all training images."""
    inputs = {"images": images, "weights": weights}
    perform("reference", "cca.evaluate.reference", "EvaluationSettings", settings, out=out, inputs=inputs)


@app.command()
def tokenizer(settings: Given, images: Images, out: Out) -> None:
    """Train an image tokenizer."""
    inputs = {"images": images}
    perform("tokenizer", "cca.train_tokenizer", "TokenizerSettings", settings, out=out, inputs=inputs)


@app.command()
def codes(settings: Given, images: Images, tokenizer: Tokenizer, out: Out) -> None:
    """Encode augmented copies of the training images."""
    inputs = {"images": images, "tokenizer": tokenizer}
    perform("codes", "cca.data.codes", "CodesSettings", settings, out=out, inputs=inputs)


@app.command()
def pretrain(settings: Given, tokenizer: Tokenizer, codes: Codes, out: Out) -> None:
    """Train a class-conditional model from scratch."""
    inputs = {"tokenizer": tokenizer, "codes": codes}
    perform("pretrain", "cca.pretrain", "PretrainSettings", settings, out=out, inputs=inputs)


@app.command()
def pairs(settings: Given, codes: Codes, seed: Seed, out: Out) -> None:
    """Draw the pairs that finetuning visits: an image's codes, its label, a negative label."""
    arguments = {"seed": seed}
    inputs = {"codes": codes}
    perform("pairs", "cca.pairs", "PairsSettings", settings, out=out, inputs=inputs, arguments=arguments)


@app.command()
def fakes(
    settings: Given, base: Base, tokenizer: Tokenizer, codes: Codes, pairs: Pairs, seed: Seed, out: Out
) -> None:
    """Draw a sample of the base model for each pair, as negatives."""
    inputs = {"base": base, "tokenizer": tokenizer, "codes": codes, "pairs": pairs}
    arguments = {"seed": seed}
    perform("fakes", "cca.fakes", "FakesSettings", settings, out=out, inputs=inputs, arguments=arguments)


@app.command()
def score(
    settings: Given,
    base: Base,
    tokenizer: Tokenizer,
    codes: Codes,
    pairs: Pairs,
    seed: Seed,
    out: Out,
    fakes: Fakes = None,
) -> None:
    """Compute the frozen model's log-likelihoods of the pairs."""
    inputs = {"base": base, "tokenizer": tokenizer, "codes": codes, "pairs": pairs}
    inputs |= {"fakes": fakes} if fakes else {}
    arguments = {"seed": seed}
    perform("score", "cca.score", "ScoreSettings", settings, out=out, inputs=inputs, arguments=arguments)


@app.command()
def finetune(
    settings: Given,
    base: Base,
    tokenizer: Tokenizer,
    codes: Codes,
    pairs: Pairs,
    scores: Annotated[Path, typer.Option(help="Log-likelihoods, made by 'score'.")],
    seed: Seed,
    out: Out,
    fakes: Fakes = None,
) -> None:
    """Finetune a model with an objective of cca.objectives."""
    inputs = {"base": base, "tokenizer": tokenizer, "codes": codes, "pairs": pairs, "scores": scores}
    inputs |= {"fakes": fakes} if fakes else {}
    arguments = {"seed": seed}
    perform(
        "finetune", "cca.finetune", "FinetuneSettings", settings, out=out, inputs=inputs, arguments=arguments
    )


@app.command()
def sample(
    settings: Given,
    model: Annotated[Path, typer.Option(help="Checkpoint made by 'pretrain' or 'finetune'.")],
    tokenizer: Tokenizer,
    seed: Seed,
    out: Out,
    shard: Annotated[int, typer.Option(min=0, help="Which shard to make.")] = 0,
    shards: Annotated[int, typer.Option(min=1, help="How many shards there are.")] = 1,
) -> None:
    """Sample images, or one shard of them."""
    inputs = {"model": model, "tokenizer": tokenizer}
    arguments = {"seed": seed, "shard": shard, "shards": shards}
    perform(
        "sample", "cca.sampling", "SamplingSettings", settings, out=out, inputs=inputs, arguments=arguments
    )


@app.command()
def cost(
    settings: Given,
    model: Annotated[Path, typer.Option(help="Checkpoint made by 'pretrain' or 'finetune'.")],
    tokenizer: Tokenizer,
    out: Out,
) -> None:
    """Measure what sampling costs without and with guidance."""
    inputs = {"model": model, "tokenizer": tokenizer}
    perform("cost", "cca.cost", "CostSettings", settings, out=out, inputs=inputs)


@app.command()
def evaluate(
    reference: Annotated[Path, typer.Argument(help="ADM .npz, folder of images, or kept features.")],
    samples: Annotated[Path, typer.Argument(help="The same, or a folder of our sample shards.")],
    settings: Given,
    weights: Weights,
    out: Out,
) -> None:
    """Compute FID, sFID, Inception Score, precision and recall of samples."""
    stage, parsed = parse("cca.evaluate.evaluator", "EvaluationSettings", settings)
    shards = sorted(samples.glob("shard_*.npz")) if samples.is_dir() else [samples]
    inputs = {"reference": [reference], "samples": shards, "weights": [weights]}
    recorder = Recorder("evaluate", parsed, inputs)
    recorder.finish(out, stage.run(parsed, reference=reference, samples=samples, weights=weights, out=out))


@report.command()
def table(
    settings: Given,
    results: Results,
    reported: Annotated[Path, typer.Option(help="CSV of the numbers that papers report.")],
    out: Out,
) -> None:
    """Make a table: .csv, .md and .tex."""
    stage, parsed = parse("cca.report.tables", "TableSettings", settings)
    recorder = Recorder("report table", parsed, {"reported": [reported], "files": parsed.files(results)})
    recorder.finish(out, stage.run(parsed, results=results, reported=reported, out=out))


@report.command()
def figure(settings: Given, results: Results, out: Out) -> None:
    """Draw a figure: .pdf, .png, and the .csv of its points."""
    stage, parsed = parse("cca.report.figures", "FigureSettings", settings)
    recorder = Recorder("report figure", parsed, {"files": parsed.files(results)})
    recorder.finish(out, stage.run(parsed, results=results, out=out))


@app.command()
def claims(
    settings: Given,
    results: Results,
    claims: Annotated[Path, typer.Option(help="YAML file of the paper's claims.")],
    reported: Annotated[Path, typer.Option(help="Folder of the CSVs of numbers that papers report.")],
    out: Out,
) -> None:
    """Judge the paper's claims on what was measured: .csv and .md."""
    stage, parsed = parse("cca.report.claims", "ClaimsSettings", settings)
    tables = sorted(reported.glob("*.csv"))
    inputs = {"claims": [claims], "reported": tables, "files": parsed.files(results)}
    recorder = Recorder("claims", parsed, inputs)
    recorder.finish(out, stage.run(parsed, results=results, claims=claims, reported=reported, out=out))


@app.command()
def config(
    tier: str,
    folder: Annotated[Path, typer.Option(help="Folder of the tier files.")] = Path("workflow/config"),
) -> None:
    """Check a tier file and print it with all defaults filled in."""
    from cca.config import load_tier  # imports every stage

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
