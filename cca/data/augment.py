"""Random small affine changes of images, each image its own."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field

from cca.settings import Settings


class Augmentation(Settings):
    """Largest changes; each image draws its own uniformly within them."""

    rotation: float = Field(default=0.0, ge=0, le=180, description="degrees")
    shift: float = Field(default=0.0, ge=0, description="pixels, each axis")
    whole_pixels: bool = Field(default=False, description="shifts are rounded to pixels, and so blur nothing")
    scale: float = Field(default=0.0, ge=0, lt=1, description="relative size")
    flip: bool = Field(default=False, description="mirror half of the images left to right")


@dataclass(frozen=True)
class Changes:
    """What is done to each of N images.

    Attributes:
        mirrored: (N,) bool.
        theta: (N, 2, 3), from places in the new image to places in the old one, or None to move nothing.
    """

    mirrored: np.ndarray
    theta: np.ndarray | None

    @classmethod
    def draw(
        cls, count: int, height: int, width: int, settings: Augmentation, rng: np.random.Generator
    ) -> "Changes":
        """Changes of ``count`` images of ``height`` x ``width`` pixels."""
        angle, shift_x, shift_y, scale = rng.uniform(-1, 1, size=(4, count))
        mirrored = (rng.random(count) < 0.5) & settings.flip
        if settings.rotation == settings.shift == settings.scale == 0:
            return cls(mirrored, None)
        angle = np.deg2rad(settings.rotation) * angle
        zoom = 1 + settings.scale * scale
        cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
        shift_x, shift_y = settings.shift * shift_x, settings.shift * shift_y
        if settings.whole_pixels:
            shift_x, shift_y = np.rint(shift_x), np.rint(shift_y)
        shift_x, shift_y = 2 * shift_x / width, 2 * shift_y / height
        return cls(
            mirrored, np.stack([np.stack([cos, -sin, shift_x], 1), np.stack([sin, cos, shift_y], 1)], 1)
        )

    def __getitem__(self, index: slice) -> "Changes":
        """Those of some of the images."""
        return Changes(self.mirrored[index], None if self.theta is None else self.theta[index])

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Changed copies (bilinear, border pixels repeated), uint8 (N, H, W, C) to the same."""
        if self.mirrored.any():
            images = np.where(self.mirrored[:, None, None, None], images[:, :, ::-1], images)
        if self.theta is None:
            return images
        pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
        grid = F.affine_grid(torch.from_numpy(self.theta).float(), list(pixels.shape), align_corners=False)
        moved = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return moved.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def augment(images: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Augmented copies of images, uint8 (B, H, W, C) to the same.

    With all settings zero the images come back bit for bit.
    """
    count, height, width, _ = images.shape
    return Changes.draw(count, height, width, settings, rng).apply(images)
