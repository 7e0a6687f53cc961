"""A job's folder: what the job is, its plan, and how far it is."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

from handler.artifacts.manifest import Reference
from handler.artifacts.resolver import load
from handler.bulk.output import output_schema
from handler.bulk.plan import Options, Plan, Shard, canonical_json, make_plan
from handler.bulk.previous import MANIFEST
from handler.bulk.receipts import PARTS, shard_receipts
from handler.embedding.embedder import Embedder
from handler.errors import BulkError
from handler.settings import Settings
from handler.storage.entries import Entry, Storage

JOB, PLAN = "_job/job.json", "_job/plan.json"


@dataclass(frozen=True, slots=True)
class Job:
    """What a job is.

    source       the path or URI of its input
    max_rejects  how many rows may be rejected: a number, a percentage, or empty for any
    previous     the path or URI of an earlier output, whose vectors are reused, or empty
    """

    source: str
    options: Options
    max_rejects: str = ""
    previous: str = ""

    def to_json(self) -> bytes:
        """Return the job as it is stored."""
        return canonical_json(asdict(self))

    @classmethod
    def from_json(cls, content: bytes) -> "Job":
        """Read a stored job."""
        stored = json.loads(content)
        return cls(**{**stored, "options": Options(**stored["options"])})


@dataclass(frozen=True, slots=True)
class Status:
    """How far a job is; `rows` and `rejects` are those of the shards that are done."""

    shards: int
    shards_done: int
    parts: int
    rows: int
    rejects: int
    finished: bool


def check(target: Storage, options: Options) -> None:
    """Check that an output is empty, or that of a job with these options.

    Raises:
        BulkError: it is another job's.
    """
    if target.exists(JOB):
        begun = open_job(target).options
        for field in fields(Options):
            theirs, ours = getattr(begun, field.name), getattr(options, field.name)
            if theirs != ours:
                raise BulkError(
                    f"{target.uri}: it is the output of a job with {field.name} '{theirs}', not '{ours}'; "
                    "choose another OUT"
                )
    elif parts := target.list("part-"):
        raise BulkError(f"{target.uri}: it has {parts[0].name}, and no record of its job; choose an empty OUT")


def create(target: Storage, job: Job) -> None:
    """Write what the job is.

    Raises:
        BulkError: the output is another job's.
    """
    check(target, job.options)
    target.write(JOB, job.to_json())


def open_job(target: Storage) -> Job:
    """Return the job of an output.

    Raises:
        BulkError: there is none.
    """
    if not target.exists(JOB):
        raise BulkError(f"{target.uri}: there is no job; OUT names the output of one that make bulk has started")
    return Job.from_json(target.read(JOB))


def open_plan(source: Storage, entries: Sequence[Entry], target: Storage, options: Options) -> Plan:
    """Return the job's plan, made and written now unless it was before.

    Raises:
        BulkError: the input cannot be read, or is not what was planned.
    """
    plan = find_plan(source, entries, target, options)
    keep_plan(target, plan)
    return plan


def keep_plan(target: Storage, plan: Plan) -> None:
    """Write the job's plan unless it was before.

    Raises:
        BulkError: another run has written another one meanwhile.
    """
    if not target.exists(PLAN):
        target.write(PLAN, plan.to_json())
    elif Plan.from_json(target.read(PLAN)).digest != plan.digest:
        raise BulkError(f"{target.uri}: another run has begun with another input; choose another OUT")


def find_plan(source: Storage, entries: Sequence[Entry], target: Storage, options: Options) -> Plan:
    """Return the job's plan, made now unless it was before, without writing it.

    Raises:
        BulkError: the input cannot be read, or is not what was planned.
    """
    if not target.exists(PLAN):
        plan = make_plan(source, entries, options)
        output_schema(plan.input_schema, options.layout, options.dimensions)  # a column in the way is found now
        return plan
    plan = Plan.from_json(target.read(PLAN))
    planned, found = ({file.name: (file.size, file.version) for file in files} for files in (plan.files, entries))
    for name in sorted({*planned, *found}):
        if planned.get(name) != found.get(name):
            how = "is new" if name not in planned else "is gone" if name not in found else "has changed"
            raise BulkError(
                f"{source.uri}/{name}: the file {how} since the job was planned; restore it, or choose another OUT "
                "(PREVIOUS=<this one> reuses the vectors of unchanged texts)"
            )
    return plan


def missing(target: Storage, plan: Plan) -> list[Shard]:
    """Return the shards that are not done."""
    done = shard_receipts(target, plan)
    return [shard for shard in plan.shards if shard.number not in done]


def status(target: Storage) -> Status:
    """Return how far the job of an output is.

    Raises:
        BulkError: there is none.
    """
    open_job(target)
    if not target.exists(PLAN):
        return Status(0, 0, 0, 0, 0, finished=False)
    plan = Plan.from_json(target.read(PLAN))
    done = shard_receipts(target, plan).values()
    return Status(
        shards=len(plan.shards),
        shards_done=len(done),
        parts=len(target.list(PARTS)),
        rows=sum(receipt.rows for receipt in done),
        rejects=sum(receipt.rejects for receipt in done),
        finished=target.exists(MANIFEST),
    )


def load_embedder(options: Options, settings: Settings) -> Embedder:
    """Load the job's model, which is one of the settings' models.

    Raises:
        ArtifactError: its files are unavailable.
        BulkError: the settings do not have it, or have another version of it.
    """
    named = {Reference.parse(text).name: text for text in settings.models}
    if options.model not in named:
        raise BulkError(f"the job's model '{options.model}' is not among MODELS: {', '.join(settings.models)}")
    artifacts = load(named[options.model], settings)
    if artifacts.digest != options.digest:
        raise BulkError(
            f"model '{options.model}': its digest is {artifacts.digest}, and the job's {options.digest}: "
            "set MODEL to the version that the job began with"
        )
    return Embedder(artifacts, replace(settings, long_input=options.long_input))
