"""Cropping as the published models' training code does it, torchvision doing the work."""

from PIL import Image

from cca.data.decode import centre_crop

TEN = 10


def ten_crops(image: Image.Image, size: int, resize: float) -> list[Image.Image]:
    """LlamaGen's: corners and centre of a larger centre square, and its mirror's: 10 squares of ``size``.

    ``autoregressive/train/extract_codes_c2i.py``: ADM's centre crop to ``int(size * resize)``, then
    torchvision's TenCrop: top left, top right, bottom left, bottom right, centre; then of the mirrored image.
    """
    from torchvision.transforms import functional as F  # seconds that other stages save

    return list(F.ten_crop(centre_crop(image, int(size * resize)), [size, size]))


def random_crop(image: Image.Image, size: int, resize: float, corner: tuple[float, float]) -> Image.Image:
    """VAR's: the shorter side resized (Lanczos) to ``round(size * resize)``, then any square of ``size``.

    ``utils/data.py``. The square's top left is ``corner``, (down, right) in [0, 1), of the places for it.
    """
    shorter = round(size * resize)
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F

    resized = F.resize(image, shorter, InterpolationMode.LANCZOS)
    down, right = (
        int(part * (side - size + 1)) for part, side in zip(corner, resized.size[::-1], strict=True)
    )
    return resized.crop((right, down, right + size, down + size))
