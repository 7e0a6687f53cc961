"""Measures every claim of the README's tables on this processor, in about twelve minutes, and stores the results.

make bench (STS=FILE: with the sentences of the STS-B dev split; SECTIONS="speed http": only these; AVX2=1: AVX2 alone)

Each section is stored when it is done, so a run that was interrupted goes on with SECTIONS.
"""

import argparse
import json
import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks import avx2, cold, graph, openai_tokens, overhead, service, throughput
from benchmarks.graph import GraphTimes
from benchmarks.overhead import Overhead
from benchmarks.peers.embedder_process import OFFLINE, python_of
from benchmarks.peers.plain_graph import write_models
from benchmarks.peers.settings import MODELS, peers
from benchmarks.report.claims import strongest
from benchmarks.report.machine import Machine
from benchmarks.report.results import Claim, Results, Section, of_machine
from benchmarks.rounds import medians, ratio
from benchmarks.service import INFINITY, Service
from benchmarks.texts import Texts
from model_artifacts.recipe.source import default_directory
from tests.emulator import ROOT

CALIBRATION = 300  # texts, for OpenVINO's int8 graph


def main() -> None:
    """Measure the sections one after the other, store each, and print the claims."""
    sections = {"speed": speed, "products": products, "requests": requests, "http": http, "cold": cold_starts}
    if avx2.hidden():  # the others hardly depend on the extensions
        sections = {name: sections[name] for name in ("speed", "products", "requests")}
    parser = argparse.ArgumentParser(description="Compare the project with its peers.")
    parser.add_argument(
        "--sts", type=Path, metavar="FILE", help="the STS-B dev split (.tsv.gz), to embed its sentences"
    )
    parser.add_argument("sections", nargs="*", choices=[[], *sections], default=[], help="by default all")
    options = parser.parse_args()
    machine = Machine.here()
    for name in options.sections or sections:
        load = os.getloadavg()[1]
        texts = Texts(options.sts)
        claims, results = sections[name](texts, of_machine(machine))
        section = Section(datetime.now(UTC).date().isoformat(), load, tuple(claims))
        results = replace(results, texts=texts.origin, tokens=_tokens(texts))
        replace(results, sections=results.sections | {name: section}).write()
    results = of_machine(machine)
    for claim in (*strongest(results), *(claim for each in results.sections.values() for claim in each.claims)):
        verdict = "" if claim.target is None else "met" if claim.met else "MISSED"
        print(f"{claim.what:76}{claim.figure:>10}{claim.limit:>10}  {verdict:8}{claim.detail}")


def speed(texts: Texts, results: Results) -> tuple[list[Claim], Results]:
    """Measure every embedder in process, and the quality of its vectors."""
    full, plain = write_models(MODELS)
    for name in ("ctranslate2", "openvino"):
        _convert(name, texts)
    speeds, qualities = throughput.measure(texts, peers(full, plain))
    return [], replace(results, speeds=speeds, qualities=qualities)


def _convert(name: str, texts: Texts) -> None:
    """Write the model for an engine, unless an earlier run has written it."""
    target = MODELS / name
    if not target.exists():
        command = [python_of(name), "-m", "benchmarks.peers.convert", name, str(default_directory()), str(target)]
        content = json.dumps(texts.sample(0, CALIBRATION))
        subprocess.run(command, cwd=ROOT, env=os.environ | OFFLINE, input=content, text=True, check=True)


def products(texts: Texts, results: Results) -> tuple[list[Claim], Results]:
    """Compare the served graph with its int8 products alone."""
    times = graph.measure(texts, write_models(MODELS)[1])
    figures = {
        "time of a text of 14 tokens, served graph relative to the plain graph": times.plain[14],
        "time of a text of 110 tokens, served graph relative to the plain graph": times.plain[110],
        "time of 32 texts of 110 tokens, relative to DynamicQuantizeMatMul products": times.dynamic,
    }
    return [_products(times)], replace(results, limits=times.products, figures=results.figures | figures)


def _products(times: GraphTimes) -> Claim:
    detail = f"{times.embed_ms:.0f} vs. {times.products_ms:.0f} ms"
    what = "time of 32 texts of 110 tokens, relative to their int8 products alone"
    return Claim(what, times.products[graph.TOKENS], "x", "≤", 1.35, detail)


def requests(_: Texts, results: Results) -> tuple[list[Claim], Results]:
    """Measure requests without the model."""
    one, many = overhead.measure()
    figures = {
        "parse, validate and encode 1 text, ms": one.contract_ms,
        "parse, validate and encode 2048 texts, ms": many.contract_ms,
    }
    paths = {each.texts: each.path_ms for each in (one, many)}
    return _paths(one, many), replace(results, paths_ms=paths, figures=results.figures | figures)


def _paths(one: Overhead, many: Overhead) -> list[Claim]:
    return [
        Claim("Lambda event to response without the model, 1 text, p50", one.path_ms, " ms", "≤", 1, "lambda_handler"),
        Claim("the same for 2048 texts of 100 characters, as base64", many.path_ms, " ms", "≤", 60, "lambda_handler"),
    ]


def http(texts: Texts, results: Results) -> tuple[list[Claim], Results]:
    """Measure the service over HTTP."""
    measured = service.measure(texts)
    return _over_http(measured), replace(results, requests=measured.sizes)


def _over_http(measured: Service) -> list[Claim]:
    rates, single = medians(measured.batches), medians(measured.single)
    ours, theirs = service.OURS, INFINITY
    return [
        Claim(
            f"texts per second over HTTP, batches of {service.BATCH}, relative to {theirs}",
            ratio(measured.batches[ours], measured.batches[theirs]),
            "x",
            "≥",
            4,
            f"{rates[ours]:.0f} vs. {rates[theirs]:.0f} texts/s",
        ),
        Claim(
            f"latency of one short text over HTTP, p50, relative to {theirs}",
            ratio(measured.single[ours], measured.single[theirs]),
            "x",
            "≤",
            0.25,
            f"{single[ours] * 1000:.1f} vs. {single[theirs] * 1000:.1f} ms",
        ),
        Claim("peak memory, 2048 texts of 256 tokens", measured.peak_mb, " MB", "≤", 300, "the service"),
    ]


def cold_starts(_: Texts, results: Results) -> tuple[list[Claim], Results]:
    """Measure cold starts."""
    starts = cold.measure()

    def claim(variant: str, label: str, target: float) -> Claim:
        detail = f"{starts.medians['ours']:.0f} vs. {starts.medians[variant]:.0f} ms"
        what = f"cold start to first response, relative to {label}"
        return Claim(what, starts.ratios[variant], "x", "≤", target, detail)

    claims = [claim("typical", "a typical implementation", 0.45), claim("baseline", "the baseline", 2)]
    return claims, replace(results, cold_ms=starts.medians)


def _tokens(texts: Texts) -> tuple[float, float]:
    return texts.mean_tokens(), float(np.mean([openai_tokens.count(text) for text in texts.sentences]))


if __name__ == "__main__":
    main()
