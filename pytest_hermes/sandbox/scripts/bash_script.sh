# shellcheck shell=bash
# Runs a script of the harness in the session's folder. Arguments: the state's path, the folder to start in, the home
# folder, the script, and the script's own.

set +p
__hermes=
[[ -r $1 ]] && IFS= read -r -d '' __hermes <"$1"
__hermes=${__hermes%$'\n'}
# bash takes `cd ""` for success, and stays.
{ [[ -n $__hermes ]] && cd -- "$__hermes"; } 2>/dev/null || cd -- "$2" 2>/dev/null || cd -- "$3" 2>/dev/null || :
__hermes=$4
shift 4
eval "$__hermes"
