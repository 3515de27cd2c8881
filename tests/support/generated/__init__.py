"""Clients made from the API's document by other people's generators.

`ci/clients` makes them beforehand, since tests have no network; a test takes what is there, or makes it again when the
document or the story has changed since.
"""

import hashlib
import shutil
from pathlib import Path

from tests.support.generated import languages, tools
from tests.support.generated.languages import LANGUAGES, Language
from tests.support.generated.tools import Missing

__all__ = ["LANGUAGES", "Language", "Missing", "built"]

PLACE = tools.BUILD / "clients"


def built(language: Language, document: Path) -> tuple[Path, bool]:
    """Where its client of `document` is, compiled, and whether it was there already. Raises Missing, AssertionError."""
    key = _key(language, document)
    own = PLACE / language.name
    place = own / key
    if (place / "built").exists():
        return place, True
    shutil.rmtree(own, ignore_errors=True)  # one is enough
    own.mkdir(parents=True)
    try:
        language.build(document, place)
    except BaseException:
        shutil.rmtree(own, ignore_errors=True)
        raise
    (place / "built").touch()
    return place, False


def _key(language: Language, document: Path) -> str:
    """Of all that it is made from."""
    story = sorted(path for path in (languages.STORIES / language.name).rglob("*") if path.is_file())
    sources = [document, tools.PINS, Path(languages.__file__), Path(tools.__file__), *story]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:16]
