"""What tests share: tiny trained-looking files of every stage, made once."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from cca import models, tokenizers
from cca.data import codes as code_data
from cca.data import encode
from cca.files import write_npz
from cca.rng import generator, seed_torch

TOKENIZER = {
    "image_size": 8,
    "channels": 1,
    "base_channels": 4,
    "channel_multipliers": [1, 1],
    "blocks": 1,
    "norm_groups": 2,
    "z_channels": 4,
    "codebook_size": 12,
    "codebook_dim": 4,
}
MODEL = {"dim": 16, "layers": 2, "heads": 2, "multiple_of": 16}


@dataclass(frozen=True)
class World:
    """Files of a made-up tiny benchmark: 3 classes, 40 images of 8 x 8, 16 tokens, 12 codes."""

    images: Path
    tokenizer: Path
    codes: Path
    model: Path


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors are quickest on one thread, and results repeat."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Untrained networks whose weights are large enough to make everything depend on everything."""
    folder = tmp_path_factory.mktemp("world")
    made = World(
        *(folder / name for name in ("images.npz", "vq.safetensors", "codes.npz", "model.safetensors"))
    )
    pixels = generator("world").integers(256, size=(50, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(50) % 3
    write_npz(
        made.images,
        train_images=pixels[:40],
        train_labels=labels[:40],
        heldout_images=pixels[40:],
        heldout_labels=labels[40:],
        class_names=np.array(["a", "b", "c"]),
    )
    seed_torch("world")
    tokenizer = tokenizers.build("vq", TOKENIZER)
    tokenizers.save(made.tokenizer, tokenizer, "vq", TOKENIZER)
    shard = folder / "codes/1/shard_0.safetensors"
    encode.run(encode.CodesSettings(crops=2), images=made.images, tokenizer=made.tokenizer, out=shard)
    code_data.run(code_data.JoinSettings(), shards=shard.parent, out=made.codes)
    model = models.build("llamagen", MODEL, tokenizer, num_classes=3)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(std=0.3)
    models.save(made.model, model, tokenizer, "llamagen", MODEL)
    return made
