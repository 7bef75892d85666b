"""The codes of all training images: their shards described in one file, read without loading them."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from cca.data.encode import checksums
from cca.data.images import check_labels
from cca.errors import CCAError
from cca.files import below, read_npz, require, write_npz
from cca.settings import Settings
from cca.shards import Place, whole

AGAIN = "delete it and make it again"
PLACE = {"start": int, "total": int, "vocab_size": int, "num_classes": int, "made_of": str}
"""What a shard says of itself."""


class JoinSettings(Settings):
    """Nothing: the shards say it all."""


@dataclass(frozen=True)
class Shard:
    """Codes of some images, memory-mapped.

    Attributes:
        codes: (n, K, T) integers, values below the vocabulary's size.
        sums: (n, K) uint32, the CRC-32 of each crop's codes.
        place: ``start`` and ``total``, which images; ``vocab_size``, ``num_classes``; ``made_of``, the run.
    """

    path: Path
    codes: np.ndarray
    sums: np.ndarray
    labels: np.ndarray
    place: dict


@dataclass(frozen=True)
class Codes:
    """Codes of the N training images, K crops of each, T tokens.

    Attributes:
        shards: in the order of their images.
        labels: (N,) int64 below ``num_classes``.
    """

    shards: list[Shard]
    labels: np.ndarray
    vocab_size: int
    num_classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, K, T)."""
        return len(self.labels), *self.shards[0].codes.shape[1:]

    def select(self, image: np.ndarray, crop: np.ndarray) -> torch.Tensor:
        """Codes (B, T) int64 of the given images and crops; only these are read from the disk.

        Raises:
            CCAError: they are not what was written.
        """
        starts = np.array([shard.place["start"] for shard in self.shards])
        inside = np.searchsorted(starts, image, side="right") - 1
        picked = np.empty((len(image), self.shape[2]), np.int64)
        for number in np.unique(inside):
            shard, here = self.shards[number], np.flatnonzero(inside == number)
            rows, crops = image[here] - starts[number], crop[here]
            found = shard.codes[rows, crops]
            if (checksums(found) != shard.sums[rows, crops]).any():
                raise CCAError(f"{shard.path}: damaged: codes are not what was written; {AGAIN}")
            picked[here] = found
        return torch.from_numpy(picked)


def run(settings: JoinSettings, *, shards: Path, out: Path) -> dict:
    """Stage ``codes``: describe the shards in a folder, which stay where they are, in one file.

    Raises:
        CCAError: no shards, damaged ones, some missing, some of another run, or not below the
            folder of ``out``.
    """
    paths = sorted(shards.glob("shard_*.safetensors"))
    if not paths:
        raise CCAError(f"{shards}: no shard_*.safetensors here; make them with stage 'encode'")
    read = sorted((_read(path) for path in paths), key=lambda shard: shard.place["start"])
    common = {name: read[0].place[name] for name in read[0].place if name != "start"}
    for shard in read:
        if {name: shard.place[name] for name in common} != common:
            raise CCAError(
                f"{shard.path}: of another run than {read[0].path.name}: delete the old one and make it again"
            )
    places = [Place(shard.path, shard.place["start"], len(shard.codes), common["total"]) for shard in read]
    whole(shards, places, "images", "encode those shards again")
    used = np.zeros(common["vocab_size"], dtype=bool)
    for shard in read:
        if not (shard.codes.min() >= 0 and shard.codes.max() < common["vocab_size"]):
            raise CCAError(f"{shard.path}: a code is out of range 0..{common['vocab_size'] - 1}; {AGAIN}")
        used[np.unique(shard.codes)] = True
    names = [os.path.relpath(shard.path, out.parent) for shard in read]
    for name in names:
        below(out.parent, name)
    labels = np.concatenate([shard.labels for shard in read])
    check_labels(labels, common["num_classes"], shards)
    content = hashlib.sha256(b"".join(shard.sums.tobytes() for shard in read)).hexdigest()
    write_npz(
        out,
        labels=labels,
        shards=np.array(names),
        vocab_size=np.array(common["vocab_size"]),
        num_classes=np.array(common["num_classes"]),
        made_of=np.array(common["made_of"]),
        content=np.array(content),
    )
    return {"images": len(labels), "crops": read[0].codes.shape[1], "codebook_use": float(used.mean())}


def load(path: Path) -> Codes:
    """Open what `run` described; codes are read when they are selected.

    Raises:
        CCAError: a damaged file, labels out of range, or shards that are damaged, gone, or made again since.
    """
    arrays = read_npz(path, "labels", "shards", "vocab_size", "num_classes", "made_of", "content")
    labels, num_classes = arrays["labels"], int(arrays["num_classes"])
    check_labels(labels, num_classes, path)
    shards = [_read(below(path.parent, str(name))) for name in arrays["shards"].flat]
    content = hashlib.sha256(b"".join(shard.sums.tobytes() for shard in shards)).hexdigest()
    for shard in shards:
        if shard.place["made_of"] != str(arrays["made_of"]):
            raise CCAError(f"{shard.path}: made again since {path} was: delete {path.name} and make it again")
    if content != str(arrays["content"]) or sum(len(shard.codes) for shard in shards) != len(labels):
        raise CCAError(f"{path}: its shards are not those that it describes; {AGAIN}")
    return Codes(shards, labels, int(arrays["vocab_size"]), num_classes)


def _read(path: Path) -> Shard:
    """A shard, its codes left on the disk."""
    try:
        with safe_open(require(path), framework="pt") as archive:  # maps the file; framework "np" copies
            place = json.loads(archive.metadata()["cca"])
            codes, sums, labels = (archive.get_tensor(name).numpy() for name in ("codes", "sums", "labels"))
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise CCAError(f"{path}: damaged, half-written or no shard of codes ({reason}); {AGAIN}") from None
    if codes.ndim != 3 or sums.shape != codes.shape[:2] or labels.shape != codes.shape[:1]:
        raise CCAError(f"{path}: codes must be (images, crops, tokens) with a label each, not {codes.shape}")
    if not isinstance(place, dict) or any(type(place.get(name)) is not kind for name, kind in PLACE.items()):
        raise CCAError(f"{path}: its header does not say which codes these are: damaged; {AGAIN}")
    return Shard(path, codes, sums, labels, place)
