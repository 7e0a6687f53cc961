"""The models that are served.

catalog.py  names and aliases -> served models, each loaded when first requested
loader.py   background loading with a timeout and exponential backoff
"""
