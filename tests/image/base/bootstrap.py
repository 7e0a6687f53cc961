"""Runs the handler with Lambda's runtime client; like AWS's image, searches the code's folder before the layers."""

import os
import site
import sys

sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
site.addsitedir("/opt/python")
from awslambdaric.__main__ import main

main(["bootstrap", os.environ["_HANDLER"]])
