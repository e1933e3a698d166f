# shellcheck shell=sh
# Runs in the sandbox around a task's tests, with the commands that busybox has. Arguments: what to do, `all` or, where
# the processes are not the sandbox's own, `none`, the folders of tests and of logs, the bytes that are kept of what the
# tests print and of any other file, and the command that tests. What to do:
#
#     end      ends what the agent left running
#     prepare  does that, and puts the tests, a tar on stdin, where whoever runs them can read them and leave a reward
#     test     runs tests that were put there, and reports
#     run      does all of it, where one user may do everything
#     log      writes what tests that ran out of time had printed
#
# One command does everything, because each one costs the engine of a container as much time as all of this. Where an
# image's commands do not run as root, root does the first half in a command of its own. Its own commands come from the
# system's folders first, whatever is in PATH.
#
# Exit codes: 91 when processes cannot be ended, 92 when the folders cannot be emptied, 93 when the tests cannot be put
# there. The tests' own stands in the report: a line `exit CODE KILLED`, where KILLED is how many processes were killed
# for want of memory meanwhile, then for each file a line `file NAME BYTES` and its content, and a line `end`.

given=$PATH
PATH=/bin:/usr/bin:/sbin:/usr/sbin:$PATH
umask 022

field() {
    found=
    while read -r key value rest; do
        [ "$key" = "$2" ] && found=$value && return
    done 2>/dev/null <"/proc/$1/status"
}

# Kills all processes but init, what init was started to run, and this one with its ancestors. What runs in a sandbox
# first has the lowest number, and low numbers are not used again.
end_others() {
    kept=" 1 " pid=$$ rounds=0
    while [ "$pid" -gt 1 ] 2>/dev/null; do
        kept="$kept$pid "
        field "$pid" PPid:
        pid=$found
    done
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
            field "$pid" State:
            case $found in Z | X | '') ;; *) left="$left $pid" ;; esac
        done
        [ -n "$left" ] || return 0
        rounds=$((rounds + 1))
        [ "$rounds" -lt 300 ] || { echo "these processes cannot be ended:$left" >&2; return 1; }
        # Stopped first, so that what starts others cannot outrun this loop.
        # shellcheck disable=SC2086
        kill -STOP $left 2>/dev/null
        # shellcheck disable=SC2086
        kill -KILL $left 2>/dev/null
        [ "$rounds" -lt 20 ] || sleep 0.05 2>/dev/null || sleep 1
    done
}

killed() {
    count=0
    # Of control groups in their second version, and in their first.
    for events in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
        [ -r "$events" ] || continue
        while read -r key value; do
            [ "$key" = oom_kill ] && count=$value
        done <"$events"
    done
}

case $1 in
    log) exec tail -c "$5" -- "$4/test-stdout.txt" 2>/dev/null ;;
    end | prepare | run) [ "$2" = none ] || end_others || exit 91 ;;
esac
case $1 in
    prepare | run)
        rm -rf -- "$3" "$4" && mkdir -p -- "$3" "$4" || exit 92
        tar -x -o -f - -C "$3" || exit 93
        ;;
esac
case $1 in
    end) exit 0 ;;
    prepare) chmod -R a+rX -- "$3" && chmod 777 -- "$4" || exit 93; exit ;;
esac
logs=$4 longest=$5 large=$6
shift 6
killed
before=$count
PATH=$given "$@" </dev/null >"$logs/test-stdout.txt" 2>&1
code=$?
killed
echo "exit $code $((count - before))"
for name in reward.json reward.txt ctrf.json test-stdout.txt; do
    [ -f "$logs/$name" ] || continue
    limit=$large
    [ "$name" = test-stdout.txt ] && limit=$longest
    size=$(wc -c <"$logs/$name")
    size=$((size))
    [ "$size" -le "$limit" ] || size=$limit
    echo "file $name $size"
    tail -c "$size" -- "$logs/$name"
done
echo end
