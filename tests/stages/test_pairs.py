"""The epoch's pairs: distribution of negatives, masking, and what they do not depend on."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from cca.data.codes import Codes, Shard
from cca.errors import CCAError
from cca.files import write_npz
from cca.stages import pairs

LABELS = np.repeat(np.arange(5), [400, 300, 200, 80, 20])
CLASSES, CROPS = 5, 4


def draw(seed: int = 0, labels: np.ndarray = LABELS, **settings: float) -> pairs.Pairs:
    return pairs.make_pairs(labels, CROPS, CLASSES, pairs.PairsSettings(**settings), seed)


def test_every_image_is_visited_equally_often_in_a_shuffled_order() -> None:
    drawn = draw(visits=3)
    assert (np.bincount(drawn.image) == 3).all()
    assert not (np.diff(drawn.image[:100]) == 1).all()


def test_an_epoch_may_visit_a_part_of_the_images_which_follows_the_seed() -> None:
    drawn = draw(visits=2, images=150)
    counts = np.bincount(drawn.image, minlength=len(LABELS))
    assert (np.sort(counts)[-150:] == 2).all() and counts.sum() == 300
    assert set(drawn.image) == set(draw(images=150).image) != set(draw(images=150, seed=1).image)
    with pytest.raises(CCAError, match=r"pairs.images is 1001, but there are 1000 training images"):
        draw(images=1001)


def test_label_is_the_images_own_and_negative_is_the_next_pairs() -> None:
    drawn = draw(mask_rate=0)
    assert (drawn.label == LABELS[drawn.image]).all()
    assert (drawn.negative[:-1] == drawn.label[1:]).all()
    assert drawn.negative[-1] == drawn.label[0]


def test_negatives_follow_the_class_frequencies_whatever_the_label() -> None:
    drawn = draw(mask_rate=0, visits=20)
    table = np.zeros((CLASSES, CLASSES))
    np.add.at(table, (drawn.label, drawn.negative), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-3
    assert (table.sum(axis=0) == 20 * np.bincount(LABELS)).all()


def test_crops_are_uniform() -> None:
    counts = np.bincount(draw(visits=10).crop, minlength=CROPS)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_masked_pairs_are_unconditional_on_both_sides_at_the_asked_rate() -> None:
    drawn = draw(mask_rate=0.1, visits=10)
    assert stats.binomtest(int(drawn.masked.sum()), len(drawn), 0.1).pvalue > 1e-3
    assert (drawn.label[drawn.masked] == CLASSES).all()
    assert (drawn.negative[drawn.masked] == CLASSES).all()
    assert (drawn.label[~drawn.masked] < CLASSES).all()


def test_negative_is_taken_before_masking() -> None:
    plain, masked = draw(mask_rate=0), draw(mask_rate=0.5)
    kept = ~masked.masked
    assert (plain.negative[kept] == masked.negative[kept]).all()


def test_positive_pairs_are_the_masked_and_the_same_label_ones() -> None:
    drawn = draw(mask_rate=0.2)
    same = LABELS[drawn.image] == np.roll(LABELS[drawn.image], -1)
    assert (drawn.positive_pair == (drawn.masked | same)).all()


def test_the_seed_is_all_that_pairs_depend_on() -> None:
    first, again, other = draw(seed=1), draw(seed=1), draw(seed=2)
    assert all((a == b).all() for a, b in zip(vars(first).values(), vars(again).values(), strict=True))
    assert (first.image != other.image).any()


@pytest.fixture
def codes() -> Codes:
    zeros = np.zeros((len(LABELS), CROPS, 4), np.int16)
    shard = Shard(Path("shard_0.safetensors"), zeros, zeros[..., 0].astype(np.uint32), LABELS, {"start": 0})
    return Codes([shard], LABELS, vocab_size=8, num_classes=CLASSES)


def test_written_pairs_come_back(tmp_path: Path, codes: Codes) -> None:
    drawn = draw()
    write_npz(tmp_path / "pairs.npz", **vars(drawn))
    loaded = pairs.load(tmp_path / "pairs.npz", codes)
    assert all((a == b).all() for a, b in zip(vars(drawn).values(), vars(loaded).values(), strict=True))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("image", 1000, "image index 1000 is out of range 0..999"),
        ("crop", 4, "crop index 4 is out of range 0..3"),
        ("label", 6, "label 6 is out of range 0..5"),
        ("negative", -1, "label -1 is out of range 0..5"),
    ],
)
def test_pairs_of_other_codes_are_refused(
    tmp_path: Path, codes: Codes, field: str, value: int, message: str
) -> None:
    arrays = vars(draw())
    arrays[field][7] = value
    write_npz(tmp_path / "pairs.npz", **arrays)
    with pytest.raises(CCAError, match=message):
        pairs.load(tmp_path / "pairs.npz", codes)
