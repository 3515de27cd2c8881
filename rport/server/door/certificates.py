"""The server's certificate, as fresh as its files."""

import logging
import ssl

from rport.errors import UsageError
from rport.server.settings import Settings
from rport.server.watch import Watch
from rport.tls import server_context

log = logging.getLogger("rport")

_Files = tuple[str, str, str | None]


class Certificates:
    """What was read last from the files that the settings name. A connection goes by the `context` that is there when
    it begins; None = there is no TLS."""

    def __init__(self, settings: Settings) -> None:
        """Raises UsageError for files that cannot be used."""
        self._files = _files_of(settings)
        self._watch = Watch(*_paths(self._files))
        self.context: ssl.SSLContext | None = server_context(*self._files) if self._files else None

    def reconfigure(self, settings: Settings) -> None:
        """Read the files again that are named now. What cannot be used leaves the context as it was."""
        files = _files_of(settings)
        if (files is None) != (self._files is None):
            log.warning("--tls-cert: to begin or to end with TLS takes a restart")
            return
        self._files = files
        self._read()

    async def keep_fresh(self) -> None:
        """Read the files again whenever they have changed; for ever, if there are any."""
        while self._files is not None:
            await self._watch.changed()
            self._read()

    def _read(self) -> None:
        self._watch.start_over(*_paths(self._files))
        if self._files is None:
            return
        try:
            self.context = server_context(*self._files)
        except UsageError as error:
            log.error("%s; the certificate that was read before stays in use", error)
        else:
            log.info("The certificate was read again, for connections that begin from now on")


def _files_of(settings: Settings) -> _Files | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return settings.tls_cert, settings.tls_key, settings.tls_client_ca


def _paths(files: _Files | None) -> list[str]:
    return [path for path in files or () if path is not None]
