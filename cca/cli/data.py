"""What models are made from: images, the features and the reference of metrics, tokenizers, codes."""

from pathlib import Path
from typing import Annotated

import typer

from cca.cli.options import (
    AllowJpeg,
    Given,
    Images,
    KeepEvery,
    Out,
    Protocol,
    ReferenceBatch,
    Shard,
    Shards,
    Tokenizer,
    Weights,
)
from cca.runner import perform

app = typer.Typer()


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
