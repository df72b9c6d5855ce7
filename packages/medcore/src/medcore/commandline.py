"""What the three command lines share: common options, one-line errors, exit codes, JSON output.

A command is a function whose first parameter is an :class:`Invocation`; it says things for people with :meth:`Invocation.say`
and returns the facts for machines, which ``--json`` prints as one object. Nothing here imports a heavy library.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from medcore.config import load_yaml, set_value, unknown_key
from medcore.errors import ConfigError, MedcoreError, OutOfMemoryError, is_full, output_error

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])
_PANEL = "Common options"
_STATE = "medcore.defaults"


class _Terminated(BaseException):
    """SIGTERM arrived; unwinds like KeyboardInterrupt so that writers clean up."""


@dataclass(kw_only=True)
class Invocation:
    """How one command was called, and its voice.

    Attributes
    ----------
    json, quiet, debug, dry_run, force
        The flags of the same names.
    verbose
        How often ``-v`` was given.
    seed
        The random seed, 0 unless given.
    overrides
        The ``--set a.b=value`` assignments, where the command applies them itself (recipes).
    """

    json: bool = False
    quiet: bool = False
    verbose: int = 0
    debug: bool = False
    dry_run: bool = False
    force: bool = False
    seed: int = 0
    overrides: list[str] = field(default_factory=list)
    _stdout: Any = None

    def say(self, text: str = "") -> None:
        """Print a line for people; silent with ``--json`` or ``-q``."""
        if not (self.json or self.quiet):
            typer.echo(text)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print an aligned table for people; the first column is text, the others are right-aligned."""
        cells = [list(columns), *([str(c) for c in row] for row in rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
        for row in cells:
            first, rest = row[0].ljust(widths[0]), (c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))
            self.say("  ".join([first, *rest]).rstrip())

    def progress(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Iterate with a progress bar on the terminal; without one where stderr is not a terminal."""
        if self.quiet or self.json or not sys.stderr.isatty():
            yield from items
            return
        with typer.progressbar(items, label=label, length=total, file=sys.stderr) as bar:
            yield from bar

    def emit(self, result: dict[str, Any]) -> None:
        """Print the one JSON object of ``--json``; called for the command's return value, or before it raises."""
        if self.json:
            print(json.dumps(result, allow_nan=False), file=self._stdout or sys.stdout, flush=True)


def application(name: str, distribution: str, text: str) -> typer.Typer:
    """A Typer application with ``--version``, completion, and help when called without a command."""
    app = typer.Typer(name=name, help=text, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich")

    def show_version(value: bool) -> bool:
        if value:
            from importlib.metadata import version

            typer.echo(f"{name} {version(distribution)}")
            raise typer.Exit
        return value

    version = typer.Option(False, "--version", callback=show_version, is_eager=True, help="Print the version and leave.")

    def root(version: bool = version) -> None:
        del version

    root.__doc__ = text
    app.callback()(root)
    return app


def command(
    app: typer.Typer, name: str | None = None, *, writes: bool = False, seeded: bool = False, recipe: bool = False
) -> Callable[[Command], Command]:
    """Register a function as a command with the common options.

    Parameters
    ----------
    app
        The application or group it belongs to.
    name
        Name of the command, by default the function's with dashes.
    writes
        Adds ``--dry-run`` and ``--force``.
    seeded
        Adds ``--seed``.
    recipe
        ``--set`` assignments go to the command (as :attr:`Invocation.overrides`) instead of its options.
    """

    def register(function: Command) -> Command:
        signature = inspect.signature(function, eval_str=True)
        own = list(signature.parameters.values())[1:]
        common = _common_parameters(writes=writes, seeded=seeded, recipe=recipe)

        @functools.wraps(function)
        def call(**values: Any) -> None:
            flags = {p.name: values.pop(p.name) for p in common}
            _invoke(function, flags, values, recipe=recipe)

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in [*own, *common]]
        call.__signature__ = signature.replace(parameters=parameters, return_annotation=None)  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in parameters}
        app.command(name)(call)
        return function

    return register


def _invoke(function: Callable[..., Any], flags: dict[str, Any], values: dict[str, Any], *, recipe: bool) -> None:
    del flags["config"]
    overrides = flags.pop("set_")
    invocation = Invocation(json=flags.pop("json_"), overrides=list(overrides or []) if recipe else [], _stdout=sys.stdout, **flags)
    _configure_logging(invocation)
    guard = contextlib.redirect_stdout(sys.stderr) if invocation.json else contextlib.nullcontext()
    try:
        with guard:
            result = function(invocation, **values)
        if result is not None:
            invocation.emit(result)
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt as error:  # Typer would leave without a word
        raise typer.Abort from error
    except BrokenPipeError as error:
        raise _ReaderLeft from error
    except Exception as error:
        if invocation.debug:
            traceback.print_exception(error)
        raise _CommandFailed(error) from error


class _ReaderLeft(Exception):
    """Whoever read standard output closed it, as ``head`` does; Typer would make exit code 1 of it."""


class _CommandFailed(Exception):
    """A command failed; the cause says why."""


def _common_parameters(*, writes: bool, seeded: bool, recipe: bool) -> list[inspect.Parameter]:
    def option(name: str, kind: Any, default: Any, *flags: str, **extra: Any) -> inspect.Parameter:
        annotation = Annotated[kind, typer.Option(*flags, rich_help_panel=_PANEL, **extra)]
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

    eager: dict[str, Any] = {"is_eager": True}
    set_help = "Override one recipe value, for example stages.0.grpo.max_steps=10." if recipe else "Set one option: name=value."
    found = [
        option(
            "config", Path | None, None, "--config", help="YAML file with values for the options.", callback=_use_config, **eager
        ),
        option(
            "set_",
            list[str] | None,
            None,
            "--set",
            help=set_help,
            callback=None if recipe else _use_set,
            **({} if recipe else eager),
        ),
        option("json_", bool, False, "--json", help="Print one JSON object on standard output."),
        option("quiet", bool, False, "-q", "--quiet", help="Say nothing but errors."),
        option("verbose", int, 0, "-v", "--verbose", count=True, help="Say more; twice for debugging."),
        option("debug", bool, False, "--debug", help="Show tracebacks."),
    ]
    if seeded:
        found.append(option("seed", int, 0, "--seed", min=0, help="Random seed."))
    if writes:
        found.append(option("dry_run", bool, False, "--dry-run", help="Say what would be read, computed and written; do nothing."))
        found.append(option("force", bool, False, "--force", help="Replace existing output."))
    return found


# Typer passes a context that is no typer.Context at run time; it is known by its place.
def _use_config(context: Any, value: Path | None) -> Path | None:
    if value is not None:
        _add_defaults(context, load_yaml(value), str(value), first=True)
    return value


def _use_set(context: Any, value: list[str] | None) -> list[str] | None:
    for assignment in value or []:
        given: dict[str, Any] = {}
        set_value(given, assignment)
        _add_defaults(context, given, f"--set {assignment}", first=False)
    return value


def _add_defaults(context: Any, given: dict[str, Any], what: str, *, first: bool) -> None:
    """Make `given` the defaults of the command's options; ``--set`` wins over ``--config`` wherever it stands."""
    names = {
        flag.lstrip("-").replace("-", "_"): p.name
        for p in context.command.params
        for flag in ([p.name or ""] if p.param_type_name == "argument" else p.opts)
        if p.param_type_name == "argument" or flag.startswith("--")
    }
    given = {str(key).replace("-", "_"): value for key, value in given.items()}
    for key in given:
        if key not in names:
            raise unknown_key(what, key, sorted(names))
    layers = context.meta.setdefault(_STATE, {True: {}, False: {}})
    layers[first].update({names[k]: v for k, v in given.items()})
    context.default_map = {**layers[True], **layers[False]}


def _configure_logging(invocation: Invocation) -> None:
    level = logging.ERROR if invocation.quiet else [logging.WARNING, logging.INFO, logging.DEBUG][min(invocation.verbose, 2)]
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s", force=True)
    if not invocation.verbose and not sys.warnoptions:
        warnings.simplefilter("ignore")


def main(app: typer.Typer) -> NoReturn:
    """Run `app` on the process's arguments and leave with the exit code of the page's table."""

    def terminate(*_: Any) -> None:
        raise _Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        code = app(standalone_mode=False) or 0
    except _Terminated:
        _complain("interrupted: the process was asked to stop; run the command again")
        code = 143
    except (KeyboardInterrupt, typer.Abort):
        _complain("interrupted: stopped from the keyboard; run the command again")
        code = 130
    except _ReaderLeft:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except _CommandFailed as failure:
        code = _report(failure.__cause__ or failure)
    except (MedcoreError, typer.TyperException) as error:
        code = _report(error)
    sys.exit(code if isinstance(code, int) else 0)


def _report(error: BaseException) -> int:
    known = as_known_error(error)
    if isinstance(known, MedcoreError):
        _complain(str(known))
        return known.exit_code
    if isinstance(error, typer.TyperException):
        if not error.format_message():  # help was shown because no command was given
            return 2
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "the command"
        _complain(f"{error.format_message().rstrip('.')}{_given(error)}; see {path} --help")
        return 2
    if isinstance(error, typer.Exit):
        return error.exit_code
    _complain(f"unexpected {type(error).__name__}: {error}; please report this, --debug shows where it happened")
    return 1


def _given(error: BaseException) -> str:
    """The value that came, which Typer's message about an option leaves out."""
    details = getattr(error.__cause__, "errors", None)  # pydantic's, which Typer uses for conversion
    return f", got {details()[0]['input']!r}" if callable(details) else ""


def as_known_error(error: BaseException) -> BaseException:
    """Translate memory and operating-system errors into the error a user should see; others come back as they are."""
    if isinstance(error, MedcoreError):
        return error
    text = str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text:
        return OutOfMemoryError(
            "memory", f"is not enough ({text or 'allocation failed'})", "use smaller input, batch or chunk sizes"
        )
    if isinstance(error, OSError) and is_full(error):
        return output_error(error.filename or "output", error)
    if isinstance(error, FileNotFoundError):
        return ConfigError(error.filename or "input", "does not exist", "check the path")
    if isinstance(error, OSError) and error.filename and not isinstance(error, ConnectionError):
        return output_error(error.filename, error)
    return error


def _complain(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
