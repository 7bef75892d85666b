"""Downloading a published file: resumed where it broke off, checked, there whole or not at all."""

import hashlib
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tqdm import tqdm

from cca.errors import CCAError

CHUNK = 2**20


def download(url: str, path: Path, md5: str) -> None:
    """Bring a file to ``path``, unless it is there. What has come of it lies in ``<path>.part`` meanwhile.

    Raises:
        CCAError: no answer, a connection that broke off (the same call goes on from there), or a
            checksum that is not ``md5``.
    """
    if path.is_file():
        return
    part = path.with_name(f"{path.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        _append(url, part)
    except (OSError, HTTPException) as error:
        kept = part.stat().st_size if part.is_file() else 0
        raise CCAError(f"{url}: download stopped after {kept} bytes ({error}); run again to resume") from None
    if (found := checksum(part)) != md5:
        part.unlink()
        raise CCAError(f"{url}: its MD5 is {found}, not the published {md5}; run again to download it anew")
    part.replace(path)


def checksum(path: Path) -> str:
    """Hexadecimal MD5 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


def _append(url: str, part: Path) -> None:
    """Append what is missing of ``part``; all of it where the server cannot start in the middle."""
    have = part.stat().st_size if part.is_file() else 0
    try:
        answer = urlopen(Request(url, headers={"Range": f"bytes={have}-"} if have else {}), timeout=60)
    except HTTPError as error:
        if have and error.code == 416:  # nothing is missing
            return
        raise
    with answer:
        resumed = answer.status == 206
        have = have if resumed else 0
        total = have + int(answer.headers.get("Content-Length", 0))
        with (
            part.open("ab" if resumed else "wb") as stream,
            tqdm(desc=part.stem, total=total, initial=have, unit="B", unit_scale=True) as bar,
        ):
            while chunk := answer.read(CHUNK):
                stream.write(chunk)
                bar.update(len(chunk))
            if stream.tell() < total:
                raise OSError(f"of {total}: the connection was closed")
