"""What is reported: tables, figures, verdicts, the theory, pages, and what each was made of."""

from pathlib import Path
from typing import Annotated

import typer

from cca.cli.options import Given, Out, Results, SizePreset, TierFolder
from cca.runner import perform

app = typer.Typer()
group = typer.Typer(help="Make a table or a figure from metrics.", no_args_is_help=True)


@group.command()
def overview(settings: Given, results: Results, out: Out) -> None:
    """Put tables and figures that are made on one page, .html."""
    inputs = {"results": results}
    perform("overview", "cca.report.overview", "OverviewSettings", settings, out=out, inputs=inputs)


@group.command()
def table(
    settings: Given,
    results: Results,
    reported: Annotated[Path, typer.Option(help="CSV of the numbers that papers report.")],
    out: Out,
) -> None:
    """Make a table: .csv, .md and .tex."""
    inputs = {"results": results, "reported": reported}
    perform("report table", "cca.report.tables", "TableSettings", settings, out=out, inputs=inputs)


@group.command()
def figure(settings: Given, results: Results, out: Out) -> None:
    """Draw a figure: .pdf, .png, and the .csv of its points."""
    inputs = {"results": results}
    perform("report figure", "cca.report.figures", "FigureSettings", settings, out=out, inputs=inputs)


@app.command()
def claims(
    settings: Given,
    results: Results,
    claims: Annotated[Path, typer.Option(help="YAML file of the paper's claims.")],
    reported: Annotated[Path, typer.Option(help="Folder of the CSVs of numbers that papers report.")],
    out: Out,
) -> None:
    """Judge the paper's claims on what was measured: .csv and .md."""
    inputs = {"results": results, "claims": claims, "reported": reported}
    perform("claims", "cca.report.claims", "ClaimsSettings", settings, out=out, inputs=inputs)


@app.command()
def verdicts(
    files: Annotated[list[Path], typer.Argument(help="Of each tier, e.g. docs/results/mini/claims.csv.")],
) -> None:
    """Print the verdicts on the paper's claims in several tiers side by side, as Markdown."""
    from cca import markdown
    from cca.report.claims import compare  # imports what judges

    typer.echo(markdown.table(compare.side_by_side(files)))


@app.command()
def theory(settings: Given, out: Out) -> None:
    """Compute the paper's theory exactly in small worlds: .csv and .md."""
    perform("theory", "cca.theory", "TheorySettings", settings, out=out, inputs={})


@app.command()
def publish(
    tier: Annotated[str, typer.Option(help="Name of the tier, all of whose artefacts are made.")],
    results: Annotated[Path, typer.Option(help="Folder of the results of all tiers.")] = Path("results"),
    out: Annotated[Path, typer.Option(help="Folder of published results.")] = Path("docs/results"),
    folder: TierFolder = Path("workflow/config"),
    preset: SizePreset = None,
    note: Annotated[str, typer.Option(help="What a reader has to know beside, e.g. of the data.")] = "",
) -> None:
    """Gather a tier's tables, claims and figures as one readable page with its provenance."""
    from cca.config import load_tier  # imports every stage
    from cca.presets import override
    from cca.report.publish import run

    chosen = load_tier(tier, folder, override(preset))
    size = run(chosen, name=tier, results=results / tier, out=out / tier, note=note)
    typer.echo(f"{out / tier}/README.md: published, {size / 1e6:.2f} MB in all")


@app.command()
def provenance(
    artefact: Annotated[Path, typer.Argument(help="E.g. results/table2.csv.")],
    row: Annotated[str | None, typer.Option(help="Name of a measured row of a table's CSV.")] = None,
    column: Annotated[str | None, typer.Option(help="Its column, e.g. FID.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the records instead of a tree.")] = False,
) -> None:
    """Show what an artefact, or one number of a table, was made of, back to the raw data."""
    from cca.report.lineage import show  # imports what makes tables

    show(artefact, row, column, as_json=as_json)
