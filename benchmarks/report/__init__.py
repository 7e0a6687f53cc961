"""What `make bench` found, and how it is shown.

results.py  frozen records, and results.json
readme.py   records -> the README's table
plot.py     records -> results.png
cost.py     records -> dollars for a million tokens
"""
