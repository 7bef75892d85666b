"""``cca import``: official weights."""

import typer

from cca.cli.options import Checkpoint, Given, Out, Tokenizer
from cca.runner import perform

group = typer.Typer(help="Make a checkpoint of official weights.", no_args_is_help=True)


@group.command("tokenizer")
def import_tokenizer(settings: Given, checkpoint: Checkpoint, out: Out) -> None:
    """Hold official weights against a tokenizer's names and shapes, and write them as a checkpoint."""
    inputs = {"checkpoint": checkpoint}
    module, schema = "cca.stages.import_tokenizer", "ImportedTokenizerSettings"
    perform("import tokenizer", module, schema, settings, out=out, inputs=inputs)


@group.command("model")
def import_model(settings: Given, checkpoint: Checkpoint, tokenizer: Tokenizer, out: Out) -> None:
    """Hold official weights against a model's names and shapes, and write them as a checkpoint."""
    inputs = {"checkpoint": checkpoint, "tokenizer": tokenizer}
    module, schema = "cca.stages.import_model", "ImportedModelSettings"
    perform("import model", module, schema, settings, out=out, inputs=inputs)
