"""What is done to valid files: damage of bytes, headers that lie, pickles, bombs, paths that leave."""

import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

NUMBERS = [
    "0",
    "-1",
    "1",
    "7",
    "255",
    "65536",
    "99999999",
    "2147483648",
    "9223372036854775808",
    "1" + "0" * 40,
]
WORDS = ["null", "true", '""', "[]", "{}", ".nan", "1e400", '"../../x"', "x", "[[1]]"]
NAMES = ["..", "a/b", "x" * 300, "arr_0", "mu"]
LISTS = ("shards", "train_files", "heldout_files")
"""Arrays of an archive that name the files which its loader follows."""
MIB = 2**20

Mutation = Callable[[bytes, Random, Path], bytes]


class Payload:
    """What a pickle would run, where one is executed: the canary's file appears."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self) -> tuple:
        return Path.touch, (self.canary,)


def truncated(data: bytes, rng: Random, canary: Path) -> bytes:
    """The first part of a file."""
    return data[: rng.randrange(len(data))]


def flipped(data: bytes, rng: Random, canary: Path) -> bytes:
    """Some bits turned round."""
    spoiled = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        spoiled[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(spoiled)


def overwritten(data: bytes, rng: Random, canary: Path) -> bytes:
    """A part overwritten, doubled, cut out, or noise put in."""
    start, length = rng.randrange(len(data)), rng.choice([1, 4, 8, 64, 1000])
    part = data[start : start + length]
    noise = rng.choice([rng.randbytes(len(part)), bytes(len(part)), b"\xff" * len(part)])
    return data[:start] + rng.choice([noise, part + part, b"", part + noise]) + data[start + length :]


def numbers(data: bytes, rng: Random, canary: Path) -> bytes:
    """Numbers in the text of a file, or of a header, that mean something else."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data[: 2**16]))
    for match in sorted(rng.sample(found, min(len(found), rng.choice([1, 1, 3]))), key=lambda m: -m.start()):
        data = data[: match.start()] + rng.choice(NUMBERS + WORDS).encode() + data[match.end() :]
    return data


def pickled(data: bytes, rng: Random, canary: Path) -> bytes:
    """A pickle in place of the file, or inside of it, that runs something where it is loaded."""
    payload = pickle.dumps(Payload(canary), protocol=rng.choice([0, 2, 4]))
    if not zipfile.is_zipfile(io.BytesIO(data)):
        tag = f"a: !!python/object/apply:os.system ['touch {canary}']\n".encode()
        return rng.choice([payload, payload + data, data + payload, tag, data + tag])
    text = b"{'descr': '|O', 'fortran_order': False, 'shape': ()}\n"
    array = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + payload
    return _repacked(data, rng, lambda content: rng.choice([payload, array]))


def header(data: bytes, rng: Random, canary: Path) -> bytes:
    """A checkpoint's header, or a member of an archive with its checksum, that says something else."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        damage = rng.choice([numbers, flipped, overwritten, truncated])
        return _repacked(data, rng, lambda content: damage(content, rng, canary) if content else content)
    length = int.from_bytes(data[:8], "little")
    try:
        values = json.loads(data[8 : 8 + length])
    except ValueError:
        return numbers(data, rng, canary)
    damage = rng.choice([numbers, numbers, flipped, overwritten])
    if rng.random() < 0.7:
        inner = values.get("__metadata__", {}).get("cca", "{}").encode()
        values["__metadata__"] = {"cca": damage(inner, rng, canary).decode(errors="replace")}
        text = json.dumps(values).encode()
    else:
        text = damage(data[8 : 8 + length], rng, canary)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def bomb(data: bytes, rng: Random, canary: Path) -> bytes:
    """Something small that is said to be, or unpacks to be, large."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return data[:16] + rng.choice([2**15, 2**20, 2**31 - 1]).to_bytes(4, "big") * 2 + data[24:]
    if zipfile.is_zipfile(io.BytesIO(data)):
        return _repacked(data, rng, lambda content: content[:200] + bytes(8 * MIB), zipfile.ZIP_DEFLATED)
    if b"\x00" in data[:16]:
        return rng.choice([2**20, 2**31, 2**63, 2**64 - 1]).to_bytes(8, "little") + data[8:]
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 12))
    return rng.choice([b"[" * 100_000, b'{"a":' * 50_000, f"l0: &l0 [x]\n{levels}".encode(), b"a: &a [*a]"])


def renamed(data: bytes, rng: Random, canary: Path) -> bytes:
    """Names that are paths, and that lead out of a folder."""
    name = rng.choice(["../escaped", str(canary.with_name("escaped")), *NAMES])
    if zipfile.is_zipfile(io.BytesIO(data)):
        return _repacked(data, rng, lambda content: content, name=name)
    found = list(re.finditer(rb"[\w.+-]{2,}(?=\"?: )", data))
    if not found:
        return overwritten(data, rng, canary)
    match = rng.choice(found)
    return data[: match.start()] + json.dumps(name).encode() + data[match.end() :]


def outside(data: bytes, rng: Random, canary: Path) -> bytes:
    """A list of files, one of which is a valid one outside of its folder (`corpus.make` lays it there)."""
    if not (names := lists(data)):
        return renamed(data, rng, canary)
    with np.load(io.BytesIO(data)) as archive:
        arrays = dict(archive)
    name = rng.choice(names)
    listed = arrays[name].astype("U").tolist()
    place = rng.randrange(len(listed))
    escaped = f"escaped{Path(listed[place]).suffix}"
    listed[place] = rng.choice([f"../{escaped}", str(canary.with_name(escaped))])
    arrays[name] = np.array(listed, dtype=arrays[name].dtype.kind)
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def lists(data: bytes) -> list[str]:
    """The lists of files in an archive."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return []
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [name for name in LISTS if f"{name}.npy" in archive.namelist()]


def _repacked(
    data: bytes,
    rng: Random,
    change: Callable[[bytes], bytes],
    method: int = zipfile.ZIP_STORED,
    name: str | None = None,
) -> bytes:
    """An archive with one member changed, its checksums right; or, sometimes, its table of contents not."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        chosen = rng.choice(old.infolist())
        for info in old.infolist():
            content, kept = old.read(info), info.compress_type
            if info is chosen:
                content, kept = change(content), method
            new.writestr(name if name and info is chosen else info.filename, content, kept)
    packed = bytearray(stream.getvalue())
    if rng.random() < 0.3 and (place := packed.rfind(b"PK\x01\x02")) >= 0:
        field = rng.choice([20, 24, 42])  # compressed size, size, place of the member
        packed[place + field : place + field + 4] = rng.choice([0, 2**20, 2**31, 2**32 - 1]).to_bytes(
            4, "little"
        )
    return bytes(packed)


MUTATIONS: list[Mutation] = [
    truncated,
    flipped,
    overwritten,
    numbers,
    pickled,
    header,
    header,
    bomb,
    renamed,
    outside,
]
