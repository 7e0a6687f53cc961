"""The implementations that the project is compared with.

embedder_process.py  an embedder in a process of its own, driven over its standard input; worker.py is what runs there
server.py            an HTTP server in a process of its own
typical.py           a cold start as it is typically written
plain_graph.py       the graph that fastembed is given
"""
