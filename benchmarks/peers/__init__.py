"""The implementations that this project is compared with.

embedder_process.py  an embedder in its own process, driven over standard input
worker.py            the code that runs in that process
server.py            an HTTP server in its own process
typical.py           a Lambda function with a typical cold start
plain_graph.py       the ONNX graph that fastembed is given
"""
