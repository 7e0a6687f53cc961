"""Runs the handler with Lambda's runtime client, the code's folder first and layers after it, as in AWS's image."""

import os
import site
import sys

sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
site.addsitedir("/opt/python")
from awslambdaric.__main__ import main

main(["bootstrap", os.environ["_HANDLER"]])
