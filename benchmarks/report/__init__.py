"""The results of `make bench` and `make bench-lambda`, a bulk job on paper, and their presentation.

results.py     frozen records, and results/, a file for each processor
machine.py     the processor and its extensions, and the packages
claims.py      records -> our pace relative to the strongest peer
tables.py      records -> each table of `make bench`
readme.py      the tables in the README and in benchmarks/README.md
plot.py        records -> results.png
cost.py        records -> dollars per million tokens
bulk.py        the tables and the plot of docs/bulk.md
loss.py        the table and the plot of docs/output-types.md
models.py      models.toml and models.json -> the tables of docs/models.md
deployment.py  the records and the table of `make bench-lambda`
"""
