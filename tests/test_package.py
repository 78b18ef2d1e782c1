"""The package: what importing costs, and that a wheel is whole outside a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


def python(program: str, *, path: Path | None = None, cwd: Path | None = None) -> str:
    """Runs a program in a Python of its own and returns what it prints."""
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def hatch(target: str, source: Path, folder: Path) -> Path:
    """Builds a wheel or an sdist without a network, and returns the file."""
    run = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    (built,) = folder.iterdir()
    return built


def test_importing_the_package_imports_nothing_else() -> None:
    program = (
        "import sys, vidsampler; vidsampler.__version__, dir(vidsampler);"
        "print([m for m in ('torch', 'numpy', 'av', 'typer', 'yaml') if m in sys.modules])"
    )
    assert python(program) == "[]"


@pytest.mark.parametrize(
    "first",
    [
        "",
        "import vidsampler.select",
        "from vidsampler.select import Selection",
        "vidsampler.select",
    ],
)
def test_select_is_the_function_whatever_was_imported_before(first: str) -> None:
    program = (
        f"import vidsampler, inspect\n{first}\n"
        "assert inspect.isfunction(vidsampler.select)\n"
        "from vidsampler import select, Selection\n"
        "import vidsampler.select\n"
        "assert vidsampler.select is select and inspect.isclass(Selection)\n"
        "import pickle; assert pickle.loads(pickle.dumps(select)) is select"
    )
    python(program)


def test_train_is_the_function_and_costs_no_torch() -> None:
    program = (
        "import sys, inspect, vidsampler\n"
        "assert inspect.isfunction(vidsampler.train) and 'torch' not in sys.modules\n"
        "import vidsampler.train\n"
        "from vidsampler.train import plan_run\n"
        "assert inspect.isfunction(vidsampler.train)"
    )
    python(program)


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    import vidsampler

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        vidsampler.nothing  # noqa: B018 - the access is the test
    assert {"select", "Selection", "__version__"} <= set(dir(vidsampler))


@pytest.mark.parametrize("through_sdist", [False, True])
def test_a_wheel_finds_its_configs_outside_the_checkout(
    tmp_path: Path, through_sdist: bool
) -> None:
    source = CHECKOUT
    if through_sdist:
        (tmp_path / "sdist").mkdir()
        with tarfile.open(hatch("sdist", CHECKOUT, tmp_path / "sdist")) as archive:
            archive.extractall(tmp_path / "source", filter="data")
        (source,) = (tmp_path / "source").iterdir()
    (tmp_path / "dist").mkdir()
    wheel = hatch("wheel", source, tmp_path / "dist")
    with zipfile.ZipFile(wheel) as archive_of_wheel:
        names = archive_of_wheel.namelist()
        archive_of_wheel.extractall(tmp_path / "site")
    shipped = sorted(p.relative_to(CHECKOUT) for p in (CHECKOUT / "configs").rglob("*.yaml"))
    assert {f"vidsampler/{path.as_posix()}" for path in shipped} <= set(names)
    assert "vidsampler/py.typed" in names
    learned = {"README.md", "config.yaml", "model.safetensors"}
    assert {f"vidsampler/shipped/learned/{name}" for name in learned} <= set(names)
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "configs"))]
    program = (
        "from vidsampler.config import *\n"
        "assert resolve(SelectConfig, [file_layer('quick', 'select')]).sampler == 'keyframe'\n"
        "print(configs_dir())"
    )
    found = Path(python(program, path=tmp_path / "site", cwd=tmp_path))
    assert found == tmp_path.resolve() / "site" / "vidsampler" / "configs"


def test_an_editable_install_finds_the_configs_of_its_checkout(tmp_path: Path) -> None:
    program = f"from hatchling.build import build_editable; build_editable({str(tmp_path)!r})"
    python(program, cwd=CHECKOUT)
    (wheel,) = tmp_path.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    # Without any other folder of packages: this very interpreter may know the checkout already.
    program = (
        f"import site; site.addsitedir({str(tmp_path / 'site')!r})\n"
        "from vidsampler.config import configs_dir\n"
        "print(configs_dir())"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert Path(run.stdout.strip()) == CHECKOUT / "configs"
