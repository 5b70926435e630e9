"""The scripts of completion for bash, zsh and fish, made from a table of commands."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Option(NamedTuple):
    """An option of a command.

    Attributes:
        names: Its long names, such as `--recursive` and `--no-recursive`.
        help: What it does.
        takes_value: Whether a value follows.
        words: Words that the value may be.
        takes_file: Whether the value may be a file, or any text.
    """

    names: Sequence[str]
    help: str
    takes_value: bool
    words: Sequence[str]
    takes_file: bool


class Command(NamedTuple):
    """A verb, or a verb and its action.

    Attributes:
        words: The beginning of the command line behind `lsr`, such as `degrade export`.
        arguments: Words that may follow besides files, each with its help.
        options: The options.
    """

    words: str
    arguments: Mapping[str, str]
    options: Sequence[Option]


def bash(verbs: Mapping[str, str], commands: Sequence[Command]) -> str:
    """Return the script for bash; see `SHELLS` for the arguments."""
    branches = "".join(map(_bash_branch, commands))
    return f"""# Completion of lsr in bash, written by: lsr completion bash
_lsr() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
    local words files=yes
    case "${{COMP_WORDS[*]:1:COMP_CWORD-1}} " in
{branches}        *) words={shlex.quote(" ".join(verbs))} files=no ;;
    esac
    [[ $files == no ]] && compopt +o default
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _lsr lsr
"""


def _bash_branch(command: Command) -> str:
    names = [name for option in command.options for name in option.names]
    # Options whose values are completed in the same way share a line.
    alike: dict[tuple[str, str], list[str]] = {}
    for option in command.options:
        if option.takes_value:
            way = " ".join(option.words), "yes" if option.takes_file else "no"
            alike.setdefault(way, []).extend(option.names)
    values = "".join(
        f"                {'|'.join(options)}) words={shlex.quote(words)} files={files} ;;\n"
        for (words, files), options in alike.items()
    )
    return (
        f"        {shlex.quote(command.words + ' ')}*)\n"
        f"            words={shlex.quote(' '.join(command.arguments))}\n"
        f"            [[ $current == -* ]] && words={shlex.quote(' '.join(names))}\n"
        f"            case $previous in\n{values}            esac ;;\n"
    )


def zsh(verbs: Mapping[str, str], commands: Sequence[Command]) -> str:
    """Return the script for zsh; see `SHELLS` for the arguments."""
    branches = "".join(map(_zsh_branch, commands))
    described = "\n".join(
        f"        {shlex.quote(f'{verb}:{text}')}" for verb, text in verbs.items()
    )
    return f"""#compdef lsr
# Completion of lsr in zsh, written by: lsr completion zsh
_lsr() {{
    local -a verbs=(
{described}
    )
    case "${{words[2,CURRENT-1]}} " in
{branches}        (*) _describe verb verbs ;;
    esac
}}
if [[ $funcstack[1] == _lsr ]]; then _lsr "$@"; else compdef _lsr lsr; fi
"""


def _zsh_branch(command: Command) -> str:
    specs = [_zsh_spec(option, name) for option in command.options for name in option.names]
    specs.append(f"*: :{_zsh_values(list(command.arguments), takes_file=True)}")
    depth = len(command.words.split())
    quoted = " \\\n".join(f"            {shlex.quote(spec)}" for spec in specs)
    return (
        f"        ({shlex.quote(command.words + ' ')}*)\n"
        f"            shift {depth} words; (( CURRENT -= {depth} ))\n"
        f"            _arguments \\\n{quoted} ;;\n"
    )


def _zsh_spec(option: Option, name: str) -> str:
    """Return an option as `_arguments` reads it: `*--name[help]: :values`."""
    text = option.help.translate({ord(each): "\\" + each for each in "[]:\\"})
    values = f": :{_zsh_values(option.words, option.takes_file)}" if option.takes_value else ""
    return f"*{name}[{text}]{values}"


def _zsh_values(words: Sequence[str], takes_file: bool) -> str:
    """Return the action of `_arguments` for a value that is one of some words, or a file."""
    if not words:
        return "_files" if takes_file else " "
    return f"{{compadd -- {' '.join(words)}{'; _files' if takes_file else ''}}}"


def fish(verbs: Mapping[str, str], commands: Sequence[Command]) -> str:
    """Return the script for fish; see `SHELLS` for the arguments."""
    lines = [
        f"complete -c lsr -f -n __fish_use_subcommand -a {verb} -d {shlex.quote(text)}"
        for verb, text in verbs.items()
    ]
    for command in commands:
        follows = f"complete -c lsr -n '__lsr_follows {command.words}'"
        for word, text in command.arguments.items():
            lines.append(f"{follows} -a {word} -d {shlex.quote(text)}")
        lines += [f"{follows} {_fish_option(option)}" for option in command.options]
    return f"""# Completion of lsr in fish, written by: lsr completion fish
function __lsr_follows
    set -l words (commandline -opc)
    string match -q -- "$argv *" "$words[2..-1] "
end
{chr(10).join(lines)}
"""


def _fish_option(option: Option) -> str:
    parts = [f"-l {name.removeprefix('--')}" for name in option.names]
    if option.takes_value:
        parts.append("-r" if option.takes_file else "-x")
    if option.words:
        parts.append(f"-a {shlex.quote(' '.join(option.words))}")
    return " ".join([*parts, f"-d {shlex.quote(option.help)}"])


SHELLS: dict[str, Callable[[Mapping[str, str], Sequence[Command]], str]] = {
    "bash": bash,
    "zsh": zsh,
    "fish": fish,
}
"""Shell -> function that returns its script.

The arguments of the function are the help of each verb, and all commands. Longer commands come
first: `degrade export` before `degrade`.
"""
