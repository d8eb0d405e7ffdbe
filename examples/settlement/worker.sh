#!/bin/sh
# Does a step of a settlement. Input: JSON on stdin. Output: JSON on stdout. Log: stderr.
set -eu
input=$(cat)
field() { printf %s "$input" | sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }

case $LOCKSTEP_TASK in
list)
	case $(field day) in
	sunday) printf '{"due": []}' ;;
	friday) printf '{"due": [{"account": "ada", "amount": 5}, {"account": "closed", "amount": 7}]}' ;;
	*) printf '{"due": [{"account": "ada", "amount": 5}, {"account": "bob", "amount": 7}, {"account": "ada", "amount": 9}]}' ;;
	esac
	;;
transfer)
	if [ "$(field account)" = closed ]; then
		echo "account closed takes nothing" >&2
		exit 65 # fails without another attempt
	fi
	# The bank gets the key that is the same on every attempt, so it pays once however often this runs.
	echo "paying $(field amount) to $(field account) under key $LOCKSTEP_IDEMPOTENCY_KEY" >&2
	printf '{"reference": "R-%s"}' "$LOCKSTEP_TOKEN"
	;;
ask)
	settled=false
	if [ "$(field turn)" -ge 1 ]; then settled=true; fi
	printf '{"settled": %s}' "$settled"
	;;
recall)
	echo "recalling $(field reference) under key $LOCKSTEP_IDEMPOTENCY_KEY" >&2
	printf '{}'
	;;
book)
	printf '{"booked": true}'
	;;
tell)
	echo "$(field day) is not settled ($(field code)): somebody must look" >&2
	printf '{}'
	;;
*)
	echo "no such task: $LOCKSTEP_TASK" >&2
	exit 65
	;;
esac
