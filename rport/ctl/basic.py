"""What only a user with his password may ask, and not by a token."""

import base64
from typing import Any

from rport.ctl import ask
from rport.ctl.api import Api, utf8
from rport.ctl.errors import NotAllowed
from rport.errors import UsageError

CODE_FIELD = "X-Rport-OTP"  # the server names it when it wants a second factor's code


def by_password(api: Api, user: str, password: str, method: str, path: str, body: Any) -> Any:
    """The answer; a second factor's code is asked for when the server wants one. Raises as Api.ask() does."""
    if ":" in user:
        raise UsageError("no user's name has a colon in it")
    basic = base64.b64encode(utf8(user) + b":" + utf8(password)).decode()
    api.credentials = {"Authorization": f"Basic {basic}"}
    try:
        return api.ask(method, path, body=body)
    except NotAllowed as error:
        if CODE_FIELD not in str(error):
            raise
    api.credentials = {**api.credentials, CODE_FIELD: ask.code()}
    return api.ask(method, path, body=body)
