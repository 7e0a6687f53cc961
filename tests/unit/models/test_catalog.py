import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handler.artifacts.manifest import MODEL_FILE, TOKENIZER_FILE, File, Reference, sha256_of
from handler.artifacts.resolver import ArtifactResolver, VerifiedManifest
from handler.embedding.deadline import Deadline
from handler.embedding.embedder import Embedder
from handler.errors import ModelNotFoundError, ServiceError, SettingsError, UnavailableError
from handler.models import memory
from handler.models.catalog import Catalog
from handler.models.parallel import parallel_session
from handler.settings import Settings
from model_artifacts.recipe.save import save
from tests import tiny
from tests.process import wait_until

FILES = {MODEL_FILE: tiny.artifacts().model[:], TOKENIZER_FILE: tiny.artifacts().tokenizer}
SERVING, LOADING = memory.serving(tiny.artifacts().manifest), memory.loading(tiny.artifacts().manifest)
PARALLEL = memory.parallel(tiny.artifacts().manifest)

Build = Callable[..., Catalog]


@pytest.fixture
def reports() -> list[ServiceError]:
    return []


@pytest.fixture
def build(tmp_path: Path, reports: list[ServiceError]) -> Build:
    """Return a function that builds a catalog of tiny models in a folder, by their names.

    `fitting` of them fit into memory while the last of these loads, but for `missing` bytes. Each may have
    `cache` bytes of vectors.
    """

    def build(
        *names: str, fitting: int | None = None, missing: int = 0, cache: int = 0, **changes: dict[str, Any]
    ) -> Catalog:
        for name in names:
            (tmp_path / name).mkdir()
            manifest = replace(tiny.artifacts().manifest, **{"id": name, "aliases": (), **changes.get(name, {})})
            save(tmp_path / name, manifest, FILES, {})
        limit = None if fitting is None else (fitting - 1) * SERVING + LOADING - missing
        settings = Settings(models=names, artifacts=tmp_path, model_memory=limit, vector_cache=cache, threads=2)
        return Catalog(settings, reports.append)

    return build


def loaded(catalog: Catalog) -> set[str]:
    return {served.name for served in catalog.names().values() if served.embedder.result}


def test_names_map_ids_and_aliases_to_models_and_configured_aliases_to_the_default():
    first, second = (
        tiny.embedder(1, id="first", aliases=("one",)),
        tiny.embedder(1, id="second", aliases=("one", "two")),
    )
    catalog = Catalog.of([first, second], Settings(aliases=("ada", "second")))
    assert catalog.default is first
    assert {name: served.name for name, served in catalog.names().items()} == {
        "first": "first",
        "second": "second",
        "one": "first",
        "two": "second",
        "ada": "first",
    }


def test_loaded_models_have_a_manifest_with_their_id_and_digest():
    embedder, started = tiny.embedder(1), int(time.time())
    verified = Catalog.of([embedder], Settings()).manifest("tiny")
    assert (verified.manifest, verified.digest) == (embedder.manifest, embedder.digest)
    assert str(verified.reference) == "tiny"
    assert started <= verified.created <= time.time()


def test_start_loads_the_default_and_reads_only_the_manifests_of_the_others(build):
    catalog = build("default", "b", "c")
    catalog.start()
    assert catalog.default
    wait_until(lambda: all(served.manifest.result for served in catalog.names().values()))
    assert loaded(catalog) == {"default"}


def test_load_is_timed_by_phase(build):
    started = time.perf_counter()
    timings = build("default").default.load_timings
    assert list(timings) == ["artifacts", "session", "first-run"]
    assert all(seconds > 0 for seconds in timings.values())
    assert sum(timings.values()) < time.perf_counter() - started


def test_unreadable_manifest_is_reported(build, tmp_path, reports):
    catalog = build("default", "b")
    (tmp_path / "b/manifest.json").write_text("{")
    with pytest.raises(UnavailableError, match="not a manifest"):
        catalog.get("b")
    assert [report.message.partition(":")[0] for report in reports] == ["model 'b'"]


def test_unknown_model_error_lists_the_served_names():
    with pytest.raises(ModelNotFoundError, match=r"^model not found: 'x' .* served: tiny, someone/tiny"):
        Catalog.of([tiny.embedder(1)], Settings(aliases=())).get("x")


def test_prompt_may_follow_any_name_of_a_model():
    catalog = Catalog.of([tiny.embedder(1, prompts={"query": "the "})], Settings(aliases=("alias:tag",)))
    for model in ("tiny", "someone/tiny", "alias:tag"):
        assert catalog.prompt(model) == ""
        assert catalog.find(f"{model}:search_query") is catalog.find(model)
        assert catalog.prompt(f"{model}:search_query@sha256:{'0' * 64}") == "search_query"
    with pytest.raises(ModelNotFoundError, match=r"^model not found: 'tiny:querry' is not served here; served: tiny, "):
        catalog.find("tiny:querry")


@pytest.mark.parametrize("second", ["tiny", "s3://bucket/models/tiny", f"s3://bucket/tiny@sha256:{'0' * 64}"])
def test_duplicate_name_is_a_settings_error(second):
    with pytest.raises(SettingsError, match="MODELS names 'tiny' 2 times: name every model once"):
        Catalog(Settings(models=("other", "tiny", second)), lambda _: None)


def test_least_recently_used_model_is_evicted_but_never_the_default(build):
    catalog = build("default", "b", "c", "d", fitting=3)
    for name in ("default", "b", "c", "b"):
        catalog.get(name)
    assert loaded(catalog) == {"default", "b", "c"}
    catalog.get("d")
    assert loaded(catalog) == {"default", "b", "d"}
    catalog.get("c")
    assert loaded(catalog) == {"default", "c", "d"}


def test_as_many_models_are_evicted_as_a_larger_one_needs(build, tmp_path):
    catalog = build("default", "b", "c", "large", fitting=3)
    for name in ("default", "b", "c"):
        catalog.get(name)
    manifest = replace(tiny.artifacts().manifest, id="large", aliases=())
    padded = {**FILES, TOKENIZER_FILE: FILES[TOKENIZER_FILE].ljust(SERVING // 5)}  # it takes 4.5 times that
    files = {name: File(len(content), sha256_of(content)) for name, content in padded.items()}
    save(tmp_path / "large", replace(manifest, files=files), padded, {})
    catalog.get("large")
    assert loaded(catalog) == {"default", "large"}


def test_model_needs_the_memory_of_its_load(build, reports):
    catalog = build("default", "b", fitting=2, missing=1)
    assert catalog.get("default")
    assert catalog._memory[catalog._served[0]] == SERVING < LOADING
    with pytest.raises(UnavailableError, match=f"loading it takes {LOADING >> 20} MB, and models may take "):
        catalog.get("b")
    assert len(reports) == 1


@pytest.mark.parametrize(("missing", "fits"), [(-20, True), (-19, False)])
def test_memory_of_a_model_includes_its_cache_of_vectors(build, missing, fits):
    catalog = build("default", "b", fitting=2, missing=missing, cache=10)
    catalog.get("default")
    with nullcontext() if fits else pytest.raises(UnavailableError, match="loading it takes "):
        catalog.get("b")


def test_model_that_cannot_fit_evicts_no_other_and_is_not_read(build, tmp_path, monkeypatch):
    large = {TOKENIZER_FILE: File(SERVING, "0" * 64)}
    catalog = build("default", "b", "large", fitting=2)
    for name in ("default", "b"):
        catalog.get(name)
    manifest = replace(tiny.artifacts().manifest, id="large", aliases=())
    save(tmp_path / "large", replace(manifest, files={**manifest.files, **large}), {}, {})
    monkeypatch.setattr(ArtifactResolver, "load", lambda *_: pytest.fail("its files are read"))
    with pytest.raises(UnavailableError, match="raise the function's memory"):
        catalog.get("large")
    assert loaded(catalog) == {"default", "b"}


def test_concurrent_load_does_not_claim_reserved_memory(build, reports, monkeypatch):
    """The second is loaded during the first run of the first, whose files are already in memory."""
    catalog = build("default", "b", "c", fitting=2)
    catalog.get("default")
    running, gate, run = threading.Event(), threading.Event(), Embedder.embed

    def embed(embedder: Embedder, *arguments: Any) -> Any:
        if embedder.manifest.id == "b":
            running.set()
            gate.wait(10)
        return run(embedder, *arguments)

    monkeypatch.setattr(Embedder, "embed", embed)
    first = catalog.find("b").embedder.start()
    assert running.wait(5)
    with pytest.raises(UnavailableError, match="another model is loading and has reserved the memory"):
        catalog.get("c")
    gate.set()
    assert first.result(5)
    assert loaded(catalog) == {"default", "b"}
    catalog.find("c").embedder._retry_at = 0
    assert catalog.get("c")
    assert loaded(catalog) == {"default", "c"}
    assert reports == []


def test_concurrent_loads_never_exceed_the_memory(build):
    catalog = build("default", *"bcdefg", fitting=3)
    catalog.get("default")
    threads = [threading.Thread(target=catalog.find(name).embedder.start().exception, args=(10,)) for name in "bcdefg"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded(catalog)) <= 3
    assert sum(catalog._memory.values()) == SERVING * len(loaded(catalog))


def test_failed_load_frees_its_memory(build, tmp_path):
    catalog = build("default", "b", "c", fitting=2)
    catalog.get("default")
    (tmp_path / "b" / MODEL_FILE).write_bytes(bytes(len(FILES[MODEL_FILE])))
    with pytest.raises(UnavailableError, match="damaged"):
        catalog.get("b")
    assert catalog.get("c")


def test_second_text_alone_makes_the_only_model_load_a_session_for_the_next_ones(build, reports, monkeypatch):
    monkeypatch.setattr("handler.embedding.runs.PARALLEL_TOKENS", range(1, 100))
    embedder = build("default", fitting=1, missing=LOADING - SERVING - PARALLEL).default  # its first run is one text
    (vector,) = embedder.embed(["text"]).vectors
    wait_until(lambda: embedder._runs._parallel() is not None)
    monkeypatch.setattr(embedder._runs, "_session", None)  # so no text is read by another
    np.testing.assert_array_equal(embedder.embed(["text"]).vectors[0], vector)
    assert reports == []


@pytest.mark.parametrize(
    ("names", "limits", "threads"),
    [
        (("default",), {}, 1),
        (("default", "b"), {}, 2),
        (("default",), {"fitting": 1, "missing": LOADING - SERVING - PARALLEL + 1}, 2),
        (("default",), {"default": {"graph": "external"}}, 2),
    ],
)
def test_no_second_session_is_loaded_that_may_not_fit_or_may_change_bits(build, monkeypatch, names, limits, threads):
    catalog = build(*names, **limits)
    verified, settings = catalog.manifests()["default"], replace(catalog._settings, threads=threads)
    monkeypatch.setattr("handler.models.parallel.BackgroundLoader", None)  # so none can be made
    assert parallel_session(catalog._resolver, verified, settings)() is None


def test_second_session_that_does_not_load_is_logged_and_fails_no_request(
    build, reports, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("handler.embedding.runs.PARALLEL_TOKENS", range(1, 100))
    embedder = build("default").default
    (tmp_path / "default" / MODEL_FILE).unlink()
    assert embedder.embed(["text"]).tokens == 3
    wait_until(lambda: "texts that come alone use one core" in caplog.text)
    assert MODEL_FILE in caplog.text
    assert embedder.embed(["text"]).tokens == 3
    assert reports == []


@pytest.fixture
def stalled(monkeypatch) -> threading.Event:
    """Stall the manifests of models whose name begins with `stalled`, until the event is set."""
    released, read = threading.Event(), ArtifactResolver.open

    def open_(resolver: ArtifactResolver, reference: Reference) -> VerifiedManifest:
        if reference.name.startswith("stalled"):
            released.wait(20)
        return read(resolver, reference)

    monkeypatch.setattr(ArtifactResolver, "open", open_)
    return released


STALLED = tuple(f"stalled-{number}" for number in range(5))


def seconds(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def test_stalled_manifests_share_one_timeout(build, stalled, monkeypatch):
    monkeypatch.setattr("handler.models.catalog.LOAD_TIMEOUT_SECONDS", 0.5)
    catalog = build("default", *STALLED)
    listed: list[str] = []
    assert 0.4 < seconds(lambda: listed.extend(catalog.manifests())) < 1
    assert "default" in listed
    assert not set(STALLED) & set(listed)

    def find() -> None:
        with pytest.raises(UnavailableError):
            catalog.find("unknown")

    assert 0.4 < seconds(find) < 1
    stalled.set()
    wait_until(lambda: set(STALLED) < set(catalog.manifests()))


def test_request_waits_no_longer_than_its_deadline(build, stalled):
    catalog = build("default", *STALLED)
    works = [catalog.get, catalog.manifest, catalog.find]
    stalled_works = [(catalog.get, "stalled-0"), (catalog.manifest, "stalled-0")]
    for work, name in [*((work, "unknown") for work in works), *stalled_works]:
        with pytest.raises(UnavailableError):  # noqa: PT012 - the time is what is tested
            started = time.monotonic()
            work(name, Deadline(started, started + 0.2))
        assert time.monotonic() - started < 0.7
    now = time.monotonic()
    assert seconds(lambda: catalog.manifests(Deadline(now, now + 0.2))) < 0.7
    assert seconds(lambda: catalog.manifests(Deadline(now - 5, now - 1))) < 0.2
    stalled.set()


def test_known_alias_does_not_wait_for_other_manifests(build, stalled):
    catalog = build("stalled-0", "second", "stalled-1", second={"aliases": ("another",)})
    found: list[str] = []
    assert seconds(lambda: found.append(catalog.find("another").name)) < 1
    assert found == ["second"]
    stalled.set()


def test_started_catalog_reads_the_aliases_of_every_manifest(build, reports):
    catalog = build("first", "second", first={"aliases": ("one",)}, second={"aliases": ("two",)})
    catalog.start()
    wait_until(lambda: {"one", "two"} <= set(catalog.names()))
    assert reports == []
