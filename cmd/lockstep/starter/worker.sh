#!/bin/sh
# Does one step. Its input is JSON on stdin, its output is what this prints, its log goes to stderr.
# Exit 0 completes it, 65 fails it for good, 75 gives it back, anything else is tried again.
#
# LOCKSTEP_IDEMPOTENCY_KEY is the same on every attempt, LOCKSTEP_TOKEN is larger on each: give both to what you write to,
# and have it refuse a smaller token. `lockstep worker run --help` has the rest.
set -eu
input=$(cat)
echo "$LOCKSTEP_INSTANCE: $LOCKSTEP_TASK, attempt $LOCKSTEP_ATTEMPT, token $LOCKSTEP_TOKEN: $input" >&2

case $LOCKSTEP_TASK in
greet)
	name=$(printf %s "$input" | sed -n 's/.*"name":"\([^"]*\)".*/\1/p')
	printf '{"text": "Hello, %s!"}' "$name"
	;;
translate)
	printf '{"text": "Bonjour !"}'
	;;
tell)
	printf '{"told": true}'
	;;
*)
	echo "this worker does not know task $LOCKSTEP_TASK" >&2
	exit 65
	;;
esac
