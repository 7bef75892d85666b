"""Training a tokenizer: the error falls, losses are added, runs repeat, codes are revived."""

import csv

import numpy as np
import pytest
import torch

from cca import checkpoints, tokenizers
from cca.errors import CCAError
from cca.evaluate.classifier import Classifier, ClassifierArchitecture
from cca.files import write_npz
from cca.settings import validate
from cca.stages import train_tokenizer
from cca.stages.train_tokenizer import TokenizerSettings, TokenizerTraining, run
from cca.tokenizers import Tokenizer

ARCHITECTURE = {
    "image_size": 8,
    "channels": 1,
    "base_channels": 4,
    "channel_multipliers": [1, 2],
    "blocks": 1,
    "z_channels": 8,
    "codebook_size": 16,
    "codebook_dim": 4,
    "norm_groups": 2,
}
TRAINING = {
    "steps": 60,
    "batch_size": 8,
    "revive_every": 10,
    "optimisation": {"learning_rate": 5e-3},
}


def settings(**changes) -> TokenizerSettings:
    values = {
        "kind": "vq",
        "architecture": ARCHITECTURE,
        "training": TRAINING,
        "augmentation": {"shift": 0.5},
    }
    return validate(TokenizerSettings, values | changes, "tier.yaml")


@pytest.fixture
def images(tmp_path):
    """Bright squares at random places."""
    rng = np.random.default_rng(0)
    pictures = np.zeros((32, 8, 8, 1), np.uint8)
    for picture, (row, column) in zip(pictures, rng.integers(0, 5, size=(32, 2)), strict=True):
        picture[row : row + 4, column : column + 4] = 255
    labels = np.zeros(32, np.int64)
    path = tmp_path / "images.npz"
    write_npz(
        path,
        train_images=pictures[:24],
        train_labels=labels[:24],
        heldout_images=pictures[24:],
        heldout_labels=labels[24:],
        class_names=np.array(["square"]),
    )
    return path


def rows(path):
    with path.open() as stream:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def test_training_lowers_the_error_and_writes_what_it_made(images, tmp_path):
    out = tmp_path / "tokenizer.safetensors"
    measured = run(settings(), images=images, out=out)
    log = rows(tmp_path / "tokenizer.log.csv")
    assert [row["step"] for row in log] == list(range(60))
    for row in (log[0], log[-1]):
        assert row["loss"] == pytest.approx(row["l1"] + row["l2"] + row["quantiser"], rel=1e-4)
    assert np.mean([r["l2"] for r in log[-10:]]) < 0.5 * np.mean([r["l2"] for r in log[:5]])
    assert measured == {"parameters": sum(p.numel() for p in tokenizers.load(out).parameters())}


def test_weights_of_the_losses(images, tmp_path):
    training = TRAINING | {"steps": 1, "l1": 0.5, "l2": 3.0}
    run(settings(training=training), images=images, out=tmp_path / "t.safetensors")
    (row,) = rows(tmp_path / "t.log.csv")
    assert row["loss"] == pytest.approx(0.5 * row["l1"] + 3 * row["l2"] + row["quantiser"], rel=1e-4)


@pytest.fixture
def perceptual(tmp_path):
    """An untrained classifier of the same images."""
    torch.manual_seed(0)
    architecture = ClassifierArchitecture(widths=[4], pool_size=2, spatial_stage=0)
    path = tmp_path / "perceptual.safetensors"
    Classifier(architecture, image_size=8, channels=1, num_classes=2).save(path)
    return path


ADVERSARIAL = {"start": 3, "channels": 4, "layers": 1, "optimisation": {"learning_rate": 1e-3}}


def test_perceptual_and_adversarial_losses_are_added_and_logged(images, perceptual, tmp_path):
    training = TRAINING | {"steps": 6, "perceptual": 2.0, "adversarial": ADVERSARIAL}
    run(settings(training=training), images=images, out=tmp_path / "t.safetensors", perceptual=perceptual)
    log = rows(tmp_path / "t.log.csv")
    for row in log:
        expected = row["l1"] + row["l2"] + 2 * row["perceptual"] + row["quantiser"]
        if row["step"] >= 3:
            expected += 0.5 * row["balance"] * row["adversarial"]
        assert row["loss"] == pytest.approx(expected, rel=1e-4) and row["perceptual"] > 0
    assert [row["step"] for row in log if not np.isnan(row["adversarial"])] == [3, 4, 5]
    assert [row["step"] for row in log if not np.isnan(row["discriminator"])] == [4, 5]


def test_a_perceptual_weight_and_its_classifier_go_together(images, perceptual, tmp_path):
    for weight, path in ((1.0, None), (0.0, perceptual)):
        with pytest.raises(CCAError, match=r"a weight 'perceptual' and a classifier \(--perceptual\) go"):
            changed = settings(training=TRAINING | {"perceptual": weight})
            run(changed, images=images, out=tmp_path / "t.safetensors", perceptual=path)


def test_same_seed_same_bits_other_seed_other_bits(images, tmp_path):
    training = TRAINING | {"steps": 12}
    states = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        out = tmp_path / f"{name}.safetensors"
        run(settings(training=training, seed=seed), images=images, out=out)
        states.append(checkpoints.read(out)[0])
    first, second, other = states
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["encoder.conv_in.weight"], other["encoder.conv_in.weight"])


def test_loss_that_is_not_finite_names_the_step(images, tmp_path):
    out = tmp_path / "tokenizer.safetensors"
    training = TRAINING | {"optimisation": {"learning_rate": 1e30}}
    with pytest.raises(CCAError, match=r"^tokenizer.*: the loss is (nan|inf) at step [123];") as error:
        run(settings(training=training), images=images, out=out)
    assert "\n" not in str(error.value)
    assert not out.exists()


class Fake(Tokenizer):
    """Codes are the brightness of whole images in four steps; records what is asked of it."""

    def __init__(self):
        super().__init__()
        self.image_size, self.channels, self.num_tokens, self.vocab_size = 8, 1, 1, 4
        self.bias = torch.nn.Parameter(torch.zeros(()))
        self.revived = []

    def encode(self, images):
        return ((images.mean(dim=(1, 2, 3)) + 1) * 2).long().clamp(0, 3).unsqueeze(1)

    def decode(self, codes):
        return ((codes.float() + 0.5) / 2 - 1)[:, :, None, None].expand(-1, 1, 8, 8) + self.bias

    def forward(self, images):
        codes = self.encode(images)
        return self.decode(codes), self.bias * 0, codes

    @property
    def last_layer(self):
        return self.bias

    def revive(self, images, unused, rng):
        self.revived.append((tuple(images.shape), unused.tolist()))


def test_any_tokenizer_trains_and_unused_codes_are_revived(images, tmp_path, monkeypatch):
    fake = Fake()
    monkeypatch.setattr(train_tokenizer.tokenizers, "build", lambda kind, architecture: fake)
    training = TRAINING | {"steps": 8, "revive_every": 2, "revive_share": 0.75}
    run(settings(training=training, augmentation={}), images=images, out=tmp_path / "t.safetensors")
    # a square of 16 of 64 pixels: mean -0.5, always code 1; after steps 2, 4 and 6 of 8
    assert fake.revived == [((8, 1, 8, 8), [0, 2, 3])] * 3
    assert fake.bias.item() != 0


def test_images_of_another_size_than_the_architecture_are_refused(images, tmp_path):
    architecture = ARCHITECTURE | {"image_size": 16}
    with pytest.raises(CCAError, match=r"images\.npz: .*\(8, 8, 1\).*\(16, 16, 1\)") as error:
        run(settings(architecture=architecture), images=images, out=tmp_path / "t.safetensors")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "nonesuch"}, "'nonesuch' is not one of the tokenizers: .*vq"),
        ({"architecture": {**ARCHITECTURE, "norm_groups": 3}}, "not divisible by norm_groups 3"),
        ({"architecture": {**ARCHITECTURE, "sides": 3}}, "unknown key 'sides'"),
        ({"training": {**TRAINING, "l1": 0, "l2": 0}}, "l1 and l2 are both 0"),
        ({"training": {**TRAINING, "revive_share": 1.5}}, "revive_share"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(CCAError, match=message) as error:
        settings(**changes)
    assert "\n" not in str(error.value)


def test_revival_is_off_by_default():
    training = TokenizerTraining(steps=10, batch_size=1, optimisation={"learning_rate": 1e-3})
    assert not any(training.revives(step) for step in range(10))
