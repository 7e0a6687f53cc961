"""The models that are served.

catalog.py  names and aliases -> served models, each loaded when first requested
memory.py   how much memory a model takes, by the sizes of its files
loader.py   background loading with a timeout and exponential backoff
"""
