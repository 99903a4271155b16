"""The program `serve`: its commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from typing import Annotated, TextIO

import typer
from typer.exceptions import TyperException

import launcher
from launcher import settings
from launcher.cli import literal
from launcher.errors import FAILED, INTERRUPTED, ServeError, of_file

# Where each command or group of commands is. Only what is asked for is imported and built: all takes 0.2 s.
_COMMANDS = {
    "launch": "launch:launch",
    "explain": "explain:explain",
    "check": "check:check",
    "migrate": "migrate:migrate",
    "import": "adopt:import_",
    "ps": "instances:ps",
    "status": "instances:status",
    "logs": "logs:logs",
    "wait": "instances:wait",
    "stop": "instances:stop",
    "restart": "instances:restart",
    "rm": "instances:rm",
    "smoke": "smoke:smoke",
    "doctor": "doctor:doctor",
    "keys": "keys:keys",
    "releases": "releases:releases",
    "presets": "presets:app",
    "models": "models:app",
    "engines": "engines:app",
    "key": "key:app",
    "service": "service:app",
}
_TAKING_DEPLOYMENTS = ("launch", "explain")


def program(names: Iterable[str] = _COMMANDS) -> typer.Typer:
    """The program with these commands."""
    app = typer.Typer(
        name="serve",
        help="From a short YAML preset to a running, supervised, OpenAI-compatible vLLM or SGLang server.",
        epilog="Start here: serve engines install vllm; serve launch demo --preset balanced",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # plain help: importing rich takes longer than everything else that --help does
        pretty_exceptions_enable=False,
    )
    app.callback(invoke_without_command=True)(_main)
    for name in names:
        module, _, attribute = _COMMANDS[name].partition(":")
        found = getattr(importlib.import_module(f"launcher.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        elif name in _TAKING_DEPLOYMENTS:
            from launcher.cli.options import PASS_ON, Grouped, takes_deployment  # noqa: PLC0415 - for these alone

            app.command(name, cls=Grouped, context_settings=PASS_ON)(takes_deployment(found))
        else:
            app.command(name)(found)
    return app


def _main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"serve {launcher.__version__}")
        raise typer.Exit


def main() -> None:
    """The console script. Exits with the command's code; an error is told on standard error, never as a traceback.

    Where nobody reads what is printed (``serve keys | head -1``), that is the end: 141, as a shell tells of SIGPIPE.
    """
    _reopen()
    try:
        code = _perform(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        code = _unread()
    except OSError as error:  # standard output on a full disk
        _discard(sys.stdout)
        print(message(ServeError(f"standard output cannot be written: {error.strerror}")), file=sys.stderr)
        code = FAILED
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):  # typer and rich make this of one
            raise
        code = _unread()
    sys.exit(code)


def _reopen() -> None:
    """A closed standard output (``>&-``) becomes one that nobody reads: print would say nothing and succeed."""
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if sys.stdout is None:
        reader, writer = os.pipe()
        os.close(reader)
        sys.stdout = os.fdopen(writer, "w")


def _perform(words: list[str]) -> int:
    try:
        _readable(words)
        _hide_secrets(words)
        app = program(words[:1] if words and words[0] in _COMMANDS else _COMMANDS)
        return int(app(words, prog_name="serve", standalone_mode=False) or 0)
    except ServeError as error:
        _tell_manager(error)
        for each in error.every():
            print(message(each), file=sys.stderr)
        return error.code
    except TyperException as error:
        return _misused(error)
    except BrokenPipeError:
        raise
    except OSError as error:
        # a folder of ours or the user's that this user may not read or write, or that is no folder: whoever tripped
        # over it knows the path and the reason
        if not error.filename:
            raise
        of = of_file(error, settings.own_folders())
        _tell_manager(of)
        print(message(of), file=sys.stderr)
        return of.code
    except KeyboardInterrupt:
        return INTERRUPTED


def _tell_manager(error: ServeError) -> None:
    """Whoever looks at a service's status sees why it was refused; a run that has begun takes the variable away."""
    if "NOTIFY_SOCKET" in os.environ:
        from launcher.run.notify import Notifier  # noqa: PLC0415 - only of a service

        first = error.every()[0]
        Notifier().stopping(": ".join(filter(None, ("refused", first.where, first.what))))


def _unread() -> int:
    """What is still to be flushed at the exit goes nowhere."""
    _discard(sys.stdout, sys.stderr)
    return 141


def _discard(*streams: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream.fileno())


def _readable(words: list[str]) -> None:
    for place, word in enumerate(words, 1):
        try:
            word.encode()
        except UnicodeEncodeError:
            raise ServeError(f"{word!a} is not UTF-8 text", where=f"argument {place}") from None


def _hide_secrets(words: list[str]) -> None:
    """A secret that stands in our argv would stay there as long as a server runs."""
    if found := literal.find(words):
        print(message(found.warning), file=sys.stderr, flush=True)
        literal.start_again(found)


def _misused(error: TyperException) -> int:
    """Tells of an option without its value and the like, as every other error; returns the exit code."""
    context, text = getattr(error, "ctx", None), error.format_message()
    path = context.command_path if context else " ".join(["serve", *sys.argv[1:2]])
    if context and text == context.get_help():  # a group without its command
        print(text)
    else:
        print(message(ServeError(text.rstrip("."), fix=f"see: {path} --help")), file=sys.stderr)
    return error.exit_code


def message(error: ServeError) -> str:
    """An error in one to two lines: where, what; then what to do."""
    place = f"{error.where}: " if error.where else ""
    fix = f"\n  -> {error.fix}" if error.fix else ""
    text = f"serve: {place}{error.what}{fix}"
    if not text.isprintable():  # a file's name or a server's words may hold what a terminal obeys
        from launcher.run.output.lines import clean  # noqa: PLC0415 - seldom needed

        return "\n".join(map(clean, text.split("\n")))
    return text
