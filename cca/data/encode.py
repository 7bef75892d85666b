"""The training images as codes, a shard at a time: several augmented crops of each, encoded once."""

import hashlib
import json
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field, model_validator
from safetensors.numpy import save_file
from tqdm import tqdm

from cca import tokenizers
from cca.data import images as image_data
from cca.data.augment import Augmentation, Changes
from cca.data.crops import TEN, random_crop, ten_crops
from cca.data.decode import to_pixels
from cca.data.files import FileImages
from cca.device import pick
from cca.errors import CCAError
from cca.files import CsvLog, sha256, write_safetensors
from cca.prefetch import prefetched
from cca.rng import generator
from cca.settings import Settings
from cca.shards import shard_range


class CodesSettings(Settings):
    """How many crops of every training image are encoded, how they are cut, and how they are augmented."""

    crops: int = Field(ge=1)
    cropping: Literal["none", "ten", "random"] = Field(
        default="none",
        description="none: the images as stage 'data' gives them; ten: LlamaGen's ten crops; random: VAR's",
    )
    resize: float = Field(
        default=1.1,
        ge=1,
        description="ten, random: shorter side before the crop, over the tokenizer's image_size",
    )
    augmentation: Augmentation = Augmentation()
    batch_size: int = Field(default=500, ge=1, description="images at a time; a shard holds whole batches")
    seed: int = 0

    @model_validator(mode="after")
    def _ten_crops_are_ten(self) -> "CodesSettings":
        if self.cropping == "ten" and self.crops != TEN:
            raise ValueError(f"cropping 'ten' makes {TEN} crops, not {self.crops}")
        return self


def run(
    settings: CodesSettings, *, images: Path, tokenizer: Path, out: Path, shard: int = 0, shards: int = 1
) -> dict:
    """Stage ``encode``: write one shard of the codes, a range of the training images.

    What is drawn for an image does not depend on the shards, so the codes are the same however they
    are sharded. The file, which is read without loading it, holds ``codes`` (n, K, T) int16, or int32
    where those do not reach, ``sums`` (n, K) uint32, the CRC-32 of each crop's codes, and ``labels`` (n,).

    Raises:
        CCAError: images of another size than the tokenizer's, unreadable ones, or no such shard.
    """
    data, device = image_data.load(images), pick()
    model = tokenizers.load(tokenizer).to(device)
    pictures, count = data.train_images, len(data.train_images)
    wanted = (model.image_size, model.image_size, model.channels)
    if settings.cropping == "none" and pictures.shape[1:] != wanted:
        given = f"images of (height, width, channels) {pictures.shape[1:]}"
        raise CCAError(f"{images}: {given}, but the tokenizer's are {wanted}")
    first, last = shard_range(count, settings.batch_size, shard, shards)
    kind = np.int16 if model.vocab_size <= 2**15 else np.int32
    codes = np.empty((last - first, settings.crops, model.num_tokens), kind)
    draws = [_Draws(settings, crop, count, wanted) for crop in range(settings.crops)]
    ranges = [
        slice(at, min(at + settings.batch_size, last)) for at in range(first, last, settings.batch_size)
    ]
    cuts = (_cut(pictures, where, settings, draws, model.image_size) for where in ranges)
    batches = prefetched(cuts, depth=1)
    for where, batch in zip(tqdm(ranges, desc="encode"), batches, strict=True):
        for crop, pixels in enumerate(batch):
            with torch.inference_mode():
                found = model.encode(image_data.to_tensor(pixels).to(device))
            codes[where.start - first : where.stop - first, crop] = found.cpu().numpy()
    with CsvLog(out.with_suffix(".log.csv")) as log:
        for crop in range(settings.crops):
            log.write(crop=crop, codebook_use=len(np.unique(codes[:, crop])) / model.vocab_size)
    place: dict[str, int | str]
    place = {"start": first, "total": count, "vocab_size": model.vocab_size, "num_classes": data.num_classes}
    place["made_of"] = _made_of(settings, images, tokenizer)
    write(out, codes, data.train_labels[first:last], place)
    return {"images": last - first}


def write(out: Path, codes: np.ndarray, labels: np.ndarray, place: dict) -> None:
    """Write a shard; ``place`` is that of `cca.data.codes.Shard`."""
    arrays = {"codes": codes, "sums": checksums(codes), "labels": labels}
    write_safetensors(out, save_file, arrays, place)


def checksums(codes: np.ndarray) -> np.ndarray:
    """CRC-32 of the last axis of codes (..., T): (...) uint32."""
    rows = np.ascontiguousarray(codes).reshape(-1, codes.shape[-1])
    return np.array([zlib.crc32(row.tobytes()) for row in rows], dtype=np.uint32).reshape(codes.shape[:-1])


class _Draws:
    """What is drawn for one crop of all images: corners and augmentation."""

    def __init__(self, settings: CodesSettings, crop: int, count: int, shape: tuple[int, int, int]):
        rng = generator("crop", settings.seed, crop)
        self.corners = rng.random((count if settings.cropping == "random" else 0, 2))
        self.changes = Changes.draw(count, *shape[:2], settings.augmentation, rng)


def _cut(
    images: np.ndarray | FileImages, where: slice, settings: CodesSettings, draws: list[_Draws], size: int
) -> list[np.ndarray]:
    """The crops of a range of images, augmented: K arrays uint8 (B, size, size, C)."""
    if settings.cropping == "none":
        pixels = images[where]
        crops = [pixels] * settings.crops
    else:
        if isinstance(images, np.ndarray):
            pictures = [_picture(pixels) for pixels in images[where]]
        else:
            pictures = images.originals(where)
        if settings.cropping == "ten":
            cut = [ten_crops(picture, size, settings.resize) for picture in pictures]
        else:
            corners = np.stack([draw.corners[where] for draw in draws], axis=1)
            cut = [
                [random_crop(picture, size, settings.resize, corner) for corner in own]
                for picture, own in zip(pictures, corners, strict=True)
            ]
        crops = [np.stack([to_pixels(crop) for crop in crops]) for crops in zip(*cut, strict=True)]
    return [draw.changes[where].apply(crop) for draw, crop in zip(draws, crops, strict=True)]


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _made_of(settings: CodesSettings, images: Path, tokenizer: Path) -> str:
    """SHA-256 of all that the codes follow from, apart from the code."""
    told = [settings.model_dump(mode="json"), sha256(images), sha256(tokenizer)]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
