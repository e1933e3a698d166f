"""What runs in the sandbox around a task's tests. Plain sh with the commands that busybox has.

One command does everything, because each one costs the engine of a container as much time as all of this: it ends what
the agent left running, empties the folders, unpacks the tests from its standard input, runs them, and writes what they
left. Where an image's commands do not run as root, root does the first half in a command of its own. The scripts' own
commands come from the system's folders first, whatever is in PATH.
"""

from __future__ import annotations

#: Exit codes of the scripts themselves. The tests' own stands in what RUN writes.
NOT_KILLED, NOT_EMPTIED, NOT_UNPACKED = 91, 92, 93

#: Defines `end_others`: kills all processes but init, what init was started to run, and this one with its ancestors.
#: What runs in a sandbox first has the lowest number, and low numbers are not used again.
_END_OTHERS = r"""
field() {
    found=
    while read -r key value rest; do
        [ "$key" = "$2" ] && found=$value && return
    done 2>/dev/null <"/proc/$1/status"
}
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
        kill -STOP $left 2>/dev/null
        kill -KILL $left 2>/dev/null
        [ "$rounds" -lt 20 ] || sleep 0.05 2>/dev/null || sleep 1
    done
}
"""

_START = """
given=$PATH
PATH=/bin:/usr/bin:/sbin:/usr/sbin:$PATH
umask 022
"""

#: Arguments: `all`, or `none` where the processes are not the sandbox's own.
_END = f"""
{_END_OTHERS}
[ "$1" = none ] || end_others || exit {NOT_KILLED}
shift
"""

#: Arguments: the folders of tests and of logs. Standard input: a tar of the tests.
_PUT = f"""
rm -rf -- "$1" "$2" && mkdir -p -- "$1" "$2" || exit {NOT_EMPTIED}
tar -x -o -f - -C "$1" || exit {NOT_UNPACKED}
"""

#: Arguments: the folder of logs, the bytes that are kept of a log and of any other file, and the command. Writes a line
#: `exit CODE KILLED`, where KILLED is how many processes were killed for want of memory meanwhile, then for each file a
#: line `file NAME BYTES` and its content, and a line `end`.
_TEST = """
logs=$1 longest=$2 large=$3
shift 3
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
"""

#: Ends what runs. Arguments as above.
END = _START + _END

#: Ends what runs, and puts the tests where whoever runs them can read them and leave a reward. Arguments as above.
PREPARE = _START + _END + _PUT + f'chmod -R a+rX -- "$1" && chmod 777 -- "$2" || exit {NOT_UNPACKED}'

#: Runs tests that were put there, and reports. Arguments as above.
TEST = _START + _TEST

#: All of it, where one user may do everything. Arguments: those of `_END`, of `_PUT` and of `_TEST`; the folder of logs
#: once.
RUN = _START + _END + _PUT + "shift\n" + _TEST

#: Reads what tests that ran out of time had printed. Arguments: the logs' folder, bytes.
LOG = 'tail -c "$2" -- "$1/test-stdout.txt" 2>/dev/null'
