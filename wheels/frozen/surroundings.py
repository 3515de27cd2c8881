"""Before a frozen program begins: what a Python that is installed would find as it needs it."""

import os

# The libraries beside us are for us alone: ssh, systemctl and the like have theirs. What we load is found all the same,
# since the loader has read the variable by now.
before = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
os.environ.pop("LD_LIBRARY_PATH", None)
if before is not None:
    os.environ["LD_LIBRARY_PATH"] = before

# Python's own variables do not count here, and the services ask for this one.
if os.environ.get("PYTHONFAULTHANDLER"):
    import faulthandler

    faulthandler.enable()

# Our OpenSSL looks where Debian and SUSE have the certificates of authorities. This is where others have them.
_ELSEWHERE = ("/etc/pki/tls/certs/ca-bundle.crt", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem")
_SAID = {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys()
if not _SAID and not os.path.exists("/etc/ssl/certs/ca-certificates.crt"):
    for path in _ELSEWHERE:
        if os.path.exists(path):
            os.environ["SSL_CERT_FILE"] = path
            break
