"""Stage ``download``: a file of a repository on the Hugging Face Hub."""

import re
from pathlib import Path

from huggingface_hub import get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
from pydantic import Field

from cca.errors import CCAError
from cca.files.checksums import Sha256, known, remember
from cca.files.fetch import download
from cca.settings import Settings

NAME = r"[\w.-]*\w[\w.-]*"


class HubFile(Settings):
    """A file on the Hub."""

    hub: str = Field(pattern=rf"^{NAME}/{NAME}$", description="repository, as owner/name")
    file: str = Field(pattern=rf"^({NAME}/)*{NAME}$", description="its path in the repository")
    revision: str = Field(default="main", pattern=rf"^{NAME}$", description="branch, tag or commit")
    sha256: Sha256 | None = Field(default=None, description="of the file; recorded at first use")


def run(settings: HubFile, *, out: Path) -> dict:
    """Download the file as `cca.files.fetch.download` does: resumed, and there as a whole or not at all.

    Its SHA-256 must be the one that is given; without, the one recorded at first use; at first use, the one
    that the Hub publishes.

    Raises:
        CCAError: the Hub cannot be reached, has no such file, or has another one.
    """
    name = f"{settings.hub}/{settings.file}@{settings.revision}"
    try:
        hub = get_hf_file_metadata(hf_hub_url(settings.hub, settings.file, revision=settings.revision))
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError):
        raise CCAError(f"{name}: not on the Hub; check 'hub', 'file' and 'revision'") from None
    except Exception as error:  # of the HTTP library that the Hub's client uses, one or another
        reason = " ".join((str(error) or type(error).__name__).split())
        raise CCAError(
            f"{name}: the Hub does not answer ({reason}); try again, or put the file at {out}"
        ) from None
    published = hub.etag if re.fullmatch("[0-9a-f]{64}", hub.etag or "") else None
    wanted = settings.sha256 or known(out).get(name)
    if wanted and published not in (None, wanted):
        raise CCAError(
            f"{name}: the Hub's file has SHA-256 {published}, not {wanted} as before or as the key 'sha256' "
            "says; give the 'revision' that is wanted, or correct the key"
        )
    url = hf_hub_url(settings.hub, settings.file, revision=hub.commit_hash or settings.revision)
    checksum = download(url, out, wanted or published)
    remember(out, name, checksum)
    return {"sha256": checksum, "commit": hub.commit_hash}
