"""`vidsampler eval`: ranks of a similarity matrix, and results side by side."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidsampler import registry
from vidsampler.cli.options import Debug, Json, output_of
from vidsampler.cli.output import Output
from vidsampler.errors import UsageError, unknown

if TYPE_CHECKING:
    from vidsampler.evaluation.results import Result

NAME = "eval"
EXAMPLE = (
    "\b\nExamples:\n"
    "  vidsampler eval --similarity sim.npy --output ours.json\n"
    "  vidsampler eval --similarity sim.npy --owners owners.npy --rerank dsl\n"
    "  vidsampler eval --compare base.json ours.json --table md"
)

RERANKS = ("none", "dsl", "inverted-softmax", "qb-norm")
CONVENTIONS = ("best", "grouped")
TABLES = ("text", "md", "csv")
PUBLISHED = ("none", "main", "all")


def command(
    context: typer.Context,
    results: Annotated[
        list[Path] | None, typer.Argument(metavar="RESULT...", show_default=False, hidden=True)
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
            "--bank", metavar="FILE", help="For qb-norm: training texts x the videos, .npy."
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
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="NAME",
            help="What the matrix is of; --compare finds the published figures by it.",
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
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure retrieval: ranks and their metrics.

    --similarity ranks a matrix of scores, a row for each text and a column for each video.
    --compare RESULT... puts files that --output wrote side by side, with paired bootstrap
    intervals (95%) of the difference in R@1.
    """
    out = output_of(context)
    of_matrix = {
        "--owners": owners,
        "--rerank": rerank,
        "--bank": bank,
        "--video-bank": video_bank,
        "--v2t": v2t,
        "--dataset": dataset,
        "--output": output,
    }
    of_comparison = {"--table": table, "--published": published}
    if compare == (similarity is not None):
        raise UsageError(
            "give either --similarity FILE or --compare RESULT...", hint="see: vidsampler eval -h"
        )
    stray = of_matrix if compare else of_comparison
    for flag, value in stray.items():
        if value is not None:
            raise UsageError(f"{flag} is for {'--similarity' if compare else '--compare'}")
    if compare:
        _compare(
            out,
            [str(path) for path in results or ()],
            _one_of("table", table or "text", TABLES),
            _one_of("choice of published figures", published or "main", PUBLISHED),
        )
        return
    if results:
        raise UsageError(f"{results[0]}: result files are for --compare")
    assert similarity is not None
    if dataset is not None:
        registry.entry("datasets", dataset)
    result = _rank(
        similarity,
        owners,
        _one_of("rerank", rerank or "none", RERANKS),
        bank,
        video_bank,
        _one_of("v2t convention", v2t or "best", CONVENTIONS),
        dataset,
    )
    if output is not None:
        result.write(output)
    _print_result(out, result)


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
    without = result.videos - len(result.ranks.v2t)
    if without:
        out.note(f"{without:,} videos have no caption: candidates of t2v, not in v2t")
    if result.transductive:
        out.note(f"transductive: {result.rerank} uses all queries of the test set at once")
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
