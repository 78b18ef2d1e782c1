"""`vidsampler eval`: a checkpoint on a dataset, ranks of a matrix, and results side by side."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidsampler import registry
from vidsampler.cli import eval_checkpoint, eval_pictures, ranks, recipes
from vidsampler.cli.options import Debug, Json, Value, output_of
from vidsampler.cli.output import Output
from vidsampler.cli.targets import check_file
from vidsampler.errors import UsageError, VidsamplerError, unknown
from vidsampler.files import make_folder

if TYPE_CHECKING:
    from vidsampler.evaluation.results import Result

NAME = "eval"
EXAMPLE = (
    "\b\nExamples:\n"
    "  vidsampler eval runs/shapes-adaclip --dataset shapes\n"
    "  vidsampler eval runs/a --dataset msrvtt --shards msrvtt/ --output a.json\n"
    "  vidsampler eval --similarity sim.npy --owners owners.npy --rerank dsl\n"
    "  vidsampler eval --compare base.json ours.json --table md"
)

RERANKS = ("none", "dsl", "inverted-softmax", "qb-norm")
CONVENTIONS = ("best", "grouped")
TABLES = ("text", "md", "csv")
PUBLISHED = ("none", "main", "all")


def command(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="CHECKPOINT|RESULT...", show_default=False, hidden=True),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset", metavar="NAME", help="What is evaluated on, or what a matrix is of."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", metavar="NAME", help="[default: test]")
    ] = None,
    shards: Annotated[
        Path | None,
        typer.Option("--shards", metavar="DIR", help="What shard made; shapes needs none."),
    ] = None,
    videos: Annotated[
        Path | None,
        typer.Option("--videos", metavar="DIR", help="Videos to decode, in place of shards."),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            "--annotations", metavar="DIR", help="Their annotation files [default: --videos]."
        ),
    ] = None,
    which: Annotated[
        str | None,
        typer.Option("--which", metavar="WHICH", help="best or last of a run [default: best]."),
    ] = None,
    sampler: Annotated[
        Value, typer.Option("--sampler", metavar="NAME", help="Another sampler, same weights.")
    ] = None,
    top_k: Annotated[
        Value, typer.Option("-k", "--top-k", metavar="K", help="Frames to keep.")
    ] = None,
    frames: Annotated[
        Value, typer.Option("--frames", metavar="N", help="Candidate frames.")
    ] = None,
    backbone: Annotated[
        Value,
        typer.Option("--backbone", metavar="NAME", help="Without CHECKPOINT: an open_clip model."),
    ] = None,
    pretrained: Annotated[
        Value, typer.Option("--pretrained", metavar="TAG", help="Its weights: a tag or a file.")
    ] = None,
    head: Annotated[
        Value, typer.Option("--head", metavar="NAME", help="Without CHECKPOINT [default: mean].")
    ] = None,
    similarity: Annotated[
        Path | None,
        typer.Option(
            "--similarity", metavar="FILE", help="Rank this matrix, texts x videos: .npy or .pt."
        ),
    ] = None,
    owners: Annotated[
        Path | None,
        typer.Option(
            "--owners",
            metavar="FILE",
            help="The column of each row's video, .npy [default: the diagonal].",
        ),
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option("--rerank", metavar="NAME", help=f"{', '.join(RERANKS)} [default: none]."),
    ] = None,
    bank: Annotated[
        Path | None,
        typer.Option(
            "--bank",
            metavar="FILE",
            help="For qb-norm of a matrix: training texts x the videos, .npy.",
        ),
    ] = None,
    video_bank: Annotated[
        Path | None,
        typer.Option(
            "--video-bank",
            metavar="FILE",
            help="For qb-norm, v2t: the texts x training videos, .npy.",
        ),
    ] = None,
    v2t: Annotated[
        str | None,
        typer.Option(
            "--v2t",
            metavar="HOW",
            help="best: best own caption among all captions; grouped: among the videos' groups "
            "[default: best].",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE", help="Write the result, with all ranks, for --compare."
        ),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Compare result files; the first is the baseline."),
    ] = False,
    table: Annotated[
        str | None,
        typer.Option("--table", metavar="HOW", help=f"{', '.join(TABLES)} [default: text]."),
    ] = None,
    published: Annotated[
        str | None,
        typer.Option(
            "--published",
            metavar="WHICH",
            help=f"Published figures beside: {', '.join(PUBLISHED)} [default: main].",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", metavar="B", help="Videos at once [default: automatic].", min=1
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="W", help="Decoding threads [default: automatic].", min=0
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME", help="cpu or cuda [default: cuda if any]."),
    ] = None,
    nproc: Annotated[
        int | None, typer.Option("--nproc", metavar="N", help="Processes, one a GPU.", min=1)
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither read nor keep embedded videos and texts.")
    ] = False,
    pictures: eval_pictures.Pictures = None,
    queries: eval_pictures.Queries = None,
    settings: recipes.Set = None,
    dry_run: recipes.DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure retrieval: ranks and their metrics.

    CHECKPOINT, the folder of a run or of weights, is evaluated on a split of --dataset; so is a
    --backbone without training. --similarity ranks a matrix of scores, a row for each text and a
    column for each video. --compare RESULT... puts files that --output wrote side by side, with
    paired bootstrap intervals (95%) of the difference in R@1.
    """
    out = output_of(context)
    ranks.one_speaks(out)
    given = {
        "--split": (split, "checkpoint"),
        "--shards": (shards, "checkpoint"),
        "--videos": (videos, "checkpoint"),
        "--annotations": (annotations, "checkpoint"),
        "--which": (which, "checkpoint"),
        "--sampler": (sampler, "checkpoint"),
        "--top-k": (top_k, "checkpoint"),
        "--frames": (frames, "checkpoint"),
        "--backbone": (backbone, "checkpoint"),
        "--pretrained": (pretrained, "checkpoint"),
        "--head": (head, "checkpoint"),
        "--batch-size": (batch_size, "checkpoint"),
        "--workers": (workers, "checkpoint"),
        "--device": (device, "checkpoint"),
        "--nproc": (nproc, "checkpoint"),
        "--no-cache": (no_cache or None, "checkpoint"),
        "--pictures": (pictures, "checkpoint"),
        "--queries": (queries, "checkpoint"),
        "--set": (settings, "checkpoint"),
        "--dry-run": (dry_run or None, "checkpoint"),
        "--owners": (owners, "similarity"),
        "--bank": (bank, "similarity"),
        "--video-bank": (video_bank, "similarity"),
        "--dataset": (dataset, "checkpoint similarity"),
        "--rerank": (rerank, "checkpoint similarity"),
        "--v2t": (v2t, "checkpoint similarity"),
        "--output": (output, "checkpoint similarity"),
        "--table": (table, "compare"),
        "--published": (published, "compare"),
    }
    if compare and similarity is not None:
        raise UsageError("give either --similarity FILE or --compare RESULT..., not both")
    kind = "compare" if compare else "checkpoint" if similarity is None else "similarity"
    if kind == "checkpoint" and not paths and all(value is None for value, _ in given.values()):
        raise UsageError(
            "give a CHECKPOINT with --dataset NAME, or --similarity FILE, or --compare RESULT...",
            hint="see: vidsampler eval -h",
        )
    for flag, (value, kinds) in given.items():
        if value is not None and kind not in kinds.split():
            where = "a checkpoint" if kind == "checkpoint" else f"--{kind}"
            raise UsageError(f"{flag} is not for {where}", hint="see: vidsampler eval -h")
    how = _one_of("rerank", rerank or "none", RERANKS)
    convention = _one_of("v2t convention", v2t or "best", CONVENTIONS)
    if dataset is not None:
        registry.entry("datasets", dataset)
    if kind == "compare":
        _compare(
            out,
            [str(path) for path in paths or ()],
            _one_of("table", table or "text", TABLES),
            _one_of("choice of published figures", published or "main", PUBLISHED),
        )
        return
    if output is not None:
        check_file(output, "--output")
    if kind == "similarity":
        assert similarity is not None
        if paths:
            raise UsageError(f"{paths[0]}: result files are for --compare")
        result = _rank(similarity, owners, how, bank, video_bank, convention, dataset)
        _finish(out, result, output)
        return
    if len(paths or ()) > 1:
        raise UsageError(
            f"one CHECKPOINT is evaluated at a time, not {len(paths or ())}",
            hint="compare their results: vidsampler eval --compare RESULT...",
        )
    words = eval_checkpoint.Words(
        checkpoint=paths[0] if paths else None,
        dataset=dataset,
        split=split,
        shards=shards,
        videos=videos,
        annotations=annotations,
        which=which,
        sampler=sampler,
        top_k=top_k,
        frames=frames,
        backbone=backbone,
        pretrained=pretrained,
        head=head,
        settings=settings,
        device=device,
        workers=workers,
        batch_size=batch_size,
        nproc=nproc,
        no_cache=no_cache,
        pictures=pictures,
        queries=queries,
        dry_run=dry_run,
    )
    eval_checkpoint.run(out, words, how, convention, lambda found: _finish(out, found, output))


def _finish(out: Output, result: Result, output: Path | None) -> None:
    failed = None
    if output is not None:
        try:
            make_folder(output.parent)
            result.write(output)
        except VidsamplerError as error:
            failed = error
    # What was measured may have taken hours: it is said, whatever becomes of the file.
    _print_result(out, result)
    if failed is not None:
        out.problem(failed)
        ranks.end(failed.exit_code)


def _rank(
    similarity: Path,
    owners: Path | None,
    rerank: str,
    bank: Path | None,
    video_bank: Path | None,
    v2t: str,
    dataset: str | None,
) -> Result:
    from typing import cast

    from vidsampler.evaluation.ranks import V2T
    from vidsampler.evaluation.rerank import Method, Rerank, rank_reranked
    from vidsampler.evaluation.results import result_of
    from vidsampler.evaluation.rows import open_npy

    began = time.perf_counter()
    how = Rerank(cast(Method, rerank), bank, video_bank)
    convention = cast(V2T, v2t)
    given = None if owners is None else open_npy(owners)
    ranks = rank_reranked(similarity, given, how, v2t=convention)
    return result_of(
        ranks,
        v2t_convention=convention,
        dataset=dataset,
        rerank=rerank,
        reranked=how.directions,
        transductive=how.transductive,
        similarity=str(similarity),
        seconds=round(time.perf_counter() - began, 3),
    )


def _print_result(out: Output, result: Result) -> None:
    if out.json:
        out.result(result.to_json())
    else:
        from vidsampler.evaluation.compare import metric_text
        from vidsampler.evaluation.ranks import DIRECTIONS, METRICS

        rows = [
            [name, *(metric_text(metric, getattr(result, name)[metric]) for metric in METRICS)]
            for name in DIRECTIONS
        ]
        out.table(["", *METRICS], rows, numbers="lrrrrrr")
        out.note(f"{result.queries:,} texts, {result.videos:,} videos")
        if result.frames_kept is not None:
            out.note(
                f"{result.frames_kept['mean']:.2f} frames kept of a video, "
                f"{result.gmacs_per_video or 0:.3g} GMACs; {result.seconds or 0:.1f} s"
            )
        if result.selected_on is not None:
            out.note(f"the checkpoint was chosen on: {result.selected_on}")
    for note in result.notes:
        out.note(f"note: {note}")
    without = result.videos - len(result.ranks.v2t)
    if without:
        out.note(f"{without:,} videos have no caption: candidates of t2v, not in v2t")
    if result.transductive:
        whole = "all queries of the test set" if result.reranked else "all videos of the gallery"
        by = result.rerank if result.reranked else "the head"
        out.note(f"transductive: {by} uses {whole} at once")
    for name in ("t2v", "v2t"):
        if result.reranked and name not in result.reranked:
            out.note(f"{name} has the scores as they are: {result.rerank} had no bank for it")


def _compare(out: Output, names: list[str], table: str, which: str) -> None:
    from typing import cast

    from vidsampler.evaluation import compare
    from vidsampler.evaluation.published import Which, published_beside
    from vidsampler.evaluation.results import read_result

    if not names:
        raise UsageError("--compare needs result files", hint=EXAMPLE.splitlines()[-1].strip())
    compare.check_names(names)
    results = [read_result(Path(name)) for name in names]
    found = compare.differences(names, results)
    beside = published_beside(
        [(result.dataset, result.split) for result in results], cast(Which, which)
    )
    if out.json:
        out.result(compare.comparison_json(names, results, found, beside))
    else:
        rows = compare.table_rows(names, results, found, beside)
        columns, numbers = compare.columns_of(results)
        if table == "text":
            out.table(columns, rows, numbers=numbers)
        elif table == "md":
            out.raw(compare.as_markdown(rows, columns, numbers))
        else:
            out.raw(compare.as_csv(rows, columns))
    datasets = {results[0].dataset}
    for number, (name, result) in enumerate(zip(names, results, strict=True)):
        first = compare.baseline_of(results, number)
        if first is not None:
            if results[first].v2t_convention != result.v2t_convention:
                out.note(f"no v2t interval for {name}: its convention is {result.v2t_convention}")
        elif number and result.dataset in datasets:
            # The first result of another dataset is the baseline of those that follow.
            why = compare.why_not_paired(results[0], result)
            out.note(f"no interval for {name}: it has not the queries of {names[0]} ({why})")
        datasets.add(result.dataset)
    if beside:
        out.note("published figures are their authors'; almost all were chosen on the test split")


def _one_of(what: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise UsageError(unknown(what, value, known))
    return value
