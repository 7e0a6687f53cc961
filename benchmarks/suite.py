"""The project beside its peers: every claim of the README's table, measured anew in under ten minutes.

make bench (STS=FILE: on the sentences of STS-B's dev split)
"""

import argparse
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import cold, graph, overhead, service, throughput
from benchmarks.graph import GraphTimes
from benchmarks.overhead import Around
from benchmarks.peers.embedder_process import PEERS, THREADS
from benchmarks.peers.plain_graph import lay_out
from benchmarks.report import cost, readme
from benchmarks.report.results import Claim, Machine, Price, Results
from benchmarks.rounds import medians, ratio
from benchmarks.service import INFINITY, Service
from benchmarks.texts import Texts
from benchmarks.throughput import OURS, OURS_ALONE, Throughput

MAX_TOKENS = 256
LABELS = {OURS: f"{THREADS} workers", OURS_ALONE: OURS_ALONE}


def main() -> None:
    """Measure, and write results.json, the README's table and the plot."""
    parser = argparse.ArgumentParser(description="Measure the project beside its peers.")
    parser.add_argument("--sts", type=Path, metavar="FILE", help="STS-B's dev split (.tsv.gz), to embed its sentences")
    measure(Texts(parser.parse_args().sts)).write()
    results = Results.read()  # as rounded there
    readme.write(results)
    for claim in results.claims:
        verdict = "" if claim.target is None else "met" if claim.met else "MISSED"
        print(f"{claim.what:76}{claim.figure:>10}{claim.limit:>10}  {verdict:8}{claim.detail}")
    for name, value in results.figures.items():
        print(f"{name:76}{value:10.2f}")


def measure(texts: Texts) -> Results:
    """Run every measurement, one after the other."""
    machine = Machine.here()
    full, plain = lay_out(PEERS / "models")
    process = throughput.measure(texts, full, plain)
    http = service.measure(texts)
    times = graph.measure(texts, plain)
    around = overhead.measure()
    starts = cold.measure()
    one, many = around
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
        lengths=_by_contender(process),
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
    middle = medians(measured)

    def claim(peer: str, target: float | None, ours: str = OURS) -> Claim:
        detail = f"{middle[ours]:.0f} vs. {middle[peer]:.0f} texts/s"
        value = ratio(measured[ours], measured[peer])
        return Claim(f"texts per second, {LABELS[ours]}, relative to {peer}", value, "x", "≥", target, detail)

    return [
        claim(throughput.FASTEMBED, 4),
        claim(throughput.FASTEMBED_INT8, 1.5),
        claim(throughput.SENTENCE_TRANSFORMERS, None),
        claim(throughput.FLOOR, None, OURS_ALONE),
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


def _work(times: GraphTimes, one: Around, many: Around) -> list[Claim]:
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


def _by_contender(process: Throughput) -> dict[str, dict[int, float]]:
    rates = {tokens: medians(measured) for tokens, measured in process.lengths.items()}
    return {name: {tokens: rates[tokens][name] for tokens in rates} for name in process.sentences}


def _prices(process: Throughput, mean_tokens: float, one: Around, many: Around) -> tuple[Price, ...]:
    """Price sentences and the longest texts, alone and in requests of 256, by what one worker does."""
    each = (many.path_ms - one.path_ms) / (many.texts - one.texts)
    kinds = {
        mean_tokens: medians(process.sentences)[OURS_ALONE],
        float(MAX_TOKENS): medians(process.lengths[MAX_TOKENS])[OURS_ALONE],
    }
    return tuple(
        cost.price(architecture, tokens, texts, rate, one.path_ms + each * (texts - 1))
        for tokens, rate in kinds.items()
        for texts in (1, service.BATCH)
        for architecture in cost.GB_SECOND
    )


if __name__ == "__main__":
    main()
