"""`extract --engine ray`: the same bytes, whoever dies."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.doing import (
    CLIP,
    at_work,
    begin,
    check_committed,
    check_completed,
    command,
    end,
    failures,
    misfortune,
    wait_for,
)
from tests.test_extract import hashes
from vidsampler.shards.node import versions

pytest.importorskip("ray", reason="Ray is not installed: pip install 'vidsampler[ray]'")

RAY = ("--engine", "ray", "--workers", "2")


def ray_workers(driver: int) -> list[psutil.Process]:
    """Ray's own processes that are at work on a unit."""
    found = []
    for process in psutil.Process(driver).children(recursive=True):
        try:
            if "make_unit" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def ended(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=30)[1]


def test_the_same_bytes_and_the_same_errors(
    videos: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """A decoder that crashes and a cut file among good ones."""
    mixed = tmp_path / "mixed"
    shutil.copytree(videos, mixed)
    shutil.copy(CLIP, mixed / "crash.mp4")
    (mixed / "cut.mp4").write_bytes(CLIP.read_bytes()[:9000])
    bad = misfortune(tmp_path)
    local, out = tmp_path / "local", tmp_path / "out"
    code, alone = end(begin(command(mixed, local, *words), **bad))
    assert code == 3
    # Relative paths, which nodes would take for others.
    inside = [os.path.relpath(path, Path(__file__).parents[2]) for path in (mixed, out)]
    code, report = end(begin(command(Path(inside[0]), Path(inside[1]), *words, *RAY), **bad))
    assert code == 3, report
    for each in (alone, report):
        del each["seconds"]
    assert report == alone
    assert report["errors"] == {"crashed": 1, "truncated": 1}
    assert (out / "errors.jsonl").read_bytes() == (local / "errors.jsonl").read_bytes()
    assert (out / "plan.jsonl").read_bytes() == (local / "plan.jsonl").read_bytes()
    check_completed(out, hashes(local))
    assert failures(out)["crash.mp4"] == "crashed"


def test_a_ray_worker_that_is_killed_has_its_shard_done_again(
    videos: Path, tmp_path: Path, words: tuple[str, ...], undisturbed: dict[str, str]
) -> None:
    out = tmp_path / "out"
    run = begin(command(videos, out, *words, *RAY))
    wait_for(lambda: any(out.glob(".tmp-*/*/*")) and ray_workers(run.pid))
    victims = ray_workers(run.pid)
    children = [child for victim in victims for child in victim.children()]
    victims[0].kill()
    code, report = end(run)
    assert (code, report["done"], report["failed"]) == (0, 9, 0), report
    check_completed(out, undisturbed)
    assert ended([*victims, *children])


@pytest.mark.slow
def test_a_killed_run_is_completed_by_the_other_engine(
    videos: Path, tmp_path: Path, words: tuple[str, ...], undisturbed: dict[str, str]
) -> None:
    out = tmp_path / "out"
    run = begin(command(videos, out, *words, *RAY))
    wait_for(lambda: any(out.glob(".tmp-*/*/*")))
    # Ray's own agents take a minute to notice; what works for us does not.
    family = ray_workers(run.pid)
    family += [child for worker in family for child in worker.children()]
    run.kill()
    run.communicate(timeout=60)
    assert ended(family)
    check_committed(out, undisturbed)
    code, _ = end(begin(command(videos, out, *words)))
    assert code == 0
    check_completed(out, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c(
    videos: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    undisturbed: dict[str, str],
    signals: int,
) -> None:
    out = tmp_path / "out"
    # One node at a time, so that something is left.
    run = begin(command(videos, out, *words, "--engine", "ray", "--workers", "1"))
    wait_for(lambda: any(out.glob(".tmp-*/*/*")))
    for _ in range(signals):
        run.send_signal(signal.SIGINT)
        time.sleep(0.7)  # Ray hears nothing for half a second
    code, report = end(run)
    assert code == 130, report
    if signals == 1:
        assert report["done"] in (3, 6, 9)
        assert len(list(out.glob("*.tar"))) == report["shards"] > 0
    assert not at_work(out)
    check_committed(out, undisturbed)
    code, _ = end(begin(command(videos, out, *words, *RAY)))
    assert code == 0
    check_completed(out, undisturbed)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without processors and two nodes with one each, on this machine."""
    from ray.cluster_utils import Cluster

    made: Any = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        yield made
    finally:
        made.shutdown()


@pytest.mark.slow
def test_a_node_that_dies(
    videos: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    undisturbed: dict[str, str],
    cluster: Any,
) -> None:
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    out = tmp_path / "out"
    run = begin(command(videos, out, *words, "--engine", "ray", "--address", cluster.address))
    wait_for(lambda: len(list(out.glob(".tmp-*/*"))) >= 2)
    cluster.remove_node(nodes[0], allow_graceful=False)
    code, report = end(run)
    assert (code, report["done"], report["failed"]) == (0, 9, 0), report
    check_completed(out, undisturbed)


def test_a_cluster_that_is_not_there(videos: Path, tmp_path: Path) -> None:
    words = ("--engine", "ray", "--address", "no cluster here")
    code, report = end(begin(command(videos, tmp_path / "out", *words)))
    assert code == 1
    assert report["error"]["code"] == "ray"
    assert "cannot connect to the Ray cluster at no cluster here" in report["error"]["message"]


def test_other_versions_and_other_disks_are_refused(tmp_path: Path) -> None:
    from vidsampler.errors import VidsamplerError
    from vidsampler.shards.build import Lot, Work
    from vidsampler.shards.job import Item, ShardPacker, Unit
    from vidsampler.shards.node import Order, make_unit

    item = Item("a", "a.mp4")
    unit = Unit("000000", (item,))

    def last(order: Order) -> VidsamplerError:
        *_, error = make_unit(order)
        assert isinstance(error, VidsamplerError)
        return error

    packer = ShardPacker({}, tmp_path)
    gone = Lot(unit, ((item, Work("task", reads=tmp_path / "a.mp4")),))
    order = Order(gone, "none:none", None, tmp_path / "new", packer, versions())
    assert last(order).code == "missing"
    assert "not on the node" in last(order).message
    other = Order(gone, "none:none", None, tmp_path / "new", packer, {**versions(), "av": "1.0"})
    assert last(other).code == "versions"
    assert f"av {versions()['av']} (elsewhere 1.0)" in last(other).message
    here = Lot(unit, ((item, Work("task", reads=Path(__file__))),))
    apart = Order(here, "none:none", None, tmp_path / "no" / "new", packer, versions())
    assert last(apart).code == "unwritable"
