#!/bin/sh
# Does a step of an order. Input: JSON on stdin. Output: JSON on stdout. Log: stderr.
set -eu
input=$(cat)
field() { printf %s "$input" | sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }

case $LOCKSTEP_TASK in
reserve)
	printf '{"hold": "hold-%s"}' "$(field order)"
	;;
charge)
	# The payment provider gets the key that is the same on every attempt, so it charges once however often this runs.
	echo "charging $(field amount) under key $LOCKSTEP_IDEMPOTENCY_KEY" >&2
	printf '{"receipt": "r-%s"}' "$LOCKSTEP_TOKEN"
	;;
gift-wrap)
	printf '{"ribbon": "red"}'
	;;
ship)
	printf '{"tracking": "T-%s"}' "$(field order)"
	;;
*)
	echo "no such task: $LOCKSTEP_TASK" >&2
	exit 65
	;;
esac
