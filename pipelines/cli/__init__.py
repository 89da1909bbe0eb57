"""The console command, with a subcommand for each entry point, made from its signature."""

import atexit
import gc
import logging
import os
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ZshComplete,
    add_completion_class,
    shell_complete,
)

from hpo.errors import Mistakes, ParameterError, TakenError, UserError, closest
from pipelines import entry_points
from pipelines.cli import config
from pipelines.entry_points import Parameter
from pipelines.files import clock
from pipelines.files.refused import refusals_told

NAME = "mlflow-warmstart"
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
_COMPLETE = "_MLFLOW_WARMSTART_COMPLETE"  # set by the scripts of click that complete commands
_NEW_OBJECTS = 100_000  # after which garbage is looked for
_GIVEN = "given"  # by position
_MISTAKES = f"{NAME}.mistakes"  # values that are of none of the types of their options


def version() -> str:
    """The version that is installed, or that of the sources."""
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        project = Path(__file__).parents[2] / "pyproject.toml"
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])


class _Text(click.ParamType[object]):
    """A value of a public parameter, read from text."""

    name = "text"

    def __init__(self, parameter: Parameter) -> None:
        self.parameter = parameter
        self.name = parameter.type_name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self.parameter.parse(value) if isinstance(value, str) else value
        except ValueError as error:
            if ctx is None:
                raise ParameterError(str(error)) from error
            _mistakes(ctx).add(ParameterError(str(error)))
            return self.parameter.parse(self.parameter.default or "")  # no command runs with it


class _Group(click.Group):
    """The entry points as subcommands; a module is imported when its subcommand is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*entry_points.NAMES, "completion"]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in entry_points.NAMES:
            return completion if name == completion.name else None
        return command(name, entry_points.load(name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            hint = closest(args[0], known)
            raise ParameterError(f"unknown command {args[0]!r}{hint} (one of {', '.join(known)})")
        return super().resolve_command(ctx, args)


class _Option(click.Option):
    """An option that may be missing, which is told with the other mistakes."""

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        try:
            return super().process_value(ctx, value)
        except click.MissingParameter as error:
            _mistakes(ctx).add(ParameterError(error.format_message()))
            return None


class _Command(click.Command):
    """A command that tells all mistakes on its command line at once, as `UserError`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, self._known(ctx, args))
        except click.UsageError as error:
            _mistakes(ctx).add(ParameterError(error.format_message()))
            _mistakes(ctx).raise_all()
            raise

    def _known(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments without the options that the command does not have."""
        known = {flag for param in self.get_params(ctx) for flag in param.opts}
        found: list[str] = []
        rest = list(args)
        while rest:
            flag, equals, _ = rest[0].partition("=")
            if rest[0] == "--":
                return found + rest
            if flag.startswith("--") and flag not in known:
                _mistakes(ctx).add(self._unknown(flag.lstrip("-")))
                has_value = not equals and len(rest) > 1 and not rest[1].startswith("-")
                rest = rest[1 + has_value :]
            else:
                found.append(rest.pop(0))
        return found

    def _unknown(self, name: str) -> ParameterError:
        hint = closest(name, [param.name for param in self.params if param.name])
        return ParameterError(f"unknown parameter {name!r}{hint}; see --help for all of them")


def _mistakes(ctx: click.Context) -> Mistakes:
    """The mistakes on a command line, which are told when all of it is read."""
    found: Mistakes = ctx.meta.setdefault(_MISTAKES, Mistakes())
    return found


def command(name: str, function: Callable[..., Any]) -> click.Command:
    """The click command of an entry point; it prints the result of the function."""
    first = entry_points.BY_POSITION.get(name)

    def run(**values: Any) -> None:
        given = values.pop(_GIVEN, None)
        if first and given is not None:
            values[first] = given
        with refusals_told():
            _tell(function, values)
            result = function(**values)
        is_quiet = values.get("quiet") is True
        click.echo(getattr(result, "line", str(result)) if is_quiet else str(result))
        if getattr(result, "stopped", False):
            sys.exit(EXIT_INTERRUPTED)

    options: list[click.Parameter] = list(map(_option, entry_points.parameters(function)))
    options.append(_config(function))
    if first:
        options.append(click.Argument([_GIVEN], required=False, metavar=f"[{first.upper()}]"))
    return _Command(name, params=options, callback=run, help=entry_points.summary(function))


def _tell(function: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Tell the mistakes on the command line together with those in the values."""
    mistakes = _mistakes(click.get_current_context())
    if mistakes:
        with mistakes:
            entry_points.check(function, values)
    mistakes.raise_all()


def _option(parameter: Parameter) -> click.Option:
    """The option of a parameter, also with hyphens in place of underscores."""
    spellings = dict.fromkeys((parameter.name, parameter.name.replace("_", "-")))
    flags = [f"--{name}" for name in spellings]
    text = _Text(parameter)
    if parameter.default is None:  # with default=None, click would not require the option
        return _Option(flags, type=text, required=True, help=parameter.help)
    switch: dict[str, Any] = {}
    if bool in parameter.kinds:  # `--dry-run` alone is `--dry-run=true`
        switch = {"is_flag": False, "flag_value": "true"}
    return click.Option(
        flags,
        type=text,
        default=parameter.default,
        show_default=True,
        help=parameter.help,
        **switch,
    )


def _config(function: Callable[..., Any]) -> click.Option:
    """The option `--config`; what stands on the command line goes before what is in the file."""

    def load(ctx: click.Context, param: click.Parameter, path: str | None) -> None:
        if path is not None:
            with _mistakes(ctx):
                ctx.default_map = {**(ctx.default_map or {}), **config.read(path, function)}

    return click.Option(
        ["--config"],
        type=str,
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=load,
        help="A YAML file with any of these options; those of the command line go first.",
    )


def _version(ctx: click.Context, param: click.Parameter, is_asked: bool) -> None:
    if is_asked and not ctx.resilient_parsing:
        click.echo(f"{NAME} {version()}")
        ctx.exit()


def _script(shell: str) -> None:
    known = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
    if shell not in known:
        hint = closest(shell, known)
        raise ParameterError(f"unknown shell {shell!r}{hint} (one of {', '.join(known)})")
    click.echo(known[shell](group, {}, NAME, _COMPLETE).source())


completion = _Command(
    "completion",
    params=[click.Argument(["shell"], shell_complete=lambda *_: ["bash", "zsh", "fish"])],
    callback=_script,
    help='The script that completes this command in a shell: eval "$(mlflow-warmstart completion '
    'bash)", or zsh, or fish.',
)
group = _Group(
    NAME,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_version,
            help="Show the version and exit.",
        )
    ],
    no_args_is_help=False,  # a missing command is reported as a mistake
    help="Hyperparameter search for tables that stores all of its state in MLflow.",
)


def _completions(
    name: str, values: Sequence[str], ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """What the value of an option may become; the shell completes file names itself."""
    found = [CompletionItem(value) for value in values if value.startswith(incomplete)]
    files = [CompletionItem(incomplete, type="file")] if name in config.FILES else []
    return [*files, *found]  # in this order, bash takes file names where nothing else fits


class _Bash(BashComplete):
    """Completion in bash, which makes three words of `--name=value`."""

    def get_completion_args(self) -> tuple[list[str], str]:
        words, incomplete = super().get_completion_args()
        return [word for word in words if word != "="], incomplete


def _known_at_first(name: str) -> Sequence[str]:
    """What the argument without a name may be: for `space` a model, for `watch` any study."""
    if name != "space":
        return ()
    models: Sequence[str] = config.stored_schema("tune")["properties"]["model"]["examples"]
    return models


def _sketched(name: str) -> click.Command:
    """A command as its schema describes it, to be completed: its entry point is not imported."""
    options: list[click.Parameter] = []
    for option, described in config.stored_schema(name)["properties"].items():
        values = ["true", "false"] if "boolean" in described["type"] else []
        values += described.get("examples", [])
        complete = partial(_completions, option, values)
        flags = [f"--{option}"]
        switch: dict[str, Any] = {}
        if "true" in values:
            switch = {"is_flag": False, "flag_value": "true"}
        text = described["description"]
        options.append(click.Option(flags, help=text, shell_complete=complete, **switch))
        if entry_points.BY_POSITION.get(name) == option:
            complete = partial(_completions, option, _known_at_first(name))
            options.append(click.Argument([_GIVEN], required=False, shell_complete=complete))
    complete = partial(_completions, "config", ())
    options.append(click.Option(["--config"], help="A YAML file.", shell_complete=complete))
    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, params=options, context_settings=settings)


def _completed(instruction: str) -> int:
    """Answer the shell that completes a command line."""
    add_completion_class(_Bash)
    commands = {name: _sketched(name) for name in entry_points.NAMES}
    sketch = click.Group(NAME, commands={**commands, completion.name or "": completion})
    return shell_complete(sketch, {}, NAME, _COMPLETE, instruction)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 on success, 2 after a user error, 130 if interrupted.

    Without `arguments`, they are those of this process, which runs the command only.
    """
    run_id = os.environ.get("MLFLOW_RUN_ID")
    # MLflow logs each step of saving a model.
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)
    if instruction := os.environ.get(_COMPLETE):
        sys.exit(_completed(instruction))
    try:
        with nullcontext() if arguments else _process_of_command():
            group.main(arguments, standalone_mode=False)
    except (UserError, click.UsageError) as error:
        reason = _message(error)
        click.echo(f"error: {reason}", err=True)
        # After the message, because an unreachable server takes time. The run of a study that
        # another driver has is that driver's.
        if not isinstance(error, TakenError):
            _fail(run_id, reason)
        sys.exit(EXIT_USER_ERROR)
    except (click.Abort, KeyboardInterrupt):
        _fail(run_id, "interrupted before the study began", status="KILLED")
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        _fail(run_id, f"{type(error).__name__}: {error}")
        raise


@contextmanager
def _process_of_command() -> Iterator[None]:
    """A process that is there for one command: a timeout counts from its start.

    Imports make many objects and little garbage, so garbage is looked for less often; and not at
    all when the process ends. That is a third of the time of the imports, and most of the exit's.
    """
    gc.set_threshold(_NEW_OBJECTS)
    atexit.register(gc.freeze)
    with clock.command():
        yield


def _message(error: UserError | click.UsageError) -> str:
    return str(error) if isinstance(error, UserError) else f"{error.format_message()} See --help"


def _fail(run_id: str | None, reason: str, status: str = "FAILED") -> None:
    """End the run of `mlflow run`, if there is one, with the reason."""
    if run_id is None:
        return
    from pipelines.study.runs import fail_run

    fail_run(run_id, reason, status)
