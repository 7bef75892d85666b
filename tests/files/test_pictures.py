"""Image files of unknown origin."""

from pathlib import Path

import pytest
from PIL import Image

from cca.errors import CCAError
from cca.files import pictures


def test_formats_that_start_a_program_are_not_opened(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "x.eps")
    (tmp_path / "x.eps").rename(tmp_path / "x.png")
    with pytest.raises(CCAError, match=r"x.png: not an image"):
        pictures.opened(tmp_path / "x.png")


@pytest.mark.parametrize("kind", pictures.FORMATS)
def test_damage_behind_the_header_is_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    Image.effect_noise((64, 64), 50).convert("RGB").save(path, kind)
    with pictures.opened(path) as image:
        assert pictures.pixels(image, path).shape == (64, 64, 3)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CCAError, match=r"not an image|a damaged image") as error:
        pictures.decoded(pictures.opened(path), path)
    assert "\n" not in str(error.value)
