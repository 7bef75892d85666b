"""Models: trained, and finetuned on pairs."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from torch.distributed import is_torchelastic_launched

from cca.cli.options import (
    Base,
    Codes,
    Fakes,
    Given,
    KeepEvery,
    Nodes,
    Out,
    Pairs,
    ProcessCount,
    Seed,
    Shard,
    Shards,
    Tokenizer,
)
from cca.runner import perform

app = typer.Typer()


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
    shard: Shard = 0,
    shards: Shards = 1,
) -> None:
    """Compute the frozen model's log-likelihoods of the pairs, or of one shard of them."""
    inputs = {"base": base, "tokenizer": tokenizer, "codes": codes, "pairs": pairs, "fakes": fakes}
    arguments = {"seed": seed, "shard": shard, "shards": shards}
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
    scores: Annotated[Path, typer.Option(help="Folder of all shards made by 'score', or its one file.")],
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


def started_elsewhere(processes: int, nodes: int) -> bool:
    """Whether several processes were wanted; they have then run this command."""
    if processes == 1 or is_torchelastic_launched():
        return False
    from cca.training.launch import start  # imports torch's launcher

    start(sys.argv[1:], processes, nodes)
    return True
