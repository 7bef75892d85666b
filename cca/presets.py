"""Size presets: a tier file's ``presets``, one of which is merged over the rest of the file."""

from pathlib import Path

from cca.device import pick
from cca.errors import CCAError
from cca.files import read_json, write_json
from cca.settings import merge

CPU, GPU, AUTO = "cpu", "gpu", "auto"


def override(preset: str | None) -> dict:
    """What a preset given by name puts over a tier file: nothing where none is given."""
    return {"preset": preset} if preset else {}


def take(values: dict, overrides: dict) -> dict:
    """A tier's values without ``presets``: the file's, over them the preset's, over these the overrides.

    ``preset`` names it: ``cpu``, ``gpu``, or ``auto``, the default, which takes ``gpu`` if torch sees a GPU,
    else ``cpu``. In the result it is the one taken; without ``presets`` there is no such key. A GPU is not
    asked for here: a run can be planned where it will not be carried out (`check_machine`).

    Raises:
        CCAError: ``presets`` are not these two mappings, or ``preset`` is none of them.
    """
    presets = overrides.get("presets", values.get("presets"))
    wanted = overrides.get("preset") or values.get("preset") or AUTO
    values, overrides = (
        {key: value for key, value in given.items() if key not in {"preset", "presets"}}
        for given in (values, overrides)
    )
    if presets is None:
        if wanted != AUTO:
            raise CCAError(f"key 'preset': '{wanted}', but this tier has no presets")
        return merge(values, overrides)
    if not isinstance(presets, dict) or set(presets) != {CPU, GPU}:
        raise CCAError(f"key 'presets': two mappings are wanted, '{CPU}' and '{GPU}'")
    if wanted not in (CPU, GPU, AUTO):
        raise CCAError(f"key 'preset': '{wanted}' is not one of: {AUTO}, {CPU}, {GPU}")
    taken = (GPU if pick().type == "cuda" else CPU) if wanted == AUTO else wanted
    sizes = presets[taken] or {}
    if not isinstance(sizes, dict) or {"preset", "presets"} & set(sizes):
        raise CCAError(f"key 'presets.{taken}': a mapping of sections is wanted, without presets of its own")
    return {**merge(merge(values, sizes), overrides), "preset": taken}


def check_machine(preset: str | None) -> None:
    """Raise a `CCAError` if the preset is for a GPU and torch sees none."""
    if preset == GPU and pick().type != "cuda":
        raise CCAError(
            "preset 'gpu' wants a GPU, and torch sees none here: use preset=cpu, or plan only (snakemake -n)"
        )


def check_cluster(preset: str | None, given: str | None) -> None:
    """Raise a `CCAError` if jobs on other nodes, which read the tier anew, might take another preset.

    Args:
        preset: the one taken here; None for a tier without presets.
        given: what the command line says.
    """
    if preset and given != preset:
        raise CCAError(
            f"each job would choose its preset by its own node: give --config preset={CPU} or preset={GPU}"
        )


def settle(preset: str | None, given: str | None, results: Path) -> None:
    """Keep with a tier's results which preset was last run; nothing for a tier without presets.

    Args:
        preset, given: as of `check_cluster`.
        results: the folder, which is the same for all presets.

    Raises:
        CCAError: that was another one, and this one was not given by name: the machine is another, or its GPU
            is gone; or the file is damaged.
    """
    if preset is None:
        return
    path = results / "preset.json"
    last = read_json(path) if path.is_file() else {"preset": preset}
    if last not in ({"preset": CPU}, {"preset": GPU}):
        raise CCAError(
            f"{path}: names neither preset; delete it and give --config preset={CPU} or preset={GPU}"
        )
    if last != {"preset": preset} and given != preset:
        raise CCAError(
            f"{results} was last run with preset '{last['preset']}', and this run takes '{preset}': give "
            f"--config preset={last['preset']} to go on with it, or preset={preset} to make it anew"
        )
    write_json(path, {"preset": preset})
