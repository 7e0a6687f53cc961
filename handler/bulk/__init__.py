"""Whole data sets to vectors: plan -> shards -> parts -> manifest, with nothing lost and nothing embedded twice.

plan.py  what a job computes: options, input files, and shards, each a range of a file
"""
