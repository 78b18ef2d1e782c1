"""What does not fit, does not load, or tries to run something: a sentence each."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints.published import (
    SMALL,
    WIDE,
    Draw,
    State,
    huggingface_clip,
    openai_clip,
    policy,
    pooling,
    sequence,
    written,
)
from vidsampler.checkpoints.importing import import_checkpoint
from vidsampler.config import set_layer
from vidsampler.errors import InputError, UsageError, VidsamplerError
from vidsampler.retriever import Retriever


def mmsampler() -> State:
    draw = Draw(1)
    state = openai_clip(draw, SMALL, "clip.clip.")
    return state | policy(draw, "", actions=2, into=SMALL.joint)


def refused(
    folder: Path, content: Any, *words: str, kind: type[VidsamplerError] = UsageError, **more: Any
) -> VidsamplerError:
    """The error of an import, which leaves nothing behind."""
    file = content if isinstance(content, Path) else written(folder / "file.pt", content)
    layers = [set_layer(each) for each in words]
    with pytest.raises(VidsamplerError) as caught:
        import_checkpoint(file, folder / "run", layers=layers, **more)
    assert type(caught.value) is kind
    assert "\n" not in caught.value.message
    assert not (folder / "run").exists()
    assert not [each for each in folder.iterdir() if each.name.startswith(".")]
    return caught.value


# -------------------------------------------------------------------- tensors


def without(key: str) -> Callable[[State], State]:
    return lambda state: {k: v for k, v in state.items() if k != key}


def renamed(key: str, to: str) -> Callable[[State], State]:
    return lambda state: {(to if k == key else k): v for k, v in state.items()}


def shaped(key: str, *shape: int) -> Callable[[State], State]:
    return lambda state: {**state, key: torch.ones(shape)}


C = "clip.clip."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without(C + "ln_final.bias"), "there is no clip.clip.ln_final.bias"),
        (without(C + "visual.proj"), "there is no clip.clip.visual.proj"),
        (
            without("linear.2.bias"),
            "there is no linear.2.bias",
        ),
        (without("linear.0.weight"), "there is no linear.0.weight"),
        (
            renamed(C + "ln_final.bias", C + "ln_finale.bias"),
            "there is no clip.clip.ln_final.bias, only clip.clip.ln_finale.bias, which has no "
            "meaning there",
        ),
        (
            renamed(C + "transformer.resblocks.1.ln_1.bias", "odd"),
            "there is no clip.clip.transformer.resblocks.1.ln_1.bias",
        ),
        (shaped("odd.bias", 3), "odd.bias (3,) has no meaning there"),
        (
            lambda state: {**state, "odd": torch.ones(1), "even": torch.ones(2)},
            "odd (1,) has no meaning there (and 1 more)",
        ),
        (
            shaped(C + "visual.ln_post.bias", 41),
            "clip.clip.visual.ln_post.bias is (41,) where (40,) is expected",
        ),
        (shaped(C + "visual.proj", 40), "clip.clip.visual.proj is (40,); expected 2 axes"),
        (
            shaped(C + "visual.positional_embedding", 4, 40),
            "clip.clip.visual.positional_embedding has 3 places for patches, which is no square",
        ),
        (
            shaped("frame_position_embeddings.weight", 5, 31),
            "frame_position_embeddings.weight is (5, 31) where (5, 32) is expected",
        ),
        (shaped("linear.2.weight", 3, 20), "linear.2.weight is (3, 20) where (2, 20) is expected"),
        (
            shaped("projection.0.weight", 32, 99),
            "its policy is given 99 numbers a frame; expected 24 (clip) or 3136 (raw), or twice",
        ),
        (
            lambda state: {**state, "linear.0.bias": torch.ones(20, dtype=torch.int64)},
            "linear.0.bias is torch.int64",
        ),
        (
            lambda state: {
                key.replace("visual.transformer.resblocks.1.", "visual.transformer.resblocks.5."): v
                for key, v in state.items()
            },
            "there is no clip.clip.visual.transformer.resblocks.1.*",
        ),
        (
            lambda state: {**state, C + "visual.layer1.0.conv1.weight": torch.ones(1)},
            "its image tower is a ResNet; only vision transformers are imported",
        ),
    ],
)
def test_tensors_that_do_not_fit(
    change: Callable[[State], State], message: str, tmp_path: Path
) -> None:
    error = refused(tmp_path, change(mmsampler()))
    assert error.message == f"{tmp_path / 'file.pt'} is no mmsampler checkpoint: {message}" or (
        error.message.startswith(f"{tmp_path / 'file.pt'} is no mmsampler checkpoint: {message}")
        and "expected 2 axes" in message
    )


def test_a_name_that_is_none(tmp_path: Path) -> None:
    for name in ("x" * 201, "clip.\x1b[2J"):
        error = refused(tmp_path, {**mmsampler(), name: torch.ones(1)}, kind=InputError)
        assert error.message.endswith("is no name of a tensor")


def test_only_the_very_names_are_left_out(tmp_path: Path) -> None:
    state = mmsampler() | {"clip.clip.vocab_size": torch.tensor(49408)}
    done = import_checkpoint(written(tmp_path / "file.pt", state), tmp_path / "good")
    assert done.left_out == {"clip.clip.vocab_size": "a number beside OpenAI's weights"}
    state["clip.clip.vocab_sizes"] = torch.tensor(1)
    assert "clip.clip.vocab_sizes () has no meaning there" in refused(tmp_path, state).message


def test_a_backbone_config_with_other_heads(tmp_path: Path) -> None:
    file = written(tmp_path / "file.pt", mmsampler())
    done = import_checkpoint(file, tmp_path / "a")
    config = json.loads((tmp_path / "a" / "backbone.json").read_text())
    assert config["text_cfg"]["heads"] == 1
    config["text_cfg"]["heads"] = 3
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps(config))
    layers = [set_layer(f"backbone.name={mine}")]
    done = import_checkpoint(file, tmp_path / "b", layers=layers)
    assert done.config.backbone.name == str(mine)
    assert not (tmp_path / "b" / "backbone.json").exists()
    clip: Any = Retriever.from_pretrained(tmp_path / "b").backbone.clip
    assert clip.transformer.resblocks[0].attn.num_heads == 3
    config["text_cfg"]["width"] = 60
    mine.write_text(json.dumps(config))
    message = refused(tmp_path, file, f"backbone.name={mine}").message
    assert "is (12, 48) where (12, 60) is expected" in message


def test_missing_tensors_are_counted(tmp_path: Path) -> None:
    state = {k: v for k, v in mmsampler().items() if ".ln_1." not in k}
    assert "(10 tensors are missing)" in refused(tmp_path, state).message


def test_q_k_and_v_must_be_alike(tmp_path: Path) -> None:
    draw = Draw()
    state = huggingface_clip(draw, SMALL) | pooling(draw, SMALL.joint)
    layer = "clip.text_model.encoder.layers.0.self_attn."
    state[f"{layer}q_proj.weight"] = torch.ones(96, 48)
    state[f"{layer}k_proj.weight"] = torch.ones(1, 48)
    state[f"{layer}v_proj.weight"] = torch.ones(47, 48)
    message = refused(tmp_path, state).message
    assert f"{layer}q_proj.weight is (96, 48), but one beside it is (1, 48)" in message


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_none(bad: float, tmp_path: Path) -> None:
    state = mmsampler()
    state["linear.0.bias"][3] = bad
    message = refused(tmp_path, state).message
    assert message == "1 of 20 numbers of linear.0.bias are not finite"


def test_a_leading_module_and_an_optimiser_are_taken_off_and_said(tmp_path: Path) -> None:
    state = mmsampler()
    wrapped = {f"module.{key}": value for key, value in state.items()}
    optimizer = {"state": {0: {"exp_avg": torch.ones(4)}}, "param_groups": [{"lr": 1e-7}]}
    file = written(
        tmp_path / "file.pt", {"state_dict": wrapped, "optimizer": optimizer, "epoch": 3}
    )
    done = import_checkpoint(file, tmp_path / "run")
    assert done.unwrapped
    assert done.left_out == {"optimizer": "beside the weights", "epoch": "beside the weights"}
    plain = written(tmp_path / "plain.pt", OrderedDict(state))
    import_checkpoint(plain, tmp_path / "plain")
    for name in ("config.yaml", "model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    # Where only some names have it, it is no wrapper.
    half = dict(list(wrapped.items())[:9] + list(state.items())[9:])
    assert "there is no clip.clip." in refused_elsewhere(tmp_path, half)


def refused_elsewhere(folder: Path, content: Any) -> str:
    place = folder / "elsewhere"
    place.mkdir()
    return refused(place, content).message


# -------------------------------------------------------------------- families and settings


def test_the_family_is_asked_for_where_names_do_not_tell(tmp_path: Path) -> None:
    draw = Draw()
    state = openai_clip(draw, SMALL) | sequence(draw, SMALL.joint, 20, 1)
    error = refused(tmp_path, state)
    assert "may be of CLIP4Clip, AdaCLIP without a policy, or EMCL-Net" in error.message
    assert error.hint == "say whose it is with --from clip4clip, adaclip or emcl"
    message = refused(tmp_path, state, family="emlc").message
    assert "unknown family of checkpoints 'emlc'; did you mean 'emcl'?" in message
    wrong = refused(tmp_path, state, family="tmass")
    assert "is no tmass checkpoint: there is no stochastic.std_branch" in wrong.message
    bare = refused(tmp_path, openai_clip(draw, SMALL, ""))
    assert "holds a CLIP alone, and no retrieval system" in bare.message
    foreign = refused(tmp_path, {"encoder.weight": torch.ones(2, 2)})
    assert "has the tensors of none of clip4clip, mmsampler" in foreign.message
    lstm = openai_clip(draw, SMALL) | draw.lstm("lstm_visual", SMALL.joint, SMALL.joint)
    assert "go through an LSTM" in refused(tmp_path, lstm, family="emcl").message


def test_what_tensors_fix_cannot_be_set(tmp_path: Path) -> None:
    message = refused(tmp_path, mmsampler(), "frames=12").message
    assert message == (
        f"{tmp_path / 'file.pt'}: its tensors fix frames at 5 (frame_position_embeddings.weight), "
        "so it cannot be 12"
    )
    draw = Draw()
    tmass = huggingface_clip(draw, SMALL) | pooling(draw, SMALL.joint)
    tmass |= draw.linear("stochastic.std_branch.linear_proj", SMALL.joint, 7)
    message = refused(tmp_path, tmass, "frames=12").message
    assert "fix frames at 7 (stochastic.std_branch.linear_proj.weight), so it" in message
    assert "fix sampler.k at null" in refused(tmp_path, tmass, "sampler.k=3").message
    message = refused(tmp_path, tmass, "head.name=mean").message
    assert "fix head.name at tmass" in message
    ada = openai_clip(draw, SMALL) | policy(draw, "sampler.", actions=1, into=SMALL.joint)
    ada |= draw.blocks("transformer.resblocks", SMALL.joint, 1)
    ada["frame_position_embeddings.weight"] = draw(3, SMALL.joint)
    assert "fix sampler.k at 3 (frame_pos" in refused(tmp_path, ada, "sampler.k=4").message


def test_how_many_frames_adaclip_keeps_has_to_be_said(tmp_path: Path) -> None:
    draw = Draw()
    state = openai_clip(draw, SMALL)
    state |= policy(draw, "sampler.", actions=1, into=SMALL.joint)
    error = refused(tmp_path, state)
    assert "the file does not say how many frames AdaCLIP keeps" in error.message
    assert error.hint == "say it with --top-k K"
    message = refused(tmp_path, state, "sampler.k=6").message
    assert message.endswith("sampler.k is 6, but there are 5 frames")


def test_the_folder_must_be_free(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("precious")
    file = written(tmp_path / "file.pt", mmsampler())
    with pytest.raises(UsageError, match="run is there already"):
        import_checkpoint(file, tmp_path / "run")
    assert (tmp_path / "run" / "thesis.tex").read_text() == "precious"


# -------------------------------------------------------------------- files


class Harm:
    """Makes a folder when it is unpickled as pickle would."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


class Settings(dict[str, Any]):
    """As EasyDict does, keeps its values as items and as attributes."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.__dict__.update(values)


class Plain:
    """As argparse's Namespace does, keeps its values as attributes."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


def test_a_pickled_config_is_read_as_a_table(tmp_path: Path) -> None:
    from vidsampler.checkpoints.reading import read_checkpoint

    for config in (Settings({"top_k": 3, "nested": Settings({"lr": 1.0})}), Plain(top_k=3)):
        content = {"state_dict": mmsampler(), "config": config}
        found = read_checkpoint(written(tmp_path / "file.pt", content))
        assert found.config["top_k"] == 3
        assert type(found.config) is dict
        assert list(found.tensors) == list(mmsampler())
        assert torch.equal(found.tensors["linear.0.bias"], mmsampler()["linear.0.bias"])


@pytest.mark.parametrize("place", ["state_dict", "config", "alone"])
def test_a_pickle_that_tries_to_run_something_is_refused(place: str, tmp_path: Path) -> None:
    harm = Harm(tmp_path / "harm")
    content: Any = {"state_dict": mmsampler(), "config": harm}
    if place == "state_dict":
        content = {**mmsampler(), "odd": harm}
    elif place == "alone":
        content = harm
    error = refused(tmp_path, content, kind=InputError)
    assert f"file.pt is refused: it asks to run {os.name}.mkdir" in error.message
    assert (error.code, str(error.hint).partition(";")[0]) == ("refused", "nothing in it was run")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(harm, protocol=2))
    error = refused(tmp_path, tmp_path / "old.pt", kind=InputError)
    assert "is refused: it is a pickle that asks for more than tensors" in error.message
    (tmp_path / "older.pt").write_bytes(pickle.dumps(harm, protocol=0))
    assert (
        "neither a torch file nor"
        in refused(tmp_path, tmp_path / "older.pt", kind=InputError).message
    )
    assert not (tmp_path / "harm").exists()


def repacked(folder: Path, change: Callable[[str, bytes], bytes], **how: Any) -> Path:
    """The members of a good file, some of them others."""
    good = written(folder / "good.pt", mmsampler())
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(folder / "new.pt", "w", **how) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return folder / "new.pt"


def program(text: bytes) -> Callable[[str, bytes], bytes]:
    return lambda name, data: text if name.endswith("data.pkl") else data


@pytest.mark.parametrize(
    ("text", "why"),
    [
        # eval, by each way that a pickle has to call something.
        (b"cbuiltins\neval\n(S'1'\ntR.", "it asks to run builtins.eval"),
        (b"(S'1'\nibuiltins\neval\n.", "it asks to run builtins.eval"),
        (b"(cbuiltins\neval\nS'1'\no.", "it asks to run builtins.eval"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.", "it asks to run os.system"),
        # __setstate__ of something that is no table, and attributes of what is allowed.
        (b"ctorch._utils\n_rebuild_tensor_v2\n}S'x'\nI1\nsb.", "it asks to change function"),
        (b"ccollections\nOrderedDict\n}S'x'\nI1\nsb.", "it asks to change function"),
        (b"\x82\x01.", "its pickle is damaged"),
        # A key whose hash takes 2 ** 60 steps, in a table and in a set.
        (b"}(N" + b"2\x86" * 60 + b"I1\nu.", "keys that are neither text nor numbers"),
        (b"}N" + b"2\x86" * 60 + b"I1\ns.", "keys that are neither text nor numbers"),
        (b"(N" + b"2\x86" * 60 + b"I1\nd.", "keys that are neither text nor numbers"),
        (b"\x8f(N" + b"2\x86" * 60 + b"\x90.", "its pickle is damaged"),
        (b"ccollections\nOrderedDict\n](N" + b"2\x86" * 60 + b"I1\nta\x85R.", "a table that is"),
        (b"](I0\nI1\nu.", "it asks to change what is no table"),
        (b"\x80\x02", "its pickle is damaged"),
        (b"(S'storage'\nctorch\nFloatStorage\nS'99'\nS'cpu'\nI1\ntQ.", "numbers 99 of a tensor"),
        (b"I7\nQ.", "it asks for something else than the numbers of a tensor"),
        (
            b"ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\n"
            b"I1\ntQI0\n(I1000000\nI1000000\nt(I0\nI0\nttR.",
            "a tensor (1000000, 1000000) of more numbers than the file has for it",
        ),
        (
            b"ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\n"
            b"I1\ntQI4096\n(I1\nt(I1\nttR.",
            "of more numbers than the file has for it",
        ),
        (
            b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI99999999\ntQ.",
            "the numbers 0 of a tensor are cut short",
        ),
    ],
)
def test_other_pickles(text: bytes, why: str, tmp_path: Path) -> None:
    error = refused(tmp_path, repacked(tmp_path, program(text)), kind=InputError)
    assert why in error.message
    assert error.code == "refused"


def test_a_torchscript_archive_is_a_program(tmp_path: Path) -> None:
    path = repacked(tmp_path, lambda name, data: data)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("good/constants.pkl", b".")
    error = refused(tmp_path, path, kind=InputError)
    assert "is refused: it is a TorchScript archive, which is a program" in error.message


def test_a_compressed_member_is_no_bomb(tmp_path: Path) -> None:
    path = repacked(tmp_path, lambda name, data: data, compression=zipfile.ZIP_DEFLATED)
    assert "members are compressed" in refused(tmp_path, path, kind=InputError).message


def test_tensors_that_share_numbers_cannot_grow_the_file(tmp_path: Path) -> None:
    large = torch.ones(300, 300)
    state = mmsampler() | {f"odd.{i}": large for i in range(50)}
    error = refused(tmp_path, state, kind=InputError)
    assert "bytes, which the file does not have: some share their numbers" in error.message


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.97, 0.9999])
def test_a_truncated_file(share: float, tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.pt", mmsampler()).read_bytes()
    (tmp_path / "part.pt").write_bytes(whole[: int(len(whole) * share)])
    error = refused(tmp_path, tmp_path / "part.pt", kind=InputError)
    assert "part.pt" in error.message
    assert error.code == ("truncated" if share else "empty")


def test_a_truncated_safetensors_file(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(mmsampler(), tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "part.safetensors").write_bytes(whole[:-9])
    error = refused(tmp_path, tmp_path / "part.safetensors", kind=InputError)
    assert (error.code, "part.safetensors cannot be read" in error.message) == ("damaged", True)
    done = import_checkpoint(tmp_path / "whole.safetensors", tmp_path / "run")
    assert done.family == "mmsampler"


def test_old_torch_files_are_read(tmp_path: Path) -> None:
    torch.save(mmsampler(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert import_checkpoint(tmp_path / "old.pt", tmp_path / "run").family == "mmsampler"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds no table of named tensors, but list"),
        (torch.nn.Linear(2, 2), "holds no table of named tensors, but a whole pickled object"),
        ({"epoch": 3}, "holds no table of named tensors; its keys are 'epoch'"),
        (
            {"a": {"x": torch.ones(1)}, "b": {"x": torch.ones(1)}},
            "holds several tables of tensors ('a', 'b'); its keys are 'a', 'b'",
        ),
        ({"state_dict": {"x": torch.ones(1), "y": 3}}, "state_dict: 'y' is no tensor, but int"),
        ({"x": torch.ones(1), 7: torch.ones(1)}, "'7' is no tensor, but under no name"),
        ({"x": torch.ones(2, dtype=torch.complex64)}, "a pickle"),
        ({"x": torch.eye(2).to_sparse()}, "is refused: it asks to run torch."),
    ],
)
def test_no_table_of_tensors(content: Any, message: str, tmp_path: Path) -> None:
    error = refused(tmp_path, content, kind=InputError)
    if message != "a pickle":
        assert message in error.message


def test_files_that_are_not_there(tmp_path: Path) -> None:
    assert "there is no file" in refused(tmp_path, tmp_path / "no.pt", kind=InputError).message
    assert "is a folder" in refused(tmp_path, tmp_path, kind=InputError).message
    (tmp_path / "text.pt").write_text("hello, world")
    error = refused(tmp_path, tmp_path / "text.pt", kind=InputError)
    assert error.message.endswith("is no checkpoint: neither a torch file nor safetensors")
    with zipfile.ZipFile(tmp_path / "book.pt", "w") as archive:
        archive.writestr("chapter.txt", "one")
    error = refused(tmp_path, tmp_path / "book.pt", kind=InputError)
    assert "it is a zip file, but no torch file" in error.message


def test_wide_towers_need_whole_heads(tmp_path: Path) -> None:
    from dataclasses import replace

    state = openai_clip(Draw(), replace(WIDE, vision=190))
    assert import_checkpoint(written(tmp_path / "a.pt", state), tmp_path / "a").family
    state = openai_clip(Draw(), replace(WIDE, vision=193))
    message = refused(tmp_path, state).message
    assert "the tower clip.visual is 193 wide, which 3 heads cannot share" in message
