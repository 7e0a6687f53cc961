"""The results of `make bench` and their presentation.

results.py  frozen records, and results.json
readme.py   records -> the README's table
plot.py     records -> results.png
cost.py     rates -> dollars per million tokens
"""
