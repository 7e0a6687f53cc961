#!/bin/sh
# Like AWS's image: the first argument is the handler; outside Lambda, the emulator runs the function.
[ $# -eq 1 ] || { echo "entrypoint requires the handler name to be the first argument" >&2; exit 142; }
export _HANDLER="$1"
[ -n "$AWS_LAMBDA_RUNTIME_API" ] || exec /usr/local/bin/aws-lambda-rie /var/runtime/bootstrap
exec /var/runtime/bootstrap
