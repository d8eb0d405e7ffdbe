#!/bin/sh
# Does a step of an incident. Input: JSON on stdin. Output: JSON on stdout. Log: stderr.
set -eu
input=$(cat)
field() { printf %s "$input" | sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }

case $LOCKSTEP_TASK in
triage)
	printf '{"plan": "restart"}'
	;;
mitigate)
	# The service is ours while this runs. What it is changed by should be told the token, and refuse older ones.
	echo "restarting $(field service) under token $LOCKSTEP_TOKEN" >&2
	sleep 1
	printf '{"fixed": true}'
	;;
evidence)
	printf '{"files": ["%s.log"]}' "$LOCKSTEP_INSTANCE"
	;;
notify)
	echo "to $(field who): $(field service) is down" >&2
	printf '{"sent": true}'
	;;
report)
	printf '{"written": true}'
	;;
*)
	echo "no such task: $LOCKSTEP_TASK" >&2
	exit 65
	;;
esac
