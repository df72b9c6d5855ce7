"""Every check anyone runs. ``nox --list`` shows them; those without a star in that list are run by hand."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
NAMES = ("medcore", "puq-qmri", "vrft-aug")
FOLDERS = {name: ROOT / "packages" / name for name in NAMES}
IMPORTS = {"medcore": "medcore", "puq-qmri": "puq_qmri", "vrft-aug": "vrft_aug"}
SOURCES = [str(folder / "src") for folder in FOLDERS.values()]
DIST = ROOT / "dist"
CONSTRAINTS = ("--constraint", str(ROOT / "constraints.txt"))
EXTRAS = "[kspace,dicom,twix,bids,eval,text,viz,detect,hf]"
TEST_TOOLS = ("pytest", "pytest-xdist", "pytest-timeout", "hypothesis", "beartype")
# Independent implementations that the tests compare with.
REFEREES = ("torchmetrics", "pycocotools", "dicom-anonymizer")
DOC_TOOLS = ("sphinx", "myst-parser", "numpydoc", "furo")
TOOLS = (*TEST_TOOLS, *REFEREES, *DOC_TOOLS, "mypy", "import-linter", "types-PyYAML")
# One thread a process: several threads on a shared machine make small tensors ten times slower.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.needs_version = ">=2025.2.9"


def wheels() -> dict[str, Path]:
    """The wheels built by the session `build`, by package."""
    return {name: next(DIST.glob(f"{IMPORTS[name]}-*.whl")) for name in NAMES}


def environment(session: nox.Session) -> Path:
    """The scripts folder of one environment for all sessions: every package from its wheel, every extra, the test tools.

    Installing it takes minutes, so it is made once and kept until the constraints or the wheels' requirements change.
    """
    folder = ROOT / ".nox" / "full"
    scripts = folder / ("Scripts" if sys.platform == "win32" else "bin")
    requirements = "".join(p.read_text() for p in [ROOT / "constraints.txt", *(f / "pyproject.toml" for f in FOLDERS.values())])
    stamp, mark = folder / "stamp", hashlib.sha256(f"{requirements}{TOOLS}".encode()).hexdigest()
    found = wheels()
    if not stamp.exists() or stamp.read_text() != mark:
        shutil.rmtree(folder, ignore_errors=True)
        session.run(sys.executable, "-m", "virtualenv", "--quiet", str(folder), external=True)
        wanted = [f"{found['medcore']}{EXTRAS}", f"{found['puq-qmri']}[dask]", str(found["vrft-aug"])]
        session.run(str(scripts / "pip"), "install", "--quiet", *CONSTRAINTS, *wanted, *TOOLS, external=True)
        stamp.write_text(mark)
    else:
        pip = [str(scripts / "pip"), "install", "--quiet", "--no-deps", "--force-reinstall"]
        session.run(*pip, *map(str, found.values()), external=True)
    return scripts


def pytest(session: nox.Session, scripts: Path, *arguments: str) -> None:
    """Run pytest from the shared environment on two processes; warnings are errors, shapes are checked."""
    checked = ",".join(IMPORTS.values())
    command = [str(scripts / "pytest"), "-n", "2", "--dist", "worksteal", f"--jaxtyping-packages={checked},beartype.beartype"]
    session.run(*command, *arguments, *session.posargs, env=ENVIRONMENT, external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, spelling, and agreement of the packages' versions."""
    session.install("ruff", "codespell", *CONSTRAINTS)
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell", "README.md", "CONTRIBUTING.md", "docs", "packages", "tools", "benchmarks", "noxfile.py")
    session.run("python", "tools/check_versions.py")


@nox.session
def build(session: nox.Session) -> None:
    """Wheel and source archive of each package."""
    session.install("build", *CONSTRAINTS)
    shutil.rmtree(DIST, ignore_errors=True)
    for folder in FOLDERS.values():
        session.run("python", "-m", "build", "--outdir", str(DIST), str(folder), silent=True)
    session.log("built " + ", ".join(sorted(p.name for p in DIST.iterdir())))


@nox.session(requires=["build"], venv_backend="none")
def types(session: nox.Session) -> None:
    """Static types, strict."""
    scripts = environment(session)
    session.run(str(scripts / "mypy"), *SOURCES, external=True)


@nox.session(requires=["build"], venv_backend="none")
def imports(session: nox.Session) -> None:
    """Layers and forbidden imports; start-up time; medcore without torch."""
    scripts = environment(session)
    session.run(str(scripts / "lint-imports"), external=True)
    session.run(str(scripts / "python"), "tools/check_startup.py", external=True)


@nox.session(requires=["build"], venv_backend="none")
@nox.parametrize("package", NAMES)
def tests(session: nox.Session, package: str) -> None:
    """One package's tests against its installed wheel."""
    scripts = environment(session)
    pytest(session, scripts, str(FOLDERS[package] / "tests"), "-m", "not integration and not property and not gpu")


@nox.session(requires=["build"], venv_backend="none")
def integration(session: nox.Session) -> None:
    """Real data (from the folder MEDCORE_TEST_DATA), command lines end to end, faults, the commands of every README."""
    scripts = environment(session)
    pytest(session, scripts, "packages", "tests", "-m", "integration and not gpu", f"--corpus-table={ROOT / 'corpus.md'}")


@nox.session(requires=["build"], venv_backend="none", default=False)
def property(session: nox.Session) -> None:  # noqa: A001
    """Thorough runs of the property tests."""
    scripts = environment(session)
    # The profile is registered by the tests' conftest files, which are read in time only where their folders are named.
    folders = [str(folder / "tests") for folder in FOLDERS.values()]
    pytest(session, scripts, *folders, "-m", "(property or hypothesis) and not gpu", "--hypothesis-profile=thorough")


@nox.session(requires=["build"])
@nox.parametrize("package", NAMES)
def wheel(session: nox.Session, package: str) -> None:
    """One package alone in a clean environment, as a user would install it: no other product package, no test tools."""
    found = wheels()
    needed = {found["medcore"], found[package]}
    session.install(*map(str, sorted(needed)), *CONSTRAINTS)
    session.run("python", "tools/check_wheel.py", package)


@nox.session(requires=["build"], venv_backend="none")
def examples(session: nox.Session) -> None:
    """Every script in the packages' examples folders."""
    scripts = environment(session)
    for script in sorted(p for f in FOLDERS.values() for p in (f / "examples").glob("*.py")):
        with session.chdir(session.create_tmp()):
            session.run(str(scripts / "python"), str(script), env=ENVIRONMENT, external=True)


@nox.session(requires=["build"], venv_backend="none")
def docs(session: nox.Session) -> None:
    """The documentation site; every warning is an error."""
    scripts = environment(session)
    command = [str(scripts / "sphinx-build"), "-W", "-q", "-b", "html", "docs", "docs/_build/html"]
    session.run(*command, env=ENVIRONMENT, external=True)


@nox.session(requires=["build"], venv_backend="none")
def demo(session: nox.Session) -> None:
    """Both main jobs on embedded data; prints where the report pages are."""
    scripts = environment(session)
    output = ROOT / "demo-output"
    for name in ("puq-qmri", "vrft-aug"):
        arguments = ["demo", "-o", str(output / name), "--force"]
        session.run(str(scripts / name), *arguments, env=ENVIRONMENT, external=True)


@nox.session(requires=["build"], venv_backend="none", default=False)
def bench(session: nox.Session) -> None:
    """The measurements behind the documentation's figures; see benchmarks/README.md."""
    scripts = environment(session)
    for script in sorted((ROOT / "benchmarks").glob("[!_]*.py")):
        session.run(str(scripts / "python"), str(script), env=ENVIRONMENT, external=True)
