"""From text to unit vector, without HTTP and without Lambda.

embedder.py      the pipeline: tokenize -> infer -> pool -> truncate dimensions -> normalize -> convert
cache.py         token sequences -> pooled vectors that were computed before
tokenization.py  texts or token IDs -> token sequences; what to do with inputs that are too long
unigram.py       text -> token IDs of Unigram tokenizers, such as XLM-RoBERTa's, word by word, from a cache
wordpiece.py     the same for BERT's tokenizers
cl100k.py        OpenAI's cl100k_base token IDs -> text
prompts.py       names of prompts, as APIs have them -> a prompt of the model
runs.py          the runs of a model: which thread does one when, for all requests at once
sharing.py       requests whose sequences wait -> the sequences that share a run
inference.py     ONNX Runtime: token sequences of one length -> hidden states
quantization.py  vectors -> float16, int8 or one bit per component
weights.py       a serialized ONNX model -> its graph and its large tensors, in the same memory
pooling.py       pure NumPy: mean, cls, average_windows, truncate_dimensions, l2_normalize
deadline.py      whether a request can finish in time, judged by its own pace
"""
