"""The loop of a job on a cluster, without one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from vidsampler.shards.build import Lot, Work
from vidsampler.shards.cluster import _Loop
from vidsampler.shards.job import Item, Job, ShardPacker, Unit
from vidsampler.shards.node import Order


class Ray:
    """Takes orders and does nothing about them."""

    exceptions = SimpleNamespace(TaskCancelledError=LookupError, RayTaskError=OSError)

    def __init__(self) -> None:
        self.orders: list[Order] = []

    def remote(self, **_: Any) -> Any:
        def order_it(order: Order) -> int:
            self.orders.append(order)
            return len(self.orders)

        return lambda function: SimpleNamespace(remote=order_it)


def test_each_attempt_has_a_folder_of_its_own(tmp_path: Path) -> None:
    ray = Ray()
    job = SimpleNamespace(temporary=tmp_path, packer=lambda folder: ShardPacker({}, folder))
    loop = _Loop(ray, cast(Job, job), "none:none", None, lambda *_: None, lambda *_: None)
    # As units of folders are named: by the stems of videos, which may be long and begin alike.
    long = "a recording of the same event from the same camera in the same year, part "
    lots = []
    for name in (f"{long}1", f"{long}2", "\U0001f3ac" * 60):
        item = Item(name, f"{name}.mp4")
        lots.append(Lot(Unit(name, (item,)), ((item, Work(None)),)))
        loop.begin(lots[-1], 1)
    loop.begin(lots[0], 2)
    folders = [order.folder for order in ray.orders]
    assert len(set(folders)) == 4
    for folder in folders:
        folder.mkdir()  # as a node does
        assert folder.parent == tmp_path
