"""A small valid file for the loaders of what may come from others, and how each reads it.

What a run writes for itself, as its metrics, logs and tables, is read as JSON or CSV and not among them.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import yaml
from PIL import Image

from cca import checkpoints, imports, models, tokenizers
from cca.config import load_tier
from cca.data import codes, encode, images
from cca.data.codes import JoinSettings
from cca.data.encode import CodesSettings
from cca.data.files import FileImages
from cca.evaluate.classifier import Classifier, ClassifierArchitecture, load_classifier
from cca.evaluate.fidelity import plain
from cca.evaluate.samples import Features, read_side, write_features
from cca.evaluate.verify import lookup
from cca.files import checksums, pictures, write_json, write_npz
from cca.records.provenance import read_record, record_path, recorded
from cca.report.claims.definitions import load as load_claims
from cca.rng import generator, seed_torch
from cca.runner import parse
from cca.settings import Settings
from cca.stages import pairs, score
from cca.stages.pairs import PairsSettings

REPOSITORY = Path(__file__).parents[2]
SIZES = {"image_size": 8, "channels": 1, "base_channels": 4, "blocks": 1, "norm_groups": 2}
VQ = {**SIZES, "channel_multipliers": [1, 1], "z_channels": 4, "codebook_size": 12, "codebook_dim": 4}
SCALES = {
    **SIZES,
    "channel_multipliers": [1, 1],
    "z_channels": 4,
    "codebook_size": 12,
    "patch_sizes": [1, 2, 4],
}
LLAMAGEN = {"dim": 16, "layers": 2, "heads": 2, "multiple_of": 16}
VAR = {"depth": 2, "dim": 16, "heads": 2}
PICTURES = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp", "WEBP": ".webp", "TIFF": ".tif", "PPM": ".ppm"}


@dataclass(frozen=True)
class Entry:
    """A valid file, and a function that reads it whole as a command would."""

    name: str
    path: Path
    read: Callable[[Path], object]


def make(folder: Path) -> list[Entry]:
    """Write the files of the corpus; all of them can be read.

    Beside the folder lie ``escaped`` files, as good as those inside, which no loader may be led to.
    """
    rng = generator("corpus")
    pixels = rng.integers(256, size=(12, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(12) % 3
    write_npz(
        folder / "images.npz",
        **{f"train_{name}": array[:9] for name, array in (("images", pixels), ("labels", labels))},
        **{f"heldout_{name}": array[9:] for name, array in (("images", pixels), ("labels", labels))},
        class_names=np.array(["a", "b", "c"]),
    )
    entries = [
        Entry("images", folder / "images.npz", read_images),
        *_networks(folder),
        *_evaluation(folder, np.repeat(pixels, 3, axis=3)),
        *_texts(folder),
    ]
    entries += [*_finetuning(folder), _listed(folder, labels)]
    shutil.copyfile(folder / "shards/shard_0.safetensors", folder.with_name("escaped.safetensors"))
    shutil.copyfile(folder / "picture.png", folder.with_name("escaped.png"))
    for entry in entries:
        entry.read(entry.path)
    return entries


def _listed(folder: Path, labels: np.ndarray) -> Entry:
    """Images that stay in their files."""
    size = (folder / "picture.png").stat().st_size
    arrays = {
        "root": np.array(str(folder)),
        "shape": np.array([8, 8, 3]),
        "class_names": np.array(["a", "b", "c"]),
    }
    for part, count in (("train", 9), ("heldout", 3)):
        names = np.array([b"picture.png"] * count)
        arrays |= {f"{part}_files": names, f"{part}_sizes": np.full(count, size)}
        arrays[f"{part}_labels"] = labels[:count]
    write_npz(folder / "listed.npz", **arrays)
    return Entry("images", folder / "listed.npz", read_images)


def read_images(path: Path) -> None:
    """Both splits; what is in files is decoded."""
    data = images.load(path)
    for split in (data.train_images, data.heldout_images):
        if isinstance(split, FileImages):
            split[:]


def _networks(folder: Path) -> list[Entry]:
    seed_torch("corpus")
    entries = []
    for kind, sizes, family, architecture in (
        ("vq", VQ, "llamagen", LLAMAGEN),
        ("multiscale", SCALES, "var", VAR),
    ):
        tokenizer = tokenizers.build(kind, sizes)
        tokenizers.save(folder / f"{kind}.safetensors", tokenizer, kind, sizes)
        model = models.build(family, architecture, tokenizer, num_classes=3)
        models.save(folder / f"{family}.safetensors", model, tokenizer, family, architecture)
        load_model = partial(models.load, tokenizer=tokenizer)
        entries += [
            Entry("tokenizer", folder / f"{kind}.safetensors", tokenizers.load),
            Entry("model", folder / f"{family}.safetensors", load_model),
        ]
        torch.save({"model": model.state_dict()}, folder / f"{family}.pt")
        read_official = partial(imports.read, family=family, module=model)
        entries.append(Entry("official weights", folder / f"{family}.pt", read_official))
    classifier = Classifier(
        ClassifierArchitecture(widths=[4, 4], features=4, pool_size=2), 8, 1, num_classes=3
    )
    classifier.save(folder / "classifier.safetensors")
    state = classifier.state_dict()
    torch.save(state, folder / "weights.pth")
    torch.save(state, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    progress = {"key": "k", "done": 3, "parts": {"model": state, "rng": {"cpu": torch.get_rng_state()}}}
    torch.save(progress, folder / "model.progress.pt")
    return [
        *entries,
        Entry("classifier", folder / "classifier.safetensors", load_classifier),
        Entry("torch weights", folder / "weights.pth", plain),
        Entry("torch weights", folder / "legacy.pth", plain),
        Entry("torch progress", folder / "model.progress.pt", checkpoints.read_torch),
    ]


def _finetuning(folder: Path) -> list[Entry]:
    """Codes, pairs of them, and scores of these, made by their stages."""
    made = {name: folder / f"{name}.npz" for name in ("codes", "pairs", "scores")}
    tokenizer, base = folder / "vq.safetensors", folder / "llamagen.safetensors"
    shard = folder / "shards/shard_0.safetensors"
    encode.run(CodesSettings(crops=2), images=folder / "images.npz", tokenizer=tokenizer, out=shard)
    codes.run(JoinSettings(), shards=shard.parent, out=made["codes"])
    pairs.run(PairsSettings(), codes=made["codes"], out=made["pairs"], seed=0)
    given = {"base": base, "codes": made["codes"], "pairs": made["pairs"], "fakes": None}
    score.run(score.ScoreSettings(), **given, tokenizer=tokenizer, out=made["scores"], seed=0)
    return [
        Entry("codes", made["codes"], partial(read_codes, shards=shard.parent)),
        Entry("shard of codes", shard, partial(read_shard, beside=made["codes"].read_bytes())),
        Entry("pairs", made["pairs"], partial(pairs.load, codes=codes.load(made["codes"]))),
        Entry("scores", made["scores"], partial(score.load, **given)),
    ]


def read_codes(path: Path, shards: Path) -> None:
    """The file that describes codes, with its shards beside it."""
    if path.parent == shards.parent:
        codes.load(path)
        return
    beside = path.parent / shards.name
    beside.symlink_to(shards)
    try:
        codes.load(path)
    finally:
        beside.unlink()


def read_shard(path: Path, beside: bytes) -> None:
    """A shard of codes through the file that describes it, every code selected."""
    with TemporaryDirectory() as folder:
        described = Path(folder, "codes.npz")
        described.write_bytes(beside)
        Path(folder, "shards").mkdir()
        shutil.copyfile(path, Path(folder, "shards/shard_0.safetensors"))
        read = codes.load(described)
        images, crops, _ = read.shape
        read.select(np.arange(images), np.full(images, crops - 1))


def _evaluation(folder: Path, rgb: np.ndarray) -> list[Entry]:
    rng = generator("corpus", "features")
    np.savez(folder / "samples.npz", rgb, np.arange(len(rgb)))
    mu, sigma = np.zeros(3), np.eye(3)
    write_npz(
        folder / "reference.npz", arr_0=rgb, mu=mu, sigma=sigma, mu_s=mu, sigma_s=sigma, count=np.array(12)
    )
    features = Features(rng.normal(size=(6, 3)), rng.normal(size=(6, 4)), rng.normal(size=(6, 2)), np.ones(3))
    write_features(folder / "features.npz", features, "name checksum", np.arange(6))
    names = ("samples", "reference", "features")
    entries = [Entry("samples", folder / f"{name}.npz", read_samples) for name in names]
    for kind, suffix in PICTURES.items():
        path = folder / f"picture{suffix}"
        Image.fromarray(np.tile(rgb[0], (3, 3, 1))).save(path, kind)
        entries.append(Entry("picture", path, read_picture))
    return entries


def read_samples(path: Path) -> None:
    """One side of a comparison, with all its images."""
    side = read_side(path)
    for _ in side.images.batches(5) if side.images else ():
        pass


def read_picture(path: Path) -> None:
    """An image file as the sources and the evaluator decode it."""
    with pictures.opened(path) as image:
        pictures.decoded(image, path, "RGB")


class Some(Settings):
    """Settings of a stage that left a record."""

    seed: int = 0


def _texts(folder: Path) -> list[Entry]:
    with recorded("stage", "cca.rng", Some(), {"images": [folder / "images.npz"]}, folder / "made.json"):
        write_json(folder / "made.json", {"fid": 1.5})
    checksums.remember(folder / "weights.pth", "https://a.b/weights.pth", "0" * 64)
    config = REPOSITORY / "workflow/config/smoke.yaml"
    (folder / "workflow/config").mkdir(parents=True)
    (folder / "workflow/resources").mkdir()
    (folder / "workflow/resources/reported").symlink_to(REPOSITORY / "workflow/resources/reported")
    (folder / "workflow/config/smoke.yaml").write_text(config.read_text())
    settings = yaml.safe_load(config.read_text())["models"]["llamagen-s"]["pretraining"]
    (folder / "pretrain.yaml").write_text(yaml.safe_dump(settings))
    given = {"claims": "workflow/resources/claims.yaml", "published": "cca/evaluate/published.yaml"}
    for name, path in given.items():
        (folder / f"{name}.yaml").write_text((REPOSITORY / path).read_text())
    published = next(iter(yaml.safe_load((folder / "published.yaml").read_text())))
    return [
        Entry("record", record_path(folder / "made.json"), read_record),
        Entry("checksums", folder / "weights.checksums.json", read_checksums),
        Entry("settings", folder / "pretrain.yaml", read_settings),
        Entry("tier", folder / "workflow/config/smoke.yaml", lambda path: load_tier(path.stem, path.parent)),
        Entry("claims", folder / "claims.yaml", load_claims),
        Entry("published figures", folder / "published.yaml", partial(lookup, name=published)),
    ]


def read_checksums(path: Path) -> object:
    """What was recorded beside a file."""
    return checksums.known(path.with_name(path.name.replace(".checksums.json", ".pth")))


def read_settings(path: Path) -> object:
    """The settings of a stage as a file."""
    return parse("cca.stages.pretrain", "PretrainSettings", str(path))
