"""The manifests for Kubernetes: what they start exists, and they agree with each other."""

import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from hpo.space.yaml import load
from pipelines.study.options import TuneOptions

FOLDER = Path(__file__).parents[1] / "examples" / "kubernetes"


def manifest(name: str) -> dict[str, Any]:
    found: dict[str, Any] = load((FOLDER / name).read_text(encoding="utf-8"), name)
    return found


def command(name: str) -> list[str]:
    spec = manifest(name)["spec"]
    if name == "rayjob.yaml":
        return shlex.split(spec["entrypoint"])
    return list(spec["template"]["spec"]["containers"][0]["command"])


def pods(name: str) -> list[dict[str, Any]]:
    spec = manifest(name)["spec"]
    if name == "job.yaml":
        return [spec["template"]["spec"]]
    cluster = spec["rayClusterSpec"]
    return [
        group["template"]["spec"]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
    ]


@pytest.mark.parametrize("name", ["job.yaml", "rayjob.yaml"])
def test_a_manifest_starts_tune_with_options_that_it_has(name: str) -> None:
    program, entry_point, *options = command(name)
    assert (program, entry_point) == ("mlflow-warmstart", "tune")
    given = {option.removeprefix("--").partition("=")[0].replace("-", "_") for option in options}
    assert given <= {field.name for field in fields(TuneOptions)}
    assert ("executor" in given) == (name == "rayjob.yaml")


@pytest.mark.parametrize("name", ["job.yaml", "rayjob.yaml"])
def test_all_pods_have_the_same_image_secrets_and_bounded_memory(name: str) -> None:
    containers = [container for pod in pods(name) for container in pod["containers"]]
    assert {container["image"] for container in containers} == {"IMAGE"}
    for container in containers:
        assert container["envFrom"] == [{"secretRef": {"name": "mlflow-warmstart"}}]
        assert "memory" in container["resources"]["limits"]
        names = {variable["name"] for variable in container["env"]}
        assert "MLFLOW_TRACKING_URI" in names
        assert not any(re.search("PASSWORD|KEY|TOKEN", variable) for variable in names)


def test_kinds_and_versions() -> None:
    ray, job = manifest("rayjob.yaml"), manifest("job.yaml")
    assert (ray["apiVersion"], ray["kind"]) == ("ray.io/v1", "RayJob")
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    head = ray["spec"]["rayClusterSpec"]["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"  # KubeRay takes texts only
    for group in ray["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
