"""Measured claims of the README, each a command: see README.md beside this file.

suite.py         make bench: everything below, then results.json, the README's table and the plot
results.py       what was found out, as frozen records and as JSON
report.py        records -> the README's table
plot.py          records -> results.png
cost.py          records -> dollars for a million tokens
throughput.py    texts a second in process, by contender and by length
service.py       over HTTP: batches, one text, sizes of a request, memory
graph.py         the served graph beside its products alone, and beside a plain one
contract.py      the path around the model
cold.py          cold starts, beside naive.py and the least there is
instructions.py  make bench-instructions: counts by callgrind
store.py         models from S3
processors.py    the same bits on another processor
contender.py     a peer as a process, asked over its standard input; worker.py is what runs there
server.py        a peer as a server
plain_graph.py   the graph that fastembed is fed
rounds.py        taking turns
texts.py         what is embedded
"""
