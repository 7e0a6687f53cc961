"""The commands that measure the README's claims; the README.md in this folder explains them.

suite.py         make bench: runs the measurements below and writes the report
texts.py         the texts that are embedded
rounds.py        interleaved measurements, ratios and medians
avx2.py          make bench AVX2=1: the suite with AVX2 alone on a processor that has more
openai_tokens.py OpenAI's tokens of a text
throughput.py    texts per second in process, by peer and by text length
concurrent.py    concurrent clients over HTTP, compared with infinity-emb
service.py       over HTTP: batches, one text, request sizes, memory
graph.py         the served graph compared with its matrix products alone and with a plain int8 graph
overhead.py      a request without the model: parsing, validation, encoding, the Lambda path
cold.py          make bench-cold: cold starts, compared with a typical implementation and a baseline
deployment.py    make bench-lambda: a deployment over HTTP, and its function's cold starts and price
models.py        make bench-models: memory, cold start, speed and price of the shelf's models that are built
function_log.py  the log of a deployed function, from CloudWatch
cache.py         the cache of vectors, on queries whose frequencies follow Zipf's law
instructions.py  make bench-instructions: instruction counts, by callgrind
bulk_desk.py     a bulk job on this machine beside its embedder alone, and its memory
s3.py            loading models from S3
long_texts.py    time and memory of long texts, by models that read them at once
worst.py         make worst: a search for the request that takes the most CPU or memory
peers/           the implementations for comparison, each in its own environment or process
report/          the results as records, as JSON, as tables and as a plot
"""
