"""Stage ``import model``: a model of official weights, finetuned or not, as a checkpoint of ours."""

from pathlib import Path

from pydantic import Field, model_validator

from cca import imports, models, plugins, tokenizers
from cca.device import shapes_only
from cca.files.checksums import Sha256, held
from cca.settings import Settings, as_value_error


class ImportedModelSettings(Settings):
    """The model that the file should hold."""

    family: str = Field(description="a module of cca.models")
    architecture: dict = Field(description="sizes of that family")
    num_classes: int = Field(default=1000, ge=1, description="of the file; ImageNet's are 1000")
    sha256: Sha256 | None = Field(default=None, description="of the file; recorded at first use")

    @model_validator(mode="after")
    def _sizes_are_possible(self) -> "ImportedModelSettings":
        with as_value_error():
            plugins.configure("cca.models", self.family, "Architecture", self.architecture)
        return self


def run(settings: ImportedModelSettings, *, checkpoint: Path, tokenizer: Path, out: Path) -> dict:
    """Write what `cca.imports.read` finds, as a model over the codes of ``tokenizer``.

    Raises:
        CCAError: as `cca.imports.read`; another file than is wanted or than was imported before.
    """
    with held(checkpoint, out, settings.sha256) as checksum:
        coder = tokenizers.load(tokenizer)
        with shapes_only():
            model = models.build(settings.family, settings.architecture, coder, settings.num_classes)
        model.load_state_dict(imports.read(checkpoint, settings.family, model), assign=True)
        models.save(out, model, coder, settings.family, settings.architecture)
    return {"parameters": sum(p.numel() for p in model.parameters()), "sha256": checksum}
