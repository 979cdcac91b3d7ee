"""The image's files name what the package has: entry point, extras, Python, versions, source folders."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.doctor.software import pinned_versions

REPOSITORY = Path(__file__).parents[2]
DOCKER = REPOSITORY / "docker"
PYPROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
PINS = pinned_versions()
COMMANDS: dict[str, click.Command] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def instructions() -> list[tuple[str, str]]:
    """Instruction and argument of every line of the Dockerfile, with continued lines joined and comments left out."""
    lines = [line for line in (DOCKER / "Dockerfile").read_text("utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


def last_stage() -> dict[str, list[str]]:
    """Arguments of the final stage by instruction."""
    parsed = instructions()
    start = max(number for number, (word, _) in enumerate(parsed) if word == "FROM")
    found: dict[str, list[str]] = {}
    for word, rest in parsed[start:]:
        found.setdefault(word, []).append(rest)
    return found


def arguments() -> dict[str, str]:
    return {name: value for name, _, value in (rest.partition("=") for word, rest in instructions() if word == "ARG")}


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8")))


def test_entry_point_and_health_check_are_commands_of_the_package() -> None:
    stage = last_stage()
    (entry,) = json.loads(stage["ENTRYPOINT"][-1])
    assert entry in PROJECT["scripts"]
    check = json.loads(stage["HEALTHCHECK"][-1].partition("CMD ")[2])
    assert check[0] == entry and check[1] in COMMANDS
    assert json.loads(stage["CMD"][-1]) == ["--help"]


def test_the_base_image_has_a_python_that_the_package_takes() -> None:
    image = arguments()["BASE_IMAGE"]
    found = re.fullmatch(r"python:(\d+\.\d+)-slim", image)
    assert found, image
    assert SpecifierSet(PROJECT["requires-python"]).contains(found[1])
    assert f"Programming Language :: Python :: {found[1]}" in PROJECT["classifiers"]


def test_every_stage_stands_on_the_base_image_and_the_torch_index_is_not_fixed() -> None:
    stages = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert stages[0] == "${BASE_IMAGE}" and set(stages[1:]) == {"base"}
    assert len(stages) >= 3
    assert arguments()["TORCH_INDEX_URL"] == ""


def test_the_extras_of_the_image_exist_and_their_requirements_are_printed() -> None:
    extras = arguments()["EXTRAS"]
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()
    command = [sys.executable, str(DOCKER / "requirements.py"), str(REPOSITORY / "pyproject.toml"), extras]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    expected = [line for name in extras.split(",") for line in PROJECT["optional-dependencies"][name]]
    assert printed == PROJECT["dependencies"] + expected


def test_the_image_runs_as_a_numeric_user_in_data_with_three_volumes_and_no_home_on_disk() -> None:
    stage = last_stage()
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", stage["USER"][-1])
    assert stage["WORKDIR"] == ["/data"]
    assert set(json.loads(stage["VOLUME"][-1])) == {"/data", "/corpora", "/models"}
    environment = dict(part.split("=", 1) for rest in stage["ENV"] for part in shlex.split(rest))
    assert environment["HF_HOME"] == "/models"
    for name in ("HOME", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
        assert environment[name].startswith("/tmp")
    assert environment["PATH"].startswith("/opt/mmpipe/bin:")
    labels = " ".join(stage["LABEL"])
    assert 'image.version="${VERSION}"' in labels and 'image.revision="${REVISION}"' in labels


def test_nothing_in_the_image_compiles_or_caches() -> None:
    commands = " ".join(rest for word, rest in instructions() if word == "RUN")
    installs = re.findall(r"pip install ([^&]*)", commands)
    assert installs and all("--no-cache-dir" in install for install in installs)
    assert not re.search(r"apt-get|build-essential|gcc", commands)


def test_what_the_dockerfile_copies_is_in_the_build_context() -> None:
    sent = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for rest in (rest for word, rest in instructions() if word == "COPY" and "--from" not in rest):
        for source in rest.split()[:-1]:
            assert (REPOSITORY / source).exists(), source
            assert source == "." or any(source == path or source.startswith(f"{path}/") for path in sent), source


def test_the_build_context_holds_every_source_root_and_what_the_build_reads() -> None:
    sent = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    roots = {path.split("/")[0] for path in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    assert roots | {"pyproject.toml", PROJECT["readme"], "LICENSE"} <= sent
    assert all((REPOSITORY / name).exists() for name in sent)


def test_every_direct_dependency_is_pinned_within_its_bounds() -> None:
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *extras["demo"], *extras["dev"]]
    for requirement in map(Requirement, lines):
        version = PINS.get(canonicalize_name(requirement.name))
        assert version is not None, f"constraints.txt does not pin {requirement.name}"
        assert requirement.specifier.contains(version), f"{requirement} but pinned is {version}"
    for requirement in (Requirement(line) for name in extras.values() for line in name):
        if version := PINS.get(canonicalize_name(requirement.name)):
            assert requirement.specifier.contains(version), f"{requirement} but pinned is {version}"


def test_the_lowest_versions_are_the_lower_bounds_but_for_torch() -> None:
    text = (REPOSITORY / "constraints-lowest.txt").read_text("utf-8")
    lines = [line.partition("==") for line in text.splitlines() if not line.startswith("#")]
    lowest = {canonicalize_name(name): version for name, _, version in lines}
    extras = PROJECT["optional-dependencies"]
    direct = {canonicalize_name(r.name): r for r in map(Requirement, [*PROJECT["dependencies"], *extras["demo"]])}
    assert direct.keys() <= lowest.keys()
    for requirement in map(Requirement, [*PROJECT["dependencies"], *extras["export"], *extras["dev"]]):
        name = canonicalize_name(requirement.name)
        if name in ("torch", "torchvision"):
            assert lowest[name] == PINS[name]
        elif name in lowest:
            (bound,) = (Version(s.version).release for s in requirement.specifier if s.operator == ">=")
            assert Version(lowest[name]).release[: len(bound)] == bound, f"{requirement} but tested is {lowest[name]}"


def test_constraints_are_plain_versions_without_cuda_and_stand_at_the_root_too() -> None:
    text = (REPOSITORY / "constraints.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.!]+", line) for line in lines)
    assert len({canonicalize_name(line.partition("==")[0]) for line in lines}) == len(lines)
    assert not [line for line in lines if line.startswith(("nvidia-", "cuda-", "triton"))]
    assert all(Version(version) for version in PINS.values())
    assert (REPOSITORY / "constraints.txt").samefile(REPOSITORY / "pipeline/mmpipe/pipeline/constraints.txt")


def test_make_installs_the_pinned_versions() -> None:
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    installs = [line for line in makefile.splitlines() if "pip install" in line]
    assert installs and all("$(CONSTRAINTS)" in line for line in installs)
    assert re.search(r"^CONSTRAINTS \?= --constraint constraints.txt$", makefile, re.MULTILINE)


def test_the_compose_services_call_commands_with_options_that_exist() -> None:
    services = compose()["services"]
    assert set(services) == {"extract", "report", "serve", "ray-head", "ray-worker", "ray-extract"}
    for name in ("extract", "report"):
        command, *rest = services[name]["command"]
        assert "entrypoint" not in services[name]
        options = {option for parameter in COMMANDS[command].params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= options, name


def test_the_compose_services_write_to_volumes_of_the_image_only() -> None:
    volumes = set(json.loads(last_stage()["VOLUME"][-1]))
    whole = compose()
    for name, service in whole["services"].items():
        assert service["read_only"] is True and "/tmp" in service["tmpfs"], name
        mounts = [str(mount).split(":") for mount in service["volumes"]]
        targets = [re.sub(r"\$\{[^}]*\}", "x", str(mount)).split(":")[1] for mount in service["volumes"]]
        assert set(targets) <= volumes, name
        sources = {mount[0] for mount in mounts if re.fullmatch(r"\w+", mount[0])}
        assert sources <= whole["volumes"].keys()


def test_the_served_report_is_read_only_and_on_loopback_alone() -> None:
    services = compose()["services"]
    serve = services["serve"]
    assert all(port.startswith("127.0.0.1:") for port in serve["ports"])
    assert all(mount.endswith(":ro") for mount in serve["volumes"])
    folder = serve["entrypoint"][serve["entrypoint"].index("--directory") + 1]
    out = services["report"]["command"][services["report"]["command"].index("--out") + 1]
    assert str(Path(out).parent) == folder
    assert any(mount.endswith("/corpora:ro") for mount in services["extract"]["volumes"])


def test_the_ray_services_start_one_cluster_in_a_network_of_their_own_and_extract_on_it() -> None:
    services = compose()["services"]
    head, worker, extract = (services[f"ray-{name}"] for name in ("head", "worker", "extract"))
    for service in (head, worker, extract):
        assert service["networks"] == ["ray"] and "ports" not in service
        assert service["volumes"] == head["volumes"] and service["environment"]["RAY_USAGE_STATS_ENABLED"] == "0"
    join, run = (shlex.split(part) for part in " ".join(extract["command"]).split("&&"))
    assert run[:3] == ["exec", "mmpipe", "extract"] and join[:2] == ["ray", "start"]
    options = {option for parameter in COMMANDS["extract"].params for option in parameter.opts}
    assert {word for word in run if word.startswith("--")} <= options
    assert run[run.index("--engine") + 1] == "ray" and run[run.index("--address") + 1] == "ray-head:6379"
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'mmpipe[ray]'")
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--help"]
    known = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    for words in (head["command"], worker["command"], join[1:]):
        assert words[0] == "start" and {word for word in words if word.startswith("--")} <= set(known)
    assert worker["command"][worker["command"].index("--address") + 1] == join[join.index("--address") + 1]
    assert head["command"][head["command"].index("--port") + 1] == "6379"


@pytest.mark.parametrize("script", sorted(path.name for path in DOCKER.glob("*.sh")))
def test_the_scripts_can_be_run_and_stop_at_the_first_error(script: str) -> None:
    path = DOCKER / script
    assert os.access(path, os.X_OK)
    assert "set -euo pipefail" in path.read_text("utf-8")
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_build_reads_the_version_of_the_package_and_knows_every_argument(tmp_path: Path) -> None:
    """docker/build.sh with an engine that prints its arguments."""
    fake = tmp_path / "podman"
    fake.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    fake.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ENGINE": "podman", "EXTRAS": "demo,s3"}
    environment |= {"BASE_IMAGE": "localhost/base", "TORCH_INDEX_URL": "file:///wheels"}
    command = [str(DOCKER / "build.sh"), "mine:1", "--volume", "/a:/a:ro"]
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    words = run.stdout.splitlines()
    for pair in (
        f"VERSION={PROJECT['version']}",
        "EXTRAS=demo,s3",
        "BASE_IMAGE=localhost/base",
        "TORCH_INDEX_URL=file:///wheels",
    ):
        assert pair in words
    passed = {word.partition("=")[0] for word in words if re.fullmatch(r"[A-Z_]+=.*", word)}
    assert passed <= arguments().keys()
    assert words[words.index("--tag") + 1] == "mine:1" and "/a:/a:ro" in words and words[-1] == "."
    wrong = subprocess.run(command, env=environment | {"ENGINE": "lxc"}, check=False, capture_output=True, text=True)
    assert wrong.returncode == 2 and "docker, podman, buildah" in wrong.stderr


def test_the_workflow_builds_the_image_and_runs_the_smoke() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text("utf-8"))
    steps = " ".join(str(step.get("run", "")) for step in workflow["jobs"]["image"]["steps"])
    assert "make image" in steps and "docker/smoke.sh" in steps
    assert "TORCH_INDEX_URL" in str(workflow["jobs"]["image"])
