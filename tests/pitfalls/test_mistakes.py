"""Every mistake does what its name says, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from cca.data.images import ImageData
from cca.pitfalls import mistakes
from cca.pitfalls.mistakes import MISTAKES, Case
from cca.rng import generator

BY_NAME = {mistake.name: mistake.spoil for mistake in MISTAKES}


@pytest.fixture
def case() -> Case:
    """60 smooth images of 12 x 12, no two alike, of 3 classes in a random order."""
    rng = generator("case")
    y, x = np.mgrid[:12, :12] / 12
    shades = rng.integers(2, 9, size=(60, 2, 1, 1, 1))
    pixels = 127.5 + 127.5 * np.sin(shades[:, 0] * x[..., None] + shades[:, 1] * y[..., None] + [0, 1, 2])
    noise = rng.integers(-9, 10, size=pixels.shape)
    images = (pixels + noise).clip(0, 255).astype(np.uint8)
    grey = rng.integers(256, size=(50, 12, 12, 1), dtype=np.uint8)
    data = ImageData(grey[:40], np.arange(40) % 3, grey[40:], np.arange(10) % 3, ["a", "b", "c"])
    return Case(images, rng.permutation(np.arange(60) % 3), data, k=3)


def rows(images: np.ndarray) -> list[bytes]:
    return [image.tobytes() for image in images]


@pytest.mark.parametrize("name", BY_NAME)
def test_a_mistake_changes_something_and_leaves_what_it_was_given(case: Case, name: str) -> None:
    images, labels = case.images.copy(), case.labels.copy()
    spoiled = BY_NAME[name](case)
    assert (case.images == images).all() and (case.labels == labels).all()
    assert spoiled.images.dtype == np.uint8 and spoiled.images.shape[1:] == (12, 12, 3)
    assert len(spoiled.labels) == len(spoiled.images)
    same = spoiled.images.shape == images.shape and (spoiled.images == images).all()
    settings = [(c.reference is None, c.layer, c.channels_first) for c in (case, spoiled)]
    assert same == (settings[0] != settings[1])  # images, or what they are compared with: one of the two


def test_names_are_given_once() -> None:
    assert len(BY_NAME) == len(MISTAKES)


def test_sorting_permutes_only(case: Case) -> None:
    spoiled = BY_NAME["sorted by class"](case)
    assert (np.diff(spoiled.labels) >= 0).all() and (np.diff(case.labels) < 0).any()
    given = zip(rows(case.images), case.labels, strict=True)
    assert sorted(zip(rows(spoiled.images), spoiled.labels, strict=True)) == sorted(given)


def test_fewer_samples_are_the_first_ones(case: Case) -> None:
    for name, count in (("half the samples", 30), ("a tenth of the samples", 6)):
        spoiled = BY_NAME[name](case)
        assert (spoiled.images == case.images[:count]).all() and len(spoiled.labels) == count


@pytest.mark.parametrize("k", [3, 8])
def test_precision_and_recall_are_defined_whatever_is_left_out(case: Case, k: int) -> None:
    case = replace(case, k=k)
    assert len(BY_NAME["a tenth of the samples"](case).images) == max(6, k + 1)
    assert len(BY_NAME["a tenth of the reference"](case).reference) == k + 1


@pytest.mark.parametrize("count", [60, 58])
def test_copies_are_as_many_samples_but_fewer_images(case: Case, count: int) -> None:
    case = replace(case, images=case.images[:count], labels=case.labels[:count])
    spoiled = BY_NAME["4 copies of each"](case)
    assert len(spoiled.images) == count and len(set(rows(spoiled.images))) == 15
    assert set(zip(rows(spoiled.images), spoiled.labels, strict=True)) <= set(
        zip(rows(case.images), case.labels, strict=True)
    )


def deviation(case: Case, name: str) -> float:
    return np.abs(BY_NAME[name](case).images.astype(int) - case.images).mean()


def test_a_lower_quality_of_jpeg_changes_more(case: Case) -> None:
    assert 0 < deviation(case, "JPEG, quality 95") < deviation(case, "JPEG, quality 75") < 30


def test_kernels_lose_more_the_simpler_they_are(case: Case) -> None:
    bicubic, bilinear, nearest = (
        deviation(case, f"resized, {kernel}") for kernel in ("bicubic", "bilinear", "nearest")
    )
    assert 0 < bicubic < bilinear < nearest < 30


def test_a_constant_image_survives_every_resize() -> None:
    flat = np.full((4, 8, 8, 3), 255, np.uint8)
    case = Case(flat, np.zeros(4, int), data=None, k=3)
    for kernel in ("bicubic", "bilinear", "nearest"):
        assert (BY_NAME[f"resized, {kernel}"](case).images == flat).all()


def test_the_wrong_range_is_the_decoders_output_without_its_shift(case: Case) -> None:
    x = case.images / 127.5 - 1  # what the decoder gave, up to rounding
    assert (BY_NAME["[-1, 1] as [0, 1]"](case).images == np.rint(255 * x).clip(0, 255)).all()


def test_wrong_references_are_what_they_say(case: Case) -> None:
    train = set(rows(case.data.train_images))
    for name, count in (("a tenth of the reference", 4), ("as few training images", 10)):
        images = rows(BY_NAME[name](case).reference)
        assert len(set(images)) == count and set(images) < train
    assert (BY_NAME["held-out reference"](case).reference == case.data.heldout_images).all()


def test_channels_first_by_index() -> None:
    spatial = generator("spatial").random((3, 5 * 4 * 7))  # height 5, width 4, 7 channels
    moved = mistakes.channels_first(spatial, 7)
    for h, w, c in [(0, 1, 0), (4, 3, 6), (2, 0, 5)]:
        assert (moved[:, (c * 5 + h) * 4 + w] == spatial[:, (4 * h + w) * 7 + c]).all()
