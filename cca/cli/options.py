"""Options that several stages share on the command line."""

from pathlib import Path
from typing import Annotated

import typer

Given = Annotated[
    str,
    typer.Option("--settings", help="Settings of the stage: JSON or YAML, inline or the path of a file."),
]
Protocol = Annotated[
    str,
    typer.Option("--settings", help="JSON or YAML, inline or a file; default: the ADM suite's, Inception."),
]
Out = Annotated[Path, typer.Option(help="File to write.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the experiment.")]
Shard = Annotated[int, typer.Option(min=0, help="Which shard to make.")]
Shards = Annotated[int, typer.Option(min=1, help="How many shards there are.")]
Images = Annotated[Path, typer.Option("--images", help="Images, made by 'data'.")]
Tokenizer = Annotated[
    Path, typer.Option("--tokenizer", help="Checkpoint made by 'tokenizer' or 'import tokenizer'.")
]
Codes = Annotated[Path, typer.Option("--codes", help="Codes, made by 'codes'.")]
Pairs = Annotated[Path, typer.Option("--pairs", help="Pairs, made by 'pairs'.")]
Checkpoint = Annotated[Path, typer.Option(help="File of official weights, as its authors publish it.")]
Base = Annotated[Path, typer.Option("--base", help="Checkpoint made by 'pretrain' or 'import model'.")]
Model = Annotated[Path, typer.Option(help="Checkpoint of a model, finetuned or not.")]
Fakes = Annotated[
    Path | None, typer.Option(help="Samples made by 'fakes', as negatives in place of other labels.")
]
Weights = Annotated[
    Path | None,
    typer.Option(
        help="Weights of the feature extractor: Inception's (downloaded if left out), or a classifier's."
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(help="Folder for the features of references.", show_default="~/.cache/cca/features"),
]
AllowJpeg = Annotated[bool, typer.Option("--allow-jpeg", help="Accept lossy images.")]
Results = Annotated[Path, typer.Option("--results", help="The tier's folder of results.")]
KeepEvery = Annotated[
    float,
    typer.Option(
        min=0,
        envvar="CCA_KEEP_EVERY",
        help="Seconds between two writings of the training's state, from which a killed run is resumed.",
    ),
]
ProcessCount = Annotated[
    int,
    typer.Option(
        "--processes",
        min=1,
        help="Processes that train together, over all hosts, one a GPU; a batch must divide among them.",
    ),
]
Nodes = Annotated[
    int,
    typer.Option(
        min=1,
        help="Hosts that they are on: of a SLURM job, or told by MASTER_ADDR, MASTER_PORT and NODE_RANK.",
    ),
]
TierFolder = Annotated[Path, typer.Option(help="Folder of the tier files.")]
SizePreset = Annotated[
    str | None, typer.Option(help="Size preset: cpu, gpu, or auto, by the machine; default: the tier file's.")
]
ReferenceBatch = Annotated[Path, typer.Option(help="Reference batch, made by 'reference'.")]
