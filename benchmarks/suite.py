"""Measures every claim of the README's table, in about ten minutes, and writes the report.

make bench (STS=FILE: with the sentences of the STS-B dev split)
"""

import argparse
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import cold, graph, overhead, service, throughput
from benchmarks.graph import GraphTimes
from benchmarks.overhead import Overhead
from benchmarks.peers.embedder_process import PEERS, THREADS
from benchmarks.peers.plain_graph import write_models
from benchmarks.report import cost, readme
from benchmarks.report.results import Claim, Machine, Price, Results
from benchmarks.rounds import medians, ratio
from benchmarks.service import INFINITY, MAX_TOKENS, Service
from benchmarks.texts import Texts
from benchmarks.throughput import OURS, OURS_ONE_WORKER, Throughput
from handler.bulk.prices import GB_SECOND

LABELS = {OURS: f"{THREADS} workers", OURS_ONE_WORKER: OURS_ONE_WORKER}


def main() -> None:
    """Measure; write results.json, the README's table and the plot; print the claims."""
    parser = argparse.ArgumentParser(description="Compare the project with its peers.")
    parser.add_argument(
        "--sts", type=Path, metavar="FILE", help="the STS-B dev split (.tsv.gz), to embed its sentences"
    )
    measure(Texts(parser.parse_args().sts)).write()
    results = Results.read()  # with the rounded figures of the file
    readme.write(results)
    for claim in results.claims:
        verdict = "" if claim.target is None else "met" if claim.met else "MISSED"
        print(f"{claim.what:76}{claim.figure:>10}{claim.limit:>10}  {verdict:8}{claim.detail}")
    for name, value in results.figures.items():
        print(f"{name:76}{value:10.2f}")


def measure(texts: Texts) -> Results:
    """Run all measurements one after the other."""
    machine = Machine.here()
    full, plain = write_models(PEERS / "models")
    process = throughput.measure(texts, full, plain)
    http = service.measure(texts)
    times = graph.measure(texts, plain)
    overheads = overhead.measure()
    starts = cold.measure()
    one, many = overheads
    return Results(
        date=datetime.now(UTC).date().isoformat(),
        texts=texts.origin,
        machine=machine,
        claims=(
            *_in_process(process),
            *_over_http(http),
            *_cold(starts),
            *_work(times, one, many),
            Claim("peak memory, 2048 texts of 256 tokens", http.peak_mb, " MB", "≤", 300, "the service"),
        ),
        rates=medians(process.sentences),
        lengths=_rates_by_length(process),
        requests=http.sizes,
        cold_ms=starts.medians,
        prices=_prices(process, texts.mean_tokens(), one, many),
        figures={
            "time of a text of 14 tokens, served graph relative to the plain graph": times.plain[14],
            "time of a text of 110 tokens, served graph relative to the plain graph": times.plain[110],
            "time of 32 texts of 110 tokens, relative to DynamicQuantizeMatMul products": times.dynamic,
            "parse, validate and encode 1 text, ms": one.contract_ms,
            "parse, validate and encode 2048 texts, ms": many.contract_ms,
        },
    )


def _in_process(process: Throughput) -> list[Claim]:
    measured = process.sentences
    rates = medians(measured)

    def claim(peer: str, target: float | None, ours: str = OURS) -> Claim:
        detail = f"{rates[ours]:.0f} vs. {rates[peer]:.0f} texts/s"
        value = ratio(measured[ours], measured[peer])
        return Claim(f"texts per second, {LABELS[ours]}, relative to {peer}", value, "x", "≥", target, detail)

    return [
        claim(throughput.FASTEMBED, 4),
        claim(throughput.FASTEMBED_INT8, 1.5),
        claim(throughput.SENTENCE_TRANSFORMERS, None),
        claim(throughput.BASELINE, None, OURS_ONE_WORKER),
    ]


def _over_http(http: Service) -> list[Claim]:
    rates, single = medians(http.batches), medians(http.single)
    ours, theirs = service.OURS, INFINITY
    return [
        Claim(
            f"texts per second over HTTP, batches of {service.BATCH}, relative to {theirs}",
            ratio(http.batches[ours], http.batches[theirs]),
            "x",
            "≥",
            4,
            f"{rates[ours]:.0f} vs. {rates[theirs]:.0f} texts/s",
        ),
        Claim(
            f"latency of one short text over HTTP, p50, relative to {theirs}",
            ratio(http.single[ours], http.single[theirs]),
            "x",
            "≤",
            0.25,
            f"{single[ours] * 1000:.1f} vs. {single[theirs] * 1000:.1f} ms",
        ),
    ]


def _cold(starts: cold.ColdStarts) -> list[Claim]:
    def claim(variant: str, label: str, target: float) -> Claim:
        detail = f"{starts.medians['ours']:.0f} vs. {starts.medians[variant]:.0f} ms"
        return Claim(
            f"cold start to first response, relative to {label}", starts.ratios[variant], "x", "≤", target, detail
        )

    return [claim("typical", "a typical implementation", 0.45), claim("baseline", "the baseline", 2)]


def _work(times: GraphTimes, one: Overhead, many: Overhead) -> list[Claim]:
    detail = f"{times.embed_ms:.0f} vs. {times.products_ms:.0f} ms"
    return [
        Claim(
            "time of 32 texts of 110 tokens, relative to their int8 products alone",
            times.products,
            "x",
            "≤",
            1.35,
            detail,
        ),
        Claim("Lambda event to response without the model, 1 text, p50", one.path_ms, " ms", "≤", 1, "lambda_handler"),
        Claim("the same for 2048 texts of 100 characters, as base64", many.path_ms, " ms", "≤", 60, "lambda_handler"),
    ]


def _rates_by_length(process: Throughput) -> dict[str, dict[int, float]]:
    rates = {tokens: medians(measured) for tokens, measured in process.lengths.items()}
    return {name: {tokens: rates[tokens][name] for tokens in rates} for name in process.sentences}


def _prices(process: Throughput, mean_tokens: float, one: Overhead, many: Overhead) -> tuple[Price, ...]:
    """Price sentences and texts of MAX_TOKENS tokens, in requests of 1 and of 256 texts, at one worker's rate."""
    ms_per_text = (many.path_ms - one.path_ms) / (many.texts - one.texts)
    rates = {
        mean_tokens: medians(process.sentences)[OURS_ONE_WORKER],
        float(MAX_TOKENS): medians(process.lengths[MAX_TOKENS])[OURS_ONE_WORKER],
    }
    return tuple(
        cost.price(architecture, tokens, texts, rate, one.path_ms + ms_per_text * (texts - 1))
        for tokens, rate in rates.items()
        for texts in (1, service.BATCH)
        for architecture in GB_SECOND
    )


if __name__ == "__main__":
    main()
