"""Measured claims of the README, each a command: see README.md beside this file.

suite.py         make bench: everything below, then the report
texts.py         what is embedded
rounds.py        measurements that take turns
throughput.py    texts per second in process, by peer and by length
service.py       over HTTP: batches, one text, sizes of a request, memory
graph.py         the served graph beside its products alone, and beside a plain one
overhead.py      the path around the model
cold.py          make bench-cold: cold starts, beside a typical implementation and a baseline
instructions.py  make bench-instructions: instruction counts, by callgrind
s3.py            models from S3
worst.py         make worst: the request that takes the most CPU or memory
peers/           the other implementations, each in an environment or process of its own
report/          results as records, as JSON, as the README's table and as a plot
"""
