"""The held-out images as a file of samples: what so many real images score."""

from pathlib import Path

import numpy as np
from pydantic import Field

from cca.data.images import load, require_heldout
from cca.files import write_npz
from cca.rng import generator
from cca.settings import Settings


class HeldoutSettings(Settings):
    """In what order they are written."""

    seed: int = Field(default=0, ge=0)


def run(settings: HeldoutSettings, *, images: Path, out: Path) -> dict:
    """Stage ``heldout``: an ADM ``.npz``, ``arr_0`` uint8 N x H x W x 3 (grey is repeated), ``arr_1`` labels.

    In one random order, as the Inception Score wants it.

    Raises:
        CCAError: there are none.
    """
    data = load(images)
    require_heldout(data, images)
    order = generator("heldout", settings.seed).permutation(len(data.heldout_images))
    chosen = data.heldout_images[order]
    write_npz(out, arr_0=np.broadcast_to(chosen, (*chosen.shape[:3], 3)), arr_1=data.heldout_labels[order])
    return {"images": len(chosen)}
