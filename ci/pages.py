"""Manual pages, shells' completions and the tables of docs/configuration.md, from the tables of options.

`python ci/pages.py` writes them; a test holds what is committed against `pages()`.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import shtab

from rport.client.options import TABLE as CLIENT
from rport.config import Table
from rport.ctl import commands as ctl
from rport.ctl.command import GLOBALS, usage
from rport.options import Option, described
from rport.server.options import TABLE as SERVER

ROOT = Path(__file__).parent.parent
REFERENCE = "docs/configuration.md"
CTL_REFERENCE = "docs/rportctl.md"
SECTIONS = {"rport": 1, "rportd": 8}
COMMANDS = {"rport": "config enroll key service", "rportd": "config db hash-password health service token user"}
PLACES = {
    "bash": "share/bash-completion/completions/{prog}",
    "zsh": "share/zsh/site-functions/_{prog}",
    "fish": "share/fish/vendor_completions.d/{prog}.fish",
}

SIGNALS = {
    "rport": {
        "SIGHUP": "Read the configuration again and end the wait before the next try.",
        "SIGUSR2": "Print statistics.",
        "SIGTERM, SIGINT": "End the session, and what it carries, in order.",
    },
    "rportd": {
        "SIGHUP": "Read the configuration again; the log says what changed and what needs a restart.",
        "SIGUSR2": "Print statistics.",
        "SIGTERM, SIGINT": "Take no more visitors, let carried connections end for up to 10 seconds, tell clients to "
        "come back, and end. A second signal ends at once.",
    },
}
SEE = {"rport": "rportd (8)", "rportd": "rport (1)"}


def pages() -> dict[str, str]:
    """Text by path below the repository's root."""
    made = {}
    for table in (CLIENT, SERVER):
        section = SECTIONS[table.prog]
        made[f"share/man/man{section}/{table.prog}.{section}"] = manual(table, section)
        for shell, place in PLACES.items():
            made[place.format(prog=table.prog)] = completion(table, shell)
    made["share/man/man1/rportctl.1"] = manual_of_commands()
    for shell, place in PLACES.items():
        made[place.format(prog="rportctl")] = completion_of_commands(shell)
    made[CTL_REFERENCE] = between((ROOT / CTL_REFERENCE).read_text(), "<!-- commands of rportctl -->\n", command_rows())
    made[REFERENCE] = reference((ROOT / REFERENCE).read_text())
    return made


# --- manual pages, man(7) --------------------------------------------------------------------------------------------


def manual(table: Table, section: int) -> str:
    prog = table.prog
    lines = [
        f'.TH {prog.upper()} {section} "" rport "rport manual"',
        ".SH NAME",
        f"{prog} \\- {roff(table.about[0].lower() + table.about[1:].rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {prog}",
        "[\\fIoptions\\fR]" + (" \\fISERVER\\fR [\\fIREMOTE\\fR ...]" if prog == "rport" else ""),
        ".SH OPTIONS",
        "Options and arguments come in any order; \\-x and \\-\\-x are the same, and \\-\\-option=value works too.",
    ]
    for option in table.options:
        lines += [".TP", _tag(option), roff(described(option)) + ".", f"Variable: {', '.join(option.variables)}."]
    lines += [".TP", "\\fB\\-\\-version\\fR, \\fB\\-\\-help\\fR", "Say so, and end."]
    lines += _epilog(table.epilog)
    lines += [".SH SIGNALS"]
    for name, text in SIGNALS[prog].items():
        lines += [".TP", f".B {name}", roff(text)]
    lines += [".SH SEE ALSO", f".BR {SEE[prog]}"]
    return "\n".join(lines) + "\n"


def _tag(option: Option) -> str:
    if option.positional:
        return f"\\fI{option.metavar}\\fR" + (" ..." if option.many else "")
    names = ", ".join(f"\\fB{roff(name)}\\fR" for name in (option.short, f"--{option.name}") if name)
    return names + (f" \\fI{roff(option.metavar)}\\fR" if option.metavar else "")


def _epilog(text: str) -> Iterator[str]:
    """Blocks with a heading become sections of lines as they are; others are paragraphs of the section before."""
    for block in text.strip().split("\n\n"):
        first, *rest = block.split("\n")
        if first.endswith(":"):
            title = re.sub(r"\(.*?\)", "", first[:-1]).strip()
            note = re.search(r"\((.*?)\)", first)
            yield f".SH {title.upper()}"
            if note:
                yield roff(note[1][0].upper() + note[1][1:]) + "."
            yield from (".nf", *map(roff, rest), ".fi")
        else:
            yield from (".PP", roff(" ".join(block.split("\n"))))


def roff(text: str) -> str:
    """With what man(7) would take for its own written otherwise."""
    text = (
        text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("'", "\\(aq").replace("`", "\\(ga")
    )
    return f"\\&{text}" if text.startswith(".") else text


# --- completions -----------------------------------------------------------------------------------------------------


def completion(table: Table, shell: str) -> str:
    prog = table.prog
    p = argparse.ArgumentParser(prog=prog, description=table.about, add_help=False)
    for option in table.options:
        _add(p, option)
    first = p.add_argument("command", nargs="?", help="or a command") if prog == "rportd" else p._actions[1]
    words = COMMANDS[prog].split()
    first.complete = {  # type: ignore[attr-defined]
        "bash": f"_{prog}_commands",
        "zsh": f"({' '.join(words)})",
        "fish": f"({'; '.join(f'echo {word}' for word in words)})",
    }
    p.add_argument("--version", action="store_true", help="show the version and end")
    p.add_argument("--help", action="store_true", help="show help and end")
    preamble = {"bash": f'_{prog}_commands() {{ compgen -W "{" ".join(words)}" -- "$1"; }}'}
    text: str = shtab.complete(p, shell=shell, root_prefix=prog, preamble=preamble)
    return text.rstrip() + "\n"


def _add(p: argparse.ArgumentParser, option: Option) -> None:
    if option.positional:
        p.add_argument(option.name, nargs="*" if option.many else "?", help=option.help)
        return
    names = [name for name in (option.short, f"--{option.name}") if name]
    if option.flag:
        p.add_argument(*names, action="store_true", help=option.help)
    else:
        choices = option.hint if isinstance(option.hint, tuple) and option.hint else None
        action = p.add_argument(*names, metavar=option.metavar, choices=choices, help=option.help)
        if option.hint == "file":
            action.complete = shtab.FILE  # type: ignore[attr-defined]


# --- docs ------------------------------------------------------------------------------------------------------------


def reference(text: str) -> str:
    """The page with its tables made again, each between a pair of marks."""
    for table in (CLIENT, SERVER):
        text = between(text, f"<!-- options of {table.prog} -->\n", rows(table))
    return text


def between(text: str, mark: str, made: str) -> str:
    """What stands between a pair of marks, made again."""
    head, _, rest = text.partition(mark)
    _, _, tail = rest.partition(mark)
    return head + mark + made + mark + tail


def rows(table: Table) -> str:
    lines = ["", "| option | variable | default | reload | |", "| --- | --- | --- | --- | --- |"]
    for option in table.options:
        name = option.metavar if option.positional else f"--{option.name}"
        forms = [f"`{name}`" if option.positional or option.flag else f"`{name} {option.metavar}`"]
        forms += [f"`{option.short}`"] if option.short else []
        cells = [
            ", ".join(forms),
            ", ".join(f"`{name}`" for name in option.variables),
            f"`{option.default}`" if option.default is not None else "",
            "yes" if option.live else "",
            _text(option),
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, "", ""])


def _text(option: Option) -> str:
    notes = [note for note, there in (("repeatable", option.many), ("`@FILE` works", option.secret)) if there]
    return option.help.replace("*", "\\*") + (f" ({', '.join(notes)})" if notes else "")


# --- rportctl, whose table is one of commands ------------------------------------------------------------------------


def manual_of_commands() -> str:
    lines = [
        '.TH RPORTCTL 1 "" rport "rport manual"',
        ".SH NAME",
        f"rportctl \\- {roff(ctl.ABOUT[0].lower() + ctl.ABOUT[1:].rstrip('.'))}",
        ".SH SYNOPSIS",
        ".B rportctl",
        "\\fICOMMAND\\fR [\\fIarguments\\fR] [\\fIoptions\\fR]",
        ".SH COMMANDS",
    ]
    for command in ctl.COMMANDS:
        lines += [".TP", f"\\fB{roff(usage(command))}\\fR", roff(command.help[0].upper() + command.help[1:]) + "."]
        own = [option for option in command.options if not option.positional]
        if own:
            lines += [
                ".RS",
                *(line for option in own for line in (".TP", _tag(option), roff(described(option)) + ".")),
                ".RE",
            ]
    lines += [".SH OPTIONS", "All commands take these."]
    for option in GLOBALS:
        lines += [".TP", _tag(option), roff(described(option)) + ".", f"Variable: {option.variables[0]}."]
    return "\n".join([*lines, *_epilog(ctl.EPILOG), ".SH SEE ALSO", ".BR rport (1),", ".BR rportd (8)"]) + "\n"


OFFERED = {  # by hint: what each shell calls
    hint: {
        "bash": f"_rportctl_{hint}s",
        "zsh": f"_rportctl_{hint}s",
        "fish": f"(rportctl __complete {hint}s (commandline -ct))",
    }
    for hint in ("client", "profile")
}
PREAMBLE = {
    "bash": "\n".join(f'_rportctl_{h}s() {{ rportctl __complete {h}s "$1" 2>/dev/null; }}' for h in OFFERED),
    "zsh": "\n".join(
        f'_rportctl_{h}s() {{ local -a found; found=(${{(f)"$(rportctl __complete {h}s "$PREFIX" 2>/dev/null)"}}); '
        "compadd -a found }"
        for h in OFFERED
    ),
}


def completion_of_commands(shell: str) -> str:
    p = argparse.ArgumentParser(prog="rportctl", description=ctl.ABOUT)
    parsers = {"": p.add_subparsers()}
    for command in ctl.COMMANDS:
        first, _, second = command.name.partition(" ")
        if second and first not in parsers:
            group = parsers[""].add_parser(first, help=f"commands for each {first}")
            parsers[first] = group.add_subparsers()
        own = parsers[first if second else ""].add_parser(second or first, help=command.help)
        for option in (*command.options, *GLOBALS):
            _add(own, option)
            if option.hint in OFFERED:
                own._actions[-1].complete = OFFERED[option.hint]  # type: ignore[attr-defined]
    return shtab.complete(p, shell=shell, root_prefix="rportctl", preamble=PREAMBLE).rstrip() + "\n"


def command_rows() -> str:
    lines = ["", "| command | |", "| --- | --- |"]
    for command in ctl.COMMANDS:
        options = ", ".join(f"`{_written(option)}`" for option in command.options if not option.positional)
        text = command.help + (f": {options}" if options else "")
        cells = (f"`{usage(command).removeprefix('rportctl ').removesuffix(' [options]')}`", text)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, "", ""])


def _written(option: Option) -> str:
    return f"--{option.name}" + (f" {option.metavar}" if option.metavar else "")


def main() -> None:
    for path, text in pages().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text)


if __name__ == "__main__":
    main()
