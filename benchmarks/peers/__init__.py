"""The implementations that this project is compared with.

settings.py          the peers in process, and the settings among which the best is searched
embedder_process.py  an embedder in its own processes, driven over standard input
worker.py            the code that runs in such a process
engines.py           the engines among them that are no embedders: batches and pooling around them
convert.py           the model for CTranslate2 and OpenVINO
server.py            an HTTP server in its own process
typical.py           a Lambda function with a typical cold start
plain_graph.py       the ONNX graphs that fastembed and ONNX Runtime are given
"""
