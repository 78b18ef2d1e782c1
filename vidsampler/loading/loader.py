"""Batches for training and evaluation, from the shards of a split.

Frames are decoded by threads: the decoder works without Python's lock, straight into the batch, so
that nothing is pickled, copied between processes or gathered afterwards. Which items a step shows
and everything random is said by `order`, not by the threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vidsampler.errors import ConfigError, InputError, VidsamplerError
from vidsampler.loading import augment
from vidsampler.loading.batch import Batch, FrameMemory, TextBatch
from vidsampler.loading.decoded import DecodedFrames
from vidsampler.loading.order import Order, Purpose, uniforms
from vidsampler.loading.pictures import FrameDecoder, RegionOf, times_of
from vidsampler.loading.split import Split
from vidsampler.loading.threads import begun_ahead, start_threads, submit
from vidsampler.video.container import usable_cpus
from vidsampler.video.positions import uniform_positions

IntArray = npt.NDArray[np.int64]
Tokenize = Callable[[list[str]], Tensor]
"""From T captions to (T, L) int64 token ids; T may be 0, where a rank has nothing of a batch."""


@dataclass(frozen=True)
class LoaderConfig:
    """Settings of the loader.

    Attributes:
        frames: N, candidates of each video: evenly spread over its stored frames. A video with
            fewer has that many, each once.
        positions: `middle` or `start` of the equal segments.
        size: Height and width of the frames.
        captions: `one`, drawn anew for each video and epoch; `all`, each pair of a video and a
            caption is an item; `none`, videos alone.
        augment: `none`, the square in the middle; `flip`, mirrored in half of the cases; `crop`, a
            random resized crop and flip; `randaugment`, RandAugment on the square in the middle.
            The same for all frames of a video.
        batch_size: Items in a step of all ranks together.
        shuffle: A new order each epoch.
        drop_last: Leave out what fills no whole batch; a run that evaluates wants false.
        seed: Of the order, of captions and of augmentations.
        workers: Decoding threads; 0: the caller's own; null: as many as there are processors.
        prefetch: Batches that are decoded ahead of the one that is wanted. Memory holds so many,
            that one, and the one before it while it is in use.
        pin_memory: Put frames where a GPU fetches them from while others are decoded.
        keep_decoded: Bytes. Where the frames of all videos of the split fit into so many, they are
            kept decoded for later epochs, on every rank those that it has seen; not with the
            augmentation `crop`, which wants another part of them each time.
    """

    frames: int = 16
    positions: Literal["middle", "start"] = "middle"
    size: int = 224
    captions: Literal["one", "all", "none"] = "one"
    augment: Literal["none", "flip", "crop", "randaugment"] = "none"
    batch_size: int = 128
    shuffle: bool = True
    drop_last: bool = True
    seed: int = 0
    workers: int | None = None
    prefetch: int = 2
    pin_memory: bool = False
    keep_decoded: int = 0

    def __post_init__(self) -> None:
        for name, value, least in (
            ("frames", self.frames, 1),
            ("size", self.size, 1),
            ("batch_size", self.batch_size, 1),
            ("seed", self.seed, 0),
            ("workers", self.workers, 0),
            ("prefetch", self.prefetch, 0),
            ("keep_decoded", self.keep_decoded, 0),
        ):
            if value is not None and value < least:
                raise ConfigError(f"{name} must be at least {least}, not {value}")


class Loader:
    """Batches of a split, from any step on.

    Iterating gives the steps of an epoch from where the loader stands to its end; iterating again
    goes on with the next epoch. Leaving an iteration early leaves the loader at the step after the
    last one that was given.

    Args:
        split: A folder of shards, or what was read of it.
        config: Settings.
        tokenize: From T captions to (T, L) token ids, such as that of a backbone.
        rank: Of this process.
        ranks: How many processes share each step.

    Raises:
        InputError: The shards cannot be used, or a video without a caption is among them.
        UsageError: The split and the batch size do not fit.

    Example:
        >>> loader = Loader("shards/train", LoaderConfig(frames=12), tokenize)  # doctest: +SKIP
        >>> while loader.epoch < 5:                                            # doctest: +SKIP
        ...     for batch in loader:
        ...         train(batch.to("cuda"))
        ...         save(loader.state())
    """

    def __init__(
        self,
        split: Split | str | Path,
        config: LoaderConfig | None = None,
        tokenize: Tokenize | None = None,
        *,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.split = split if isinstance(split, Split) else Split(split)
        self.config = config or LoaderConfig()
        self._tokenize = tokenize
        if self.config.captions != "none":
            if tokenize is None:
                raise ValueError("captions need a tokenizer; without one, set captions to none")
            self.split.need_captions()
        self._order = Order(
            self._items(),
            self.config.batch_size,
            self.config.seed,
            self.config.shuffle,
            self.config.drop_last,
            rank,
            ranks,
        )
        self._decoder = FrameDecoder()
        self._decoded = DecodedFrames(
            0 if self.config.augment == "crop" else self.config.keep_decoded,
            videos=len(self.split.keys),
            frames=self.config.frames,
            size=self.config.size,
        )
        self._memory = FrameMemory(pin=self.config.pin_memory)
        # Tokenizers of Hugging Face refuse to be used by two threads at once.
        self._tokenizing = threading.Lock()
        self._epoch = self._step = 0

    def __len__(self) -> int:
        """Steps of an epoch, the same on every rank."""
        return self._order.steps

    @property
    def epoch(self) -> int:
        """The epoch of the next step."""
        return self._epoch

    @property
    def step(self) -> int:
        """The next step of that epoch."""
        return self._step

    @property
    def dropped(self) -> int:
        """How many items each epoch leaves out, so that all batches are whole."""
        return self._order.dropped

    def left_out(self, epoch: int) -> list[str]:
        """The keys of the items that an epoch leaves out, one for each item."""
        items = self._order.left_out(epoch)
        return [self.split.keys[self._pair(epoch, item)[0]] for item in items.tolist()]

    def keys_of(self, epoch: int, step: int) -> list[str]:
        """The keys of the videos that a step shows to all ranks."""
        items = self._order.whole_batch(epoch, step)
        return [self.split.keys[self._pair(epoch, item)[0]] for item in items.tolist()]

    def state(self) -> dict[str, Any]:
        """Where the loader stands, as plain data: what follows the last batch that was given."""
        return {"epoch": self._epoch, "step": self._step, **self._identity()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes where another loader stood: the batches from here on are those that it would give.

        The number of ranks may be another. Nothing is decoded to get there. That these batches
        hold the same pixels is up to whoever makes the loader: frames, size, positions and
        augmentations are not compared.

        Raises:
            ConfigError: That loader had other data or settings, so that its order was another.
        """
        ours = self._identity()
        different = [name for name in ours if state.get(name) != ours[name]]
        if different:
            raise ConfigError(
                "cannot go on where the run stopped: "
                + "; ".join(f"{name} was {state.get(name)}, is {ours[name]}" for name in different),
                hint="resume with the settings and shards of the run",
            )
        self.seek(int(state["epoch"]), int(state["step"]))

    def seek(self, epoch: int, step: int = 0) -> None:
        """Goes to a step.

        Raises:
            ValueError: There is no such step.
        """
        if epoch < 0 or not 0 <= step < len(self):
            raise ValueError(f"there is no step {step} of epoch {epoch}: it has {len(self)} steps")
        self._epoch, self._step = epoch, step

    def __iter__(self) -> Generator[Batch, None, None]:
        epoch = self._epoch
        with closing(self.pick(range(self._step, len(self)), epoch)) as batches:
            for batch in batches:
                done = batch.step + 1 == len(self)
                self._epoch, self._step = (epoch + 1, 0) if done else (epoch, batch.step + 1)
                yield batch
                del batch  # else its memory would not be free for the next one

    def pick(self, steps: Iterable[int], epoch: int = 0) -> Generator[Batch, None, None]:
        """Some steps of an epoch, in the order that is asked for; the loader stays at its own."""
        workers = usable_cpus() if self.config.workers is None else self.config.workers
        pool = start_threads(workers) if workers else None
        ahead = 1 + self.config.prefetch if pool else 1
        try:
            yield from begun_ahead(lambda step: self._begin(pool, epoch, step).finish, steps, ahead)
        finally:
            if pool is not None:
                pool.shutdown(cancel_futures=True)

    def texts(self) -> Iterator[TextBatch]:
        """Every text of the split, in order, each wording once; for evaluation.

        `Split.wordings` and `Split.owners` say which caption has which wording and belongs to which
        video. Each rank gets its part of every batch, the last of which may be empty.

        Raises:
            ValueError: The loader has no tokenizer.
        """
        if self._tokenize is None:
            raise ValueError("the loader was made without a tokenizer")
        order = replace(self._order, items=len(self.split.texts), shuffle=False, drop_last=False)
        for step in range(order.steps):
            wordings = order.batch(0, step)
            yield TextBatch(self._tokens(wordings), torch.from_numpy(wordings))

    # ---------------------------------------------------------------- one batch

    def _items(self) -> int:
        """Items of an epoch."""
        return len(self.split.captions if self.config.captions == "all" else self.split.keys)

    def _identity(self) -> dict[str, Any]:
        """All that the order of items depends on."""
        config = self.config
        return {
            "seed": config.seed,
            "shuffle": config.shuffle,
            "drop_last": config.drop_last,
            "batch_size": config.batch_size,
            "captions": config.captions,
            "split": self.split.fingerprint,
        }

    def _pair(self, epoch: int, item: int) -> tuple[int, int]:
        """The video and the caption of an item; with `none` the caption means nothing."""
        if self.config.captions == "all":
            return int(self.split.owners[item]), item
        first, end = self.split.starts[item : item + 2].tolist()
        draw = uniforms(self.config.seed, epoch, item, Purpose.CAPTION, 1)[0]
        return item, first + int(draw * (end - first))

    def _begin(self, pool: ThreadPoolExecutor | None, epoch: int, step: int) -> Waiting:
        items = self._order.batch(epoch, step).tolist()
        pairs = [self._pair(epoch, item) for item in items]
        videos = np.array([video for video, _ in pairs], np.int64)
        config = self.config
        frames_BNHWC = self._memory.take(len(items), config.frames, config.size)
        valid_BN = np.zeros((len(items), config.frames), bool)
        times_BN = np.zeros((len(items), config.frames))
        tokens_BL: Callable[[], Tensor] | None = None
        captions = wordings = None
        if config.captions != "none":
            captions = np.array([caption for _, caption in pairs], np.int64)
            wordings = self.split.wordings[captions]
            tokens_BL = submit(pool, self._tokens, wordings)
        pixels = frames_BNHWC.numpy()
        rows = [
            submit(
                pool,
                self._load,
                epoch,
                item,
                int(videos[row]),
                pixels[row],
                valid_BN[row],
                times_BN[row],
            )
            for row, item in enumerate(items)
        ]
        batch = Batch(
            frames_BNCHW=frames_BNHWC.permute(0, 1, 4, 2, 3),
            valid_BN=torch.from_numpy(valid_BN),
            times_BN=torch.from_numpy(times_BN),
            tokens_BL=None,
            keys=[self.split.keys[video] for video in videos],
            videos_B=torch.from_numpy(videos),
            captions_B=None if captions is None else torch.from_numpy(captions),
            wordings_B=None if wordings is None else torch.from_numpy(wordings),
            epoch=epoch,
            step=step,
        )
        return Waiting(batch, rows, tokens_BL)

    def _load(
        self,
        epoch: int,
        item: int,
        video: int,
        frames_NHWC: npt.NDArray[np.uint8],
        valid_N: npt.NDArray[np.bool_],
        times_N: npt.NDArray[np.float64],
    ) -> None:
        """Puts one video into its place in a batch."""
        config = self.config
        draws: list[float] = []
        if config.augment != "none":
            draws = uniforms(config.seed, epoch, item, Purpose.AUGMENTATION, augment.DRAWS)
        kept = self._decoded.get(video)
        if kept is None:
            region: RegionOf = augment.central_square
            if config.augment == "crop":
                region = partial(augment.random_region, draws=draws)
            count = self._read(video, region, frames_NHWC, times_N)
            self._decoded.keep(video, frames_NHWC[:count], times_N[:count])
        else:
            count = len(kept.times_N)
            frames_NHWC[:count], times_N[:count] = kept
            frames_NHWC[count:] = 0
        valid_N[:count] = True
        if config.augment == "flip" and augment.mirrors(draws):
            frames_NHWC[:count] = frames_NHWC[:count, :, ::-1]
        elif config.augment == "randaugment":
            frames_NCHW = torch.from_numpy(frames_NHWC[:count]).permute(0, 3, 1, 2)
            frames_NCHW.copy_(augment.randaugment(frames_NCHW, draws))

    def _read(
        self,
        video: int,
        region: RegionOf,
        frames_NHWC: npt.NDArray[np.uint8],
        times_N: npt.NDArray[np.float64],
    ) -> int:
        """Reads and decodes one video; how many frames it has."""
        config = self.config
        sample = self.split.reader[video]
        stored = 0

        def choose(there: int) -> IntArray:
            nonlocal stored
            stored = there
            return uniform_positions(there, min(there, config.frames), config.positions)

        try:
            chosen = self._decoder.decode(sample, choose, region, frames_NHWC)
            times_N[: len(chosen)] = times_of(sample.facts, stored, sample.key)[chosen]
        except VidsamplerError as error:
            raise InputError(
                f"{self.split.reader.tar(video)}: {error.message}",
                hint="make the shards again, with --overwrite",
                code=error.code,
            ) from error
        return len(chosen)

    def _tokens(self, wordings: IntArray) -> Tensor:
        assert self._tokenize is not None
        texts = [self.split.texts[wording] for wording in wordings]
        with self._tokenizing:
            tokens_TL = self._tokenize(texts)
        if tokens_TL.ndim != 2 or len(tokens_TL) != len(texts) or tokens_TL.dtype != torch.int64:
            raise ValueError(
                f"the tokenizer gave {tuple(tokens_TL.shape)} {tokens_TL.dtype} "
                f"for {len(texts)} captions, not ({len(texts)}, L) int64"
            )
        return tokens_TL


@dataclass(frozen=True, eq=False)
class Waiting:
    """A batch that is being decoded."""

    batch: Batch
    rows: Sequence[Callable[[], None]]
    tokens_BL: Callable[[], Tensor] | None

    def finish(self) -> Batch:
        for done in self.rows:
            done()
        return (
            self.batch
            if self.tokens_BL is None
            else replace(self.batch, tokens_BL=self.tokens_BL())
        )
