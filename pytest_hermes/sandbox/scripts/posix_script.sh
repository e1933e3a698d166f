# shellcheck shell=sh
# As bash_script.sh.

__hermes=
[ -r "$1.cwd" ] && __hermes=$(cat "$1.cwd"; echo .) && __hermes=${__hermes%??}
{ [ -n "$__hermes" ] && cd -- "$__hermes"; } 2>/dev/null || cd -- "$2" 2>/dev/null || cd -- "$3" 2>/dev/null || :
__hermes=$4
shift 4
eval "$__hermes"
