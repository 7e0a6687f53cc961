"""The results of `make bench` and `make bench-lambda`, a bulk job on paper, and their presentation.

results.py     frozen records, and results.json
readme.py      records -> the README's table
plot.py        records -> results.png
cost.py        rates -> dollars per million tokens
bulk.py        the tables and the plot of docs/bulk.md
loss.py        the table and the plot of docs/output-types.md
models.py      models.toml and models.json -> the tables of docs/models.md
deployment.py  the records and the table of `make bench-lambda`
"""
