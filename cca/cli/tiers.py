"""A tier before it runs: what it takes, and all that it says."""

from pathlib import Path
from typing import Annotated

import typer
import yaml

from cca.cli.options import SizePreset, TierFolder

app = typer.Typer()


@app.command()
def plan(
    targets: Annotated[list[str] | None, typer.Argument(help="As results/table2.csv; default: all.")] = None,
    tier: Annotated[str, typer.Option(help="Name of the tier.")] = "mini",
    folder: TierFolder = Path("workflow/config"),
    preset: SizePreset = None,
    machine: Annotated[str | None, typer.Option(help="cpu, a100 or h100; default: by the tier.")] = None,
) -> None:
    """Print what a tier takes: jobs, images, time and disk by target, and the memory of finetuning."""
    from cca.plan import run  # imports every stage

    typer.echo(run(tier, folder, preset=preset, machine=machine, chosen=targets or []))


@app.command()
def config(
    tier: str,
    folder: TierFolder = Path("workflow/config"),
    preset: SizePreset = None,
) -> None:
    """Check a tier file and print it with all defaults filled in."""
    from cca.config import load_tier  # imports every stage
    from cca.presets import override

    loaded = load_tier(tier, folder, override(preset))
    if loaded.preset:
        typer.echo(f"# preset: {loaded.preset}")
    typer.echo(yaml.safe_dump(loaded.model_dump(mode="json"), sort_keys=False), nl=False)
