import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cca import checkpoints
from cca.data.images import part
from cca.errors import CCAError
from cca.evaluate.classifier import load_classifier, to_input
from cca.files import read_json, read_npz, write_npz
from cca.records.provenance import record_path
from cca.runner import perform
from cca.settings import validate
from cca.stages.train_classifier import ClassifierSettings, run

OPTIMISATION = {"learning_rate": 0.01, "schedule": "cosine", "warmup_steps": 3}


def settings(
    seed: int = 0,
    minimum_accuracy: float = 0.0,
    share: tuple[float, float] = (0, 1),
    muon: float | None = None,
    **optimisation: float,
) -> ClassifierSettings:
    values = {
        "architecture": {"widths": [4, 8], "pool_size": 2, "features": 6},
        "training": {
            "steps": 40,
            "batch_size": 16,
            "muon": muon,
            "optimisation": OPTIMISATION | optimisation,
        },
        "augmentation": {"shift": 0.5},
        "seed": seed,
        "share": share,
        "minimum_accuracy": minimum_accuracy,
    }
    return validate(ClassifierSettings, values, "test")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise with a bright bar at one of three places."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    pixels = rng.integers(60, size=(120, 8, 8, 1), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[:, 1 + 2 * label : 3 + 2 * label] += 150
    path = tmp_path_factory.mktemp("data") / "images.npz"
    parts = {"train_images": pixels[:90], "train_labels": labels[:90]}
    parts |= {"heldout_images": pixels[90:], "heldout_labels": labels[90:]}
    write_npz(path, **parts, class_names=np.array(["a", "b", "c"]))
    return path


def test_learns_and_reports(images, tmp_path):
    measured = run(settings(minimum_accuracy=0.9), images=images, out=tmp_path / "c.safetensors")
    assert measured["accuracy"] >= 0.9
    with np.load(images) as data:
        heldout, labels, train = data["heldout_images"], data["heldout_labels"], data["train_images"]
    model = load_classifier(tmp_path / "c.safetensors")
    predicted = model(to_input(heldout)).logits.argmax(dim=1).numpy()
    assert (predicted == labels).mean() == pytest.approx(measured["accuracy"])
    assert model(to_input(train)).pool.std(correction=0).item() == pytest.approx(1, rel=1e-4)
    with (tmp_path / "c.log.csv").open() as log:
        rows = list(csv.DictReader(log))
    assert len(rows) == 40
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])


def test_the_seed_decides_the_bytes(images, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(settings(seed), images=images, out=tmp_path / f"{name}.safetensors")
    a, b, c = ((tmp_path / f"{name}.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_muon_trains_convolutions_and_nothing_else(images, tmp_path):
    """After one step, which clipping, initial weights and the batch make the same for all else."""
    moved = {}
    for muon in (None, 1, 4):
        given = settings(learning_rate=1e-3, warmup_steps=0, schedule="constant", muon=muon)
        given = given.model_copy(update={"training": given.training.model_copy(update={"steps": 1})})
        run(given, images=images, out=tmp_path / f"{muon}.safetensors")
        moved[muon] = load_file(tmp_path / f"{muon}.safetensors")
    kernels = [name for name, value in moved[1].items() if value.ndim == 4]
    assert kernels and all((moved[1][k] != moved[None][k]).any() for k in kernels)
    assert all((moved[4][k] != moved[1][k]).any() for k in kernels)
    assert (moved[4]["classify.weight"] == moved[None]["classify.weight"]).all()  # no convolution


def test_images_outside_of_its_share_change_no_weight(images, tmp_path):
    arrays = read_npz(images)
    unseen = np.setdiff1d(np.arange(90), part(arrays["train_labels"], 3, (0, 0.8)))
    assert len(unseen) == 18
    arrays["train_images"][unseen] = 0
    write_npz(tmp_path / "other.npz", **arrays)
    for path in (images, tmp_path / "other.npz"):
        run(settings(share=(0, 0.8)), images=path, out=tmp_path / f"{path.stem}.safetensors")
    one, other = (checkpoints.read(tmp_path / f"{name}.safetensors")[0] for name in ("images", "other"))
    differ = {name for name in one if not torch.equal(one[name], other[name])}
    assert differ == {"pool_scale", "spatial_scale"}  # of all training images


def test_an_impossible_share_is_refused():
    with pytest.raises(CCAError, match=r"share \[0\.8, 0\.2\]: two ends are wanted"):
        settings(share=(0.8, 0.2))


def test_too_low_an_accuracy_stops_the_stage_and_leaves_no_checkpoint(images, tmp_path):
    with pytest.raises(CCAError, match=r"held-out accuracy 0\.\d+ is below minimum_accuracy 1\.0"):
        run(settings(minimum_accuracy=1, learning_rate=1e-9), images=images, out=tmp_path / "c.safetensors")
    assert not (tmp_path / "c.safetensors").exists()


def test_a_loss_that_is_not_finite_names_the_step(images, tmp_path):
    with pytest.raises(CCAError, match=r"classifier.* at step \d+"):
        run(settings(learning_rate=1e38, clip=1e38), images=images, out=tmp_path / "c.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_training_below_the_floor_is_gone_on_with_once_that_is_lowered(images, tmp_path):
    out = tmp_path / "c.safetensors"

    def run_with(floor: float, **changed: float) -> None:
        given = settings(minimum_accuracy=floor, learning_rate=1e-9, **changed).model_dump_json()
        stage = ("features", "cca.stages.train_classifier", "ClassifierSettings", given)
        perform(*stage, out=out, inputs={"images": images}, keep_every=0)

    def resumed_at() -> int:
        return read_json(record_path(out))["measured"].get("resumed_at_step", 0)

    with pytest.raises(CCAError, match="is below minimum_accuracy"):
        run_with(1)
    run_with(0)
    assert resumed_at() == 40
    with pytest.raises(CCAError, match="is below minimum_accuracy"):
        run_with(1)
    run_with(0, weight_decay=0.2)
    assert resumed_at() == 0
