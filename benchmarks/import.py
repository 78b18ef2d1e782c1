"""Time and memory of importing a full-size checkpoint, ViT-B/32.

    python benchmarks/import.py [--half]

Writes a checkpoint of random weights (T-MASS's, or CLIP4Clip's in half precision as its training
leaves them), imports it in a process of its own as a user would, and prints seconds of the whole
process, start of Python and torch included, and the most memory that it held beyond what it has
once everything is imported, beside the size of the file. Beside it: the plain way, `torch.load` and
`safetensors.save_file` of float32 copies, which checks nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

OURS = """
import json, resource, sys, time
import torch, open_clip
from vidsampler.checkpoints.importing import import_checkpoint
def peak():
    # Not by getrusage, which counts the parent's memory at the fork too.
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
before, worked = peak(), cpu()
done = import_checkpoint(sys.argv[1], sys.argv[2], family=sys.argv[3])
memory = {"extra": peak() - before, "peak": peak()}
times = {"cpu": cpu() - worked, "all_cpu": cpu(), "seconds": done.seconds}
print(json.dumps({**memory, **times}))
"""
PLAIN = """
import json, resource, sys, time
import torch, open_clip
from pathlib import Path
from safetensors.torch import save_file
def peak():
    # Not by getrusage, which counts the parent's memory at the fork too.
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
before, worked = peak(), cpu()
began = time.monotonic()
state = torch.load(sys.argv[1], weights_only=True, map_location="cpu")
Path(sys.argv[2]).mkdir()
save_file({k: v.float().contiguous() for k, v in state.items()}, sys.argv[2] + "/plain.safetensors")
memory = {"extra": peak() - before, "peak": peak()}
times = {"cpu": cpu() - worked, "all_cpu": cpu(), "seconds": time.monotonic() - began}
print(json.dumps({**memory, **times}))
"""


def write_checkpoint(path: Path, *, half: bool) -> str:
    """Writes a file of ViT-B/32's size; whose it is."""
    import open_clip
    import torch

    from vidsampler.checkpoints.clip import huggingface_recipe
    from vidsampler.checkpoints.table import stacked, transposed

    torch.manual_seed(0)
    model = open_clip.CLIP(**open_clip.get_model_config("ViT-B-32-quickgelu"))
    state = model.state_dict()
    if half:
        torch.save({f"clip.{k}": v.half() if v.ndim > 1 else v for k, v in state.items()}, path)
        return "clip4clip"
    content = {}
    for name, tensor in state.items():
        keys, change = huggingface_recipe(name)
        parts = tensor.chunk(3) if change is stacked else (tensor,)
        for key, part in zip(keys, parts, strict=True):
            content[f"clip.{key}"] = (part.T if change is transposed else part).clone()
    for name in (*(f"cross_attn.{each}_proj" for each in ("q", "k", "v", "out")), "linear_proj"):
        content[f"pool_frames.{name}.weight"] = torch.eye(512)
        content[f"pool_frames.{name}.bias"] = torch.zeros(512)
    for number in (1, 2, 3):
        content[f"pool_frames.layer_norm{number}.weight"] = torch.ones(512)
        content[f"pool_frames.layer_norm{number}.bias"] = torch.zeros(512)
    content["stochastic.std_branch.linear_proj.weight"] = torch.eye(512, 12)
    content["stochastic.std_branch.linear_proj.bias"] = torch.zeros(512)
    torch.save(content, path)
    return "tmass"


def measure(code: str, *words: str) -> dict[str, float]:
    """Runs code in a process of its own."""
    began = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return {**found, "process": time.monotonic() - began}


def main() -> None:
    """Prints both ways, some times each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--half", action="store_true", help="matrices in half precision")
    parser.add_argument("--times", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "checkpoint.pt"
        # In a process of its own, so that its memory is nobody else's.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as writer:
            family = writer.submit(write_checkpoint, file, half=arguments.half).result()
        size = file.stat().st_size
        print(f"{family}, ViT-B/32, {size / 1e6:.0f} MB")
        names = ("process s", "of CPU", "import s", "of CPU", "MB more", "x file", "peak MB")
        print(" " * 8 + "".join(f"{name:>10}" for name in names), flush=True)
        for turn in range(arguments.times):
            for name, code in (("import", OURS), ("plain", PLAIN)):
                found = measure(code, str(file), f"{scratch}/{name}{turn}", family)
                numbers = (
                    found["process"],
                    found["all_cpu"],
                    found["seconds"],
                    found["cpu"],
                    found["extra"] / 1e6,
                    found["extra"] / size,
                    found["peak"] / 1e6,
                )
                print(f"{name:8}" + "".join(f"{each:10.2f}" for each in numbers), flush=True)


if __name__ == "__main__":
    main()
