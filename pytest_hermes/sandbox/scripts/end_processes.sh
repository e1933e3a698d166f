# shellcheck shell=sh
# Ends all processes of a sandbox but those that keep it: its init, what init was started to run, and this script with
# its ancestors. Exit code 91 when some of them cannot be ended.

PATH=/bin:/usr/bin:/sbin:/usr/sbin:$PATH

field() {
    found=
    while read -r key value rest; do
        [ "$key" = "$2" ] && found=$value && return
    done 2>/dev/null <"$1/status"
}

# A process whose first thread has ended shows as a zombie, although its other threads go on.
runs() {
    for thread in "/proc/$1/task"/[0-9]*; do
        field "$thread" State:
        case $found in Z | X | '') ;; *) return 0 ;; esac
    done
    return 1
}

kept=" 1 " pid=$$ rounds=0
while [ "$pid" -gt 1 ] 2>/dev/null; do
    kept="$kept$pid "
    field "/proc/$pid" PPid:
    pid=$found
done
# What runs in a sandbox first has the lowest number, and low numbers are not used again.
first=
for entry in /proc/[0-9]*; do
    pid=${entry#/proc/}
    [ "$pid" -gt 1 ] && { [ -z "$first" ] || [ "$pid" -lt "$first" ]; } && first=$pid
done
kept="$kept$first "
while :; do
    left=
    for entry in /proc/[0-9]*; do
        pid=${entry#/proc/}
        case $kept in *" $pid "*) continue ;; esac
        runs "$pid" && left="$left $pid"
    done
    [ -n "$left" ] || exit 0
    rounds=$((rounds + 1))
    [ "$rounds" -lt 300 ] || { echo "these processes cannot be ended:$left" >&2; exit 91; }
    # Stopped first, so that what starts others cannot outrun this loop.
    # shellcheck disable=SC2086
    kill -STOP $left 2>/dev/null
    # shellcheck disable=SC2086
    kill -KILL $left 2>/dev/null
    [ "$rounds" -lt 20 ] || sleep 0.05 2>/dev/null || sleep 1
done
