# shellcheck shell=sh
# Runs in the sandbox around a task's tests, with the commands that busybox has. Arguments: what to do, the folders of
# tests and of logs, the bytes that are kept of what the tests print and of any other file, and the command that tests.
# What to do:
#
#     prepare  puts the tests, a tar on stdin, where the user that runs them can read them and leave a reward
#     test     runs tests that were put there, and reports
#     run      does both, where one user may do everything
#     log      writes what tests that ran out of time had printed
#
# One command does everything, because each one costs the engine of a container as much time as all of this. Where an
# image's commands do not run as root, root does the first half in a command of its own. Its own commands come from the
# system's folders first, whatever is in PATH.
#
# Exit codes: 92 when the folders cannot be emptied, 93 when the tests cannot be put there. The tests' own stands in the report: a line `exit CODE KILLED`, where KILLED is how many processes were killed
# for want of memory meanwhile, then for each file a line `file NAME BYTES` and its content, and a line `end`.

given=$PATH
PATH=/bin:/usr/bin:/sbin:/usr/sbin:$PATH
umask 022

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

tests=$2 logs=$3 longest=$4 large=$5 step=$1
shift 5

# A folder that is private to this command is mounted, and cannot be removed.
emptied() {
    if [ -d "$1" ] && [ ! -L "$1" ]; then
        rm -rf -- "${1:?}"/* "$1"/.[!.]* "$1"/..?* || return 1
        rmdir -- "$1" 2>/dev/null || :
    else
        rm -rf -- "$1" || return 1
    fi
    mkdir -p -- "$1"
}

case $step in
    log) exec tail -c "$longest" -- "$logs/test-stdout.txt" 2>/dev/null ;;
    prepare | run)
        { emptied "$tests" && emptied "$logs"; } || exit 92
        tar -x -o -f - -C "$tests" || exit 93
        ;;
esac
case $step in
    prepare) chmod -R a+rX -- "$tests" && chmod 777 -- "$logs" || exit 93; exit ;;
esac
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
