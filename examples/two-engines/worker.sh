#!/bin/sh
# Does a step of the desk. Input: JSON on stdin. Output: JSON on stdout. Log: stderr.
set -eu
case $LOCKSTEP_TASK in
order)
	# The mainframe has one order of an instance, however often it is given it.
	mainframe order "$LOCKSTEP_INSTANCE"
	;;
confirm)
	echo "$LOCKSTEP_INSTANCE is paid: $(cat)" >&2
	printf '{"confirmed": true}'
	;;
*)
	echo "no such task: $LOCKSTEP_TASK" >&2
	exit 65
	;;
esac
