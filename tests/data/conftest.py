"""Images for tests: a made-up ImageNet, and real ones where there are some."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cca.data.sources.imagenet import CLASSES


def picture(seed: int, width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A smooth random picture, so that JPEG keeps what it shows."""
    coarse = np.random.default_rng(seed).integers(256, size=(4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR).convert(mode)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What tests find out about folders stays with them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def imagenet_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every class folder, one tiny JPEG in each, two in the first. Read only: copy it to spoil it."""
    root = tmp_path_factory.mktemp("imagenet")
    for number, name in enumerate(CLASSES):
        (root / "train" / name).mkdir(parents=True)
        for index in range(2 if number == 0 else 1):
            file = root / "train" / name / f"{name}_{index}.JPEG"
            picture(2 * number + index, 20 + number % 7, 18 + number % 5).save(file)
    return root


@pytest.fixture(scope="session")
def real_images() -> Callable[[str], Path]:
    """``real_images(name)``: that folder below the one that CCA_TEST_DATA names; without it, skip."""

    def folder(name: str) -> Path:
        root = os.environ.get("CCA_TEST_DATA")
        if not root or not Path(root, name).is_dir():
            pytest.skip(f"no real images: CCA_TEST_DATA does not name a folder that holds {name}")
        return Path(root, name)

    return folder
