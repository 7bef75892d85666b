"""``cca <stage>``: every stage on the command line, the same in and outside of Snakemake."""

import os
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from signal import SIGINT, SIGTERM, signal
from types import ModuleType
from typing import Annotated, Any, NoReturn

import typer
import yaml
from torch.distributed import is_torchelastic_launched

from cca import device
from cca.errors import CCAError, StoppedError
from cca.options import (
    AllowJpeg,
    Base,
    Cache,
    Checkpoint,
    Codes,
    Fakes,
    Given,
    Images,
    KeepEvery,
    Model,
    Nodes,
    Out,
    Pairs,
    ProcessCount,
    Protocol,
    ReferenceBatch,
    Results,
    Seed,
    Shard,
    Shards,
    SizePreset,
    Tokenizer,
    Weights,
)
from cca.runner import perform

app = typer.Typer(
    help="Guidance-free autoregressive image generation: one command a stage.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
report = typer.Typer(help="Make a table or a figure from metrics.", no_args_is_help=True)
app.add_typer(report, name="report")
imported = typer.Typer(help="Make a checkpoint of official weights.", no_args_is_help=True)
app.add_typer(imported, name="import")


@app.callback()
def options(
    context: typer.Context,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; results repeat on the same number.")] = (
        os.cpu_count() or 1
    ),
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
) -> None:
    """Options of every stage, given before its name."""
    context.ensure_object(dict)["debug"] = debug
    device.make_deterministic(threads)


@app.command()
def data(settings: Given, out: Out) -> None:
    """Read the images of a source and split them into training and held-out ones."""
    perform("data", "cca.data.images", "DataSettings", settings, out=out, inputs={})


@app.command()
def heldout(settings: Given, images: Images, out: Out) -> None:
    """Write the held-out images as a file of samples."""
    perform("heldout", "cca.data.heldout", "HeldoutSettings", settings, out=out, inputs={"images": images})


@app.command()
def fetch(settings: Given, out: Out) -> None:
    """Fetch the file of a URL: resumed, verified."""
    perform("fetch", "cca.files.fetch", "FetchSettings", settings, out=out, inputs={})


@app.command()
def download(settings: Given, out: Out) -> None:
    """Download a file of official weights from the Hugging Face Hub: resumed, verified."""
    perform("download", "cca.stages.download", "HubFile", settings, out=out, inputs={})


@app.command()
def features(settings: Given, images: Images, out: Out, keep_every: KeepEvery = 60) -> None:
    """Train the classifier whose features the metrics, or a perceptual loss, are computed on."""
    inputs = {"images": images}
    module, schema = "cca.stages.train_classifier", "ClassifierSettings"
    perform("features", module, schema, settings, out=out, inputs=inputs, keep_every=keep_every)


@app.command()
def reference(
    images: Annotated[Path, typer.Option(help="Images made by 'data', an ADM .npz, or a folder of images.")],
    out: Out,
    settings: Protocol = "{}",
    weights: Weights = None,
    allow_jpeg: AllowJpeg = False,
) -> None:
    """Make the reference batch: an ADM-style .npz with the statistics of all training images."""
    inputs = {"images": images, "weights": weights}
    arguments = {"allow_jpeg": allow_jpeg}
    module, schema = "cca.evaluate.reference", "EvaluationSettings"
    perform("reference", module, schema, settings, out=out, inputs=inputs, arguments=arguments)


@app.command()
def tokenizer(
    settings: Given,
    images: Images,
    out: Out,
    perceptual: Annotated[
        Path | None, typer.Option(help="Classifier of the perceptual loss, made by 'features'.")
    ] = None,
    keep_every: KeepEvery = 60,
) -> None:
    """Train an image tokenizer."""
    inputs = {"images": images, "perceptual": perceptual}
    module, schema = "cca.stages.train_tokenizer", "TokenizerSettings"
    perform("tokenizer", module, schema, settings, out=out, inputs=inputs, keep_every=keep_every)


@imported.command("tokenizer")
def import_tokenizer(settings: Given, checkpoint: Checkpoint, out: Out) -> None:
    """Hold official weights against a tokenizer's names and shapes, and write them as a checkpoint."""
    inputs = {"checkpoint": checkpoint}
    module, schema = "cca.stages.import_tokenizer", "ImportedTokenizerSettings"
    perform("import tokenizer", module, schema, settings, out=out, inputs=inputs)


@app.command()
def quality(
    settings: Given,
    images: Images,
    tokenizer: Tokenizer,
    reference: ReferenceBatch,
    out: Out,
    weights: Weights = None,
) -> None:
    """Measure how well a tokenizer reconstructs: PSNR, rFID, use of its codes."""
    inputs = {"images": images, "tokenizer": tokenizer, "reference": reference, "weights": weights}
    module, schema = "cca.stages.tokenizer_quality", "EvaluationSettings"
    perform("quality", module, schema, settings, out=out, inputs=inputs)


@app.command()
def encode(
    settings: Given, images: Images, tokenizer: Tokenizer, out: Out, shard: Shard = 0, shards: Shards = 1
) -> None:
    """Encode augmented crops of the training images, or of one shard of them."""
    inputs = {"images": images, "tokenizer": tokenizer}
    arguments = {"shard": shard, "shards": shards}
    module, schema = "cca.data.encode", "CodesSettings"
    perform("encode", module, schema, settings, out=out, inputs=inputs, arguments=arguments)


@app.command()
def codes(
    shards: Annotated[Path, typer.Option(help="Folder of all shards made by 'encode'.")], out: Out
) -> None:
    """Describe the shards of the codes in one file."""
    perform("codes", "cca.data.codes", "JoinSettings", "{}", out=out, inputs={"shards": shards})


@app.command()
def pretrain(
    settings: Given,
    tokenizer: Tokenizer,
    codes: Codes,
    out: Out,
    keep_every: KeepEvery = 60,
    processes: ProcessCount = 1,
    nodes: Nodes = 1,
) -> None:
    """Train a class-conditional model from scratch."""
    if started_elsewhere(processes, nodes):
        return
    inputs = {"tokenizer": tokenizer, "codes": codes}
    module, schema = "cca.stages.pretrain", "PretrainSettings"
    perform("pretrain", module, schema, settings, out=out, inputs=inputs, keep_every=keep_every)


@imported.command("model")
def import_model(settings: Given, checkpoint: Checkpoint, tokenizer: Tokenizer, out: Out) -> None:
    """Hold official weights against a model's names and shapes, and write them as a checkpoint."""
    inputs = {"checkpoint": checkpoint, "tokenizer": tokenizer}
    module, schema = "cca.stages.import_model", "ImportedModelSettings"
    perform("import model", module, schema, settings, out=out, inputs=inputs)


@app.command()
def pairs(settings: Given, codes: Codes, seed: Seed, out: Out) -> None:
    """Draw the pairs that finetuning visits: an image's codes, its label, a negative label."""
    arguments = {"seed": seed}
    inputs = {"codes": codes}
    perform(
        "pairs", "cca.stages.pairs", "PairsSettings", settings, out=out, inputs=inputs, arguments=arguments
    )


@app.command()
def fakes(
    settings: Given, base: Base, tokenizer: Tokenizer, codes: Codes, pairs: Pairs, seed: Seed, out: Out
) -> None:
    """Draw a sample of the base model for each pair, as negatives."""
    inputs = {"base": base, "tokenizer": tokenizer, "codes": codes, "pairs": pairs}
    arguments = {"seed": seed}
    perform(
        "fakes", "cca.stages.fakes", "FakesSettings", settings, out=out, inputs=inputs, arguments=arguments
    )


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
    inputs = {"base": base, "tokenizer": tokenizer, "codes": codes, "pairs": pairs, "fakes": fakes}
    arguments = {"seed": seed}
    perform(
        "score", "cca.stages.score", "ScoreSettings", settings, out=out, inputs=inputs, arguments=arguments
    )


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
    keep_every: KeepEvery = 60,
    processes: ProcessCount = 1,
    nodes: Nodes = 1,
) -> None:
    """Finetune a model with an objective of cca.objectives."""
    if started_elsewhere(processes, nodes):
        return
    inputs = {
        "base": base,
        "tokenizer": tokenizer,
        "codes": codes,
        "pairs": pairs,
        "scores": scores,
        "fakes": fakes,
    }
    arguments = {"seed": seed}
    others: dict[str, Any] = {"arguments": arguments, "keep_every": keep_every}
    perform("finetune", "cca.stages.finetune", "FinetuneSettings", settings, out=out, inputs=inputs, **others)


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
    ] = Path(__file__).parent / "evaluate/published.yaml",
) -> None:
    """Check this installation against published sample files and their published figures."""
    from cca.evaluate.verify import run  # imports torch-fidelity

    run(reference, samples, published, weights=weights, cache=cache)


@report.command()
def overview(settings: Given, results: Results, out: Out) -> None:
    """Put tables and figures that are made on one page, .html."""
    inputs = {"results": results}
    perform("overview", "cca.report.overview", "OverviewSettings", settings, out=out, inputs=inputs)


@report.command()
def table(
    settings: Given,
    results: Results,
    reported: Annotated[Path, typer.Option(help="CSV of the numbers that papers report.")],
    out: Out,
) -> None:
    """Make a table: .csv, .md and .tex."""
    inputs = {"results": results, "reported": reported}
    perform("report table", "cca.report.tables", "TableSettings", settings, out=out, inputs=inputs)


@report.command()
def figure(settings: Given, results: Results, out: Out) -> None:
    """Draw a figure: .pdf, .png, and the .csv of its points."""
    inputs = {"results": results}
    perform("report figure", "cca.report.figures", "FigureSettings", settings, out=out, inputs=inputs)


@app.command()
def claims(
    settings: Given,
    results: Results,
    claims: Annotated[Path, typer.Option(help="YAML file of the paper's claims.")],
    reported: Annotated[Path, typer.Option(help="Folder of the CSVs of numbers that papers report.")],
    out: Out,
) -> None:
    """Judge the paper's claims on what was measured: .csv and .md."""
    inputs = {"results": results, "claims": claims, "reported": reported}
    perform("claims", "cca.report.claims", "ClaimsSettings", settings, out=out, inputs=inputs)


@app.command()
def theory(settings: Given, out: Out) -> None:
    """Compute the paper's theory exactly in small worlds: .csv and .md."""
    perform("theory", "cca.theory", "TheorySettings", settings, out=out, inputs={})


@app.command()
def publish(
    tier: Annotated[str, typer.Option(help="Name of the tier, all of whose artefacts are made.")],
    results: Annotated[Path, typer.Option(help="Folder of the results of all tiers.")] = Path("results"),
    out: Annotated[Path, typer.Option(help="Folder of published results.")] = Path("docs/results"),
    folder: Annotated[Path, typer.Option(help="Folder of the tier files.")] = Path("workflow/config"),
    preset: SizePreset = None,
) -> None:
    """Gather a tier's tables, claims and figures as one readable page with its provenance."""
    from cca.config import load_tier  # imports every stage
    from cca.report.publish import run

    size = run(load_tier(tier, folder, {"preset": preset}), name=tier, results=results / tier, out=out / tier)
    typer.echo(f"{out / tier}/README.md: published, {size / 1e6:.2f} MB in all")


@app.command()
def provenance(
    artefact: Annotated[Path, typer.Argument(help="E.g. results/table2.csv.")],
    row: Annotated[str | None, typer.Option(help="Name of a measured row of a table's CSV.")] = None,
    column: Annotated[str | None, typer.Option(help="Its column, e.g. FID.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the records instead of a tree.")] = False,
) -> None:
    """Show what an artefact, or one number of a table, was made of, back to the raw data."""
    from cca.report.lineage import show  # imports what makes tables

    show(artefact, row, column, as_json=as_json)


@app.command()
def plan(
    targets: Annotated[list[str] | None, typer.Argument(help="As results/table2; default: all.")] = None,
    tier: Annotated[str, typer.Option(help="Name of the tier.")] = "mini",
    folder: Annotated[Path, typer.Option(help="Folder of the tier files.")] = Path("workflow/config"),
    preset: SizePreset = None,
    machine: Annotated[str | None, typer.Option(help="cpu, a100 or h100; default: by the tier.")] = None,
) -> None:
    """Print what a tier takes: jobs, images, time and disk by target, and the memory of finetuning."""
    from cca.plan import run  # imports every stage

    typer.echo(run(tier, folder, preset=preset, machine=machine, chosen=targets or []))


@app.command()
def config(
    tier: str,
    folder: Annotated[Path, typer.Option(help="Folder of the tier files.")] = Path("workflow/config"),
    preset: SizePreset = None,
) -> None:
    """Check a tier file and print it with all defaults filled in."""
    from cca.config import load_tier  # imports every stage

    loaded = load_tier(tier, folder, {"preset": preset})
    if loaded.preset:
        typer.echo(f"# preset: {loaded.preset}")
    typer.echo(yaml.safe_dump(loaded.model_dump(mode="json"), sort_keys=False), nl=False)


def started_elsewhere(processes: int, nodes: int) -> bool:
    """Whether several processes were wanted; they have then run this command."""
    if processes == 1 or is_torchelastic_launched():
        return False
    launch_module().start(sys.argv[1:], processes, nodes)
    return True


def main() -> None:
    """Entry point: one line and its exit status for every error; a traceback with ``--debug`` only."""
    for number, end in ((SIGINT, CCAError("interrupted")), (SIGTERM, StoppedError("terminated"))):
        signal(number, partial(give_up, end))
    given = {"debug": False}
    try:
        if is_torchelastic_launched():
            launch_module().follow_parent()
        app(standalone_mode=False, obj=given)
    except SystemExit as stop:
        if not isinstance(stop.code, CCAError):
            raise
        end_with(stop.code)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # typer has printed the help
            return
        if given["debug"]:
            raise
        end_with(error)


def end_with(error: Exception) -> NoReturn:
    """Leave by an error's line and status; one of several processes leaves the line for their parent."""
    line, status = " ".join(explain(error).split()), getattr(error, "status", 1)
    if is_torchelastic_launched():
        launch_module().tell_parent(line, isinstance(error, CCAError))
        sys.exit(status)
    if status == 1:
        sys.exit(f"error: {line}")
    print(f"error: {line}", file=sys.stderr)
    sys.exit(status)


def launch_module() -> ModuleType:
    """`cca.training.launch`, which imports torch's launcher."""
    return import_module("cca.training.launch")


def give_up(error: CCAError, *_: object) -> NoReturn:
    """What a signal does; no stage catches it."""
    raise SystemExit(type(error)(f"{error}; run the same command again"))


def explain(error: Exception) -> str:
    """One line for any exception."""
    if hasattr(error, "format_message"):  # typer's own, about the command line
        return error.format_message()
    if isinstance(error, CCAError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'file'}: {error.strerror}"
    return f"unexpected {type(error).__name__}: {error} (run 'cca --debug ...' for the traceback)"
