"""What is computed of which worlds."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat, model_validator

from cca.objectives import Objective, bind, contrasts_samples
from cca.settings import Settings, distinct
from cca.theory.paths import Geometry

SUMMARY = Path("theory", "theory.csv")
"""Where the results are, below a tier's."""
Amounts = Annotated[list[NonNegativeFloat], AfterValidator(distinct)]


def described(objective: dict) -> dict:
    """Method, beta and lam of an objective, as its rows have them; what it does not have is left out."""
    keywords = bind(objective).keywords
    return {"method": objective["name"]} | {key: keywords[key] for key in ("beta", "lam") if key in keywords}


class Paths(Settings):
    """Gradient descent from the pretrained model."""

    objectives: list[Objective] = Field(min_length=1)
    rates: dict[Geometry, PositiveFloat] = Field(min_length=1, description="learning rate of each geometry")
    steps: list[int] = Field(min_length=1, description="when to look, in rising order")

    @model_validator(mode="after")
    def _steps_rise(self) -> "Paths":
        if self.steps != sorted(set(self.steps)) or self.steps[0] < 1:
            raise ValueError(f"steps {self.steps} are not rising numbers from 1 on")
        return self

    @model_validator(mode="after")
    def _objectives_can_be_told_apart(self) -> "Paths":
        told = [described(objective) for objective in self.objectives]
        for objective, rows in zip(self.objectives, told, strict=True):
            if contrasts_samples(objective):
                raise ValueError(f"{objective['name']} contrasts samples; the small world has labels only")
            if told.count(rows) > 1:
                raise ValueError(f"two objectives have the rows {rows}: give one of them")
        return self


class TheorySettings(Settings):
    """Settings of stage ``theory``."""

    worlds: int = Field(ge=1, description="random worlds of each informativeness")
    tokens: int = Field(ge=2, le=256, description="kinds of tokens, V")
    length: int = Field(ge=1, le=8, description="tokens in a sequence")
    labels: int = Field(ge=2)
    informativeness: Amounts = Field(min_length=1, description="how much sequences tell of labels")
    scales: Amounts = Field(min_length=1, description="s of CFG")
    betas: Annotated[list[PositiveFloat], AfterValidator(distinct)] = Field(
        min_length=1, description="of CCA's minimisers"
    )
    lams: Amounts = Field(min_length=1, description="of CCA's and unlearning's minimisers")
    paths: Paths

    @model_validator(mode="after")
    def _can_be_enumerated(self) -> "TheorySettings":
        if self.tokens**self.length > 256:
            raise ValueError(f"tokens ** length is {self.tokens**self.length}; it may be 256 at most")
        return self

    def uses(self) -> set[str]:
        """Names of the objectives."""
        return {"cca", *(spec["name"] for spec in self.paths.objectives)}
