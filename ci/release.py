"""What `ci/release` asks and changes in the files of a repository, which is the current directory.

`state VERSION` says what there is to do, or refuses; `prepare VERSION DATE` edits; `notes VERSION` prints.
"""

import re
import subprocess
import sys
from pathlib import Path

from packaging.version import InvalidVersion, Version

HOME = Path("rport/__init__.py")
CHANGELOG = Path("CHANGELOG.md")
UPGRADE = Path("docs/upgrade.md")
# Where the version stands beside its home: what is around it, which examples of older versions have not.
MENTIONS = {
    "docs/openapi.json": r'(?m)^  "version": "{}"$',
    "docs/docker.md": r"\brportd:{}(?![\w.])",
    "docs/install.md": r"(?<![\d.]){}(?!\.?\d)",
    "deploy/compose.yaml": r"\brportd:{}(?![\w.])",
    "deploy/kubernetes.yaml": r'(?:rportd:|/version: "){}(?![\w.])',
}
UNRELEASED = "Unreleased"
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)]*\)")  # leads nowhere outside the repository


class Refused(Exception):
    """One line: what is wrong, where, and what to do."""


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True)
    if done.returncode:
        raise Refused(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def parsed(text: str) -> Version:
    try:
        version = Version(text)
    except InvalidVersion:
        raise Refused(f"{text!r} is no version as PEP 440 has them: give one such as 1.2.0 or 1.2.0rc1") from None
    if str(version) != text:
        raise Refused(f"{text!r} is written {version} in PEP 440's normal form; give that")
    if version.local:
        raise Refused(f"{text!r} has a local part, which no index takes: leave +{version.local} away")
    return version


def current() -> Version:
    found = re.search(r'^__version__ = "(.*)"$', HOME.read_text(), re.MULTILINE)
    if found is None:
        raise Refused(f'{HOME} has no line __version__ = "..."')
    return Version(found[1])


def sections() -> dict[str, str]:
    """The CHANGELOG's, newest first, by the first word of their headings."""
    _, *parts = re.split(r"^## ", CHANGELOG.read_text(), flags=re.MULTILINE)
    split = (part.partition("\n") for part in parts)
    return {heading.split()[0]: body.strip() for heading, _, body in split}


def tags() -> dict[str, str]:
    """The commits of those that are named as versions."""
    lines = git("for-each-ref", "--format=%(refname:strip=2) %(objectname) %(*objectname)", "refs/tags/v*").splitlines()
    return {name.removeprefix("v"): peeled[-1] for name, *peeled in map(str.split, lines)}


def released() -> list[Version]:
    found = []
    for name in {*sections(), *tags()} - {UNRELEASED}:
        try:
            found.append(Version(name))
        except InvalidVersion:
            raise Refused(f"{name!r}, in {CHANGELOG} or as a tag, is no version: give it another name") from None
    return sorted(found)


def state(version: Version) -> str:
    """`fresh`; `prepared`, when the release's commit is there; `tagged`, when its tag is too."""
    if changed := git("status", "--porcelain"):
        raise Refused(f"the tree has changes that are not committed; commit or stash them first:\n{changed}")
    name, tagged = str(version), tags()
    if name in tagged:
        if tagged[name] != git("rev-parse", "HEAD"):
            raise Refused(
                f"the tag v{name} exists, at {tagged[name][:10]}: releases are not changed, take the next number"
            )
        if version != current():
            raise Refused(f"the tag v{name} is here, but {HOME} says {current()}")
        return "tagged"
    if version == current() and name in sections():
        return "prepared"
    if older := [other for other in released() if other >= version]:
        raise Refused(f"{name} is not newer than {older[-1]}, which is released")
    if version < current():
        raise Refused(f"{name} is older than {current()}, which {HOME} says")
    if not re.search(r"^- ", sections().get(UNRELEASED, ""), re.MULTILINE):
        raise Refused(f"{CHANGELOG} says nothing under '## {UNRELEASED}': what can users see?")
    return "fresh"


def prepare(version: Version, day: str) -> None:
    old = current()
    replace(HOME, f'__version__ = "{old}"', f'__version__ = "{version}"')
    replace(CHANGELOG, f"## {UNRELEASED}\n", f"## {UNRELEASED}\n\n## {version} - {day}\n")
    UPGRADE.write_text(UPGRADE.read_text().replace(f"### {UNRELEASED}\n", f"### {version}\n"))
    for path, pattern in MENTIONS.items():
        found = re.compile(pattern.format(re.escape(str(old))))
        Path(path).write_text(found.sub(lambda match: match[0].replace(str(old), str(version)), Path(path).read_text()))


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    if text.count(old) != 1:
        raise Refused(f"{path} should have this once: {old.strip()}")
    path.write_text(text.replace(old, new))


def notes(version: Version) -> str:
    parts = [f"# rport {version}", sections()[str(version)], "## Upgrading", of_upgrades("## In short")]
    return LINK.sub(r"\1", "\n\n".join(filter(None, [*parts, of_upgrades(f"### {version}")]))) + "\n"


def of_upgrades(heading: str) -> str:
    """What docs/upgrade.md has under it; nothing where there is nothing to know."""
    found = re.search(rf"(?ms)^{re.escape(heading)}\n(.*?)(?=^##|\Z)", UPGRADE.read_text())
    return found[1].strip() if found else ""


def main() -> None:
    command, text, *more = sys.argv[1:]
    try:
        version = parsed(text)
        if command == "state":
            print(state(version))
        elif command == "prepare":
            prepare(version, *more)
        else:
            print(notes(version), end="")
    except Refused as error:
        sys.exit(f"release: {error}")


if __name__ == "__main__":
    main()
