import inspect

import pytest

from rport import errors

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]


def test_one_root() -> None:
    assert all(issubclass(cls, errors.RportError) for cls in CLASSES)


def test_the_docstring_draws_every_class() -> None:
    assert errors.__doc__ is not None
    assert all(cls.__name__ in errors.__doc__ for cls in CLASSES)


@pytest.mark.parametrize(
    ("cls", "code"),
    [
        (errors.UsageError, 1),
        (errors.Refused, 3),
        (errors.FingerprintMismatch, 4),
        (errors.AuthFailed, 5),
        (errors.RetriesExhausted, 6),
    ],
)
def test_exit_codes(cls: type[errors.RportError], code: int) -> None:
    assert cls.exit_code == code


def test_no_error_ends_a_program_as_a_success() -> None:
    assert all(vars(cls).get("exit_code", 1) > 0 for cls in CLASSES)


def test_refused_keeps_code_and_text() -> None:
    error = errors.Refused("busy", "too many clients")
    assert (error.code, str(error)) == ("busy", "too many clients")
