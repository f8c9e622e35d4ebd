"""The examples: a GitHub Action, a pre-commit hook, a container and policies, without platforms."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from ml_core.cli.app import run_command
from ml_core.paths import resource
from ml_core.reports.policy import read_policy
from tests.unit.official_schemas import check_sarif

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
ACTION = yaml.safe_load((EXAMPLES / "github-action" / "action.yml").read_text())
LOADS = '[file]\nallow = ["loads"]\n'
DANGEROUS = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A repository with a model, a pickle that runs code, and a policy."""
    shutil.copy(resource("demo", "clean_twin.safetensors"), tmp_path / "a model.safetensors")
    (tmp_path / "bad.pt").write_bytes(DANGEROUS)
    (tmp_path / "cleanclip.toml").write_text(LOADS)
    return tmp_path


def installed(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run words with the installed `cleanclip` on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        words, cwd=cwd, env=os.environ | {"PATH": path} | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def filled(text: str, values: dict[str, Any]) -> str:
    """A text of the Action with its expressions replaced; each must name what there is."""
    return re.sub(r"\$\{\{ ([\w.]+) \}\}", lambda found: str(values[found[1]]), text)


@pytest.mark.skipif(sys.platform == "win32", reason="the Action's steps are of bash")
@pytest.mark.parametrize(("paths", "code"), [("a model.safetensors\n", 0), ("bad.pt\n", 1)])
def test_the_steps_of_the_action_upload_their_log_also_when_it_fails(files, paths, code):
    given = {name: each.get("default", "") for name, each in ACTION["inputs"].items()}
    given |= {"paths": paths, "policy": "cleanclip.toml"}
    assert {name for name, each in ACTION["inputs"].items() if each.get("required")} == {
        "paths", "policy"
    }  # fmt: skip
    values = {f"inputs.{name}": value for name, value in given.items()}
    install, gate, upload = ACTION["runs"]["steps"]
    environment = {name: filled(text, values) for name, text in gate["env"].items()}
    assert "${{" not in install["run"] + gate["run"]  # inputs are no part of a script
    outputs = files / "outputs"
    done = installed(
        "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", gate["run"], cwd=files,
        GITHUB_OUTPUT=str(outputs), **environment,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    for line in outputs.read_text().splitlines():
        name, _, value = line.partition("=")
        values[f"steps.gate.outputs.{name}"] = value
    assert ACTION["outputs"]["status"]["value"] == "${{ steps.gate.outputs.status }}"
    assert values["steps.gate.outputs.status"] == str(code)
    assert upload["if"] == "${{ always() && steps.gate.outputs.sarif != '' }}"
    log = files / filled(upload["with"]["sarif_file"], values)
    check_sarif(yaml.safe_load(log.read_text()))


def test_the_hook_runs_on_the_files_that_it_names(files):
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    config = yaml.safe_load((EXAMPLES / "pre-commit" / ".pre-commit-config.yaml").read_text())
    ((used,),) = (repo["hooks"] for repo in config["repos"])
    assert used["id"] == hook["id"]
    assert used["args"][0] == hook["args"][0] == "--policy"
    names = sorted(path.name for path in files.iterdir() if re.search(hook["files"], path.name))
    assert names == ["a model.safetensors", "bad.pt"]
    words = [*shlex.split(hook["entry"]), *hook["args"]]
    assert installed(*words, names[0], cwd=files).returncode == 0
    done = installed(*words, *names, cwd=files)
    assert done.returncode == 1
    assert "FAIL  bad.pt  file.allow: dangerous." in done.stdout


def test_the_container_takes_what_the_build_needs_and_starts_the_program(files):
    text = (EXAMPLES / "container" / "Containerfile").read_text()
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and line[0] != "#"]
    assert steps[0][0] == "FROM"
    known = {"FROM", "COPY", "RUN", "USER", "ENV", "WORKDIR", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in steps} == known
    copied = {each for name, rest in steps if name == "COPY" for each in rest.split()[:-1]}
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]
    wheel = build["build"]["targets"]["wheel"]
    hook = build["metadata"]["hooks"]["custom"]["path"]
    needed = {*wheel["packages"], *wheel["force-include"], hook}
    assert needed | {"pyproject.toml", "LICENSE"} <= copied
    assert all((ROOT / each).exists() for each in copied)
    said = dict(steps)
    entry, command = (yaml.safe_load(said[name]) for name in ("ENTRYPOINT", "CMD"))
    assert "gate" in installed(*entry, *command, cwd=files).stdout
    line = ["gate", "bad.pt", "--policy", "cleanclip.toml"]
    assert installed(*entry, *line, cwd=files).returncode == 1


@pytest.mark.parametrize(("name", "code"), [("company", 2), ("hub", 0)])
def test_the_policies_judge_a_signed_file_that_nobody_measured(files, name, code, capsys):
    rules = Path(shutil.copy(EXAMPLES / "policies" / f"{name}.toml", files))
    assert read_policy(rules).policy.policy.name == name
    (files / "LICENSE").write_text("MIT")
    model = str(files / "a model.safetensors")
    assert run_command(["key", "new", "--name", "Team"]) == run_command(["sign", model]) == 0
    capsys.readouterr()
    assert run_command(["key", "export"]) == 0
    (files / "model-team.pub").write_text(capsys.readouterr().out)
    assert run_command(["gate", model, "--policy", str(rules)]) == code
    assert run_command(["gate", str(files / "bad.pt"), "--policy", str(rules)]) == 1
