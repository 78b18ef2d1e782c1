"""The Typer app and `main`, where every error becomes one sentence and an exit code."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Any

import typer

from vidsampler import __version__
from vidsampler.cli import (
    completion,
    embed,
    env,
    eval,
    export,
    extract,
    flops,
    import_,
    listing,
    search,
    select,
    shard,
    train,
    verify,
)
from vidsampler.cli.options import Debug, Json, output_of
from vidsampler.cli.output import INTERRUPTED, Output, StdoutError, abandon, as_error
from vidsampler.errors import UsageError, VidsamplerError

# Plain help: it is quicker than rich's boxes, and fits pipes and narrow terminals as it is.
app = typer.Typer(
    name="vidsampler",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExample:\n  vidsampler select clip.mp4",
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Choose the frames of a video that matter."""
    out = output_of(context)
    if version:
        if out.json:
            out.result({"version": __version__})
        else:
            out.line(f"vidsampler {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        if out.json:
            raise UsageError("no command was given", hint="see: vidsampler --help")
        out.raw(context.get_help() + "\n")


for _module in (
    select,
    extract,
    shard,
    verify,
    train,
    eval,
    embed,
    search,
    flops,
    import_,
    export,
    listing,
    env,
    completion,
):
    app.command(_module.NAME, epilog=_module.EXAMPLE)(_module.command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: Words after the program's name; those of the process by default.

    Returns:
        The exit code: 0 done, 1 failed, 2 bad usage or input, 3 some items failed, 130 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Looked up before parsing, because an error in parsing must already be printed as asked.
    out = Output(json=_given("--json", words), debug=_given("--debug", words))
    for stream in (sys.stdout, sys.stderr):
        # File names may hold bytes, and locales may lack letters, that cannot be printed.
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")
    try:
        code = _run(words, out)
        out.flush()
        return code
    except (BrokenPipeError, StdoutError) as error:
        abandon(sys.stdout)
        # A reader that has seen enough, such as head, is no error to speak of.
        if error.errno != errno.EPIPE:
            out.note(f"error: cannot write the output: {error.strerror}")
        return 1


def _run(words: list[str], out: Output) -> int:
    try:
        command = typer.main.get_command(app)
        with command.make_context("vidsampler", words, obj=out) as context:
            command.invoke(context)
        return 0
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        out.failure(VidsamplerError("interrupted", code="interrupted"))
        return INTERRUPTED
    except (BrokenPipeError, StdoutError):
        # BrokenPipeError: the help is printed by Typer itself.
        raise
    except VidsamplerError as error:
        out.failure(error)
        return error.exit_code
    except Exception as error:
        failed = _usage_error(error) if isinstance(error, _PARSE_ERROR) else as_error(error)
        failed.__cause__ = error
        out.failure(failed)
        return failed.exit_code


def _parse_error_class() -> type[Exception]:
    """Typer's class of all errors in parsing.

    Typer exports only one of them, so this takes that one's most general ancestor.
    """
    ancestors = [each for each in typer.BadParameter.__mro__ if hasattr(each, "format_message")]
    return ancestors[-1]


_PARSE_ERROR = _parse_error_class()


def _usage_error(error: Any) -> UsageError:
    option = getattr(error, "option_name", None)
    near = getattr(error, "possibilities", None)
    if option is not None and near is not None:
        message = f"unknown option {option}"
        if nearest := get_close_matches(option, near or (), n=1, cutoff=0.0):
            message += f"; did you mean {nearest[0]}?"
    else:
        message = str(error.format_message()).rstrip(".")
        message = message[:1].lower() + message[1:]
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "vidsampler"
    return UsageError(" ".join(message.split()), hint=f"see: {path} --help")


def _given(flag: str, words: list[str]) -> bool:
    end = words.index("--") if "--" in words else len(words)
    return flag in words[:end]
