"""The results of `make bench` and `make bench-lambda`, and their presentation.

results.py     frozen records, and results.json
readme.py      records -> the README's table
plot.py        records -> results.png
cost.py        rates -> dollars per million tokens
deployment.py  the records and the table of `make bench-lambda`
"""
