"""The models that are served.

catalog.py   names and aliases -> served models, each loaded when first requested
parallel.py  a session that uses every core for one text
memory.py    how much memory a model takes, by the sizes of its files
loader.py    background loading with a timeout and exponential backoff
"""
