"""Fetching a file: resumed where it broke off, verified, and there as a whole or not at all."""

import hashlib
import re
import time
from pathlib import Path
from typing import Annotated

import requests
from pydantic import AfterValidator
from tqdm import tqdm

from cca.errors import CCAError
from cca.files import sha256
from cca.files.checksums import Sha256, known, remember
from cca.files.locks import exclusive
from cca.settings import Settings

CHUNK = 2**16  # bytes; what has come of one is lost when the connection breaks
TIMEOUT = 60  # seconds without an answer
TRIES = 4  # of a connection that breaks or a server that is busy
PAUSE = 1  # seconds before the second try; twice as long before each later one


def https(url: str) -> str:
    """Return ``url``, or raise a `ValueError`, as a validator should."""
    if not url.startswith("https://"):
        raise ValueError("only https URLs are fetched; get the file yourself and give its path")
    return url


Url = Annotated[str, AfterValidator(https)]


class FetchSettings(Settings):
    """A file of the web, and its checksum where that is known."""

    url: Url
    sha256: Sha256 | None = None


def run(settings: FetchSettings, *, out: Path) -> dict:
    """Stage ``fetch``: the file of a URL.

    A checksum that is not given is recorded at first use, beside ``out``, and holds from then on.

    Raises:
        CCAError: the file cannot be had, or is not the one that it was.
    """
    checksum = download(settings.url, out, settings.sha256 or known(out).get(settings.url))
    remember(out, settings.url, checksum)
    return {"sha256": checksum}


def download(url: str, out: Path, expected: str | None = None) -> str:
    """Write the content of ``url`` to ``out`` if its SHA-256 is ``expected``, and return that.

    What had come when a call broke off, killed or not, lies in a hidden file beside ``out``; the next call
    fetches the rest if the server still has the same file there. Calls side by side fetch a file once.

    Raises:
        CCAError: the server does not answer, refuses, breaks off, or has another file.
    """
    with exclusive(out.with_name(f"{out.name}.part"), wait=True):
        if expected and out.is_file() and sha256(out) == expected:
            return expected
        return _download(url, out, expected)


def _download(url: str, out: Path, expected: str | None) -> str:
    for attempt in range(1, TRIES + 1):
        try:
            part = _fetch(url, out)
            break
        except requests.RequestException as error:
            if isinstance(error, requests.HTTPError) and not _is_busy(error.response):
                answer = f"{error.response.status_code} {error.response.reason}"
                raise CCAError(f"{url}: the server answers {answer}; check the URL") from None
            if attempt == TRIES:
                raise CCAError(
                    f"{url}: not fetched ({_reason(error)}); the same command goes on from there"
                ) from None
            time.sleep(PAUSE * 2 ** (attempt - 1))
    found = sha256(part)
    if expected not in (None, found):
        part.unlink()
        raise CCAError(
            f"{url}: its SHA-256 is {found}, not {expected}: another file than was wanted; if it is "
            "the right one, correct or add the key 'sha256'"
        )
    part.replace(out)
    return found


def _fetch(url: str, out: Path) -> Path:
    """The whole content in a hidden file that is named after the server's version of it."""
    with _get(url) as response:
        length = response.headers.get("Content-Length")
        version = [url, length, *(response.headers.get(name) for name in ("ETag", "Last-Modified"))]
        name = hashlib.sha256(repr(version).encode()).hexdigest()[:16]
        part = out.with_name(f".{out.name}.{name}.part")
        for other in set(out.parent.glob(f".{out.name}.*.part")) - {part}:
            other.unlink()
        there = part.stat().st_size if part.exists() and length is not None else 0
        if not there:
            _append(response, part, 0)
    if length is not None and 0 < there < int(length):
        with _get(url, Range=f"bytes={there}-") as response:
            _append(response, part, there if response.status_code == requests.codes.partial_content else 0)
    if length is not None and (size := part.stat().st_size) != int(length):
        part.unlink()
        raise requests.ConnectionError(f"{size} bytes came of {length}")
    return part


def _reason(error: requests.RequestException) -> str:
    """What broke, without the chain of calls that urllib3 tells first."""
    inner: Exception = error
    while deeper := [e for e in (getattr(inner, "reason", None), *inner.args) if isinstance(e, Exception)]:
        inner = deeper[0]
    words = [word for word in inner.args if isinstance(word, str)] or [str(inner)]
    return re.sub(r"^HTTPS?Connection\w*\(.*?\): ", "", " ".join(words[-1].split()))


def _is_busy(response: requests.Response) -> bool:
    """Whether a refusal may pass: too many requests, or the server's own trouble."""
    return response.status_code == requests.codes.too_many_requests or response.status_code >= 500


def _get(url: str, **headers: str) -> requests.Response:
    response = requests.get(
        url, headers={"Accept-Encoding": "identity", **headers}, stream=True, timeout=TIMEOUT
    )
    response.raise_for_status()
    return response


def _append(response: requests.Response, part: Path, start: int) -> None:
    """Write the body of a response into a file from byte ``start`` on."""
    total = start + int(response.headers.get("Content-Length", 0)) or None
    with (
        part.open("ab" if start else "wb") as stream,
        tqdm(desc="fetching", total=total, initial=start, unit="B", unit_scale=True) as progress,
    ):
        for chunk in response.iter_content(CHUNK):
            stream.write(chunk)
            progress.update(len(chunk))
