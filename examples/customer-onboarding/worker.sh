#!/bin/sh
# Does a step of an onboarding. Input: JSON on stdin. Output: JSON on stdout. Log: stderr.
set -eu
input=$(cat)
field() { printf %s "$input" | sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }

case $LOCKSTEP_TASK in
verify)
	# An agency that answers at the second try.
	if [ "$LOCKSTEP_ATTEMPT" -lt 2 ]; then
		echo "the agency does not answer" >&2
		exit 1
	fi
	printf '{"score": 87}'
	;;
invite)
	echo "mail to $(field email): send us your documents" >&2
	printf '{"sent": true}'
	;;
account)
	printf '{"account": "acc-%s"}' "$(field customer)"
	;;
welcome)
	echo "mail to $(field email): welcome" >&2
	printf '{"sent": true}'
	;;
*)
	echo "no such task: $LOCKSTEP_TASK" >&2
	exit 65
	;;
esac
