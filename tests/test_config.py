"""The config tree: strict keys and types, nested dataclasses, precedence, presets, folders."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from vidsampler import plainyaml
from vidsampler.config import (
    Layer,
    SelectConfig,
    cache_dir,
    configs_dir,
    file_layer,
    flag_layer,
    resolve,
    set_layer,
    to_plain,
)
from vidsampler.errors import ConfigError

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Optimiser:
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.98)
    kind: Literal["adamw", "sgd"] = "adamw"


@dataclass(frozen=True)
class Gate:
    width: int
    bias: bool = False


@dataclass(frozen=True)
class Job:
    """A tree like those of later commands."""

    name: str
    optimiser: Optimiser = field(default_factory=lambda: Optimiser(lr=0.5))
    gate: Gate | None = None
    sizes: tuple[int, ...] = ()
    tags: list[str] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    output: Path | None = None
    either: int | str = 0
    note: str | None = None


def of(**values: Any) -> Layer:
    return Layer("job.yaml: {key}", values)


def test_defaults_fill_what_is_not_given() -> None:
    assert resolve(Job, [of(name="x")]) == Job("x")


def test_nested_values_keep_their_default_neighbours() -> None:
    job = resolve(Job, [of(name="x", optimiser={"betas": [0.5, 1]})])
    assert job.optimiser == Optimiser(lr=0.5, betas=(0.5, 1.0))
    assert all(type(beta) is float for beta in job.optimiser.betas)


def test_later_layers_win_key_by_key() -> None:
    layers = [
        of(name="x", optimiser={"lr": 1, "kind": "sgd"}),
        set_layer("optimiser.lr=1e-3"),
        flag_layer("--name", "name", "y"),
    ]
    assert resolve(Job, layers) == Job("y", Optimiser(lr=1e-3, kind="sgd"))


def test_an_optional_part_comes_and_goes() -> None:
    assert resolve(Job, [of(name="x", gate={"width": 3})]).gate == Gate(3)
    assert resolve(Job, [of(name="x", gate={"width": 3}), set_layer("gate=null")]).gate is None
    assert resolve(Job, [of(name="x", gate=None), set_layer("gate.width=4")]).gate == Gate(4)
    with pytest.raises(ConfigError, match=r"the key 'gate\.width' is missing"):
        resolve(Job, [of(name="x", gate={"bias": True})])


def test_a_missing_key_is_an_error() -> None:
    with pytest.raises(ConfigError, match="the key 'name' is missing and has no default"):
        resolve(Job, [])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nmae": "x"}, "job.yaml: unknown key 'nmae'; did you mean 'name'?"),
        (
            {"optimiser": {"lrate": 1}},
            "job.yaml: unknown key 'optimiser.lrate'; did you mean 'optimiser.lr'? (one of: ",
        ),
        ({"name": 3}, "job.yaml: name: expected text, not 3"),
        ({"name": None}, "job.yaml: name: expected text, not null"),
        ({"optimiser": {"lr": True}}, "job.yaml: optimiser.lr: expected a number, not True"),
        ({"optimiser": {"lr": "1e-4"}}, "job.yaml: optimiser.lr: expected a number, not '1e-4'"),
        ({"optimiser": {"lr": float("nan")}}, "job.yaml: optimiser.lr: expected a number, not nan"),
        ({"optimiser": {"lr": 10**400}}, "job.yaml: optimiser.lr: expected a number, not 1000"),
        ({"optimiser": 3}, "job.yaml: optimiser: expected a mapping, not 3"),
        ({"optimiser": {"betas": [1]}}, "expected a list of 2: [a number, a number], not [1]"),
        ({"optimiser": {"kind": "adam"}}, "unknown value 'adam'; did you mean 'adamw'?"),
        ({"gate": {"width": True}}, "job.yaml: gate.width: expected a whole number, not True"),
        ({"gate": {"width": 2.0}}, "job.yaml: gate.width: expected a whole number, not 2.0"),
        ({"gate": {"width": 2, "bias": 1}}, "gate.bias: expected true or false, not 1"),
        ({"sizes": [1, "2"]}, "job.yaml: sizes[1]: expected a whole number, not '2'"),
        ({"sizes": 1}, "job.yaml: sizes: expected a list of a whole number, not 1"),
        ({"weights": {"a": "b"}}, "job.yaml: weights.a: expected a number, not 'b'"),
        ({"either": 1.5}, "job.yaml: either: expected a whole number or text, not 1.5"),
    ],
)
def test_what_does_not_fit_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(Job, [of(**{"name": "x", **values})])
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("assignment", "key", "value"),
    [
        ("name=7", "name", "7"),
        ("name=", "name", ""),
        ("name=a=b", "name", "a=b"),
        ("sizes=[1, 2]", "sizes", (1, 2)),
        ("tags=[a, b]", "tags", ["a", "b"]),
        ("weights={a: 1}", "weights", {"a": 1.0}),
        ("output=out/dir", "output", Path("out/dir")),
        ("output=null", "output", None),
        ("either=3", "either", 3),
        ("either=three", "either", "three"),
        ("note=~", "note", None),
        ("note=3", "note", "3"),
        ("gate={width: 2, bias: true}", "gate", Gate(2, True)),
        ("optimiser.kind=sgd", "optimiser", Optimiser(lr=0.5, kind="sgd")),
    ],
)
def test_set_reads_its_value_by_the_type_of_the_key(assignment: str, key: str, value: Any) -> None:
    job = resolve(Job, [of(name="x"), set_layer(assignment)])
    assert getattr(job, key) == value


@pytest.mark.parametrize("assignment", ["name", "=3", "a..b=3", ".a=1", ""])
def test_set_needs_a_key_and_a_value(assignment: str) -> None:
    with pytest.raises(ConfigError, match="--set takes KEY=VALUE"):
        set_layer(assignment)


def test_errors_of_set_and_flags_name_them() -> None:
    with pytest.raises(ConfigError, match=r"^--set gate\.width: expected a whole number, not 'a'$"):
        resolve(Job, [set_layer("gate.width=a")])
    with pytest.raises(ConfigError, match=r"^--set: unknown key 'gaet'; did you mean 'gate'"):
        resolve(Job, [set_layer("gaet=1")])
    with pytest.raises(ConfigError, match=r"^--top-k: expected a whole number, not 1\.5$"):
        resolve(SelectConfig, [flag_layer("--top-k", "k", "1.5")])


def test_plain_data_resolves_to_the_same() -> None:
    job = Job("x", gate=Gate(3), sizes=(1, 2), output=Path("a/b"), weights={"c": 0.1}, note="no")
    again = plainyaml.load(plainyaml.dump(to_plain(job)))
    assert resolve(Job, [Layer("again: {key}", again)]) == job


def test_select_config_is_the_arguments_of_select() -> None:
    from vidsampler.select import select

    parameters = dict(inspect.signature(select).parameters)
    # A model that is there already is no setting.
    del parameters["video"], parameters["model"]
    defaults = {name: each.default for name, each in parameters.items()}
    assert defaults == {**to_plain(SelectConfig()), "query": ()}


def test_the_default_preset_writes_the_defaults_down() -> None:
    layer = file_layer("default", "select")
    assert dict(layer.values) == to_plain(SelectConfig())


@pytest.mark.parametrize("path", sorted((CHECKOUT / "configs" / "select").glob("*.yaml")))
def test_every_preset_resolves(path: Path) -> None:
    by_name = resolve(SelectConfig, [file_layer(path.stem, "select")])
    assert by_name == resolve(SelectConfig, [file_layer(str(path), "select")])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("k", "0", "k (--top-k) must be at least 1, not 0"),
        ("k", "-3", "k (--top-k) must be at least 1, not -3"),
        ("candidates", "0", "candidates must be at least 1, not 0"),
        ("seed", "-1", "seed must be at least 0, not -1"),
        ("threads", "0", "threads must be at least 1, not 0"),
        ("timeout", "0", "timeout must be more than 0 seconds, not 0"),
        ("timeout", ".inf", "timeout must be more than 0 seconds, not inf"),
        ("start", "1:75", "'1:75' is not a time: 75 seconds after a colon, 60 or more"),
        ("end", "0", "end (--to) must come after start (--from): 0 s is not after 0 s"),
    ],
)
def test_select_refuses_values_out_of_range(key: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(SelectConfig, [set_layer(f"{key}={value}")])
    assert message in caught.value.message


def test_times_of_select_in_every_form(tmp_path: Path) -> None:
    file = tmp_path / "times.yaml"
    file.write_text("start: 1:30\nend: 95\n")
    config = resolve(SelectConfig, [file_layer(str(file), "select")])
    assert (config.start, config.end) == (90.0, 95.0)
    config = resolve(SelectConfig, [flag_layer("--to", "end", "0:01:00.5")])
    assert config.end == 60.5
    assert resolve(SelectConfig, [set_layer("end=9"), set_layer("end=null")]).end is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"k: 1\nk: 2\n", "line 2: key 'k' stands there twice"),
        (b"- 1\n", "must be a mapping of keys to values"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b"k: 1\nj: [", "line 2: "),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "broken.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        file_layer(str(file), "select")
    assert str(file) in caught.value.message
    assert message in caught.value.message


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("# nothing\n")
    assert resolve(SelectConfig, [file_layer(str(file), "select")]) == SelectConfig()


def test_a_missing_file_and_an_unknown_preset(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read config .*none\.yaml: No such file"):
        file_layer(str(tmp_path / "none.yaml"), "select")
    with pytest.raises(ConfigError, match=r"unknown preset 'quik'; did you mean 'quick'\?"):
        file_layer("quik", "select")


def test_a_file_without_an_ending_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").write_text("k: 3\n")
    assert file_layer("mine", "select").values == {"k": 3}


def test_configs_of_a_checkout() -> None:
    assert configs_dir() == CHECKOUT / "configs"


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("VIDSAMPLER_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_dir() == tmp_path / ".cache" / "vidsampler"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_dir() == tmp_path / ".cache" / "vidsampler"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "vidsampler"
    monkeypatch.setenv("VIDSAMPLER_CACHE", "~/own")
    assert cache_dir() == tmp_path / "own"
