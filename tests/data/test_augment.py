"""Augmentation moves pixels as it says."""

import numpy as np
import pytest

from cca.data.augment import Augmentation, augment
from cca.rng import generator

IMAGES = generator("test images").integers(256, size=(20, 12, 12, 3), dtype=np.uint8)


def test_zero_settings_change_nothing() -> None:
    assert (augment(IMAGES, Augmentation(), generator(0)) == IMAGES).all()


def test_flip_mirrors_some_images_and_leaves_the_others() -> None:
    moved = augment(IMAGES, Augmentation(flip=True), generator(0))
    mirrored = (moved == IMAGES[:, :, ::-1]).all(axis=(1, 2, 3))
    kept = (moved == IMAGES).all(axis=(1, 2, 3))
    assert (mirrored | kept).all() and mirrored.any() and kept.any()


def test_shift_stays_within_its_pixels() -> None:
    dot = np.zeros((200, 21, 21, 1), np.uint8)
    dot[:, 10, 10] = 255
    moved = augment(dot, Augmentation(shift=3), generator(0)).astype(float)[..., 0]
    grid = np.arange(21)
    for axis in (1, 2):
        centre = (moved.sum(axis=3 - axis) * grid).sum(axis=1) / moved.sum(axis=(1, 2)) - 10
        assert np.abs(centre).max() <= 3.05
        assert np.abs(centre).max() > 2.5
        assert abs(centre.mean()) < 0.4


def test_scale_and_rotation_keep_the_centre() -> None:
    cross = np.zeros((50, 21, 21, 1), np.uint8)
    cross[:, 10, 10] = 255
    moved = augment(cross, Augmentation(rotation=30, scale=0.2), generator(0))[..., 0]
    assert (moved.reshape(50, -1).argmax(axis=1) == 10 * 21 + 10).all()


@pytest.mark.parametrize("change", [{"rotation": 20.0}, {"shift": 2.0}, {"scale": 0.2}])
def test_each_image_draws_its_own_change(change: dict) -> None:
    same = np.repeat(IMAGES[:1], 5, axis=0)
    moved = augment(same, Augmentation(**change), generator(0))
    assert len({image.tobytes() for image in moved}) == 5
    assert (moved == augment(same, Augmentation(**change), generator(0))).all()


def test_whole_pixels_move_and_do_not_blur() -> None:
    dot = np.zeros((2000, 21, 21, 1), np.uint8)
    dot[:, 10, 10] = 255
    moved = augment(dot, Augmentation(shift=3, whole_pixels=True), generator(0))
    assert (np.sort(moved.reshape(2000, -1), axis=1)[:, -2:] == [0, 255]).all()
    assert len({image.tobytes() for image in moved}) == 7 * 7
