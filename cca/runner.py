"""Running one stage for the command line: settings are checked, inputs are there, a record is kept."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

from cca.distributed import leave, processes
from cca.files import parse_yaml, read_yaml
from cca.records.provenance import recorded, run_key
from cca.settings import Settings, validate
from cca.training.progress import Progress


def parse(module: str, schema: str, given: str) -> tuple[ModuleType, Settings]:
    """Import the module of a stage, and none of other stages; check the settings given for it."""
    stage = import_module(module)
    inline = given.lstrip().startswith("{")
    where = "--settings" if inline else given
    values = parse_yaml(given, where) if inline else read_yaml(Path(given))
    return stage, validate(getattr(stage, schema), values, where)


def perform(
    name: str,
    module: str,
    schema: str,
    given: str,
    *,
    out: Path | None,
    inputs: Mapping[str, Path | None],
    arguments: dict | None = None,
    keep_every: float | None = None,
    **others: object,
) -> None:
    """Run a stage on checked settings and existing inputs, and keep its record beside its output.

    A stage that trains is given ``keep_every``, the seconds between two writings of its state, from which
    the same run goes on after it was killed. Of several processes that train together the first one keeps
    the record. Inputs that are None were not given. ``others`` are passed on
    to the stage; no result depends on them.
    """
    stage, settings = parse(module, schema, given)
    run = partial(stage.run, settings, **inputs, **(arguments or {}), **others, out=out)
    if out is None:
        run()
        return
    files = {key: parts(path) for key, path in inputs.items() if path is not None}
    if (results := inputs.get("results")) is not None:  # a report reads few files of all the results
        files["results"] = settings.files(results)  # type: ignore[attr-defined]
    if keep_every is None:
        with recorded(name, module, settings, files, out, arguments) as measured:
            measured |= run()
        return
    team = processes()
    key = partial(run_key, module, settings, files, arguments)
    progress = Progress(out.with_suffix(".progress.pt"), keep_every, key)
    keeping: AbstractContextManager[dict] = nullcontext({})
    if team.first:
        keeping = recorded(name, module, settings, files, out, arguments)
    with keeping as measured:
        measured |= run(progress=progress) | progress.record
    if team.first:
        progress.remove()
    leave()


def parts(path: Path) -> list[Path]:
    """The shards in a folder of our samples or codes; any other folder or file as it is."""
    return sorted([*path.glob("shard_*.npz"), *path.glob("shard_*.safetensors")]) or [path]
