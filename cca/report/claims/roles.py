"""The roles that the paper's claims speak of, and which of a tier's experiments play them."""

from collections.abc import Collection
from itertools import chain
from pathlib import Path

from pydantic import Field, model_validator

from cca.experiments import BASE, Experiment, cost
from cca.settings import Seeds, Settings

# Roles that are several experiments, in order; those with the same axis go point by point together.
AXES = {
    "cfg_sweep": "s",
    "lambda_sweep": "lambda",
    "beta_sweep": "beta",
    "combined": "s of the combination",
    "cfg_alone": "s of the combination",
    "unmasked": "s of the combination",
    "sizes_base": "size",
    "sizes_cca": "size",
}
FINETUNED = ("cca", "dpo", "unlearn")
ROLES = ("base", "cfg", *FINETUNED, "combined_free", *AXES, "cost")

Arms = dict[str, dict[int, list[Experiment]]]
"""By role and seed: the experiments, in the order of the role's axis."""


class Combined(Settings):
    """A finetune that is sampled with guidance too, beside CFG alone and the same without masking.

    The best of both is compared over these scales: they should bracket what is best for either.
    """

    finetune: str
    scales: list[float] = Field(min_length=1)
    unmasked: str | None = None

    @model_validator(mode="after")
    def _scales_guide(self) -> "Combined":
        if min(self.scales) <= 0:
            raise ValueError("scales of 'combined' are those of guided samples: above 0")
        return self


class Size(Settings):
    """A model of the family, and its finetune with CCA."""

    model: str
    cca: str


class ModelClaims(Settings):
    """Who plays which role for one model. What is left out is not measured."""

    model: str
    cfg_scale: float | None = Field(default=None, gt=0, description="s of role cfg")
    cca: str | None = None
    dpo: str | None = None
    unlearn: str | None = None
    cfg_sweep: list[float] = Field(default=[], description="scales, rising")
    lambda_sweep: list[str] = Field(default=[], description="finetunes in the order of λ")
    beta_sweep: list[str] = Field(default=[], description="finetunes in the order of β")
    combined: Combined | None = None
    sizes: list[Size] = Field(default=[], description="all sizes of the family")
    cost: bool = Field(default=False, description="measure what sampling costs, too")

    def arms(self, seeds: list[int], sweep_seeds: list[int]) -> Arms:
        """The experiments of every role that is played; role ``cost`` has none."""
        points: dict[str, list[tuple[str, str, float]]] = {"base": [(self.model, BASE, 0)]}
        if self.cfg_scale is not None:
            points["cfg"] = [(self.model, BASE, self.cfg_scale)]
        for role in FINETUNED:
            if finetune := getattr(self, role):
                points[role] = [(self.model, finetune, 0)]
        points["cfg_sweep"] = [(self.model, BASE, scale) for scale in self.cfg_sweep]
        points["lambda_sweep"] = [(self.model, finetune, 0) for finetune in self.lambda_sweep]
        points["beta_sweep"] = [(self.model, finetune, 0) for finetune in self.beta_sweep]
        if both := self.combined:
            points["combined"] = [(self.model, both.finetune, scale) for scale in both.scales]
            points["cfg_alone"] = [(self.model, BASE, scale) for scale in both.scales]
            points["combined_free"] = [(self.model, both.finetune, 0)]
            if both.unmasked:
                points["unmasked"] = [(self.model, both.unmasked, scale) for scale in both.scales]
        points["sizes_base"] = [(size.model, BASE, 0) for size in self.sizes]
        points["sizes_cca"] = [(size.model, size.cca, 0) for size in self.sizes]
        return {
            role: {
                seed: [Experiment(model, finetune, seed, scale) for model, finetune, scale in places]
                for seed in (sweep_seeds if role in AXES or role == "combined_free" else seeds)
            }
            for role, places in points.items()
            if places
        }


class TierClaims(Settings):
    """Section ``claims`` of a tier: what the claims are judged on, a row of roles a model."""

    seeds: Seeds = Field(min_length=1, description="seeds of the roles that are one experiment")
    sweep_seeds: Seeds = Field(min_length=1, description="some of them, for the sweeps")
    models: list[ModelClaims] = Field(min_length=1)

    @model_validator(mode="after")
    def _sweeps_can_be_paired(self) -> "TierClaims":
        if extra := set(self.sweep_seeds) - set(self.seeds):
            raise ValueError(f"sweep_seeds {sorted(extra)} are not among seeds; pairs need the same seeds")
        return self

    @model_validator(mode="after")
    def _models_are_unique(self) -> "TierClaims":
        names = [entry.model for entry in self.models]
        if len(set(names)) < len(names):
            raise ValueError(f"a model is given twice: {', '.join(names)}")
        return self

    def arms(self, entry: ModelClaims) -> Arms:
        """The experiments of one model's roles."""
        return entry.arms(self.seeds, self.sweep_seeds)

    def experiments(self) -> list[Experiment]:
        """Every experiment that the claims need, once."""
        roles = chain.from_iterable(self.arms(entry).values() for entry in self.models)
        return sorted({experiment for by_seed in roles for arm in by_seed.values() for experiment in arm})

    def files(self, imported: Collection[str] = ()) -> list[Path]:
        """What they are made of, below the tier's results: metrics, logs of finetuning, cost.

        Finetunes that are ``imported`` have no log.
        """
        logs = [
            experiment.log
            for entry in self.models
            for role, by_seed in self.arms(entry).items()
            if role in FINETUNED
            for arm in by_seed.values()
            for experiment in arm
            if experiment.finetune not in imported
        ]
        costs = [cost(entry.model) for entry in self.models if entry.cost]
        return [*(experiment.metrics for experiment in self.experiments()), *logs, *costs]
