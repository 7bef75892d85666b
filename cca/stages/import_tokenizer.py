"""Stage ``import tokenizer``: a tokenizer of official weights as a checkpoint of ours."""

from pathlib import Path

from pydantic import Field, model_validator

from cca import imports, plugins, tokenizers
from cca.device import shapes_only
from cca.files.checksums import Sha256, held
from cca.settings import Settings, as_value_error


class ImportedTokenizerSettings(Settings):
    """The tokenizer that the file should hold."""

    kind: str = Field(description="a module of cca.tokenizers")
    architecture: dict = Field(description="sizes of that kind")
    sha256: Sha256 | None = Field(default=None, description="of the file; recorded at first use")

    @model_validator(mode="after")
    def _sizes_are_possible(self) -> "ImportedTokenizerSettings":
        with as_value_error():
            plugins.configure("cca.tokenizers", self.kind, "Architecture", self.architecture)
        return self


def run(settings: ImportedTokenizerSettings, *, checkpoint: Path, out: Path) -> dict:
    """Write what `cca.imports.read` finds.

    Raises:
        CCAError: as `cca.imports.read`; another file than is wanted or than was imported before.
    """
    with held(checkpoint, out, settings.sha256) as checksum:
        with shapes_only():
            tokenizer = tokenizers.build(settings.kind, settings.architecture)
        state = imports.read(checkpoint, settings.kind, tokenizer)
        tokenizer.load_state_dict(state, assign=True)
        tokenizers.save(out, tokenizer, settings.kind, settings.architecture)
    return {"parameters": sum(p.numel() for p in tokenizer.parameters()), "sha256": checksum}
