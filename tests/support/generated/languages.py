"""How a client is made, compiled and run, in each language; as strictly as its users may have it.

A directory holds the client, and beside it the story that drives it, tests/stories/LANGUAGE.
"""

import json
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from tests.support.generated import tools

STORIES = tools.ROOT / "tests/stories"


class Language(ABC):
    """Methods raise tools.Missing where a program is not there, and AssertionError when something is wrong."""

    name: str

    @abstractmethod
    def generate(self, document: Path, place: Path) -> None: ...

    @abstractmethod
    def compile(self, place: Path) -> None: ...

    @abstractmethod
    def command(self, place: Path) -> list[str]:
        """That runs the story."""

    def build(self, document: Path, place: Path) -> None:
        shutil.copytree(STORIES / self.name, place)
        self.generate(document, place)
        self.compile(place)


class Python(Language):
    name = "python"
    CONFIG: ClassVar[dict[str, object]] = {
        "post_hooks": [],  # they would format it
        "project_name_override": "rport-api",
        "package_name_override": "rport_api",
        "content_type_overrides": {"application/x-ndjson": "text/plain"},
    }

    def generate(self, document: Path, place: Path) -> None:
        config = place / "config.json"
        config.write_text(json.dumps(self.CONFIG))
        # A warning is a part that is left out.
        made = ("generate", "--path", str(document), "--config", str(config), "--meta", "none", "--fail-on-warning")
        tools.run(tools.program("openapi-python-client"), *made, "--output-path", str(place / "rport_api"))

    def compile(self, place: Path) -> None:
        tools.run(
            tools.program("mypy"), "--strict", "--cache-dir", str(place / "mypy"), "rport_api", "story.py", cwd=place
        )

    def command(self, place: Path) -> list[str]:
        return [tools.program("python"), str(place / "story.py")]


class OpenApiGenerator(Language):
    """One of the many of openapi-generator."""

    generator: str
    properties: str
    directory: str

    def generate(self, document: Path, place: Path) -> None:
        java = (tools.on_path("java"), "-XX:TieredStopAtLevel=1", "-Xmx512m", "-jar", tools.jar())
        what = ("generate", "-i", str(document), "-g", self.generator, "-o", str(place / self.directory))
        how = (f"--additional-properties={self.properties}", *self.module())
        alone = "--global-property=apiTests=false,modelTests=false,apiDocs=false,modelDocs=false"
        tools.run(*java, *what, *how, alone)

    def module(self) -> tuple[str, ...]:
        return ()


class TypeScript(OpenApiGenerator):
    name = "typescript"
    generator = "typescript-fetch"
    properties = "stringEnums=false"
    directory = "client"

    def compile(self, place: Path) -> None:
        types = str(tools.NODE / "node_modules/@types")
        options = {"strict": True, "target": "es2022", "module": "node16", "moduleResolution": "node16"}
        options |= {"outDir": "js", "typeRoots": [types], "types": ["node"], "lib": ["es2022", "dom"]}
        (place / "package.json").write_text('{"type": "commonjs"}')
        (place / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "include": ["**/*.ts"]}))
        tools.run(tools.node_program("tsc"), "-p", str(place))

    def command(self, place: Path) -> list[str]:
        return [tools.on_path("node"), str(place / "js/story.js")]


class Go(OpenApiGenerator):
    name = "go"
    generator = "go"
    # Without the second, a client refuses an answer that has a field more than its document; without the third, two
    # enumerations that have a word in common do not compile.
    properties = "packageName=rportapi,disallowAdditionalPropertiesIfNotPresent=false,enumClassPrefix=true"
    directory = "."

    def module(self) -> tuple[str, ...]:
        return ("--git-host=example.org", "--git-user-id=rport", "--git-repo-id=api")

    def compile(self, place: Path) -> None:
        go = tools.go()
        shutil.rmtree(place / "test", ignore_errors=True)  # needs packages that the client does not
        tools.run(go, "build", "-o", "run", "./story", cwd=place)

    def command(self, place: Path) -> list[str]:
        return [str(place / "run")]


LANGUAGES: tuple[Language, ...] = (Python(), TypeScript(), Go())
