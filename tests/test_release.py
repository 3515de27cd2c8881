"""`ci/release` in a small repository of the same shape, whose steps are scripts of a line."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from rport import __version__

ROOT = Path(__file__).parents[1]
CHANGELOG = "# Changelog\n\n## Unreleased\n\n- Tunnels: [how](docs/tunnels.md).\n"
FILES = {
    ".gitignore": "/build/\n/dist/\n/.venv/\n",
    "rport/__init__.py": '__version__ = "0.1.0"\n',
    "CHANGELOG.md": CHANGELOG,
    "docs/upgrade.md": "# Upgrades\n\n## In short\n\nServers first.\n\n## By version\n\n### Unreleased\n\nNew keys.\n",
    "docs/docker.md": "docker run rportd:0.1.0\nit had 0.1.0 once\n",
    "docs/install.md": "rport-0.1.0.tar.gz\n",
    "deploy/compose.yaml": "image: rportd:0.1.0\n",
    "deploy/kubernetes.yaml": 'app.kubernetes.io/version: "0.1.0"\nimage: rportd:0.1.0\n',
    "docs/openapi.json": '{\n "info": {\n  "version": "0.1.0"\n },\n "example": {\n   "version": "0.1.0"\n }\n}\n',
}
STEPS = (
    ".ci/run",
    "wheels/build",
    "wheels/smoke",
    "wheels/standalone",
    "wheels/packages",
    "ci/image",
    "ci/install-docs",
)
ENV = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "PYTHON": sys.executable}
NAMES = {f"GIT_{who}_{what}": "somebody@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


class Repository:
    def __init__(self, at: Path) -> None:
        self.at = at
        for name, text in FILES.items():
            self.write(name, text)
        for name in STEPS:
            self.write(name, f'#!/bin/sh\necho "{name} $*" >>build/steps\necho "{name} is done"\n')
        self.write(
            "wheels/build", '#!/bin/sh\nmkdir -p dist/arm\ntouch dist/rport.whl dist/arm/nacl.whl\necho "built"\n'
        )
        for name in ("ci/release", "ci/release.py", "ci/lib.sh"):
            shutil.copy(ROOT / name, at / name)
        self.git("init", "--quiet", "--initial-branch", "main")
        self.commit()

    def write(self, name: str, text: str) -> None:
        path = self.at / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if text.startswith("#!") else 0o644)

    def read(self, name: str) -> str:
        return (self.at / name).read_text()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=self.at, env={**os.environ, **ENV, **NAMES}, capture_output=True, text=True)

    def git(self, *words: str) -> str:
        done = self.run("git", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Change")

    def release(self, *words: str, code: int = 0) -> str:
        done = self.run("ci/release", *words)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def state(self) -> tuple[str, str, str]:
        return self.git("rev-parse", "HEAD"), self.git("status", "--porcelain"), self.git("tag")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    return Repository(tmp_path)


def test_the_version_and_the_changelog_are_changed_everywhere(repository: Repository) -> None:
    repository.release("0.2.0")
    assert repository.read("rport/__init__.py") == '__version__ = "0.2.0"\n'
    (day,) = re.findall(
        r"## Unreleased\n\n## 0\.2\.0 - (\d{4}-\d\d-\d\d)\n\n- Tunnels", repository.read("CHANGELOG.md")
    )
    assert day == repository.git("log", "-1", "--date=format-local:%Y-%m-%d", "--format=%cd")
    for name in ("docs/install.md", "deploy/compose.yaml", "deploy/kubernetes.yaml"):
        assert repository.read(name) == FILES[name].replace("0.1.0", "0.2.0")
    assert repository.read("docs/docker.md") == "docker run rportd:0.2.0\nit had 0.1.0 once\n"
    assert repository.read("docs/openapi.json") == FILES["docs/openapi.json"].replace(
        '  "version": "0.1.0"', '  "version": "0.2.0"', 1
    )
    assert "### 0.2.0\n\nNew keys." in repository.read("docs/upgrade.md")
    assert repository.git("log", "-1", "--format=%s") == "Release 0.2.0"


def test_what_it_leaves(repository: Repository) -> None:
    said = repository.release("0.2.0")
    assert repository.state() == (repository.git("rev-parse", "v0.2.0^{commit}"), "", "v0.2.0")
    assert repository.git("cat-file", "-t", "v0.2.0") == "tag"
    assert "git push --atomic origin main v0.2.0" in said
    assert sorted(path.name for path in (repository.at / "dist").iterdir()) == [
        "SHA256SUMS", "notes.md", "rport-0.2.0-arm.tar.gz", "rport.whl",
    ]  # fmt: skip
    assert repository.run("sh", "-c", "cd dist && sha256sum --check --strict SHA256SUMS").returncode == 0
    assert repository.read("dist/SHA256SUMS").count("\n") == 2
    assert repository.read("dist/notes.md") == (
        "# rport 0.2.0\n\n- Tunnels: how.\n\n## Upgrading\n\nServers first.\n\nNew keys.\n"
    )


def test_the_first_release_may_have_the_version_that_is_there(repository: Repository) -> None:
    repository.release("0.1.0")
    assert repository.git("tag") == "v0.1.0"


def test_a_dry_run_changes_nothing(repository: Repository) -> None:
    before = repository.state()
    said = repository.release("--dry", "0.2.0")
    assert '+__version__ = "0.2.0"' in said
    assert "## Upgrading" in said
    assert repository.state() == before
    assert not (repository.at / "dist").exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["1.0-final-2"], "'1.0-final-2' is no version as PEP 440 has them"),
        (["1.0-rc1"], "'1.0-rc1' is written 1.0rc1"),
        (["1.0+mine"], "'1.0+mine' has a local part"),
        (["0.0.9"], "0.0.9 is older than 0.1.0"),
        ([], "which version?"),
        (["1.0", "2.0"], "one version, please"),
        (["--fast", "1.0"], "unknown option --fast"),
        (["--without", "tests,rest", "1.0"], "no step is called rest; there are: tests wheels"),
    ],
)
def test_what_is_refused(repository: Repository, words: Sequence[str], why: str) -> None:
    before = repository.state()
    assert why in repository.release(*words, code=1)
    assert repository.state() == before


def test_a_tree_with_changes_is_refused_and_stays(repository: Repository) -> None:
    repository.write("new", "")
    assert "not committed; commit or stash them first:\n?? new" in repository.release("0.2.0", code=1)
    repository.commit()
    repository.write("CHANGELOG.md", "mine\n")
    assert "M CHANGELOG.md" in repository.release("0.2.0", code=1)
    assert repository.read("CHANGELOG.md") == "mine\n"


def test_a_release_without_changes_is_refused(repository: Repository) -> None:
    repository.release("0.2.0")
    assert "CHANGELOG.md says nothing under '## Unreleased'" in repository.release("0.3.0", code=1)


def test_versions_go_up(repository: Repository) -> None:
    repository.git("tag", "v0.3.0rc1")
    assert "0.2.0 is not newer than 0.3.0rc1, which is released" in repository.release("0.2.0", code=1)
    repository.release("0.3.0")


def test_a_tag_is_never_moved(repository: Repository) -> None:
    repository.release("0.2.0")
    repository.write("more", "")
    repository.commit()
    assert "the tag v0.2.0 exists, at" in repository.release("0.2.0", code=1)


def test_it_stops_at_the_first_failure_and_goes_on(repository: Repository) -> None:
    repository.write("wheels/packages", "#!/bin/sh\necho no room\n[ -e build/room ] || exit 3\n")
    repository.commit()
    said = repository.release("0.2.0", code=1)
    assert "no room" in said
    assert "wheels/packages --from-archives --check ended with 3" in said
    assert "run ci/release 0.2.0 again" in said
    head, changed, tag = repository.state()
    assert (changed, tag) == ("", "")
    repository.write("build/room", "")
    repository.release("0.2.0")
    assert repository.state() == (head, "", "v0.2.0")
    assert repository.read("build/steps").count("wheels/standalone") == 1


def test_what_is_mended_is_released_from_the_first_step_on(repository: Repository) -> None:
    image = repository.read("ci/image")
    repository.write("ci/image", "#!/bin/sh\nexit 1\n")
    repository.commit()
    repository.release("0.2.0", code=1)
    repository.write("ci/image", image)
    repository.commit()
    repository.release("0.2.0")
    assert repository.git("rev-parse", "v0.2.0^{commit}") == repository.git("rev-parse", "HEAD")
    assert repository.read("build/steps").count("wheels/standalone") == 2


def test_what_cannot_be_committed_leaves_the_tree_as_it_was(repository: Repository) -> None:
    repository.write(".git/hooks/pre-commit", "#!/bin/sh\necho not today >&2\nexit 1\n")
    before = repository.state()
    said = repository.release("0.2.0", code=1)
    assert "not today" in said
    assert "the tree is as it was" in said
    assert repository.state() == before


def test_what_is_left_out_is_not_tagged(repository: Repository) -> None:
    said = repository.release("--without", "image,tests", "0.2.0")
    assert repository.git("tag") == ""
    assert f"v0.2.0 {repository.git('rev-parse', 'HEAD')}" in said
    assert "ci/image" not in repository.read("build/steps")


def test_at_the_tag_it_builds_and_changes_nothing(repository: Repository) -> None:
    repository.release("0.2.0")
    repository.git("checkout", "--quiet", "v0.2.0")
    shutil.rmtree(repository.at / "build")
    before = repository.state()
    repository.release("--without", "image", "0.2.0")  # as the workflow has it
    assert repository.state() == before
    assert repository.read("dist/SHA256SUMS")


def test_the_table_of_the_wheels_is_no_change(repository: Repository) -> None:
    repository.write("wheels/RESULTS.md", "old\n")
    repository.write("wheels/smoke", "#!/bin/sh\necho new >wheels/RESULTS.md\n")
    repository.commit()
    repository.release("0.2.0")
    assert repository.read("wheels/RESULTS.md") == "old\n"
    assert repository.read("build/release/0.2.0/wheels.md") == "new\n"


def test_all_that_says_the_version_says_the_present_one() -> None:
    """A name or a pattern of `ci/release.py` that has become wrong would leave an old version standing."""
    for name, pattern in runpy.run_path(str(ROOT / "ci/release.py"))["MENTIONS"].items():
        assert re.search(pattern.format(re.escape(__version__)), (ROOT / name).read_text()), name
