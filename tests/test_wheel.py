"""Test the wheel: built, installed without a network, and used outside the checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, SAMPLE

pytest.importorskip("hatchling", reason="the wheel is built with hatchling, which is not installed")
pytest.importorskip("pip", reason="the wheel is installed with pip, which is not installed")

BUILD = """
import sys
from hatchling.build import build_wheel
print(build_wheel(sys.argv[1]))
"""
NO_NETWORK = """
import socket

def refuse(*_, **__):
    raise AssertionError("a socket was opened")

socket.socket.connect = socket.getaddrinfo = refuse
"""
ASK = """
import json, multimodal_fer
from multimodal_fer.hub import loading, registry
print(json.dumps({
    "file": multimodal_fer.__file__,
    "weights": str(registry.find_weights("open7")),
    "registered": len(registry.registered()),
    "difference": loading.verify("open7"),
}))
try:
    import socket
    socket.create_connection(("127.0.0.1", 9))
    raise SystemExit("the network is available")
except AssertionError:
    pass
"""


def run(*command, **settings) -> str:
    result = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=300, **settings
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    name = run(sys.executable, "-c", BUILD, folder, cwd=ROOT).split()[-1]
    return folder / name


@pytest.fixture(scope="module")
def scripts(wheel, tmp_path_factory) -> Path:
    """Return the scripts folder of an environment with only the wheel.

    Its dependencies are not installed again (torch alone has hundreds of megabytes) but found in the
    environment of the tests through a `.pth` file. An editable checkout there is not found, because `.pth`
    files of such a folder are ignored.
    """
    home = tmp_path_factory.mktemp("elsewhere") / "env"
    venv.create(home)
    base = {"base": str(home), "platbase": str(home)}
    packages = Path(sysconfig.get_path("purelib", "venv", vars=base))
    python = Path(sysconfig.get_path("scripts", "venv", vars=base)) / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index",
        "--no-deps", "--disable-pip-version-check", wheel)  # fmt: skip
    others = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    lines = ["import no_network", *sorted(others)]
    (packages / "zz_dependencies.pth").write_text("".join(f"{line}\n" for line in lines))
    (packages / "no_network.py").write_text(NO_NETWORK)
    return python.parent


@pytest.fixture
def away(tmp_path) -> dict:
    """Return another working directory, and environment variables without the checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    kept.pop("MULTIMODAL_FER_WEIGHTS", None)
    return {"cwd": tmp_path, "env": kept | {"MULTIMODAL_FER_CACHE": str(tmp_path / "cache")}}


def test_the_wheel_holds_only_the_package_and_weights(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"multimodal_fer"}
    for file in (
        "hub/registry.json",
        "py.typed",
        "weights/open7/config.json",
        "weights/open7/README.md",
    ):
        assert f"multimodal_fer/{file}" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".part")]


def test_the_installed_wheel_finds_its_own_weights(scripts, away):
    printed = json.loads(run(scripts / "python", "-c", ASK, **away))
    assert Path(printed["file"]).is_relative_to(scripts.parent)
    assert Path(printed["weights"]) == Path(printed["file"]).parent / "weights" / "open7"
    assert printed["registered"] >= 0 and printed["difference"] < 1e-3


def test_the_installed_command_analyses_the_sample(scripts, away):
    answer = json.loads(
        run(scripts / "multimodal-fer", "analyze", SAMPLE, "--speech-model", "none", **away)
    )
    assert answer["emotion"] == "happiness" and answer["bundle"].startswith("open7@")
    assert not (away["cwd"] / "cache").exists()
