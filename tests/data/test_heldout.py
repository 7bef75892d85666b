"""The held-out images as a file of samples that the evaluator reads."""

from pathlib import Path

import numpy as np

from cca.data import heldout
from cca.evaluate.samples import read_side
from cca.files import write_npz


def test_it_holds_each_held_out_image_once_with_its_label_in_another_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 8, 8, 1), dtype=np.uint8), np.repeat(np.arange(4), 10)
    write_npz(
        tmp_path / "images.npz",
        train_images=255 - images,
        train_labels=labels,
        heldout_images=images,
        heldout_labels=labels,
        class_names=np.array(list("abcd")),
    )
    heldout.run(heldout.HeldoutSettings(), images=tmp_path / "images.npz", out=tmp_path / "heldout.npz")
    side = read_side(tmp_path / "heldout.npz")
    written = np.concatenate(list(side.images.batches(16)))
    assert written.shape == (40, 8, 8, 3) and (written == written[..., :1]).all()
    rows = [(label, image[..., 0].tobytes()) for label, image in zip(side.labels, written, strict=True)]
    wanted = [(label, image.tobytes()) for label, image in zip(labels, images, strict=True)]
    assert sorted(rows) == sorted(wanted) and (np.diff(side.labels) < 0).sum() > 5
