"""Whole data sets to vectors: plan -> shards -> parts -> manifest, with nothing lost and nothing embedded twice.

__main__.py         the command line: make bulk, bulk-status, bulk-cancel, bulk-resume, load
commands.py         what its commands do: the price first, then the run, and its facts beside the price
desk.py             the executor on this machine's cores
step_functions.py   the executor on AWS, as seen from here: start, watch, stop
main.py             composition root of the function on AWS: a step of a job for each invocation
batch_steps.py      the steps of a batch on AWS
steps.py            the steps, in the order in which state_machine.asl.yaml takes them
estimate.py         what a job will take, here and on AWS, and beside it what it took
sample.py           rows that stand for others, and the pace at which they are embedded
progress.py         what it prints about its progress
load.py             an output into a vector store
s3_vectors.py       an index of S3 Vectors, within the limits of its API
batch_desk.py       the executor of batches on this machine, beside the server
reports.py          reports of their ends there, until these are taken
webhooks.py         how a batch ended, to the operator's URL
batch_tries.py      how often it has begun without getting anywhere
batch_validate.py   a batch's input -> its plan, or all errors of its lines
batch_shard.py      some requests of a batch -> lines and a receipt, as shard.py does for rows
batch_finish.py     all shards of a batch -> its output and its error file
batch_lines.py      the lines of these files
batch_embed.py      requests embedded together
batch_requests.py   the lines of a batch's input
jobs.py             a job's folder: what it is, its plan, how far it is
merge.py            shards -> parts of 128 MB and more -> the manifest, which says that nothing was lost
shard.py            a range of the input -> a Parquet file, rejects and a receipt; start reading here
chunk.py            some rows of a shard: read and checked, then embedded
background.py       the threads in which reading, inference and writing overlap
receipts.py         what is done
previous.py         vectors of an earlier output, by the SHA-256 of the text
output.py           rows with their vectors, in one of two layouts, as Parquet
metadata.py         other columns as the metadata of vectors
plan.py             what a job computes: options, input files, and shards, each a range of a file
formats.py          the schema of an input, ranges of its files, and the rows of a range
formats_parquet.py  of Parquet
formats_jsonl.py    of JSON Lines
formats_csv.py      of CSV and TSV
lines.py            lines of plain and compressed files, from any byte on
rows.py             rows as all readers yield them, and rejects
prices.py           what a job uses on AWS, how long it takes, and what it costs
"""
