"""Each table that `make bench` writes, as Markdown: a column or a table for each processor."""

from collections.abc import Sequence

from benchmarks.report import cost
from benchmarks.report.claims import OURS, bests, strongest, strongest_at
from benchmarks.report.results import SENTENCES, Claim, Quality, Results, Speed

SHOWN = (SENTENCES, "8", "32", "128", "256")  # in the README; the other lengths are in benchmarks/README.md
COMMAND = "[cost.py](benchmarks/report/cost.py)"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def summary(results: Sequence[Results]) -> str:
    """Return what the results say, the peers that are faster first."""
    return "\n".join(f"- {each.machine.title}: {_verdict(each)}" for each in results)


def _verdict(results: Results) -> str:
    peer = strongest_at(results, SENTENCES)
    assert peer
    parts = [f"on mixed sentences **{peer.rates[SENTENCES].ratio:.2f} times** the strongest peer, {peer.name}"]
    for name in dict.fromkeys(each.name for each in bests(results)):
        best = results.speed(name)
        assert best
        faster = {length: rate for length, rate in best.rates.items() if rate.ratio < 1}
        if faster:
            times = ", ".join(f"{_label(length)} ({1 / rate.ratio:.2f} times ours)" for length, rate in faster.items())
            parts.append(f"**{name} is faster** on {times}")
    return "; ".join(parts) + "."


def _label(length: str) -> str:
    return "mixed sentences" if length == SENTENCES else f"{length} tokens"


def claims(results: Sequence[Results]) -> str:
    """Return all claims, with a column for each processor."""
    columns = [{claim.what: claim for claim in _claims(each)} for each in results]
    whats = dict.fromkeys(what for column in sorted(columns, key=len, reverse=True) for what in column)
    rows = []
    for what in whats:
        limits = dict.fromkeys(column[what].limit for column in columns if what in column)
        rows.append((what, " or ".join(limits), *(_cell(column.get(what)) for column in columns)))
    return _table(("", "target", *(each.machine.title for each in results)), rows)


def _claims(results: Results) -> list[Claim]:
    return [*strongest(results), *(claim for section in results.sections.values() for claim in section.claims)]


def _cell(claim: Claim | None) -> str:
    return f"**{claim.figure}**{'' if claim.met else ' (missed)'}, {claim.detail}" if claim else ""


def peers(results: Results) -> str:
    """Return ours and the peers at their best settings: pace, and what the vectors are worth."""
    quality = {each.name: each for each in results.qualities}
    rows = []
    for each in (results.speed(OURS), *bests(results)):
        assert each
        default = results.speed(each.name, best=False)
        ratios = [
            f"{found.rates[SENTENCES].ratio:.2f}" if found and each.name != OURS else "" for found in (default, each)
        ]
        paces = [f"{each.rates[length].cpu:.0f}" for length in SHOWN]
        rows.append((each.name, *ratios, *paces, f"{each.rates[SENTENCES].wall:.0f}", *_worth(quality[each.name])))
    paces = [SENTENCES, *(f"{length} tokens" for length in SHOWN[1:])]
    head = ("texts per second of processor time", "ours to its default", "ours to its best", *paces)
    head = (*head, "sentences by the clock", "cosine with full precision", "Spearman", "vector depends on its company")
    return f"{results.machine.title}, {results.machine.cores} cores, {_dates(results)}:\n\n{_table(head, rows)}"


def _worth(quality: Quality) -> tuple[str, str, str]:
    spearman = "" if quality.spearman is None else f"{quality.spearman:.4f}"
    return f"{quality.cosine:.4f}", spearman, "yes" if quality.depends else "no"


def _dates(results: Results) -> str:
    dates = sorted({each.date for each in results.sections.values()})
    loads = [each.load for each in results.sections.values()]
    return f"{dates[0]}, load average before the sections {min(loads):.1f} to {max(loads):.1f}"


def defaults(results: Sequence[Results]) -> str:
    """Return what was measured of processors without a best setting of the peers."""
    parts = []
    for each in results:
        if bests(each):
            continue
        rows = [
            (speed.name, f"{speed.rates[SENTENCES].ratio:.2f}", f"{speed.rates[SENTENCES].wall:.0f}")
            for speed in each.speeds
            if not speed.best
        ]
        head = ("peer at its default", "ours to it, by the clock", "its sentences per second by the clock")
        ours = each.speed(OURS)
        assert ours
        context = (
            f"{each.machine.title}, {each.machine.cores} cores, {_dates(each)}; ours {ours.rates[SENTENCES].wall:.0f}"
        )
        parts.append(f"{context}; the peers' best settings are not measured there yet:\n\n{_table(head, rows)}")
    return "\n\n".join(parts)


def requests(results: Sequence[Results]) -> str:
    """Return the service over HTTP by request size."""
    measured = [each for each in results if each.requests]
    sizes = [str(each.texts) for each in measured[0].requests]
    rows = []
    for each in measured:
        rows.append(
            (
                f"sentences per second over HTTP, {each.machine.title}",
                *(f"{size.texts_per_second:.0f}" for size in each.requests),
            )
        )
        rows.append((f"peak memory, MB, {each.machine.title}", *(f"{size.peak_mb:.0f}" for size in each.requests)))
    return _table(("texts per request", *sizes), rows)


def prices(results: Sequence[Results]) -> str:
    """Return the section on costs."""
    own, hosted = results[0].tokens
    terms = (
        "Dollars per million tokens on Lambda at 1769 MB and x86_64, warm, without API Gateway, at the list prices of "
        "us-east-1, if a vCPU is as fast as a core of the processor that was measured; arm64 costs a fifth less for "
        "the same time, which was not measured. OpenAI lists text-embedding-3-small, a larger model, at "
        f"${cost.HOSTED:.2f} (both as known in November 2026). The tokens are OpenAI's, to compare the same texts: a "
        f"sentence has {own:.1f} tokens here, special tokens included, and {hosted:.1f} in cl100k_base. A single text "
        f"has the pace of one text per call. The formula is in {COMMAND}."
    )
    rows = []
    for length, texts in cost.CASES:
        figures = [cost.million(each, length, texts) for each in results]
        size = f"{own:.0f}" if length == SENTENCES else length
        request = "1 text per request" if texts == 1 else f"{texts} texts per request"
        cells = ["not measured" if figure is None else f"{figure:.4f}" for figure in figures]
        rows.append((f"texts of {size} tokens, {request}", *cells))
    head = ("dollars per million of OpenAI's tokens", *(each.machine.title for each in results))
    return f"## Cost\n\n{terms}\n\n{_table(head, rows)}"


def details(results: Sequence[Results]) -> str:
    """Return every embedder at every setting and length, for benchmarks/README.md."""
    return "\n\n".join(map(_details, results))


def _details(results: Results) -> str:
    machine = results.machine
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    parts = (f"{machine.cores} cores", results.texts, _dates(results), f"Python {machine.python}", packages)
    context = f"{machine.title}: {', '.join(parts)}."
    ours = results.speed(OURS)
    assert ours
    head = ["texts per second of processor time (by the clock)", "setting", *map(_label, ours.rates)]
    rows = [(_name(each), each.setting, *(_rate(each, length) for length in ours.rates)) for each in results.speeds]
    return f"{context}\n\n{_table(head, rows)}"


def _name(speed: Speed) -> str:
    return speed.name if speed.best else f"{speed.name}, default"


def _rate(speed: Speed, length: str) -> str:
    rate = speed.rates.get(length)
    if rate is None:
        return ""
    return f"({rate.wall:.0f})" if rate.cpu is None else f"{rate.cpu:.0f} ({rate.wall:.0f})"
