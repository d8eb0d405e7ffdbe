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
unreserve)
	echo "the hold of $(field order) is free again" >&2
	printf '{}'
	;;
refund)
	echo "refunding $(field amount) of $(field receipt) under key $LOCKSTEP_IDEMPOTENCY_KEY" >&2
	printf '{}'
	;;
ship)
	if [ "$(field order)" = lost ]; then
		echo "no dock takes order lost" >&2
		exit 65 # fails without another attempt
	fi
	printf '{"tracking": "T-%s"}' "$(field order)"
	;;
*)
	echo "no such task: $LOCKSTEP_TASK" >&2
	exit 65
	;;
esac
