"""What a job uses on AWS, how long it takes, and what it costs at the list prices of us-east-1 in November 2026.

Shards start one by one, at most START_RATE a second, and at most `concurrency` run at a time, so shard i starts at

    max(i / START_RATE, (i mod concurrency) / START_RATE + floor(i / concurrency) x seconds of a shard)

and the last one ends the stage.
"""

import math
from dataclasses import dataclass

# aws.amazon.com/lambda/pricing
GB_SECOND = {"x86_64": 0.0000166667, "arm64": 0.0000133334}
REQUEST = 0.20 / 1_000_000
# aws.amazon.com/step-functions/pricing: STANDARD per state transition; EXPRESS per execution and, for the first 1,000
# GB-hours of a month, per GB-second, of which an execution takes at least 64 MB.
TRANSITION = 0.025 / 1000
EXPRESS_REQUEST = 1.00 / 1_000_000
EXPRESS_SECOND = 0.06 / 3600 * 64 / 1024
# aws.amazon.com/s3/pricing: S3 Standard. Deleting costs nothing.
S3_PUT = 0.005 / 1000
S3_GET = 0.0004 / 1000
# The memory of one vCPU (docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html), in the GB that are billed.
VCPU_GB = 1769 / 1024

# A Map Run starts 100 STANDARD children a second (docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html); a
# function gains 1,000 environments in 10 seconds (docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html).
START_RATE = 100.0
PARTS_AT_ONCE = 300  # more would exceed the rate of GET requests
RECEIPTS_PER_SECOND = 1000.0  # read by 32 threads, 30 ms each

CHILD_TRANSITIONS = 2  # of a child with one task: into the task, and to the end
PARENT_TRANSITIONS = 9  # plan, shards, group, parts, finish, three choices, and the end
# Seconds of a shard besides embedding: a cold start with pyarrow, the first read and the last write.
SHARD_SECONDS = 2.0
# Seconds of a part of 128 MB: read and written at 90 MB/s, and packed again in between.
PART_SECONDS = 6.0  # of which 1 on the processor
STEP_SECONDS = 10.0  # of planning, grouping and finishing
# Requests to S3. A HEAD is priced as a GET, a LIST as a PUT.
SHARD_GETS, SHARD_PUTS = 7, 4  # job, plan and the input in a few reads; a LIST, texts, Parquet and receipt
MERGE_GETS = 20  # of each shard when its part is written: receipt, texts, and 29 MB of Parquet in reads of 2 MiB
RECEIPT_READS, RECEIPT_GETS = 3, 2  # of each shard: to group the shards, and twice to finish
PART_GETS, PART_PUTS = 3, 4  # plan and receipt; a LIST, texts, Parquet and receipt


def invocation_dollars(seconds: float, memory_mb: int) -> float:
    """Return about what an invocation costs: its time, at x86_64's price."""
    return seconds * memory_mb / 1024 * GB_SECOND["x86_64"] + REQUEST


@dataclass(frozen=True, slots=True)
class Item:
    """A line of the bill."""

    name: str
    quantity: float
    unit: str
    dollars: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What a job uses.

    shards   number of shards, each a child of the first Map Run
    parts    number of parts, each a child of the second
    seconds  of one vCPU, to embed
    """

    shards: int
    parts: int
    seconds: float

    @property
    def shard_seconds(self) -> float:
        """Seconds that a shard takes."""
        return self.seconds / max(1, self.shards) + SHARD_SECONDS

    def map_seconds(self, concurrency: int) -> float:
        """Return the seconds of the stage that embeds."""
        if not self.shards:
            return 0.0
        wave, place = divmod(self.shards - 1, concurrency)
        start = max((self.shards - 1) / START_RATE, place / START_RATE + wave * self.shard_seconds)
        return start + self.shard_seconds

    def duration(self, concurrency: int) -> float:
        """Return the seconds of a run with so many environments."""
        parts = math.ceil(self.parts / min(concurrency, PARTS_AT_ONCE)) * PART_SECONDS
        receipts = RECEIPT_READS * self.shards / RECEIPTS_PER_SECOND
        return STEP_SECONDS + self.map_seconds(concurrency) + receipts + parts

    def bill(self, architecture: str = "x86_64") -> tuple[Item, ...]:
        """Return the items of the bill."""
        seconds = self.seconds + self.shards * SHARD_SECONDS + self.parts * PART_SECONDS + STEP_SECONDS
        invocations = self.shards + self.parts + 3
        transitions = PARENT_TRANSITIONS + self.shards * CHILD_TRANSITIONS
        gets = self.shards * (SHARD_GETS + MERGE_GETS + RECEIPT_READS * RECEIPT_GETS) + self.parts * PART_GETS
        puts = self.shards * SHARD_PUTS + self.parts * PART_PUTS
        express = self.parts * (EXPRESS_REQUEST + PART_SECONDS * EXPRESS_SECOND)
        return (
            Item("Lambda", seconds * VCPU_GB, "GB-seconds", seconds * VCPU_GB * GB_SECOND[architecture]),
            Item("Lambda", invocations, "invocations", invocations * REQUEST),
            Item("Step Functions", transitions, "state transitions", transitions * TRANSITION),
            Item("Step Functions", self.parts, "express executions", express),
            Item("S3", puts, "PUT and LIST requests", puts * S3_PUT),
            Item("S3", gets, "GET and HEAD requests", gets * S3_GET),
        )

    def dollars(self, architecture: str = "x86_64") -> float:
        """Return the sum of the bill."""
        return sum(item.dollars for item in self.bill(architecture))
