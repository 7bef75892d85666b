"""What tests share: tiny trained-looking files of every stage, and the smoke DAG, made once."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from filelock import FileLock

from cca import models, tokenizers
from cca.data import codes as code_data
from cca.data import encode
from cca.files import write_npz
from cca.rng import generator, seed_torch

from .smoke import command

REPOSITORY = Path(__file__).parents[1]
Run = Callable[..., subprocess.CompletedProcess]

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


def skip_but_in_ci(reason: str) -> NoReturn:
    """Of a test that needs what not every machine has, and CI does."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def started(words: list[str], environment: dict[str, str], stderr: Path) -> subprocess.Popen:
    """A command that trains, some steps on; the environment has its progress bar show each."""
    with stderr.open("w") as stream:
        process = subprocess.Popen(words, env=environment, stderr=stream)
    deadline = time.monotonic() + 300
    while not re.search(r"\d(it/s|s/it)", stderr.read_text()):
        assert process.poll() is None and time.monotonic() < deadline, stderr.read_text()
        time.sleep(0.1)
    return process


@pytest.fixture(autouse=True, scope="session")
def user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder in place of the user's own for what is kept between runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


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


@pytest.fixture
def two_images(world: World, tmp_path: Path) -> Path:
    """Codes of the world's tokenizer in which class 0 is always one image and class 1 another."""
    labels = np.arange(40) % 2
    codes = np.arange(16)[None, None] * (1 + labels[:, None, None]) % 12
    place = {"start": 0, "total": 40, "vocab_size": 12, "num_classes": 3, "made_of": "two images"}
    shard = tmp_path / "codes/1/shard_0.safetensors"
    encode.write(shard, np.repeat(codes, 2, axis=1).astype(np.int16), labels, place)
    code_data.run(code_data.JoinSettings(), shards=shard.parent, out=tmp_path / "codes.npz")
    return tmp_path / "codes.npz"


def run_workflow(folder: Path, *arguments: str, config: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    """Run the workflow at the smoke tier in ``folder``, where it also keeps its cache: it shares nothing."""
    return subprocess.run(
        command(folder, *arguments, config=config),
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"XDG_CACHE_HOME": str(folder / ".cache")},
    )


@pytest.fixture(scope="session")
def snakemake() -> Run:
    """``snakemake(folder, *arguments, config=(...))`` at the smoke tier."""
    return run_workflow


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, snakemake: Run) -> Path:
    """A folder in which the whole smoke DAG has run: with ``-n`` once, of which each process has a copy."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "smoke"
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            folder = tmp_path_factory.mktemp("running")
            run = snakemake(folder)
            assert run.returncode == 0, run.stderr[-3000:]
            folder.rename(shared)
    # As deep as the first: paths of inputs from outside are relative, and other paths run jobs again.
    return Path(shutil.copytree(shared, tmp_path_factory.mktemp("finished"), dirs_exist_ok=True))


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to be spoiled."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))
