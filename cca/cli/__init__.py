"""``cca <stage>``: every stage on the command line, the same in and outside of Snakemake."""

import os
import sys
from functools import partial
from signal import SIGINT, SIGTERM, signal
from typing import Annotated, NoReturn

import typer
from torch.distributed import is_torchelastic_launched

from cca import __version__
from cca.cli import data, evaluation, imports, models, report, tiers
from cca.device import make_deterministic
from cca.errors import CCAError, StoppedError
from cca.gpus import check_job, occupy

app = typer.Typer(
    help="Guidance-free autoregressive image generation: one command a stage.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (data, models, evaluation, report, tiers):  # the order of the help
    app.add_typer(part.app)
app.add_typer(report.group, name="report")
app.add_typer(imports.group, name="import")


def tell_version(asked: bool) -> None:
    """Print the version that records name, and end."""
    if asked:
        typer.echo(f"cca {__version__}")
        raise typer.Exit


@app.callback()
def before(
    context: typer.Context,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; results repeat on the same number.")] = (
        os.cpu_count() or 1
    ),
    device: Annotated[
        str,
        typer.Option(help="auto: a GPU if torch sees one; gpu, gpu:N: one or N that no other such job has."),
    ] = "auto",
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=tell_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every stage, given before its name."""
    context.ensure_object(dict)["debug"] = debug
    make_deterministic(threads)
    check_job(device)
    if not is_torchelastic_launched():  # whose parent did
        occupy(device)


def main() -> None:
    """Entry point: one line and its exit status for every error; a traceback with ``--debug`` only."""
    for number, end in ((SIGINT, CCAError("interrupted")), (SIGTERM, StoppedError("terminated"))):
        signal(number, partial(give_up, end))
    given = {"debug": False}
    try:
        if is_torchelastic_launched():
            from cca.training.launch import follow_parent  # imports torch's launcher

            follow_parent()
        app(standalone_mode=False, obj=given)
    except SystemExit as stop:
        if not isinstance(stop.code, CCAError):
            raise
        end_with(stop.code)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # typer has printed the help
            return
        if given["debug"]:
            raise
        end_with(error)


def end_with(error: Exception) -> NoReturn:
    """Leave by an error's line and status; one of several processes leaves the line for their parent."""
    line, status = " ".join(explain(error).split()), getattr(error, "status", 1)
    if is_torchelastic_launched():
        from cca.training.launch import tell_parent

        tell_parent(line, isinstance(error, CCAError))
        sys.exit(status)
    if status == 1:
        sys.exit(f"error: {line}")
    print(f"error: {line}", file=sys.stderr)
    sys.exit(status)


def give_up(error: CCAError, *_: object) -> NoReturn:
    """What a signal does; no stage catches it."""
    raise SystemExit(type(error)(f"{error}; run the same command again"))


def explain(error: Exception) -> str:
    """One line for any exception."""
    if hasattr(error, "format_message"):  # typer's own, about the command line
        return error.format_message()
    if isinstance(error, CCAError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'file'}: {error.strerror}"
    return f"unexpected {type(error).__name__}: {error} (run 'cca --debug ...' for the traceback)"
