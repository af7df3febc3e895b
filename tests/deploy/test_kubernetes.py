"""The manifest is what docs/containers.md promises: paths, probes, and no more than it needs."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from daemon.config import Config, Http, load, split_address
from daemon.web.server import Server

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="module")
def manifest():
    documents = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    return {one["kind"]: one for one in documents}


@pytest.fixture(scope="module")
def pod(manifest):
    return manifest["DaemonSet"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod):
    (one,) = pod["containers"]
    return one


def test_all_belongs_to_one_namespace_and_the_pods_to_their_set(manifest):
    assert set(manifest) == {"Namespace", "ConfigMap", "DaemonSet"}
    for kind in ("ConfigMap", "DaemonSet"):
        assert manifest[kind]["metadata"]["namespace"] == manifest["Namespace"]["metadata"]["name"]
    spec = manifest["DaemonSet"]["spec"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def test_the_configuration_is_valid_and_all_default(manifest, tmp_path):
    (tmp_path / "config.toml").write_text(manifest["ConfigMap"]["data"]["config.toml"])
    assert load(tmp_path / "config.toml", {}).config == Config()


def test_it_is_given_nothing_that_it_does_not_need(pod, container):
    assert container["securityContext"] == {
        "runAsUser": 0,
        "runAsGroup": 0,
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert (pod["hostNetwork"], pod["hostPID"], pod["hostIPC"]) == (True, False, False)
    assert pod["automountServiceAccountToken"] is False
    assert container["resources"]["limits"].keys() == {"memory"}
    unit = (DEPLOY.parent / "systemd/presaged.service").read_text()
    assert container["resources"]["limits"]["memory"].rstrip("i") in re.findall(r"MemoryMax=(.*)", unit)[0]


def test_of_the_node_only_the_state_can_be_written(pod, container):
    kinds = {one["name"]: {kind for kind in one if kind != "name"} for one in pod["volumes"]}
    paths = {one["name"]: one["hostPath"]["path"] for one in pod["volumes"] if "hostPath" in one}
    mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
    assert {one["name"] for one in mounts.values()} == kinds.keys()
    written = {paths[one["name"]] for one in mounts.values() if one["name"] in paths and not one.get("readOnly")}
    assert written == {"/var/lib/presaged"}
    assert mounts[str(load(None, {}).state_directory)]["name"] == "state"
    for place in ("/", "/proc", "/sys", "/run"):  # of what is mounted below a volume, each has to be read-only itself
        mount = mounts["/host" + place.rstrip("/")]
        assert (paths[mount["name"]], mount["readOnly"]) == (place, True)
    assert mounts["/host"]["mountPropagation"] == "HostToContainer"


def test_the_hosts_paths_are_those_that_are_mounted(container):
    asked = dict(one.lstrip("-").split("=") for one in container["args"])
    given = {one["name"]: one["value"] for one in container["env"]}
    assert asked == {"root-fs": "/host", "proc": "/host/proc"}
    assert given == {"PRESAGED_ROOT_FS": asked["root-fs"], "PRESAGED_PROC": asked["proc"]}
    image = (DEPLOY / "Dockerfile").read_text()
    assert "ENV PRESAGED_ROOT_FS=/host PRESAGED_PROC=/host/proc\n" in image


@pytest.mark.parametrize("name", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_probes_ask_for_what_is_there(container, name):
    asked = container[name]["httpGet"]
    assert split_address(Http().listen) == (asked["host"], asked["port"])
    assert f'"{asked["path"]}"' in Path(sys.modules[Server.__module__].__file__).read_text()


def test_a_daemon_that_takes_no_samples_is_started_again(container):
    probe = container["livenessProbe"]
    assert probe["httpGet"]["path"] == "/readyz"
    patience = probe["periodSeconds"] * probe["failureThreshold"]
    assert patience >= 3 * Config().sampling.interval_seconds  # on top of the three intervals of /readyz
