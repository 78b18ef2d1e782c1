"""`vidsampler completion`: shell scripts generated from the app and the registry.

The scripts are static text: completing starts no Python. `python -m vidsampler.cli.completion`
writes all three into `completions/`; a test compares them with what it would write.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from vidsampler import registry
from vidsampler.backbones.config import Precision
from vidsampler.cli.options import Debug, Json, output_of
from vidsampler.config import configs_dir
from vidsampler.errors import UsageError, unknown

NAME = "completion"
EXAMPLE = '\b\nExample, for one session:\n  eval "$(vidsampler completion bash)"'
FILES = {"bash": "vidsampler.bash", "zsh": "_vidsampler", "fish": "vidsampler.fish"}


def command(
    context: typer.Context,
    shell: Annotated[str, typer.Argument(metavar="SHELL", show_default=False, hidden=True)],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Print the completion script of a shell.

    SHELL is bash, zsh or fish.
    """
    out = output_of(context)
    if shell not in FILES:
        raise UsageError(unknown("shell", shell, FILES))
    text = script(shell)
    if out.json:
        out.result({"shell": shell, "script": text})
    else:
        out.raw(text)


@dataclass(frozen=True)
class Flag:
    """One option.

    Attributes:
        names: Its spellings, such as ("-k", "--top-k").
        help: The first sentence of its help.
        takes: "nothing", "value", "file", "folder", or "words".
        words: The words it may take.
        again: It may be given more than once.
    """

    names: tuple[str, ...]
    help: str
    takes: str
    words: tuple[str, ...] = ()
    again: bool = False


@dataclass(frozen=True)
class Command:
    """One subcommand, or the program itself (name "").

    Attributes:
        name: Its name.
        help: The first sentence of its help.
        flags: Its options.
        words: The words that its arguments may be; none: files.
    """

    name: str
    help: str
    flags: tuple[Flag, ...]
    words: tuple[str, ...]
    takes_files: bool


def script(shell: str) -> str:
    """The completion script for "bash", "zsh" or "fish"."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](_commands())


def write(folder: Path) -> None:
    """Writes the scripts of all shells."""
    for shell, name in FILES.items():
        (folder / name).write_text(script(shell), encoding="utf-8")


def _commands() -> list[Command]:
    """The program itself first, then its subcommands."""
    # Late, because the app has this module's command in it.
    from vidsampler.cli import listing
    from vidsampler.cli.app import app

    group: Any = typer.main.get_command(app)
    subcommands = {name: each for name, each in group.commands.items() if not each.hidden}
    found = [Command("", "", _flags(group), tuple(subcommands), takes_files=False)]
    for name, each in subcommands.items():
        words = {"list": listing.KINDS, "completion": tuple(FILES)}.get(name, ())
        takes_files = not words and any(
            parameter.param_type_name == "argument" for parameter in each.params
        )
        found.append(Command(name, _sentence(each.help), _flags(each), words, takes_files))
    return found


def _flags(of: Any) -> tuple[Flag, ...]:
    found = []
    known = _known_words()
    for option in of.params:
        if option.param_type_name != "option" or option.hidden:
            continue
        takes = "value"
        words: tuple[str, ...] = ()
        if option.is_flag:
            takes = "nothing"
        elif option.name in known:
            takes, words = "words", known[option.name]
        elif "--config" in option.opts:
            takes, words = "file", _presets(of.name)
        elif option.metavar in ("FILE", "DIR"):
            takes = {"FILE": "file", "DIR": "folder"}[option.metavar]
        found.append(
            Flag(tuple(option.opts), _sentence(option.help), takes, words, bool(option.multiple))
        )
    found.append(Flag(("-h", "--help"), "Show this message and exit", "nothing"))
    return tuple(found)


def _known_words() -> dict[str, tuple[str, ...]]:
    """The words of options that take one of a few, by the option's name."""
    # Late for the reason given in `_commands`.
    from vidsampler.checkpoints.names import FAMILIES, NAMINGS
    from vidsampler.cli import eval as evaluation
    from vidsampler.handover import FORMATS

    return {
        "sampler": registry.names("samplers"),
        "dataset": registry.names("datasets"),
        "head": registry.names("heads"),
        "method": registry.names("methods"),
        "rerank": evaluation.RERANKS,
        "v2t": evaluation.CONVENTIONS,
        "table": evaluation.TABLES,
        "published": evaluation.PUBLISHED,
        "family": FAMILIES,
        "naming": NAMINGS,
        "hand_over": FORMATS,
        "precision": get_args(Precision),
    }


def _presets(kind: str) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (configs_dir() / kind).glob("*.yaml")))


def _sentence(help_text: str | None) -> str:
    line = " ".join((help_text or "").split("\n\n")[0].split())
    return line.partition(". ")[0].rstrip(".")


def _bash(commands: list[Command]) -> str:
    program, *subcommands = commands
    cases = []
    for each in subcommands:
        body = []
        for flag in each.flags:
            names = "|".join(flag.names)
            reply = _bash_words(flag.words)
            if flag.takes == "words":
                body.append(f"                {names}) {reply}; return ;;")
            elif flag.takes in ("file", "folder"):
                kind = "-d" if flag.takes == "folder" else "-f"
                extra = f"{reply}; " if flag.words else ""
                files = (
                    f'COMPREPLY+=($(compgen {kind} -- "$word")); compopt -o filenames 2>/dev/null'
                )
                body.append(f"                {names}) {extra}{files}; return ;;")
            elif flag.takes == "value":
                body.append(f"                {names}) return ;;")
        options = " ".join(name for flag in each.flags for name in flag.names)
        previous = ""
        if body:
            lines = "\n".join(body)
            previous = f'            case "$before" in\n{lines}\n            esac\n'
        if each.words:
            arguments = _bash_words(each.words)
        elif each.takes_files:
            arguments = 'COMPREPLY=($(compgen -f -- "$word")); compopt -o filenames 2>/dev/null'
        else:
            arguments = ":"
        cases.append(
            f"        {each.name})\n{previous}"
            f'            if [[ "$word" == -* ]]; then {_bash_words(options.split())}\n'
            f"            else {arguments}; fi ;;\n"
        )
    first = _bash_words((*program.words, *(name for flag in program.flags for name in flag.names)))
    return f"""# bash completion for vidsampler; generated by: python -m vidsampler.cli.completion
_vidsampler() {{
    local IFS=$'\\n' word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}"
    local command="" each
    COMPREPLY=()
    for each in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        [[ "$each" == -* ]] || {{ command="$each"; break; }}
    done
    case "$command" in
        "")
            {first} ;;
{"".join(cases)}    esac
}}
complete -F _vidsampler vidsampler
"""


def _bash_words(words: tuple[str, ...] | list[str]) -> str:
    joined = "\\n".join(words)
    return f"""COMPREPLY=($(compgen -W $'{joined}' -- "$word"))"""


def _zsh(commands: list[Command]) -> str:
    program, *subcommands = commands
    listed = "\n".join(f"        {_quoted(f'{each.name}:{each.help}')}" for each in subcommands)
    cases = []
    for each in subcommands:
        specs = [_zsh_flag(flag) for flag in each.flags]
        if each.words:
            specs.append(_quoted(f"1:word:({' '.join(each.words)})"))
        elif each.takes_files:
            specs.append(_quoted("*:file:_files"))
        joint = " \\\n                "
        cases.append(
            f"        {each.name})\n"
            f"            _arguments -s{joint}{joint.join(specs)}\n"
            "            ;;\n"
        )
    options = " \\\n        ".join(_zsh_flag(flag) for flag in program.flags)
    return f"""#compdef vidsampler
# zsh completion for vidsampler; generated by: python -m vidsampler.cli.completion
_vidsampler_words_or_files() {{
    compadd -- "$@"
    _files
}}
_vidsampler() {{
    local curcontext="$curcontext" state line
    local -a commands
    commands=(
{listed}
    )
    _arguments -C \\
        {options} \\
        '1: :->command' \\
        '*:: :->arguments'
    case $state in
    command) _describe command commands ;;
    arguments)
        case $line[1] in
{"".join(cases)}        esac
        ;;
    esac
}}
if [ "$funcstack[1]" = "_vidsampler" ]; then
    _vidsampler "$@"
else
    compdef _vidsampler vidsampler
fi
"""


def _zsh_flag(flag: Flag) -> str:
    text = flag.help.replace("[", r"\[").replace("]", r"\]").replace(":", r"\:")
    action = {
        "nothing": "",
        "value": ":value: ",
        "file": ":file:_files",
        "folder": ":folder:_files -/",
        "words": f":word:({' '.join(flag.words)})",
    }[flag.takes]
    if flag.takes == "file" and flag.words:
        # A space before an action keeps zsh from adding words of its own to it.
        action = f":file: _vidsampler_words_or_files {' '.join(flag.words)}"
    tail = _quoted(f"[{text}]{action}")
    if flag.again:
        head = f"\\*{flag.names[0]}" if len(flag.names) == 1 else f"\\*{{{','.join(flag.names)}}}"
        return f"{head}{tail}"
    if len(flag.names) == 1:
        return f"{flag.names[0]}{tail}"
    return f"'({' '.join(flag.names)})'{{{','.join(flag.names)}}}{tail}"


def _fish(commands: list[Command]) -> str:
    program, *subcommands = commands
    lines = [
        "# fish completion for vidsampler; generated by: python -m vidsampler.cli.completion",
        "complete -c vidsampler -f",
    ]
    lines += [_fish_flag(flag, "__fish_use_subcommand") for flag in program.flags]
    for each in subcommands:
        offered = f"-a {each.name} -d {_quoted(each.help)}"
        lines.append(f"complete -c vidsampler -n __fish_use_subcommand {offered}")
    for each in subcommands:
        inside = _quoted(f"__fish_seen_subcommand_from {each.name}")
        lines += [_fish_flag(flag, inside) for flag in each.flags]
        if each.words:
            lines.append(f"complete -c vidsampler -n {inside} -a {_quoted(' '.join(each.words))}")
        elif each.takes_files:
            lines.append(f"complete -c vidsampler -n {inside} -F")
    return "\n".join(lines) + "\n"


def _fish_flag(flag: Flag, condition: str) -> str:
    names = " ".join(
        f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names
    )
    words = f" -a {_quoted(' '.join(flag.words))}" if flag.words else ""
    takes = {
        "nothing": "",
        "value": " -x",
        "words": f" -x{words}",
        "file": f" -r -F{words}",
        "folder": " -x -a '(__fish_complete_directories)'",
    }[flag.takes]
    return f"complete -c vidsampler -n {condition} {names}{takes} -d {_quoted(flag.help)}"


def _quoted(text: str) -> str:
    """A word in single quotes, for sh and its kin; fish reads the same."""
    return "'" + text.replace("'", "'\\''") + "'"


if __name__ == "__main__":
    write(Path(__file__).resolve().parents[2] / "completions")
