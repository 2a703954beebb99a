"""The Kubernetes manifests agree with the image and with the server that they run."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from app.application import create_app
from app.engine import QUANTUM
from app.settings import Settings, read
from tests.serving import FakePipeline, until

ROOT = Path(__file__).resolve().parents[1]
MANIFESTS: dict[str, dict[str, Any]] = {
    part["kind"]: part for part in yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text())
}
POD = MANIFESTS["Deployment"]["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]
ENVIRONMENT = {entry["name"]: entry["value"] for entry in CONTAINER["env"]}


@pytest.fixture(scope="module")
def client() -> Any:
    with TestClient(create_app(Settings(), FakePipeline())) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        yield client


def test_every_setting_is_one_and_there_is_time_to_drain() -> None:
    program, seconds = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    assert int(seconds) + read(ENVIRONMENT).drain < POD["spec"]["terminationGracePeriodSeconds"]


def test_no_service_is_taken_for_a_setting() -> None:
    """A pod hears of each service of its namespace: of one named cafeteria as CAFETERIA_PORT=tcp://10.0.0.7:80."""
    assert POD["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_probes_ask_what_the_server_answers(client: Any, probe: str) -> None:
    asked = CONTAINER[probe]["httpGet"]
    assert client.get(asked["path"]).status_code == 200
    assert asked["port"] == CONTAINER["ports"][0]["name"]


def test_user_and_port_are_the_images() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    user = POD["spec"]["securityContext"]["runAsUser"]
    assert re.search(rf"^USER {user}:", dockerfile, re.MULTILINE)
    port = CONTAINER["ports"][0]["containerPort"]
    assert re.search(rf"^EXPOSE {port}$", dockerfile, re.MULTILINE)
    assert POD["metadata"]["annotations"]["prometheus.io/port"] == str(port)


def test_the_autoscaler_reads_a_figure_that_is_there(client: Any) -> None:
    figure = MANIFESTS["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]["metric"]["name"]
    path = POD["metadata"]["annotations"]["prometheus.io/path"]
    assert re.search(rf"^{figure} ", client.get(path).text, re.MULTILINE)
    assert f"seriesQuery: '{figure}{{" in (ROOT / "docs/scaling.md").read_text()


def test_one_client_alone_adds_no_pod(client: Any) -> None:
    target = MANIFESTS["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]["target"]["averageValue"]
    # At each pod a client counts for two turns at most, so that it keeps the mean at half of the target.
    assert int(target) >= 2 * 2 * QUANTUM


def test_who_is_let_in_is_counted_and_limited() -> None:
    policy = MANIFESTS["NetworkPolicy"]["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert policy["egress"] == []
    (rule,) = policy["ingress"]
    assert rule["from"] and all("namespaceSelector" in source for source in rule["from"])
    assert rule["ports"] == [{"port": CONTAINER["ports"][0]["name"]}]
    settings = read(ENVIRONMENT)
    assert settings.rate and settings.proxies


def test_a_loaded_pod_is_not_taken_for_a_dead_one_and_none_fills_its_node() -> None:
    probe = CONTAINER["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60
    assert probe["timeoutSeconds"] >= 5
    assert "ephemeral-storage" in CONTAINER["resources"]["limits"]
    assert all("sizeLimit" in volume["emptyDir"] for volume in POD["spec"]["volumes"])


def test_everything_is_about_the_same_pods() -> None:
    labels = POD["metadata"]["labels"]
    assert MANIFESTS["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert MANIFESTS["Service"]["spec"]["selector"] == labels
    assert MANIFESTS["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert MANIFESTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    scaled = MANIFESTS["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert scaled["name"] == MANIFESTS["Deployment"]["metadata"]["name"]
