"""Entries of a tier's tokenizers, models and finetunes: each is trained by the DAG or imported."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from cca.data.encode import CodesSettings
from cca.files.checksums import Sha256
from cca.objectives import Objective
from cca.settings import Settings
from cca.stages.download import HubFile
from cca.stages.finetune import Finetuning
from cca.stages.import_model import ImportedModelSettings
from cca.stages.import_tokenizer import ImportedTokenizerSettings
from cca.stages.pairs import PairsSettings
from cca.stages.pretrain import PretrainSettings
from cca.stages.sampling import SamplingSettings
from cca.stages.train_tokenizer import TokenizerSettings

CHECKPOINTS = Path("checkpoints")
"""Where files of weights that others made are kept, for all tiers."""


class Checkpoint(Settings):
    """A file of official weights: on the Hugging Face Hub, or here."""

    hub: str | None = Field(default=None, description="repository on the Hub, as owner/name")
    file: str | None = Field(default=None, description="path of the file in that repository")
    revision: str = Field(default="main", description="branch, tag or commit of that repository")
    path: Path | None = Field(default=None, description="a file that is here, in place of the Hub's")
    sha256: Sha256 | None = Field(default=None, description="of the file; recorded at first use")

    @model_validator(mode="after")
    def _is_one_file(self) -> "Checkpoint":
        if (self.path is None) == (self.hub is None) or (self.hub is None) != (self.file is None):
            raise ValueError("a checkpoint is either 'hub' with 'file', or 'path'")
        _ = self.download  # whose schema checks the spelling
        return self

    @property
    def download(self) -> HubFile | None:
        """What must be downloaded, if anything."""
        return HubFile(**self.model_dump(include=set(HubFile.model_fields))) if self.hub else None

    @property
    def place(self) -> Path:
        """Where the file is, once it is downloaded."""
        return self.path or Path(CHECKPOINTS, *map(str, (self.hub, self.revision, self.file)))


class _Tokenizer(Settings):
    """What every tokenizer of a tier has beside what makes it."""

    codes: CodesSettings


class TrainedTokenizer(TokenizerSettings, _Tokenizer):
    """A tokenizer that the DAG trains."""

    imported: ClassVar[bool] = False

    @property
    def making(self) -> TokenizerSettings:
        """Settings of stage ``tokenizer``."""
        return TokenizerSettings.model_validate(self.model_dump(include=set(TokenizerSettings.model_fields)))


class ImportedTokenizer(_Tokenizer):
    """A tokenizer of official weights."""

    imported: ClassVar[bool] = True

    kind: str = Field(description="a module of cca.tokenizers")
    architecture: dict = Field(description="sizes of that kind")
    checkpoint: Checkpoint

    @property
    def making(self) -> ImportedTokenizerSettings:
        """Settings of stage ``import tokenizer``."""
        return ImportedTokenizerSettings(
            kind=self.kind, architecture=self.architecture, sha256=self.checkpoint.sha256
        )


class _Model(Settings):
    """What every model of a tier has beside what makes it."""

    title: str = Field(description="its name in tables and figures")
    tokenizer: str
    pairs: PairsSettings
    finetuning: Finetuning
    sampling: SamplingSettings

    @model_validator(mode="after")
    def _scale_is_the_experiments(self) -> "_Model":
        if self.sampling.guidance.scale != 0:
            raise ValueError(
                "sampling.guidance.scale is set by the experiments of tables and figures, not here"
            )
        return self


class TrainedModel(_Model):
    """A model that the DAG pretrains."""

    imported: ClassVar[bool] = False

    pretraining: PretrainSettings

    @property
    def making(self) -> PretrainSettings:
        """Settings of stage ``pretrain``."""
        return self.pretraining


class ModelCheckpoint(Checkpoint):
    """A file of a model's weights, and the model that it should hold."""

    family: str = Field(description="a module of cca.models")
    architecture: dict = Field(description="sizes of that family")
    num_classes: int = Field(default=1000, ge=1, description="of the file; ImageNet's are 1000")


class ImportedModel(_Model):
    """A model of official weights."""

    imported: ClassVar[bool] = True

    checkpoint: ModelCheckpoint

    @property
    def making(self) -> ImportedModelSettings:
        """Settings of stage ``import model``."""
        return self.holding(self.checkpoint)

    def holding(self, checkpoint: Checkpoint) -> ImportedModelSettings:
        """The same of another file, of a model of these sizes that was finetuned elsewhere."""
        sizes = self.checkpoint.model_dump(include={"family", "architecture", "num_classes"})
        return ImportedModelSettings(**sizes, sha256=checkpoint.sha256)


class TrainedFinetune(Settings):
    """An objective, and the pairs that it is given where these are not the model's own."""

    imported: ClassVar[bool] = False

    objective: Objective
    mask_rate: float | None = Field(
        default=None, ge=0, le=1, description="in place of the model's pairs.mask_rate"
    )


class ImportedFinetune(Settings):
    """Models that were finetuned elsewhere, by the objective said."""

    imported: ClassVar[bool] = True

    objective: Objective
    checkpoints: dict[str, Checkpoint] = Field(min_length=1, description="a file for each model")


def _choose(trained: type[Settings], imported: type[Settings], key: str, values: Any) -> Settings:
    """The section as ``imported`` if it has the ``key`` that only this has, else as ``trained``."""
    if isinstance(values, Settings):
        return values
    return (imported if isinstance(values, dict) and key in values else trained).model_validate(values)


TokenizerEntry = Annotated[
    TrainedTokenizer | ImportedTokenizer,
    BeforeValidator(partial(_choose, TrainedTokenizer, ImportedTokenizer, "checkpoint")),
]
ModelEntry = Annotated[
    TrainedModel | ImportedModel,
    BeforeValidator(partial(_choose, TrainedModel, ImportedModel, "checkpoint")),
]
FinetuneEntry = Annotated[
    TrainedFinetune | ImportedFinetune,
    BeforeValidator(partial(_choose, TrainedFinetune, ImportedFinetune, "checkpoints")),
]
