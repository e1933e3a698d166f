# shellcheck shell=sh
# Writes how many lines and bytes a file has, and then some of its lines. Arguments: the path, the first line, how many
# lines, and how many bytes of them at most.

must_be_a_file "$1"
{ lines=$({ wc -l <"$1"; } 2>&1) && bytes=$({ wc -c <"$1"; } 2>&1); } ||
    refuse "it cannot be read: $(reason "${bytes-$lines}")"
# A last line without its newline counts, too.
[ -n "$(tail -c 1 <"$1" | tr '\000' x)" ] && lines=$((lines + 1))
echo "$lines" "$bytes"
tail -n "+$2" <"$1" | head -n "$3" | head -c "$4"
