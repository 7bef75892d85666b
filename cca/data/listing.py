"""What is in a folder of image files: listed anew only where the folder has changed."""

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cca.files import cache_folder, read_json, write_json

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
SETTLED = 2  # seconds after its last change from which a folder's time of change can be trusted


class File(NamedTuple):
    """A file's name, its size in bytes, and its time of change in nanoseconds."""

    name: str
    size: int
    changed: int


def list_images(folder: Path) -> list[File]:
    """The image files right in a folder, in the order of their names; hidden ones are left out."""
    with os.scandir(folder) as entries:
        wanted = [
            e for e in entries if Path(e.name).suffix.lower() in SUFFIXES and not e.name.startswith(".")
        ]
        states = [(entry.name, entry.stat()) for entry in wanted]
    return sorted(File(name, state.st_size, state.st_mtime_ns) for name, state in states)


def list_folders(root: Path, folders: list[str]) -> dict[str, list[File]]:
    """`list_images` of several folders below ``root``, side by side: a network's file system answers late."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(folders, pool.map(lambda name: list_images(root / name), folders), strict=True))


def digest(files: list[File]) -> str:
    """SHA-256 over the files' names, sizes and times of change."""
    told = "".join(f"{file.name}\0{file.size}\0{file.changed}\0" for file in files)
    return hashlib.sha256(told.encode()).hexdigest()


def digests(root: Path, folders: list[str]) -> dict[str, str]:
    """The `digest` of each folder, from the user's cache where its own time of change is what it was.

    That is a look at each folder in place of one at each of a million files. A folder's time changes where
    files are added, removed, renamed or replaced, not where one is written over in place; so a reader
    of the files has to look at their sizes (`cca.data.files.FileImages` does).
    """
    key = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    cache = cache_folder("listings") / f"{key}.json"
    known = read_json(cache) if cache.is_file() else {}
    changed = {name: (root / name).stat().st_mtime_ns for name in folders}
    stale = [name for name in folders if known.get(name, [None])[0] != changed[name]]
    found = {name: digest(files) for name, files in list_folders(root, stale).items()}
    latest = time.time_ns() - SETTLED * 10**9
    settled = {name: [changed[name], found[name]] for name in stale if changed[name] < latest}
    if settled:
        with suppress(OSError):  # a cache that cannot be written is none
            write_json(cache, known | settled)
    return {name: found.get(name) or known[name][1] for name in folders}
