"""What the benchmark of the shipped sampler counts, and that it goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

from benchmarks.default_data import link, sides
from benchmarks.default_sampler import (
    LEARNED,
    OTHERS,
    Results,
    montage_table,
    retrieval_table,
)

ROWS = """video,caption,set,original,source,licence
a.mp4,one,misc,1,x/one:a.mp4,repo: MIT License
b.mp4,two,misc,1,x/one:b.mp4,repo: none/other
c.mp4,three,misc,1,x/two:c.mp4,repo: CC0
d.mp4,four,panda70m,0,y/three:d.mp4,Snap non-commercial research
"""


def test_no_repository_is_on_both_sides(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text(ROWS)
    assert sides(tmp_path) == (
        {"a.mp4": "x/one", "c.mp4": "x/two"},
        {"d.mp4": "y/three"},
    )
    assert link(tmp_path, tmp_path / "train") == 2
    table = (tmp_path / "train" / "groups.csv").read_text()
    assert table == "video,group\na.mp4,x/one\nc.mp4,x/two\n"
    assert (tmp_path / "train" / "a.mp4").is_symlink()


def test_the_tables(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json")
    seeds = [20000, 21000, 20001]
    for seed in seeds[:2]:
        for place, name in enumerate((LEARNED, *OTHERS)):
            share = 0.25 * place + (0.25 if seed == 21000 and name == LEARNED else 0)
            score = {"share": min(1, share), "bad": place, "frozen": 0, "seconds": 1, "kept": 8}
            results.put(f"{name} {seed}", score)
    # Kept on the disk; what is not there yet is left out.
    again = Results(tmp_path / "results.json")
    lines = montage_table(again, seeds).splitlines()
    assert lines[0] == "2 montages of 8 clips held out, in 2 series, K = 8"
    learned = next(line for line in lines if line.startswith("learned"))
    assert learned.split() == ["learned", "0.125", "+-", "0.125", "0.00", "0.00", "1.00"]
    assert lines[-4].split()[:3] == ["over", "uniform", "-0.125"]
    for number in range(4):
        own = [1.0 if i == number else 0.0 for i in range(4)]
        other = [1.0 if i == (number + 1) % 4 else 0.0 for i in range(4)]
        results.put(f"text {number}", own)
        for name in (LEARNED, *OTHERS):
            miss = other if name == LEARNED else own
            results.put(f"clip {number} {name}", [miss, miss, own])
    text = retrieval_table(results, [str(i) for i in range(4)])
    assert f"{'learned':10}{0:>8.1f}{0:>8.1f}{100:>8.1f}{100 / 3:>8.1f}" in text
    assert "over uniform   -66.7  [-66.7, -66.7]" in text
