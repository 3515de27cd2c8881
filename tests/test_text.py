import pytest
from hypothesis import given
from hypothesis import strategies as st

from rport.text import cut, escape, quote


@given(st.text(st.characters(codec=None)))
def test_whatever_it_is_it_is_printable(text: str) -> None:
    assert escape(text).isprintable()
    assert quote(text).isprintable()


@pytest.mark.parametrize("text", ["zażółć gęślą", "漢字 العربية", "a\\nb", "100 %"])
def test_what_people_write_is_not_touched(text: str) -> None:
    assert escape(text) == text


def test_quoted_texts_are_cut() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "abc..."
    assert quote("a\n\ud800b", 3) == '"a\\n\\ud800..."'
