"""The recipe of a served model: `make model` runs its steps in this order.

source.py     a Hugging Face directory of a BERT encoder -> Source: weights and how to read them
golden.py     (by hand: make golden) reference texts -> their vectors, by sentence-transformers
cl100k.py     (by hand: make vocabulary) OpenAI's token ids -> handler/embedding/cl100k_base.bin, apart from all models
export.py     Source -> a float32 ONNX graph, laid out as ONNX Runtime's CPU kernels like it
calibrate.py  float32 graph -> what its tensors hold when it reads random texts
quantize.py   float32 graph -> int8 graph of constant scales, outlier channels split or equalised
verify.py     int8 graph, run by handler.embedding.embedder, against full precision: figures, or a refusal
seal.py       the verified files -> model_artifacts/<id>/, manifest last
"""
