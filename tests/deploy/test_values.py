"""The hub on Kubernetes: its values are ones that the chart knows, and hold what was measured."""

from __future__ import annotations

import doctest
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from yamllint import linter
from yamllint.config import YamlLintConfig

sys.path.insert(0, str(Path(__file__).parents[2]))  # tools/ is not installed

from tools import notebooks, sizing

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "deploy" / "jupyterhub"
VALUES = yaml.safe_load((HERE / "values.yaml").read_text("utf-8"))
MEASURED = json.loads(sizing.MEASURED.read_text("utf-8"))
RULES = YamlLintConfig(
    "extends: default\nrules: {line-length: {max: 104}, document-start: disable, "
    "comments: {min-spaces-from-content: 1}, braces: {max-spaces-inside: 1}}"
)
# Keys that the chart's reference documents (z2jh.jupyter.org, "Configuration Reference"), of those that
# are of use here. Below a key with * the chart takes anything: it is JupyterHub's,
# KubeSpawner's or Kubernetes' own. The chart itself is not part of the tests: they need no network.
DOCUMENTED = """
hub.config.* hub.concurrentSpawnLimit hub.activeServerLimit hub.extraConfig.* hub.extraEnv.*
hub.resources.* hub.db.type hub.db.pvc.storage
proxy.https.enabled proxy.https.type proxy.https.hosts proxy.https.letsencrypt.contactEmail
singleuser.image.name singleuser.image.tag singleuser.image.pullPolicy singleuser.cmd
singleuser.defaultUrl singleuser.startTimeout singleuser.uid singleuser.fsGid singleuser.extraEnv.*
singleuser.memory.guarantee singleuser.memory.limit singleuser.cpu.guarantee singleuser.cpu.limit
singleuser.profileList singleuser.storage.type singleuser.storage.capacity
singleuser.storage.homeMountPath singleuser.storage.extraVolumes
singleuser.storage.extraVolumeMounts singleuser.networkPolicy.* singleuser.nodeSelector.*
singleuser.cloudMetadata.blockWithIptables singleuser.extraPodConfig.*
prePuller.hook.enabled prePuller.continuous.enabled
scheduling.userScheduler.enabled scheduling.podPriority.enabled scheduling.userPlaceholder.enabled
scheduling.userPlaceholder.replicas scheduling.userPods.nodeAffinity.matchNodePurpose
cull.enabled cull.timeout cull.every cull.maxAge cull.users cull.adminUsers cull.concurrency
ingress.enabled ingress.hosts ingress.tls debug.enabled
""".split()  # noqa: SIM905


def keys(values: Any, above: str = "") -> Iterator[str]:
    """Every value's place, as ``cull.enabled``."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from keys(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def unknown(values: Any) -> list[str]:
    """The places that the chart does not document."""
    known = [re.escape(key).replace(r"\*", r".+") for key in DOCUMENTED]
    return [key for key in keys(values) if not re.fullmatch("|".join(known), key)]


@pytest.mark.parametrize("path", sorted(HERE.glob("*.yaml")), ids=lambda path: path.name)
def test_the_yaml_is_clean(path):
    assert [str(one) for one in linter.run(path.read_text("utf-8"), RULES)] == []


def test_the_chart_knows_every_value():
    assert unknown(VALUES) == []
    assert unknown({"singleuser": {"memory": {"limits": "3G"}}, "culling": {"enabled": 1}}) == [
        "singleuser.memory.limits",
        "culling.enabled",
    ]


def test_not_everybody_may_log_in():
    config = VALUES["hub"]["config"]
    assert config["JupyterHub"]["authenticator_class"] == "native"
    assert config["NativeAuthenticator"]["open_signup"] is False
    assert "Authenticator" not in config  # allow_all would hold for another log-in, too


def test_the_cache_is_the_one_that_the_job_fills_and_read_only():
    claim, job = yaml.safe_load_all((HERE / "cache.yaml").read_text("utf-8"))
    storage = VALUES["singleuser"]["storage"]
    (volume,), (mount,) = storage["extraVolumes"], storage["extraVolumeMounts"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert volume["persistentVolumeClaim"]["readOnly"] and mount["readOnly"]
    assert volume["name"] == mount["name"]
    assert mount["mountPath"] == VALUES["singleuser"]["extraEnv"]["HUB_CACHE"]
    pod = job["spec"]["template"]["spec"]
    (fill,) = pod["containers"]
    image = VALUES["singleuser"]["image"]
    assert fill["image"] == f"{image['name']}:{image['tag']}"
    assert fill["volumeMounts"][0]["name"] == pod["volumes"][0]["name"]
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    for script in re.findall(r"python (\S+\.py)", fill["args"][0]):
        assert (ROOT / script).exists()


def test_what_a_learner_starts_is_in_the_image():
    folder = re.search(r"^WORKDIR (\S+)$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)[
        1
    ]
    command, script = VALUES["singleuser"]["cmd"]
    assert command == "python"
    assert (ROOT / Path(script).relative_to(folder)).is_file()


def gigabytes(text: str) -> float:
    """GiB, which JupyterHub means by G."""
    return float(text.removesuffix("G"))


def test_the_values_hold_what_the_lessons_need():
    *others, last = sizing.needs(MEASURED).values()
    memory, cpu = VALUES["singleuser"]["memory"], VALUES["singleuser"]["cpu"]
    _, lesson_7 = VALUES["singleuser"]["profileList"]
    more = lesson_7["kubespawner_override"]
    for need in others:
        assert need.memory <= gigabytes(memory["guarantee"]) < gigabytes(memory["limit"])
        assert need.cores <= cpu["guarantee"]
    assert last.memory <= gigabytes(more["mem_guarantee"]) < gigabytes(more["mem_limit"])
    assert last.cores <= more["cpu_guarantee"]


def test_every_lesson_was_measured_and_the_page_has_the_tables():
    assert [*MEASURED["lessons"]] == [source.stem for source in notebooks.find_sources([])]
    assert sizing.MARKS.search(sizing.PAGE.read_text("utf-8"))[0].splitlines()[1:-1] == (
        sizing.tables(MEASURED).splitlines()
    ), "run: python tools/sizing.py"


def test_the_page_says_of_one_machine_what_the_tables_say():
    page = sizing.PAGE.read_text("utf-8")
    row = r"to about (\d+) \(in lesson 7, (\d+)\) \| one Linux machine with (\d+) cores and (\d+) G"
    *learners, cores, memory = map(int, re.findall(row, page)[0])
    assert (cores, memory) == sizing.MACHINE
    *others, last = sizing.needs(MEASURED).values()
    for said, need in zip(learners, (sizing.largest(dict(enumerate(others))), last), strict=True):
        assert sizing.machines(said, need) == 1
        assert sizing.machines(round(1.3 * said), need) == 2, "the page says too little"


@pytest.mark.parametrize("source", notebooks.find_sources([]), ids=lambda source: source.stem)
def test_a_lesson_does_not_say_that_it_computes_less_than_was_measured(source):
    stated = re.search(r"computer works about (\d+)", source.read_text("utf-8"))
    if stated:  # lesson 5 says it in other words
        assert round(MEASURED["lessons"][source.stem]["minutes"]) <= int(stated[1])


def test_the_examples_of_the_tool_hold():
    assert doctest.testmod(sizing) == doctest.TestResults(0, 2)
