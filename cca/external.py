"""Other systems: files of their samples, measured as this project's own."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from cca.files.checksums import Sha256
from cca.files.fetch import FetchSettings, https
from cca.settings import Settings


def _path_or_url(file: str) -> str:
    """A folder's time of change does not tell that a file in it was written over, so it must be one file."""
    if "://" in file:
        return https(file)
    if not file.endswith(".npz"):
        raise ValueError("a path must name one .npz file; save a folder's images as arr_0 of one")
    return file


class External(Settings):
    """A system, by the samples that its authors publish."""

    file: Annotated[str, AfterValidator(_path_or_url)] = Field(
        min_length=1,
        description="path of an .npz, in which {results} is the tier's results, or https URL",
    )
    sha256: Sha256 | None = Field(default=None, description="of the file; a URL's is recorded at first use")
    model: str = Field(min_length=1, description="its name in tables")
    type: str = Field(min_length=1, description="what kind of model it is, a column of table 2")
    parameters: int | None = Field(default=None, ge=1)
    guidance: bool = Field(description="whether the samples were drawn with guidance")
    reported: str | None = Field(
        default=None, description="the model of the reported row that it stands beside"
    )

    @property
    def download(self) -> FetchSettings | None:
        """What must be fetched, if anything."""
        return FetchSettings(url=self.file, sha256=self.sha256) if "://" in self.file else None

    def path(self, results: Path) -> str:
        """Where the file is: a path, or its URL."""
        return self.file.replace("{results}", str(results))
