"""Finetuning objectives. An objective is a module with one pure function ``loss``:

    def loss(g_pos, g_neg, positive_pair, *, <parameters>) -> (B,) losses

- ``g_pos`` (B,): g(x, c) = log p_theta(x|c) - log p_phi(x|c) of images under their own label;
- ``g_neg`` (B,): the same under the label of another image;
- ``positive_pair`` (B,) bool: the second label is no negative, because the pair is masked (both
  labels are the unconditional one) or because the two labels are the same;
- the keyword parameters are what the config may set, each with its type and default.

Where the module says ``NEGATIVES = "samples"``, ``g_neg`` is instead of the base model's own sample
for the image's label (see ``cca.stages.fakes``), and no pair is a ``positive_pair``.
"""

import inspect
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationError, create_model
from torch import Tensor

from cca import plugins
from cca.errors import CCAError
from cca.settings import Settings, as_value_error, describe


def contrasts_samples(spec: dict) -> bool:
    """Whether the objective that ``spec`` names wants samples of the base model as negatives.

    Raises:
        CCAError: there is no such objective, or it says neither "labels" nor "samples".
    """
    negatives = getattr(plugins.load("cca.objectives", spec["name"]), "NEGATIVES", "labels")
    if negatives not in ("labels", "samples"):
        raise CCAError(f"objective {spec['name']}: NEGATIVES is {negatives!r}, not 'labels' or 'samples'")
    return negatives == "samples"


def bind(spec: dict) -> partial[Tensor]:
    """The objective that ``spec`` names, e.g. ``{"name": "cca", "beta": 0.02, "lam": 1}``.

    All its parameters, defaults included, are the ``keywords`` of what is returned.

    Raises:
        CCAError: as `contrasts_samples`; unknown parameter, or a value that it does not allow.
    """
    if "name" not in spec:
        raise CCAError(f"an objective needs a 'name', one of: {', '.join(plugins.names('cca.objectives'))}")
    contrasts_samples(spec)  # refuses what it cannot tell
    loss = plugins.load("cca.objectives", spec["name"]).loss
    parameters: dict[str, Any] = {
        name: (parameter.annotation, ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in inspect.signature(loss).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    schema = create_model(f"{spec['name']} parameters", __base__=Settings, **parameters)
    try:
        values = schema.model_validate({name: value for name, value in spec.items() if name != "name"})
    except ValidationError as error:
        raise CCAError(f"objective {spec['name']}: {describe(error, schema)}") from None
    return partial(loss, **values.model_dump())


def _checked(spec: dict) -> dict:
    with as_value_error():
        bind(spec)
    return spec


Objective = Annotated[dict, AfterValidator(_checked)]
"""An objective's name and parameters, checked by its plug-in."""
