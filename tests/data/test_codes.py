"""Codes of the training images: crops, ranges, refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cca import tokenizers
from cca.data import codes, images
from cca.data.augment import Augmentation
from cca.errors import CCAError
from cca.files import read_npz, write_npz


def test_without_augmentation_every_crop_is_the_images_own_codes(world) -> None:
    data = codes.load(world.codes)
    assert data.codes.shape == (40, 2, 16) and (data.codes[:, 0] == data.codes[:, 1]).all()
    tokenizer = tokenizers.load(world.tokenizer)
    with torch.inference_mode():
        expected = tokenizer.encode(images.to_tensor(images.load(world.images).train_images))
    assert (data.codes[:, 0] == expected.numpy()).all()
    assert (data.labels == images.load(world.images).train_labels).all()
    assert (data.vocab_size, data.num_classes) == (12, 3)


def test_augmented_crops_differ_and_repeat(world, tmp_path: Path) -> None:
    settings = codes.CodesSettings(crops=3, augmentation=Augmentation(shift=2), batch_size=7)
    for name in ("a", "b"):
        codes.run(settings, images=world.images, tokenizer=world.tokenizer, out=tmp_path / f"{name}.npz")
    a, b = (codes.load(tmp_path / f"{name}.npz").codes for name in ("a", "b"))
    assert (a == b).all()
    assert (a[:, 0] != a[:, 1]).any() and (a[:, 1] != a[:, 2]).any()


def test_select_picks_image_and_crop(world) -> None:
    data = codes.load(world.codes)
    picked = data.select(np.array([3, 0]), np.array([1, 0]))
    assert picked.dtype == torch.int64
    assert (picked.numpy() == np.stack([data.codes[3, 1], data.codes[0, 0]])).all()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("codes", 12, r"a code is out of range 0..11"),
        ("codes", -1, r"a code is out of range 0..11"),
        ("labels", 3, r"label 3 is out of range 0..2"),
    ],
)
def test_values_out_of_range_are_refused(world, tmp_path: Path, name: str, value: int, message: str) -> None:
    arrays = read_npz(world.codes)
    arrays[name].flat[5] = value
    write_npz(tmp_path / "codes.npz", **arrays)
    with pytest.raises(CCAError, match=message):
        codes.load(tmp_path / "codes.npz")
