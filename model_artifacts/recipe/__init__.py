"""The recipe that builds a served model: `make model` runs these steps in order.

source.py         a Hugging Face directory of a BERT encoder, or of a relative -> Source: weights and configuration
configuration.py  the files of sentence-transformers: each field is read, or refused
hub.py            owner/name on the Hugging Face Hub -> such a directory, in the Hub's cache
origin.py         a directory -> its repository and commit on the Hub, and its licence
architecture.py   config.json: the same
tokenizer.py      tokenizer.json and tokenizer_config.json: the same
fields.py         what both check their fields with
dense.py          the module Dense: its settings and weights
weights.py        a safetensors file -> float32 arrays under BERT's names
shelf.py          (make models-shelf) models.toml: models worth building, with their sources and prompts
golden.py         (make golden, run by hand) reference texts -> reference vectors, by sentence-transformers
cl100k.py         (make vocabulary, run by hand) OpenAI's token IDs -> handler/embedding/cl100k_base.bin
export.py         Source -> float32 ONNX graph, in the layout that is fastest for ONNX Runtime's CPU kernels
graph.py          ONNX graphs under construction, and the nodes that all encoders have
rotary.py         the nodes of NomicBERT and ModernBERT
blocks.py         their attention, which reads long texts in blocks
calibrate.py      float32 graph -> the values of its tensors for random texts
attention.py      float32 graph -> the largest attention scores; clips them in the layers where they are small
rounding.py       weights -> int8 that every processor multiplies exactly
quantize.py       float32 graph -> int8 graph with constant scales, outlier channels split or equalized
external.py       (ONNX=) a publisher's graph -> the same graph, checked and compared with the reference vectors
sts.py            pairs of sentences with human scores: correlation and retrieval
output_types.py   calibrates the output types, and measures what each loses, by the number of dimensions
plain.py          float32 graph -> ONNX Runtime's own int8 graph, to compare with
verify.py         compares the int8 graph, run by handler.embedding.embedder, with full precision
build.py          these steps in order, after the source
save.py           verified files -> model_artifacts/<id>/, the manifest last
image.py          (make image) puts a model into the folder whose models the next image contains
publish.py        (make publish, make models) uploads a model to a bucket; lists the models of a bucket
"""
