"""An installed package: it brings its configuration along and works from any folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the package as pip installs it, built from a copy of the sources."""
    pytest.importorskip("setuptools", reason="packages are built with setuptools")
    top = tmp_path_factory.mktemp("installed")
    for name in ("avsr", "conf"):
        shutil.copytree(ROOT / name, top / "source" / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, top / "source")
    build = [sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", "build", "--build-lib", top / "site"]
    subprocess.run(build, cwd=top / "source", check=True, capture_output=True, text=True)
    return top / "site"


def test_all_that_the_code_reads_is_in_the_package(site):
    wanted = {path.relative_to(ROOT) for path in (ROOT / "conf").rglob("*.yaml")}
    assert {path.relative_to(site / "avsr") for path in (site / "avsr" / "conf").rglob("*.yaml")} == wanted
    assert not list(site.rglob("constraints.txt"))
    shipped = {path.name for path in (ROOT / "avsr/shipped").iterdir() if path.is_file()}
    assert {"enhancer.pt", "recogniser.pt", "README.md"} < shipped
    assert {path.name for path in (site / "avsr/shipped").iterdir()} == shipped
    modules = {path.relative_to(ROOT) for path in (ROOT / "avsr").rglob("*.py")}
    assert {path.relative_to(site) for path in site.rglob("*.py")} == modules


def test_it_runs_from_another_folder(site, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def run(*words) -> str:
        command = [sys.executable, *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True).stdout

    assert run("-c", "import avsr.config; print(avsr.config.__file__)").strip() == str(site / "avsr" / "config.py")
    listed = run("-m", "avsr.models", "--preset", "tiny", "--only", "eg_va_tcn")
    assert "TCN-EG VA" in listed.splitlines()[1]
    code = "import avsr.scoring.published as p; print(p.read_published().cell('ae_tcn', 'babble_0dB', 'energy_linear'))"
    assert run("-c", code).strip() == "46.3"
