"""The settings of an evaluation, and the names of features and metrics."""

from typing import Literal, get_args

from pydantic import Field

from cca.settings import Settings

CLASSIFIER = "cca-classifier"
INCEPTION = "cca-inception"
INCEPTION_URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
"""torch-fidelity's weights, whose name gives the beginning of their checksum."""
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
SPATIAL, LATER_SPATIAL = "spatial", "later_spatial"  # sFID's features; the same of the next layer
Metric = Literal["fid", "inception_score", "sfid", "precision", "recall"]
METRICS: tuple[str, ...] = get_args(Metric)  # in the order of the paper's Table 3


class EvaluationSettings(Settings):
    """The protocol; the defaults are the ADM suite's, but for its distances in float16."""

    extractor: str = Field(
        default=INCEPTION, description="cca-classifier, or a name of torch-fidelity's registry"
    )
    batch_size: int = Field(default=64, ge=1, description="images extracted together")
    k: int = Field(default=3, ge=1, description="neighbours of precision and recall")
    adm_float16: bool = Field(default=False, description="distances in float16, as the ADM suite")
    is_split_size: int = Field(default=5000, ge=1, description="samples of a split of the Inception Score")
    reference_images: int = Field(default=10000, ge=2, description="kept in a reference file that is made")
    reference_seed: int = Field(default=0, ge=0, description="which ones")
